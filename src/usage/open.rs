//! Opening the usage history: the checkpoint, what follows it, and the thread.

use std::fs;
use std::io;
use std::mem;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;

use super::checkpoint::{self, Head};
use super::keys::{Counting, Keys};
use super::pending::Pending;
use super::personal::PersonalSeal;
use super::sorting::recount;
use super::stream::{self, Place, Segment, Stream};
use super::writer::Writer;
use super::{Counters, Gap, Shared, Usage, UsageSettings};
use crate::clock::Entropy;
use crate::degraded::{DegradedParts, Part};
use crate::domain::time::Timestamp;
use crate::seal::cursor::CursorKey;

/// Gaps that are remembered, newest ones.
const GAPS_MAX: usize = 100;

/// What was found in the folder.
struct Found {
    shared: Shared,
    counting: Counting,
    checkpoint: u64,
    /// Whether a checkpoint must be written before anything else.
    is_new: bool,
}

pub(super) fn open(settings: UsageSettings) -> io::Result<Usage> {
    // Addresses of clients are in it.
    let mut private = fs::DirBuilder::new();
    private
        .recursive(true)
        .mode(0o700)
        .create(&settings.folder)?;
    let found = recover(settings)?;
    let shared = Arc::new(found.shared);
    let mut writer = Writer::new(Arc::clone(&shared), found.counting, (found.checkpoint, 0));
    writer.begin(found.is_new)?;
    let thread = thread::Builder::new().name("usage-writer".to_owned());
    let thread = thread.spawn(move || writer.run())?;
    Ok(Usage {
        shared,
        thread: Arc::new(Mutex::new(Some(thread))),
    })
}

fn recover(settings: UsageSettings) -> io::Result<Found> {
    let now = Timestamp(settings.clock.now_ms());
    let folder = settings.folder.clone();
    let degraded = settings.degraded.clone();
    let known = checkpoint::read(&folder, &degraded)?;
    let has_checkpoint = known.is_some();
    let (mut head, keys) = known.unwrap_or_else(|| nothing_since(now));
    let cursor_key = head.cursor_key;
    let names = ["rollups", "rollups-overflow", "calls", "overflow"];
    let paths = names.map(|name| folder.join(name));
    let [kept, beyond, calls, overflow] = paths.each_ref().map(|folder| Place {
        folder,
        log_id: settings.log_id,
        segment_bytes: settings.segment_bytes,
        degraded: &degraded,
    });
    let kept = open_roll_ups(kept, &head.roll_up_segments, head.roll_ups)?;
    let known = (&head.roll_ups_overflow_segments, head.roll_ups_overflow);
    let beyond = open_roll_ups(beyond, known.0, known.1)?;
    let (kept_max, _) = settings.retention.parts();
    let drain_ms = u64::try_from(settings.retention.age.as_millis()).unwrap_or(u64::MAX);
    let organizations = mem::take(&mut head.organizations);
    let mut recounting = Recounting {
        keys,
        personal: PersonalSeal::new(settings.keys.clone(), settings.log_id),
        counting: Counting::new((kept_max, drain_ms), now, organizations),
        latest: None,
        found: stream::Found::default(),
    };
    let anchored_to = settings.anchored_to;
    let stream = recounting.open(calls, &head.segments, (head.address, anchored_to))?;
    let overflow = recounting.open(overflow, &head.overflow_segments, (head.overflow, 0))?;
    if !has_checkpoint && recounting.latest.is_some() {
        note_missing_checkpoint(&folder.join("checkpoint"), &degraded);
    }
    // A stop in order leaves no mark and no torn end.
    let torn = recounting.found.torn;
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
        pending: Pending::new(settings.pending_bytes_max),
        keys: recounting.keys,
        personal: recounting.personal,
        stream: Mutex::new(stream),
        overflow: Mutex::new(overflow),
        cursor_key: cursor_key.unwrap_or_else(|| CursorKey(Entropy::system().bytes())),
        roll_ups: Mutex::new(kept),
        roll_ups_overflow: Mutex::new(beyond),
        gaps: head.gaps,
        ended_uses: Mutex::default(),
        numbers: Counters::default(),
        full: AtomicBool::new(false),
        degraded,
    };
    Ok(Found {
        shared,
        counting: recounting.counting,
        checkpoint: head.address + head.overflow,
        is_new: cursor_key.is_none() || unclean,
    })
}

/// What a first start knows.
fn nothing_since(now: Timestamp) -> (Head, Keys) {
    let head = Head {
        tracked_since: now,
        ..Head::default()
    };
    (head, Keys::default())
}

/// Opens a stream of roll-ups as the checkpoint knows it: what came after is counted again.
fn open_roll_ups(place: Place<'_>, known: &[Segment], known_end: u64) -> io::Result<Stream> {
    let (mut roll_ups, _) = Stream::open(place, known, known_end, |_| {})?;
    if roll_ups.end() < known_end {
        note_shorter(place, roll_ups.end(), (known_end, "the checkpoint"));
        roll_ups.skip_to(known_end)?;
    } else {
        roll_ups.cut(known_end)?;
    }
    Ok(roll_ups)
}

fn note_shorter(place: Place<'_>, end: u64, (known_end, witness): (u64, &str)) {
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
    keys: Keys,
    personal: PersonalSeal,
    counting: Counting,
    /// The last instant that is there.
    latest: Option<Timestamp>,
    found: stream::Found,
}

impl Recounting {
    /// Opens a stream of calls, and counts what is beyond `from`. The stream goes on behind
    /// `anchored_to`, up to which the log holds digests.
    fn open(
        &mut self,
        place: Place<'_>,
        known: &[Segment],
        (from, anchored_to): (u64, u64),
    ) -> io::Result<Stream> {
        let Self {
            keys,
            personal,
            counting,
            latest,
            found,
        } = self;
        let (mut stream, new) = Stream::open(place, known, from, |block| {
            recount((keys, personal), block, counting);
            *latest = (*latest).max(Some(block.latest));
        })?;
        found.torn += new.torn;
        found.damaged += new.damaged;
        let (end, known_end) = (stream.end(), from.max(anchored_to));
        if end < known_end {
            let witness = if anchored_to > from {
                "the log"
            } else {
                "the checkpoint"
            };
            note_shorter(place, end, (known_end, witness));
            stream.skip_to(known_end)?;
        }
        Ok(stream)
    }
}

/// Calls may be missing from the last instant that is there to now.
fn note_gap(head: &mut Head, latest: Option<Timestamp>, now: Timestamp) {
    let known = head.segments.iter().filter_map(|one| one.span);
    let known = known.map(|(_, latest)| latest).max();
    let from = latest.max(known).unwrap_or(head.tracked_since).min(now);
    tracing::warn!(%from, to = %now, "calls made with credentials may be missing");
    head.gaps.push(Gap { from, to: now });
    let over = head.gaps.len().saturating_sub(GAPS_MAX);
    head.gaps.drain(..over);
}
