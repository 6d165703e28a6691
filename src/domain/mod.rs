//! The rules of the ledger, pure: no tokio, no axum, no files, no clock, no randomness, no
//! environment. Time and new ids come in as `Facts`.
//!
//! Reading order: a [`command`] is decided on the [`state`] by [`decide`](mod@decide), which gives
//! [`event`]s or a [`rejection`]; the events are applied to the state, live and in replay alike.

pub mod access;
pub mod action;
mod apply;
pub mod blot;
pub mod canonical;
pub mod catalogue;
pub mod command;
pub mod decide;
pub mod digest;
pub mod endpoint_secret;
pub mod envelope;
pub mod event;
pub mod event_schemas;
mod event_type_check;
pub mod expiry;
pub mod heading;
mod hex_text;
pub mod ids;
pub mod in_use;
pub mod kind;
pub mod ledger_head;
mod live_credentials;
pub mod log_point;
pub mod nearest;
mod password_rule;
pub mod personal;
pub mod pieces;
pub mod record;
pub mod rejection;
pub mod sealed_values;
pub mod secret;
pub mod session;
pub mod settled;
pub mod sign_in;
mod slugs;
pub mod staged;
pub mod state;
pub mod time;
pub mod unreadable;

#[cfg(test)]
pub(crate) mod tests;
pub mod webhook_signature;

pub use apply::Misfit;
