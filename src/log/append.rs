//! Appends batches to the segment in use, and goes on to the next when it is full.
//!
//! Owns the one place that writes to a named segment, always behind its last byte, into zeros.
//! Must never go on after a failed write or sync of its own: what is on disk is then unknown.

use std::sync::Arc;

use super::error::{AppendError, FileError, FileErrorContext};
use super::frame::{COMMIT_FRAME_BYTES, CommitPayload, FrameBuffer, event_frame_bytes};
use super::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, PAYLOAD_BYTES_MAX};
use super::repair::create_empty_segment;
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, batch_capacity};
use super::settings::{AppendSpace, LogSettings};
use super::shared_log::{SegmentView, SharedLog, push_if_indexed};
use super::spares::{SpareSegments, TakenSpare};
use crate::merkle::{Frontier, Hash};

/// What a committed batch has become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AppendedBatch {
    /// The position of its first event.
    pub first_position: u64,
    /// The position of its last event.
    pub last_position: u64,
    /// The size of the tree after it.
    pub tree_size: u64,
    /// The root after it: the one in its commit frame.
    pub root: Hash,
}

/// The writing end of the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    shared: Arc<SharedLog>,
    view: Arc<SegmentView>,
    spares: SpareSegments,
    settings: LogSettings,
    /// The offset behind the last batch, and the stored CRC of its last head.
    end: u64,
    chain: u32,
    frontier: Frontier,
    frames: FrameBuffer,
    /// The reserve is not known to be whole: ordinary batches wait for it.
    may_lack_reserve: bool,
    poisoned: bool,
}

/// The place in a segment at which to write on.
#[derive(Debug)]
pub(crate) struct AppendPoint {
    pub(crate) view: Arc<SegmentView>,
    pub(crate) end: u64,
    pub(crate) chain: u32,
    pub(crate) frontier: Frontier,
}

impl LogWriter {
    pub(crate) fn new(
        shared: Arc<SharedLog>,
        spares: SpareSegments,
        settings: LogSettings,
        from: AppendPoint,
    ) -> Self {
        Self {
            shared,
            view: from.view,
            spares,
            settings,
            end: from.end,
            chain: from.chain,
            frontier: from.frontier,
            frames: FrameBuffer::default(),
            may_lack_reserve: true,
            poisoned: false,
        }
    }

    pub(crate) const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    pub(crate) const fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    pub(crate) fn batch_bytes_max(&self) -> u64 {
        BATCH_BYTES_MAX.min(batch_capacity(self.settings.segment_bytes))
    }

    pub(crate) fn make_missing_spares(&self) -> Result<(), FileError> {
        self.spares
            .make_missing()
            .at("make a spare in", &self.shared.folder)
    }

    pub(crate) fn append<P: AsRef<[u8]>>(
        &mut self,
        payloads: &[P],
        lane: AppendSpace,
    ) -> Result<AppendedBatch, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned(None));
        }
        let lengths = payloads.iter().map(|payload| payload.as_ref().len());
        let batch = check_batch_limits(self.batch_bytes_max(), lengths)?;
        self.make_room(batch.bytes, lane)?;

        let first = self.frontier.size();
        let mut frontier = self.frontier.clone();
        let mut offsets = Vec::new();
        self.frames.restart_after_crc(self.chain);
        for payload in payloads {
            let position = frontier.size();
            let offset = self.end + self.frames.bytes.len() as u64;
            push_if_indexed(&mut offsets, self.view.first, position, offset);
            let commitment = self.frames.push_event(position, payload.as_ref());
            frontier.append_commitment(&commitment);
        }
        let root = frontier.root();
        self.frames.push_commit(&CommitPayload {
            log_id: self.shared.log_id,
            first,
            count: batch.count,
            batch_bytes: batch.event_bytes,
            tree_size: frontier.size(),
            root,
        });
        assert_eq!(
            self.frames.bytes.len() as u64,
            batch.bytes,
            "a batch is as long as it was said to be"
        );
        self.write_frames()?;

        self.frontier = frontier;
        let tree_size = self.frontier.size();
        self.view.extend_offsets(&offsets);
        self.shared.publish_committed(tree_size);
        Ok(AppendedBatch {
            first_position: first,
            last_position: tree_size - 1,
            tree_size,
            root,
        })
    }

    fn make_room(&mut self, bytes: u64, lane: AppendSpace) -> Result<(), AppendError> {
        if self.may_lack_reserve && lane == AppendSpace::Ordinary {
            self.spares.await_reserve().map_err(AppendError::DiskFull)?;
            self.may_lack_reserve = false;
        }
        let seal = COMMIT_FRAME_BYTES as u64;
        if self.end + bytes + seal <= self.view.segment_bytes {
            return Ok(());
        }
        let taken = self
            .spares
            .take_spare(lane)
            .map_err(AppendError::DiskFull)?;
        self.seal_and_roll(taken)
    }

    /// Seals the segment in use and goes on in a new one.
    fn seal_and_roll(&mut self, taken: TakenSpare) -> Result<(), AppendError> {
        let first = self.frontier.size();
        let root = self.frontier.root();
        self.frames.restart_after_crc(self.chain);
        self.frames.push_seal(self.shared.log_id, first, root);
        self.write_frames()?;
        let header = SegmentHeader {
            log_id: self.shared.log_id,
            first_position: first,
            segment_bytes: self.settings.segment_bytes,
            previous_chain: self.chain,
            root,
        };
        let (disk, folder) = (&self.shared.disk, &self.shared.folder);
        let made = create_empty_segment(disk, folder, &header, Some(taken.path));
        let segment = self.or_poison(made)?;
        self.view = Arc::new(SegmentView::new(&segment, Some(Vec::new())));
        self.shared.add_segment(Arc::clone(&self.view));
        self.end = SEGMENT_HEADER_BYTES as u64;
        self.chain = segment.chain;
        self.may_lack_reserve = taken.broke_reserve;
        Ok(())
    }

    /// One write, one sync.
    fn write_frames(&mut self) -> Result<(), AppendError> {
        let (file, path) = (&self.view.file, &self.view.path);
        let written = file.write_all_at(self.end, &self.frames.bytes);
        let written = written.at("write", path);
        let synced = written.and_then(|()| file.sync_data().at("sync", path));
        self.or_poison(synced)?;
        self.end += self.frames.bytes.len() as u64;
        self.chain = self.frames.chain;
        Ok(())
    }

    fn or_poison<T>(&mut self, outcome: Result<T, FileError>) -> Result<T, AppendError> {
        self.poisoned |= outcome.is_err();
        outcome.map_err(|error| AppendError::Poisoned(Some(error)))
    }
}

/// A batch within the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSize {
    pub(crate) count: u32,
    pub(crate) event_bytes: u32,
    /// Events and commit frame.
    pub(crate) bytes: u64,
}

/// Adds up a batch and holds it against the limits.
pub(crate) fn check_batch_limits(
    max: u64,
    lengths: impl IntoIterator<Item = usize>,
) -> Result<BatchSize, AppendError> {
    let mut events = 0;
    let mut bytes = 0;
    for length in lengths {
        if length > PAYLOAD_BYTES_MAX {
            return Err(AppendError::PayloadTooLong {
                bytes: length,
                max: PAYLOAD_BYTES_MAX,
            });
        }
        events += 1;
        bytes += event_frame_bytes(length) as u64;
    }
    let too_many = AppendError::TooManyEvents {
        events,
        max: BATCH_EVENTS_MAX,
    };
    if events == 0 {
        return Err(AppendError::EmptyBatch);
    }
    if events > BATCH_EVENTS_MAX {
        return Err(too_many);
    }
    let whole = bytes + COMMIT_FRAME_BYTES as u64;
    let too_long = AppendError::BatchTooLong { bytes: whole, max };
    if whole > max {
        return Err(too_long);
    }
    // The limits above keep both far below 2^32.
    let (Ok(count), Ok(event_bytes)) = (u32::try_from(events), u32::try_from(bytes)) else {
        return Err(too_long);
    };
    Ok(BatchSize {
        count,
        event_bytes,
        bytes: whole,
    })
}
