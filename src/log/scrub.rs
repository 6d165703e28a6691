//! Checks full segments again, from the first, while the log is in use.
//!
//! Owns the walk over history that start leaves out: every byte, every commitment, every root
//! from the empty tree on. Must never change anything; the caller stops writes and signing
//! when it reports damage.

use std::sync::Arc;

use super::error::{FileOrDamage, LogDamage};
use super::segment::OpenedSegment;
use super::shared_log::SharedLog;
use super::verifier::{LogVerifier, SegmentEnd};

/// A check in progress. It holds a frontier and one segment's bytes during a step.
#[derive(Debug)]
pub struct LogScrub {
    shared: Arc<SharedLog>,
    follow: LogVerifier,
}

impl LogScrub {
    pub(crate) const fn new(shared: Arc<SharedLog>) -> Self {
        let follow = LogVerifier::new();
        Self { shared, follow }
    }

    /// How far the log has been found whole.
    #[must_use]
    pub const fn checked_to(&self) -> u64 {
        self.follow.frontier.size()
    }

    /// Checks the next full segment. `false` when there is none: the one that is being written
    /// was checked at start, and since then only added to.
    ///
    /// # Errors
    /// Damage, or a failed call. The same step may be tried again after the latter.
    pub fn check_next_segment(&mut self) -> Result<bool, FileOrDamage> {
        let first = self.checked_to();
        if self.shared.first_segment_at_or_after(first + 1).is_none() {
            return Ok(false);
        }
        let segment = OpenedSegment::open_to_read(&self.shared.disk, &self.shared.folder, first)?;
        if segment.header.log_id != self.shared.log_id {
            let what = "the segment belongs to another log";
            return Err(LogDamage::new(&segment.path, 16, first, what).into());
        }
        let mut follow = self.follow.clone();
        follow
            .check_segment_header(&segment)
            .map_err(|(_, damage)| damage)?;
        let bytes = segment.load_zero_padded()?;
        let from = LogVerifier::segment_start(&segment);
        let end = follow.verify_batches(&segment, &bytes, from, &mut |_event| {});
        let (offset, position, what) = match end.map_err(|(_, damage)| damage)? {
            SegmentEnd::Sealed => {
                self.follow = follow;
                return Ok(true);
            }
            SegmentEnd::Unsealed {
                fault: Some(fault), ..
            } => (fault.offset, fault.position, fault.what),
            SegmentEnd::Unsealed { behind, .. } => {
                (behind.offset, behind.position, "the segment has no seal")
            }
        };
        Err(LogDamage::new(&segment.path, offset as u64, position, what).into())
    }
}
