//! Signatures, the schedule, addresses and URLs by tables; then the sender against receivers on
//! loopback that misbehave in every way.

mod address;
mod attempt;
mod guarded;
mod misbehavior;
pub(crate) mod receivers;
mod schedule;
mod sending;
mod signature;
mod url;
