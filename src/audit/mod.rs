//! The audit: what anybody who has a copy of a ledger can find out, without trusting who made it.
//!
//! Owns the checks of a whole folder, of a bundle and of a public log, and the past as it is folded
//! from payloads. Must never write to what it looks at, print, or judge otherwise than the ledger
//! itself does: states come from `State::apply`, verdicts from the verification index. Payloads
//! flow in from a log or a file, findings and records flow out to `cli` and `http`.
//!
//! Reading order: [`past`] (what was true when).

pub mod past;

#[cfg(test)]
mod tests;
