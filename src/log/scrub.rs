//! Checks full segments again, from the first, while the log is in use.
//!
//! Owns the walk over history that start leaves out: every byte, every commitment, every root
//! from the empty tree on. Must never change anything; whoever runs it stops writes and signing
//! when it reports damage.

use std::sync::Arc;

use super::error::{Damage, Trouble};
use super::index::Shared;
use super::segment::Opened;
use super::walk::{Step, Walk};
use crate::merkle::Frontier;

/// A check in progress. It holds a frontier and one segment's bytes during a step.
#[derive(Debug)]
pub struct Scrub {
    shared: Arc<Shared>,
    frontier: Frontier,
    /// The CRC that the next segment's header must name.
    chain: u32,
}

impl Scrub {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            frontier: Frontier::new(),
            chain: 0,
        }
    }

    /// How far the log has been found whole.
    #[must_use]
    pub const fn checked(&self) -> u64 {
        self.frontier.size()
    }

    /// Checks the next full segment. `false` when there is none: the one that is being written
    /// was checked at start, and since then only added to.
    ///
    /// # Errors
    /// Damage, or a failed call. The same step may be tried again after the latter.
    pub fn step(&mut self) -> Result<bool, Trouble> {
        let first = self.frontier.size();
        if self.shared.segment_from(first + 1).is_none() {
            return Ok(false);
        }
        let segment = Opened::open(&self.shared.disk, &self.shared.folder, first)?;
        let damage = |offset: usize, position, what| {
            Trouble::from(Damage::new(&segment.path, offset as u64, position, what))
        };
        if segment.header.log_id != self.shared.log_id {
            return Err(damage(16, first, "the segment is another log's"));
        }
        if segment.header.previous_chain != self.chain {
            return Err(damage(
                48,
                first,
                "the segment does not follow the one before it",
            ));
        }
        if segment.header.root != self.frontier.root() {
            return Err(damage(
                64,
                first,
                "the header's root is not that of the events before",
            ));
        }
        let mut frontier = self.frontier.clone();
        let bytes = segment.load()?;
        let mut walk = Walk::new(&segment, &bytes);
        loop {
            let at = walk.at;
            let (root, sealed) = match walk.step() {
                Step::Batch(commit) => (commit.root, None),
                Step::Sealed(seal, chain) => (seal.root, Some(chain)),
                Step::End => return Err(damage(at, walk.position, "the segment has no seal")),
                Step::Fault(fault) => {
                    return Err(damage(fault.offset, fault.position, fault.what));
                }
            };
            for event in &walk.events {
                frontier.append(&event.commitment);
            }
            if root != frontier.root() {
                return Err(damage(
                    at,
                    walk.position,
                    "a root that is not that of the events",
                ));
            }
            if let Some(chain) = sealed {
                (self.frontier, self.chain) = (frontier, chain);
                return Ok(true);
            }
        }
    }
}
