//! Where everything stands in a data folder.
//!
//! `log`, `checkpoints` and `keys` are the truth; `views`, `snapshots` and `tiles` are not, and
//! may be deleted at will.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::private::{self, LOST_AND_FOUND, OwnedByAnother};

/// Where everything is in a data folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The data folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The signed checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The snapshots of the state.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// The usage history.
    #[must_use]
    pub fn usage(&self) -> PathBuf {
        self.0.join("usage")
    }

    /// What webhooks have delivered.
    #[must_use]
    pub fn webhooks(&self) -> PathBuf {
        self.0.join("webhooks")
    }

    /// The tiles of the published tree.
    #[must_use]
    pub fn tiles(&self) -> PathBuf {
        self.0.join("tiles")
    }

    /// The history index.
    #[must_use]
    pub fn views(&self) -> PathBuf {
        self.0.join("views")
    }

    /// The ledger's own time, where it is ahead of the clock.
    #[must_use]
    pub fn time(&self) -> PathBuf {
        self.0.join("time")
    }

    /// The mark of a folder that was put back from an older copy.
    pub(super) fn restore_mark(&self) -> PathBuf {
        self.0.join("restored")
    }

    /// The lock file: whoever writes holds it.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Whether a ledger is, or should be, here.
    #[must_use]
    pub fn holds_ledger(&self) -> bool {
        self.log().is_dir()
    }

    /// Refuses root where another user owns the folder or anything in it. A ledger that is wholly
    /// root's may lie in a folder of another user, such as one that a container has mounted.
    ///
    /// # Errors
    /// When this process is root and the ledger is not.
    pub fn check_owner(&self) -> Result<(), OwnedByAnother> {
        if !self.holds_ledger() {
            private::check_folder_owner(&self.0)?;
        }
        private::check_owner_of_parts(&self.0)
    }

    /// Whether nothing is here, but for what the file system itself keeps and the lock of a command
    /// that made nothing.
    pub fn is_vacant(&self) -> io::Result<bool> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(why) => return Err(why),
        };
        for entry in entries {
            let entry = entry?;
            let is_lock = entry.path() == self.lock() && entry.file_type()?.is_file();
            if entry.file_name() != LOST_AND_FOUND && !is_lock {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
