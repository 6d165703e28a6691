//! The envelope: the JSON form of an event, whose exact bytes are the stored payload.
//!
//! All keys are always present, in this order, without white space; null where not applicable:
//!
//! ```text
//! {"position","id","type","version","occurred_at","organization_id","organization_sequence",
//!  "organization_previous","subject","subject_version",
//!  "actor":{"type","id","via","network"},"request_id","command_id","command_digest","nonce",
//!  "data":{...}}
//! ```
//!
//! The commitment of an event is SHA-256 of these bytes; the nonce (16 random bytes) makes it
//! hiding. Hashes, nonce, `command_id` and `command_digest` are lower-case hex.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::event::{Fact, UnreadableEvent};
use super::ids::{CredentialId, EventId, OrganizationId, Principal, Subject};
use super::time::Timestamp;
use crate::seal::Sealed;

/// The longest stored payload: an entry of a C2SP tile has a 16-bit length.
pub const PAYLOAD_BYTES_MAX: usize = 65_535;

/// A 32-byte digest that is hex in JSON.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct Digest32(#[serde(with = "hex::serde")] pub [u8; 32]);

/// A 16-byte nonce that is hex in JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Nonce16(#[serde(with = "hex::serde")] pub [u8; 16]);

/// What kind of actor did it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorType {
    /// A member, by session or personal token.
    User,
    /// A service account, by one of its tokens.
    ServiceAccount,
    /// A credential that acts for itself.
    Credential,
    /// The program, by its own rules.
    System,
    /// Who holds the folder, by the command line.
    Operator,
}

/// Who did it, as stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ActorStamp {
    /// The kind of actor.
    #[serde(rename = "type")]
    pub kind: ActorType,
    /// Its id; null for system and operator.
    pub id: Option<Principal>,
    /// The credential or session used.
    pub via: Option<CredentialId>,
    /// Sealed `{ip, user_agent}`.
    pub network: Option<Sealed>,
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place in the one order.
    pub position: u64,
    /// Its id.
    pub id: EventId,
    /// When; never before the event ahead of it.
    pub occurred_at: Timestamp,
    /// The organization it belongs to, with its place in that organization's own chain.
    pub organization: Option<OrganizationPlace>,
    /// The one record it changes.
    pub subject: Subject,
    /// Counts the subject's events from 1.
    pub subject_version: u32,
    /// Who did it.
    pub actor: ActorStamp,
    /// The request that it answers.
    pub request_id: Option<String>,
    /// Identity of the command, where the client gave an idempotency key.
    pub command_id: Option<Digest32>,
    /// Keyed hash of that command's body.
    pub command_digest: Option<Digest32>,
    /// Makes the commitment hiding.
    pub nonce: Nonce16,
    /// What happened.
    pub fact: Fact,
}

/// Where an event stands in its organization's chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OrganizationPlace {
    /// The organization.
    pub id: OrganizationId,
    /// Gapless from 0.
    pub sequence: u64,
    /// Commitment of the organization's previous event; `None` for its first.
    pub previous: Option<Digest32>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a, Actor, Data> {
    position: u64,
    id: EventId,
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
    version: u16,
    occurred_at: Timestamp,
    organization_id: Option<OrganizationId>,
    organization_sequence: Option<u64>,
    organization_previous: Option<Digest32>,
    subject: Subject,
    subject_version: u32,
    actor: Actor,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    command_id: Option<Digest32>,
    command_digest: Option<Digest32>,
    nonce: Nonce16,
    data: Data,
}

impl Event {
    /// The exact bytes that are stored.
    pub fn to_payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        let place = self.organization.as_ref();
        serde_json::to_vec(&Wire {
            position: self.position,
            id: self.id,
            name: Cow::Borrowed(self.fact.name()),
            version: self.fact.version(),
            occurred_at: self.occurred_at,
            organization_id: place.map(|place| place.id),
            organization_sequence: place.map(|place| place.sequence),
            organization_previous: place.and_then(|place| place.previous),
            subject: self.subject,
            subject_version: self.subject_version,
            actor: &self.actor,
            request_id: self.request_id.as_deref().map(Cow::Borrowed),
            command_id: self.command_id,
            command_digest: self.command_digest,
            nonce: self.nonce,
            data: &self.fact,
        })
    }

    /// Reads a stored payload; sealed values stay sealed.
    pub fn from_payload(payload: &[u8]) -> Result<Self, UnreadableEvent> {
        let wire: Wire<'_, ActorStamp, &RawValue> = serde_json::from_slice(payload)?;
        let previous = wire.organization_previous;
        let organization = match (wire.organization_id, wire.organization_sequence, previous) {
            (Some(id), Some(sequence), previous) if (sequence == 0) == previous.is_none() => {
                Some(OrganizationPlace {
                    id,
                    sequence,
                    previous,
                })
            }
            (None, None, None) => None,
            (_, _, _) => return Err(UnreadableEvent::OrganizationPlace),
        };
        Ok(Self {
            position: wire.position,
            id: wire.id,
            occurred_at: wire.occurred_at,
            organization,
            subject: wire.subject,
            subject_version: wire.subject_version,
            actor: wire.actor,
            request_id: wire.request_id.map(Cow::into_owned),
            command_id: wire.command_id,
            command_digest: wire.command_digest,
            nonce: wire.nonce,
            fact: Fact::read(&wire.name, wire.version, wire.data)?,
        })
    }
}

/// The commitment of a stored payload.
#[must_use]
pub fn commitment(payload: &[u8]) -> Digest32 {
    Digest32(Sha256::digest(payload).into())
}
