//! keyledger: an event-sourced ledger of machine credentials.
//!
//! Every action is a fact appended to one durable, tamper-evident log; what the API shows, what a
//! gateway accepts and what an auditor replays are derived from it. Data flows one way:
//! `api` and `cli` make commands, `ledger` decides them by the rules of `domain` and appends to
//! `log`, and `views` follow. Read the modules in the order in which they stand here.

pub mod api;
pub mod audit;
pub mod backup;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod degraded;
pub mod domain;
mod error_chain;
pub mod ledger;
pub mod log;
pub mod merkle;
mod panics;
mod priority;
pub mod private;
mod records;
pub mod seal;
pub mod tiles;
mod token_bucket;
pub mod usage;
pub mod views;
mod web;
pub mod webhooks;
pub mod workers;

#[cfg(test)]
mod tidy;
