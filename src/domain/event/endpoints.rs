//! The facts about webhook endpoints: the `data` of `webhook_endpoint.*`.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{EventId, Principal, ProjectId, SecretId};
use crate::domain::personal::Personal;
use crate::domain::record::{
    DisabledBecause, EnabledFrom, EndpointSecret, EventFilter, SignatureScheme,
};
use crate::domain::time::Timestamp;

/// `webhook_endpoint.created`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndpointCreated {
    /// Where events go.
    pub url: String,
    /// In words.
    pub description: Option<String>,
    /// Which events.
    pub event_types: EventFilter,
    /// The one project whose events it gets.
    pub project_id: Option<ProjectId>,
    /// One at a time and in order.
    pub ordered: bool,
    /// How deliveries are signed.
    pub signature: SignatureScheme,
    /// The first secret.
    pub secret: NewEndpointSecret,
    /// Who made it.
    pub created_by: Option<Principal>,
}

/// `webhook_endpoint.updated`: the whole of what can be edited, as it is afterwards.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndpointUpdated {
    /// What changed: url, description, `event_types`, ordered.
    pub changed: Vec<String>,
    /// Where events go.
    pub url: String,
    /// In words.
    pub description: Option<String>,
    /// Which events.
    pub event_types: EventFilter,
    /// One at a time and in order.
    pub ordered: bool,
    /// The new secret for another host; it ends all others at once.
    pub secret: Option<NewEndpointSecret>,
}

/// `webhook_endpoint.secret_rotated`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndpointSecretRotated {
    /// The new secret.
    pub secret: NewEndpointSecret,
    /// Until when the one before it signs too.
    pub previous_valid_until: Timestamp,
    /// Whether those before that one go on to their own end, if that comes sooner; else they end
    /// at once.
    pub earlier_kept: bool,
}

/// `webhook_endpoint.disabled`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndpointDisabled {
    /// Why.
    pub because: DisabledBecause,
    /// What the receiver answered last, where that is why.
    pub status_code: Option<u16>,
}

/// `webhook_endpoint.enabled`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndpointEnabled {
    /// Where it goes on.
    pub from: EnabledFrom,
}

/// `webhook_endpoint.deleted`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndpointDeleted {}

/// `webhook_endpoint.failing`: nothing but failures for so long.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndpointFailing {
    /// Of the time after which it is disabled.
    pub percent: u8,
    /// When the first of the failures was.
    pub since: Timestamp,
}

/// A signing secret as it is stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewEndpointSecret {
    /// Its id.
    pub id: SecretId,
    /// `whsec_...` or `whsk_...`, sealed under a data key of its own.
    pub key: Personal,
    /// `whpk_...`, of a key pair.
    pub public_key: Option<String>,
}

impl NewEndpointSecret {
    /// The secret as the record keeps it.
    #[must_use]
    pub fn record(&self, sealed_by: EventId, created_at: Timestamp) -> EndpointSecret {
        EndpointSecret {
            id: self.id,
            key: self.key.clone(),
            sealed_by,
            public_key: self.public_key.clone(),
            created_at,
            ends_at: None,
        }
    }
}
