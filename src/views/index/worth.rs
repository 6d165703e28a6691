//! What grants are worth under the catalogue in force, computed once a grant rather than once a
//! verification.
//!
//! The rules are those of `domain/access.rs`; this module only remembers what they come to.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::access::{Authority, Rights};
use crate::domain::catalogue::Catalogue;
use crate::domain::record::Grant;

/// A grant with its price: all credentials and roles that grant the same share one.
pub(super) struct Worth {
    grant: Grant,
    price: ArcSwap<Price>,
}

struct Price {
    /// The catalogue that it was computed with.
    catalogue: Arc<Catalogue>,
    rights: Rights,
    /// What its role allows those who have it.
    allowed: Rights,
    /// The scopes by name, where the grant does not list them itself.
    names: Option<Arc<[String]>>,
}

/// How an owner stands.
pub(super) struct Standing {
    pub(super) active: bool,
    /// Of its role.
    pub(super) worth: Arc<Worth>,
}

impl Worth {
    pub(super) fn new(grant: Grant, catalogue: &Arc<Catalogue>) -> Self {
        let price = ArcSwap::from_pointee(Price::of(&grant, catalogue));
        Self { grant, price }
    }

    /// Computes the price anew.
    pub(super) fn price(&self, catalogue: &Arc<Catalogue>) {
        self.price
            .store(Arc::new(Price::of(&self.grant, catalogue)));
    }

    /// What the grant is worth by itself.
    pub(super) fn rights(&self, catalogue: &Arc<Catalogue>) -> Rights {
        let price = self.price.load();
        if Arc::ptr_eq(&price.catalogue, catalogue) {
            price.rights
        } else {
            Price::of(&self.grant, catalogue).rights
        }
    }

    /// What the grant's role allows those who have it.
    pub(super) fn allowed(&self, catalogue: &Arc<Catalogue>) -> Rights {
        let price = self.price.load();
        if Arc::ptr_eq(&price.catalogue, catalogue) {
            price.allowed
        } else {
            Price::of(&self.grant, catalogue).allowed
        }
    }

    /// The scopes by name, where the grant does not list them itself.
    pub(super) fn names(&self, catalogue: &Arc<Catalogue>) -> Option<Arc<[String]>> {
        let price = self.price.load();
        if Arc::ptr_eq(&price.catalogue, catalogue) {
            price.names.clone()
        } else {
            Price::of(&self.grant, catalogue).names
        }
    }
}

impl Price {
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
