//! The past of an organization: its records as they were after an event, and what changed since.
//!
//! Folds that organization's events and those of no organization, from the log's beginning, off the
//! threads of the service and within a deadline. Nothing is kept: the log is the only source.

use std::sync::Arc;

use super::Ledger;
use super::history::HistoryError;
use super::stamp::open_personal;
use crate::audit::past::{Differences, Fold, FoldError, last_not_after};
use crate::domain::envelope::Event;
use crate::domain::ids::OrganizationId;
use crate::domain::record::Credential;
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

impl From<FoldError> for HistoryError {
    fn from(why: FoldError) -> Self {
        match why {
            FoldError::Unreadable(why) => why.into(),
            FoldError::Misfit(why) => why.into(),
            FoldError::Sealed(why) => Self::Sealed(why),
        }
    }
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

    /// The records of an organization, or of all, as they were when there were so many events.
    ///
    /// # Errors
    /// When the log cannot be read, or not within `within_ms` milliseconds.
    pub fn folded(
        &self,
        organization: Option<OrganizationId>,
        events: u64,
        within_ms: i64,
    ) -> Result<Fold, PastError> {
        let mut fold = Fold::new(organization);
        let until = self.until(within_ms);
        self.visit((0, events), until, |payload| {
            let mut open = |event: &mut Event| self.open(event);
            fold.take(payload, &mut open).map(drop)
        })?;
        Ok(fold)
    }

    /// What changed in an organization from one number of events to another.
    ///
    /// # Errors
    /// As [`Ledger::folded`].
    pub fn differences(
        &self,
        organization: OrganizationId,
        (from, to): (u64, u64),
        within_ms: i64,
    ) -> Result<Differences, PastError> {
        let until = self.until(within_ms);
        let before = self.folded(Some(organization), from, within_ms)?;
        let mut differences = Differences::since(before);
        self.visit((from, to), until, |payload| {
            let mut open = |event: &mut Event| self.open(event);
            differences.take(payload, &mut open)
        })?;
        Ok(differences)
    }

    /// The credentials of an organization as they were after the event at `position`, oldest first.
    ///
    /// # Errors
    /// As [`Ledger::folded`].
    pub fn credentials_as_of(
        &self,
        organization: OrganizationId,
        position: u64,
        within_ms: i64,
    ) -> Result<Vec<Arc<Credential>>, PastError> {
        let fold = self.folded(Some(organization), position + 1, within_ms)?;
        Ok(fold.credentials())
    }

    fn until(&self, within_ms: i64) -> i64 {
        let now_ms = self.shared.clock.monotonic_ms();
        now_ms.saturating_add(within_ms)
    }

    /// Shows events to `take`, from one position to before another, until an instant of the
    /// monotonic clock.
    fn visit(
        &self,
        (from, to): (u64, u64),
        until_ms: i64,
        mut take: impl FnMut(&[u8]) -> Result<(), FoldError>,
    ) -> Result<(), PastError> {
        let mut next = from;
        while next < to {
            if self.shared.clock.monotonic_ms() > until_ms {
                return Err(PastError::TooLong);
            }
            let end = to.min(next + EVENTS_PER_LOOK);
            let mut outcome = Ok(());
            let scanned = self.reader().scan(next, end, |_, payload| {
                if outcome.is_ok() {
                    outcome = take(payload);
                }
            });
            scanned.map_err(HistoryError::from)?;
            outcome.map_err(HistoryError::from)?;
            next = end;
        }
        Ok(())
    }

    fn open(&self, event: &mut Event) -> Result<(), String> {
        let opened = open_personal(self.keys(), self.log_id(), event);
        opened.map_err(|why| super::writer::error_chain(&why))
    }
}
