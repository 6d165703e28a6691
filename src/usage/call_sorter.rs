//! Sorting recorded calls: each is counted, and goes to the calls that are kept for certain, to the
//! overflow, or stays a count.
//!
//! Owns the links from each record to its credential's one before. Nothing here touches a disk;
//! what cannot be appended afterwards is unlinked again.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use super::call_record::{
    self, CallRecord, RECORD_SEAL_BYTES, ShedCount, put_overflow_call, put_sealed_call,
};
use super::ended_secret_usage::note_if_ended_secret;
use super::pending_calls::{ShedCounts, add_shed_count};
use super::personal_sealer::PersonalSealer;
use super::retention_shares::CallPlacement;
use super::stream_blocks::StreamBlock;
use super::usage_table::{CountingState, UsageEntry, UsageTable};
use crate::domain::time::Timestamp;

/// Records whose credentials are looked up together: their waits for memory overlap, and what was
/// found is still in the cache when it is counted.
const LOOKED_UP_TOGETHER: usize = 32;

/// Records that go to one stream.
#[derive(Debug)]
pub(super) struct StreamBatch {
    /// The address that the first of them is going to have.
    begin: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) count: u32,
    pub(super) span: (Timestamp, Timestamp),
    has_detail: bool,
}

impl Default for StreamBatch {
    fn default() -> Self {
        Self {
            begin: 0,
            bytes: Vec::new(),
            count: 0,
            span: (Timestamp(i64::MAX), Timestamp(i64::MIN)),
            has_detail: false,
        }
    }
}

impl StreamBatch {
    pub(super) fn restart_at_address(&mut self, begin: u64) {
        self.begin = begin;
        self.bytes.clear();
        self.count = 0;
        self.span = Self::default().span;
    }

    /// Links the record that was just added, which begins at `start`, to the one before.
    fn link(&mut self, start: usize, newest: &AtomicU64, at: Timestamp) {
        let before = newest.load(Ordering::Relaxed);
        newest.store(self.begin + start as u64, Ordering::Release);
        call_record::set_previous_record(self.bytes.get_mut(start..).unwrap_or_default(), before);
        self.has_detail = true;
        self.note_added(at);
    }

    /// Notes that a record was added.
    pub(super) fn note_added(&mut self, at: Timestamp) {
        self.count += 1;
        self.span = (self.span.0.min(at), self.span.1.max(at));
    }

    /// Whether they are calls, and no counts.
    pub(super) fn has_detail(&self) -> bool {
        self.has_detail
    }
}

/// Where records go.
#[derive(Debug, Default)]
pub(super) struct CallSorter {
    pub(super) kept: StreamBatch,
    pub(super) overflow: StreamBatch,
    /// Calls that are counted alone.
    pub(super) sheds: ShedCounts,
}

impl CallSorter {
    /// Counts records and sorts them; where nothing can be written, all are counted alone.
    pub(super) fn count_and_sort(
        &mut self,
        shared: &Shared,
        counting: &mut CountingState,
        records: &[u8],
        can_write: bool,
    ) {
        let known = shared.keys.pin();
        let (mut places, mut keys) = (Vec::new(), Vec::new());
        let mut next = 0;
        loop {
            next = places_from(records, next, &mut places);
            keys.extend(places.iter().map(|(at, _)| {
                let id = records
                    .get(*at..)
                    .and_then(call_record::record_credential)?;
                known.get(&id)
            }));
            // Fetches what is counted next, all at once.
            for key in keys.iter().flatten() {
                black_box(key.newest.load(Ordering::Relaxed));
            }
            for ((at, length), key) in places.iter().zip(keys.drain(..)) {
                let Some(record) = records.get(*at..at + length) else {
                    continue;
                };
                let Some(counted) = call_record::parse_record(record) else {
                    continue;
                };
                let new;
                let key = if let Some(key) = key {
                    key
                } else {
                    new = shared.keys.get_or_insert(counted.credential);
                    &new
                };
                let person = counted.detail.and_then(|detail| detail.person);
                let longer = if person.is_some() {
                    RECORD_SEAL_BYTES
                } else {
                    0
                };
                let bytes = (record.len() + longer) as u64;
                let lane = shared
                    .keys
                    .count_record(key, &counted, counting, |shares, charge| {
                        if can_write && counted.detail.is_some() {
                            shares.place_and_charge(charge, &counted, bytes)
                        } else {
                            CallPlacement::Collapsed
                        }
                    });
                note_if_ended_secret(shared, &counted);
                self.add(lane, key, &shared.personal, record, &counted);
            }
            if places.len() < LOOKED_UP_TOGETHER {
                return;
            }
        }
    }

    fn add(
        &mut self,
        lane: CallPlacement,
        key: &UsageEntry,
        personal: &PersonalSealer,
        record: &[u8],
        counted: &CallRecord<'_>,
    ) {
        match lane {
            CallPlacement::Kept => {
                let start = self.kept.bytes.len();
                let record = sealed(personal, record, counted);
                self.kept.bytes.extend_from_slice(&record);
                self.kept.link(start, &key.newest, counted.at);
            }
            CallPlacement::Overflow => {
                let start = self.overflow.bytes.len();
                let kept = key.newest.load(Ordering::Relaxed);
                let record = sealed(personal, record, counted);
                put_overflow_call(&mut self.overflow.bytes, &record, kept);
                self.overflow.link(start, &key.newest_overflow, counted.at);
            }
            CallPlacement::Collapsed => add_shed_count(
                &mut self.sheds,
                ShedCount {
                    organization: counted.organization,
                    credential: counted.credential,
                    secret: counted.secret,
                    outcome: counted.outcome,
                    reported: counted.reported,
                    count: counted.calls,
                    at: counted.at,
                },
            ),
        }
    }
}

/// A record as it goes to the disk: a person's with its texts sealed.
fn sealed<'a>(
    personal: &PersonalSealer,
    record: &'a [u8],
    counted: &CallRecord<'_>,
) -> Cow<'a, [u8]> {
    let Some(detail) = &counted.detail else {
        return Cow::Borrowed(record);
    };
    let Some(person) = detail.person else {
        return Cow::Borrowed(record);
    };
    let mut to = Vec::with_capacity(record.len() + RECORD_SEAL_BYTES);
    let place = counted.seal_context(person);
    put_sealed_call(&mut to, record, detail, |texts| {
        personal.seal_text(place, texts)
    });
    Cow::Owned(to)
}

/// Takes back the links of records that could not be appended, the newest first.
pub(super) fn unlink_records(
    keys: &UsageTable,
    records: &[u8],
    newest: impl Fn(&UsageEntry) -> &AtomicU64,
) {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(length) = records.get(at..).and_then(call_record::record_length) {
        places.push((at, length));
        at += length;
    }
    for (at, length) in places.into_iter().rev() {
        let record = records
            .get(at..at + length)
            .and_then(call_record::parse_record);
        if let Some(counted) = record
            && let Some(detail) = counted.detail
        {
            let key = keys.get_or_insert(counted.credential);
            newest(&key).store(detail.previous_address, Ordering::Release);
        }
    }
}

/// Counts again what the tail of a stream holds, which the checkpoint does not.
pub(super) fn recount_block(
    keys: &UsageTable,
    personal: &PersonalSealer,
    block: &StreamBlock<'_>,
    counting: &mut CountingState,
) {
    let mut at = 0;
    while let Some(record) = block.records.get(at..)
        && let Some(length) = call_record::record_length(record)
    {
        if let Some(counted) = record.get(..length).and_then(call_record::parse_record) {
            let opened = personal.open_call_texts(&counted);
            let counted = counted.with_opened_texts(opened.as_deref());
            let key = keys.get_or_insert(counted.credential);
            let address = block.address + at as u64;
            keys.count_record(&key, &counted, counting, |shares, charge| {
                match counted.detail.map(|detail| detail.newest_kept_address) {
                    None => CallPlacement::Collapsed,
                    Some(None) => {
                        shares.charge_recounted(charge, &counted, length as u64);
                        key.newest.store(address, Ordering::Release);
                        CallPlacement::Kept
                    }
                    Some(Some(_)) => {
                        key.newest_overflow.store(address, Ordering::Release);
                        CallPlacement::Overflow
                    }
                }
            });
        }
        at += length;
    }
}

/// The offsets and lengths of the next records from `from` on: as many as are looked up together.
/// Gives where to go on.
fn places_from(records: &[u8], from: usize, places: &mut Vec<(usize, usize)>) -> usize {
    places.clear();
    let mut at = from;
    while places.len() < LOOKED_UP_TOGETHER
        && let Some(length) = records.get(at..).and_then(call_record::record_length)
    {
        places.push((at, length));
        at += length;
    }
    at
}

/// The longest beginning of `records` that is whole records and at most `max` bytes.
pub(super) fn whole_records_length(records: &[u8], max: usize) -> usize {
    let mut at = 0;
    while let Some(length) = records.get(at..).and_then(call_record::record_length) {
        if at + length > max {
            break;
        }
        at += length;
    }
    // What is no record ends the filling; nothing of ours writes such.
    if at == 0 { records.len() } else { at }
}
