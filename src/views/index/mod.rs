//! The verification index: from the hash of a presented secret to a verdict, in RAM.
//!
//! Owns an entry for every secret there has ever been, how each owner stands, and the catalogue in
//! force. Must never wait for the writer, allocate beyond its answer, or touch a disk: its maps are
//! read without locks and grow a piece at a time. Records flow in from committed batches by
//! [`Index::apply`], one thread at a time; verdicts flow out.

mod code;
mod entry;
mod verdict;
mod worth;

#[cfg(test)]
mod tests;

pub use code::Code;
pub use verdict::{Ask, Caller, FoundSecret, Refused, Shown, Verdict};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use papaya::HashMap as LockFreeMap;

use crate::domain::catalogue::Catalogue;
use crate::domain::ids::{OrganizationId, ProjectId, ServiceAccountId, UserId};
use crate::domain::record::{Credential, Grant};
use crate::domain::state::Changes;

use super::position::Position;
use entry::{Entry, Places};
use worth::{Standing, Worth};

/// Which secrets are accepted, and for what.
pub struct Index {
    /// A map, not a set: it replaces an entry by its equal, which has the newer record.
    entries: LockFreeMap<Entry, (), Places>,
    members: LockFreeMap<UserId, Standing>,
    accounts: LockFreeMap<ServiceAccountId, Standing>,
    projects: LockFreeMap<ProjectId, OrganizationId>,
    catalogue: ArcSwap<Catalogue>,
    /// Every distinct grant; only the writer takes the lock.
    worths: Mutex<BTreeMap<Grant, Arc<Worth>>>,
    position: Arc<Position>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("secrets", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Index {
    pub(super) fn new(position: Arc<Position>) -> Self {
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
    pub fn of(changes: &Changes) -> Self {
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
    pub fn secrets_len(&self) -> usize {
        self.entries.len()
    }

    /// Takes what a committed batch changed. When it returns, no verification that starts later
    /// accepts what the batch ended.
    pub fn apply(&self, changes: &Changes) {
        if let Some(catalogue) = &changes.catalogue {
            self.adopt(catalogue);
        }
        for project in &changes.projects {
            self.projects.pin().insert(project.id, project.organization);
        }
        for member in &changes.members {
            let standing = Standing {
                active: !member.removed,
                worth: self.worth_of_role(Some(&member.role)),
            };
            self.members.pin().insert(member.id, standing);
        }
        for account in &changes.accounts {
            let standing = Standing {
                active: !account.disabled && !account.deleted,
                worth: self.worth_of_role(account.role.as_deref()),
            };
            self.accounts.pin().insert(account.id, standing);
        }
        if self.entries.is_empty() {
            // At start: a table that grows is filled several times over.
            self.entries.pin().reserve(changes.credentials.len());
        }
        for credential in &changes.credentials {
            self.put(credential);
        }
    }

    /// Every grant is priced anew. Until it is, a reader sees that a price belongs to another
    /// catalogue than the one in force, and computes its own.
    fn adopt(&self, catalogue: &Arc<Catalogue>) {
        self.catalogue.store(Arc::clone(catalogue));
        let mut worths = self.worths.lock().unwrap_or_else(PoisonError::into_inner);
        worths.retain(|_, worth| Arc::strong_count(worth) > 1);
        for worth in worths.values() {
            worth.price(catalogue);
        }
    }

    fn put(&self, credential: &Arc<Credential>) {
        let worth = self.worth(credential.grant());
        let entries = self.entries.pin();
        for entry in Entry::all(credential, &worth) {
            entries.insert(entry, ());
        }
    }

    fn worth(&self, grant: &Grant) -> Arc<Worth> {
        let mut worths = self.worths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worth) = worths.get(grant) {
            return Arc::clone(worth);
        }
        let worth = Arc::new(Worth::new(grant.clone(), &self.catalogue.load()));
        worths.insert(grant.clone(), Arc::clone(&worth));
        worth
    }

    fn worth_of_role(&self, role: Option<&str>) -> Arc<Worth> {
        let role = role.map(str::to_owned);
        self.worth(&Grant {
            role,
            ..Grant::default()
        })
    }
}
