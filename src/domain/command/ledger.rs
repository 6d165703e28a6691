//! Commands on the ledger as a whole: what it tells of itself, who reads it, what signs it.

use crate::domain::digest::Digest32;
use crate::domain::event::ledger::LedgerReading;
use crate::domain::ids::OrganizationId;

/// See [`super::Command::NoteCheckpoint`].
#[derive(Clone, Debug)]
pub struct NoteCheckpoint {
    /// How many events the tree holds.
    pub size: u64,
    pub root: Digest32,
    /// The signed note.
    pub checkpoint: String,
}

/// See [`super::Command::NoteLedgerRead`].
#[derive(Clone, Copy, Debug)]
pub struct NoteLedgerRead {
    /// Whose events are read; `None`: those of all.
    pub organization: Option<OrganizationId>,
    pub what: LedgerReading,
}

/// See [`super::Command::RecordRestore`].
#[derive(Clone, Copy, Debug)]
pub struct RecordRestore {
    /// How many positions are given up, since the lost events may have had them.
    pub positions: u64,
    /// How many of them this command takes up at most: as many events as fit one batch.
    pub at_once: u64,
}

/// See [`super::Command::RotateSigningKey`].
#[derive(Clone, Debug)]
pub struct RotateSigningKey {
    /// The verifier key of the new signing key, which is durable already.
    pub vkey: String,
    /// For how many days the one before it signs too.
    pub overlap_days: u32,
}
