//! How a usage history is opened, and how much of it is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::degraded::DegradedParts;
use crate::seal::KeyStore;

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsageRetention {
    /// Records older than this are dropped, a segment at a time.
    pub age_max: Duration,
    /// So many bytes of records are kept.
    pub bytes_max: u64,
}

impl UsageRetention {
    /// The bytes of what is kept for certain, and of the overflow: half each.
    pub(super) fn kept_and_overflow_bytes(&self) -> (u64, u64) {
        let overflow = self.bytes_max / 2;
        (self.bytes_max - overflow, overflow)
    }
}

impl Default for UsageRetention {
    fn default() -> Self {
        Self {
            age_max: Duration::from_secs(90 * 24 * 60 * 60),
            bytes_max: 10 << 30,
        }
    }
}

/// How a usage history is opened.
#[derive(Clone, Debug)]
pub struct UsageSettings {
    /// `DATA/usage`.
    pub folder: PathBuf,
    /// The log that it belongs to.
    pub log_id: [u8; 16],
    /// The clock that calls are timed by.
    pub clock: Clock,
    /// The keys that what calls say of persons is sealed under; without them, nothing of it is
    /// stored.
    pub keys: Option<Arc<KeyStore>>,
    pub segment_bytes: u64,
    /// How long and how much is kept.
    pub retention: UsageRetention,
    /// How long a call may wait to be written.
    pub flush_every: Duration,
    /// Bytes of records that wait to be written; beyond, their detail is shed.
    pub pending_bytes_max: usize,
    /// Free bytes that are left to the ledger.
    pub headroom_bytes: u64,
    /// The log holds digests of calls up to this address.
    pub anchored_to: u64,
    /// Where trouble is reported.
    pub degraded: DegradedParts,
}

impl UsageSettings {
    /// The defaults: 32 MiB of waiting records are some 200,000 calls, five seconds of a busy
    /// server; 192 MiB of headroom are three segments of the log.
    #[must_use]
    pub fn with_defaults(folder: PathBuf, log_id: [u8; 16], clock: Clock) -> Self {
        Self {
            folder,
            log_id,
            degraded: DegradedParts::new(clock.clone()),
            clock,
            keys: None,
            segment_bytes: 64 << 20,
            retention: UsageRetention::default(),
            flush_every: Duration::from_millis(100),
            pending_bytes_max: 32 << 20,
            headroom_bytes: 192 << 20,
            anchored_to: 0,
        }
    }
}
