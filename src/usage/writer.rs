//! The one thread that counts and writes what was recorded.
//!
//! Owns the streams and the checkpoint. A filling of the buffer is counted and sorted by who has
//! room left of its share, its records get their addresses, and it is appended as blocks of about
//! 1 MiB; where the disk refuses, the counts stay and the detail is shed. Everything else,
//! roll-ups, retention, digests and checkpoints, happens between two fillings.

use std::fs;
use std::io::{self, Read};
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use sha2::{Digest, Sha256};

use super::blocks::Records;
use super::checking::Checking;
use super::keys::Counting;
use super::pending::{Filling, Waiter};
use super::record::put_shed;
use super::roll_ups::write_roll_ups;
use super::sorting::{Sorted, Sorting, unlink, whole_records};
use super::stream::{Segment, Stream, sync_folder};
use super::tally::hour_of;
use super::{Shared, UsageError, checkpoint};
use crate::degraded::Part;
use crate::domain::time::{DAY_MS, Timestamp};
use crate::log::free_bytes;

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
/// How long nothing may have failed before the history counts as recovered.
const RECOVERED_AFTER_MS: i64 = 2_000;
const TRIED_AGAIN: &str = "calls are counted without their detail, and it is tried again all the \
    time. Make room on the disk, or look at the disk and at the folder's owner";

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    counting: Counting,
    sorting: Sorting,
    unsynced: bool,
    synced_ms: i64,
    retained_ms: i64,
    /// When something failed last, until the history has recovered.
    failed_ms: Option<i64>,
    /// Whether the mark of a running process and a checkpoint are still to be written, since there
    /// was no room at the start.
    owes_start: bool,
    checking: Checking,
    /// Bytes of both streams of calls up to the last checkpoint, and its length.
    checkpoint: (u64, u64),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, counting: Counting, checkpoint: (u64, u64)) -> Self {
        let now = shared.clock.monotonic_ms();
        Self {
            checking: Checking::new(&shared),
            shared,
            counting,
            sorting: Sorting::default(),
            unsynced: false,
            synced_ms: now,
            retained_ms: now,
            failed_ms: None,
            owes_start: false,
            checkpoint,
        }
    }

    /// Marks that a process writes, and writes a checkpoint where one is needed before anything
    /// else. Without room for that the history begins all the same, and both follow.
    pub(super) fn begin(&mut self, needs_checkpoint: bool) -> io::Result<()> {
        match self.write_start(needs_checkpoint) {
            Err(why) if UsageError::of(&why) == UsageError::DiskFull => {
                self.owes_start = true;
                self.report(&why);
                Ok(())
            }
            done => done,
        }
    }

    fn write_start(&mut self, needs_checkpoint: bool) -> io::Result<()> {
        fs::File::create(self.shared.running())?.sync_all()?;
        sync_folder(&self.shared.folder)?;
        write_roll_ups(&self.shared, &mut self.counting)?;
        if needs_checkpoint {
            self.write_checkpoint()?;
        }
        Ok(())
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
        let now_ms = self.shared.clock.now_ms();
        self.counting.set_now(now_ms);
        let mut written = Ok(());
        if !filling.records.is_empty() {
            written = self.write_records(&filling.records);
        }
        written = self.write_reports(&filling.reported).and(written);
        if !filling.sheds.is_empty() {
            self.count_sheds(filling);
        }
        self.write_sheds();
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
        self.checking.step(&self.shared);
        self.recover();
    }

    /// Ends the trouble when nothing has failed for a while.
    fn recover(&mut self) {
        let Some(failed_ms) = self.failed_ms else {
            return;
        };
        let quiet_ms = self.shared.clock.monotonic_ms() - failed_ms;
        if quiet_ms >= RECOVERED_AFTER_MS && self.room(0).is_ok() {
            self.shared.full.store(false, Ordering::Release);
            self.failed_ms = None;
            self.shared.degraded.end(Part::Usage);
        }
    }

    /// Writes reports, with a sync after each MiB: a long one would hold up those of the log.
    fn write_reports(&mut self, pieces: &[Vec<u8>]) -> io::Result<()> {
        let (mut written, mut unsynced) = (Ok(()), 0);
        for piece in pieces {
            written = self.write_records(piece).and(written);
            unsynced += piece.len();
            if unsynced >= BLOCK_BYTES {
                written = self.sync().and(written);
                unsynced = 0;
            }
        }
        written
    }

    fn write_records(&mut self, records: &[u8]) -> io::Result<()> {
        let mut outcome = self.room(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            let length = whole_records(rest, BLOCK_BYTES);
            let (block, after) = rest.split_at(length);
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
            self.report(why);
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

    /// Counts and sorts the records of a block, and appends them.
    fn write_block(&mut self, block: &[u8]) -> io::Result<()> {
        // A record of the overflow is 8 bytes longer, and a sealed one 42, of 80 at least.
        let longest = block.len() * 2;
        let shared = Arc::clone(&self.shared);
        let kept = shared.stream().prepare(longest);
        let overflow = shared.overflow().prepare(longest);
        let (kept, overflow) = match (kept, overflow) {
            (Ok(kept), Ok(overflow)) => (kept, overflow),
            (Err(why), _) | (_, Err(why)) => {
                self.count_only(block);
                return Err(why);
            }
        };
        self.sorting.kept.begin_at(kept);
        self.sorting.overflow.begin_at(overflow);
        let counting = &mut self.counting;
        self.sorting.sort(&shared, counting, (block, true));
        let kept = &self.sorting.kept;
        let done = append(&mut shared.stream(), kept, &shared);
        if done.is_err() {
            unlink(&shared.keys, &kept.bytes, |key| &key.newest);
        }
        let overflow = &self.sorting.overflow;
        let done = done.and_then(|()| append(&mut shared.overflow(), overflow, &shared));
        if done.is_err() {
            unlink(&shared.keys, &overflow.bytes, |key| &key.newest_overflow);
        }
        self.unsynced |= kept.count + overflow.count > 0;
        done
    }

    /// Counts the records of a block whose detail is shed.
    fn count_only(&mut self, block: &[u8]) {
        let shared = Arc::clone(&self.shared);
        self.sorting
            .sort(&shared, &mut self.counting, (block, false));
    }

    /// Counts what was shed when the buffer was full.
    fn count_sheds(&mut self, filling: &Filling) {
        let mut records = Vec::new();
        let calls: u64 = filling
            .sheds
            .values()
            .map(|shed| u64::from(shed.count))
            .sum();
        for shed in filling.sheds.values() {
            put_shed(&mut records, shed);
        }
        self.count_only(&records);
        tracing::warn!(
            calls,
            "more calls than can be written: their detail was shed"
        );
    }

    /// Writes the counts of calls whose detail is not kept: what was not is counted again after a
    /// crash.
    fn write_sheds(&mut self) {
        let sheds = mem::take(&mut self.sorting.sheds);
        let calls = sheds.values().map(|shed| u64::from(shed.count)).sum();
        self.shared.numbers.shed(calls);
        if self.shared.full.load(Ordering::Acquire) {
            return;
        }
        let mut block = Sorted::default();
        for shed in sheds.values() {
            put_shed(&mut block.bytes, shed);
            block.note(shed.at);
            if block.bytes.len() >= BLOCK_BYTES {
                self.write_counts(&block);
                block = Sorted::default();
            }
        }
        self.write_counts(&block);
    }

    fn write_counts(&mut self, block: &Sorted) {
        if block.count == 0 {
            return;
        }
        let written = {
            let mut overflow = self.shared.overflow();
            let prepared = overflow.prepare(block.bytes.len());
            prepared.and_then(|_| append(&mut overflow, block, &self.shared))
        };
        match written {
            Ok(()) => self.unsynced = true,
            Err(why) => self.report(&why),
        }
    }

    /// Writes the tallies of hours that are over, and all of them if they take too much RAM.
    fn roll_up(&mut self) {
        if self.counting.open_bytes > TALLY_BYTES_MAX {
            self.close_tallies();
        }
        if let Err(why) = write_roll_ups(&self.shared, &mut self.counting) {
            // They are kept for better times, as many as can be.
            self.counting.closed.truncate(CLOSED_MAX);
            self.report(&why);
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
        self.shared.overflow().sync()?;
        self.unsynced = false;
        self.synced_ms = self.shared.clock.monotonic_ms();
        Ok(())
    }

    /// One digest, a checkpoint and retention, each when it is due.
    fn keep_house(&mut self) {
        let done = self
            .start_if_owed()
            .and_then(|()| self.digest())
            .and_then(|()| self.checkpoint_if_due())
            .and_then(|()| self.retain());
        if let Err(why) = done {
            self.report(&why);
        }
    }

    fn start_if_owed(&mut self) -> io::Result<()> {
        if self.owes_start {
            self.room(0)?;
            self.write_start(true)?;
            self.owes_start = false;
        }
        Ok(())
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

    /// Bytes of both streams of calls from their beginning.
    fn written(&self) -> u64 {
        self.shared.stream().end() + self.shared.overflow().end()
    }

    fn checkpoint_if_due(&mut self) -> io::Result<()> {
        let (address, bytes) = self.checkpoint;
        // What goes by size must not go before it is in a checkpoint.
        let every = CHECKPOINT_EVERY.min(self.shared.retention.bytes / 4);
        if self.written().saturating_sub(address) >= bytes.max(every) {
            self.write_checkpoint()?;
        }
        Ok(())
    }

    pub(super) fn write_checkpoint(&mut self) -> io::Result<()> {
        self.close_tallies();
        write_roll_ups(&self.shared, &mut self.counting)?;
        self.shared.roll_ups().sync()?;
        self.shared.roll_ups_overflow().sync()?;
        self.sync()?;
        let head = self.shared.checkpoint_head(&self.counting);
        let written = head.address + head.overflow;
        let bytes = checkpoint::write(&self.shared.folder, &head, &self.shared.keys)?;
        self.checkpoint = (written, bytes);
        Ok(())
    }

    /// Writes the hours that are over, and drops segments that are too old or too many.
    fn retain(&mut self) -> io::Result<()> {
        let shared = &self.shared;
        let (kept_max, overflow_max) = shared.retention.parts();
        let too_many = shared.stream().bytes() > kept_max
            || shared.overflow().bytes() > overflow_max
            || shared.roll_ups().bytes() > kept_max
            || shared.roll_ups_overflow().bytes() > overflow_max;
        let now_ms = shared.clock.monotonic_ms();
        if !too_many && now_ms - self.retained_ms < RETENTION_EVERY_MS {
            return Ok(());
        }
        self.retained_ms = now_ms;
        let now = Timestamp(shared.clock.now_ms());
        self.close_tallies_before(hour_of(now));
        write_roll_ups(&self.shared, &mut self.counting)?;
        let shared = &self.shared;
        let sealed = now.plus_ms(-SEGMENT_MS_MAX);
        let age_ms = i64::try_from(shared.retention.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.plus_ms(age_ms.saturating_neg());
        let old = |bytes_max: u64| {
            move |segment: &Segment, bytes: u64| {
                bytes > bytes_max || segment.span.is_none_or(|(_, latest)| latest < oldest)
            }
        };
        let drop_old = |mut stream: MutexGuard<'_, Stream>, bytes_max| {
            stream.seal_if_before(sealed)?;
            stream.drop_while(old(bytes_max)).map(drop)
        };
        drop_old(shared.stream(), kept_max)?;
        drop_old(shared.overflow(), overflow_max)?;
        drop_old(shared.roll_ups(), kept_max)?;
        drop_old(shared.roll_ups_overflow(), overflow_max)
    }

    fn finish(mut self) {
        let done = self.write_checkpoint();
        match done.and_then(|()| fs::remove_file(self.shared.running())) {
            Ok(()) => {}
            Err(why) => {
                let folder = self.shared.folder.display();
                tracing::warn!(%folder, %why, "the usage history did not end in order");
            }
        }
    }

    fn report(&mut self, why: &io::Error) {
        self.failed_ms = Some(self.shared.clock.monotonic_ms());
        let reason = format!("{}: {why}", self.shared.folder.display());
        self.shared.degraded.begin(Part::Usage, reason, TRIED_AGAIN);
    }
}

/// Appends sorted records to their stream.
fn append(stream: &mut Stream, sorted: &Sorted, shared: &Shared) -> io::Result<()> {
    if sorted.count == 0 {
        return Ok(());
    }
    let appended = stream.append(Records {
        bytes: &sorted.bytes,
        count: sorted.count,
        span: sorted.span,
    });
    match appended {
        Ok(()) if sorted.has_detail() => shared.numbers.recorded(sorted.count),
        Ok(()) => {}
        Err(_) => shared.numbers.shed(u64::from(sorted.count)),
    }
    appended
}
