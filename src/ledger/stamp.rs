//! From a decision to payloads: places, ids, seals.
//!
//! Owns the order in which an event gets its position, its place in its organization's chain and
//! its sealed values. Personal values are sealed here and opened here, nowhere else.

use ulid::Ulid;
use zeroize::Zeroizing;

use super::history::PastNetwork;
use super::{Idempotency, Network, Submission};
use crate::clock::Entropy;
use crate::domain::access::Authority;
use crate::domain::command::Actor;
use crate::domain::decide::{Change, Decision, Facts};
use crate::domain::envelope::{
    ActorStamp, ActorType, Digest32, Event, Nonce16, OrganizationPlace, commitment,
};
use crate::domain::ids::{EventId, OrganizationId, Principal, Subject};
use crate::domain::personal::Personal;
use crate::domain::record::{Member, WebhookEndpoint};
use crate::domain::sealed_values::{ENDPOINT_KEY_FIELD, PASSWORD_FIELD};
use crate::domain::session::SignInMeans;
use crate::domain::state::State;
use crate::seal::{Context, DataKeyId, KeyStore, Opened, SealError, Sealed};
use crate::views::revocations::Entry;

/// Why a decision could not become payloads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StampError {
    #[error("a value could not be sealed")]
    Seal(#[from] SealError),
    #[error("an event could not be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("an event does not fit the state it was decided on")]
    Misfit(#[from] crate::domain::Misfit),
    #[error("a value sealed here is not text")]
    NotText(#[from] std::str::Utf8Error),
}

/// The data key of a person, of an organization's own networks, or of an endpoint's secret: its id
/// is its holder's.
pub(crate) fn data_key(holder: Ulid) -> DataKeyId {
    DataKeyId::new(holder)
}

/// Seals and stamps.
pub(crate) struct Stamper<'a> {
    pub(crate) keys: &'a KeyStore,
    pub(crate) entropy: &'a mut Entropy,
    pub(crate) log_id: [u8; 16],
}

/// One stamped event.
pub(crate) struct Stamped {
    pub(crate) payload: Vec<u8>,
    pub(crate) subject: Subject,
    pub(crate) version: u32,
    pub(crate) kind: &'static str,
    /// What it adds to the revocation feed.
    pub(crate) entry: Option<Entry>,
}

impl Stamper<'_> {
    /// Makes the data keys that a decision needs, durable before the events that use them.
    pub(crate) fn make_keys(&mut self, decision: &Decision) -> Result<(), SealError> {
        use crate::domain::event::Fact;
        for change in &decision.changes {
            let holder = match (&change.fact, change.subject) {
                (Fact::MemberAdded(_), Subject::Member(id)) => Some(id.0),
                (Fact::OrganizationCreated(_), Subject::Organization(id)) => Some(id.0),
                (fact, _) => fact.endpoint_secret().map(|secret| secret.0),
            };
            if let Some(holder) = holder {
                self.keys.new_data_key(data_key(holder), self.entropy)?;
            }
        }
        Ok(())
    }

    /// Gives each change its place from `position` on, and stages it in the state.
    pub(crate) fn stamp(
        &mut self,
        state: &mut State,
        decision: Decision,
        (submission, facts): (&Submission, &Facts),
        position: u64,
    ) -> Result<Vec<Stamped>, StampError> {
        let actor = actor_stamp(submission.request.actor, &decision.authority);
        let mut stamped = Vec::with_capacity(decision.changes.len());
        for (index, change) in decision.changes.into_iter().enumerate() {
            let id = facts.event_id(index);
            let mut actor = actor.clone();
            // In a cascade the first event alone carries the network.
            if let (0, Some(network)) = (index, &submission.network) {
                let organization = change.organization.or(decision.authority.organization);
                actor.network = self.seal_network(network, &actor, organization, id)?;
            }
            let place = (position + stamped.len() as u64, id, facts.now);
            let event = self.event(state, change, actor, place)?;
            let event = with_request(event, submission);
            let payload = event.to_payload()?;
            state.apply(&event, commitment(&payload))?;
            // As of this event: what the rest of a cascade ends is still live here.
            let live = |owner| state.live_credentials_of(owner, event.occurred_at);
            stamped.push(Stamped {
                payload,
                subject: event.subject,
                version: event.subject_version,
                kind: event.fact.name(),
                entry: Entry::of(&event, live),
            });
        }
        Ok(stamped)
    }

    fn event(
        &mut self,
        state: &State,
        mut change: Change,
        actor: ActorStamp,
        (position, id, now): (u64, EventId, crate::domain::time::Timestamp),
    ) -> Result<Event, StampError> {
        let holder = match change.subject {
            Subject::Member(id) => Some(id.0),
            Subject::WebhookEndpoint(_) => change.fact.endpoint_secret().map(|secret| secret.0),
            Subject::Ledger(_)
            | Subject::Organization(_)
            | Subject::Project(_)
            | Subject::ServiceAccount(_)
            | Subject::Credential(_)
            | Subject::Session(_) => None,
        };
        for (field, value) in change.fact.personal_mut() {
            let plain = Zeroizing::new(value.text().unwrap_or_default().to_owned());
            let key = data_key(holder.unwrap_or_default());
            value.seal(self.seal(key, plain.as_bytes(), id, field)?);
        }
        let organization = change.organization.map(|id| match state.head(id) {
            Some(head) => OrganizationPlace {
                id,
                sequence: head.sequence + 1,
                previous: Some(Digest32(head.commitment)),
            },
            None => OrganizationPlace {
                id,
                sequence: 0,
                previous: None,
            },
        });
        Ok(Event {
            position,
            id,
            occurred_at: now,
            organization,
            subject: change.subject,
            subject_version: state.version(change.subject) + 1,
            actor,
            request_id: None,
            command_id: None,
            command_digest: None,
            nonce: Nonce16(self.entropy.bytes()),
            fact: change.fact,
        })
    }

    /// A network address belongs to the person behind the actor, else to the organization.
    fn seal_network(
        &mut self,
        network: &Network,
        actor: &ActorStamp,
        organization: Option<OrganizationId>,
        id: EventId,
    ) -> Result<Option<Sealed>, StampError> {
        let person = match actor.id {
            Some(Principal::User(user)) => Some(user.0),
            Some(Principal::ServiceAccount(_) | Principal::Credential(_)) | None => None,
        };
        let holders = [person, organization.map(|id| id.0)];
        for key in holders.into_iter().flatten().map(data_key) {
            if self.keys.data_key(key)?.is_some() {
                let text = serde_json::to_vec(network)?;
                return Ok(Some(self.seal(key, &text, id, "actor.network")?));
            }
        }
        Ok(None)
    }

    fn seal(
        &mut self,
        key: DataKeyId,
        plain: &[u8],
        id: EventId,
        field: &str,
    ) -> Result<Sealed, SealError> {
        let nonce = self.entropy.bytes();
        let event_id = id.to_string();
        let context = Context {
            log_id: self.log_id,
            event_id: &event_id,
            field,
        };
        self.keys.seal(key, plain, nonce, context)
    }
}

fn with_request(mut event: Event, submission: &Submission) -> Event {
    event.request_id.clone_from(&submission.request_id);
    if let Some(Idempotency { command, digest }) = submission.idempotency {
        event.command_id = Some(command);
        event.command_digest = Some(digest);
    }
    event
}

fn actor_stamp(actor: Actor, authority: &Authority) -> ActorStamp {
    let kind = match (actor, authority.principal) {
        (Actor::Operator, _) => ActorType::Operator,
        // Who signs in is who the session is of; an attempt that failed is noted by the program.
        (Actor::Session(_), _) | (Actor::Nobody, Some(_)) => ActorType::User,
        (Actor::Nobody, None) => ActorType::System,
        (Actor::Bearer { .. }, Some(Principal::User(_))) => ActorType::User,
        (Actor::Bearer { .. }, Some(Principal::ServiceAccount(_))) => ActorType::ServiceAccount,
        (Actor::Bearer { .. }, Some(Principal::Credential(_)) | None) => ActorType::Credential,
    };
    ActorStamp {
        kind,
        id: authority.principal,
        via: authority.via,
        network: None,
    }
}

/// Opens a member's values after a snapshot: they are sealed under the event that added the member.
/// Who was erased stays so, even where a crash kept the key.
pub(crate) fn open_member(keys: &KeyStore, member: &mut Member) -> Result<(), StampError> {
    if member.erased_at.is_some() {
        return Ok(());
    }
    let event_id = member.added_by.to_string();
    let name = member.name.as_mut().map(|name| ("data.name", name));
    let values = [Some(("data.email", &mut member.email)), name];
    open_values(keys, keys.log_id(), &event_id, values.into_iter().flatten())
}

/// Opens a member's password hash after a snapshot: it is sealed under the event that set it.
pub(crate) fn open_means(keys: &KeyStore, means: &mut SignInMeans) -> Result<(), StampError> {
    let Some(password) = &mut means.password else {
        return Ok(());
    };
    let event_id = password.set_by.to_string();
    let value = (PASSWORD_FIELD, &mut password.hash);
    open_values(keys, keys.log_id(), &event_id, [value])
}

/// Opens an endpoint's signing secrets after a snapshot: each is sealed under the event that made
/// it.
pub(crate) fn open_endpoint(
    keys: &KeyStore,
    endpoint: &mut WebhookEndpoint,
) -> Result<(), StampError> {
    for secret in &mut endpoint.secrets {
        let event_id = secret.sealed_by.to_string();
        let value = (ENDPOINT_KEY_FIELD, &mut secret.key);
        open_values(keys, keys.log_id(), &event_id, [value])?;
    }
    Ok(())
}

/// Opens the personal values of a read event; what has been erased stays blank.
pub(crate) fn open_personal(
    keys: &KeyStore,
    log_id: [u8; 16],
    event: &mut Event,
) -> Result<(), StampError> {
    let event_id = event.id.to_string();
    open_values(keys, log_id, &event_id, event.fact.personal_mut())
}

fn open_values<'a>(
    keys: &KeyStore,
    log_id: [u8; 16],
    event_id: &str,
    values: impl IntoIterator<Item = (&'static str, &'a mut Personal)>,
) -> Result<(), StampError> {
    for (field, value) in values {
        if let Some(sealed) = value.sealed() {
            let context = Context {
                log_id,
                event_id,
                field,
            };
            let text = match keys.open_sealed(sealed, context)? {
                Opened::Text(text) => Some(text.expose_str()?.to_owned()),
                Opened::Erased => None,
            };
            value.open(text);
        }
    }
    Ok(())
}

/// Opens the network of a read event, as the JSON text that was sealed.
pub(crate) fn open_network(
    keys: &KeyStore,
    log_id: [u8; 16],
    event: &Event,
) -> Result<PastNetwork, StampError> {
    let Some(sealed) = &event.actor.network else {
        return Ok(PastNetwork::NotKept);
    };
    let event_id = event.id.to_string();
    let context = Context {
        log_id,
        event_id: &event_id,
        field: "actor.network",
    };
    match keys.open_sealed(sealed, context)? {
        Opened::Text(text) => Ok(PastNetwork::Shown(serde_json::from_slice(text.expose())?)),
        Opened::Erased => Ok(PastNetwork::Erased),
    }
}
