//! Webhooks: each fact of the ledger, signed and sent to whoever asked for it.
//!
//! Owns how a delivery is signed (`signature`). Must never send what has not been committed. Facts
//! flow in from the ledger, attempts flow out.

pub mod signature;

#[cfg(test)]
mod tests;
