//! A webhook endpoint: where events go, which ones, signed with what.
//!
//! A cursor into the log in effect: it says from where on events are its own, and nothing of what
//! has been delivered.

use serde::{Deserialize, Serialize};

use super::{EventFilter, Stamp};
use crate::domain::ids::{EndpointId, EventId, OrganizationId, ProjectId, SecretId};
use crate::domain::personal::Personal;
use crate::domain::time::Timestamp;

/// An address of a consumer that events are sent to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WebhookEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Its organization.
    pub organization: OrganizationId,
    /// The one project whose events it gets.
    pub project: Option<ProjectId>,
    /// Where.
    pub url: String,
    /// In words for people.
    pub description: Option<String>,
    /// Which events.
    pub event_types: EventFilter,
    /// One at a time and in the log's order.
    pub ordered: bool,
    /// How deliveries are signed.
    pub signature: SignatureScheme,
    /// What they are signed with, newest first: the current one, and the one before it while that
    /// may still sign.
    pub secrets: Vec<EndpointSecret>,
    /// Whether anything is delivered.
    pub status: EndpointStatus,
    /// Its deliveries begin with the first event at or after this position.
    pub from: u64,
    /// What was noted last of its failing, since it was enabled.
    pub failing: Option<FailingNotice>,
    /// Version, position, origin.
    pub stamp: Stamp,
}

/// One secret of an endpoint.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndpointSecret {
    /// Its id; the ULID is that of the data key that it is sealed under.
    pub id: SecretId,
    /// `whsec_...` or `whsk_...`, sealed; blank once its data key is gone.
    pub key: Personal,
    /// The event that holds the sealed value; it opens in no other place.
    pub sealed_by: EventId,
    /// `whpk_...`, of a key pair.
    pub public_key: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops signing, once a rotation has said so.
    pub ends_at: Option<Timestamp>,
}

/// How deliveries are signed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SignatureScheme {
    /// By a secret that the receiver has too.
    V1,
    /// By a key pair.
    V1a,
}

/// Whether anything is delivered to an endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum EndpointStatus {
    /// Yes.
    Active,
    /// Not until it is enabled; events are kept for it.
    Disabled(DisabledBecause),
    /// Never again.
    Deleted,
}

/// Why an endpoint was disabled.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DisabledBecause {
    /// Somebody asked for it.
    Requested,
    /// The receiver answered that it is gone.
    Gone,
    /// Nothing but failures for too long.
    Failing,
}

/// Where an enabled endpoint goes on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EnabledFrom {
    /// With the first event that it has not had.
    #[default]
    WhereItStopped,
    /// With the first event after it was enabled.
    Now,
}

/// How near an endpoint is to being disabled for failing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FailingNotice {
    /// Of the time after which it is disabled.
    pub percent: u8,
    /// When the first of the failures was.
    pub since: Timestamp,
}

impl SignatureScheme {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }
}

impl DisabledBecause {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

impl EndpointStatus {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled(_) => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

impl EndpointSecret {
    /// Whether deliveries are signed with it at `now`.
    #[must_use]
    pub fn signs_at(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|at| at > now)
    }
}

impl WebhookEndpoint {
    /// Whether it has been deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.status == EndpointStatus::Deleted
    }

    /// Whether it is delivered to.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == EndpointStatus::Active
    }
}
