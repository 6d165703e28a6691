//! Reading the streams back: the last calls of a credential, and its roll-ups.
//!
//! A walk follows the pointers of one credential's records in one stream, newest first; two walks
//! are merged. It reads files that are
//! appended to meanwhile, never beyond the end that it has seen; a pointer into a segment that is
//! gone is the end. Whatever it meets it checks: a record of another credential ends the walk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use ulid::Ulid;

use super::call_record::{self, CallDetail, CallRecord, NO_ADDRESS};
use super::hour_tally::{self, HourTally, RollUpRecord, hour_of};
use super::personal_sealer::PersonalSealer;
use super::usage_stream::{STREAM_HEADER_BYTES, StreamSegment, UsageStream};
use super::{
    BucketSize, BucketSummary, CallsCursor, CallsPage, CallsQuery, Shared, UsageError,
    UsageSummaryQuery, VerificationCode,
};
use crate::domain::ids::CredentialId;
use crate::domain::time::{DAY_MS, Timestamp};

/// The bits of a ULID below its time.
const ULID_RANDOM: u128 = (1 << 80) - 1;
/// Records that one reading looks at.
const STEPS_MAX: usize = 10_000;
/// How long one reading takes.
const WITHIN_MS: i64 = 50;
/// Steps between two looks at the clock.
const STEPS_PER_LOOK: usize = 64;
/// What is read at once before and behind a record: neighbours are often near.
const WINDOW_BEFORE: u64 = 12 * 1024;
const WINDOW_BEHIND: u64 = 4 * 1024;
/// Roll-ups of one reading: 90 days of hours, many times over.
const ROLL_UPS_MAX: usize = 100_000;
/// How far a reported call may lie behind the hour in which it was reported.
const HOURS_LATE_MAX: u32 = 25;
/// Endpoints and addresses of one bucket that are shown.
const VALUES_MAX: usize = 100;

/// A stream as it was when the reading began.
struct StreamView {
    segments: Vec<StreamSegment>,
    folder: std::path::PathBuf,
    files: BTreeMap<u64, File>,
    /// What was read last, and the address of its first byte.
    window: Vec<u8>,
    begin: u64,
}

impl StreamView {
    fn of(stream: &UsageStream) -> Self {
        Self {
            segments: stream.segments().to_vec(),
            folder: stream.folder_path().to_owned(),
            files: BTreeMap::new(),
            window: Vec::new(),
            begin: 0,
        }
    }

    /// The bytes from `address` on, at least `least` of them where there are so many; `None` where
    /// there is nothing any more.
    fn bytes(&mut self, address: u64, least: u64) -> io::Result<Option<&[u8]>> {
        let after = self.segments.partition_point(|one| one.first <= address);
        let segment = after.checked_sub(1).and_then(|at| self.segments.get(at));
        let Some(segment) =
            segment.filter(|one| address >= one.first + STREAM_HEADER_BYTES && address < one.end)
        else {
            return Ok(None);
        };
        let window_end = self.begin + self.window.len() as u64;
        let wanted = address.saturating_add(least).min(segment.end);
        if address < self.begin || wanted > window_end || self.begin < segment.first {
            let begin = address.saturating_sub(WINDOW_BEFORE).max(segment.first);
            let end = wanted.max(address + WINDOW_BEHIND).min(segment.end);
            let length = usize::try_from(end - begin).unwrap_or(0);
            self.window.resize(length, 0);
            let (first, offset) = (segment.first, begin - segment.first);
            if !self.files.contains_key(&first) {
                match super::usage_stream::open_segment_file(&self.folder, first) {
                    Ok(file) => drop(self.files.insert(first, file)),
                    Err(why) if why.kind() == io::ErrorKind::NotFound => {
                        self.window.clear();
                        return Ok(None);
                    }
                    Err(why) => return Err(why),
                }
            }
            self.begin = begin;
            if let Some(file) = self.files.get(&first) {
                match file.read_exact_at(&mut self.window, offset) {
                    // Its end is gone, which has been reported.
                    Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => {
                        self.window.clear();
                        return Ok(None);
                    }
                    read => read?,
                }
            }
        }
        let at = usize::try_from(address - self.begin).unwrap_or(usize::MAX);
        Ok(self.window.get(at..))
    }
}

/// A walk over a credential's records in one stream, newest first.
struct RecordWalk {
    view: StreamView,
    credential: CredentialId,
    address: u64,
}

impl RecordWalk {
    /// What `take` makes of the record that comes next; `None` at the end, which it remembers.
    fn next<T>(
        &mut self,
        take: impl FnOnce(&CallRecord<'_>, &CallDetail<'_>) -> T,
    ) -> io::Result<Option<T>> {
        let (address, credential) = (self.address, self.credential);
        let taken = if address == NO_ADDRESS {
            None
        } else {
            let bytes = self
                .view
                .bytes(address, call_record::RECORD_BYTES_MAX as u64)?;
            let length = bytes.and_then(call_record::record_length);
            let read = length
                .and_then(|length| bytes?.get(..length))
                .and_then(call_record::parse_record);
            let read = read.filter(|read| read.credential == credential);
            read.and_then(|counted| {
                let detail = counted.detail?;
                (detail.previous_address < address).then(|| take(&counted, &detail))
            })
        };
        if taken.is_none() {
            self.address = NO_ADDRESS;
        }
        Ok(taken)
    }
}

/// The records of a credential in both streams, as one list. Each record of the overflow names the
/// newest kept one before it, so that the order is that of recording.
struct MergedWalk {
    kept: RecordWalk,
    overflow: RecordWalk,
}

impl MergedWalk {
    /// Goes on by one record, and gives it to `take`; `false` at the end.
    fn step(&mut self, take: impl FnOnce(&CallRecord<'_>, u64, bool)) -> io::Result<bool> {
        let kept = self.kept.address;
        let before = self
            .overflow
            .next(|_, detail| detail.newest_kept_address)?
            .flatten();
        // A kept record that came after the newest of the overflow comes first.
        let is_kept = before.is_none_or(|before| kept != NO_ADDRESS && kept > before);
        let walk = if is_kept {
            &mut self.kept
        } else {
            &mut self.overflow
        };
        let address = walk.address;
        let previous = walk.next(|counted, detail| {
            take(counted, address, is_kept);
            detail.previous_address
        })?;
        walk.address = previous.unwrap_or(NO_ADDRESS);
        Ok(previous.is_some() || self.overflow.address != NO_ADDRESS)
    }
}

/// The last calls of a credential, newest first.
pub(super) fn read_calls(
    shared: &Shared,
    credential: CredentialId,
    ask: &CallsQuery,
) -> Result<CallsPage, UsageError> {
    let mut page = CallsPage::default();
    let Some(key) = shared.keys.get(credential) else {
        return Ok(page);
    };
    let start = ask.before.unwrap_or_else(|| CallsCursor {
        kept_address: key.newest.load(Ordering::Acquire),
        overflow_address: key.newest_overflow.load(Ordering::Acquire),
    });
    let walk = |view, address| RecordWalk {
        view,
        credential,
        address,
    };
    let mut walks = MergedWalk {
        kept: walk(StreamView::of(&shared.stream()), start.kept_address),
        overflow: walk(StreamView::of(&shared.overflow()), start.overflow_address),
    };
    let until = shared.clock.monotonic_ms() + WITHIN_MS;
    for step in 0.. {
        let at = CallsCursor {
            kept_address: walks.kept.address,
            overflow_address: walks.overflow.address,
        };
        if at.kept_address == NO_ADDRESS && at.overflow_address == NO_ADDRESS {
            return Ok(page);
        }
        let late =
            step % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 && shared.clock.monotonic_ms() >= until;
        if page.calls.len() == ask.limit || step == STEPS_MAX || late {
            page.next = Some(at);
            return Ok(page);
        }
        let goes_on = walks.step(|counted, address, is_kept| {
            if ask.takes(counted.at, counted.outcome) {
                let opened = shared.personal.open_call_texts(counted);
                let call = counted.with_opened_texts(opened.as_deref());
                page.calls
                    .extend(call.to_stored_call(record_id(shared, counted, address, is_kept)));
            }
        })?;
        if !goes_on {
            return Ok(page);
        }
    }
    Ok(page)
}

/// A record's id: its instant, and a digest of its address that does not reveal the address.
fn record_id(shared: &Shared, counted: &CallRecord<'_>, address: u64, is_kept: bool) -> Ulid {
    let digest = shared.cursor_key.keyed_digest(&[
        b"id",
        &counted.credential.ulid().0.to_le_bytes(),
        &address.to_le_bytes(),
        &[u8::from(is_kept)],
    ]);
    let (random, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    let ms = u64::try_from(counted.at.0).unwrap_or(0);
    Ulid::from_parts(ms, u128::from_le_bytes(*random) & ULID_RANDOM)
}

impl CallsQuery {
    fn takes(&self, at: Timestamp, outcome: VerificationCode) -> bool {
        self.from.is_none_or(|from| at >= from)
            && self.to.is_none_or(|to| at < to)
            && self.outcome.is_none_or(|asked| outcome == asked)
    }
}

/// How often a credential was used, by hour or by day, oldest first.
pub(super) fn read_summary(
    shared: &Shared,
    credential: CredentialId,
    ask: &UsageSummaryQuery,
) -> Result<Vec<BucketSummary>, UsageError> {
    let mut sums = Sums {
        ask: *ask,
        buckets: BTreeMap::new(),
    };
    let Some(key) = shared.keys.get(credential) else {
        return Ok(Vec::new());
    };
    let (open, newest, beyond) = {
        let rest = key.lock_usage();
        let open = rest
            .tally
            .as_deref()
            .map(|tally| record_of(tally, credential));
        let newest = |roll_up: &AtomicU64| roll_up.load(Ordering::Acquire);
        let beyond = newest(&key.newest_roll_up_overflow);
        (open, newest(&key.newest_roll_up), beyond)
    };
    if let Some(rolled_up) = open.as_deref().and_then(hour_tally::parse_roll_up) {
        sums.add(&shared.personal, &rolled_up);
    }
    let walks = [
        (StreamView::of(&shared.roll_ups()), newest),
        (StreamView::of(&shared.roll_ups_overflow()), beyond),
    ];
    for (view, newest) in walks {
        sums.add_roll_ups(shared, credential, view, newest)?;
    }
    Ok(sums.finish())
}

fn record_of(tally: &HourTally, credential: CredentialId) -> Vec<u8> {
    let mut bytes = Vec::new();
    tally.put_roll_up(&mut bytes, credential, None);
    bytes
}

fn whole_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (length <= super::stream_blocks::BLOCK_BYTES_MAX).then_some(length)
}

/// Buckets that are being added up.
struct Sums {
    ask: UsageSummaryQuery,
    buckets: BTreeMap<Timestamp, Sum>,
}

#[derive(Default)]
struct Sum {
    outcomes: BTreeMap<VerificationCode, u64>,
    endpoints: BTreeMap<String, u64>,
    addresses: BTreeMap<String, u64>,
    detail_shed: u64,
}

impl Sums {
    /// Adds a credential's roll-ups of one stream, newest first.
    fn add_roll_ups(
        &mut self,
        shared: &Shared,
        credential: CredentialId,
        mut view: StreamView,
        newest: u64,
    ) -> io::Result<()> {
        let first_hour = hour_of(self.ask.from).saturating_sub(HOURS_LATE_MAX);
        let mut address = newest;
        for _ in 0..ROLL_UPS_MAX {
            let Some(length) = view.bytes(address, 4)?.and_then(whole_length) else {
                break;
            };
            let bytes = view.bytes(address, length as u64)?;
            let read = bytes
                .and_then(|bytes| bytes.get(..length))
                .and_then(hour_tally::parse_roll_up);
            let Some(rolled_up) = read.filter(|read| read.credential == credential) else {
                break;
            };
            self.add(&shared.personal, &rolled_up);
            if rolled_up.previous >= address || rolled_up.hour < first_hour {
                break;
            }
            address = rolled_up.previous;
        }
        Ok(())
    }

    fn add(&mut self, personal: &PersonalSealer, rolled_up: &RollUpRecord<'_>) {
        let hour = Timestamp(i64::from(rolled_up.hour) * hour_tally::HOUR_MS);
        // A bucket that the interval touches is shown whole.
        if hour.plus_ms(hour_tally::HOUR_MS) <= self.ask.from || hour >= self.ask.to {
            return;
        }
        let start = match self.ask.bucket {
            BucketSize::Hour => hour,
            BucketSize::Day => Timestamp(hour.0.div_euclid(DAY_MS) * DAY_MS),
        };
        let sum = self.buckets.entry(start).or_default();
        for (outcome, count) in rolled_up.nonzero_outcomes() {
            *sum.outcomes.entry(outcome).or_default() += u64::from(count);
        }
        sum.detail_shed += u64::from(rolled_up.shed);
        rolled_up.with_values(personal, |values| {
            let sides = [
                (&mut sum.endpoints, &values.endpoints),
                (&mut sum.addresses, &values.addresses),
            ];
            for (sums, counts) in sides {
                for (value, count) in counts {
                    *sums.entry((*value).to_owned()).or_default() += u64::from(*count);
                }
            }
        });
    }

    fn finish(self) -> Vec<BucketSummary> {
        let buckets = self.buckets.into_iter();
        let shown = |(start, sum): (Timestamp, Sum)| BucketSummary {
            start,
            calls: sum.outcomes.values().sum(),
            outcomes: sum.outcomes.into_iter().collect(),
            endpoints: most(sum.endpoints),
            addresses: most(sum.addresses),
            detail_shed: sum.detail_shed,
        };
        buckets.map(shown).collect()
    }
}

/// The values with the most calls, most first; the rest are summed up.
fn most(mut counts: BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut other = counts.remove(hour_tally::OTHER_VALUES).unwrap_or(0);
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    other += sorted
        .iter()
        .skip(VALUES_MAX)
        .map(|(_, count)| count)
        .sum::<u64>();
    sorted.truncate(VALUES_MAX);
    if other > 0 {
        sorted.push((hour_tally::OTHER_VALUES.to_owned(), other));
    }
    sorted
}
