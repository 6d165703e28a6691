//! How a ledger is opened.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use super::folder::Folder;
use crate::clock::{Clock, Entropy};
use crate::ledger::checkpoints::BETWEEN_CHECKPOINTS;
use crate::ledger::snapshots::EVENTS_BETWEEN;
use crate::log::{Disk, LogSettings};

/// How a ledger is opened.
#[derive(Debug)]
pub struct Settings {
    pub folder: Folder,
    /// Where the master key is, if not in the folder.
    pub master_key_file: Option<PathBuf>,
    /// Where the files of log and checkpoints are; keys and views are always on the real disk.
    pub disk: Disk,
    /// Sizes of segments.
    pub log: LogSettings,
    /// Events from one snapshot to the next.
    pub events_between_snapshots: NonZeroU64,
    /// How long the signer waits from one checkpoint to the next.
    pub between_checkpoints: Duration,
    /// The operator vouches for the clock.
    pub accept_clock: bool,
    /// The folder was put back from an older copy, and the operator says so.
    pub restored: Option<Restored>,
    /// What tells the time.
    pub clock: Clock,
    /// Where ids and secrets come from.
    pub entropy: Entropy,
}

impl Settings {
    /// The usual ones for a folder.
    #[must_use]
    pub fn usual(folder: Folder) -> Self {
        Self {
            folder,
            master_key_file: None,
            disk: Disk::Real,
            log: LogSettings::default(),
            events_between_snapshots: EVENTS_BETWEEN,
            between_checkpoints: BETWEEN_CHECKPOINTS,
            accept_clock: false,
            restored: None,
            clock: Clock::system(),
            entropy: Entropy::system(),
        }
    }
}

/// How many positions to give up in a folder that was put back from an older copy; `None`: as many
/// as the usual rate of events suggests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Restored(pub Option<u64>);
