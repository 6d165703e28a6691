//! The rights of grants under the catalogue in force, computed once a grant rather than once a
//! verification.
//!
//! The rules are those of `domain/access.rs`; this module only caches their results.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::access::{Authority, Rights};
use crate::domain::catalogue::Catalogue;
use crate::domain::record::Grant;

/// A grant with its rights: all credentials and roles that grant the same share one.
pub(super) struct GrantRights {
    grant: Grant,
    price: ArcSwap<ComputedRights>,
}

struct ComputedRights {
    /// The catalogue that it was computed with.
    catalogue: Arc<Catalogue>,
    rights: Rights,
    /// What its role allows those who have it.
    allowed: Rights,
    /// The scopes by name, where the grant does not list them itself.
    names: Option<Arc<[String]>>,
}

/// Whether an owner is active, and what its role grants.
pub(super) struct OwnerState {
    pub(super) active: bool,
    /// Of its role.
    pub(super) rights: Arc<GrantRights>,
}

impl GrantRights {
    pub(super) fn new(grant: Grant, catalogue: &Arc<Catalogue>) -> Self {
        let price = ArcSwap::from_pointee(ComputedRights::of(&grant, catalogue));
        Self { grant, price }
    }

    /// Computes the rights anew.
    pub(super) fn recompute(&self, catalogue: &Arc<Catalogue>) {
        self.price
            .store(Arc::new(ComputedRights::of(&self.grant, catalogue)));
    }

    /// The rights of the grant by itself.
    pub(super) fn rights(&self, catalogue: &Arc<Catalogue>) -> Rights {
        let price = self.price.load();
        if Arc::ptr_eq(&price.catalogue, catalogue) {
            price.rights
        } else {
            ComputedRights::of(&self.grant, catalogue).rights
        }
    }

    /// What the grant's role allows those who have it.
    pub(super) fn role_rights(&self, catalogue: &Arc<Catalogue>) -> Rights {
        let price = self.price.load();
        if Arc::ptr_eq(&price.catalogue, catalogue) {
            price.allowed
        } else {
            ComputedRights::of(&self.grant, catalogue).allowed
        }
    }

    /// The scopes by name, where the grant does not list them itself.
    pub(super) fn scope_names(&self, catalogue: &Arc<Catalogue>) -> Option<Arc<[String]>> {
        let price = self.price.load();
        if Arc::ptr_eq(&price.catalogue, catalogue) {
            price.names.clone()
        } else {
            ComputedRights::of(&self.grant, catalogue).names
        }
    }
}

impl ComputedRights {
    fn of(grant: &Grant, catalogue: &Arc<Catalogue>) -> Self {
        let authority = Authority::of_grant(grant, catalogue);
        let role = grant.role.as_deref().unwrap_or_default();
        let allowed = Authority::of_role(role, catalogue).rights();
        let given = catalogue.role(role).map(|role| catalogue.given_by(role));
        let preset = grant.preset.as_deref();
        let preset = preset.and_then(|preset| catalogue.preset(preset));
        let preset = preset.map(|preset| preset.scopes.iter().map(String::as_str));
        let lists_itself = grant.role.is_none() && grant.preset.is_none();
        let names = grant.scopes.iter().map(String::as_str);
        let names = names.chain(given.into_iter().flatten());
        let names = names.chain(preset.into_iter().flatten());
        Self {
            catalogue: Arc::clone(catalogue),
            rights: authority.rights(),
            allowed,
            names: (!lists_itself).then(|| names.map(str::to_owned).collect()),
        }
    }
}
