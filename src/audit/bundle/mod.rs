//! Bundles: events with all that proves them, in one file that verifies on any machine.
//!
//! Owns what is in a bundle and in which order. Must never hold a neighbour's payload: of what is
//! not exported there are hashes alone. [`export`] writes, [`check`] reads strictly.

pub mod check;
mod events;
pub mod export;
mod members;
pub mod table;

use serde::{Deserialize, Serialize};

use crate::domain::heading::Whereabouts;
use crate::domain::ids::OrganizationId;

pub(super) const GUIDE: &str = "GUIDE.txt";
pub(super) const VKEY: &str = "vkey";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const CHECKPOINTS: &str = "checkpoints.ndjson";
pub(super) const EVENTS: &str = "events.ndjson";
pub(super) const HASHES: &str = "hashes.bin";
pub(super) const PERSONAL: &str = "personal-keys.ndjson";
pub(super) const MANIFEST: &str = "MANIFEST.json";

/// The form of bundles that this program writes and reads.
const FORMAT: &str = "keyledger-bundle/1";

/// Events of no organization that each bundle may hold: what the ledger is, its keys, and what
/// scopes and roles mean.
const EVERYBODYS: [&str; 3] = ["ledger.opened", "catalogue.adopted", "signing_key.rotated"];

/// What a bundle says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    pub log_id: String,
    /// The name of its checkpoints.
    pub origin: String,
    /// The size of the newest checkpoint, and of the tree that the bundle is held against.
    pub size: u64,
    /// The root of that tree, base64.
    pub root: String,
    /// The one organization whose events it holds; null: those of all.
    pub organization: Option<OrganizationId>,
    /// The first position that was exported.
    pub from: u64,
    /// The last one; null: to the end.
    pub to: Option<u64>,
    pub events: u64,
    /// Hashes in place of those that are not.
    pub hashes: u64,
    pub checkpoints: usize,
    /// Whether the keys of people's values are in it.
    pub with_personal: bool,
}

/// A kept checkpoint with its proof.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct ProvenCheckpoint {
    size: u64,
    /// The signed note.
    checkpoint: String,
    /// Hashes, base64.
    consistency: Vec<String>,
}

/// Which events are exported.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Chosen {
    /// Of one organization; `None`: of all.
    pub organization: Option<OrganizationId>,
    /// From this position on.
    pub from: u64,
    /// Up to this one; `None`: to the end.
    pub to: Option<u64>,
}

impl Chosen {
    /// Whether an event is among them.
    pub(super) fn holds(&self, event: &Whereabouts<'_>) -> bool {
        let in_range = event.position >= self.from && self.to.is_none_or(|to| event.position <= to);
        let of = event.chain.map(|(organization, _, _)| organization);
        let is_theirs = match (self.organization, of) {
            (None, _) => true,
            (Some(own), Some(of)) => own == of,
            (Some(_), None) => EVERYBODYS.contains(&event.name),
        };
        in_range && is_theirs
    }
}
