//! Opening the usage history: the checkpoint, what follows it, and the thread.

use std::fs;
use std::io;
use std::mem;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;

use super::call_sorter::recount_block;
use super::pending_calls::PendingCalls;
use super::personal_sealer::PersonalSealer;
use super::usage_checkpoint::{self, UsageCheckpointHead};
use super::usage_stream::{self, StreamLocation, StreamSegment, UsageStream};
use super::usage_table::{CountingState, UsageTable};
use super::usage_writer::UsageWriter;
use super::{Counters, RecordingGap, Shared, UsageHistory, UsageSettings};
use crate::clock::Entropy;
use crate::degraded::{DegradedParts, Part};
use crate::domain::time::Timestamp;
use crate::seal::cursor_key::CursorKey;

/// Gaps that are remembered, newest ones.
const GAPS_MAX: usize = 100;

/// What was found in the folder.
struct RecoveredHistory {
    shared: Shared,
    counting: CountingState,
    checkpoint: u64,
    /// Whether a checkpoint must be written before anything else.
    is_new: bool,
}

pub(super) fn open_history(settings: UsageSettings) -> io::Result<UsageHistory> {
    // Addresses of clients are in it.
    let mut private = fs::DirBuilder::new();
    private
        .recursive(true)
        .mode(0o700)
        .create(&settings.folder)?;
    let found = recover(settings)?;
    let shared = Arc::new(found.shared);
    let mut writer = UsageWriter::new(Arc::clone(&shared), found.counting, found.checkpoint);
    writer.mark_running(found.is_new)?;
    let thread = thread::Builder::new().name("usage-writer".to_owned());
    let thread = thread.spawn(move || writer.run())?;
    Ok(UsageHistory {
        shared,
        thread: Arc::new(Mutex::new(Some(thread))),
    })
}

fn recover(settings: UsageSettings) -> io::Result<RecoveredHistory> {
    let now = Timestamp(settings.clock.now_ms());
    let folder = settings.folder.clone();
    let degraded = settings.degraded.clone();
    let known = usage_checkpoint::read_or_set_aside(&folder, &degraded)?;
    let has_checkpoint = known.is_some();
    let (mut head, keys) = known.unwrap_or_else(|| nothing_since(now));
    let cursor_key = head.cursor_key;
    let names = ["rollups", "rollups-overflow", "calls", "overflow"];
    let paths = names.map(|name| folder.join(name));
    let [kept, beyond, calls, overflow] = paths.each_ref().map(|folder| StreamLocation {
        folder,
        log_id: settings.log_id,
        segment_bytes: settings.segment_bytes,
        degraded: &degraded,
    });
    let kept = open_roll_ups(kept, &head.roll_up_segments, head.roll_ups_end)?;
    let known = (&head.roll_ups_overflow_segments, head.roll_ups_overflow_end);
    let beyond = open_roll_ups(beyond, known.0, known.1)?;
    let (kept_max, _) = settings.retention.kept_and_overflow_bytes();
    let drain_ms = u64::try_from(settings.retention.age_max.as_millis()).unwrap_or(u64::MAX);
    let organizations = mem::take(&mut head.organizations);
    let mut recounting = Recounting {
        keys,
        personal: PersonalSealer::new(settings.keys.clone(), settings.log_id),
        counting: CountingState::new(kept_max, drain_ms, now, organizations),
        latest: None,
        found: usage_stream::StreamDamage::default(),
    };
    let anchored_to = settings.anchored_to;
    let stream = recounting.open(calls, &head.segments, head.address, anchored_to)?;
    let overflow = recounting.open(overflow, &head.overflow_segments, head.overflow_end, 0)?;
    if !has_checkpoint && recounting.latest.is_some() {
        note_missing_checkpoint(&folder.join("checkpoint"), &degraded);
    }
    // A stop in order leaves no mark and no torn end.
    let torn = recounting.found.torn_bytes;
    let unclean = folder.join("running").try_exists()? || torn > 0;
    if unclean {
        tracing::warn!(torn, "the last stop was unclean");
        note_gap(&mut head, recounting.latest, now);
    }
    let shared = Shared {
        folder,
        clock: settings.clock,
        retention: settings.retention,
        flush_every: settings.flush_every,
        headroom_bytes: settings.headroom_bytes,
        tracked_since: head.tracked_since,
        pending: PendingCalls::new(settings.pending_bytes_max),
        keys: recounting.keys,
        personal: recounting.personal,
        stream: Mutex::new(stream),
        overflow: Mutex::new(overflow),
        cursor_key: cursor_key.unwrap_or_else(|| CursorKey(Entropy::system().random_bytes())),
        roll_ups: Mutex::new(kept),
        roll_ups_overflow: Mutex::new(beyond),
        gaps: head.gaps,
        ended_uses: Mutex::default(),
        numbers: Counters::default(),
        full: AtomicBool::new(false),
        degraded,
    };
    Ok(RecoveredHistory {
        shared,
        counting: recounting.counting,
        checkpoint: head.address + head.overflow_end,
        is_new: cursor_key.is_none() || unclean,
    })
}

/// What a first start knows.
fn nothing_since(now: Timestamp) -> (UsageCheckpointHead, UsageTable) {
    let head = UsageCheckpointHead {
        tracked_since: now,
        ..UsageCheckpointHead::default()
    };
    (head, UsageTable::default())
}

/// Opens a stream of roll-ups as the checkpoint knows it: what came after is counted again.
fn open_roll_ups(
    place: StreamLocation<'_>,
    known: &[StreamSegment],
    known_end: u64,
) -> io::Result<UsageStream> {
    let (mut roll_ups, _) = UsageStream::open(place, known, known_end, |_| {})?;
    if roll_ups.end_address() < known_end {
        note_shorter(place, roll_ups.end_address(), known_end, "the checkpoint");
        roll_ups.skip_to(known_end)?;
    } else {
        roll_ups.truncate_at(known_end)?;
    }
    Ok(roll_ups)
}

fn note_shorter(place: StreamLocation<'_>, end: u64, known_end: u64, witness: &str) {
    let why = format!(
        "it ends at byte {end}, and {witness} knows of calls up to byte {known_end}: it is older \
         than the rest of the folder, or files of it are gone, and their calls are missing from \
         the usage history"
    );
    place.degraded.note_damage(Part::Usage, place.folder, &why);
}

/// A checkpoint that was set aside has been reported.
fn note_missing_checkpoint(path: &Path, degraded: &DegradedParts) {
    if degraded.damage_found().iter().all(|one| one.file != path) {
        let why = "it is missing; all calls that are kept are counted again, and those that were \
            counted without detail are missing";
        degraded.note_damage(Part::Usage, path, why);
    }
}

/// Counts again what a checkpoint does not hold.
struct Recounting {
    keys: UsageTable,
    personal: PersonalSealer,
    counting: CountingState,
    /// The last instant that is there.
    latest: Option<Timestamp>,
    found: usage_stream::StreamDamage,
}

impl Recounting {
    /// Opens a stream of calls, and counts what is beyond `from`. The stream goes on behind
    /// `anchored_to`, up to which the log holds digests.
    fn open(
        &mut self,
        place: StreamLocation<'_>,
        known: &[StreamSegment],
        from: u64,
        anchored_to: u64,
    ) -> io::Result<UsageStream> {
        let Self {
            keys,
            personal,
            counting,
            latest,
            found,
        } = self;
        let (mut stream, new) = UsageStream::open(place, known, from, |block| {
            recount_block(keys, personal, block, counting);
            *latest = (*latest).max(Some(block.latest));
        })?;
        found.torn_bytes += new.torn_bytes;
        found.damaged_stretches += new.damaged_stretches;
        let (end, known_end) = (stream.end_address(), from.max(anchored_to));
        if end < known_end {
            let witness = if anchored_to > from {
                "the log"
            } else {
                "the checkpoint"
            };
            note_shorter(place, end, known_end, witness);
            stream.skip_to(known_end)?;
        }
        Ok(stream)
    }
}

/// Calls may be missing from the last instant that is there to now.
fn note_gap(head: &mut UsageCheckpointHead, latest: Option<Timestamp>, now: Timestamp) {
    let known = head.segments.iter().filter_map(|one| one.span);
    let known = known.map(|(_, latest)| latest).max();
    let from = latest.max(known).unwrap_or(head.tracked_since).min(now);
    tracing::warn!(%from, to = %now, "calls made with credentials may be missing");
    head.gaps.push(RecordingGap { from, to: now });
    let over = head.gaps.len().saturating_sub(GAPS_MAX);
    head.gaps.drain(..over);
}
