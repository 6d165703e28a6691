//! The tree that grows with the log, on the thread that signs.
//!
//! Owns the second computation: it reads what was written back from the log, so that a root is
//! signed only where the bytes on disk say the same as the writer. Must never publish more than was
//! signed. Full tiles become files after the checkpoint that covers them is kept, but for a log
//! that grew while nobody looked: that is caught up with in pieces.

use std::path::PathBuf;
use std::sync::Arc;

use super::edge::{Edge, FullTile};
use super::{Published, TileError, Tiles};
use crate::merkle::{Checkpoint, Hash};

/// Events of one piece: their tiles take 4.5 MB of RAM.
const EVENTS_PER_PIECE: u64 = 65_536;

/// A tree at the end of the log.
#[derive(Debug)]
pub(crate) struct Growing {
    tiles: Arc<Tiles>,
    pub(super) edge: Edge,
    /// Full tiles that are not files yet.
    full: Vec<FullTile>,
    /// A file that is not what the log makes of it: nothing is published beside such a one.
    differs: Option<PathBuf>,
}

impl Growing {
    /// The tree over the first `size` events, which should have this root. Tiles spare it the
    /// reading of the whole log, but they are not believed against it: where they lead to another
    /// root, the log is read from its beginning, and the file that differs is remembered.
    pub(crate) fn at(tiles: Arc<Tiles>, (size, root): (u64, Hash)) -> Result<Self, TileError> {
        let (edge, differs) = match tiles.edge(size) {
            Ok(edge) if edge.root() == root => (edge, None),
            Ok(_) | Err(TileError::Differs(_)) => of_log(&tiles, size)?,
            Err(why @ (TileError::Log(_) | TileError::File { .. } | TileError::Absent)) => {
                return Err(why);
            }
        };
        Ok(Self {
            tiles,
            edge,
            full: Vec::new(),
            differs,
        })
    }

    /// Grows to `size` events and gives the root over them.
    pub(crate) fn grow(&mut self, size: u64) -> Result<Hash, TileError> {
        while self.edge.size() < size {
            let from = self.edge.size();
            let to = size.min(from.saturating_add(EVENTS_PER_PIECE));
            let (edge, full) = (&mut self.edge, &mut self.full);
            let visit = |_, _: &[u8], commitment: &Hash| edge.append(commitment, full);
            self.tiles.reader.scan_committed(from, to, visit)?;
            if to < size {
                self.write()?;
            }
        }
        Ok(self.edge.root())
    }

    /// Makes files of what is full.
    fn write(&mut self) -> Result<(), TileError> {
        self.tiles.files.write(&self.full)?;
        self.full.clear();
        Ok(())
    }

    /// Shows a checkpoint that has been signed and kept, of the tree as it is.
    pub(crate) fn publish(
        &mut self,
        checkpoint: Checkpoint,
        note: &str,
        seconds: u64,
    ) -> Result<(), TileError> {
        if let Some(differs) = &self.differs {
            return Err(TileError::Differs(differs.clone()));
        }
        self.write()?;
        let published = Published {
            checkpoint,
            note: Arc::from(note),
            edge: self.edge.clone(),
        };
        self.tiles.publish(published, seconds);
        Ok(())
    }
}

/// The edge over the first `size` events by the log alone, and the first file that differs from it.
fn of_log(tiles: &Tiles, size: u64) -> Result<(Edge, Option<PathBuf>), TileError> {
    let (mut edge, mut full, mut differs) = (Edge::default(), Vec::new(), None);
    while edge.size() < size {
        let from = edge.size();
        let to = size.min(from.saturating_add(EVENTS_PER_PIECE));
        let visit = |_, _: &[u8], commitment: &Hash| edge.append(commitment, &mut full);
        tiles.reader.scan_committed(from, to, visit)?;
        for tile in full.drain(..) {
            let stored = tiles.files.read(tile.id)?;
            if differs.is_none() && stored.is_some_and(|stored| stored != tile.bytes) {
                differs = Some(tiles.files.path(tile.id));
            }
        }
    }
    Ok((edge, differs))
}
