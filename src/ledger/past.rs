//! The past of an organization: its credentials as they were after an event.
//!
//! Folds that organization's events and nobody else's, from the log's beginning, off the threads of
//! the service and within a deadline. Nothing is kept: the log is the only source.

use std::sync::Arc;

use memchr::memmem::Finder;

use super::Ledger;
use super::history::HistoryError;
use super::stamp::open_personal;
use crate::audit::past::last_not_after;
use crate::domain::envelope::{Event, commitment};
use crate::domain::ids::OrganizationId;
use crate::domain::record::Credential;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// Events that are looked at between two looks at the clock: some 10 milliseconds.
const EVENTS_PER_LOOK: u64 = 10_000;

/// Why an organization's past could not be told.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The log or an event in it.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// There is too much of it to be read in time.
    #[error("the past was not read within its time")]
    TooLong,
}

impl Ledger {
    /// The position of the last event that did not happen after `instant`; `None` before the first
    /// one.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn position_at(&self, instant: Timestamp) -> Result<Option<u64>, HistoryError> {
        let next = self.reader().next_position();
        last_not_after(instant, next, |position| self.happened_at(position))
    }

    /// When the event at a position happened.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn happened_at(&self, position: u64) -> Result<Timestamp, HistoryError> {
        let payload = self.reader().read(position)?;
        Ok(Event::from_payload(&payload)?.occurred_at)
    }

    /// The credentials of an organization as they were after the event at `position`, oldest first.
    ///
    /// # Errors
    /// When the log cannot be read, or not within `within_ms` milliseconds.
    pub fn credentials_as_of(
        &self,
        organization: OrganizationId,
        position: u64,
        within_ms: i64,
    ) -> Result<Vec<Arc<Credential>>, PastError> {
        let clock = &self.shared.clock;
        let until = clock.monotonic_ms().saturating_add(within_ms);
        let theirs = format!("\"organization_id\":\"{organization}\"");
        let theirs = Finder::new(theirs.as_bytes());
        let mut state = State::default();
        let mut from = 0;
        while from <= position {
            if clock.monotonic_ms() > until {
                return Err(PastError::TooLong);
            }
            let to = (position + 1).min(from + EVENTS_PER_LOOK);
            let mut outcome = Ok(());
            let fold = |_, payload: &[u8]| {
                if outcome.is_ok() && theirs.find(payload).is_some() {
                    outcome = self.fold(&mut state, organization, payload);
                }
            };
            let scanned = self.reader().scan(from, to, fold);
            scanned.map_err(HistoryError::from)?;
            outcome?;
            from = to;
        }
        Ok(state.everything().credentials)
    }

    fn fold(
        &self,
        state: &mut State,
        organization: OrganizationId,
        payload: &[u8],
    ) -> Result<(), HistoryError> {
        let mut event = Event::from_payload(payload)?;
        // A name that somebody chose may look like another organization's place.
        if event
            .organization
            .is_none_or(|place| place.id != organization)
        {
            return Ok(());
        }
        open_personal(self.keys(), self.log_id(), &mut event)?;
        state.apply(&event, commitment(payload))?;
        state.settle();
        Ok(())
    }
}
