//! What a delivery says: `{"id","type","timestamp","sequence","data"}`, where `data` is the public
//! record of the event's subject as it was after the event.
//!
//! Owns that form and the few bodies that are wanted again soon. A body is made when it is sent,
//! so that what was erased meanwhile is not in it. It has no secret and no hash: it shows what the
//! API shows. Where an endpoint is the subject, the URL stops before its path, which may be a
//! secret between that endpoint's owner and its receiver. What a record tells of its use is not in
//! the log, and so in no body. Events flow in from the log, records from views where those stand
//! at the event, else from a fold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use url::Url;

use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::event::ledger::LedgerCheckpointed;
use crate::domain::ids::{EventId, OrganizationId, Owner, ProjectId, SessionId, Subject, UserId};
use crate::domain::record::DisabledBecause;
use crate::domain::time::Timestamp;
use crate::ledger::history::HistoryError;
use crate::ledger::key_holder::KeyHolder;
use crate::ledger::turns::Turn;
use crate::ledger::{Ledger, Record};
use crate::records::{
    CheckpointRecord, KeyRecord, MemberRecord, OrganizationRecord, ProjectRecord,
    ServiceAccountRecord, SessionRecord, Use, WebhookEndpointRecord,
};

/// Bytes of bodies that are kept for other endpoints of the organization: usually 2,000 bodies.
const CACHED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a body takes beside its bytes.
const BODY_OVERHEAD_BYTES: usize = 256;
/// The type of a ping, which is no event's.
pub const PING_EVENT_TYPE: &str = "ping";

/// What is said of one event.
#[derive(Debug)]
pub struct WebhookBody {
    /// The event: `webhook-id`.
    pub event: EventId,
    /// Its type.
    pub name: &'static str,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The project that the subject belongs to.
    pub project: Option<ProjectId>,
    /// The record that the event changed.
    pub subject: Subject,
    /// The person whose record, session or credential that is.
    pub person: Option<UserId>,
    /// Whether the program tells of an endpoint that takes nothing: the organization's other
    /// endpoints get that whatever they asked for.
    pub is_notice: bool,
    /// The JSON.
    pub bytes: Bytes,
}

/// The form of a body.
#[derive(Serialize)]
pub(super) struct BodyJson<'a, T: Serialize> {
    pub(super) id: EventId,
    #[serde(rename = "type")]
    pub(super) name: &'a str,
    pub(super) timestamp: Timestamp,
    /// The event's position; null in a test.
    pub(super) sequence: Option<u64>,
    pub(super) data: T,
    /// There in tests alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) test: Option<bool>,
}

/// Builds bodies, and caches those that may be wanted again soon.
#[derive(Debug)]
pub struct BodyCache {
    ledger: Ledger,
    kept: Mutex<CachedBodies>,
}

/// Bodies by position, the oldest first to go.
#[derive(Debug, Default)]
struct CachedBodies {
    bodies: BTreeMap<(u64, OrganizationId), Arc<WebhookBody>>,
    bytes: usize,
}

impl CachedBodies {
    fn insert(&mut self, place: (u64, OrganizationId), body: Arc<WebhookBody>) {
        self.bytes += body.weight();
        let replaced = self.bodies.insert(place, body);
        self.bytes -= replaced.map_or(0, |body| body.weight());
        while self.bytes > CACHED_BYTES_MAX
            && let Some((_, oldest)) = self.bodies.pop_first()
        {
            self.bytes -= oldest.weight();
        }
    }
}

impl WebhookBody {
    fn weight(&self) -> usize {
        BODY_OVERHEAD_BYTES + self.bytes.len()
    }
}

impl BodyCache {
    /// A cache of bodies of a ledger's events.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            kept: Mutex::default(),
        }
    }

    /// What an organization learns of the event at a position, if it is at hand and nothing in it
    /// was erased since.
    #[must_use]
    pub fn cached(&self, position: u64, to: OrganizationId) -> Option<Arc<WebhookBody>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let body = kept.bodies.get(&(position, to))?;
        let erased = |person| {
            self.ledger
                .keys()
                .is_data_key_destroyed(KeyHolder::Member(person).data_key())
        };
        (!body.person.is_some_and(erased)).then(|| Arc::clone(body))
    }

    /// What an organization learns of the event at a position; `None` where that is nothing.
    /// Reads the log: off the async threads.
    ///
    /// # Errors
    /// When the event or its subject's past cannot be read, or the turn is over.
    pub fn get_or_build(
        &self,
        position: u64,
        to: OrganizationId,
        turn: &mut Turn,
    ) -> Result<Option<Arc<WebhookBody>>, HistoryError> {
        if let Some(body) = self.cached(position, to) {
            return Ok(Some(body));
        }
        let event = self.ledger.event(position)?.event;
        let Some(body) = build_body(&self.ledger, &event, to, turn)? else {
            return Ok(None);
        };
        let body = Arc::new(body);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert((position, to), Arc::clone(&body));
        Ok(Some(body))
    }
}

/// What an event says to an organization: one of its own, or one that tells of the ledger.
fn build_body(
    ledger: &Ledger,
    event: &Event,
    to: OrganizationId,
    turn: &mut Turn,
) -> Result<Option<WebhookBody>, HistoryError> {
    let mut person = None;
    let (data, project) = match (event.organization, &event.fact) {
        (Some(place), _) if place.id == to => {
            let record = record_after(ledger, place.id, event, turn)?;
            person = person_of(&record);
            record_json(ledger, &record, event.occurred_at)?
        }
        (None, Fact::LedgerCheckpointed(told)) => {
            (checkpoint_json(ledger, event, told, to, turn)?, None)
        }
        (_, _) => return Ok(None),
    };
    let form = BodyJson {
        id: event.id,
        name: event.fact.name(),
        timestamp: event.occurred_at,
        sequence: Some(event.position),
        data,
        test: None,
    };
    Ok(Some(WebhookBody {
        event: event.id,
        name: event.fact.name(),
        organization: to,
        project,
        subject: event.subject,
        person,
        is_notice: is_notice(&event.fact),
        bytes: body_bytes(&form)?,
    }))
}

/// A checkpoint, with where the chain of whoever is told of it ended by then.
fn checkpoint_json(
    ledger: &Ledger,
    event: &Event,
    told: &LedgerCheckpointed,
    to: OrganizationId,
    turn: &mut Turn,
) -> Result<Box<RawValue>, HistoryError> {
    let end = ledger.end_of(to, event.position, turn)?;
    let record = CheckpointRecord {
        size: told.size,
        root: hex::encode(told.root.0),
        checkpoint: told.checkpoint.clone(),
        organization_sequence: end.map(|(sequence, _)| sequence),
        organization_commitment: end.map(|(_, commitment)| hex::encode(commitment.0)),
    };
    Ok(to_raw_value(&record)?)
}

pub(super) fn body_bytes<T: Serialize>(form: &BodyJson<'_, T>) -> Result<Bytes, HistoryError> {
    Ok(Bytes::from(serde_json::to_vec(form)?))
}

/// The subject as it was after the event: as the views have it while nothing else has happened to
/// it, else folded.
fn record_after(
    ledger: &Ledger,
    organization: OrganizationId,
    event: &Event,
    turn: &mut Turn,
) -> Result<Record, HistoryError> {
    let views = ledger.views();
    let directory = &views.directory;
    let at_event = |position: u64| position == event.position;
    let newest = match event.subject {
        Subject::Credential(id) => {
            let key = views.credentials.get(organization, id);
            let key = key.filter(|key| at_event(key.stamp().position));
            key.map(Record::Credential)
        }
        Subject::Organization(id) => {
            let found = directory.organization(id);
            let found = found.filter(|found| at_event(found.stamp.position));
            found.map(Record::Organization)
        }
        Subject::Project(id) => {
            let found = directory.project(organization, id);
            let found = found.filter(|found| at_event(found.stamp.position));
            found.map(Record::Project)
        }
        Subject::Member(id) => {
            let found = directory.member(organization, id);
            let found = found.filter(|found| at_event(found.stamp.position));
            found.map(Record::Member)
        }
        Subject::ServiceAccount(id) => {
            let found = directory.service_account(organization, id);
            let found = found.filter(|found| at_event(found.stamp.position));
            found.map(Record::ServiceAccount)
        }
        Subject::WebhookEndpoint(id) => {
            let found = directory.webhook_endpoint(organization, id);
            let found = found.filter(|found| at_event(found.stamp.position));
            found.map(Record::WebhookEndpoint)
        }
        Subject::Ledger(_) | Subject::Session(_) => None,
    };
    match newest {
        Some(record) => Ok(record),
        None => ledger.record_as_of(event.subject, event.position, turn),
    }
}

/// A record as JSON, as it was at an instant, and the project that it belongs to.
pub(super) fn record_json(
    ledger: &Ledger,
    record: &Record,
    at: Timestamp,
) -> Result<(Box<RawValue>, Option<ProjectId>), HistoryError> {
    let (shown, project) = match record {
        Record::Ledger => (to_raw_value(&()), None),
        Record::Organization(record) => (to_raw_value(&OrganizationRecord::from(record)), None),
        Record::Project(record) => {
            let shown = to_raw_value(&ProjectRecord::from(record));
            (shown, Some(record.id))
        }
        Record::Member(record) => (to_raw_value(&MemberRecord::from(record)), None),
        Record::ServiceAccount(record) => (to_raw_value(&ServiceAccountRecord::from(record)), None),
        Record::Credential(record) => {
            let shown = KeyRecord::new(ledger.views(), (record, &Use::untold()), at);
            (to_raw_value(&shown), record.project())
        }
        Record::Session(record) => {
            // Nobody in particular looks at it.
            let nobody = SessionId(ulid::Ulid(0));
            let shown = SessionRecord::new(record, nobody, None);
            (to_raw_value(&shown), None)
        }
        Record::WebhookEndpoint(record) => {
            let url = without_path(&record.url);
            let shown = WebhookEndpointRecord::from(record).at(url);
            (to_raw_value(&shown), record.project)
        }
    };
    Ok((shown?, project))
}

/// The person whose record it is, or whose session or credential.
fn person_of(record: &Record) -> Option<UserId> {
    match record {
        Record::Member(member) => Some(member.id),
        Record::Session(session) => Some(session.user),
        Record::Credential(credential) => match credential.owner() {
            Owner::User(user) => Some(user),
            Owner::Organization(_) | Owner::ServiceAccount(_) => None,
        },
        Record::Ledger
        | Record::Organization(_)
        | Record::Project(_)
        | Record::ServiceAccount(_)
        | Record::WebhookEndpoint(_) => None,
    }
}

/// A URL's scheme, host and port.
fn without_path(url: &str) -> String {
    Url::parse(url).map_or_else(
        |_not_a_url| String::new(),
        |url| url.origin().ascii_serialization(),
    )
}

/// Whether the program tells of an endpoint that takes nothing.
fn is_notice(fact: &Fact) -> bool {
    if let Fact::EndpointDisabled(disabled) = fact {
        return disabled.because != DisabledBecause::Requested;
    }
    matches!(fact, Fact::EndpointFailing(_))
}
