//! The position of each organization's newest event: a follower of one organization sees without a
//! look into the log that nothing of it has been added.
//!
//! Must never lag behind the position that the views have published. Positions flow in with
//! committed batches, before theirs is published.

use std::sync::atomic::{AtomicU64, Ordering};

use papaya::HashMap as LockFreeMap;

use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::state::Changes;

/// The newest position of each organization that has had an event.
#[derive(Debug, Default)]
pub struct NewestPositions {
    positions: LockFreeMap<OrganizationId, u64>,
    /// The position of the newest event about the ledger as a whole.
    of_ledger: AtomicU64,
}

impl NewestPositions {
    /// Takes what a committed batch changed.
    pub fn apply(&self, changes: &Changes) {
        let positions = self.positions.pin();
        for head in &changes.heads {
            positions.insert(head.id, head.position);
        }
    }

    /// Takes the events of a committed batch, by their subjects and positions.
    pub fn apply_ledger_events(&self, events: &[(Subject, u32, u64)]) {
        let of_ledger =
            |(subject, _, _): &&(Subject, u32, u64)| matches!(subject, Subject::Ledger(_));
        if let Some((_, _, position)) = events.iter().rev().find(of_ledger) {
            self.of_ledger.store(*position, Ordering::Release);
        }
    }

    /// No event before this position is known: one of the ledger may be anywhere among them.
    pub fn assume_unknown_before(&self, next: u64) {
        let last = next.saturating_sub(1);
        self.of_ledger.store(last, Ordering::Release);
    }

    /// The position of the newest event of the ledger as a whole, or a later one.
    #[must_use]
    pub fn newest_of_ledger(&self) -> u64 {
        self.of_ledger.load(Ordering::Acquire)
    }

    /// The position of the newest event of an organization; it may be one that is about to be
    /// published.
    #[must_use]
    pub fn newest_of_organization(&self, organization: OrganizationId) -> Option<u64> {
        self.positions.pin().get(&organization).copied()
    }
}
