//! Why a submission has no answer.

use std::time::Duration;

use super::key_holder::KeyHolder;
use crate::domain::rejection::Rejection;

/// Why a submission has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The rules refuse it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The lane is full, or the organization has its share of it already.
    #[error("the queue is full")]
    QueueFull,
    /// Readers are too far behind to take more.
    #[error("the views are too far behind")]
    ViewsBehind,
    /// No room on the disk for what could be refused.
    #[error("the disk is full; only ends are taken")]
    DiskFull,
    /// A data key that the command needs is missing or damaged.
    #[error(
        "the data key of {0} is missing or damaged; only revoke, disable, delete and rotate are \
         accepted there until the operator has restored it"
    )]
    KeyUnusable(KeyHolder),
    /// The person is erased in the log, and the file of the key could not be removed.
    #[error("the erasure is recorded, but the operator must remove the key file")]
    KeyNotDestroyed,
    /// The clock cannot be believed; only ends are taken.
    #[error("the clock is suspect; only ends are taken until it is accepted")]
    ClockSuspect,
    /// The organization's clients make records faster than they may.
    #[error("too many creations at once")]
    TooManyCreations(Duration),
    /// The organization's clients have written more bytes than they may.
    #[error("too much was written at once")]
    TooManyBytes(Duration),
    /// The command makes an event or a batch beyond the log's limits.
    #[error("the command is too large for one batch")]
    TooLarge,
    /// The write failed half-way: whether it is there will be known after a restart.
    #[error("whether the command has been written is unknown until a restart")]
    OutcomeUnknown,
    /// The command was answered before, and that answer was not read in time.
    #[error("an answer that was given before was not read in time")]
    ReplayTooLong,
    /// The process is ending.
    #[error("the ledger is stopping")]
    Stopping,
}
