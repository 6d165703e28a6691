//! One committed batch, as the views take it.

use std::sync::Arc;

use super::revocations::RevocationEntry;
use crate::domain::ids::Subject;
use crate::domain::state::Changes;

/// One committed batch as the views take it.
#[derive(Clone, Copy, Debug)]
pub struct CommittedBatch<'a> {
    /// The records that it changed, as they are after it.
    pub changes: &'a Changes,
    /// Its events: subject, the subject's version, position.
    pub events: &'a [(Subject, u32, u64)],
    /// What they add to the revocation feed, in order.
    pub revocation_entries: &'a [Arc<RevocationEntry>],
    /// Position of its last event.
    pub position: u64,
    /// Root of the tree after it.
    pub root: [u8; 32],
}
