//! The right edge of the tree: what no full tile holds yet, at every level.
//!
//! Owns how a tree grows by one commitment after another and which tiles that fills. It computes
//! the root from what it was given alone, so that the root of the log's writer is checked by a
//! second computation. Pure: full tiles come out, and whoever grows it writes them.

use std::convert::Infallible;

use crate::merkle::tile::{TILE_HEIGHT, TILE_WIDTH, bundle, root_of};
use crate::merkle::{Frontier, Hash, Subtree, TileId, TileKind, leaf_hash, proof};

/// A tile that will never change, and its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct FullTile {
    pub(super) id: TileId,
    pub(super) bytes: Vec<u8>,
}

impl FullTile {
    pub(super) fn of_hashes(level: u8, index: u64, hashes: &[Hash]) -> Self {
        Self {
            id: TileId::full(level, index),
            bytes: hashes.concat(),
        }
    }

    pub(super) fn of_entries(index: u64, commitments: &[Hash]) -> Self {
        Self {
            id: TileId::full_bundle(index),
            bytes: bundle(commitments),
        }
    }
}

/// The edge of a tree of known size: at most 255 hashes a level, 65 KB in all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Edge {
    size: u64,
    commitments: Vec<Hash>,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// An edge put together from the commitments and hashes that stand in its partial tiles.
    pub(super) const fn new(size: u64, commitments: Vec<Hash>, levels: Vec<Vec<Hash>>) -> Self {
        Self {
            size,
            commitments,
            levels,
        }
    }

    /// How many leaves the tree has.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry; what it completes goes to `full`.
    pub(super) fn append(&mut self, commitment: &Hash, full: &mut Vec<FullTile>) {
        self.commitments.push(*commitment);
        if self.commitments.len() == TILE_WIDTH {
            let index = self.size >> TILE_HEIGHT;
            full.push(FullTile::of_entries(index, &self.commitments));
            self.commitments.clear();
        }
        let mut hash = leaf_hash(commitment);
        let mut index = self.size;
        for level in 0.. {
            index >>= TILE_HEIGHT;
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::with_capacity(TILE_WIDTH));
            }
            let Some(hashes) = self.levels.get_mut(at) else {
                break;
            };
            hashes.push(hash);
            if hashes.len() < TILE_WIDTH {
                break;
            }
            full.push(FullTile::of_hashes(level, index, hashes));
            let Some(root) = root_of(hashes) else { break };
            hash = root;
            hashes.clear();
        }
        self.size += 1;
    }

    /// The root over all leaves.
    pub(super) fn root(&self) -> Hash {
        // Every subtree of the frontier stands in a partial tile.
        let of_edge = |subtree| {
            let found = self.root_of(subtree);
            Ok::<Hash, Infallible>(found.unwrap_or_else(|| Frontier::new().root()))
        };
        match proof::root(self.size, of_edge) {
            Ok(root) => root,
            Err(never) => match never {},
        }
    }

    /// The root of a perfect subtree, if it stands in a partial tile.
    pub(super) fn root_of(&self, subtree: Subtree) -> Option<Hash> {
        let (level, at) = place(subtree)?;
        let hashes = self.partial(level, at.tile)?;
        root_of(hashes.get(at.start..at.end)?)
    }

    /// The hashes of a partial tile.
    fn partial(&self, level: u8, index: u64) -> Option<&[Hash]> {
        let shift = u32::from(level) * TILE_HEIGHT;
        let at_level = self.size.checked_shr(shift)?;
        let hashes = self.levels.get(usize::from(level))?;
        (index == at_level >> TILE_HEIGHT).then_some(hashes)
    }

    /// The bytes of a partial tile of this width, if it is at this edge.
    pub(super) fn tile(&self, id: TileId) -> Option<Vec<u8>> {
        let width = usize::from(id.width);
        match id.kind {
            TileKind::Entries if id.index == self.size >> TILE_HEIGHT => {
                Some(bundle(self.commitments.get(..width)?))
            }
            TileKind::Entries => None,
            TileKind::Hashes(level) => Some(self.partial(level, id.index)?.get(..width)?.concat()),
        }
    }
}

/// Where the hashes under a subtree's root stand: within one tile.
pub(super) struct InTile {
    pub(super) tile: u64,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The level of tiles that holds a subtree, and where there.
pub(super) fn place(subtree: Subtree) -> Option<(u8, InTile)> {
    let level = u8::try_from(subtree.level / TILE_HEIGHT).ok()?;
    let below = subtree.level % TILE_HEIGHT;
    let first = subtree.index.checked_shl(below)?;
    let start = usize::try_from(first % TILE_WIDTH as u64).ok()?;
    let in_tile = InTile {
        tile: first >> TILE_HEIGHT,
        start,
        end: start + (1 << below),
    };
    Some((level, in_tile))
}
