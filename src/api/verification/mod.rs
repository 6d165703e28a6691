//! Verification: of one credential or many, for gateways, for OAuth 2 clients, and the feed of
//! revocations for verifiers that cache answers.

pub(crate) mod forward_auth;
pub(crate) mod oauth;
pub(crate) mod revocations;
pub(crate) mod verify;
