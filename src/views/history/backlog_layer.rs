//! What one batch of the store takes.

use super::progress::HistoryProgress;
use crate::domain::ids::Subject;

/// What one batch of the store takes.
pub(super) struct BacklogLayer {
    pub(super) events: Vec<(Subject, u32, u64)>,
    pub(super) applied: HistoryProgress,
}
