//! The audit of a company's ledger, as it is and after somebody has been at it.

mod backup;
mod bundle;
mod data_keys;
mod folder;
mod forger;
mod past;
mod published;
