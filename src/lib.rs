//! keyledger: an event-sourced ledger of machine credentials.

pub mod domain;
pub mod log;
pub mod merkle;
pub mod seal;
pub mod views;
pub mod clock;
pub mod config;
pub mod cli;
