//! Webhooks, below the network.

mod schedule;
mod signature;
