//! Reads committed events by position, beside the writer and never in its way.
//!
//! Owns the way from a position to its bytes. Must never give out an event that is not committed,
//! nor one whose payload fails its checksum or is not the one committed to.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::{FileErrorContext, FileOrDamage, LogDamage, LogReadError};
use super::frame::{
    COMMIT_FRAME_BYTES, FRAME_HEAD_BYTES, FrameHead, FrameKind, event_frame_bytes,
    expected_head_crc,
};
use super::scrub::LogScrub;
use super::segment::OpenedSegment;
use super::shared_log::{SegmentView, SharedLog, push_if_indexed};
use super::walk::{SegmentWalk, WalkStep};
use crate::merkle::Hash;

/// One read fetches so much at once: a few dozen frames of usual size.
const READ_WINDOW_BYTES: usize = 16 * 1024;

/// A scan fetches so much at once.
const SCAN_WINDOW_BYTES: usize = 1024 * 1024;

/// A reader of committed events. Clones are cheap; all of them see what is committed at once.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<SharedLog>,
}

impl LogReader {
    pub(crate) const fn new(shared: Arc<SharedLog>) -> Self {
        Self { shared }
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> [u8; 16] {
        self.shared.log_id
    }

    /// The position of the next event to come: all before it can be read.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.shared.next_position()
    }

    /// The payload of one event.
    ///
    /// The first read in a segment that start did not walk builds that segment's index: it reads
    /// and checks the segment once.
    ///
    /// # Errors
    /// [`LogReadError::NotCommitted`] when the position is not committed, else damage or a failed
    /// call.
    pub fn read_payload(&self, position: u64) -> Result<Vec<u8>, LogReadError> {
        let next = self.shared.next_position();
        if position >= next {
            return Err(LogReadError::NotCommitted { position, next });
        }
        let view = self.indexed_segment(position)?;
        let mut cursor = Cursor::start(&view, position, READ_WINDOW_BYTES)?;
        cursor.skip_to(position)?;
        Ok(cursor.event(position)?.0.to_vec())
    }

    /// Visits the events from `from` up to but not including `to`, in order.
    ///
    /// # Errors
    /// As [`LogReader::read_payload`]; what was visited before the error was whole.
    pub fn scan(
        &self,
        from: u64,
        to: u64,
        mut visit: impl FnMut(u64, &[u8]),
    ) -> Result<(), LogReadError> {
        self.scan_with_commitments(from, to, |position, payload, _| visit(position, payload))
    }

    /// The same, with the commitment that each payload has been checked against.
    ///
    /// # Errors
    /// As [`LogReader::read_payload`]; what was visited before the error was whole.
    pub fn scan_with_commitments(
        &self,
        from: u64,
        to: u64,
        mut visit: impl FnMut(u64, &[u8], &Hash),
    ) -> Result<(), LogReadError> {
        let next = self.shared.next_position();
        if to > next {
            let position = from.max(next);
            return Err(LogReadError::NotCommitted { position, next });
        }
        let mut position = from;
        while position < to {
            let view = self.indexed_segment(position)?;
            let following = self.shared.first_segment_at_or_after(position + 1);
            let end = following.map_or(to, |following| following.first.min(to));
            let mut cursor = Cursor::start(&view, position, SCAN_WINDOW_BYTES)?;
            cursor.skip_to(position)?;
            while position < end {
                let (payload, commitment) = cursor.event(position)?;
                visit(position, payload, &commitment);
                position += 1;
            }
        }
        Ok(())
    }

    /// The root of the tree after the batch whose last event is at `position`; `None` when no batch
    /// ends there.
    ///
    /// # Errors
    /// As [`LogReader::read_payload`].
    pub fn batch_root_at(&self, position: u64) -> Result<Option<Hash>, LogReadError> {
        let next = self.shared.next_position();
        if position >= next {
            return Err(LogReadError::NotCommitted { position, next });
        }
        let view = self.indexed_segment(position)?;
        let mut cursor = Cursor::start(&view, position, READ_WINDOW_BYTES)?;
        cursor.skip_to(position + 1)?;
        Ok(cursor.commit_root()?)
    }

    /// Starts a check of all full segments, which then goes on one segment a step.
    #[must_use]
    pub fn start_scrub(&self) -> LogScrub {
        LogScrub::new(Arc::clone(&self.shared))
    }

    fn indexed_segment(&self, position: u64) -> Result<Arc<SegmentView>, LogReadError> {
        let absent = LogReadError::NotCommitted {
            position,
            next: self.shared.next_position(),
        };
        let view = self.shared.segment_containing(position).ok_or(absent)?;
        if view.nearest_indexed_event(position).is_none() {
            let segment =
                OpenedSegment::open_to_read(&self.shared.disk, &self.shared.folder, view.first)?;
            view.set_offsets_if_missing(build_offsets(&segment)?);
        }
        Ok(view)
    }
}

/// Walks a full segment for the offsets of its events.
fn build_offsets(segment: &OpenedSegment) -> Result<Vec<u32>, FileOrDamage> {
    let bytes = segment.load_zero_padded()?;
    let mut walk = SegmentWalk::new(segment, &bytes);
    let mut offsets = Vec::new();
    loop {
        match walk.step() {
            WalkStep::Batch(_) => {
                for event in &walk.events {
                    let (first, offset) = (segment.header.first_position, event.offset as u64);
                    push_if_indexed(&mut offsets, first, event.position, offset);
                }
            }
            WalkStep::Sealed(..) | WalkStep::End => return Ok(offsets),
            WalkStep::Fault(fault) => {
                let offset = fault.offset as u64;
                let damage = LogDamage::new(&segment.path, offset, fault.position, fault.what);
                return Err(damage.into());
            }
        }
    }
}

/// Goes over the frames of one segment, through a window of its bytes.
struct Cursor<'a> {
    view: &'a SegmentView,
    /// The offset of the next frame and the position of the next event.
    at: u64,
    position: u64,
    /// The stored CRC of the head before `at`, once one has been seen.
    chain: Option<u32>,
    window: Vec<u8>,
    window_at: u64,
    window_bytes: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the nearest event at or before `position` whose offset is known.
    fn start(view: &'a SegmentView, position: u64, window_bytes: usize) -> Result<Self, LogDamage> {
        let (nearest, at) = view.nearest_indexed_event(position).ok_or_else(|| {
            let what = "the segment ends before this event";
            LogDamage::new(&view.path, view.segment_bytes, position, what)
        })?;
        Ok(Self {
            view,
            at,
            position: nearest,
            chain: None,
            window: Vec::new(),
            window_at: 0,
            window_bytes,
        })
    }

    /// Goes on until the next event is the one at `position`, by heads alone.
    fn skip_to(&mut self, position: u64) -> Result<(), FileOrDamage> {
        while self.position < position {
            let head = self.event_head()?;
            self.at += frame_bytes(&head);
            self.position += 1;
        }
        Ok(())
    }

    /// The next event's payload, which must be the one at `position`, and its commitment.
    fn event(&mut self, position: u64) -> Result<(&[u8], Hash), FileOrDamage> {
        let head = self.event_head()?;
        let start = self.at;
        let damage = |what| LogDamage::new(&self.view.path, start, position, what);
        let wrong_crc = damage("a payload's checksum is wrong");
        let wrong_commitment = damage("a payload that is not the one committed to");
        self.at += frame_bytes(&head);
        self.position += 1;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let payload = self.bytes(start + FRAME_HEAD_BYTES as u64, length)?;
        if crc32c::crc32c(payload) != head.payload_crc {
            return Err(wrong_crc.into());
        }
        if Hash::from(Sha256::digest(payload)) != head.commitment {
            return Err(wrong_commitment.into());
        }
        Ok((payload, head.commitment))
    }

    /// The head of the next event; commit frames before it are passed over.
    fn event_head(&mut self) -> Result<FrameHead, FileOrDamage> {
        loop {
            let at = self.at;
            let position = self.position;
            let view = self.view;
            let path = &view.path;
            let damage = |what| LogDamage::new(path, at, position, what);
            let mut bytes = [0; FRAME_HEAD_BYTES];
            bytes.copy_from_slice(self.bytes(at, FRAME_HEAD_BYTES)?);
            let expected = self.chain.map(|chain| expected_head_crc(chain, &bytes));
            let (head, crc) = FrameHead::decode(&bytes).map_err(damage)?;
            if expected.is_some_and(|expected| expected != crc) {
                return Err(damage("a head's checksum is wrong").into());
            }
            self.chain = Some(crc);
            match head.kind {
                FrameKind::Event if head.position == position => return Ok(head),
                FrameKind::Event => return Err(damage("an event with another position").into()),
                FrameKind::Commit => self.at += COMMIT_FRAME_BYTES as u64,
                FrameKind::Seal => return Err(damage("a seal where an event must stand").into()),
            }
        }
    }

    /// The root in the commit frame at this offset, if there is one.
    fn commit_root(&mut self) -> Result<Option<Hash>, FileOrDamage> {
        let (at, position) = (self.at, self.position);
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes.copy_from_slice(self.bytes(at, FRAME_HEAD_BYTES)?);
        let (head, _crc) = FrameHead::decode(&bytes)
            .map_err(|what| LogDamage::new(&self.view.path, at, position, what))?;
        Ok((head.kind == FrameKind::Commit).then_some(head.commitment))
    }

    /// Bytes of the segment, from the window or after moving it.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8], FileOrDamage> {
        let inside = offset
            .checked_sub(self.window_at)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip.saturating_add(length) <= self.window.len());
        let skip = if let Some(skip) = inside {
            skip
        } else {
            self.window.resize(self.window_bytes.max(length), 0);
            let read = self.view.file.read_full_at(offset, &mut self.window);
            let read = read.at("read", &self.view.path)?;
            self.window.truncate(read);
            self.window_at = offset;
            0
        };
        let position = self.position;
        self.window.get(skip..skip + length).ok_or_else(|| {
            let what = "the file ends before this event does";
            LogDamage::new(&self.view.path, offset, position, what).into()
        })
    }
}

fn frame_bytes(head: &FrameHead) -> u64 {
    let length = usize::try_from(head.length).unwrap_or(usize::MAX / 2);
    event_frame_bytes(length) as u64
}
