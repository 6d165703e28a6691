//! A signed checkpoint as it is stored, and why one was not stored.

use std::io;
use std::path::PathBuf;

use super::error::{FileError, FileOrDamage, LogDamage};
use crate::merkle::Hash;

/// Bytes of a note at most: three ML-DSA-44 signatures of 3.3 KB and a dozen small ones.
pub(super) const NOTE_BYTES_MAX: usize = 16 * 1024;

/// A signed checkpoint as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedCheckpoint {
    /// The size that was signed.
    pub size: u64,
    /// The root that was signed.
    pub root: Hash,
    /// When, in seconds since 1970.
    pub seconds: u64,
    /// The note, with its signatures.
    pub note: String,
}

/// Why a checkpoint was not stored, or the folder not opened.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointStoreError {
    /// There are checkpoint files already.
    #[error("there are checkpoints in {0} already")]
    AlreadyExists(PathBuf),
    /// There are none.
    #[error("there are no checkpoints in {0}")]
    Missing(PathBuf),
    /// The checkpoint is below the last one.
    #[error("a checkpoint of size {size} cannot follow one of size {newest}")]
    SizeShrinks {
        /// The size refused.
        size: u64,
        /// The newest size.
        newest: u64,
    },
    /// The checkpoint has another root than the last one of the same size.
    #[error("two checkpoints of size {size} with different roots")]
    ConflictingRoots {
        /// The size of both.
        size: u64,
    },
    /// The note is empty, or longer than a note may be.
    #[error("a note must have 1 to {NOTE_BYTES_MAX} bytes, not {bytes}")]
    InvalidNoteLength {
        /// The note's bytes.
        bytes: usize,
    },
    /// No room could be made: signing stops, the log goes on. May be tried again later.
    #[error("there is no room for checkpoints")]
    DiskFull(#[source] io::Error),
    /// A write or sync failed: this checkpoint must not be shown. The next one begins a new file.
    #[error("a write of the checkpoint file failed")]
    Poisoned(#[source] FileError),
    /// Stored bytes are not what was written.
    #[error(transparent)]
    Damaged(#[from] LogDamage),
    /// The system refused something.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<FileOrDamage> for CheckpointStoreError {
    fn from(trouble: FileOrDamage) -> Self {
        match trouble {
            FileOrDamage::File(error) => Self::File(error),
            FileOrDamage::Damaged(damage) => Self::Damaged(damage),
        }
    }
}
