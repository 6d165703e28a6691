//! How a log is kept.

use super::limits::{HEADROOM_BYTES, SEGMENT_BYTES_DEFAULT};

/// How a log is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogSettings {
    /// Bytes of a new segment; those that exist keep theirs. A multiple of 4096.
    pub segment_bytes: u64,
    /// Free bytes that making a spare leaves to the rest of the folder: checkpoints, data keys and
    /// views go on where creations are refused already.
    pub headroom_bytes: u64,
    /// Whether a thread of the log or the caller makes spare segments.
    pub spares: SpareMaker,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            headroom_bytes: HEADROOM_BYTES,
            spares: SpareMaker::Background,
        }
    }
}

/// Which room a batch may use when the disk is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AppendSpace {
    /// All that may be refused.
    Ordinary,
    /// What ends or narrows something: it may use the reserve.
    WithReserve,
}

/// Whether a thread of the log or the caller makes spares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpareMaker {
    /// A thread that the log owns; it ends with the log.
    Background,
    /// The caller, by [`Log::make_missing_spares`](super::Log::make_missing_spares). An append that
    /// finds none makes what it needs, once; after a failure it is refused until the caller
    /// succeeds.
    ByCaller,
}
