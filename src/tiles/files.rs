//! Full tiles as files: `DATA/tiles/<path of the tile>`, the names that clients use too.
//!
//! Owns the folder. A file comes by temporary name, sync and rename, and is never replaced: one
//! that exists must be what would be written. Must never judge what is in a tile.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::TileError;
use super::edge::FullTile;
use crate::log::{HEADROOM_BYTES, free_bytes};
use crate::merkle::TileId;

/// The folder of tiles.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where a full tile is, or would be.
    pub(super) fn path(&self, id: TileId) -> PathBuf {
        self.0.join(id.to_string())
    }

    /// The bytes of a full tile, if it is there.
    pub(super) fn read(&self, id: TileId) -> Result<Option<Vec<u8>>, TileError> {
        let path = self.path(id);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TileError::file("read", &path)(source)),
        }
    }

    /// Makes tiles durable. Those that are there already must be the same.
    pub(super) fn write(&self, tiles: &[FullTile]) -> Result<(), TileError> {
        self.check_room(tiles)?;
        let mut folders = BTreeSet::new();
        for tile in tiles {
            if let Some(bytes) = self.read(tile.id)? {
                if bytes == tile.bytes {
                    continue;
                }
                return Err(TileError::Differs(self.path(tile.id)));
            }
            let path = self.path(tile.id);
            let folder = path.parent().unwrap_or(&self.0);
            self.make_folder(folder, &mut folders)?;
            let temporary = temporary(&path);
            write_synced(&temporary, &tile.bytes).map_err(TileError::file("write", &temporary))?;
            fs::rename(&temporary, &path).map_err(TileError::file("rename to", &path))?;
            folders.insert(folder.to_owned());
        }
        for folder in folders {
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(TileError::file("sync", &folder))?;
        }
        Ok(())
    }

    /// Tiles stop before the log itself lacks room: they can be made again.
    fn check_room(&self, tiles: &[FullTile]) -> Result<(), TileError> {
        if tiles.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&self.0).map_err(TileError::file("create", &self.0))?;
        let bytes: usize = tiles.iter().map(|tile| tile.bytes.len()).sum();
        let needed = HEADROOM_BYTES.saturating_add(bytes as u64);
        let free = free_bytes(&self.0).map_err(TileError::file("look for room in", &self.0))?;
        if free < needed {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(TileError::file("write to", &self.0)(full));
        }
        Ok(())
    }

    /// Makes a folder and those above it; what holds a new one has to be synced.
    fn make_folder(&self, folder: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<(), TileError> {
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(TileError::file("create", folder))?;
        let above = folder.ancestors().skip(1);
        let above = above.take_while(|above| above.starts_with(&self.0));
        changed.extend(above.map(Path::to_owned));
        changed.extend(self.0.parent().map(Path::to_owned));
        Ok(())
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_added_extension("tmp")
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
