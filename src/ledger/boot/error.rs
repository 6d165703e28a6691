//! Why a ledger could not be made or opened. Paths and reasons, never a secret.

use std::io;
use std::path::PathBuf;

use super::folder::Folder;
use crate::domain::catalogue::InvalidText;
use crate::domain::unreadable::UnreadableEvent;
use crate::ledger::SubmitError;
use crate::ledger::signing::SignersError;
use crate::log::{
    CheckpointStoreError, DataFolderLockError, FileError, LogCreateError, LogOpenError,
    LogReadError,
};
use crate::merkle::{CheckpointError, NoteError};
use crate::private;
use crate::seal::SealError;
use crate::views::history::HistoryOpenError;

/// Why a ledger could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The folder holds something already.
    #[error(
        "{} is not empty; a ledger is made in an empty folder: name another one with --data-dir",
        .0.display()
    )]
    NotVacant(PathBuf),
    /// The folder holds something, and no ledger that could be opened.
    #[error(
        "{} is not empty and holds no whole ledger: empty the folder (hidden files too) to make a \
         ledger in it, or name another one with --data-dir",
        .0.display()
    )]
    NoWholeLedger(PathBuf),
    /// An unfinished `init` by its marker, and a ledger that was in use by the rest.
    #[error(
        "{} marks a ledger that was not made whole, but {} shows that one was in use here; nothing \
         is removed. Remove the marker if the ledger is whole; otherwise restore a backup into an \
         empty folder",
        marker.display(), part.display()
    )]
    InUse {
        marker: PathBuf,
        /// What a making never leaves like this.
        part: PathBuf,
    },
    /// The folder holds no ledger.
    #[error("there is no ledger in {}; make one with `keyledger init`", .0.display())]
    NoLedger(PathBuf),
    /// An unfinished `init`.
    #[error(
        "making the ledger in {} was cut short: run `keyledger init`, or `keyledger serve`, again",
        .0.display()
    )]
    Unfinished(PathBuf),
    /// The disk is too full for a ledger.
    #[error(
        "{needed_mib} MiB must be free in {} for a new ledger, and {free_mib} MiB are: make room, \
         or name a folder on another disk with --data-dir",
        path.display()
    )]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// What must be free.
        needed_mib: u64,
        /// What is free.
        free_mib: u64,
    },
    /// Another log's keys or checkpoints.
    #[error("the {what} of another ledger stand in this folder")]
    Mixed {
        /// What is foreign.
        what: &'static str,
    },
    /// Something derived from the log knows of events that the log does not hold.
    #[error(
        "the log ends before position {next}, but {} holds the event at position {}: the log was \
         rolled back, and keys that were revoked since may be accepted again. Put the newer log \
         back, or, if it is lost, run `keyledger mark-restored` on this folder to go on from here",
        beyond.path.display(), beyond.position
    )]
    RolledBack {
        /// The position after the log's last event.
        next: u64,
        /// What holds more.
        beyond: SeenBeyond,
    },
    /// The origin cannot be the name of a signing key.
    #[error("an origin has 1 to 255 bytes, no white space and no plus sign")]
    OriginInvalid,
    /// The folder cannot be used.
    #[error("cannot use {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The mark of a restore cannot be read.
    #[error(
        "the mark of a restore in {} cannot be read: remove it, then run `keyledger mark-restored` \
         on this folder",
        path.display()
    )]
    Mark {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is another user's.
    #[error(transparent)]
    Owner(#[from] private::OwnedByAnother),
    /// Another process has it.
    #[error(transparent)]
    Lock(#[from] DataFolderLockError),
    #[error("the keys cannot be used")]
    Keys(#[from] SealError),
    /// The log could not be made.
    #[error("the log cannot be made")]
    Create(#[from] LogCreateError),
    /// The log could not be opened.
    #[error(transparent)]
    Open(#[from] LogOpenError<ReplayError>),
    /// The log could not be read.
    #[error("the log cannot be read")]
    Read(#[from] LogReadError),
    /// A file of the log.
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "the checkpoints cannot be used: put the file back from a copy of the same age, or restore \
         a backup with `keyledger restore`"
    )]
    Floor(#[source] CheckpointStoreError),
    /// A checkpoint is not ours.
    #[error(
        "the newest checkpoint does not verify: the folder's checkpoints or keys are damaged or \
         another ledger's; put both back from one backup"
    )]
    Checkpoint(#[from] CheckpointError),
    /// The signing key cannot be used under the origin.
    #[error("the signing key cannot be used")]
    Note(#[from] NoteError),
    /// Nobody can sign.
    #[error(transparent)]
    Signers(#[from] SignersError),
    #[error("the history index cannot be opened")]
    History(#[from] HistoryOpenError),
    /// The embedded catalogue.
    #[error("the catalogue is not valid")]
    Catalogue(#[from] InvalidText),
    /// The first command was refused.
    #[error("the ledger's first command was refused")]
    First(#[from] SubmitError),
}

/// An event in the log that cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("event {position} cannot be read")]
    Unreadable {
        position: u64,
        #[source]
        source: UnreadableEvent,
    },
    /// Its sealed values cannot be opened.
    #[error("event {position} holds a sealed value that does not open: {why}")]
    Sealed { position: u64, why: String },
    /// It does not fit.
    #[error(transparent)]
    Misfit(#[from] crate::domain::Misfit),
}

impl From<CheckpointStoreError> for BootError {
    fn from(why: CheckpointStoreError) -> Self {
        // What the system refused is no damage: the file is not to be replaced.
        if let CheckpointStoreError::File(why) = why {
            Self::File(why)
        } else {
            Self::Floor(why)
        }
    }
}

/// A derived store that holds more events than the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeenBeyond {
    /// The store.
    pub path: PathBuf,
    /// An event that it knows of.
    pub position: u64,
}

/// The folder cannot be used, and why.
pub(super) fn unusable(folder: &Folder, source: io::Error) -> BootError {
    BootError::Folder {
        path: folder.path().to_owned(),
        source: private::explained(folder.path(), source),
    }
}
