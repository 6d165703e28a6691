//! The one thread that counts and writes what was recorded.
//!
//! Owns the two streams and the checkpoint. A filling of the buffer is counted, its records get
//! their addresses, and it is appended as blocks of at most 1 MiB; where the disk refuses, the
//! counts stay and the detail is shed. Everything else, roll-ups, retention, digests and
//! checkpoints, happens between two fillings.

use std::fs;
use std::hint::black_box;
use std::io::{self, Read};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};

use super::ended::note_ended;
use super::keys::Counting;
use super::pending::{Filling, Sheds, Waiter};
use super::record::{self, put_shed};
use super::roll_ups::write_roll_ups;
use super::stream::{Records, Segment};
use super::tally::hour_of;
use super::{Shared, UsageError, checkpoint};
use crate::domain::time::{DAY_MS, Timestamp};
use crate::log::free_bytes;

/// Records whose credentials are looked up together: their waits for memory overlap, and what was
/// found is still in the cache when it is counted.
const LOOKED_UP_TOGETHER: usize = 32;
/// Records of one block.
const BLOCK_BYTES: usize = 1 << 20;
/// A buffer that has grown beyond this is not kept.
const SPARE_BYTES_MAX: usize = 8 << 20;
/// Open tallies in RAM; beyond, all are written.
const TALLY_BYTES_MAX: usize = 64 << 20;
/// Tallies that wait for a disk that refuses: 50 MB.
const CLOSED_MAX: usize = 100_000;
/// A checkpoint is due after so many bytes of stream, or as many as the last one had: a start after
/// a crash counts two million records again, in some two seconds.
const CHECKPOINT_EVERY: u64 = 256 << 20;
/// How long written records may wait for their sync.
const SYNC_EVERY_MS: i64 = 1_000;
/// How often old segments are looked for.
const RETENTION_EVERY_MS: i64 = 60 * 60 * 1_000;
/// How old the oldest call of the segment that is written may be. What is reported may lie a day
/// back, so that a segment lasts for a day at least.
const SEGMENT_MS_MAX: i64 = 2 * DAY_MS;
/// How often a disk that refuses is told of.
const WARN_EVERY_MS: i64 = 60_000;

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    counting: Counting,
    unsynced: bool,
    synced_ms: i64,
    retained_ms: i64,
    warned_ms: Option<i64>,
    /// Address of the last checkpoint, and its length.
    checkpoint: (u64, u64),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, counting: Counting, checkpoint: (u64, u64)) -> Self {
        let now = shared.clock.monotonic_ms();
        Self {
            shared,
            counting,
            unsynced: false,
            synced_ms: now,
            retained_ms: now,
            warned_ms: None,
            checkpoint,
        }
    }

    pub(super) fn run(mut self) {
        let mut spare = Vec::new();
        loop {
            let time = self.shared.flush_every;
            let (mut filling, more) = self.shared.pending.take(time, mem::take(&mut spare));
            self.write(&mut filling);
            spare = filling.records;
            spare.clear();
            if spare.capacity() > SPARE_BYTES_MAX {
                spare = Vec::new();
            }
            if !more {
                break;
            }
        }
        self.finish();
    }

    /// Counts and writes one filling, and answers who waits for it.
    pub(super) fn write(&mut self, filling: &mut Filling) {
        let mut written = Ok(());
        if !filling.records.is_empty() {
            written = self.write_records(&mut filling.records);
        }
        if !filling.sheds.is_empty() {
            self.write_sheds(&filling.sheds);
        }
        self.roll_up();
        let wants_sync = |waiter: &Waiter| matches!(waiter, Waiter::Synced(_));
        let due = self.shared.clock.monotonic_ms() - self.synced_ms >= SYNC_EVERY_MS;
        if self.unsynced && (due || filling.waiters.iter().any(wants_sync)) {
            written = written.and_then(|()| self.sync());
        }
        for waiter in filling.waiters.drain(..) {
            let outcome = written.as_ref().map_err(UsageError::of).copied();
            let heard = match waiter {
                Waiter::Settled(done) => done.try_send(()).is_ok(),
                Waiter::Synced(done) => done.send(outcome).is_ok(),
            };
            if !heard {
                tracing::debug!("who waited for usage to be written has gone");
            }
        }
        self.keep_house();
    }

    fn write_records(&mut self, records: &mut [u8]) -> io::Result<()> {
        let mut outcome = self.room(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            let length = whole_records(rest, BLOCK_BYTES);
            let (block, after) = rest.split_at_mut(length);
            rest = after;
            let written = match &outcome {
                Ok(()) => self.write_block(block),
                Err(why) => {
                    self.count_only(block);
                    Err(io::Error::from(why.kind()))
                }
            };
            outcome = outcome.and(written);
        }
        self.shared.full.store(outcome.is_err(), Ordering::Release);
        if let Err(why) = &outcome {
            self.warn(why);
        }
        outcome
    }

    /// Whether there is room for so many bytes beside what the ledger itself needs.
    fn room(&self, bytes: usize) -> io::Result<()> {
        let free = free_bytes(&self.shared.folder)?;
        let needed = self.shared.headroom_bytes.saturating_add(bytes as u64);
        if free < needed {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Counts the records of a block and appends it.
    fn write_block(&mut self, block: &mut [u8]) -> io::Result<()> {
        let prepared = self.shared.stream().prepare(block.len());
        let begin = match prepared {
            Ok(begin) => begin,
            Err(why) => {
                self.count_only(block);
                return Err(why);
            }
        };
        let (count, span) = self.count(block, Some(begin));
        let appended = self.shared.stream().append(Records {
            bytes: block,
            count,
            span,
        });
        match appended {
            Ok(()) => {
                self.unsynced = true;
                self.shared.numbers.recorded(count);
            }
            Err(why) => {
                self.unchain(block);
                self.shared.numbers.shed(u64::from(count));
                return Err(why);
            }
        }
        Ok(())
    }

    /// Counts the records of a block whose detail is shed.
    fn count_only(&mut self, block: &mut [u8]) {
        let (count, _) = self.count(block, None);
        self.shared.numbers.shed(u64::from(count));
    }

    /// Counts records, and links each to its credential's one before if they get addresses.
    fn count(&mut self, block: &mut [u8], begin: Option<u64>) -> (u32, (Timestamp, Timestamp)) {
        let mut count = 0;
        let mut span = (Timestamp(i64::MAX), Timestamp(i64::MIN));
        let shared = Arc::clone(&self.shared);
        let known = shared.keys.pinned();
        let (mut places, mut keys) = (Vec::new(), Vec::new());
        let mut next = 0;
        loop {
            next = places_from(block, next, &mut places);
            keys.extend(places.iter().map(|(at, _)| {
                let id = block.get(*at..).and_then(record::credential)?;
                known.get(&id)
            }));
            // Fetches what is counted next, all at once.
            for key in keys.iter().flatten() {
                black_box(key.newest.load(Ordering::Relaxed));
            }
            for ((at, length), key) in places.iter().zip(keys.drain(..)) {
                let Some(record) = block.get_mut(*at..at + length) else {
                    continue;
                };
                let Some(counted) = record::read(record) else {
                    continue;
                };
                let new;
                let key = if let Some(key) = key {
                    key
                } else {
                    new = shared.keys.entry(counted.credential);
                    &new
                };
                span = (span.0.min(counted.at), span.1.max(counted.at));
                shared.keys.count(key, &counted, &mut self.counting);
                note_ended(&shared, &counted);
                if let Some(begin) = begin.filter(|_| counted.detail.is_some()) {
                    let before = key.newest.load(Ordering::Relaxed);
                    key.newest.store(begin + *at as u64, Ordering::Release);
                    record::set_previous(record, before);
                }
                count += 1;
            }
            if places.len() < LOOKED_UP_TOGETHER {
                return (count, span);
            }
        }
    }

    /// Takes back the links of a block that could not be appended, the newest first.
    fn unchain(&self, block: &[u8]) {
        let mut places = Vec::new();
        let mut at = 0;
        while let Some(length) = block.get(at..).and_then(record::length) {
            places.push((at, length));
            at += length;
        }
        for (at, length) in places.into_iter().rev() {
            let record = block.get(at..at + length).and_then(record::read);
            if let Some(counted) = record
                && let Some(detail) = counted.detail
            {
                let key = self.shared.keys.entry(counted.credential);
                key.newest.store(detail.previous, Ordering::Release);
            }
        }
    }

    /// Counts what was shed when the buffer was full, and writes that much of it.
    fn write_sheds(&mut self, sheds: &Sheds) {
        let mut records = Vec::new();
        let calls: u64 = sheds.values().map(|shed| u64::from(shed.count)).sum();
        for shed in sheds.values() {
            put_shed(&mut records, shed);
        }
        self.shared.numbers.shed(calls);
        let full = self.shared.full.load(Ordering::Acquire);
        let mut rest = records.as_mut_slice();
        while !rest.is_empty() {
            let length = whole_records(rest, BLOCK_BYTES);
            let (block, after) = rest.split_at_mut(length);
            rest = after;
            if full {
                self.count(block, None);
            } else if let Err(why) = self.write_block(block) {
                self.warn(&why);
            }
        }
        tracing::warn!(
            calls,
            "more calls than can be written: their detail was shed"
        );
    }

    /// Writes the tallies of hours that are over, and all of them if they take too much RAM.
    fn roll_up(&mut self) {
        if self.counting.open_bytes > TALLY_BYTES_MAX {
            self.close_tallies();
        }
        if let Err(why) = write_roll_ups(&self.shared, &mut self.counting.closed) {
            // They are kept for better times, as many as can be.
            self.counting.closed.truncate(CLOSED_MAX);
            self.warn(&why);
        }
    }

    fn close_tallies(&mut self) {
        self.close_tallies_before(u32::MAX);
        self.counting.open_bytes = 0;
    }

    /// Closes the tallies of hours before this one.
    fn close_tallies_before(&mut self, hour: u32) {
        let (keys, closed) = (&self.shared.keys, &mut self.counting.closed);
        self.counting.open.retain(|id| {
            let key = keys.entry(*id);
            let over = key.rest().tally.take_if(|tally| tally.hour < hour);
            let stays = over.is_none();
            closed.extend(over.map(|tally| (*id, tally)));
            stays
        });
    }

    fn sync(&mut self) -> io::Result<()> {
        self.shared.stream().sync()?;
        self.unsynced = false;
        self.synced_ms = self.shared.clock.monotonic_ms();
        Ok(())
    }

    /// One digest, a checkpoint and retention, each when it is due.
    fn keep_house(&mut self) {
        let done = self
            .digest()
            .and_then(|()| self.checkpoint_if_due())
            .and_then(|()| self.retain());
        if let Err(why) = done {
            self.warn(&why);
        }
    }

    /// Makes the digest of the oldest sealed segment that has none.
    fn digest(&self) -> io::Result<()> {
        let (first, path) = {
            let stream = self.shared.stream();
            let Some((_, sealed)) = stream.segments().split_last() else {
                return Ok(());
            };
            match sealed.iter().find(|sealed| sealed.digest.is_none()) {
                Some(sealed) => (sealed.first, stream.path(sealed.first)),
                None => return Ok(()),
            }
        };
        let mut file = fs::File::open(path)?;
        let (mut hash, mut piece) = (Sha256::new(), vec![0; BLOCK_BYTES]);
        loop {
            let read = file.read(&mut piece)?;
            let Some(piece) = piece.get(..read).filter(|piece| !piece.is_empty()) else {
                break;
            };
            hash.update(piece);
        }
        let digest = hash.finalize().into();
        self.shared.stream().set_digest(first, digest);
        Ok(())
    }

    fn checkpoint_if_due(&mut self) -> io::Result<()> {
        let (address, bytes) = self.checkpoint;
        let end = self.shared.stream().end();
        if end.saturating_sub(address) >= bytes.max(CHECKPOINT_EVERY) {
            self.write_checkpoint()?;
        }
        Ok(())
    }

    pub(super) fn write_checkpoint(&mut self) -> io::Result<()> {
        self.close_tallies();
        write_roll_ups(&self.shared, &mut self.counting.closed)?;
        self.shared.roll_ups().sync()?;
        self.sync()?;
        let head = self.shared.checkpoint_head();
        let address = head.address;
        let bytes = checkpoint::write(&self.shared.folder, &head, &self.shared.keys)?;
        self.checkpoint = (address, bytes);
        Ok(())
    }

    /// Writes the hours that are over, and drops segments that are too old or too many.
    fn retain(&mut self) -> io::Result<()> {
        let shared = &self.shared;
        let too_many = shared.stream().bytes() > shared.retention.bytes;
        let now_ms = shared.clock.monotonic_ms();
        if !too_many && now_ms - self.retained_ms < RETENTION_EVERY_MS {
            return Ok(());
        }
        self.retained_ms = now_ms;
        let now = Timestamp(shared.clock.now_ms());
        self.close_tallies_before(hour_of(now));
        write_roll_ups(&self.shared, &mut self.counting.closed)?;
        let shared = &self.shared;
        let sealed = now.plus_ms(-SEGMENT_MS_MAX);
        shared.stream().seal_if_before(sealed)?;
        shared.roll_ups().seal_if_before(sealed)?;
        let age_ms = i64::try_from(shared.retention.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.plus_ms(age_ms.saturating_neg());
        let bytes_max = shared.retention.bytes;
        let old = |segment: &Segment, bytes: u64| {
            bytes > bytes_max || segment.span.is_none_or(|(_, latest)| latest < oldest)
        };
        shared.stream().drop_while(old)?;
        shared.roll_ups().drop_while(old)?;
        Ok(())
    }

    fn finish(mut self) {
        let done = self.write_checkpoint();
        match done.and_then(|()| fs::remove_file(self.shared.running())) {
            Ok(()) => {}
            Err(why) => tracing::warn!(%why, "the usage history did not end in order"),
        }
    }

    fn warn(&mut self, why: &io::Error) {
        let now = self.shared.clock.monotonic_ms();
        if self.warned_ms.is_none_or(|at| now - at >= WARN_EVERY_MS) {
            self.warned_ms = Some(now);
            tracing::warn!(%why, "usage cannot be written; calls are counted without their detail");
        }
    }
}

/// Where the next records stand, from `from` on: as many as are looked up together. Gives where to
/// go on.
fn places_from(block: &[u8], from: usize, places: &mut Vec<(usize, usize)>) -> usize {
    places.clear();
    let mut at = from;
    while places.len() < LOOKED_UP_TOGETHER
        && let Some(length) = block.get(at..).and_then(record::length)
    {
        places.push((at, length));
        at += length;
    }
    at
}

/// The longest beginning of `records` that is whole records and at most `max` bytes.
fn whole_records(records: &[u8], max: usize) -> usize {
    let mut at = 0;
    while let Some(length) = records.get(at..).and_then(record::length) {
        if at + length > max {
            break;
        }
        at += length;
    }
    // What is no record ends the filling; nothing of ours writes such.
    if at == 0 { records.len() } else { at }
}

/// Counts again what the tail of the stream holds, which the checkpoint does not.
pub(super) fn recount(
    keys: &super::keys::Keys,
    block: &super::stream::Block<'_>,
    counting: &mut Counting,
) {
    let mut at = 0;
    while let Some(record) = block.records.get(at..)
        && let Some(length) = record::length(record)
    {
        if let Some(counted) = record.get(..length).and_then(record::read) {
            let key = keys.entry(counted.credential);
            keys.count(&key, &counted, counting);
            if counted.detail.is_some() {
                key.newest
                    .store(block.address + at as u64, Ordering::Release);
            }
        }
        at += length;
    }
}
