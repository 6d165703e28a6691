//! What stands once in a ledger: its identity, its keys, and how far its own notes have come.
//!
//! Owns the record whose subject is the ledger itself. Changed by [`super::state::State::apply`]
//! alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::ledger::LedgerRestored;
use super::expiry::Turn;
use super::ids::LogId;
use super::time::Timestamp;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LedgerHead {
    /// Its id, once it has been opened.
    pub log_id: Option<LogId>,
    /// The origin of its checkpoints.
    pub origin: String,
    /// Counts the ledger's own events.
    pub version: u32,
    /// Up to where the usage history is anchored.
    pub usage_sealed_to: u64,
    /// The last of the notices of expiries that have been given, and with it all before.
    pub timed_to: Option<Turn>,
    /// How many events there are.
    pub events: u64,
    /// The newest checkpoint that was told of.
    pub checkpointed: Option<Checkpointed>,
    /// Its signing keys, the newest one last. They change once a year, and every batch looks back
    /// at them.
    pub vkeys: Arc<Vec<LedgerKey>>,
    /// Restores from older copies, the newest last.
    pub restores: Arc<Vec<LedgerRestored>>,
}

impl LedgerHead {
    /// The restore whose positions are not all taken up yet.
    #[must_use]
    pub fn unfinished_restore(&self) -> Option<LedgerRestored> {
        let newest = self.restores.last().copied();
        newest.filter(|restore| self.events <= restore.resumes_at)
    }
}

/// A checkpoint that was told of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Checkpointed {
    /// How many events it covers.
    pub size: u64,
    /// When it was told of.
    pub at: Timestamp,
}

/// A key that signs checkpoints, or once did.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LedgerKey {
    /// Its verifier key.
    pub vkey: String,
    /// Position of the event that names it.
    pub named_at: u64,
    /// Until when it signs; `None`: it is the newest one.
    pub signs_until: Option<Timestamp>,
}
