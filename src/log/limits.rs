//! How large payloads, batches and segments may be.

/// Bytes of a payload at most: what the length prefix of a C2SP entry can say (2^16 - 1).
pub const PAYLOAD_BYTES_MAX: usize = 65_535;

/// Events of a batch at most: 5,000 live credentials of one owner and 100 sessions end in one
/// batch, and nearly as many again.
pub const BATCH_EVENTS_MAX: usize = 10_000;

/// Bytes of a batch at most, frames and commit included: 5,101 events of 1,500 bytes and their
/// heads fill 8,000,000. A segment may hold less:
/// [`Log::batch_bytes_max`](super::Log::batch_bytes_max).
pub const BATCH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Bytes of a segment by default.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// Free bytes that are left to others by default: two checkpoint files of 1 MiB that a start
/// renews, and sled's buffers of 512 KiB several times over.
pub const HEADROOM_BYTES: u64 = 8 * 1024 * 1024;
