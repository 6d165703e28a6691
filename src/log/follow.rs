//! Follows the log from the empty tree, segment after segment, and checks all of it.
//!
//! Owns what whole history is: each header follows the seal before it, each batch is whole, and
//! each root is that of the events. Must never change anything, nor judge how a log may end: the
//! scrub, which runs while the log is in use, and the inspection of a folder do that.

use std::path::Path;

use super::error::Damage;
use super::segment::{HEADER_BYTES, Opened};
use super::walk::{Fault, Standing, Step, Walk};
use crate::merkle::tile::TILE_HEIGHT;
use crate::merkle::{Frontier, Hash, leaf_hash};

/// An event of a log that is followed.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'a> {
    /// Its place in the log.
    pub position: u64,
    /// The segment that it stands in.
    pub file: &'a Path,
    /// Where its frame begins there.
    pub offset: u64,
    /// Its stored bytes.
    pub payload: &'a [u8],
    /// SHA-256 of them: the entry of the tree.
    pub commitment: &'a Hash,
    pub leaf: &'a Hash,
    pub tree: &'a Frontier,
    /// The roots over the last 256 leaves, over the last 256 times 256, and so on, of those that
    /// the leaf completes: what a tile of the level above holds.
    pub completed: &'a [Hash],
}

/// A log as far as it has been followed.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    pub(crate) frontier: Frontier,
    /// The CRC that the next segment's header must name.
    chain: u32,
}

/// How the walk over a segment ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With its seal: another segment follows, or will.
    Sealed,
    /// Behind the last whole batch: zeros, or something that is none.
    Open {
        behind: Standing,
        fault: Option<Fault>,
    },
}

/// Which check stored bytes have failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failed {
    /// A segment's own header.
    Header,
    /// That segments follow one another, and none is missing.
    Order,
    /// A frame or a batch: checksums, commitments, positions, padding.
    Batch,
    /// A root that is not that of the events.
    Root,
    /// The end of the log, or of a segment that another one follows.
    End,
}

/// Stored bytes that are not what was written, and the check that says so.
pub(crate) type Refused = (Failed, Damage);

impl Follow {
    pub(crate) const fn new() -> Self {
        Self {
            frontier: Frontier::new(),
            chain: 0,
        }
    }

    /// Whether the segment follows what has been followed so far.
    pub(crate) fn check_header(&self, segment: &Opened) -> Result<(), Refused> {
        let header = &segment.header;
        let damage = |failed, offset, what| {
            let damage = Damage::new(&segment.path, offset, header.first, what);
            Err((failed, damage))
        };
        if header.previous_chain != self.chain {
            let what = "the segment does not follow the one before it";
            return damage(Failed::Order, 48, what);
        }
        if header.root != self.frontier.root() {
            let what = "the header's root is not that of the events before";
            return damage(Failed::Root, 64, what);
        }
        Ok(())
    }

    /// Where the walk over a segment begins.
    pub(crate) const fn start(segment: &Opened) -> Standing {
        Standing {
            at: HEADER_BYTES,
            chain: segment.chain,
            position: segment.header.first,
        }
    }

    /// Checks the batches of a segment from a place on and shows each event. When it fails, what
    /// was shown last may be part of the batch that failed.
    pub(crate) fn batches(
        &mut self,
        segment: &Opened,
        (bytes, from): (&[u8], Standing),
        visit: &mut impl FnMut(&Followed<'_>),
    ) -> Result<End, Refused> {
        let mut walk = Walk::resume(segment.header.log_id, bytes, from);
        let mut completed = Vec::new();
        loop {
            let behind = walk.standing();
            let (root, sealed) = match walk.step() {
                Step::Batch(commit) => (commit.root, None),
                Step::Sealed(seal, chain) => (seal.root, Some(chain)),
                Step::End => {
                    return Ok(End::Open {
                        behind,
                        fault: None,
                    });
                }
                Step::Fault(fault) => {
                    let fault = Some(fault);
                    return Ok(End::Open { behind, fault });
                }
            };
            for event in &walk.events {
                let leaf = leaf_hash(&event.commitment);
                completed.clear();
                self.frontier.append_leaf_showing(leaf, |subtree, root| {
                    if subtree.level > 0 && subtree.level % TILE_HEIGHT == 0 {
                        completed.push(*root);
                    }
                });
                visit(&Followed {
                    position: event.position,
                    file: &segment.path,
                    offset: event.offset as u64,
                    payload: walk.payload(event),
                    commitment: &event.commitment,
                    leaf: &leaf,
                    tree: &self.frontier,
                    completed: &completed,
                });
            }
            if root != self.frontier.root() {
                let what = "a root that is not that of the events";
                let (at, position) = (behind.at as u64, walk.position);
                let damage = Damage::new(&segment.path, at, position, what);
                return Err((Failed::Root, damage));
            }
            if let Some(chain) = sealed {
                self.chain = chain;
                return Ok(End::Sealed);
            }
        }
    }
}
