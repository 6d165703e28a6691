//! Reads committed events by position, beside the writer and never in its way.
//!
//! Owns the way from a position to its bytes. Must never give out an event that is not committed,
//! nor one whose payload fails its checksum or is not the one committed to.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::{Damage, FileIo, ReadError, Trouble};
use super::index::{SegmentView, Shared, note_offset};
use super::record::{COMMIT_FRAME_BYTES, HEAD_BYTES, Head, Kind, chain_after, event_frame_bytes};
use super::scrub::Scrub;
use super::segment::Opened;
use super::walk::{Step, Walk};
use crate::merkle::Hash;

/// One read fetches so much at once: a few dozen frames of usual size.
const READ_WINDOW_BYTES: usize = 16 * 1024;

/// A scan fetches so much at once.
const SCAN_WINDOW_BYTES: usize = 1024 * 1024;

/// A reader of committed events. Clones are cheap; all of them see what is committed at once.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
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
        self.shared.next()
    }

    /// The payload of one event.
    ///
    /// The first read in a segment that start did not walk builds that segment's index: it reads
    /// and checks the segment once.
    ///
    /// # Errors
    /// [`ReadError::Absent`] when the position is not committed, else damage or a failed call.
    pub fn read(&self, position: u64) -> Result<Vec<u8>, ReadError> {
        let next = self.shared.next();
        if position >= next {
            return Err(ReadError::Absent { position, next });
        }
        let view = self.view_of(position)?;
        let mut cursor = Cursor::start(&view, position, READ_WINDOW_BYTES)?;
        cursor.skip_to(position)?;
        Ok(cursor.event(position)?.0.to_vec())
    }

    /// Visits the events from `from` up to but not including `to`, in order.
    ///
    /// # Errors
    /// As [`Reader::read`]; what was visited before the error was whole.
    pub fn scan(
        &self,
        from: u64,
        to: u64,
        mut visit: impl FnMut(u64, &[u8]),
    ) -> Result<(), ReadError> {
        self.scan_committed(from, to, |position, payload, _| visit(position, payload))
    }

    /// The same, with the commitment that each payload has been checked against.
    ///
    /// # Errors
    /// As [`Reader::read`]; what was visited before the error was whole.
    pub fn scan_committed(
        &self,
        from: u64,
        to: u64,
        mut visit: impl FnMut(u64, &[u8], &Hash),
    ) -> Result<(), ReadError> {
        let next = self.shared.next();
        if to > next {
            let position = from.max(next);
            return Err(ReadError::Absent { position, next });
        }
        let mut position = from;
        while position < to {
            let view = self.view_of(position)?;
            let following = self.shared.segment_from(position + 1);
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
    /// As [`Reader::read`].
    pub fn root_after(&self, position: u64) -> Result<Option<Hash>, ReadError> {
        let next = self.shared.next();
        if position >= next {
            return Err(ReadError::Absent { position, next });
        }
        let view = self.view_of(position)?;
        let mut cursor = Cursor::start(&view, position, READ_WINDOW_BYTES)?;
        cursor.skip_to(position + 1)?;
        Ok(cursor.commit_root()?)
    }

    /// A check of all that stands in segments that are full, piece by piece.
    #[must_use]
    pub fn scrub(&self) -> Scrub {
        Scrub::new(Arc::clone(&self.shared))
    }

    fn view_of(&self, position: u64) -> Result<Arc<SegmentView>, ReadError> {
        let absent = ReadError::Absent {
            position,
            next: self.shared.next(),
        };
        let view = self.shared.segment_of(position).ok_or(absent)?;
        if view.nearest(position).is_none() {
            let segment = Opened::open_to_read(&self.shared.disk, &self.shared.folder, view.first)?;
            view.set_offsets(build_offsets(&segment)?);
        }
        Ok(view)
    }
}

/// Walks a full segment for the offsets of its events.
fn build_offsets(segment: &Opened) -> Result<Vec<u32>, Trouble> {
    let bytes = segment.load()?;
    let mut walk = Walk::new(segment, &bytes);
    let mut offsets = Vec::new();
    loop {
        match walk.step() {
            Step::Batch(_) => {
                for event in &walk.events {
                    let (first, offset) = (segment.header.first, event.offset as u64);
                    note_offset(&mut offsets, first, event.position, offset);
                }
            }
            Step::Sealed(..) | Step::End => return Ok(offsets),
            Step::Fault(fault) => {
                let offset = fault.offset as u64;
                let damage = Damage::new(&segment.path, offset, fault.position, fault.what);
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
    /// Stands at the nearest event before `position` whose offset is known.
    fn start(view: &'a SegmentView, position: u64, window_bytes: usize) -> Result<Self, Damage> {
        let (nearest, at) = view.nearest(position).ok_or_else(|| {
            let what = "the segment ends before this event";
            Damage::new(&view.path, view.segment_bytes, position, what)
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
    fn skip_to(&mut self, position: u64) -> Result<(), Trouble> {
        while self.position < position {
            let head = self.event_head()?;
            self.at += frame_bytes(&head);
            self.position += 1;
        }
        Ok(())
    }

    /// The next event's payload, which must be the one at `position`, and its commitment.
    fn event(&mut self, position: u64) -> Result<(&[u8], Hash), Trouble> {
        let head = self.event_head()?;
        let start = self.at;
        let damage = |what| Damage::new(&self.view.path, start, position, what);
        let wrong_crc = damage("a payload's checksum is wrong");
        let wrong_commitment = damage("a payload that is not the one committed to");
        self.at += frame_bytes(&head);
        self.position += 1;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let payload = self.bytes(start + HEAD_BYTES as u64, length)?;
        if crc32c::crc32c(payload) != head.payload_crc {
            return Err(wrong_crc.into());
        }
        if Hash::from(Sha256::digest(payload)) != head.commitment {
            return Err(wrong_commitment.into());
        }
        Ok((payload, head.commitment))
    }

    /// The head of the next event; commit frames before it are passed over.
    fn event_head(&mut self) -> Result<Head, Trouble> {
        loop {
            let at = self.at;
            let position = self.position;
            let view = self.view;
            let path = &view.path;
            let damage = |what| Damage::new(path, at, position, what);
            let mut bytes = [0; HEAD_BYTES];
            bytes.copy_from_slice(self.bytes(at, HEAD_BYTES)?);
            let expected = self.chain.map(|chain| chain_after(chain, &bytes));
            let (head, crc) = Head::decode(&bytes).map_err(damage)?;
            if expected.is_some_and(|expected| expected != crc) {
                return Err(damage("a head's checksum is wrong").into());
            }
            self.chain = Some(crc);
            match head.kind {
                Kind::Event if head.position == position => return Ok(head),
                Kind::Event => return Err(damage("an event with another position").into()),
                Kind::Commit => self.at += COMMIT_FRAME_BYTES as u64,
                Kind::Seal => return Err(damage("a seal where an event must stand").into()),
            }
        }
    }

    /// The root in the commit frame that stands here, if one does.
    fn commit_root(&mut self) -> Result<Option<Hash>, Trouble> {
        let (at, position) = (self.at, self.position);
        let mut bytes = [0; HEAD_BYTES];
        bytes.copy_from_slice(self.bytes(at, HEAD_BYTES)?);
        let (head, _crc) = Head::decode(&bytes)
            .map_err(|what| Damage::new(&self.view.path, at, position, what))?;
        Ok((head.kind == Kind::Commit).then_some(head.commitment))
    }

    /// Bytes of the segment, from the window or after moving it.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8], Trouble> {
        let inside = offset
            .checked_sub(self.window_at)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip.saturating_add(length) <= self.window.len());
        let skip = if let Some(skip) = inside {
            skip
        } else {
            self.window.resize(self.window_bytes.max(length), 0);
            let read = self.view.file.read_at(offset, &mut self.window);
            let read = read.at("read", &self.view.path)?;
            self.window.truncate(read);
            self.window_at = offset;
            0
        };
        let position = self.position;
        self.window.get(skip..skip + length).ok_or_else(|| {
            let what = "the file ends before this event does";
            Damage::new(&self.view.path, offset, position, what).into()
        })
    }
}

fn frame_bytes(head: &Head) -> u64 {
    let length = usize::try_from(head.length).unwrap_or(usize::MAX / 2);
    event_frame_bytes(length) as u64
}
