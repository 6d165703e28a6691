//! What grants are worth under the catalogue in force, computed once a grant rather than once a
//! verification.
//!
//! The rules are those of `Authority::of_credential`, on sets of bits; a test holds the two equal.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::access::Authority;
use crate::domain::catalogue::{Catalogue, EVERYTHING, ScopeSet};
use crate::domain::record::Grant;

/// A grant with its price: all credentials and roles that grant the same share one.
pub(super) struct Worth {
    grant: Arc<Grant>,
    price: ArcSwap<Price>,
}

struct Price {
    /// The catalogue that it was computed with.
    catalogue: Arc<Catalogue>,
    rights: Rights,
    /// The scopes by name, where the grant does not list them itself.
    names: Option<Arc<[String]>>,
}

/// A set of scopes, and what is beyond every scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rights {
    pub(super) scopes: ScopeSet,
    pub(super) owner: bool,
    pub(super) platform: bool,
    /// Whether it stands for the owner's own rights.
    everything: bool,
}

/// How an owner stands.
pub(super) struct Standing {
    pub(super) active: bool,
    /// Of its role.
    pub(super) worth: Arc<Worth>,
}

/// An active owner's hold on its credentials.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ceiling {
    /// The organization itself: none.
    None,
    /// A member: the rights of its role.
    Member(Rights),
    /// A service account: the rights of its role, on management scopes.
    Account(Rights),
}

impl Worth {
    pub(super) fn new(grant: Arc<Grant>, catalogue: &Arc<Catalogue>) -> Self {
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
        let role = grant.role.as_deref().and_then(|role| catalogue.role(role));
        let preset = grant.preset.as_deref();
        let preset = preset.and_then(|preset| catalogue.preset(preset));
        let named = [
            role.map(|role| &role.scopes),
            preset.map(|preset| &preset.scopes),
        ];
        let lists_itself = grant.role.is_none() && grant.preset.is_none();
        let names = [&grant.scopes]
            .into_iter()
            .chain(named.into_iter().flatten());
        Self {
            catalogue: Arc::clone(catalogue),
            rights: Rights {
                scopes: authority.scopes,
                owner: authority.owner,
                platform: authority.platform,
                everything: grant.scopes.iter().any(|scope| scope == EVERYTHING),
            },
            names: (!lists_itself).then(|| names.flatten().cloned().collect()),
        }
    }
}

impl Rights {
    /// What a credential with these rights can do under its owner's ceiling.
    pub(super) fn under(self, ceiling: Ceiling, catalogue: &Catalogue) -> Self {
        match ceiling {
            Ceiling::None => self,
            Ceiling::Member(member) if self.everything => Self {
                scopes: member.scopes,
                owner: member.owner,
                platform: false,
                ..self
            },
            Ceiling::Member(member) => Self {
                scopes: self.scopes.and(member.scopes),
                owner: false,
                platform: false,
                ..self
            },
            Ceiling::Account(account) => {
                let free = self.scopes.without(catalogue.management());
                Self {
                    scopes: free.or(self.scopes.and(account.scopes)),
                    owner: false,
                    platform: false,
                    ..self
                }
            }
        }
    }
}
