//! The one lock file of a data folder.
//!
//! Owns the promise that one process writes. Must never be taken by what only reads a copy. The
//! lock goes with the process, however it ends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The lock on a data folder, held until it is dropped.
#[derive(Debug)]
pub struct DataFolderLock {
    _file: fs::File,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderLockError {
    /// Another process holds it.
    #[error("another process uses this data folder: it holds {0}")]
    HeldByOtherProcess(PathBuf),
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

impl DataFolderLock {
    /// Takes the lock file, making it if need be, without waiting.
    ///
    /// # Errors
    /// [`DataFolderLockError::HeldByOtherProcess`] when another process has it.
    pub fn try_acquire(path: &Path) -> Result<Self, DataFolderLockError> {
        let refuse = |source| DataFolderLockError::File {
            path: path.to_owned(),
            source: crate::private::explained(path, source),
        };
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(path).map_err(refuse)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => {
                Err(DataFolderLockError::HeldByOtherProcess(path.to_owned()))
            }
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
        let lock = DataFolderLock::try_acquire(&path).unwrap();
        assert!(matches!(
            DataFolderLock::try_acquire(&path),
            Err(DataFolderLockError::HeldByOtherProcess(_))
        ));
        drop(lock);
        DataFolderLock::try_acquire(&path).unwrap();
    }
}
