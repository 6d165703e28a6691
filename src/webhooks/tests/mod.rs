//! Signatures, the schedule, addresses and URLs, by tables.

mod address;
mod schedule;
mod signature;
mod url;
