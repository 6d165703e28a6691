//! Appends batches to the segment in use, and goes on to the next when it is full.
//!
//! Owns the one place that writes to a named segment, always behind its last byte, into zeros.
//! Must never go on after a failed write or sync of its own: what is on disk is then unknown.

use std::sync::Arc;

use super::error::{AppendError, FileError, FileIo};
use super::index::{SegmentView, Shared, note_offset};
use super::mend::make_segment;
use super::record::{COMMIT_FRAME_BYTES, Commit, Frames, event_frame_bytes};
use super::segment::{HEADER_BYTES, Header, capacity};
use super::spares::{Spares, Taken};
use super::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Lane, LogSettings, PAYLOAD_BYTES_MAX};
use crate::merkle::{Frontier, Hash};

/// What a committed batch has become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// The position of its first event.
    pub first: u64,
    /// The position of its last event.
    pub last: u64,
    /// The size of the tree after it.
    pub tree_size: u64,
    /// The root after it: the one in its commit frame.
    pub root: Hash,
}

/// The writing end of the log.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    view: Arc<SegmentView>,
    spares: Spares,
    settings: LogSettings,
    /// The offset behind the last batch, and the stored CRC of its last head.
    end: u64,
    chain: u32,
    frontier: Frontier,
    frames: Frames,
    /// The reserve is not known to be whole: ordinary batches wait for it.
    in_reserve: bool,
    poisoned: bool,
}

/// The place in a segment at which to write on.
#[derive(Debug)]
pub(crate) struct WriteFrom {
    pub(crate) view: Arc<SegmentView>,
    pub(crate) end: u64,
    pub(crate) chain: u32,
    pub(crate) frontier: Frontier,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        spares: Spares,
        settings: LogSettings,
        from: WriteFrom,
    ) -> Self {
        Self {
            shared,
            view: from.view,
            spares,
            settings,
            end: from.end,
            chain: from.chain,
            frontier: from.frontier,
            frames: Frames::default(),
            in_reserve: true,
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
        BATCH_BYTES_MAX.min(capacity(self.settings.segment_bytes))
    }

    pub(crate) fn prepare_spares(&self) -> Result<(), FileError> {
        self.spares
            .fill()
            .at("make a spare in", &self.shared.folder)
    }

    pub(crate) fn append<P: AsRef<[u8]>>(
        &mut self,
        payloads: &[P],
        lane: Lane,
    ) -> Result<Appended, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned(None));
        }
        let lengths = payloads.iter().map(|payload| payload.as_ref().len());
        let batch = check_batch(self.batch_bytes_max(), lengths)?;
        self.make_room(batch.bytes, lane)?;

        let first = self.frontier.size();
        let mut frontier = self.frontier.clone();
        let mut offsets = Vec::new();
        self.frames.restart(self.chain);
        for payload in payloads {
            let position = frontier.size();
            let offset = self.end + self.frames.bytes.len() as u64;
            note_offset(&mut offsets, self.view.first, position, offset);
            let commitment = self.frames.push_event(position, payload.as_ref());
            frontier.append(&commitment);
        }
        let root = frontier.root();
        self.frames.push_commit(&Commit {
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
        self.view.extend(&offsets);
        self.shared.publish(tree_size);
        Ok(Appended {
            first,
            last: tree_size - 1,
            tree_size,
            root,
        })
    }

    fn make_room(&mut self, bytes: u64, lane: Lane) -> Result<(), AppendError> {
        if self.in_reserve && lane == Lane::Ordinary {
            self.spares.await_reserve().map_err(AppendError::Full)?;
            self.in_reserve = false;
        }
        let seal = COMMIT_FRAME_BYTES as u64;
        if self.end + bytes + seal <= self.view.segment_bytes {
            return Ok(());
        }
        let taken = self.spares.take(lane).map_err(AppendError::Full)?;
        self.roll(taken)
    }

    /// Seals the segment in use and goes on in a new one.
    fn roll(&mut self, taken: Taken) -> Result<(), AppendError> {
        let first = self.frontier.size();
        let root = self.frontier.root();
        self.frames.restart(self.chain);
        self.frames.push_seal(self.shared.log_id, first, root);
        self.write_frames()?;
        let header = Header {
            log_id: self.shared.log_id,
            first,
            segment_bytes: self.settings.segment_bytes,
            previous_chain: self.chain,
            root,
        };
        let (disk, folder) = (&self.shared.disk, &self.shared.folder);
        let made = make_segment(disk, folder, &header, Some(taken.path));
        let segment = self.or_poison(made)?;
        self.view = Arc::new(SegmentView::new(&segment, Some(Vec::new())));
        self.shared.add(Arc::clone(&self.view));
        self.end = HEADER_BYTES as u64;
        self.chain = segment.chain;
        self.in_reserve = taken.broke_reserve;
        Ok(())
    }

    /// One write, one sync.
    fn write_frames(&mut self) -> Result<(), AppendError> {
        let (file, path) = (&self.view.file, &self.view.path);
        let written = file.write_all_at(self.end, &self.frames.bytes);
        let written = written.at("write", path);
        let synced = written.and_then(|()| file.sync().at("sync", path));
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
pub(crate) fn check_batch(
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
        return Err(AppendError::Empty);
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
