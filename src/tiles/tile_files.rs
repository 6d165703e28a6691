//! Full tiles as files: `DATA/tiles/<path of the tile>`, the names that clients use too.
//!
//! Owns the folder. A file comes by temporary name, sync and rename, and is never written over: one
//! that exists and is not what would be written is set aside. Must never judge what is in a tile.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::right_edge::FullTile;
use super::tile_error::TileError;
use crate::degraded::{DegradedParts, Part};
use crate::log::{HEADROOM_BYTES, free_bytes};
use crate::merkle::TileId;
use crate::private;

/// The folder of tiles.
#[derive(Debug)]
pub(super) struct TileFiles {
    folder: PathBuf,
    /// Where damage is reported.
    degraded: DegradedParts,
    /// One writer at a time: what is missing is made by readers too.
    writing: Mutex<()>,
}

const DIFFERS: &str = "it is not the tile that the log makes; it is made again from the log";
const UNREADABLE: &str = "it cannot be read; it is made again from the log";

impl TileFiles {
    pub(super) const fn new(folder: PathBuf, degraded: DegradedParts) -> Self {
        Self {
            folder,
            degraded,
            writing: Mutex::new(()),
        }
    }

    /// Where a full tile is, or would be.
    pub(super) fn tile_path(&self, id: TileId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// The bytes of a full tile, if it is there; a file that cannot be read is set aside, unless
    /// this user may not read it.
    pub(super) fn read_or_set_aside(&self, id: TileId) -> Result<Option<Vec<u8>>, TileError> {
        let path = self.tile_path(id);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(why) if is_absent(&why) => Ok(None),
            Err(why) if private::is_denied(why.kind()) => {
                let why = private::explained(&path, why);
                Err(TileError::file("read", &path)(why))
            }
            Err(why) => {
                self.set_aside(&path, &format!("{UNREADABLE}: {why}"))?;
                Ok(None)
            }
        }
    }

    /// Sets aside the file of a tile that is not what the log makes.
    pub(super) fn set_aside_differing(&self, id: TileId) -> Result<(), TileError> {
        self.set_aside(&self.tile_path(id), DIFFERS)
    }

    fn set_aside(&self, path: &Path, why: &str) -> Result<(), TileError> {
        let done = self.degraded.set_aside(Part::Publishing, path, why);
        done.map(drop).map_err(TileError::file("set aside", path))
    }

    /// Makes a tile's file again if it is not what the log makes; whether it was missing.
    pub(super) fn rewrite_if_different(&self, tile: &FullTile) -> Result<bool, TileError> {
        let found = self.read_or_set_aside(tile.id)?;
        if found.as_ref() != Some(&tile.bytes) {
            self.write_tiles(std::slice::from_ref(tile))?;
        }
        Ok(found.is_none())
    }

    /// Makes tiles durable. Those that are there already and differ are set aside.
    pub(super) fn write_tiles(&self, tiles: &[FullTile]) -> Result<(), TileError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_room(tiles)?;
        let mut folders = BTreeSet::new();
        for tile in tiles {
            if let Some(bytes) = self.read_or_set_aside(tile.id)? {
                if bytes == tile.bytes {
                    continue;
                }
                self.set_aside_differing(tile.id)?;
            }
            let path = self.tile_path(tile.id);
            let folder = path.parent().unwrap_or(&self.folder);
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
        self.clear_way(&self.folder)?;
        fs::create_dir_all(&self.folder).map_err(TileError::file("create", &self.folder))?;
        let bytes: usize = tiles.iter().map(|tile| tile.bytes.len()).sum();
        let needed = HEADROOM_BYTES.saturating_add(bytes as u64);
        let free = free_bytes(&self.folder);
        let free = free.map_err(TileError::file("look for room in", &self.folder))?;
        if free < needed {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(TileError::file("write to", &self.folder)(full));
        }
        Ok(())
    }

    /// Sets aside what is in the place of a folder and is not one.
    fn clear_way(&self, folder: &Path) -> Result<(), TileError> {
        if folder.symlink_metadata().is_ok() && !folder.is_dir() {
            self.set_aside(folder, "it should be a folder")?;
        }
        Ok(())
    }

    /// Makes a folder and those above it; what holds a new one has to be synced.
    fn make_folder(&self, folder: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<(), TileError> {
        if folder.is_dir() {
            return Ok(());
        }
        for above in folder.ancestors() {
            if above.starts_with(&self.folder) {
                self.clear_way(above)?;
            }
        }
        fs::create_dir_all(folder).map_err(TileError::file("create", folder))?;
        let above = folder.ancestors().skip(1);
        let above = above.take_while(|above| above.starts_with(&self.folder));
        changed.extend(above.map(Path::to_owned));
        changed.extend(self.folder.parent().map(Path::to_owned));
        Ok(())
    }
}

/// Whether there is no such file, or a file in the place of a folder above it.
fn is_absent(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn temporary(path: &Path) -> PathBuf {
    path.with_added_extension("tmp")
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
