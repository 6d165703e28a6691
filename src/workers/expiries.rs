//! Announces expiries: `api_key.expiring` some days ahead, `api_key.expired` when it has come.
//!
//! What is due follows from `domain/expiry.rs`, what is due soon is in `views/calendar.rs`; this
//! brings the two together, in one command at a time. It decides nothing, and keeps nothing but how
//! long it has to wait after a refusal.
//!
//! **In order.** A notice that is given says that all before it have been, so none may overtake
//! another. One command at a time is under way, a batch of notices in their order; the next is put
//! together when it has been answered. One that is refused, for a full disk or a suspect clock, is
//! put together anew later, from its first notice on.
//!
//! **Nothing missed.** The calendar is gathered from the settled records, a piece at a time under
//! the state's lock, and follows every batch. What it cannot know is an event that is not settled
//! yet, which may set an expiry that comes sooner than the notices under way; so a command says
//! which event was the newest, and `decide` gives only what no later event can come before.
//!
//! **In bounds.** A burst of a million expiries is given in commands of `NOTICES_MAX`, between
//! which clients have their turn.

use std::thread;
use std::time::Duration;

use super::by_the_server;
use crate::domain::command::{Command, NoteExpiries};
use crate::domain::expiry::{Leads, Notice, Seen};
use crate::domain::time::Timestamp;
use crate::ledger::{Ledger, SubmitError};
use crate::views::expiry_calendar::CalendarAnswer;

/// Notices of one command: at some 800 bytes each, a fifth of the smallest segment, 1 MiB.
pub(crate) const NOTICES_MAX: usize = 256;
/// Commands of one step, so that a stop and the other workers wait for so many at most.
pub(crate) const COMMANDS_MAX: usize = 64;
/// How soon it is tried again when the disk is full or the clock suspect.
const TRY_AGAIN_MS: i64 = 10_000;
/// Between two pieces of a gathering the writer takes the lock that it waits for.
const PIECE_PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct ExpiryAnnouncer {
    ledger: Ledger,
    /// By the monotonic clock; 0 while nothing is refused.
    again_at_ms: i64,
}

impl ExpiryAnnouncer {
    pub(crate) fn new(ledger: Ledger, leads: Leads, entries_max: usize) -> Self {
        ledger
            .views()
            .expiry_calendar
            .start_notices(leads, entries_max);
        Self {
            ledger,
            again_at_ms: 0,
        }
    }

    /// Announces what is due now; `true` if there is more to do at once.
    pub(crate) fn announce_due(&mut self) -> bool {
        if self.ledger.monotonic_ms() < self.again_at_ms {
            return false;
        }
        for _ in 0..COMMANDS_MAX {
            let now = self.ledger.now();
            match self
                .ledger
                .views()
                .expiry_calendar
                .due_notices(now, NOTICES_MAX)
            {
                CalendarAnswer::NeedsGathering => self.gather(now),
                CalendarAnswer::DueNotices { notices, more, .. } if notices.is_empty() && !more => {
                    return false;
                }
                // Entries were moved to where they belong by now.
                CalendarAnswer::DueNotices { notices, .. } if notices.is_empty() => {}
                CalendarAnswer::DueNotices { notices, seen, .. } => {
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
        let command = Command::NoteExpiries(NoteExpiries { seen, at, notices });
        self.ledger.submit_blocking(by_the_server(command))?;
        self.again_at_ms = 0;
        Ok(())
    }

    fn refused(&mut self, why: &SubmitError) {
        match why {
            // Something happened meanwhile, or there is no place: the next step is soon enough.
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
                    tracing::warn!(%why, "expiries cannot be announced yet");
                }
                self.again_at_ms = self.ledger.monotonic_ms() + TRY_AGAIN_MS;
            }
        }
    }

    fn gather(&self, now: Timestamp) {
        self.ledger
            .views()
            .expiry_calendar
            .clear_before_gathering(now);
        let mut after = self.ledger.gather_expiries(None);
        while after.is_some() && !self.ledger.is_closed() {
            thread::sleep(PIECE_PAUSE);
            after = self.ledger.gather_expiries(after);
        }
    }
}
