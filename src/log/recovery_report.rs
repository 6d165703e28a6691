//! What a start of the log begins with, and what it has found and done.

use std::path::PathBuf;

use crate::merkle::{Frontier, TreeHead};

/// What a start knows before it looks at the log.
#[derive(Clone, Debug, Default)]
pub struct ReplayStart {
    /// The newest signed checkpoint, if there is one.
    pub newest_checkpoint: Option<TreeHead>,
    /// The frontier of the newest snapshot, or the empty one. Its size is the position of the
    /// first event to replay.
    pub snapshot_frontier: Frontier,
}

/// What a start has found and done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecoveryReport {
    /// The position of the next event.
    pub next_position: u64,
    /// The position from which every frame was checked.
    pub checked_from: u64,
    /// Whether the last stop was clean.
    pub was_clean: bool,
    /// The torn tail, if there was one.
    pub torn: Option<TornTail>,
}

/// A batch that a crash cut short, and that was never acknowledged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// The offset at which the batch began.
    pub offset: u64,
    /// The position that its first event would have had.
    pub position: u64,
    /// What was not whole.
    pub fault: &'static str,
    /// Where its bytes were copied to.
    pub copy: PathBuf,
}
