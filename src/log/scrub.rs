//! Checks full segments again, from the first, while the log is in use.
//!
//! Owns the walk over history that start leaves out: every byte, every commitment, every root
//! from the empty tree on. Must never change anything; whoever runs it stops writes and signing
//! when it reports damage.

use std::sync::Arc;

use super::error::{Damage, Trouble};
use super::follow::{End, Follow};
use super::index::Shared;
use super::segment::Opened;

/// A check in progress. It holds a frontier and one segment's bytes during a step.
#[derive(Debug)]
pub struct Scrub {
    shared: Arc<Shared>,
    follow: Follow,
}

impl Scrub {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        let follow = Follow::new();
        Self { shared, follow }
    }

    /// How far the log has been found whole.
    #[must_use]
    pub const fn checked(&self) -> u64 {
        self.follow.frontier.size()
    }

    /// Checks the next full segment. `false` when there is none: the one that is being written
    /// was checked at start, and since then only added to.
    ///
    /// # Errors
    /// Damage, or a failed call. The same step may be tried again after the latter.
    pub fn step(&mut self) -> Result<bool, Trouble> {
        let first = self.checked();
        if self.shared.segment_from(first + 1).is_none() {
            return Ok(false);
        }
        let segment = Opened::open_to_read(&self.shared.disk, &self.shared.folder, first)?;
        if segment.header.log_id != self.shared.log_id {
            let what = "the segment is another log's";
            return Err(Damage::new(&segment.path, 16, first, what).into());
        }
        let mut follow = self.follow.clone();
        follow
            .check_header(&segment)
            .map_err(|(_, damage)| damage)?;
        let bytes = segment.load()?;
        let from = Follow::start(&segment);
        let end = follow.batches(&segment, (&bytes, from), &mut |_event| {});
        let (offset, position, what) = match end.map_err(|(_, damage)| damage)? {
            End::Sealed => {
                self.follow = follow;
                return Ok(true);
            }
            End::Open {
                fault: Some(fault), ..
            } => (fault.offset, fault.position, fault.what),
            End::Open { behind, .. } => (behind.at, behind.position, "the segment has no seal"),
        };
        Err(Damage::new(&segment.path, offset as u64, position, what).into())
    }
}
