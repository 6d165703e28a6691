//! Webhooks, below the network.

mod signature;
