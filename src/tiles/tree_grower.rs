//! The tree that grows with the log, on the thread that signs.
//!
//! Owns the second computation: it reads what was written back from the log, so that a root is
//! signed only where the bytes on disk say the same as the writer. Must never publish more than was
//! signed. Full tiles become files after the checkpoint that covers them is kept, but for a log
//! that grew while none was signed: that is caught up with in pieces.

use std::sync::Arc;

use super::right_edge::{FullTile, RightEdge};
use super::{PublishedCheckpoint, TileError, Tiles};
use crate::merkle::{Checkpoint, Hash, TreeHead};

/// Events of one piece: their tiles take 4.5 MB of RAM.
const EVENTS_PER_PIECE: u64 = 65_536;

/// A tree at the end of the log.
#[derive(Debug)]
pub(crate) struct TreeGrower {
    tiles: Arc<Tiles>,
    pub(super) edge: RightEdge,
    /// Full tiles that are not files yet.
    full: Vec<FullTile>,
}

impl TreeGrower {
    /// The tree over the first events, which should have this size and root. Tiles spare it the
    /// reading of the whole log, but they are not believed against it: where they lead to another
    /// root, the log is read from its beginning, and files that differ are made again.
    pub(crate) fn resume_at(tiles: Arc<Tiles>, tree: TreeHead) -> Result<Self, TileError> {
        let TreeHead { size, root } = tree;
        let edge = match tiles.right_edge(size)? {
            edge if edge.root() == root => edge,
            _of_other_tiles => tiles.edge_by_log(size, || false)?,
        };
        Ok(Self {
            tiles,
            edge,
            full: Vec::new(),
        })
    }

    /// Grows to `size` events and gives the root over them.
    pub(crate) fn grow_to(&mut self, size: u64) -> Result<Hash, TileError> {
        while self.edge.size() < size {
            let from = self.edge.size();
            let to = size.min(from.saturating_add(EVENTS_PER_PIECE));
            let (edge, full) = (&mut self.edge, &mut self.full);
            let visit = |_, _: &[u8], commitment: &Hash| edge.append_commitment(commitment, full);
            self.tiles.reader.scan_with_commitments(from, to, visit)?;
            if to < size {
                self.write_full_tiles()?;
            }
        }
        Ok(self.edge.root())
    }

    /// Makes files of what is full.
    fn write_full_tiles(&mut self) -> Result<(), TileError> {
        self.tiles.files.write_tiles(&self.full)?;
        self.full.clear();
        Ok(())
    }

    /// Shows a checkpoint that has been signed and kept, of the tree as it is.
    pub(crate) fn publish_checkpoint(
        &mut self,
        checkpoint: Checkpoint,
        note: &str,
        seconds: u64,
    ) -> Result<(), TileError> {
        self.write_full_tiles()?;
        let published = PublishedCheckpoint {
            checkpoint,
            note: Arc::from(note),
            edge: self.edge.clone(),
        };
        self.tiles.publish_checkpoint(published, seconds);
        Ok(())
    }
}

impl Tiles {
    /// Holds the files of tiles of the first `size` events against the log: those that differ or
    /// are missing are made again. Ends early when `is_stopping`.
    pub(crate) fn rewrite_differing_files(
        &self,
        size: u64,
        is_stopping: impl Fn() -> bool,
    ) -> Result<(), TileError> {
        self.edge_by_log(size, is_stopping).map(drop)
    }

    /// The same, with the edge over those events by the log alone.
    fn edge_by_log(
        &self,
        size: u64,
        is_stopping: impl Fn() -> bool,
    ) -> Result<RightEdge, TileError> {
        let (mut edge, mut full, mut missing) = (RightEdge::default(), Vec::new(), 0_u64);
        while edge.size() < size && !is_stopping() {
            let from = edge.size();
            let to = size.min(from.saturating_add(EVENTS_PER_PIECE));
            let visit =
                |_, _: &[u8], commitment: &Hash| edge.append_commitment(commitment, &mut full);
            self.reader.scan_with_commitments(from, to, visit)?;
            for tile in full.drain(..) {
                missing += u64::from(self.files.rewrite_if_different(&tile)?);
            }
        }
        if missing > 0 {
            tracing::warn!(
                missing,
                "tiles were missing and have been made again from the log"
            );
        }
        Ok(edge)
    }
}
