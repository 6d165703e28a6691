//! Commands on webhook endpoints. See [`super`].

use crate::domain::endpoint_secret::EndpointSecretText;
use crate::domain::ids::{EndpointId, OrganizationId, ProjectId};
use crate::domain::record::{EnabledFrom, SignatureScheme};
use crate::domain::time::Timestamp;

/// See [`super::Command::CreateEndpoint`].
#[derive(Clone, Debug)]
pub struct CreateEndpoint {
    pub organization: OrganizationId,
    /// Where events go.
    pub url: String,
    /// In words.
    pub description: Option<String>,
    /// Types, families or `*`.
    pub event_types: Vec<String>,
    /// The one project whose events it gets.
    pub project: Option<ProjectId>,
    /// One at a time and in order.
    pub ordered: bool,
    /// How deliveries are signed.
    pub signature: SignatureScheme,
    /// The secret that the receiver has already; `None`: a new one.
    pub secret: Option<EndpointSecretText>,
}

/// An endpoint as a path names it.
#[derive(Clone, Copy, Debug)]
pub struct EndpointTarget {
    pub organization: OrganizationId,
    pub endpoint: EndpointId,
}

/// See [`super::Command::UpdateEndpoint`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateEndpoint {
    pub target: EndpointTarget,
    /// The new address.
    pub url: Option<String>,
    /// The new description, or none.
    pub description: Option<Option<String>>,
    /// The new filter.
    pub event_types: Option<Vec<String>>,
    /// In order or not.
    pub ordered: Option<bool>,
}

impl UpdateEndpoint {
    /// An edit that changes nothing yet.
    #[must_use]
    pub const fn of(target: EndpointTarget) -> Self {
        Self {
            target,
            url: None,
            description: None,
            event_types: None,
            ordered: None,
        }
    }
}

/// See [`super::Command::RotateEndpointSecret`].
#[derive(Clone, Debug)]
pub struct RotateEndpointSecret {
    pub target: EndpointTarget,
    /// How long the old secret signs too.
    pub overlap_seconds: u32,
    /// The secret that the receiver has already; `None`: a new one.
    pub secret: Option<EndpointSecretText>,
}

/// See [`super::Command::EnableEndpoint`].
#[derive(Clone, Copy, Debug)]
pub struct EnableEndpoint {
    pub target: EndpointTarget,
    /// Where it goes on.
    pub from: EnabledFrom,
}

/// See [`super::Command::NoteEndpointFailing`].
#[derive(Clone, Copy, Debug)]
pub struct NoteEndpointFailing {
    pub organization: OrganizationId,
    pub endpoint: EndpointId,
    /// Of the time after which it is stopped.
    pub percent: u8,
    /// When the first of the failures was.
    pub since: Timestamp,
}

/// Why the program stops an endpoint by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopReason {
    /// The receiver answered that it is gone.
    Gone,
    /// Nothing but failures for too long.
    Failing,
}

/// See [`super::Command::StopEndpoint`].
#[derive(Clone, Copy, Debug)]
pub struct StopEndpoint {
    pub organization: OrganizationId,
    pub endpoint: EndpointId,
    pub because: StopReason,
    /// What the receiver answered last, if it answered.
    pub status_code: Option<u16>,
}
