//! Making a ledger: whole, or begun anew by the next `init` or `serve`.
//!
//! Owns the marker of a ledger in the making: it is the first file in the folder, and it goes when
//! the founding events are durable, before anything is answered. A folder with it that holds
//! nothing but what the making itself writes is emptied; any other is refused as it is, above all
//! one in which a ledger was in use.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::in_use::sign_of_use;
use super::{BootError, Folder, Settings, make, new_origin, unusable};
use crate::domain::catalogue::Catalogue;
use crate::ledger::Ledger;
use crate::log::{DataFolderLock, initial_bytes_needed};
use crate::private::{self, LOST_AND_FOUND};

/// The marker's name.
const MARKER: &str = ".init";
/// What the making writes, and nothing else. `webhooks` is not among it: a server makes that.
const MADE: [&str; 8] = [
    "log",
    "checkpoints",
    "keys",
    ".keys.new",
    "views",
    "usage",
    "snapshots",
    "tiles",
];

impl Folder {
    /// Whether the making of a ledger was cut short here.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        let marker = fs::symlink_metadata(self.marker());
        marker.is_ok_and(|marker| marker.is_file())
    }

    fn marker(&self) -> PathBuf {
        self.path().join(MARKER)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.path())?.sync_all()
    }
}

/// Makes a ledger in an empty folder, opens it, and has `found` submit what it begins with. When
/// any of it fails, what was made is removed; `origin` names its checkpoints.
pub fn create_with<T, E: From<BootError>>(
    catalogue: Catalogue,
    mut settings: Settings,
    origin: Option<String>,
    found: impl FnOnce(&Ledger) -> Result<T, E>,
) -> Result<(Ledger, T), E> {
    let folder = settings.folder.clone();
    let failed = |source| unusable(&folder, source);
    if !folder.is_vacant().map_err(failed)? && !folder.is_unfinished() {
        return Err(BootError::NotVacant(folder.path().to_owned()).into());
    }
    let origin = new_origin(&mut settings, origin)?;
    fs::create_dir_all(folder.path()).map_err(failed)?;
    private::check_access(folder.path()).map_err(failed)?;
    folder.check_owner().map_err(BootError::from)?;
    let lock = DataFolderLock::try_acquire(&folder.lock()).map_err(BootError::from)?;
    private::restrict(folder.path()).map_err(failed)?;
    begin(&folder)?;
    check_room(&settings)
        .and_then(|()| make(catalogue, settings, origin, lock))
        .map_err(E::from)
        .and_then(|ledger| {
            let found = found(&ledger).and_then(|found| {
                fs::remove_file(folder.marker()).map_err(failed)?;
                folder.sync().map_err(failed)?;
                Ok(found)
            });
            match found {
                Ok(found) => Ok((ledger, found)),
                Err(why) => {
                    ledger.stop();
                    Err(why)
                }
            }
        })
        .inspect_err(|_why| abandon(&folder))
}

/// Puts the marker into an empty folder, or empties one that has it.
fn begin(folder: &Folder) -> Result<(), BootError> {
    let failed = |source| unusable(folder, source);
    if folder.is_unfinished() {
        let path = folder.path().display();
        tracing::warn!(folder = %path, "a ledger was not made whole here; it is made anew");
        return clear(folder);
    }
    if !folder.is_vacant().map_err(failed)? {
        return Err(BootError::NotVacant(folder.path().to_owned()));
    }
    let marker = File::create_new(folder.marker());
    marker
        .and_then(|marker| marker.sync_all())
        .map_err(failed)?;
    folder.sync().map_err(failed)
}

/// Removes what a making that failed has left, unless another process has the folder by now. What
/// cannot be removed is left to the next one.
fn abandon(folder: &Folder) {
    let Ok(lock) = DataFolderLock::try_acquire(&folder.lock()) else {
        return;
    };
    let is_cleared =
        folder.is_unfinished() && clear(folder).is_ok() && fs::remove_file(folder.marker()).is_ok();
    if !is_cleared {
        let path = folder.path().display();
        tracing::debug!(folder = %path, "what was made is left to the next start");
    }
    drop(lock);
}

/// Removes all but the marker and the lock.
fn clear(folder: &Folder) -> Result<(), BootError> {
    let failed = |source| unusable(folder, source);
    if let Some(part) = sign_of_use(folder).map_err(failed)? {
        return Err(BootError::InUse {
            marker: folder.marker(),
            part,
        });
    }
    if !holds_made_parts_only(folder).map_err(failed)? {
        return Err(BootError::NoWholeLedger(folder.path().to_owned()));
    }
    for name in MADE {
        match fs::remove_dir_all(folder.path().join(name)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(failed(why)),
            Ok(()) | Err(_) => {}
        }
    }
    folder.sync().map_err(failed)
}

/// Whether nothing is there but what the making of a ledger writes.
fn holds_made_parts_only(folder: &Folder) -> io::Result<bool> {
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = if entry.file_type()?.is_dir() {
            name == LOST_AND_FOUND || MADE.iter().any(|made| name == *made)
        } else {
            name == MARKER || entry.path() == folder.lock()
        };
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses a disk that cannot hold the first files of the log.
fn check_room(settings: &Settings) -> Result<(), BootError> {
    let path = settings.folder.path();
    let free = settings
        .disk
        .free_bytes(path)
        .map_err(|source| unusable(&settings.folder, source))?;
    let needed = initial_bytes_needed(settings.log);
    if free < needed {
        return Err(BootError::NoRoom {
            path: path.to_owned(),
            needed_mib: needed.div_ceil(1 << 20),
            free_mib: free >> 20,
        });
    }
    Ok(())
}
