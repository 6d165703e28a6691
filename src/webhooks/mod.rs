//! Webhooks: each fact of the ledger, signed and sent to whoever asked for it.
//!
//! The log is the queue. `queue` says what is outstanding for whom and whose turn it is, `store`
//! keeps that, `schedule` says when a failed delivery is tried again, `signature` signs, `address`
//! says where a delivery may go and `client` brings it there. Must never send what has not been
//! committed, nor let a receiver or a name server lead a request inside. Facts flow in from the
//! ledger, attempts flow out.

pub mod address;
pub mod attempt;
pub mod client;
pub mod delivery;
pub mod queue;
mod ranges;
pub mod resolver;
pub mod schedule;
pub mod signature;
pub mod store;

#[cfg(test)]
mod tests;
