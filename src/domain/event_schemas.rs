//! The schemas of stored payloads, for whoever reads a ledger without this program.
//!
//! They are the files of `schemas/events`, one of each type and version that was ever written,
//! which a test makes of the types and holds against all payloads that are pinned. JSON Schema,
//! draft 2020-12, of the whole payload. Another one is one line here, once its file is made
//! (`domain::tests::schemas` says how).

macro_rules! schemas {
    ($($name:literal,)*) => {
        /// All of them.
        const ALL: &[(&str, &str)] = &[$((
            $name,
            include_str!(concat!("../../schemas/events/", $name, ".json")),
        ),)*];
    };
}

schemas! {
    "ledger.opened.v1",
    "catalogue.adopted.v1",
    "organization.created.v1",
    "organization.updated.v1",
    "project.created.v1",
    "project.updated.v1",
    "project.archived.v1",
    "project.unarchived.v1",
    "member.added.v1",
    "member.role_changed.v1",
    "member.role_changed.v2",
    "member.removed.v1",
    "service_account.created.v1",
    "service_account.updated.v1",
    "service_account.disabled.v1",
    "service_account.enabled.v1",
    "service_account.deleted.v1",
    "api_key.created.v2",
    "api_key.updated.v2",
    "api_key.scopes_edited.v1",
    "api_key.rotated.v2",
    "api_key.disabled.v1",
    "api_key.enabled.v1",
    "api_key.revoked.v1",
    "member.sign_in_link_issued.v1",
    "member.sign_in_failed.v1",
    "member.password_set.v1",
    "session.started.v1",
    "session.ended.v1",
    "api_key.ended_secret_used.v1",
    "usage.sealed.v1",
    "api_key.expiring.v1",
    "api_key.expired.v1",
    "webhook_endpoint.created.v1",
    "webhook_endpoint.updated.v1",
    "webhook_endpoint.secret_rotated.v1",
    "webhook_endpoint.secret_rotated.v2",
    "webhook_endpoint.disabled.v1",
    "webhook_endpoint.enabled.v1",
    "webhook_endpoint.deleted.v1",
    "webhook_endpoint.failing.v1",
    "ledger.checkpointed.v1",
    "ledger.read.v1",
    "signing_key.rotated.v1",
    "subject.erased.v1",
    "ledger.restored.v1",
    "member.updated.v1",
    "api_key.created.v1",
    "api_key.rotated.v1",
    "api_key.updated.v1",
}

/// The name of each schema, such as `api_key.created.v2`, and its text.
pub fn event_schemas() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.iter().copied()
}
