//! What the writer and the readers share: the segments, the offsets of events, and how far
//! the log is committed.
//!
//! Owns the sparse index: the offset of every 16th event of a segment, 4 bytes each, so 2.5 MB at
//! ten million events. Must never show a position before its batch is synced: the writer changes
//! the entries first and the committed position last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::disk::{Disk, DiskFile};
use super::segment::OpenedSegment;

/// An offset is kept for one event in so many.
pub(crate) const EVENTS_PER_INDEX_ENTRY: u64 = 16;

/// The log as its readers see it.
#[derive(Debug)]
pub(crate) struct SharedLog {
    pub(crate) disk: Disk,
    pub(crate) log_id: [u8; 16],
    pub(crate) folder: PathBuf,
    segments: RwLock<BTreeMap<u64, Arc<SegmentView>>>,
    next: AtomicU64,
}

/// One segment as readers see it.
#[derive(Debug)]
pub(crate) struct SegmentView {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<DiskFile>,
    pub(crate) first: u64,
    pub(crate) segment_bytes: u64,
    offsets: RwLock<Option<Vec<u32>>>,
}

impl SharedLog {
    pub(crate) fn new(disk: Disk, folder: PathBuf, log_id: [u8; 16]) -> Self {
        Self {
            disk,
            log_id,
            folder,
            segments: RwLock::new(BTreeMap::new()),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next_position(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Lets readers see all positions before `next`.
    pub(crate) fn publish_committed(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }

    pub(crate) fn add_segment(&self, view: Arc<SegmentView>) {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        segments.insert(view.first, view);
    }

    /// The segment that contains a position, or would.
    pub(crate) fn segment_containing(&self, position: u64) -> Option<Arc<SegmentView>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let (_, view) = segments.range(..=position).next_back()?;
        Some(Arc::clone(view))
    }

    /// The first segment at or behind a position.
    pub(crate) fn first_segment_at_or_after(&self, position: u64) -> Option<Arc<SegmentView>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let (_, view) = segments.range(position..).next()?;
        Some(Arc::clone(view))
    }
}

impl SegmentView {
    pub(crate) fn new(segment: &OpenedSegment, offsets: Option<Vec<u32>>) -> Self {
        Self {
            path: segment.path.clone(),
            file: Arc::clone(&segment.file),
            first: segment.header.first_position,
            segment_bytes: segment.header.segment_bytes,
            offsets: RwLock::new(offsets),
        }
    }

    /// The nearest event at or before `position` whose offset is known: its position and offset.
    /// `None` when the segment has no index yet.
    pub(crate) fn nearest_indexed_event(&self, position: u64) -> Option<(u64, u64)> {
        let offsets = self.offsets.read().unwrap_or_else(PoisonError::into_inner);
        let slot = position.checked_sub(self.first)? / EVENTS_PER_INDEX_ENTRY;
        let offset = offsets.as_ref()?.get(usize::try_from(slot).ok()?)?;
        Some((
            self.first + slot * EVENTS_PER_INDEX_ENTRY,
            u64::from(*offset),
        ))
    }

    /// Gives a segment its index, if it has none.
    pub(crate) fn set_offsets_if_missing(&self, built: Vec<u32>) {
        let mut offsets = self.offsets.write().unwrap_or_else(PoisonError::into_inner);
        offsets.get_or_insert(built);
    }

    /// Adds the events of a new batch.
    pub(crate) fn extend_offsets(&self, added: &[u32]) {
        let mut offsets = self.offsets.write().unwrap_or_else(PoisonError::into_inner);
        offsets.get_or_insert_default().extend_from_slice(added);
    }
}

/// Adds the event's offset to an index in the making, if it is one of those kept.
pub(crate) fn push_if_indexed(offsets: &mut Vec<u32>, first: u64, position: u64, offset: u64) {
    if (position - first).is_multiple_of(EVENTS_PER_INDEX_ENTRY) {
        // Segments are at most SEGMENT_BYTES_MAX long.
        offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
    }
}
