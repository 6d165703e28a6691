//! Webhooks: each fact of the ledger, signed and sent to whoever asked for it.
//!
//! Owns how a delivery is signed (`signature`) and when it is tried again (`schedule`). Must never
//! send what has not been committed. Facts
//! flow in from the ledger, attempts flow out.

pub mod attempt;
pub mod queue;
pub mod schedule;
pub mod signature;
pub mod store;

#[cfg(test)]
mod tests;
