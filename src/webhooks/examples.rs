//! An example of each body, for who builds a receiver.
//!
//! They are the files of `fixtures/webhooks`, which a test makes of real events and holds against
//! the schemas. Nothing in them is anybody's. Another type is one line here, once its file is made
//! (`webhooks::tests::bodies` says how).

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::bodies::PING_EVENT_TYPE;
use crate::domain::ids::OrganizationId;

/// The organization that the examples are of.
pub(super) const EXAMPLE_ORGANIZATION_ID: &str = "org_01H2XA9C000000000000000000";

/// An example of a type.
#[derive(Clone, Copy, Debug)]
pub struct ExampleEvent {
    name: &'static str,
    text: &'static str,
}

macro_rules! examples {
    ($($name:literal,)*) => {
        /// All of them.
        const ALL: &[ExampleEvent] = &[$(ExampleEvent {
            name: $name,
            text: include_str!(concat!("../../fixtures/webhooks/", $name, ".json")),
        },)*];
    };
}

examples! {
    "ledger.checkpointed",
    "organization.created",
    "organization.updated",
    "project.created",
    "project.updated",
    "project.archived",
    "project.unarchived",
    "member.added",
    "member.role_changed",
    "member.removed",
    "service_account.created",
    "service_account.updated",
    "service_account.disabled",
    "service_account.enabled",
    "service_account.deleted",
    "api_key.created",
    "api_key.updated",
    "api_key.scopes_edited",
    "api_key.rotated",
    "api_key.disabled",
    "api_key.enabled",
    "api_key.revoked",
    "member.sign_in_link_issued",
    "member.sign_in_failed",
    "member.password_set",
    "session.started",
    "session.ended",
    "api_key.ended_secret_used",
    "api_key.expiring",
    "api_key.expired",
    "webhook_endpoint.created",
    "webhook_endpoint.updated",
    "webhook_endpoint.secret_rotated",
    "webhook_endpoint.disabled",
    "webhook_endpoint.enabled",
    "webhook_endpoint.deleted",
    "webhook_endpoint.failing",
    "subject.erased",
    "member.updated",
}

impl ExampleEvent {
    /// The example of a type; `None` for one that is not delivered.
    #[must_use]
    pub fn from_event_type(name: &str) -> Option<Self> {
        ALL.iter().find(|example| example.name == name).copied()
    }

    /// All examples.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().copied()
    }

    /// The body of a ping, which shows the endpoint itself.
    #[must_use]
    pub const fn ping() -> Self {
        Self {
            name: PING_EVENT_TYPE,
            text: include_str!("../../fixtures/webhooks/ping.json"),
        }
    }

    /// The type.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        self.name
    }

    /// The whole body, as in its file.
    #[must_use]
    pub const fn json_text(self) -> &'static str {
        self.text
    }

    /// Its record, as one of the organization.
    #[must_use]
    pub fn data_for(self, organization: OrganizationId) -> Option<Box<RawValue>> {
        let text = self
            .text
            .replace(EXAMPLE_ORGANIZATION_ID, &organization.to_string());
        let body: Value = serde_json::from_str(&text).ok()?;
        to_raw_value(body.get("data")?).ok()
    }
}
