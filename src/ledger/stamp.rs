//! From a decision to payloads: places, ids, seals.
//!
//! Owns the order in which an event gets its sealed values, its position and its place in its
//! organization's chain. Personal values are sealed here and opened here, nowhere else. All of a
//! decision is sealed before any of it is staged, so that a key that cannot be used is a refusal.

use zeroize::Zeroizing;

use super::command_digest;
use super::key_holder::KeyHolder;
use super::unusable_keys::{KeyProblem, SealRefusal, UnusableKey};
use super::{Idempotency, Submission};
use crate::clock::Entropy;
use crate::domain::access::Authority;
use crate::domain::command::Actor;
use crate::domain::decide::{Change, Decision, Facts};
use crate::domain::digest::{Digest32, Nonce16};
use crate::domain::envelope::{ActorStamp, ActorType, Event, OrganizationPlace, commitment};
use crate::domain::event::Fact;
use crate::domain::ids::{EventId, Principal, Subject, UserId};
use crate::domain::personal::Personal;
use crate::domain::record::{Member, WebhookEndpoint};
use crate::domain::sealed_values::{ENDPOINT_KEY_FIELD, PASSWORD_FIELD, values_of_person};
use crate::domain::session::SignInMeans;
use crate::domain::state::State;
use crate::seal::{KeyStore, OpenedValue, SealContext, SealedValue};
use crate::views::revocations::RevocationEntry;

/// Why a decision could not become payloads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StampError {
    #[error("an event could not be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("an event does not fit the state it was decided on")]
    Misfit(#[from] crate::domain::Misfit),
    #[error("a value sealed here is not text")]
    NotText(#[from] std::str::Utf8Error),
}

/// Where the sealed network is in an envelope.
const NETWORK_FIELD: &str = "actor.network";

/// A decision whose values are sealed, with the sealed network of its first event.
pub(crate) struct SealedDecision {
    decision: Decision,
    network: Option<SealedValue>,
    idempotency: Option<Idempotency>,
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
    pub(crate) entry: Option<RevocationEntry>,
}

impl Stamper<'_> {
    /// Seals all values of a decision, and the network of its first event. Keys that exist are
    /// looked at first, then the new ones are made, durable before the events that use them.
    pub(crate) fn seal_all(
        &mut self,
        mut decision: Decision,
        submission: &Submission,
        facts: &Facts,
    ) -> Result<SealedDecision, SealRefusal> {
        let new = new_keys(&decision);
        for change in &mut decision.changes {
            if let Some(holder) = value_holder(change)
                && !new.contains(&holder)
            {
                self.usable(holder).map_err(SealRefusal::KeyUnusable)?;
            }
        }
        let network_holder = network_holder(&decision, submission);
        let network_holder = match network_holder {
            Some(holder) if !new.contains(&holder) => match self.usable(holder) {
                Ok(()) => Some(holder),
                Err(_) if submission.request.command.goes_without_network() => None,
                Err(why) => return Err(SealRefusal::KeyUnusable(why)),
            },
            other => other,
        };
        for holder in &new {
            self.keys
                .create_data_key(holder.data_key(), self.entropy)
                .map_err(SealRefusal::KeyNotWritten)?;
        }
        for (index, change) in decision.changes.iter_mut().enumerate() {
            self.seal_values(change, facts.event_id(index))?;
        }
        let network = network_holder.zip(submission.network.as_ref());
        let network = network.map(|(holder, network)| {
            // Texts alone: this cannot fail.
            let text = serde_json::to_vec(network).unwrap_or_default();
            self.seal(holder, &text, facts.event_id(0), NETWORK_FIELD)
        });
        let network = network.transpose()?;
        let idempotency = submission.idempotency.map(|given| Idempotency {
            digest: self.command_digest(given.digest, decision.member()),
            ..given
        });
        Ok(SealedDecision {
            decision,
            network,
            idempotency,
        })
    }

    /// Gives each change of a sealed decision its place from `position` on, and stages it in the
    /// state.
    pub(crate) fn stamp_and_stage(
        &mut self,
        state: &mut State,
        sealed: SealedDecision,
        (submission, facts): (&Submission, &Facts),
        position: u64,
    ) -> Result<Vec<Stamped>, StampError> {
        let SealedDecision {
            decision,
            network,
            idempotency,
        } = sealed;
        let mut actor = actor_stamp(submission.request.actor, &decision.authority);
        actor.network = network;
        let mut stamped = Vec::with_capacity(decision.changes.len());
        for (index, change) in decision.changes.into_iter().enumerate() {
            let place = (
                position + stamped.len() as u64,
                facts.event_id(index),
                facts.now,
            );
            // In a cascade the first event alone carries the network.
            let bare = ActorStamp {
                network: None,
                ..actor.clone()
            };
            let actor = std::mem::replace(&mut actor, bare);
            let event = self.event(state, change, actor, place);
            let event = with_request(event, submission, idempotency);
            let payload = event.to_payload()?;
            state.apply(&event, commitment(&payload))?;
            // As of this event: what the rest of a cascade ends is still live here.
            let live = |owner| state.live_credentials_of(owner, event.occurred_at);
            stamped.push(Stamped {
                payload,
                subject: event.subject,
                version: event.subject_version,
                kind: event.fact.name(),
                entry: RevocationEntry::from_event(&event, live),
            });
        }
        Ok(stamped)
    }

    fn event(
        &mut self,
        state: &State,
        change: Change,
        actor: ActorStamp,
        (position, id, now): (u64, EventId, crate::domain::time::Timestamp),
    ) -> Event {
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
        Event {
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
            nonce: Nonce16(self.entropy.random_bytes()),
            fact: change.fact,
        }
    }

    fn seal_values(&mut self, change: &mut Change, id: EventId) -> Result<(), SealRefusal> {
        let Some(holder) = value_holder(change) else {
            return Ok(());
        };
        for (field, value) in change.fact.personal_mut() {
            let plain = Zeroizing::new(value.text().unwrap_or_default().to_owned());
            value.seal(self.seal(holder, plain.as_bytes(), id, field)?);
        }
        Ok(())
    }

    /// The digest that the events carry. Without the member's key the command is carried out, and
    /// a repetition of it is refused.
    fn command_digest(&mut self, digest: Digest32, member: Option<UserId>) -> Digest32 {
        let keyed = command_digest::keyed(self.keys, digest, member);
        keyed.unwrap_or_else(|| Digest32(self.entropy.random_bytes()))
    }

    /// Whether a holder's key is there and can be read.
    fn usable(&self, holder: KeyHolder) -> Result<(), UnusableKey> {
        let problem = match self.keys.data_key(holder.data_key()) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => KeyProblem::Missing,
            Err(why) => KeyProblem::of(&why),
        };
        Err(UnusableKey::new(holder, self.keys, problem))
    }

    fn seal(
        &mut self,
        holder: KeyHolder,
        plain: &[u8],
        id: EventId,
        field: &str,
    ) -> Result<SealedValue, SealRefusal> {
        let nonce = self.entropy.random_bytes();
        let event_id = id.to_string();
        let context = SealContext {
            log_id: self.log_id,
            event_id: &event_id,
            field,
        };
        let sealed = self.keys.seal(holder.data_key(), plain, nonce, context);
        sealed.map_err(SealRefusal::Value)
    }
}

/// Whose data keys a decision makes.
fn new_keys(decision: &Decision) -> Vec<KeyHolder> {
    let changes = decision.changes.iter();
    let holders = changes.map(|change| match (&change.fact, change.subject) {
        (Fact::MemberAdded(_), Subject::Member(id)) => Some(KeyHolder::Member(id)),
        (Fact::OrganizationCreated(_), Subject::Organization(id)) => {
            Some(KeyHolder::Organization(id))
        }
        (fact, subject) => secret_holder(fact, subject),
    });
    holders.flatten().collect()
}

/// Whose data key seals the values of a change, if it has any.
fn value_holder(change: &mut Change) -> Option<KeyHolder> {
    if change.fact.personal_mut().is_empty() {
        return None;
    }
    match change.subject {
        Subject::Member(id) => Some(KeyHolder::Member(id)),
        subject @ Subject::WebhookEndpoint(_) => secret_holder(&change.fact, subject),
        Subject::Ledger(_)
        | Subject::Organization(_)
        | Subject::Project(_)
        | Subject::ServiceAccount(_)
        | Subject::Credential(_)
        | Subject::Session(_) => None,
    }
}

fn secret_holder(fact: &Fact, subject: Subject) -> Option<KeyHolder> {
    match (fact.endpoint_secret(), subject) {
        (Some(secret), Subject::WebhookEndpoint(endpoint)) => {
            Some(KeyHolder::EndpointSecret { endpoint, secret })
        }
        (Some(_) | None, _) => None,
    }
}

/// Where a command came from belongs to the person behind the actor. What the program itself notes
/// of a member, such as a failure to sign in, came from where that member was. Else it is the
/// organization's.
fn network_holder(decision: &Decision, submission: &Submission) -> Option<KeyHolder> {
    submission.network.as_ref()?;
    let first = decision.changes.first()?;
    let organization = first.organization.or(decision.authority.organization);
    let organization = organization.map(KeyHolder::Organization);
    match decision.authority.principal {
        Some(Principal::User(user)) => Some(KeyHolder::Member(user)),
        Some(Principal::ServiceAccount(_) | Principal::Credential(_)) => organization,
        None => match submission.request.actor {
            Actor::System => decision.member().map(KeyHolder::Member).or(organization),
            Actor::Operator | Actor::Anonymous | Actor::Session(_) | Actor::Bearer { .. } => {
                organization
            }
        },
    }
}

fn with_request(
    mut event: Event,
    submission: &Submission,
    idempotency: Option<Idempotency>,
) -> Event {
    event.request_id.clone_from(&submission.request_id);
    if let Some(Idempotency { command, digest }) = idempotency {
        event.command_id = Some(command);
        event.command_digest = Some(digest);
    }
    event
}

fn actor_stamp(actor: Actor, authority: &Authority) -> ActorStamp {
    let kind = match (actor, authority.principal) {
        (Actor::Operator, _) => ActorType::Operator,
        // A sign-in is the member's act; an attempt that failed is noted by the program.
        (Actor::Session(_) | Actor::Anonymous, _) => ActorType::User,
        (Actor::System, _) => ActorType::System,
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

/// Opens a member's values after a snapshot: they are sealed under the event that set them last.
/// Who was erased stays so, even where a crash kept the key.
pub(crate) fn open_member(keys: &KeyStore, member: &mut Member) -> Result<(), StampError> {
    if member.erased_at.is_some() {
        return Ok(());
    }
    let event_id = member.sealed_by.to_string();
    let values = values_of_person(&mut member.email, member.name.as_mut());
    open_values(keys, keys.log_id(), &event_id, values)
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
            let context = SealContext {
                log_id,
                event_id,
                field,
            };
            match keys.open_sealed(sealed, context) {
                Ok(OpenedValue::Plain(text)) => value.open(Some(text.expose_str()?.to_owned())),
                Ok(OpenedValue::Erased) => value.open(None),
                // Damage to a key is no damage to the log; the start reports it.
                Ok(OpenedValue::KeyMissing) | Err(_) => value.mark_unavailable(),
            }
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
    let context = SealContext {
        log_id,
        event_id: &event_id,
        field: NETWORK_FIELD,
    };
    Ok(match keys.open_sealed(sealed, context) {
        Ok(OpenedValue::Plain(text)) => PastNetwork::Shown(serde_json::from_slice(text.expose())?),
        Ok(OpenedValue::Erased) => PastNetwork::Erased,
        Ok(OpenedValue::KeyMissing) | Err(_) => PastNetwork::Unavailable,
    })
}

/// Where an actor called from, with which client.
#[derive(Clone, Debug, PartialEq)]
pub enum PastNetwork {
    /// It was not kept.
    NotKept,
    /// It was kept, and has been erased with the person.
    Erased,
    /// It was kept, and the key that opens it is missing or damaged.
    Unavailable,
    /// `{"ip", "user_agent"}`.
    Shown(serde_json::Value),
}
