//! Everything that can go wrong with the log, each with its file and the way out.
//!
//! Owns the error types of this module and of its neighbors. Must never hold a payload: an error
//! ends up in a log line.

use std::io;
use std::path::{Path, PathBuf};

use crate::private;

/// A call to the system that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct FileError {
    /// What was attempted: open, read, write, sync, rename, ...
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Stored bytes that are not what was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file} is damaged at offset {offset} (event position {position}): {what}. {way_out}")]
pub struct LogDamage {
    /// The damaged file.
    pub file: PathBuf,
    /// The offset of the frame or field in it.
    pub offset: u64,
    /// The position of the event at that offset, or of the one that should be there.
    pub position: u64,
    /// What is wrong.
    pub what: &'static str,
    /// What to do about it.
    pub way_out: &'static str,
}

const WAY_OUT: &str = "Nothing has been changed. Keep a copy of the data folder as it is, then \
    restore this file, or the whole data folder, from a backup or another copy";

impl LogDamage {
    pub(crate) fn new(file: &Path, offset: u64, position: u64, what: &'static str) -> Self {
        Self {
            file: file.to_owned(),
            offset,
            position,
            what,
            way_out: WAY_OUT,
        }
    }
}

/// A call that failed, or damage.
#[derive(Debug, thiserror::Error)]
pub enum FileOrDamage {
    /// The system refused something.
    #[error(transparent)]
    File(#[from] FileError),
    /// Stored bytes are not what was written.
    #[error(transparent)]
    Damaged(#[from] LogDamage),
}

/// Why a log could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LogCreateError {
    /// The settings are out of bounds.
    #[error("a segment size of {0} bytes is not allowed: use a multiple of 4096, 16 KiB to 1 GiB")]
    InvalidSegmentBytes(u64),
    /// There is a log already.
    #[error("there is a log in {0} already")]
    LogExists(PathBuf),
    /// The system refused something.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a log could not be opened. `E` is what the replay itself may fail with.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError<E: std::error::Error + 'static> {
    /// The settings are out of bounds.
    #[error("a segment size of {0} bytes is not allowed: use a multiple of 4096, 16 KiB to 1 GiB")]
    InvalidSegmentBytes(u64),
    /// The folder holds no segment at all.
    #[error("there is no log in {0}")]
    NoLog(PathBuf),
    /// The log must not be written to: stored bytes are not what was written.
    #[error(transparent)]
    Damaged(LogDamage),
    /// The snapshot from which to start is not one of this log; start from an older one.
    #[error("the snapshot at position {position} does not fit the log: {what}")]
    SnapshotMismatch {
        /// The snapshot's position.
        position: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// An event could not be replayed.
    #[error("the event at position {position} cannot be replayed")]
    Replay {
        /// The event's position.
        position: u64,
        /// What the replay said.
        #[source]
        source: E,
    },
    /// The system refused something.
    #[error(transparent)]
    File(FileError),
}

impl<E: std::error::Error + 'static> From<FileOrDamage> for LogOpenError<E> {
    fn from(trouble: FileOrDamage) -> Self {
        match trouble {
            FileOrDamage::File(error) => Self::File(error),
            FileOrDamage::Damaged(damage) => Self::Damaged(damage),
        }
    }
}

impl<E: std::error::Error + 'static> From<FileError> for LogOpenError<E> {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A batch has at least one event.
    #[error("a batch must have at least one event")]
    EmptyBatch,
    /// More than [`BATCH_EVENTS_MAX`](super::BATCH_EVENTS_MAX) events.
    #[error("a batch of {events} events is too large: at most {max} are allowed")]
    TooManyEvents {
        /// The batch's events.
        events: usize,
        /// The limit.
        max: usize,
    },
    /// A payload over [`PAYLOAD_BYTES_MAX`](super::PAYLOAD_BYTES_MAX).
    #[error("a payload of {bytes} bytes is too large: at most {max} are allowed")]
    PayloadTooLong {
        /// The payload's bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The batch is over 8 MiB or over what a segment holds.
    #[error("a batch of {bytes} bytes is too large: at most {max} are allowed")]
    BatchTooLong {
        /// The batch's bytes, heads and commit frame included.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// No room could be made. Nothing was written; the same batch may be sent again later.
    #[error("the log has no room")]
    DiskFull(#[source] io::Error),
    /// A write or sync of the log itself failed, now or before: whether the batch is there will
    /// be known after a restart. The process must end.
    #[error("the log's own write failed; the outcome is unknown until a restart")]
    Poisoned(#[source] Option<FileError>),
}

impl AppendError {
    /// Whether the process must end.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        matches!(self, Self::Poisoned(_))
    }
}

/// Why an event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogReadError {
    /// The position is not (yet) committed.
    #[error("there is no event at position {position}; the next one will be {next}")]
    NotCommitted {
        /// The position asked for.
        position: u64,
        /// The position of the next event to come.
        next: u64,
    },
    /// Stored bytes are not what was written.
    #[error(transparent)]
    Damaged(#[from] LogDamage),
    /// The system refused something.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<FileOrDamage> for LogReadError {
    fn from(trouble: FileOrDamage) -> Self {
        match trouble {
            FileOrDamage::File(error) => Self::File(error),
            FileOrDamage::Damaged(damage) => Self::Damaged(damage),
        }
    }
}

/// Names the file and the action in a system's error.
pub(crate) trait FileErrorContext<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> FileErrorContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError {
            action,
            path: path.to_owned(),
            source: private::explained(path, source),
        })
    }
}
