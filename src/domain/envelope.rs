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
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::digest::{Digest32, Nonce16};
use super::event::Fact;
use super::event::older::older;
use super::ids::{EventId, OrganizationId, Principal, Subject, Via};
use super::time::Timestamp;
use super::unreadable::UnreadableEvent;
use crate::seal::SealedValue;

/// The longest stored payload: an entry of a C2SP tile has a 16-bit length.
pub const PAYLOAD_BYTES_MAX: usize = 65_535;

/// What kind of actor did it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ActorStamp {
    /// The kind of actor.
    #[serde(rename = "type")]
    pub kind: ActorType,
    /// Its id; null for system and operator.
    pub id: Option<Principal>,
    /// The credential or session used.
    pub via: Option<Via>,
    /// Sealed `{ip, user_agent}`.
    pub network: Option<SealedValue>,
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

/// The keys in their order; what is written is read back in the same order and no other.
#[derive(Serialize)]
struct Wire<'a> {
    position: u64,
    id: EventId,
    #[serde(rename = "type")]
    name: &'a str,
    version: u16,
    occurred_at: Timestamp,
    organization_id: Option<OrganizationId>,
    organization_sequence: Option<u64>,
    organization_previous: Option<Digest32>,
    subject: Subject,
    subject_version: u32,
    actor: &'a ActorStamp,
    request_id: Option<&'a str>,
    command_id: Option<Digest32>,
    command_digest: Option<Digest32>,
    nonce: Nonce16,
    data: &'a Fact,
}

impl Event {
    /// The exact bytes that are stored.
    pub fn to_payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        let place = self.organization.as_ref();
        serde_json::to_vec(&Wire {
            position: self.position,
            id: self.id,
            name: self.fact.name(),
            version: self.fact.version(),
            occurred_at: self.occurred_at,
            organization_id: place.map(|place| place.id),
            organization_sequence: place.map(|place| place.sequence),
            organization_previous: place.and_then(|place| place.previous),
            subject: self.subject,
            subject_version: self.subject_version,
            actor: &self.actor,
            request_id: self.request_id.as_deref(),
            command_id: self.command_id,
            command_digest: self.command_digest,
            nonce: self.nonce,
            data: &self.fact,
        })
    }

    /// Reads a stored payload; sealed values stay sealed.
    pub fn from_payload(payload: &[u8]) -> Result<Self, UnreadableEvent> {
        // Looked through once here, and not again for every text in it.
        let text = std::str::from_utf8(payload).map_err(serde_json::Error::custom)?;
        let mut text = serde_json::Deserializer::from_str(text);
        let event = text.deserialize_map(Reading)?;
        text.end()?;
        event
    }
}

/// Reads an event key by key, in one pass: its type stands before its data.
struct Reading;

impl<'de> Visitor<'de> for Reading {
    /// What is JSON of the right form may still be no event that this program knows.
    type Value = Result<Event, UnreadableEvent>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        let mut keys = InOrder(map);
        let position = keys.value("position")?;
        let id = keys.value("id")?;
        let name: Cow<'de, str> = keys.seeded("type", Text)?;
        let version = keys.value("version")?;
        let occurred_at = keys.value("occurred_at")?;
        let place = (
            keys.value("organization_id")?,
            keys.value("organization_sequence")?,
            keys.value("organization_previous")?,
        );
        let subject = keys.value("subject")?;
        let subject_version = keys.value("subject_version")?;
        let actor = keys.value("actor")?;
        let request_id = keys.value("request_id")?;
        let command_id = keys.value("command_id")?;
        let command_digest = keys.value("command_digest")?;
        let nonce = keys.value("nonce")?;
        let fact = keys.seeded("data", Data(&name, version))?;
        keys.end()?;
        let Some(fact) = fact else {
            let name = name.into_owned();
            return Ok(Err(UnreadableEvent::UnknownType { name, version }));
        };
        let organization = match OrganizationPlace::of(place) {
            Ok(organization) => organization,
            Err(why) => return Ok(Err(why)),
        };
        Ok(Ok(Event {
            position,
            id,
            occurred_at,
            organization,
            subject,
            subject_version,
            actor,
            request_id,
            command_id,
            command_digest,
            nonce,
            fact,
        }))
    }
}

impl OrganizationPlace {
    /// All parts or none; only the first event of a chain has no previous one.
    fn of(
        parts: (Option<OrganizationId>, Option<u64>, Option<Digest32>),
    ) -> Result<Option<Self>, UnreadableEvent> {
        match parts {
            (Some(id), Some(sequence), previous) if (sequence == 0) == previous.is_none() => {
                Ok(Some(Self {
                    id,
                    sequence,
                    previous,
                }))
            }
            (None, None, None) => Ok(None),
            (_, _, _) => Err(UnreadableEvent::OrganizationPlace),
        }
    }
}

/// A map whose keys must come as they are asked for.
struct InOrder<M>(M);

impl<'de, M: MapAccess<'de>> InOrder<M> {
    fn value<T: Deserialize<'de>>(&mut self, key: &'static str) -> Result<T, M::Error> {
        self.seeded(key, PhantomData)
    }

    fn seeded<S: DeserializeSeed<'de>>(
        &mut self,
        key: &'static str,
        seed: S,
    ) -> Result<S::Value, M::Error> {
        match self.0.next_key_seed(Text)? {
            Some(found) if found == key => self.0.next_value_seed(seed),
            Some(_) | None => Err(M::Error::missing_field(key)),
        }
    }

    fn end(mut self) -> Result<(), M::Error> {
        match self.0.next_key_seed(Text)? {
            Some(key) => Err(M::Error::unknown_field(&key, &[])),
            None => Ok(()),
        }
    }
}

/// A text, borrowed from the payload where nothing in it is escaped.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The `data` of an event of this type and version.
struct Data<'a>(&'a str, u16);

impl<'de> DeserializeSeed<'de> for Data<'_> {
    type Value = Option<Fact>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        Fact::read(self.0, self.1, from, |data| older(self.0, self.1, data))
    }
}

/// The commitment of a stored payload.
#[must_use]
pub fn commitment(payload: &[u8]) -> Digest32 {
    Digest32(Sha256::digest(payload).into())
}
