//! The one thread that counts and writes what was recorded.
//!
//! Owns the streams and the checkpoint. A batch of the buffer is counted and sorted by which
//! credential has room left of its share, its records get their addresses, and it is appended as
//! blocks of about 1 MiB; where the disk refuses, the counts stay and the detail is shed.
//! Everything else, roll-ups, retention, digests and checkpoints, happens between two fillings.

use std::fs;
use std::io::{self, Read};
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use sha2::{Digest, Sha256};

use super::call_record::put_shed_count;
use super::call_sorter::{CallSorter, StreamBatch, unlink_records, whole_records_length};
use super::hour_tally::hour_of;
use super::pending_calls::{PendingBatch, PendingWaiter};
use super::roll_ups::write_roll_ups;
use super::segment_checker::SealedSegmentChecker;
use super::stream_blocks::BlockRecords;
use super::usage_stream::{StreamSegment, UsageStream, sync_folder};
use super::usage_table::CountingState;
use super::{Shared, UsageError, usage_checkpoint};
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
pub(super) struct UsageWriter {
    shared: Arc<Shared>,
    counting: CountingState,
    sorting: CallSorter,
    unsynced: bool,
    synced_ms: i64,
    retained_ms: i64,
    /// When something failed last, until the history has recovered.
    failed_ms: Option<i64>,
    /// Whether the mark of a running process and a checkpoint are still to be written, since there
    /// was no room at the start.
    owes_start: bool,
    checking: SealedSegmentChecker,
    /// Bytes of both streams of calls up to the last checkpoint, and its length.
    checkpoint: (u64, u64),
}

impl UsageWriter {
    pub(super) fn new(shared: Arc<Shared>, counting: CountingState, checkpointed_to: u64) -> Self {
        let now = shared.clock.monotonic_ms();
        Self {
            checking: SealedSegmentChecker::new(&shared),
            shared,
            counting,
            sorting: CallSorter::default(),
            unsynced: false,
            synced_ms: now,
            retained_ms: now,
            failed_ms: None,
            owes_start: false,
            checkpoint: (checkpointed_to, 0),
        }
    }

    /// Marks that a process writes, and writes a checkpoint where one is needed before anything
    /// else. Without room for that the history begins all the same, and both follow.
    pub(super) fn mark_running(&mut self, needs_checkpoint: bool) -> io::Result<()> {
        match self.write_start(needs_checkpoint) {
            Err(why) if UsageError::from_io(&why) == UsageError::DiskFull => {
                self.owes_start = true;
                self.report_failure(&why);
                Ok(())
            }
            done => done,
        }
    }

    fn write_start(&mut self, needs_checkpoint: bool) -> io::Result<()> {
        fs::File::create(self.shared.running_mark_path())?.sync_all()?;
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
            let (mut filling, more) = self.shared.pending.take_batch(time, mem::take(&mut spare));
            self.write_batch(&mut filling);
            spare = filling.records;
            spare.clear();
            if spare.capacity() > SPARE_BYTES_MAX {
                spare = Vec::new();
            }
            if !more {
                break;
            }
        }
        self.write_final_checkpoint();
    }

    /// Counts and writes one batch, and answers its waiters.
    pub(super) fn write_batch(&mut self, filling: &mut PendingBatch) {
        let now_ms = self.shared.clock.now_ms();
        self.counting.set_now(now_ms);
        let mut written = Ok(());
        if !filling.records.is_empty() {
            written = self.write_records(&filling.records);
        }
        written = self.write_reports(&filling.report_pieces).and(written);
        if !filling.sheds.is_empty() {
            self.count_sheds(filling);
        }
        self.write_sheds();
        self.write_closed_tallies();
        let wants_sync = |waiter: &PendingWaiter| matches!(waiter, PendingWaiter::Synced(_));
        let due = self.shared.clock.monotonic_ms() - self.synced_ms >= SYNC_EVERY_MS;
        if self.unsynced && (due || filling.waiters.iter().any(wants_sync)) {
            written = written.and_then(|()| self.sync());
        }
        for waiter in filling.waiters.drain(..) {
            let outcome = written.as_ref().map_err(UsageError::from_io).copied();
            let heard = match waiter {
                PendingWaiter::Settled(done) => done.try_send(()).is_ok(),
                PendingWaiter::Synced(done) => done.send(outcome).is_ok(),
            };
            if !heard {
                tracing::debug!("who waited for usage to be written has gone");
            }
        }
        self.do_maintenance();
        self.checking.check_next_when_due(&self.shared);
        self.end_trouble_when_quiet();
    }

    /// Ends the trouble when nothing has failed for a while.
    fn end_trouble_when_quiet(&mut self) {
        let Some(failed_ms) = self.failed_ms else {
            return;
        };
        let quiet_ms = self.shared.clock.monotonic_ms() - failed_ms;
        if quiet_ms >= RECOVERED_AFTER_MS && self.check_room(0).is_ok() {
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
        let mut outcome = self.check_room(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            let length = whole_records_length(rest, BLOCK_BYTES);
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
            self.report_failure(why);
        }
        outcome
    }

    /// Whether there is room for so many bytes beside what the ledger itself needs.
    fn check_room(&self, bytes: usize) -> io::Result<()> {
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
        let kept = shared.stream().make_room(longest);
        let overflow = shared.overflow().make_room(longest);
        let (kept, overflow) = match (kept, overflow) {
            (Ok(kept), Ok(overflow)) => (kept, overflow),
            (Err(why), _) | (_, Err(why)) => {
                self.count_only(block);
                return Err(why);
            }
        };
        self.sorting.kept.restart_at_address(kept);
        self.sorting.overflow.restart_at_address(overflow);
        let counting = &mut self.counting;
        self.sorting.count_and_sort(&shared, counting, block, true);
        let kept = &self.sorting.kept;
        let done = append_batch(&mut shared.stream(), kept, &shared);
        if done.is_err() {
            unlink_records(&shared.keys, &kept.bytes, |key| &key.newest);
        }
        let overflow = &self.sorting.overflow;
        let done = done.and_then(|()| append_batch(&mut shared.overflow(), overflow, &shared));
        if done.is_err() {
            unlink_records(&shared.keys, &overflow.bytes, |key| &key.newest_overflow);
        }
        self.unsynced |= kept.count + overflow.count > 0;
        done
    }

    /// Counts the records of a block whose detail is shed.
    fn count_only(&mut self, block: &[u8]) {
        let shared = Arc::clone(&self.shared);
        self.sorting
            .count_and_sort(&shared, &mut self.counting, block, false);
    }

    /// Counts what was shed when the buffer was full.
    fn count_sheds(&mut self, filling: &PendingBatch) {
        let mut records = Vec::new();
        let calls: u64 = filling
            .sheds
            .values()
            .map(|shed| u64::from(shed.count))
            .sum();
        for shed in filling.sheds.values() {
            put_shed_count(&mut records, shed);
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
        let mut block = StreamBatch::default();
        for shed in sheds.values() {
            put_shed_count(&mut block.bytes, shed);
            block.note_added(shed.at);
            if block.bytes.len() >= BLOCK_BYTES {
                self.write_counts(&block);
                block = StreamBatch::default();
            }
        }
        self.write_counts(&block);
    }

    fn write_counts(&mut self, block: &StreamBatch) {
        if block.count == 0 {
            return;
        }
        let written = {
            let mut overflow = self.shared.overflow();
            let prepared = overflow.make_room(block.bytes.len());
            prepared.and_then(|_| append_batch(&mut overflow, block, &self.shared))
        };
        match written {
            Ok(()) => self.unsynced = true,
            Err(why) => self.report_failure(&why),
        }
    }

    /// Writes the tallies of hours that are over, and all of them if they take too much RAM.
    fn write_closed_tallies(&mut self) {
        if self.counting.open_bytes > TALLY_BYTES_MAX {
            self.close_tallies();
        }
        if let Err(why) = write_roll_ups(&self.shared, &mut self.counting) {
            // They are kept for better times, as many as can be.
            self.counting.closed_tallies.truncate(CLOSED_MAX);
            self.report_failure(&why);
        }
    }

    fn close_tallies(&mut self) {
        self.close_tallies_before(u32::MAX);
        self.counting.open_bytes = 0;
    }

    /// Closes the tallies of hours before this one.
    fn close_tallies_before(&mut self, hour: u32) {
        let (keys, closed) = (&self.shared.keys, &mut self.counting.closed_tallies);
        self.counting.open_tallies.retain(|id| {
            let key = keys.get_or_insert(*id);
            let over = key.lock_usage().tally.take_if(|tally| tally.hour < hour);
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
    fn do_maintenance(&mut self) {
        let done = self
            .start_if_owed()
            .and_then(|()| self.digest_next_segment())
            .and_then(|()| self.checkpoint_if_due())
            .and_then(|()| self.apply_retention());
        if let Err(why) = done {
            self.report_failure(&why);
        }
    }

    fn start_if_owed(&mut self) -> io::Result<()> {
        if self.owes_start {
            self.check_room(0)?;
            self.write_start(true)?;
            self.owes_start = false;
        }
        Ok(())
    }

    /// Makes the digest of the oldest sealed segment that has none.
    fn digest_next_segment(&self) -> io::Result<()> {
        let (first, path) = {
            let stream = self.shared.stream();
            let Some((_, sealed)) = stream.segments().split_last() else {
                return Ok(());
            };
            match sealed.iter().find(|sealed| sealed.digest.is_none()) {
                Some(sealed) => (sealed.first, stream.segment_path(sealed.first)),
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
        self.shared.stream().set_segment_digest(first, digest);
        Ok(())
    }

    /// Bytes of both streams of calls from their beginning.
    fn written_bytes(&self) -> u64 {
        self.shared.stream().end_address() + self.shared.overflow().end_address()
    }

    fn checkpoint_if_due(&mut self) -> io::Result<()> {
        let (address, bytes) = self.checkpoint;
        // What goes by size must not go before it is in a checkpoint.
        let every = CHECKPOINT_EVERY.min(self.shared.retention.bytes_max / 4);
        if self.written_bytes().saturating_sub(address) >= bytes.max(every) {
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
        let written = head.address + head.overflow_end;
        let bytes =
            usage_checkpoint::write_checkpoint(&self.shared.folder, &head, &self.shared.keys)?;
        self.checkpoint = (written, bytes);
        Ok(())
    }

    /// Writes the hours that are over, and drops segments that are too old or too many.
    fn apply_retention(&mut self) -> io::Result<()> {
        let shared = &self.shared;
        let (kept_max, overflow_max) = shared.retention.kept_and_overflow_bytes();
        let too_many = shared.stream().total_bytes() > kept_max
            || shared.overflow().total_bytes() > overflow_max
            || shared.roll_ups().total_bytes() > kept_max
            || shared.roll_ups_overflow().total_bytes() > overflow_max;
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
        let age_ms = i64::try_from(shared.retention.age_max.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.plus_ms(age_ms.saturating_neg());
        let old = |bytes_max: u64| {
            move |segment: &StreamSegment, bytes: u64| {
                bytes > bytes_max || segment.span.is_none_or(|(_, latest)| latest < oldest)
            }
        };
        let drop_old = |mut stream: MutexGuard<'_, UsageStream>, bytes_max| {
            stream.seal_if_before(sealed)?;
            stream.drop_oldest_while(old(bytes_max)).map(drop)
        };
        drop_old(shared.stream(), kept_max)?;
        drop_old(shared.overflow(), overflow_max)?;
        drop_old(shared.roll_ups(), kept_max)?;
        drop_old(shared.roll_ups_overflow(), overflow_max)
    }

    fn write_final_checkpoint(mut self) {
        let done = self.write_checkpoint();
        match done.and_then(|()| fs::remove_file(self.shared.running_mark_path())) {
            Ok(()) => {}
            Err(why) => {
                let folder = self.shared.folder.display();
                tracing::warn!(%folder, %why, "the usage history did not end in order");
            }
        }
    }

    fn report_failure(&mut self, why: &io::Error) {
        self.failed_ms = Some(self.shared.clock.monotonic_ms());
        let reason = format!("{}: {why}", self.shared.folder.display());
        self.shared.degraded.begin(Part::Usage, reason, TRIED_AGAIN);
    }
}

/// Appends sorted records to their stream.
fn append_batch(stream: &mut UsageStream, sorted: &StreamBatch, shared: &Shared) -> io::Result<()> {
    if sorted.count == 0 {
        return Ok(());
    }
    let appended = stream.append_block(BlockRecords {
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
