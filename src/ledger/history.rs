//! Reading the log back: a record's events, and answers that were given before.
//!
//! Nothing here decides. Events come from the log by the positions that the history index keeps;
//! personal values are opened, those of erased people are blank.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::folds::Folds;
use super::stamp::{StampError, open_network, open_personal};

pub use super::stamp::PastNetwork;
use super::turns::{Interrupted, Turn, Turns};
use super::{Answer, Ledger, Record, SubmitError};
use crate::domain::Misfit;
use crate::domain::digest::Digest32;
use crate::domain::envelope::Event;
use crate::domain::heading::Heading;
use crate::domain::ids::{EventId, OrganizationId, Subject};
use crate::domain::unreadable::UnreadableEvent;
use crate::log::LogReadError;
use crate::merkle::Hash;
use crate::views::history::BrokenHistoryError;

/// Events that are looked at at once on the way back: some 5 milliseconds.
const EVENTS_PER_LOOK_BACK: u64 = 4_000;

/// Chains whose ends are remembered: at 100 bytes each, 400 KB.
const ENDS_MAX: usize = 4_096;

/// The end of an organization's chain as it was at some position.
#[derive(Clone, Copy, Debug)]
struct ChainEnd {
    /// Of its last event.
    position: u64,
    commitment: Hash,
    /// There is no other one from there to before this position.
    looked_to: u64,
}

/// Where readers of checkpoints have come to, so that each goes on from the one before.
#[derive(Debug, Default)]
struct ChainEnds(Mutex<BTreeMap<OrganizationId, ChainEnd>>);

/// What all readers of the past share: what was read before, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct HistoryReading {
    pub(super) folds: Folds,
    chain_ends: ChainEnds,
    pub(super) turns: Turns,
}

impl ChainEnds {
    fn before(&self, organization: OrganizationId, before: u64) -> Option<ChainEnd> {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = ends.get(&organization).copied();
        end.filter(|end| end.position < before)
    }

    fn keep(&self, organization: OrganizationId, end: ChainEnd) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.len() >= ENDS_MAX {
            ends.clear();
        }
        ends.insert(organization, end);
    }
}

/// Why the past could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The log.
    #[error("the log cannot be read")]
    Read(#[from] LogReadError),
    #[error("a stored event cannot be read")]
    Unreadable(#[from] UnreadableEvent),
    /// The history index.
    #[error("the history index cannot be read")]
    View(#[from] BrokenHistoryError),
    /// A fold.
    #[error("the events of a record do not fit each other")]
    Misfit(#[from] Misfit),
    /// A record of the past that cannot be shown.
    #[error("a record cannot be written as JSON")]
    Written(#[from] serde_json::Error),
    /// A sealed value.
    #[error("a sealed value does not open: {0}")]
    Sealed(String),
    /// It was not read to its end.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// It is larger than what may be held in RAM.
    #[error("the records of that moment need more memory than may be used for them")]
    NoRoom,
}

impl From<StampError> for HistoryError {
    fn from(why: StampError) -> Self {
        Self::Sealed(crate::error_chain::error_chain(&why))
    }
}

/// An event with its network opened.
#[derive(Debug)]
pub struct Past {
    pub event: Event,
    /// The actor's address and client.
    pub network: PastNetwork,
}

impl Ledger {
    /// The event at a position.
    pub fn event(&self, position: u64) -> Result<Past, HistoryError> {
        let payload = self.reader.read_payload(position)?;
        let mut event = Event::from_payload(&payload)?;
        open_personal(self.keys(), self.log_id(), &mut event)?;
        let network = open_network(self.keys(), self.log_id(), &event)?;
        Ok(Past { event, network })
    }

    /// Where an event stands; `None` if there is none of this id. Ids go up along the log, so that
    /// it is found by halving.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn position_of(&self, id: EventId) -> Result<Option<u64>, HistoryError> {
        let (mut from, mut to) = (0, self.reader.next_position());
        while from < to {
            let middle = from + (to - from) / 2;
            match Event::from_payload(&self.reader.read_payload(middle)?)?
                .id
                .cmp(&id)
            {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return Ok(Some(middle)),
                Ordering::Greater => to = middle,
            }
        }
        Ok(None)
    }

    /// The end of an organization's chain before a position: its sequence and its commitment.
    /// Reads back along the log as far as it must: no further than to where an earlier reading of
    /// the same chain came from.
    ///
    /// # Errors
    /// When the log cannot be read, or the turn is over.
    pub fn end_of(
        &self,
        organization: OrganizationId,
        before: u64,
        turn: &mut Turn,
    ) -> Result<Option<(u64, Digest32)>, HistoryError> {
        // While nothing has happened since, the view knows where it is.
        let newest = self
            .views()
            .newest_positions
            .newest_of_organization(organization);
        let mut end = match newest {
            Some(newest) if newest < before => newest + 1,
            Some(_) => before,
            None => return Ok(None),
        };
        let known = self.reading.chain_ends.before(organization, before);
        let floor = known.map_or(0, |known| known.looked_to.min(end));
        let mut found = None;
        while end > floor && found.is_none() {
            turn.go_on()?;
            let from = end.saturating_sub(EVENTS_PER_LOOK_BACK).max(floor);
            self.reader
                .scan_with_commitments(from, end, |position, payload, commitment| {
                    let theirs = Heading::of(payload)
                        .is_some_and(|heading| heading.organization == Some(organization));
                    if theirs {
                        found = Some((position, *commitment));
                    }
                })?;
            end = from;
        }
        let found = found.or_else(|| known.map(|known| (known.position, known.commitment)));
        let Some((position, commitment)) = found else {
            return Ok(None);
        };
        self.reading.chain_ends.keep(
            organization,
            ChainEnd {
                position,
                commitment,
                looked_to: before,
            },
        );
        let event = Event::from_payload(&self.reader.read_payload(position)?)?;
        let place = event.organization;
        Ok(place.map(|place| (place.sequence, Digest32(commitment))))
    }

    /// The events of a subject after `after_version`, oldest first, at most `limit`.
    pub fn events_of(
        &self,
        subject: Subject,
        after_version: u32,
        limit: usize,
    ) -> Result<Vec<Past>, HistoryError> {
        let positions = self
            .views()
            .history
            .event_positions(subject, after_version, limit)?;
        positions
            .into_iter()
            .map(|position| self.event(position))
            .collect()
    }

    /// A record as its newest event left it, also one that has left the state.
    pub fn newest_of(&self, subject: Subject, turn: &mut Turn) -> Result<Record, HistoryError> {
        self.record_as_of(subject, u64::MAX, turn)
    }

    /// The answer of a command that was answered before, without its secret.
    pub(super) fn replay(
        &self,
        first: u64,
        last: u64,
        turn: &mut Turn,
    ) -> Result<Answer, SubmitError> {
        self.replayed(first, last, turn).map_err(|why| match why {
            HistoryError::Interrupted(_) => SubmitError::ReplayTooLong,
            HistoryError::Read(_)
            | HistoryError::Unreadable(_)
            | HistoryError::View(_)
            | HistoryError::Misfit(_)
            | HistoryError::Written(_)
            | HistoryError::NoRoom
            | HistoryError::Sealed(_) => {
                tracing::error!(
                    why = crate::error_chain::error_chain(&why),
                    "a replay failed"
                );
                SubmitError::OutcomeUnknown
            }
        })
    }

    fn replayed(&self, first: u64, last: u64, turn: &mut Turn) -> Result<Answer, HistoryError> {
        let mut subjects = Vec::new();
        for position in (first..=last).take(3) {
            let subject = self.event(position)?.event.subject;
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
        let records = subjects
            .into_iter()
            .map(|subject| self.record_as_of(subject, last, turn));
        let records = records.collect::<Result<_, _>>()?;
        Ok(Answer {
            records,
            token: None,
            sign_in: None,
            endpoint_secret: None,
            position: last,
            replayed: true,
        })
    }
}
