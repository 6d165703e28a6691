//! The platform surface: `/platform/organizations/...`. A thin mapping from HTTP to commands and
//! from records to JSON; it holds no rule.

pub(super) mod api_keys;
pub(super) mod credentials;
pub(super) mod members;
pub(super) mod organizations;
pub(super) mod projects;
pub(super) mod service_accounts;
pub(super) mod webhook_deliveries;
pub(super) mod webhook_endpoints;
pub(super) mod webhook_replay;
