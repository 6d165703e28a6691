//! Ids: a prefix and a ULID, one Rust type a record, so that no two can be confused.
//!
//! Ids are made by `clock/` and arrive here as values; this module only gives them their types
//! and their text. In text an id is `<prefix>_<26 characters of Crockford base 32>`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

/// A text that is no id of the type asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an id of the form {prefix}_ and 26 characters")]
pub struct InvalidId {
    prefix: &'static str,
}

fn parse_ulid(prefix: &'static str, text: &str) -> Result<Ulid, InvalidId> {
    let digits = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .ok_or(InvalidId { prefix })?;
    // Only the canonical form: one record has one spelling. Digits are in upper case, and the first
    // of them holds three bits, not five.
    let canonical = matches!(digits.as_bytes().first(), Some(b'0'..=b'7'))
        && !digits.bytes().any(|byte| byte.is_ascii_lowercase());
    match Ulid::from_string(digits) {
        Ok(ulid) if canonical => Ok(ulid),
        Ok(_) | Err(_) => Err(InvalidId { prefix }),
    }
}

/// Reads a value from its text where that stands, without a copy of it.
pub(super) fn from_text<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    from.deserialize_str(Text(PhantomData))
}

/// The longest text of an id: three letters, the underscore, the ULID.
const ID_LEN_MAX: usize = 4 + ulid::ULID_LEN;

/// Writes an id in one piece: every event holds a dozen.
fn id_text<'a>(lead: &str, ulid: Ulid, text: &'a mut [u8; ID_LEN_MAX]) -> &'a str {
    let (text, _unused) = text.split_at_mut(lead.len() + ulid::ULID_LEN);
    let (start, digits) = text.split_at_mut(lead.len());
    start.copy_from_slice(lead.as_bytes());
    if let Some(digits) = digits.first_chunk_mut() {
        ulid.array_to_str(digits);
    }
    str::from_utf8(text).unwrap_or_default()
}

// Packed: an id that is optional, or one of several, takes 17 bytes and not 32. A credential has
// five of these: an eighth of its RAM.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(Rust, packed)]
        pub struct $name(pub Ulid);

        impl $name {
            /// What stands before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Its ULID, to be borrowed: a field of an id has no address that all types could use.
            #[must_use]
            pub const fn ulid(self) -> Ulid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(id_text(concat!($prefix, "_"), self.ulid(), &mut [0; ID_LEN_MAX]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_ulid($prefix, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    let mut text = [0; ID_LEN_MAX];
                    to.serialize_str(id_text(concat!($prefix, "_"), self.ulid(), &mut text))
                } else {
                    self.ulid().0.serialize(to)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    from_text(from)
                } else {
                    u128::deserialize(from).map(|bits| Self(Ulid(bits)))
                }
            }
        }
    };
}

id!(
    /// An organization, also called a workspace: the tenant.
    OrganizationId, "org"
);
id!(
    /// A project of an organization.
    ProjectId, "prj"
);
id!(
    /// A member: a user of one organization.
    UserId, "usr"
);
id!(
    /// A service account.
    ServiceAccountId, "sa"
);
id!(
    /// A credential, whatever its kind: an API key or a token.
    CredentialId, "key"
);
id!(
    /// One value of a credential; its ULID stands in the token itself.
    SecretId, "sec"
);
id!(
    /// An event of the log.
    EventId, "evt"
);
id!(
    /// A member's session.
    SessionId, "ses"
);
id!(
    /// A webhook endpoint.
    EndpointId, "whe"
);
id!(
    /// What one endpoint is sent of one event.
    DeliveryId, "dlv"
);

/// The log's own id: 16 random bytes, 32 lower-case hex digits in text.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LogId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = [0; 16];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if hex::encode(bytes) == text => Ok(Self(bytes)),
            Ok(()) | Err(_) => Err(InvalidId { prefix: "log" }),
        }
    }
}

/// The one record that an event changes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Subject {
    /// The ledger itself; in text the log id.
    Ledger(LogId),
    /// An organization.
    Organization(OrganizationId),
    /// A project.
    Project(ProjectId),
    /// A member.
    Member(UserId),
    /// A service account.
    ServiceAccount(ServiceAccountId),
    /// A credential.
    Credential(CredentialId),
    /// A session.
    Session(SessionId),
    /// A webhook endpoint.
    WebhookEndpoint(EndpointId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ledger(id) => id.fmt(f),
            Self::Organization(id) => id.fmt(f),
            Self::Project(id) => id.fmt(f),
            Self::Member(id) => id.fmt(f),
            Self::ServiceAccount(id) => id.fmt(f),
            Self::Credential(id) => id.fmt(f),
            Self::Session(id) => id.fmt(f),
            Self::WebhookEndpoint(id) => id.fmt(f),
        }
    }
}

impl FromStr for Subject {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('_').map(|(prefix, _)| prefix) {
            Some(OrganizationId::PREFIX) => text.parse().map(Self::Organization),
            Some(ProjectId::PREFIX) => text.parse().map(Self::Project),
            Some(UserId::PREFIX) => text.parse().map(Self::Member),
            Some(ServiceAccountId::PREFIX) => text.parse().map(Self::ServiceAccount),
            Some(CredentialId::PREFIX) => text.parse().map(Self::Credential),
            Some(SessionId::PREFIX) => text.parse().map(Self::Session),
            Some(EndpointId::PREFIX) => text.parse().map(Self::WebhookEndpoint),
            Some(_) | None => text.parse().map(Self::Ledger),
        }
    }
}

/// Who a credential acts for; `{"type": ..., "id": ...}` in JSON.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Owner {
    /// The organization (workspace) itself.
    Organization(OrganizationId),
    /// A member: the credential ends with the membership.
    User(UserId),
    /// A service account: the credential ends with the account.
    ServiceAccount(ServiceAccountId),
}

impl Owner {
    /// The member, where it is one.
    #[must_use]
    pub fn person(self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Organization(_) | Self::ServiceAccount(_) => None,
        }
    }
}

/// The JSON form of an owner.
#[derive(Deserialize, Serialize)]
#[serde(tag = "type", content = "id", rename_all = "snake_case")]
enum TaggedOwner {
    Organization(OrganizationId),
    User(UserId),
    ServiceAccount(ServiceAccountId),
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if !to.is_human_readable() {
            // Compact formats have no tags beside the content; the id's text says it all.
            return to.collect_str(self);
        }
        match *self {
            Self::Organization(id) => TaggedOwner::Organization(id),
            Self::User(id) => TaggedOwner::User(id),
            Self::ServiceAccount(id) => TaggedOwner::ServiceAccount(id),
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return from_text(from);
        }
        Ok(match TaggedOwner::deserialize(from)? {
            TaggedOwner::Organization(id) => Self::Organization(id),
            TaggedOwner::User(id) => Self::User(id),
            TaggedOwner::ServiceAccount(id) => Self::ServiceAccount(id),
        })
    }
}

impl FromStr for Owner {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('_').map(|(prefix, _)| prefix) {
            Some(UserId::PREFIX) => text.parse().map(Self::User),
            Some(ServiceAccountId::PREFIX) => text.parse().map(Self::ServiceAccount),
            Some(_) | None => text.parse().map(Self::Organization),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::ServiceAccount(id) => id.fmt(f),
        }
    }
}

/// Who made a record; in text the id alone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Principal {
    /// A member.
    User(UserId),
    /// A service account.
    ServiceAccount(ServiceAccountId),
    /// A credential of the organization, which acts for itself.
    Credential(CredentialId),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::ServiceAccount(id) => id.fmt(f),
            Self::Credential(id) => id.fmt(f),
        }
    }
}

impl FromStr for Principal {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('_').map(|(prefix, _)| prefix) {
            Some(ServiceAccountId::PREFIX) => text.parse().map(Self::ServiceAccount),
            Some(CredentialId::PREFIX) => text.parse().map(Self::Credential),
            Some(_) | None => text.parse().map(Self::User),
        }
    }
}

/// What an actor comes by; in text the id alone.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub enum Via {
    /// A credential.
    Credential(CredentialId),
    /// A member's session.
    Session(SessionId),
}

impl Via {
    /// The credential, if it is one.
    #[must_use]
    pub const fn credential(self) -> Option<CredentialId> {
        match self {
            Self::Credential(id) => Some(id),
            Self::Session(_) => None,
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(id) => id.fmt(f),
            Self::Session(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Via {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('_').map(|(prefix, _)| prefix) {
            Some(SessionId::PREFIX) => text.parse().map(Self::Session),
            Some(_) | None => text.parse().map(Self::Credential),
        }
    }
}

/// Types whose serialized form is their text.
macro_rules! serialized_as_text {
    ($($name:ident),*) => {
        $(
            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    to.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    from_text(from)
                }
            }
        )*
    };
}

serialized_as_text!(LogId, Subject, Principal, Via);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = "key_01H2XA9CKEB7WZG8RMN2KPQV7D";
        assert_eq!(id.parse::<CredentialId>().unwrap().to_string(), id);
        for wrong in [
            "",
            "key_",
            "key_01H2XA9CKEB7WZG8RMN2KPQV7",
            "key_01h2xa9ckeb7wzg8rmn2kpqv7d",
            "key_01H2XA9CKEB7WZG8RMN2KPQV7DD",
            "org_01H2XA9CKEB7WZG8RMN2KPQV7D",
            "key_O1H2XA9CKEB7WZG8RMN2KPQV7D",
            "key_81H2XA9CKEB7WZG8RMN2KPQV7D",
        ] {
            assert!(wrong.parse::<CredentialId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_owner_is_a_type_and_an_id() {
        let owner = Owner::ServiceAccount(ServiceAccountId(Ulid(7)));
        let text = r#"{"type":"service_account","id":"sa_00000000000000000000000007"}"#;
        assert_eq!(serde_json::to_string(&owner).unwrap(), text);
        assert_eq!(serde_json::from_str::<Owner>(text).unwrap(), owner);
    }
}
