//! The records that events change: what the ledger knows of an organization, a project, a member,
//! a service account, a credential.
//!
//! Records are plain values, made and changed by `State::apply` alone. Statuses that depend on time
//! are computed on reading, never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{
    CredentialId, EventId, OrganizationId, Owner, Principal, ProjectId, SecretId, ServiceAccountId,
    UserId,
};
use super::kind::Kind;
use super::personal::Personal;
use super::secret::{KeyHint, SecretHash, shown_prefix};
use super::time::Timestamp;

/// What every record has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stamp {
    /// Counts the record's events from 1; its `ETag`.
    pub version: u32,
    /// Position of its last event.
    pub position: u64,
    /// Who made it; `None` for imports and the operator.
    pub created_by: Option<Principal>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
}

/// A tenant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// What its new tokens begin with.
    pub token_prefix: String,
    /// Version, position, origin.
    pub stamp: Stamp,
}

/// The end of an organization's own chain of events.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OrganizationHead {
    /// The organization.
    pub id: OrganizationId,
    /// `organization_sequence` of its newest event.
    pub sequence: u64,
    /// Commitment of its newest event.
    pub commitment: [u8; 32],
    /// Position of its newest event.
    pub position: u64,
}

/// A project of an organization.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
    /// Whether it is archived.
    pub archived: bool,
    /// Version, position, origin.
    pub stamp: Stamp,
}

/// A user with a role in one organization.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Member {
    /// Its id.
    pub id: UserId,
    /// Its organization.
    pub organization: OrganizationId,
    /// The e-mail address.
    pub email: Personal,
    /// The person's name.
    pub name: Option<Personal>,
    /// The role's name in the catalogue.
    pub role: String,
    /// Whether the membership has ended.
    pub removed: bool,
    /// The event that holds the sealed values; they open in no other place.
    pub added_by: EventId,
    /// Version, position, origin.
    pub stamp: Stamp,
}

/// The identity of a system.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServiceAccount {
    /// Its id.
    pub id: ServiceAccountId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its name, unique in the organization but for case.
    pub name: String,
    /// Made from the first name, never changed.
    pub slug: String,
    /// In words for people.
    pub description: Option<String>,
    /// The role's name: the ceiling on management permissions.
    pub role: Option<String>,
    /// What its tokens may carry, where that is set.
    pub scopes: Option<Vec<String>>,
    /// Inactive: its tokens are refused.
    pub disabled: bool,
    /// Deleted: its tokens have ended.
    pub deleted: bool,
    /// Version, position, origin.
    pub stamp: Stamp,
}

/// What a credential grants, as it was asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Grant {
    /// Scopes in the order in which they were asked for.
    pub scopes: Vec<String>,
    /// The role of an access token.
    pub role: Option<String>,
    /// The preset of a project token.
    pub preset: Option<String>,
}

/// String pairs that the owner keeps with a credential and gets back from verification.
pub type Metadata = BTreeMap<String, String>;

/// One value of a credential.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Secret {
    /// Its id; the ULID stands in the token.
    pub id: SecretId,
    /// SHA-256 of the token.
    pub hash: SecretHash,
    /// The prefix that the token begins with.
    pub prefix: Arc<str>,
    /// The token's last four characters.
    pub hint: KeyHint,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being accepted, once a rotation has said so.
    pub ends_at: Option<Timestamp>,
}

/// How a credential ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// The event that ended it.
    pub event: EventId,
    /// Why, where somebody said.
    pub reason: Option<String>,
}

/// A credential of any kind.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its kind.
    pub kind: Kind,
    /// Who it acts for.
    pub owner: Owner,
    /// The one project that it works on.
    pub project: Option<ProjectId>,
    /// Its name or label.
    pub name: Box<str>,
    /// In words for people.
    pub description: Option<Box<str>>,
    /// What it grants; equal grants share their memory.
    pub grant: Arc<Grant>,
    /// The owner's pairs.
    pub metadata: Option<Arc<Metadata>>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Disabled until enabled again.
    pub disabled: bool,
    /// How it ended, if it did.
    pub ended: Option<Arc<Ended>>,
    /// The credential that made it.
    pub issued_via: Option<CredentialId>,
    /// The one that it was made to replace.
    pub replaces: Option<CredentialId>,
    /// The newest one that was made to replace it.
    pub replaced_by: Option<CredentialId>,
    /// All its secrets, oldest first; the last one is the current one.
    pub secrets: Vec<Secret>,
    /// Version, position, origin.
    pub stamp: Stamp,
}

/// The one status of a credential.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted.
    Active,
    /// Refused until enabled.
    Disabled,
    /// Refused for good, by time.
    Expired,
    /// Refused for good, by somebody.
    Revoked,
}

impl Status {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Credential {
    /// The status at `now`; an ending outweighs an expiry, an expiry a disabling.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        if self.ended.is_some() {
            Status::Revoked
        } else if self.expires_at.is_some_and(|at| at <= now) {
            Status::Expired
        } else if self.disabled {
            Status::Disabled
        } else {
            Status::Active
        }
    }

    /// The newest secret.
    #[must_use]
    pub fn secret(&self) -> Option<&Secret> {
        self.secrets.last()
    }
}

impl Secret {
    /// The first characters of the token: no secret bytes among them.
    #[must_use]
    pub fn shown_prefix(&self) -> String {
        shown_prefix(&self.prefix, self.id)
    }

    /// When this secret stops being accepted: the earlier of its own end and the credential's.
    #[must_use]
    pub fn valid_until(&self, credential: &Credential) -> Option<Timestamp> {
        let ended = credential.ended.as_ref().map(|ended| ended.at);
        [self.ends_at, credential.expires_at, ended]
            .into_iter()
            .flatten()
            .min()
    }
}
