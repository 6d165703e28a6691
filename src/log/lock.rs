//! The one lock file of a data folder.
//!
//! Owns the promise that one process writes. Must never be taken by what only reads a copy. The
//! lock goes with the process, however it ends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The lock on a data folder, held until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: fs::File,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another process uses this data folder: it holds {0}")]
    Held(PathBuf),
    /// The system refused something.
    #[error("cannot lock {path}: it must be a file that this user may write, or be missing")]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl FolderLock {
    /// Takes the lock file, making it if need be, without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let refuse = |source| LockError::File {
            path: path.to_owned(),
            source: crate::private::explained(path, source),
        };
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(path).map_err(refuse)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(LockError::Held(path.to_owned())),
            Err(fs::TryLockError::Error(error)) => Err(refuse(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_once_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = FolderLock::take(&path).unwrap();
        assert!(matches!(FolderLock::take(&path), Err(LockError::Held(_))));
        drop(lock);
        FolderLock::take(&path).unwrap();
    }
}
