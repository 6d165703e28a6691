//! The tiles on disk, held against the tree as it is followed.
//!
//! Owns the tiles in the making: 256 hashes a level. Must never write one. A tile that is missing
//! is no damage, since it is made again from the log.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::verdict::{Finding, Kind};
use crate::log::InspectedEvent;
use crate::merkle::tile::{TILE_WIDTH, encode_bundle};
use crate::merkle::{Hash, TileId};

/// The tiles of a folder, as far as the tree has come.
#[derive(Debug)]
pub(super) struct Tiles {
    folder: PathBuf,
    is_there: bool,
    /// Of each level the hashes since its last full tile, and how many full ones there were.
    levels: Vec<(Vec<Hash>, u64)>,
    entries: Vec<Hash>,
    pub(super) present: u64,
    pub(super) missing: u64,
}

impl Tiles {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            is_there: folder.is_dir(),
            folder,
            levels: Vec::new(),
            entries: Vec::new(),
            present: 0,
            missing: 0,
        }
    }

    /// Takes the next leaf, and looks at the tiles that it makes full.
    pub(super) fn take(&mut self, event: &InspectedEvent<'_>) -> Result<(), Finding> {
        if !self.is_there {
            return Ok(());
        }
        self.entries.push(*event.commitment);
        if self.entries.len() == TILE_WIDTH {
            let bytes = encode_bundle(&self.entries);
            self.entries.clear();
            self.compare(TileId::full_bundle(event.position / 256), &bytes)?;
        }
        let mut hash = *event.leaf;
        for level in 0..=u8::MAX {
            let at = usize::from(level);
            if at == self.levels.len() {
                self.levels.push((Vec::new(), 0));
            }
            let Some((hashes, full)) = self.levels.get_mut(at) else {
                break;
            };
            hashes.push(hash);
            if hashes.len() < TILE_WIDTH {
                break;
            }
            let (hashes, index) = (std::mem::take(hashes), *full);
            *full += 1;
            let id = TileId::full_hash_tile(level, index);
            self.compare(id, hashes.as_flattened())?;
            match event.completed_tile_roots.get(at) {
                Some(root) => hash = *root,
                None => break,
            }
        }
        Ok(())
    }

    fn compare(&mut self, id: TileId, bytes: &[u8]) -> Result<(), Finding> {
        let path = self.folder.join(id.to_string());
        let what = match fs::read(&path) {
            Ok(found) if found == bytes => {
                self.present += 1;
                return Ok(());
            }
            Ok(found) if found.len() != bytes.len() => {
                format!("it has {} bytes and not {}", found.len(), bytes.len())
            }
            Ok(_) => "its hashes are not those of the tree".to_owned(),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                self.missing += 1;
                return Ok(());
            }
            Err(why) => format!("it cannot be read: {why}"),
        };
        Err(Finding::new(Kind::Tile, what).in_file(&path))
    }
}
