//! The audit of a company's ledger, as it is and after somebody has been at it.

mod bundle;
mod folder;
mod forger;
mod past;
