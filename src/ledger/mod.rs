//! The write path: lanes, decide, append, apply, answer.
//!
//! One writer thread takes submissions from two bounded lanes, decides them on the state with its
//! overlay, seals what belongs to persons, appends one batch, and only when that is durable lets
//! views change and answers go out. Every answer that saw the overlay, refusals too, waits for the
//! batch. Data flows one way; nothing here knows HTTP.
//!
//! Reading order: [`lanes`] (the queue), `stamp` (from a decision to payloads), `writer` (the
//! loop), [`quota`] (how much each organization may write), `checkpoints` (signed and published),
//! [`boot`] (make and open), [`turns`] (fair turns for reads), [`history`], `folds`, [`past`]
//! and [`feed`] (reading it back), [`announced`] (checkpoints that were announced).

pub mod announced;
pub mod boot;
pub mod feed;
pub mod history;
pub mod lanes;
pub mod past;
pub mod quota;
pub mod signing;
pub mod turns;
pub mod unusable_keys;

mod answer;
mod answers;
mod checkpoints;
mod clock_trouble;
mod command_digest;
mod erasure;
mod folds;
pub mod key_holder;
mod rebuild;
mod snapshots;
mod stamp;
mod status;
mod submission;
mod submit_error;
mod time_file;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use crate::clock::{Clock, LedgerTime};
use crate::degraded::DegradedParts;
use crate::domain::event::ledger::LedgerRestored;
use crate::domain::ids::CredentialId;
use crate::domain::time::Timestamp;
use crate::log::LogReader;
use crate::seal::KeyStore;
use crate::tiles::Tiles;
use crate::views::Views;
use announced::Announced;
use history::HistoryReading;
use lanes::Lanes;
use signing::KnownKey;
use turns::{NoTurn, Turn, Turns};
use unusable_keys::{UnusableKey, UnusableKeys};

pub(crate) use answer::Outcome;
pub use answer::{Answer, Record};
pub(crate) use stamp::open_personal;
pub use status::Status;
pub use submission::{Idempotency, Network, Submission};
pub use submit_error::SubmitError;

/// Whether the ledger can go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// All is well.
    Good,
    /// A write, a sync or a check has failed; the process must end.
    Failed(String),
}

/// What the handle, the writer and the checkpointer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) lanes: Lanes,
    pub(crate) views: Views,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) unusable_keys: UnusableKeys,
    pub(crate) clock: Clock,
    pub(crate) time: LedgerTime,
    pub(crate) clock_accepted: AtomicBool,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) degraded: DegradedParts,
    pub(crate) log_id: [u8; 16],
    pub(crate) appended: status::Appended,
    /// Events that the newest signed checkpoint covers.
    pub(crate) checkpoint: AtomicU64,
}

/// Why a position that a client names is none of an event here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PositionError {
    /// No event has it yet.
    #[error("the position is beyond the end of this ledger")]
    Unknown,
    /// An event may have had it that was lost when the ledger was restored.
    #[error(
        "the position is from before this ledger was restored from a backup: events after \
         position {} were lost", .0.size.saturating_sub(1)
    )]
    Lost(LedgerRestored),
}

/// The ledger, open. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    reader: LogReader,
    tiles: Arc<Tiles>,
    vkeys: Arc<[KnownKey]>,
    usage_sealed_to: u64,
    /// Restores from older copies: they are recorded before anything is served.
    restores: Arc<Vec<LedgerRestored>>,
    threads: Arc<std::sync::Mutex<Vec<JoinHandle<()>>>>,
    /// What the writer decides on: looked into briefly, since that holds the writer.
    state: Arc<std::sync::Mutex<crate::domain::state::State>>,
    /// What readers of the past share.
    reading: Arc<HistoryReading>,
    /// The newest checkpoint that was announced.
    announced: Announced,
}

impl Ledger {
    /// Submits a command and waits until its outcome is durable.
    pub async fn submit(&self, submission: Submission) -> Result<Answer, SubmitError> {
        let of = submission.request.command.organization();
        let answer = self.enqueue(submission)?;
        let outcome = answer
            .await
            .map_err(|_closed| SubmitError::OutcomeUnknown)??;
        match outcome {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Repeated { first, last } => {
                let ledger = self.clone();
                let replay = move |turn: &mut Turn| ledger.replay(first, last, turn);
                match self.turns().run(of, replay).await {
                    Ok(replayed) => replayed,
                    Err(NoTurn::Busy) => Err(SubmitError::ReplayTooLong),
                    Err(NoTurn::Panicked(_)) => Err(SubmitError::OutcomeUnknown),
                }
            }
        }
    }

    /// The same for callers outside the async runtime.
    pub fn submit_blocking(&self, submission: Submission) -> Result<Answer, SubmitError> {
        let answer = self.enqueue(submission)?;
        let outcome = answer
            .blocking_recv()
            .map_err(|_closed| SubmitError::OutcomeUnknown)??;
        match outcome {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Repeated { first, last } => self.replay(first, last, &mut Turn::alone()),
        }
    }

    /// Submits a command whose outcome nobody waits for.
    pub fn submit_unattended(&self, submission: Submission) -> Result<(), SubmitError> {
        self.enqueue(submission).map(drop)
    }

    fn enqueue(
        &self,
        submission: Submission,
    ) -> Result<oneshot::Receiver<Result<Outcome, SubmitError>>, SubmitError> {
        let (answer, outcome) = oneshot::channel();
        self.shared.lanes.push(lanes::Job { submission, answer })?;
        Ok(outcome)
    }

    /// All that can be read without deciding.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.shared.views
    }

    /// The keys that seal and sign.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeyStore> {
        &self.shared.keys
    }

    /// The data keys that cannot be used, as far as is known.
    #[must_use]
    pub fn unusable_keys(&self) -> Vec<UnusableKey> {
        self.shared.unusable_keys.all()
    }

    /// The turns of all work that reads the past.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.reading.turns
    }

    /// A reader of the committed log.
    #[must_use]
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The published tree over it.
    #[must_use]
    pub fn tiles(&self) -> &Arc<Tiles> {
        &self.tiles
    }

    /// Checks a position that a client names: that of an event here, not of one that was lost when
    /// the ledger was restored from an older copy.
    ///
    /// # Errors
    /// When no event has it yet, or a lost one had it.
    pub fn check_position(&self, position: u64) -> Result<(), PositionError> {
        if let Some(restore) = self.restores.iter().find(|restore| restore.lost(position)) {
            return Err(PositionError::Lost(*restore));
        }
        if position < self.reader.next_position() {
            return Ok(());
        }
        match self.restores.last() {
            Some(restore) => Err(PositionError::Lost(*restore)),
            None => Err(PositionError::Unknown),
        }
    }

    /// Restores from older copies, the newest last.
    #[must_use]
    pub fn restores(&self) -> &[LedgerRestored] {
        &self.restores
    }

    /// The instant for verifications, in the ledger's own time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.shared.time.now_ms(&self.shared.clock))
    }

    /// A clock that nobody can set: for how long ago something was, within this process.
    #[must_use]
    pub fn monotonic_ms(&self) -> i64 {
        self.shared.clock.monotonic_ms()
    }

    /// Microseconds of the same clock, for how long something takes.
    #[must_use]
    pub fn monotonic_us(&self) -> u64 {
        self.shared.clock.monotonic_us()
    }

    /// Takes the clock as it is, after an operator has looked at it.
    pub fn accept_clock(&self) {
        self.shared.clock_accepted.store(true, Ordering::Release);
    }

    /// Up to where the usage history was anchored when the ledger was opened.
    #[must_use]
    pub fn usage_sealed_to(&self) -> u64 {
        self.usage_sealed_to
    }

    /// Lets the calendar of expiries look at a piece of the settled credentials, those after the
    /// given one; returns where the next piece begins. The state is held meanwhile: what the
    /// calendar learns here is never older than what it has learned from a batch.
    pub(crate) fn gather_expiries(&self, after: Option<CredentialId>) -> Option<CredentialId> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.views()
            .expiry_calendar
            .gather_some(state.credentials_after(after))
    }

    /// What tells the time here.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> [u8; 16] {
        self.shared.log_id
    }

    /// Follows whether the ledger can go on.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Which parts of the service are degraded while the ledger goes on.
    #[must_use]
    pub fn degraded(&self) -> &DegradedParts {
        &self.shared.degraded
    }

    /// Takes no more commands; what was taken is still finished, and everything can be read.
    pub fn close(&self) {
        self.shared.lanes.close();
    }

    /// Whether no more commands are taken: what goes on for long should end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lanes.is_closed()
    }

    /// Takes no more, finishes what was taken, flushes, and waits for the threads.
    pub fn stop(&self) {
        self.close();
        self.shared.views.history.stop_rebuilding();
        let threads = match self.threads.lock() {
            Ok(mut threads) => std::mem::take(&mut *threads),
            Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
        };
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the ledger panicked");
            }
        }
    }
}
