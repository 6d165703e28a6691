//! The right edge of the tree: what no full tile holds yet, at every level.
//!
//! Owns how a tree grows by one commitment after another and which tiles that fills. It computes
//! the root from what it was given alone, so that the root of the log's writer is checked by a
//! second computation. Pure: full tiles come out, and the caller writes them.

use std::convert::Infallible;

use crate::merkle::tile::{TILE_HEIGHT, TILE_WIDTH, encode_bundle, root_of_hashes};
use crate::merkle::{Frontier, Hash, Subtree, TileId, TileKind, leaf_hash, proof};

/// A tile that will never change, and its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct FullTile {
    pub(super) id: TileId,
    pub(super) bytes: Vec<u8>,
}

impl FullTile {
    pub(super) fn from_hashes(level: u8, index: u64, hashes: &[Hash]) -> Self {
        Self {
            id: TileId::full_hash_tile(level, index),
            bytes: hashes.concat(),
        }
    }

    pub(super) fn from_commitments(index: u64, commitments: &[Hash]) -> Self {
        Self {
            id: TileId::full_bundle(index),
            bytes: encode_bundle(commitments),
        }
    }
}

/// The edge of a tree of known size: at most 255 hashes a level, 65 KB in all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct RightEdge {
    size: u64,
    commitments: Vec<Hash>,
    levels: Vec<Vec<Hash>>,
}

impl RightEdge {
    /// An edge put together from the commitments and hashes in its partial tiles.
    pub(super) const fn from_partial_tiles(
        size: u64,
        commitments: Vec<Hash>,
        levels: Vec<Vec<Hash>>,
    ) -> Self {
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
    pub(super) fn append_commitment(&mut self, commitment: &Hash, full: &mut Vec<FullTile>) {
        self.commitments.push(*commitment);
        if self.commitments.len() == TILE_WIDTH {
            let index = self.size >> TILE_HEIGHT;
            full.push(FullTile::from_commitments(index, &self.commitments));
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
            full.push(FullTile::from_hashes(level, index, hashes));
            let Some(root) = root_of_hashes(hashes) else {
                break;
            };
            hash = root;
            hashes.clear();
        }
        self.size += 1;
    }

    /// The root over all leaves.
    pub(super) fn root(&self) -> Hash {
        // Every subtree of the frontier is in a partial tile.
        let of_edge = |subtree| {
            let found = self.subtree_root(subtree);
            Ok::<Hash, Infallible>(found.unwrap_or_else(|| Frontier::new().root()))
        };
        match proof::tree_root(self.size, of_edge) {
            Ok(root) => root,
            Err(never) => match never {},
        }
    }

    /// The root of a perfect subtree, if a partial tile holds it.
    pub(super) fn subtree_root(&self, subtree: Subtree) -> Option<Hash> {
        let (level, at) = locate_subtree(subtree)?;
        let hashes = self.partial_hashes(level, at.tile_index)?;
        root_of_hashes(hashes.get(at.start..at.end)?)
    }

    /// The hashes of a partial tile.
    fn partial_hashes(&self, level: u8, index: u64) -> Option<&[Hash]> {
        let shift = u32::from(level) * TILE_HEIGHT;
        let at_level = self.size.checked_shr(shift)?;
        let hashes = self.levels.get(usize::from(level))?;
        (index == at_level >> TILE_HEIGHT).then_some(hashes)
    }

    /// The bytes of a partial tile of this width, if it is at this edge.
    pub(super) fn partial_tile(&self, id: TileId) -> Option<Vec<u8>> {
        let width = usize::from(id.width);
        match id.kind {
            TileKind::Entries if id.index == self.size >> TILE_HEIGHT => {
                Some(encode_bundle(self.commitments.get(..width)?))
            }
            TileKind::Entries => None,
            TileKind::Hashes(level) => {
                Some(self.partial_hashes(level, id.index)?.get(..width)?.concat())
            }
        }
    }
}

/// Where the hashes under a subtree's root are: within one tile.
pub(super) struct TileRange {
    pub(super) tile_index: u64,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The level of tiles that holds a subtree, and where there.
pub(super) fn locate_subtree(subtree: Subtree) -> Option<(u8, TileRange)> {
    let level = u8::try_from(subtree.level / TILE_HEIGHT).ok()?;
    let below = subtree.level % TILE_HEIGHT;
    let first = subtree.index.checked_shl(below)?;
    let start = usize::try_from(first % TILE_WIDTH as u64).ok()?;
    let in_tile = TileRange {
        tile_index: first >> TILE_HEIGHT,
        start,
        end: start + (1 << below),
    };
    Some((level, in_tile))
}
