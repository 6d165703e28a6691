//! Where each organization's newest event stands: whoever follows one organization sees without a
//! look into the log that nothing of it has been added.
//!
//! Must never lag behind the position that the views have published. Positions flow in with
//! committed batches, before theirs is published.

use papaya::HashMap as LockFreeMap;

use crate::domain::ids::OrganizationId;
use crate::domain::state::Changes;

/// The newest position of each organization that has had an event.
#[derive(Debug, Default)]
pub struct Newest {
    positions: LockFreeMap<OrganizationId, u64>,
}

impl Newest {
    /// Takes what a committed batch changed.
    pub fn apply(&self, changes: &Changes) {
        let positions = self.positions.pin();
        for head in &changes.heads {
            positions.insert(head.id, head.position);
        }
    }

    /// The position of the newest event of an organization; it may be one that is about to be
    /// published.
    #[must_use]
    pub fn of(&self, organization: OrganizationId) -> Option<u64> {
        self.positions.pin().get(&organization).copied()
    }
}
