//! How a command ends: one number for each thing that whoever started it may want to do next.

use std::process::ExitCode;

use anyhow::anyhow;

use crate::ledger::SubmitError;
use crate::ledger::boot::BootError;
use crate::ledger::signing::{RotateError, SignersError};
use crate::log::{CheckpointStoreError, DataFolderLockError, LogOpenError, LogReadError};
use crate::seal::SealError;

/// The list in `--help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  all went well
  1  it failed: the system or the network said no
  2  it was refused: wrong usage, or not possible in this folder
  3  stored data is damaged; the message names file, offset, position and the way out
  4  the ledger failed while it ran; start it again and it recovers";

/// How a command ended, other than well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Exit {
    /// The system or the network said no.
    Failed,
    /// Wrong usage, or not possible as things are.
    Refused,
    /// Stored bytes are not what was written.
    Damaged,
    /// A write failed half-way: only a restart shows what is there.
    Poisoned,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Failed => 1,
            Exit::Refused => 2,
            Exit::Damaged => 3,
            Exit::Poisoned => 4,
        })
    }
}

/// Why a command ended, and how.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) exit: Exit,
    pub(super) why: anyhow::Error,
}

impl Stop {
    /// A refusal in one sentence.
    pub(super) fn refused(why: impl std::fmt::Display) -> Self {
        Self {
            exit: Exit::Refused,
            why: anyhow!("{why}"),
        }
    }

    /// Stored bytes are not what was written.
    pub(super) fn damaged(why: impl std::fmt::Display) -> Self {
        Self {
            exit: Exit::Damaged,
            why: anyhow!("{why}"),
        }
    }

    /// The ledger failed while it ran.
    pub(super) fn poisoned(why: &str) -> Self {
        Self {
            exit: Exit::Poisoned,
            why: anyhow!("the ledger has failed and must be started again: {why}"),
        }
    }
}

/// What nobody has a better number for has failed.
impl From<anyhow::Error> for Stop {
    fn from(why: anyhow::Error) -> Self {
        Self {
            exit: Exit::Failed,
            why,
        }
    }
}

impl From<SealError> for Stop {
    fn from(why: SealError) -> Self {
        Self {
            exit: of_seal(&why),
            why: why.into(),
        }
    }
}

impl From<SubmitError> for Stop {
    fn from(why: SubmitError) -> Self {
        Self {
            exit: of_submit(&why),
            why: why.into(),
        }
    }
}

impl From<BootError> for Stop {
    fn from(why: BootError) -> Self {
        Self {
            exit: of_boot(&why),
            why: why.into(),
        }
    }
}

impl From<RotateError> for Stop {
    fn from(why: RotateError) -> Self {
        match why {
            RotateError::Key(why) => why.into(),
            RotateError::Submit(why) => why.into(),
            RotateError::Note(why) => anyhow::Error::from(why).into(),
        }
    }
}

impl From<DataFolderLockError> for Stop {
    fn from(why: DataFolderLockError) -> Self {
        Self {
            exit: of_lock(&why),
            why: why.into(),
        }
    }
}

fn of_seal(why: &SealError) -> Exit {
    match why {
        SealError::FolderMissing { .. }
        | SealError::FolderNotEmpty { .. }
        | SealError::ModeTooOpen { .. }
        | SealError::FileMissing { .. }
        | SealError::WrongMasterKey { .. }
        | SealError::Decrypt(_)
        | SealError::MalformedExport { .. }
        | SealError::WrongLog { .. }
        | SealError::KeyDiffers { .. } => Exit::Refused,
        SealError::Damaged { .. } | SealError::NotAuthentic(_) => Exit::Damaged,
        SealError::DataKeyExists(_)
        | SealError::KeyUnavailable(_)
        | SealError::ValueTooLong { .. }
        | SealError::TooManyKeys { .. }
        | SealError::Encrypt(_)
        | SealError::Io { .. }
        | SealError::ExportStream { .. } => Exit::Failed,
    }
}

fn of_submit(why: &SubmitError) -> Exit {
    match why {
        SubmitError::Rejected(_) | SubmitError::ClockSuspect | SubmitError::TooLarge => {
            Exit::Refused
        }
        SubmitError::OutcomeUnknown => Exit::Poisoned,
        SubmitError::KeyUnusable(_) => Exit::Damaged,
        SubmitError::QueueFull
        | SubmitError::KeyNotDestroyed
        | SubmitError::TooManyCreations(_)
        | SubmitError::TooManyBytes(_)
        | SubmitError::ViewsBehind
        | SubmitError::DiskFull
        | SubmitError::ReplayTooLong
        | SubmitError::Stopping => Exit::Failed,
    }
}

fn of_boot(why: &BootError) -> Exit {
    match why {
        BootError::NotVacant(_)
        | BootError::NoWholeLedger(_)
        | BootError::InUse { .. }
        | BootError::Owner(_)
        | BootError::NoLedger(_)
        | BootError::Unfinished(_)
        | BootError::Mixed { .. }
        | BootError::OriginInvalid
        | BootError::Signers(SignersError::Lost { .. }) => Exit::Refused,
        BootError::Lock(why) => of_lock(why),
        BootError::Keys(why) => of_seal(why),
        BootError::First(why) => of_submit(why),
        BootError::Open(why) => of_open(why),
        BootError::Read(why) => of_read(why),
        BootError::Floor(why) => of_floor(why),
        BootError::Checkpoint(_) | BootError::RolledBack { .. } | BootError::Mark { .. } => {
            Exit::Damaged
        }
        BootError::NoRoom { .. }
        | BootError::Folder { .. }
        | BootError::Create(_)
        | BootError::File(_)
        | BootError::Note(_)
        | BootError::Signers(SignersError::Note(_))
        | BootError::History(_)
        | BootError::Catalogue(_) => Exit::Failed,
    }
}

fn of_lock(why: &DataFolderLockError) -> Exit {
    match why {
        DataFolderLockError::HeldByOtherProcess(_) => Exit::Refused,
        DataFolderLockError::File { .. } => Exit::Failed,
    }
}

fn of_open<E: std::error::Error>(why: &LogOpenError<E>) -> Exit {
    match why {
        LogOpenError::InvalidSegmentBytes(_) => Exit::Refused,
        LogOpenError::NoLog(_)
        | LogOpenError::Damaged(_)
        | LogOpenError::SnapshotMismatch { .. }
        | LogOpenError::Replay { .. } => Exit::Damaged,
        LogOpenError::File(_) => Exit::Failed,
    }
}

fn of_read(why: &LogReadError) -> Exit {
    match why {
        LogReadError::Damaged(_) => Exit::Damaged,
        LogReadError::NotCommitted { .. } | LogReadError::File(_) => Exit::Failed,
    }
}

fn of_floor(why: &CheckpointStoreError) -> Exit {
    match why {
        CheckpointStoreError::AlreadyExists(_) => Exit::Refused,
        CheckpointStoreError::Missing(_)
        | CheckpointStoreError::SizeShrinks { .. }
        | CheckpointStoreError::ConflictingRoots { .. }
        | CheckpointStoreError::Damaged(_) => Exit::Damaged,
        CheckpointStoreError::Poisoned(_) => Exit::Poisoned,
        CheckpointStoreError::InvalidNoteLength { .. }
        | CheckpointStoreError::DiskFull(_)
        | CheckpointStoreError::File(_) => Exit::Failed,
    }
}
