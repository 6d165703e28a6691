//! Verifies the log from the empty tree, segment after segment, and all of it.
//!
//! Owns the definition of an intact log: each header follows the seal before it, each batch is
//! whole, and each root is that of the events. Must never change anything, nor judge how a log may
//! end: the scrub, which runs while the log is in use, and the inspection of a folder do that.

use std::path::Path;

use super::error::LogDamage;
use super::segment::{OpenedSegment, SEGMENT_HEADER_BYTES};
use super::walk::{BatchBoundary, FrameFault, SegmentWalk, WalkStep};
use crate::merkle::tile::TILE_HEIGHT;
use crate::merkle::{Frontier, Hash, leaf_hash};

/// An event as it is shown to the visitor of an inspection.
#[derive(Clone, Copy, Debug)]
pub struct InspectedEvent<'a> {
    /// Its position in the log.
    pub position: u64,
    /// The segment file that contains it.
    pub file: &'a Path,
    /// Where its frame begins there.
    pub offset: u64,
    /// Its stored bytes.
    pub payload: &'a [u8],
    /// SHA-256 of them: the entry of the tree.
    pub commitment: &'a Hash,
    pub leaf: &'a Hash,
    pub frontier: &'a Frontier,
    /// The roots over the last 256 leaves, over the last 256 times 256, and so on, of those that
    /// the leaf completes: what a tile of the level above holds.
    pub completed_tile_roots: &'a [Hash],
}

/// A log as far as it has been verified.
#[derive(Clone, Debug)]
pub(crate) struct LogVerifier {
    pub(crate) frontier: Frontier,
    /// The CRC that the next segment's header must name.
    chain: u32,
}

/// How the verification of a segment ended.
#[derive(Debug)]
pub(crate) enum SegmentEnd {
    /// With its seal: another segment follows, or will.
    Sealed,
    /// After the last whole batch: zeros, or bytes that are not a whole batch.
    Unsealed {
        behind: BatchBoundary,
        fault: Option<FrameFault>,
    },
}

/// Which check stored bytes have failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailedCheck {
    /// A segment's own header.
    Header,
    /// That segments follow one another, and none is missing.
    SegmentOrder,
    /// A frame or a batch: checksums, commitments, positions, padding.
    Batch,
    /// A root that is not that of the events.
    Root,
    /// The end of the log, or of a segment that another one follows.
    LogEnd,
}

/// Stored bytes that are not what was written, and the check that says so.
pub(crate) type CheckFailure = (FailedCheck, LogDamage);

impl LogVerifier {
    pub(crate) const fn new() -> Self {
        Self {
            frontier: Frontier::new(),
            chain: 0,
        }
    }

    /// Whether the segment continues what has been verified so far.
    pub(crate) fn check_segment_header(&self, segment: &OpenedSegment) -> Result<(), CheckFailure> {
        let header = &segment.header;
        let damage = |failed, offset, what| {
            let damage = LogDamage::new(&segment.path, offset, header.first_position, what);
            Err((failed, damage))
        };
        if header.previous_chain != self.chain {
            let what = "the segment does not follow the one before it";
            return damage(FailedCheck::SegmentOrder, 48, what);
        }
        if header.root != self.frontier.root() {
            let what = "the header's root is not that of the events before";
            return damage(FailedCheck::Root, 64, what);
        }
        Ok(())
    }

    /// Where the walk over a segment begins.
    pub(crate) const fn segment_start(segment: &OpenedSegment) -> BatchBoundary {
        BatchBoundary {
            offset: SEGMENT_HEADER_BYTES,
            chain: segment.chain,
            position: segment.header.first_position,
        }
    }

    /// Checks the batches of a segment from a place on and shows each event. When it fails, what
    /// was shown last may be part of the batch that failed.
    pub(crate) fn verify_batches(
        &mut self,
        segment: &OpenedSegment,
        bytes: &[u8],
        from: BatchBoundary,
        visit: &mut impl FnMut(&InspectedEvent<'_>),
    ) -> Result<SegmentEnd, CheckFailure> {
        let mut walk = SegmentWalk::resume(segment.header.log_id, bytes, from);
        let mut completed = Vec::new();
        loop {
            let behind = walk.boundary();
            let (root, sealed) = match walk.step() {
                WalkStep::Batch(commit) => (commit.root, None),
                WalkStep::Sealed(seal, chain) => (seal.root, Some(chain)),
                WalkStep::End => {
                    return Ok(SegmentEnd::Unsealed {
                        behind,
                        fault: None,
                    });
                }
                WalkStep::Fault(fault) => {
                    let fault = Some(fault);
                    return Ok(SegmentEnd::Unsealed { behind, fault });
                }
            };
            for event in &walk.events {
                let leaf = leaf_hash(&event.commitment);
                completed.clear();
                self.frontier.append_leaf_visiting(leaf, |subtree, root| {
                    if subtree.level > 0 && subtree.level % TILE_HEIGHT == 0 {
                        completed.push(*root);
                    }
                });
                visit(&InspectedEvent {
                    position: event.position,
                    file: &segment.path,
                    offset: event.offset as u64,
                    payload: walk.payload(event),
                    commitment: &event.commitment,
                    leaf: &leaf,
                    frontier: &self.frontier,
                    completed_tile_roots: &completed,
                });
            }
            if root != self.frontier.root() {
                let what = "a root that is not that of the events";
                let (at, position) = (behind.offset as u64, walk.position);
                let damage = LogDamage::new(&segment.path, at, position, what);
                return Err((FailedCheck::Root, damage));
            }
            if let Some(chain) = sealed {
                self.chain = chain;
                return Ok(SegmentEnd::Sealed);
            }
        }
    }
}
