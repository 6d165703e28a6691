//! Opening the usage history: the checkpoint, what follows it, and the thread.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;

use super::checkpoint::{self, Head};
use super::keys::{Counting, Keys};
use super::pending::Pending;
use super::personal::PersonalSeal;
use super::roll_ups::write_roll_ups;
use super::sorting::recount;
use super::stream::{self, Segment, Stream, sync_folder};
use super::writer::Writer;
use super::{Counters, Gap, Shared, Usage, UsageSettings};
use crate::clock::Entropy;
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
    File::create(shared.running())?.sync_all()?;
    sync_folder(&shared.folder)?;
    let mut counting = found.counting;
    write_roll_ups(&shared, &mut counting)?;
    let mut writer = Writer::new(Arc::clone(&shared), counting, (found.checkpoint, 0));
    if found.is_new {
        writer.write_checkpoint()?;
    }
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
    let (head, keys) = match checkpoint::read(&folder)? {
        Some((head, keys)) => (Some(head), keys),
        None => (None, Keys::default()),
    };
    let unclean = folder.join("running").try_exists()?;
    let cursor_key = head.as_ref().and_then(|head| head.cursor_key);
    let is_new = cursor_key.is_none() || unclean;
    let mut head = head.unwrap_or_else(|| Head {
        tracked_since: now,
        ..Head::default()
    });
    let place = |name: &str| (folder.join(name), settings.log_id, settings.segment_bytes);
    let beyond = (&head.roll_ups_overflow_segments, head.roll_ups_overflow);
    let beyond = open_roll_ups(place("rollups-overflow"), beyond.0, beyond.1)?;
    let kept = open_roll_ups(place("rollups"), &head.roll_up_segments, head.roll_ups)?;
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
    let stream = recounting.open(place("calls"), &head.segments, head.address)?;
    let overflow = recounting.open(place("overflow"), &head.overflow_segments, head.overflow)?;
    let Recounting {
        keys,
        personal,
        counting,
        latest,
        found,
    } = recounting;
    if unclean {
        let (torn, damaged) = (found.torn, found.damaged);
        tracing::warn!(torn, damaged, "the last stop was unclean");
        note_gap(&mut head, latest, now);
    }
    let shared = Shared {
        folder,
        clock: settings.clock,
        retention: settings.retention,
        flush_every: settings.flush_every,
        headroom_bytes: settings.headroom_bytes,
        tracked_since: head.tracked_since,
        pending: Pending::new(settings.pending_bytes_max),
        keys,
        personal,
        stream: Mutex::new(stream),
        overflow: Mutex::new(overflow),
        cursor_key: cursor_key.unwrap_or_else(|| CursorKey(Entropy::system().bytes())),
        roll_ups: Mutex::new(kept),
        roll_ups_overflow: Mutex::new(beyond),
        gaps: head.gaps,
        ended_uses: Mutex::default(),
        numbers: Counters::default(),
        full: AtomicBool::new(false),
    };
    Ok(Found {
        shared,
        counting,
        checkpoint: head.address + head.overflow,
        is_new,
    })
}

/// Opens a stream of roll-ups as the checkpoint knows it: what came after is counted again.
fn open_roll_ups(
    (path, log_id, segment_bytes): (PathBuf, [u8; 16], u64),
    known: &[Segment],
    end: u64,
) -> io::Result<Stream> {
    let (mut roll_ups, _) = Stream::open((&path, log_id, segment_bytes), known, end, |_| {})?;
    roll_ups.cut(end)?;
    Ok(roll_ups)
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
    /// Opens a stream of calls, and counts what is beyond `from`.
    fn open(
        &mut self,
        (path, log_id, segment_bytes): (PathBuf, [u8; 16], u64),
        known: &[Segment],
        from: u64,
    ) -> io::Result<Stream> {
        let Self {
            keys,
            personal,
            counting,
            latest,
            found,
        } = self;
        let (mut stream, new) =
            Stream::open((&path, log_id, segment_bytes), known, from, |block| {
                recount((keys, personal), block, counting);
                *latest = (*latest).max(Some(block.latest));
            })?;
        found.torn += new.torn;
        found.damaged += new.damaged;
        if stream.end() < from {
            tracing::warn!("segments of usage that were there are gone");
            stream.skip_to(from)?;
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
