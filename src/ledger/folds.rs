//! Folds of single records, which go on from where an earlier one came to.
//!
//! Owns what records were at some of their versions, so that reading every version of a record
//! costs as much as reading its events once, and any one of them costs a few hundred at most. What
//! is kept is bounded in bytes, with a share for each organization; whatever is not there is folded
//! from the log again. Personal values are kept in their sealed form alone, so that nothing of an
//! erased person is in here; they are opened in what is handed out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Ledger;
use super::Record;
use super::history::HistoryError;
use super::stamp::{open_endpoint, open_member};
use super::turns::{Tenant, Turn};
use crate::domain::digest::Digest32;
use crate::domain::envelope::Event;
use crate::domain::ids::Subject;
use crate::domain::pieces::Piece;
use crate::domain::state::State;

/// Bytes of all that is kept.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What is kept after it was too much.
const KEPT_BYTES_AFTER: usize = KEPT_BYTES_MAX / 4 * 3;
/// What a version costs beside its record.
const VERSION_BYTES: usize = 160;
/// Every so many versions one is kept: folding fewer costs less than keeping them.
const STRIDE_MIN: u32 = 16;
/// Versions kept of one record at regular distances. Beyond it the distance doubles: of a record
/// with a million events every 4,096th is kept, and reading any version takes 20 milliseconds.
const VERSIONS_MAX: usize = 256;
/// Further versions of a record, each where a reader is on its way through the history: one for
/// each of an organization's 50 webhook endpoints, and some for pulls.
const READERS_MAX: usize = 64;
/// Events of one record that are looked up at once: few at first, since most readers want the next
/// one alone.
const EVENTS_AT_FIRST: usize = 4;
const EVENTS_PER_READ: usize = 200;

/// A record at one of its versions.
#[derive(Clone, Debug)]
struct Version {
    number: u32,
    position: u64,
    piece: Piece,
    bytes: usize,
    used: u64,
}

/// The versions that are kept of one record.
#[derive(Debug)]
struct Versions {
    tenant: Tenant,
    stride: u32,
    by_position: BTreeMap<u64, Version>,
    bytes: usize,
    used: u64,
}

#[derive(Debug, Default)]
struct Kept {
    records: BTreeMap<Subject, Versions>,
    bytes: usize,
    /// Counts uses, to know the oldest.
    uses: u64,
}

/// What has been folded and is kept.
#[derive(Debug, Default)]
pub(super) struct Folds(Mutex<Kept>);

impl Versions {
    fn is_regular(&self, version: &Version) -> bool {
        version.number.is_multiple_of(self.stride)
    }

    fn remove(&mut self, position: u64) {
        if let Some(gone) = self.by_position.remove(&position) {
            self.bytes -= gone.bytes;
        }
    }

    fn insert(&mut self, version: Version) {
        let position = version.position;
        self.remove(position);
        self.bytes += version.bytes;
        self.by_position.insert(position, version);
        let (regular, readers): (Vec<_>, Vec<_>) = self
            .by_position
            .values()
            .partition(|version| self.is_regular(version));
        if readers.len() > READERS_MAX {
            let oldest = readers.iter().min_by_key(|version| version.used);
            if let Some(oldest) = oldest.map(|version| version.position) {
                self.remove(oldest);
            }
        } else if regular.len() > VERSIONS_MAX {
            self.stride = self.stride.saturating_mul(2);
            let stride = self.stride;
            self.by_position
                .retain(|at, version| *at == position || version.number.is_multiple_of(stride));
            self.bytes = self.by_position.values().map(|version| version.bytes).sum();
        }
    }
}

impl Kept {
    /// Drops what was not used for longest of each organization that has more than its share of
    /// so many bytes.
    fn shrink_to(&mut self, bytes: usize) {
        let mut by_tenant: BTreeMap<Tenant, usize> = BTreeMap::new();
        for versions in self.records.values() {
            *by_tenant.entry(versions.tenant).or_default() += versions.bytes;
        }
        let share = bytes / by_tenant.len().max(1);
        let mut oldest: Vec<_> = self
            .records
            .iter()
            .map(|(subject, versions)| (versions.used, *subject))
            .collect();
        oldest.sort_unstable();
        for (_, subject) in oldest {
            let tenant = self.records.get(&subject).map(|versions| versions.tenant);
            let held = tenant.and_then(|tenant| by_tenant.get_mut(&tenant));
            let Some(held) = held.filter(|held| **held > share) else {
                continue;
            };
            if let Some(gone) = self.records.remove(&subject) {
                *held -= gone.bytes;
                self.bytes -= gone.bytes;
            }
        }
    }
}

impl Folds {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.lock().bytes
    }

    #[cfg(test)]
    pub(super) fn shrink_to(&self, bytes: usize) {
        self.lock().shrink_to(bytes);
    }

    /// The newest version that is kept and was there at a position.
    fn nearest(&self, subject: Subject, position: u64) -> Option<Version> {
        let mut kept = self.lock();
        kept.uses += 1;
        let uses = kept.uses;
        let versions = kept.records.get_mut(&subject)?;
        versions.used = uses;
        let (_, nearest) = versions.by_position.range_mut(..=position).next_back()?;
        nearest.used = uses;
        Some(nearest.clone())
    }

    /// Keeps a version. Where a reader has come here from another one, that is its place no more.
    fn keep(&self, subject: Subject, tenant: Tenant, mut version: Version, from: Option<u64>) {
        if version.number < STRIDE_MIN {
            return;
        }
        let mut kept = self.lock();
        kept.uses += 1;
        version.used = kept.uses;
        let versions = kept.records.entry(subject).or_insert_with(|| Versions {
            tenant,
            stride: STRIDE_MIN,
            by_position: BTreeMap::new(),
            bytes: 0,
            used: 0,
        });
        let before = versions.bytes;
        versions.used = version.used;
        let left = from.and_then(|from| versions.by_position.get(&from));
        if let Some(left) = left.filter(|left| !versions.is_regular(left)) {
            let position = left.position;
            versions.remove(position);
        }
        versions.insert(version);
        let now = versions.bytes;
        kept.bytes = kept.bytes + now - before;
        if kept.bytes > KEPT_BYTES_MAX {
            kept.shrink_to(KEPT_BYTES_AFTER);
        }
    }
}

impl Version {
    fn of(event: &Event, piece: Piece) -> Self {
        let written = serde_json::to_vec(&piece).map_or(0, |text| text.len());
        Self {
            number: event.subject_version,
            position: event.position,
            piece,
            bytes: VERSION_BYTES + written,
            used: 0,
        }
    }
}

/// One fold on its way.
struct Fold<'a> {
    ledger: &'a Ledger,
    subject: Subject,
    newest: Option<Version>,
    tenant: Tenant,
    /// Where it began, of what was kept.
    from: Option<u64>,
}

impl Ledger {
    /// A record as it was after the event at `position`: the fold of its own events, from the
    /// nearest version that is known.
    ///
    /// What was folded before an interruption is kept, so that asking again goes on from there.
    ///
    /// # Errors
    /// When its events cannot be read, or the turn is over.
    pub fn record_as_of(
        &self,
        subject: Subject,
        position: u64,
        turn: &mut Turn,
    ) -> Result<Record, HistoryError> {
        if let Subject::Ledger(_) = subject {
            return Ok(Record::Ledger);
        }
        let nearest = self.reading.folds.nearest(subject, position);
        let mut fold = Fold {
            ledger: self,
            subject,
            from: nearest.as_ref().map(|version| version.position),
            newest: nearest,
            tenant: None,
        };
        let folded = fold.advance(position, turn);
        fold.keep();
        folded?;
        match fold.newest {
            Some(version) => self.opened(version.piece),
            None => Ok(Record::Ledger),
        }
    }

    /// A record with its personal values.
    fn opened(&self, piece: Piece) -> Result<Record, HistoryError> {
        Ok(match piece {
            Piece::Organization(record) => Record::Organization(record),
            Piece::Project(record) => Record::Project(record),
            Piece::Member(mut record) => {
                open_member(self.keys(), Arc::make_mut(&mut record))?;
                Record::Member(record)
            }
            Piece::Account(record) => Record::ServiceAccount(record),
            Piece::Credential(record) => Record::Credential(record),
            Piece::Session(record) => Record::Session(record),
            Piece::Endpoint(mut record) => {
                open_endpoint(self.keys(), Arc::make_mut(&mut record))?;
                Record::WebhookEndpoint(record)
            }
            Piece::Head(_) | Piece::Command(..) | Piece::SignIn(_) => Record::Ledger,
        })
    }
}

impl Fold<'_> {
    /// Folds the record's events up to a position.
    fn advance(&mut self, position: u64, turn: &mut Turn) -> Result<(), HistoryError> {
        let mut limit = EVENTS_AT_FIRST;
        loop {
            let after = self.newest.as_ref().map_or(0, |version| version.number);
            let history = &self.ledger.views().history;
            let mut positions = history.event_positions(self.subject, after, limit)?;
            positions.retain(|at| *at <= position);
            let goes_on = positions.len() == limit;
            self.take(&positions, turn)?;
            if !goes_on {
                return Ok(());
            }
            limit = EVENTS_PER_READ;
        }
    }

    /// Folds some events. A state of its own for them: what else they leave in it is dropped.
    fn take(&mut self, positions: &[u64], turn: &mut Turn) -> Result<(), HistoryError> {
        let mut state = State::default();
        if let Some(version) = &self.newest {
            state.restore(version.piece.clone());
            state.restored();
        }
        let mut applied = None;
        let mut outcome = Ok(());
        for position in positions {
            match self.apply(&mut state, *position, turn) {
                Ok(event) => {
                    if event.subject_version.is_multiple_of(STRIDE_MIN) {
                        self.reach(&state, &event);
                        self.keep();
                    }
                    applied = Some(event);
                }
                Err(why) => {
                    outcome = Err(why);
                    break;
                }
            }
        }
        if let Some(event) = applied {
            self.reach(&state, &event);
        }
        outcome
    }

    fn apply(
        &self,
        state: &mut State,
        position: u64,
        turn: &mut Turn,
    ) -> Result<Event, HistoryError> {
        turn.go_on()?;
        let payload = self.ledger.reader().read_payload(position)?;
        let event = Event::from_payload(&payload)?;
        // The chain in this state is looked at by no one.
        state.apply(&event, Digest32([0; 32]))?;
        Ok(event)
    }

    /// Takes the record as it is after an event.
    fn reach(&mut self, state: &State, event: &Event) {
        self.tenant = event.organization.map(|place| place.id);
        self.newest = piece_of(state, self.subject).map(|piece| Version::of(event, piece));
    }

    /// Keeps what has been folded so far.
    fn keep(&mut self) {
        if let Some(version) = &self.newest
            && self.from != Some(version.position)
        {
            let folds = &self.ledger.reading.folds;
            folds.keep(self.subject, self.tenant, version.clone(), self.from);
            self.from = Some(version.position);
        }
    }
}

/// The record of a subject in a state.
fn piece_of(state: &State, subject: Subject) -> Option<Piece> {
    match subject {
        Subject::Ledger(_) => None,
        Subject::Organization(id) => state.organization(id).cloned().map(Piece::Organization),
        Subject::Project(id) => state.project(id).cloned().map(Piece::Project),
        Subject::Member(id) => state.member(id).cloned().map(Piece::Member),
        Subject::ServiceAccount(id) => state.account(id).cloned().map(Piece::Account),
        Subject::Credential(id) => state.credential(id).cloned().map(Piece::Credential),
        Subject::Session(id) => state.session(id).cloned().map(Piece::Session),
        Subject::WebhookEndpoint(id) => state.endpoint(id).cloned().map(Piece::Endpoint),
    }
}
