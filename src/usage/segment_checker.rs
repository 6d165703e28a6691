//! Sealed segments, read once after the start: damage to them is found before their calls are
//! looked for.
//!
//! Must never change a file, nor keep the writing thread for longer than one segment takes. What is
//! damaged is reported; readers pass it over.

use std::io;
use std::path::PathBuf;

use super::Shared;
use super::usage_stream::{StreamSegment, damage_of_sealed_segment};
use crate::degraded::Part;

/// From one segment to the next: 64 MiB in 5 seconds leave a disk to those who wait for it, and
/// 10 GiB take a quarter of an hour.
const CHECK_EVERY_MS: i64 = 5_000;

/// What is still to be read.
pub(super) struct SealedSegmentChecker {
    unchecked: Vec<(PathBuf, StreamSegment)>,
    log_id: [u8; 16],
    next_ms: i64,
}

impl SealedSegmentChecker {
    /// All segments of all streams that are sealed now.
    pub(super) fn new(shared: &Shared) -> Self {
        let mut unchecked = shared.stream().sealed_segments();
        unchecked.extend(shared.overflow().sealed_segments());
        unchecked.extend(shared.roll_ups().sealed_segments());
        unchecked.extend(shared.roll_ups_overflow().sealed_segments());
        Self {
            unchecked,
            log_id: shared.stream().log_id(),
            next_ms: i64::MIN,
        }
    }

    /// Reads one of them, when it is time.
    pub(super) fn check_next_when_due(&mut self, shared: &Shared) {
        let now_ms = shared.clock.monotonic_ms();
        if now_ms < self.next_ms {
            return;
        }
        let Some((path, segment)) = self.unchecked.pop() else {
            return;
        };
        self.next_ms = now_ms + CHECK_EVERY_MS;
        let why = match damage_of_sealed_segment(&path, &segment, self.log_id) {
            // Dropped since, for its age.
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => Some(format!(
                "it cannot be read ({why}); its calls are passed over"
            )),
            Ok(damage) => damage,
        };
        if let Some(why) = why {
            shared.degraded.note_damage(Part::Usage, &path, &why);
        }
    }
}
