//! The past of an organization: its records as they were after an event, and what changed since.
//!
//! Folds that organization's events and those of no organization, from the log's beginning, off the
//! threads of the service, in turns. Nothing is kept: the log is the only source.

use std::sync::Arc;

use super::Ledger;
use super::history::HistoryError;
use super::stamp::open_personal;
use super::turns::Turn;
use crate::audit::past::{Differences, Fold, FoldError, last_not_after};
use crate::domain::envelope::Event;
use crate::domain::ids::OrganizationId;
use crate::domain::record::Credential;
use crate::domain::time::Timestamp;

/// How a past is read: in turns, and no more of it than there is room for.
pub struct Pace<'a> {
    /// Asked between two looks at the log.
    pub turn: &'a mut Turn,
    /// Whether so many bytes in all may be held in RAM. Asked at the same places.
    pub may_hold: &'a mut (dyn FnMut(usize) -> bool + Send),
}

/// Events that are looked at between two looks at the turn: one or two milliseconds, or ten where
/// all of them count.
const EVENTS_PER_LOOK: u64 = 1_000;

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
        let payload = self.reader().read_payload(position)?;
        Ok(Event::from_payload(&payload)?.occurred_at)
    }

    /// The records of an organization, or of all, as they were when there were so many events.
    ///
    /// # Errors
    /// When the log cannot be read, the turn is over, or there is no room for so much.
    pub fn folded(
        &self,
        organization: Option<OrganizationId>,
        events: u64,
        pace: &mut Pace<'_>,
    ) -> Result<Fold, HistoryError> {
        let mut fold = Fold::new(organization);
        self.visit((0, events), pace, |payload| {
            let mut open = |event: &mut Event| self.open(event);
            fold.take(payload, &mut open)?;
            Ok(fold.bytes())
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
        pace: &mut Pace<'_>,
    ) -> Result<Differences, HistoryError> {
        let before = self.folded(Some(organization), from, pace)?;
        let mut differences = Differences::since(before);
        self.visit((from, to), pace, |payload| {
            let mut open = |event: &mut Event| self.open(event);
            differences.take(payload, &mut open)?;
            Ok(differences.bytes())
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
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Arc<Credential>>, HistoryError> {
        let fold = self.folded(Some(organization), position + 1, pace)?;
        Ok(fold.credentials())
    }

    /// Shows events to `take`, from one position to before another. It answers how many bytes it
    /// holds by then.
    fn visit(
        &self,
        (from, to): (u64, u64),
        pace: &mut Pace<'_>,
        mut take: impl FnMut(&[u8]) -> Result<usize, FoldError>,
    ) -> Result<(), HistoryError> {
        let mut next = from;
        while next < to {
            pace.turn.go_on()?;
            let end = to.min(next + EVENTS_PER_LOOK);
            let mut held = Ok(0);
            let scanned = self.reader().scan(next, end, |_, payload| {
                if held.is_ok() {
                    held = take(payload);
                }
            });
            scanned?;
            if !(pace.may_hold)(held?) {
                return Err(HistoryError::NoRoom);
            }
            next = end;
        }
        Ok(())
    }

    fn open(&self, event: &mut Event) -> Result<(), String> {
        let opened = open_personal(self.keys(), self.log_id(), event);
        opened.map_err(|why| crate::error_chain::error_chain(&why))
    }
}
