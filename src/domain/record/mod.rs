//! The records that events change: what the ledger knows of an organization, a project, a member,
//! a service account, a credential, a webhook endpoint.
//!
//! Records are plain values, made and changed by `State::apply` alone. Credentials, of which there
//! are millions, are packed; all others have open fields. Statuses that depend on time
//! are computed on reading, never stored.

mod credential;
pub(super) mod event_filter;
mod shared;
mod unpacked;
mod webhook_endpoint;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{EventId, OrganizationId, Principal, ProjectId, ServiceAccountId, UserId};
use super::personal::Personal;
use super::time::Timestamp;

pub use credential::Credential;
pub use event_filter::{EventFilter, WrongEventType};
pub use shared::Shared;
pub use unpacked::{Ended, NoSecret, Secret, Unpacked};
pub use webhook_endpoint::{
    DisabledBecause, EnabledFrom, EndpointSecret, EndpointStatus, FailingNotice, SignatureScheme,
    WebhookEndpoint,
};

/// What every record has.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
    /// When the person was erased; from then on address and name are blank.
    pub erased_at: Option<Timestamp>,
    /// The event that holds the sealed values, both of them; they open in no other place.
    pub sealed_by: EventId,
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
