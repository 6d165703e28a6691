//! The sweeper: from the calendar to commands, one at a time.
//!
//! It asks the calendar what is due, gives it as a command and waits for the answer. It decides
//! nothing, and keeps nothing but how long it has to wait after a refusal.

use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use crate::domain::command::{Actor, Command, NoteExpiries, Request};
use crate::domain::expiry::{Leads, Notice, Seen};
use crate::domain::ids::CredentialId;
use crate::domain::time::Timestamp;
use crate::ledger::{Ledger, Submission, SubmitError};
use crate::views::calendar::Due;

/// Notices of one command: at some 800 bytes each, a fifth of the smallest segment, 1 MiB.
pub(crate) const NOTICES_MAX: usize = 256;
/// Commands of one look, so that whoever stops the program waits for so many at most.
pub(crate) const COMMANDS_MAX: usize = 64;
/// How soon it is tried again when the disk is full or the clock suspect.
const TRY_AGAIN_MS: i64 = 10_000;
/// Between two pieces of a gathering the writer takes the lock that it waits for.
const PIECE_PAUSE: Duration = Duration::from_millis(1);

/// Tells of what is due whenever it looks.
pub(crate) struct Sweeper {
    ledger: Ledger,
    /// By the monotonic clock; 0 while nothing is refused.
    again_at_ms: i64,
}

impl Sweeper {
    pub(crate) fn new(ledger: Ledger, leads: Leads, entries_max: usize) -> Self {
        ledger.views().calendar.begin(leads, entries_max);
        Self {
            ledger,
            again_at_ms: 0,
        }
    }

    /// Tells what there is to tell now; `true` if it should look again at once.
    pub(crate) fn look(&mut self) -> bool {
        if self.ledger.monotonic_ms() < self.again_at_ms {
            return false;
        }
        for _ in 0..COMMANDS_MAX {
            let now = self.ledger.now();
            match self.ledger.views().calendar.due(now, NOTICES_MAX) {
                Due::Gather => self.gather(now),
                Due::Give { notices, more, .. } if notices.is_empty() && !more => return false,
                // Entries were moved to where they belong by now.
                Due::Give { notices, .. } if notices.is_empty() => {}
                Due::Give { notices, seen, .. } => {
                    if let Err(why) = self.give(notices, seen, now) {
                        self.refused(&why);
                        return false;
                    }
                }
            }
        }
        true
    }

    fn give(
        &mut self,
        notices: Vec<Notice>,
        seen: Option<Seen>,
        at: Timestamp,
    ) -> Result<(), SubmitError> {
        let request = Request {
            actor: Actor::System,
            command: Command::NoteExpiries(NoteExpiries { seen, at, notices }),
            if_match: None,
        };
        self.ledger.submit_blocking(Submission::bare(request))?;
        self.again_at_ms = 0;
        Ok(())
    }

    fn refused(&mut self, why: &SubmitError) {
        match why {
            // Something happened meanwhile, or there is no place: the next look is soon enough.
            SubmitError::Rejected(_) | SubmitError::QueueFull | SubmitError::Stopping => {}
            SubmitError::ViewsBehind
            | SubmitError::DiskFull
            | SubmitError::KeyUnusable(_)
            | SubmitError::KeyNotDestroyed
            | SubmitError::ClockSuspect
            | SubmitError::TooManyCreations(_)
            | SubmitError::TooManyBytes(_)
            | SubmitError::TooLarge
            | SubmitError::ReplayTooLong
            | SubmitError::OutcomeUnknown => {
                if self.again_at_ms == 0 {
                    tracing::warn!(%why, "expiries cannot be told of yet");
                }
                self.again_at_ms = self.ledger.monotonic_ms() + TRY_AGAIN_MS;
            }
        }
    }

    fn gather(&self, now: Timestamp) {
        self.ledger.views().calendar.clear(now);
        let mut after = self.ledger.gather_expiries(None);
        while after.is_some() && !self.ledger.is_closed() {
            thread::sleep(PIECE_PAUSE);
            after = self.ledger.gather_expiries(after);
        }
    }
}

impl Ledger {
    /// Lets the calendar look at a piece of the settled credentials. The state is held meanwhile:
    /// what the calendar learns here is never older than what it has been told by a batch.
    fn gather_expiries(&self, after: Option<CredentialId>) -> Option<CredentialId> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.views().calendar.gather(state.credentials_after(after))
    }
}
