//! What a consumer is told of the ledger as a whole.

use serde::Serialize;
use utoipa::ToSchema;

/// A signed checkpoint, and where the receiving organization's own chain ended below it. Whoever
/// keeps it holds what nobody can take back: a ledger that is shortened or rewritten later
/// contradicts it.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckpointRecord {
    /// How many events the ledger has.
    pub(crate) size: u64,
    /// The root of the tree over them: hex.
    pub(crate) root: String,
    /// The checkpoint, a C2SP signed note.
    pub(crate) checkpoint: String,
    /// `organization_sequence` of the organization's newest event then.
    pub(crate) organization_sequence: Option<u64>,
    /// The commitment of that event: hex.
    pub(crate) organization_commitment: Option<String>,
}
