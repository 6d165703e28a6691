//! The verification index: from the hash of a presented secret to a result, in RAM.
//!
//! Owns an entry for every secret there has ever been, the state of each owner, and the catalogue
//! in force. Must never wait for the writer, allocate beyond its answer, or touch a disk: its maps
//! are read without locks and grow a piece at a time. Records flow in from committed batches by
//! [`VerificationIndex::apply`], one thread at a time; verdicts flow out.

mod grant_rights;
mod secret_entry;
mod shown_credential;
mod verification;
mod verification_code;

#[cfg(test)]
mod tests;

pub use shown_credential::{PresentedSecret, ShownCredential};
pub use verification::{
    AuthenticatedCaller, AuthenticationRefusal, VerificationQuery, VerificationResult,
};
pub use verification_code::VerificationCode;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use papaya::HashMap as LockFreeMap;

use crate::domain::catalogue::Catalogue;
use crate::domain::ids::{OrganizationId, ProjectId, ServiceAccountId, UserId};
use crate::domain::record::{Credential, Grant};
use crate::domain::state::Changes;

use super::shown_position::ShownPosition;
use grant_rights::{GrantRights, OwnerState};
use secret_entry::{SecretEntry, SecretHashBuilder};

/// Which secrets are accepted, and for what.
pub struct VerificationIndex {
    /// A map, not a set: it replaces an entry by its equal, which has the newer record.
    entries: LockFreeMap<SecretEntry, (), SecretHashBuilder>,
    members: LockFreeMap<UserId, OwnerState>,
    accounts: LockFreeMap<ServiceAccountId, OwnerState>,
    projects: LockFreeMap<ProjectId, OrganizationId>,
    catalogue: ArcSwap<Catalogue>,
    /// Every distinct grant; only the writer takes the lock.
    worths: Mutex<BTreeMap<Grant, Arc<GrantRights>>>,
    position: Arc<ShownPosition>,
}

impl fmt::Debug for VerificationIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationIndex")
            .field("secrets", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl VerificationIndex {
    pub(super) fn new(position: Arc<ShownPosition>) -> Self {
        Self {
            entries: LockFreeMap::default(),
            members: LockFreeMap::new(),
            accounts: LockFreeMap::new(),
            projects: LockFreeMap::new(),
            catalogue: ArcSwap::default(),
            worths: Mutex::default(),
            position,
        }
    }

    /// An index of its own, beside those of a service: of a moment in the past.
    #[must_use]
    pub fn from_changes(changes: &Changes) -> Self {
        let index = Self::new(Arc::default());
        index.apply(changes);
        index
    }

    /// The catalogue in force.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// How many secrets are known, ended ones too.
    #[must_use]
    pub fn secret_count(&self) -> usize {
        self.entries.len()
    }

    /// Takes what a committed batch changed. When it returns, no verification that starts later
    /// accepts what the batch ended.
    pub fn apply(&self, changes: &Changes) {
        if let Some(catalogue) = &changes.catalogue {
            self.adopt_catalogue(catalogue);
        }
        for project in &changes.projects {
            self.projects.pin().insert(project.id, project.organization);
        }
        for member in &changes.members {
            let standing = OwnerState {
                active: !member.removed,
                rights: self.rights_of_role(Some(&member.role)),
            };
            self.members.pin().insert(member.id, standing);
        }
        for account in &changes.accounts {
            let standing = OwnerState {
                active: !account.disabled && !account.deleted,
                rights: self.rights_of_role(account.role.as_deref()),
            };
            self.accounts.pin().insert(account.id, standing);
        }
        if self.entries.is_empty() {
            // At start: a table that grows is filled several times over.
            self.entries.pin().reserve(changes.credentials.len());
        }
        for credential in &changes.credentials {
            self.put_credential(credential);
        }
    }

    /// The rights of every grant are computed anew. Until then a reader sees that they belong to
    /// another catalogue than the one in force, and computes them itself.
    fn adopt_catalogue(&self, catalogue: &Arc<Catalogue>) {
        self.catalogue.store(Arc::clone(catalogue));
        let mut worths = self.worths.lock().unwrap_or_else(PoisonError::into_inner);
        worths.retain(|_, worth| Arc::strong_count(worth) > 1);
        for worth in worths.values() {
            worth.recompute(catalogue);
        }
    }

    fn put_credential(&self, credential: &Arc<Credential>) {
        let worth = self.rights_of_grant(credential.grant());
        let entries = self.entries.pin();
        for entry in SecretEntry::entries_of(credential, &worth) {
            entries.insert(entry, ());
        }
    }

    fn rights_of_grant(&self, grant: &Grant) -> Arc<GrantRights> {
        let mut worths = self.worths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worth) = worths.get(grant) {
            return Arc::clone(worth);
        }
        let worth = Arc::new(GrantRights::new(grant.clone(), &self.catalogue.load()));
        worths.insert(grant.clone(), Arc::clone(&worth));
        worth
    }

    fn rights_of_role(&self, role: Option<&str>) -> Arc<GrantRights> {
        let role = role.map(str::to_owned);
        self.rights_of_grant(&Grant {
            role,
            ..Grant::default()
        })
    }
}
