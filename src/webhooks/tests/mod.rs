//! Signatures, the schedule, addresses and URLs by tables; bodies, their examples and schemas by a
//! whole history; then the sender against receivers on loopback that misbehave in every way.

mod address;
mod attempt;
pub(crate) mod bodies;
mod guarded;
mod misbehavior;
pub(crate) mod receivers;
mod schedule;
mod schemas;
mod sending;
mod signature;
mod url;
