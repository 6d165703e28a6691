//! The published tree: its tiles, its checkpoints, and proofs against them.
//!
//! Owns `DATA/tiles` and what is published of the tree. Full tiles are files; those at the right
//! edge are in RAM with the newest checkpoint and are shown no further than that reaches. Files are
//! not the truth: one that is missing is made again from the log, and so is one that differs from
//! the log, which is set aside and reported. Must never sign anything. Commitments
//! flow in from the log, checkpoints from the signer; tiles, notes and proofs flow out.

mod right_edge;
mod tile_error;
mod tile_files;
mod tree_grower;

#[cfg(test)]
mod tests;

pub use tile_error::TileError;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::degraded::DegradedParts;
use crate::log::LogReader;
use crate::merkle::tile::{
    TILE_ENTRIES, TILE_HEIGHT, parse_bundle, parse_tile_hashes, root_of_hashes,
};
use crate::merkle::{Checkpoint, Hash, ProofError, Receipt, Subtree, TileId, TileKind, proof};
use crate::merkle::{leaf_hash, tile};
use right_edge::{FullTile, RightEdge, locate_subtree};
use tile_files::TileFiles;

pub(crate) use tree_grower::TreeGrower;

/// Checkpoints of the last minutes that receipts can be asked against: 330 bytes each. Beyond, one
/// an hour stays.
const RECENT_MAX: usize = 1_024;
/// Seconds of an hour.
const HOUR_S: u64 = 3_600;

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ProofUnavailable {
    /// Nothing has been published yet, or not so far.
    #[error("the position is not covered by a published checkpoint yet")]
    NotPublished,
    /// No checkpoint of that size is kept.
    #[error("no checkpoint of {0} events is kept")]
    UnknownCheckpoint(u64),
    /// The position is not in the tree of that size.
    #[error(transparent)]
    OutOfRange(#[from] ProofError),
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TileError),
}

/// A signed checkpoint that has been published, with its right edge.
#[derive(Debug)]
pub struct PublishedCheckpoint {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: Arc<str>,
    edge: RightEdge,
}

/// The published tree of a log.
#[derive(Debug)]
pub struct Tiles {
    files: TileFiles,
    reader: LogReader,
    newest: watch::Sender<Option<Arc<PublishedCheckpoint>>>,
    kept: RwLock<Kept>,
}

/// Notes that receipts can be asked against, by size.
#[derive(Debug, Default)]
struct Kept {
    hourly: BTreeMap<u64, Arc<str>>,
    recent: BTreeMap<u64, Arc<str>>,
    /// The hour of the newest hourly one.
    hour: Option<u64>,
}

impl Kept {
    fn add(&mut self, size: u64, note: &Arc<str>, seconds: u64) {
        let hour = seconds / HOUR_S;
        if self.hour != Some(hour) {
            self.hour = Some(hour);
            self.hourly.insert(size, Arc::clone(note));
        }
        self.recent.insert(size, Arc::clone(note));
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
    }

    fn note(&self, size: u64) -> Option<Arc<str>> {
        let found = self.recent.get(&size).or_else(|| self.hourly.get(&size));
        found.cloned()
    }
}

impl Tiles {
    /// The tree of a log, with its files in `folder`. Nothing is published yet.
    #[must_use]
    pub fn new(folder: PathBuf, reader: LogReader, degraded: DegradedParts) -> Self {
        Self {
            files: TileFiles::new(folder, degraded),
            reader,
            newest: watch::Sender::new(None),
            kept: RwLock::default(),
        }
    }

    /// What has been published last.
    #[must_use]
    pub fn newest_published(&self) -> Option<Arc<PublishedCheckpoint>> {
        self.newest.borrow().clone()
    }

    /// Waits until the event at a position is covered, for so long at most.
    pub async fn wait_until_published(&self, position: u64, within: Duration) -> bool {
        let mut news = self.newest.subscribe();
        let covered = |newest: &Option<Arc<PublishedCheckpoint>>| {
            newest
                .as_ref()
                .is_some_and(|newest| newest.checkpoint.size > position)
        };
        let waited = tokio::time::timeout(within, news.wait_for(covered)).await;
        waited.is_ok_and(|found| found.is_ok())
    }

    /// Remembers a checkpoint that was signed before, for receipts against it.
    pub(crate) fn remember_checkpoint(&self, size: u64, note: &str, seconds: u64) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.add(size, &Arc::from(note), seconds);
    }

    fn publish_checkpoint(&self, published: PublishedCheckpoint, seconds: u64) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.add(published.checkpoint.size, &published.note, seconds);
        drop(kept);
        self.newest.send_replace(Some(Arc::new(published)));
    }

    /// The bytes of a tile; `None` where the published tree has no such tile.
    ///
    /// # Errors
    /// When the tile's file or the log cannot be read.
    pub fn tile_bytes(&self, id: TileId) -> Result<Option<Vec<u8>>, TileError> {
        let Some(published) = self.newest_published() else {
            return Ok(None);
        };
        if !id.is_within_tree(published.checkpoint.size) {
            return Ok(None);
        }
        if let Some(bytes) = published.edge.partial_tile(id).filter(|_| !id.is_full()) {
            return Ok(Some(bytes));
        }
        // What is behind the edge is full, whatever of it is asked for.
        let mut bytes = self.full_tile_bytes(TileId { width: 256, ..id })?;
        let each = match id.kind {
            TileKind::Entries => tile::BUNDLE_ENTRY_BYTES,
            TileKind::Hashes(_) => size_of::<Hash>(),
        };
        bytes.truncate(usize::from(id.width) * each);
        Ok(Some(bytes))
    }

    /// A full tile: from its file, else from the log, and the file is made again.
    fn full_tile_bytes(&self, id: TileId) -> Result<Vec<u8>, TileError> {
        if let Some(bytes) = self.files.read_or_set_aside(id)? {
            let each = match id.kind {
                TileKind::Entries => tile::BUNDLE_ENTRY_BYTES,
                TileKind::Hashes(_) => size_of::<Hash>(),
            };
            if bytes.len() == each * tile::TILE_WIDTH {
                return Ok(bytes);
            }
            self.files.set_aside_differing(id)?;
        }
        let made = match id.kind {
            TileKind::Entries => {
                FullTile::from_commitments(id.index, &self.bundle_commitments(id.index)?)
            }
            TileKind::Hashes(0) => {
                let entries = self.bundle_commitments(id.index)?;
                let hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
                FullTile::from_hashes(0, id.index, &hashes)
            }
            TileKind::Hashes(level) => {
                let first = id.index * TILE_ENTRIES;
                let below = (first..first + TILE_ENTRIES)
                    .map(|below| self.root_of_tile(level - 1, below))
                    .collect::<Result<Vec<Hash>, _>>()?;
                FullTile::from_hashes(level, id.index, &below)
            }
        };
        // The tile is answered even where its file cannot be written.
        match self.files.write_tiles(std::slice::from_ref(&made)) {
            Ok(()) => {}
            Err(why @ TileError::File { .. }) => {
                tracing::warn!(%why, "a tile that was missing cannot be kept");
            }
            Err(why) => return Err(why),
        }
        Ok(made.bytes)
    }

    fn root_of_tile(&self, level: u8, index: u64) -> Result<Hash, TileError> {
        let bytes = self.full_tile_bytes(TileId::full_hash_tile(level, index))?;
        let hashes = parse_tile_hashes(&bytes).ok_or(TileError::SubtreeMissing)?;
        root_of_hashes(&hashes).ok_or(TileError::SubtreeMissing)
    }

    /// The commitments of a full bundle, from the log.
    fn bundle_commitments(&self, index: u64) -> Result<Vec<Hash>, TileError> {
        let first = index * TILE_ENTRIES;
        self.commitments(first, first + TILE_ENTRIES)
    }

    fn commitments(&self, from: u64, to: u64) -> Result<Vec<Hash>, TileError> {
        let mut commitments = Vec::new();
        let visit = |_, _: &[u8], commitment: &Hash| commitments.push(*commitment);
        self.reader.scan_with_commitments(from, to, visit)?;
        Ok(commitments)
    }

    /// The edge of the tree over the first `size` events, from files and the log.
    fn right_edge(&self, size: u64) -> Result<RightEdge, TileError> {
        let commitments = self.commitments(size - size % TILE_ENTRIES, size)?;
        let mut levels = vec![commitments.iter().map(|entry| leaf_hash(entry)).collect()];
        let mut below = size >> TILE_HEIGHT;
        for level in 1..tile::TILE_LEVELS {
            if below == 0 {
                break;
            }
            let first = below - below % TILE_ENTRIES;
            let roots = (first..below).map(|index| self.root_of_tile(level - 1, index));
            levels.push(roots.collect::<Result<Vec<Hash>, _>>()?);
            below >>= TILE_HEIGHT;
        }
        Ok(RightEdge::from_partial_tiles(size, commitments, levels))
    }

    /// The root of a perfect subtree that the published tree has.
    fn subtree_root(
        &self,
        published: &PublishedCheckpoint,
        subtree: Subtree,
    ) -> Result<Hash, TileError> {
        if let Some(root) = published.edge.subtree_root(subtree) {
            return Ok(root);
        }
        let (level, at) = locate_subtree(subtree).ok_or(TileError::SubtreeMissing)?;
        let bytes = self.full_tile_bytes(TileId::full_hash_tile(level, at.tile_index))?;
        let hashes = parse_tile_hashes(&bytes).ok_or(TileError::SubtreeMissing)?;
        let under = hashes
            .get(at.start..at.end)
            .ok_or(TileError::SubtreeMissing)?;
        root_of_hashes(under).ok_or(TileError::SubtreeMissing)
    }

    /// A receipt for the event at a position, against the newest checkpoint or one that is kept.
    /// Reads files: off the async threads.
    ///
    /// # Errors
    /// Any of [`ProofUnavailable`].
    pub fn receipt(&self, position: u64, size: Option<u64>) -> Result<Receipt, ProofUnavailable> {
        let published = self
            .newest_published()
            .ok_or(ProofUnavailable::NotPublished)?;
        let (size, note) = match size {
            None => (published.checkpoint.size, Arc::clone(&published.note)),
            Some(size) => {
                let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
                let note = kept
                    .note(size)
                    .filter(|_| size <= published.checkpoint.size);
                (size, note.ok_or(ProofUnavailable::UnknownCheckpoint(size))?)
            }
        };
        if position >= published.checkpoint.size {
            return Err(ProofUnavailable::NotPublished);
        }
        let roots = |subtree| self.subtree_root(&published, subtree);
        let hashes = proof::prove_inclusion(position, size, roots)??;
        Ok(Receipt {
            index: position,
            hashes,
            checkpoint: note.to_string(),
        })
    }

    /// A proof that the tree of `from` events is the beginning of the one of `to`, which must have
    /// been published. Reads files: off the async threads.
    ///
    /// # Errors
    /// [`ProofUnavailable::NotPublished`], [`ProofUnavailable::OutOfRange`] or
    /// [`ProofUnavailable::Tree`].
    pub fn consistency_proof(&self, from: u64, to: u64) -> Result<Vec<Hash>, ProofUnavailable> {
        let published = self
            .newest_published()
            .ok_or(ProofUnavailable::NotPublished)?;
        if to > published.checkpoint.size {
            return Err(ProofUnavailable::NotPublished);
        }
        let roots = |subtree| self.subtree_root(&published, subtree);
        Ok(proof::prove_consistency(from, to, roots)??)
    }

    /// The root over the first `size` events, which must have been published. Reads files: off the
    /// async threads.
    ///
    /// # Errors
    /// [`ProofUnavailable::NotPublished`] or [`ProofUnavailable::Tree`].
    pub fn root_at(&self, size: u64) -> Result<Hash, ProofUnavailable> {
        let published = self
            .newest_published()
            .ok_or(ProofUnavailable::NotPublished)?;
        if size > published.checkpoint.size {
            return Err(ProofUnavailable::NotPublished);
        }
        let roots = |subtree| self.subtree_root(&published, subtree);
        Ok(proof::tree_root(size, roots)?)
    }
}

/// The leaf hashes of a bundle's commitments, for recomputing a tree from bundles.
#[must_use]
pub fn bundle_leaf_hashes(bundled: &[u8]) -> Option<Vec<Hash>> {
    let commitments = parse_bundle(bundled)?;
    Some(commitments.iter().map(|entry| leaf_hash(entry)).collect())
}
