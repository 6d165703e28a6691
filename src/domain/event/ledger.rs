//! The facts that auditors look for: what was told of the ledger, who read it, by which key it is
//! signed, and whose values are gone. See [`crate::domain::event`].

use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest32;
use crate::domain::ids::OrganizationId;
use crate::domain::time::Timestamp;

/// `ledger.checkpointed`: what the ledger was, in a note that consumers keep.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LedgerCheckpointed {
    /// How many events the tree holds.
    pub size: u64,
    /// Its root.
    pub root: Digest32,
    /// The signed note that says so.
    pub checkpoint: String,
}

/// `ledger.read`: at most one a minute for one caller.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LedgerRead {
    /// Whose events were read; null: those of all.
    pub organization_id: Option<OrganizationId>,
    /// What was read.
    pub what: LedgerReading,
}

/// Ways to read the ledger across records.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LedgerReading {
    /// Stored events.
    Events,
    /// Histories across subjects.
    History,
    /// All records as they were at an instant.
    State,
    /// What changed between two instants.
    Diff,
    /// Who could have done something at an instant.
    WhoCould,
    /// A bundle for an auditor.
    Export,
    /// Proofs.
    Proof,
}

/// `signing_key.rotated`: another key signs checkpoints from now on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SigningKeyRotated {
    /// The verifier key of the new signing key.
    pub vkey: String,
    /// That of the one before it.
    pub previous_vkey: String,
    /// Until when the one before it signs too.
    pub overlap_until: Timestamp,
}

/// `ledger.restored`: the ledger was put back from an older copy.
///
/// Events of this type, all alike, take up the positions from `size` to `resumes_at`, since clients
/// may know those of the lost events: none is ever given one of them before the last.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LedgerRestored {
    /// How many events the copy held.
    pub size: u64,
    /// The position of the last event of this restore.
    pub resumes_at: u64,
}

impl LedgerRestored {
    /// Whether a position may have named an event that was lost.
    #[must_use]
    pub const fn lost(self, position: u64) -> bool {
        self.size <= position && position < self.resumes_at
    }
}

/// `subject.erased`: the key of a person's values is destroyed once this event is durable.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubjectErased {
    /// Why, in words that do not name the person.
    pub reason: String,
}
