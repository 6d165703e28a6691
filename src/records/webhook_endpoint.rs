//! Webhook endpoints as clients see them.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::Origin;
use crate::domain::record::{EndpointSecret, EndpointStatus, FailingNotice, WebhookEndpoint};
use crate::ledger::Answer;

/// A webhook endpoint.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookEndpointRecord {
    id: String,
    organization_id: String,
    /// The one project whose events it gets.
    project_id: Option<String>,
    url: String,
    description: String,
    /// Types of events, whole families as `api_key.*`, or `*`.
    event_types: Vec<String>,
    /// Whether events come one at a time and in the log's order.
    ordered: bool,
    /// How deliveries are signed: `v1` or `v1a`.
    signature: &'static str,
    /// `whpk_` and the base64 of the current public key; null for `v1`.
    public_key: Option<String>,
    /// `active`, `disabled` or `deleted`.
    status: &'static str,
    is_active: bool,
    /// `requested`, `gone` or `failing`; null unless it is disabled.
    disabled_because: Option<&'static str>,
    /// What was noted last, since it was enabled, of deliveries that do nothing but fail.
    failing: Option<FailingRecord>,
    /// Newest first; the second one signs too until its time is over.
    secrets: Vec<EndpointSecretRecord>,
    #[serde(flatten)]
    origin: Origin,
}

/// How near an endpoint is to being disabled for failing.
#[derive(Serialize, ToSchema)]
struct FailingRecord {
    /// Of the time after which it is disabled.
    percent: u8,
    /// When the first of the failures was.
    since: String,
}

/// One secret of an endpoint, without the secret.
#[derive(Serialize, ToSchema)]
struct EndpointSecretRecord {
    id: String,
    created_at: String,
    valid_until: Option<String>,
    /// Whether deliveries can be signed with it: not once the data key is lost that it was sealed
    /// under.
    usable: bool,
}

/// A webhook endpoint with the secret that this answer alone carries.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedEndpoint {
    endpoint: WebhookEndpointRecord,
    /// `whsec_` and the base64 of the new secret. Null where there is none, for `v1a`, and in a
    /// replay of an earlier answer.
    secret: Option<String>,
}

/// The statuses of webhook endpoints.
pub(crate) const ENDPOINT_STATUSES: [&str; 3] = ["active", "disabled", "deleted"];

impl From<&Arc<WebhookEndpoint>> for WebhookEndpointRecord {
    fn from(record: &Arc<WebhookEndpoint>) -> Self {
        let newest = record.secrets.first();
        Self {
            id: record.id.to_string(),
            organization_id: record.organization.to_string(),
            project_id: record.project.map(|id| id.to_string()),
            url: record.url.clone(),
            description: record.description.clone().unwrap_or_default(),
            event_types: record.event_types.entries().to_vec(),
            ordered: record.ordered,
            signature: record.signature.name(),
            public_key: newest.and_then(|secret| secret.public_key.clone()),
            status: record.status.name(),
            is_active: record.is_active(),
            disabled_because: match record.status {
                EndpointStatus::Disabled(because) => Some(because.name()),
                EndpointStatus::Active | EndpointStatus::Deleted => None,
            },
            failing: record.failing.as_ref().map(FailingRecord::from),
            secrets: record
                .secrets
                .iter()
                .map(EndpointSecretRecord::from)
                .collect(),
            origin: Origin::from(&record.stamp),
        }
    }
}

impl WebhookEndpointRecord {
    /// The record with another URL, for those who are not to see all of it.
    #[must_use]
    pub(crate) fn at(self, url: String) -> Self {
        Self { url, ..self }
    }
}

impl From<&FailingNotice> for FailingRecord {
    fn from(notice: &FailingNotice) -> Self {
        Self {
            percent: notice.percent,
            since: notice.since.to_string(),
        }
    }
}

impl From<&EndpointSecret> for EndpointSecretRecord {
    fn from(secret: &EndpointSecret) -> Self {
        Self {
            id: secret.id.to_string(),
            created_at: secret.created_at.to_string(),
            valid_until: secret.ends_at.map(|at| at.to_string()),
            usable: secret.key.text().is_some(),
        }
    }
}

impl IssuedEndpoint {
    /// The record with the secret of the answer that made it.
    pub(crate) fn new(record: &Arc<WebhookEndpoint>, answer: &Answer) -> Self {
        let secret = answer.endpoint_secret.as_ref();
        Self {
            endpoint: WebhookEndpointRecord::from(record),
            secret: secret.map(|secret| secret.reveal().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::{EventId, SecretId};
    use crate::domain::personal::Personal;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_secret_that_no_longer_opens_is_not_usable() {
        let mut secret = EndpointSecret {
            id: SecretId(Ulid(7)),
            key: Personal::new(String::from("whsec_...")),
            sealed_by: EventId(Ulid(8)),
            public_key: None,
            created_at: Timestamp(0),
            ends_at: Some(Timestamp(1)),
        };
        for usable in [true, false] {
            let shown = serde_json::to_value(EndpointSecretRecord::from(&secret)).unwrap();
            let expected = json!({
                "id": "sec_00000000000000000000000007",
                "created_at": "1970-01-01T00:00:00.000Z",
                "valid_until": "1970-01-01T00:00:00.001Z",
                "usable": usable,
            });
            assert_eq!(shown, expected);
            secret.key.open(None);
        }
    }
}
