//! Sorting recorded calls: each is counted, and goes to the calls that are kept for certain, to the
//! overflow, or stays a count.
//!
//! Owns the links from each record to its credential's one before. Nothing here touches a disk;
//! what cannot be appended afterwards is unlinked again.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use super::blocks::Block;
use super::ended::note_ended;
use super::keys::{Counting, Key, Keys};
use super::pending::{Sheds, add_shed};
use super::personal::PersonalSeal;
use super::record::{self, Counted, SEALED_LONGER, Shed, put_overflow, put_sealed};
use super::shares::Lane;
use crate::domain::time::Timestamp;

/// Records whose credentials are looked up together: their waits for memory overlap, and what was
/// found is still in the cache when it is counted.
const LOOKED_UP_TOGETHER: usize = 32;

/// Records that go to one stream.
#[derive(Debug)]
pub(super) struct Sorted {
    /// The address that the first of them is going to have.
    begin: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) count: u32,
    pub(super) span: (Timestamp, Timestamp),
    has_detail: bool,
}

impl Default for Sorted {
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

impl Sorted {
    pub(super) fn begin_at(&mut self, begin: u64) {
        self.begin = begin;
        self.bytes.clear();
        self.count = 0;
        self.span = Self::default().span;
    }

    /// Links the record that was just added, which begins at `start`, to the one before.
    fn link(&mut self, start: usize, newest: &AtomicU64, at: Timestamp) {
        let before = newest.load(Ordering::Relaxed);
        newest.store(self.begin + start as u64, Ordering::Release);
        record::set_previous(self.bytes.get_mut(start..).unwrap_or_default(), before);
        self.has_detail = true;
        self.note(at);
    }

    /// Notes that a record was added.
    pub(super) fn note(&mut self, at: Timestamp) {
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
pub(super) struct Sorting {
    pub(super) kept: Sorted,
    pub(super) overflow: Sorted,
    /// Calls that are counted alone.
    pub(super) sheds: Sheds,
}

impl Sorting {
    /// Counts records and sorts them; where nothing can be written, all are counted alone.
    pub(super) fn sort(
        &mut self,
        shared: &Shared,
        counting: &mut Counting,
        (records, can_write): (&[u8], bool),
    ) {
        let known = shared.keys.pinned();
        let (mut places, mut keys) = (Vec::new(), Vec::new());
        let mut next = 0;
        loop {
            next = places_from(records, next, &mut places);
            keys.extend(places.iter().map(|(at, _)| {
                let id = records.get(*at..).and_then(record::credential)?;
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
                let person = counted.detail.and_then(|detail| detail.person);
                let longer = if person.is_some() { SEALED_LONGER } else { 0 };
                let bytes = (record.len() + longer) as u64;
                let lane = shared
                    .keys
                    .count(key, &counted, counting, |shares, charge| {
                        if can_write && counted.detail.is_some() {
                            shares.lane(charge, &counted, bytes)
                        } else {
                            Lane::Collapsed
                        }
                    });
                note_ended(shared, &counted);
                self.add(lane, key, (&shared.personal, record, &counted));
            }
            if places.len() < LOOKED_UP_TOGETHER {
                return;
            }
        }
    }

    fn add(
        &mut self,
        lane: Lane,
        key: &Key,
        (personal, record, counted): (&PersonalSeal, &[u8], &Counted<'_>),
    ) {
        match lane {
            Lane::Kept => {
                let start = self.kept.bytes.len();
                let record = sealed(personal, record, counted);
                self.kept.bytes.extend_from_slice(&record);
                self.kept.link(start, &key.newest, counted.at);
            }
            Lane::Overflow => {
                let start = self.overflow.bytes.len();
                let kept = key.newest.load(Ordering::Relaxed);
                let record = sealed(personal, record, counted);
                put_overflow(&mut self.overflow.bytes, &record, kept);
                self.overflow.link(start, &key.newest_overflow, counted.at);
            }
            Lane::Collapsed => add_shed(
                &mut self.sheds,
                Shed {
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
fn sealed<'a>(personal: &PersonalSeal, record: &'a [u8], counted: &Counted<'_>) -> Cow<'a, [u8]> {
    let Some(detail) = &counted.detail else {
        return Cow::Borrowed(record);
    };
    let Some(person) = detail.person else {
        return Cow::Borrowed(record);
    };
    let mut to = Vec::with_capacity(record.len() + SEALED_LONGER);
    let place = counted.place(person);
    put_sealed(&mut to, (record, detail), |texts| {
        personal.seal(place, texts)
    });
    Cow::Owned(to)
}

/// Takes back the links of records that could not be appended, the newest first.
pub(super) fn unlink(keys: &Keys, records: &[u8], newest: impl Fn(&Key) -> &AtomicU64) {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(length) = records.get(at..).and_then(record::length) {
        places.push((at, length));
        at += length;
    }
    for (at, length) in places.into_iter().rev() {
        let record = records.get(at..at + length).and_then(record::read);
        if let Some(counted) = record
            && let Some(detail) = counted.detail
        {
            let key = keys.entry(counted.credential);
            newest(&key).store(detail.previous, Ordering::Release);
        }
    }
}

/// Counts again what the tail of a stream holds, which the checkpoint does not.
pub(super) fn recount(
    (keys, personal): (&Keys, &PersonalSeal),
    block: &Block<'_>,
    counting: &mut Counting,
) {
    let mut at = 0;
    while let Some(record) = block.records.get(at..)
        && let Some(length) = record::length(record)
    {
        if let Some(counted) = record.get(..length).and_then(record::read) {
            let opened = personal.open_call(&counted);
            let counted = counted.with_texts(opened.as_deref());
            let key = keys.entry(counted.credential);
            let address = block.address + at as u64;
            keys.count(&key, &counted, counting, |shares, charge| {
                match counted.detail.map(|detail| detail.kept) {
                    None => Lane::Collapsed,
                    Some(None) => {
                        shares.charge(charge, &counted, length as u64);
                        key.newest.store(address, Ordering::Release);
                        Lane::Kept
                    }
                    Some(Some(_)) => {
                        key.newest_overflow.store(address, Ordering::Release);
                        Lane::Overflow
                    }
                }
            });
        }
        at += length;
    }
}

/// Where the next records stand, from `from` on: as many as are looked up together. Gives where to
/// go on.
fn places_from(records: &[u8], from: usize, places: &mut Vec<(usize, usize)>) -> usize {
    places.clear();
    let mut at = from;
    while places.len() < LOOKED_UP_TOGETHER
        && let Some(length) = records.get(at..).and_then(record::length)
    {
        places.push((at, length));
        at += length;
    }
    at
}

/// The longest beginning of `records` that is whole records and at most `max` bytes.
pub(super) fn whole_records(records: &[u8], max: usize) -> usize {
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
