//! The audit: what anybody who has a copy of a ledger can find out, without trusting who made it.
//!
//! Owns the checks of a whole folder, of a bundle and of a public log, and the past as it is folded
//! from payloads. Must never write to what it looks at, print, or judge otherwise than the ledger
//! itself does: states come from `State::apply`, verdicts from the verification index. Payloads
//! flow in from a log or a file, findings and records flow out to `cli` and `http`.
//!
//! Reading order: [`verdict`] (what can be wrong), [`folder`] (a whole data folder, with what goes
//! along with the walk over its log), [`past`] (what was true when), [`reading`] (the past of a
//! folder), [`receipts`] (that one event is in the log), [`bundle`] (many events, with all that
//! proves them), [`published`] (a tree that is served).

pub(crate) mod archive;
pub mod bundle;
mod chains;
mod checkpoints;
mod data_keys;
pub mod folder;
mod gaps;
mod keys;
pub mod past;
pub mod published;
pub mod reading;
pub mod receipts;
mod subtrees;
mod tiles;
pub mod verdict;
mod views;

pub use views::ViewsFound;

#[cfg(test)]
mod tests;
