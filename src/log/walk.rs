//! Walks over the frames of one segment, batch by batch, checking every byte.
//!
//! Owns the question "is this what was written?": chain of heads, payload checksums, commitments,
//! padding, positions, commit frames. Must never change anything nor decide what follows from a
//! fault: [`super::recovery`] does that. Start, scrub and index building all walk here.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::disk::SECTOR_BYTES;
use super::frame::{
    COMMIT_FRAME_BYTES, COMMIT_MAGIC, COMMIT_PAYLOAD_BYTES, COMMIT_PAYLOAD_LENGTH, CommitPayload,
    FRAME_HEAD_BYTES, FrameHead, FrameKind, expected_head_crc, is_all_zero, padded_length,
};
use super::limits::PAYLOAD_BYTES_MAX;
use super::segment::{OpenedSegment, SEGMENT_HEADER_BYTES};
use crate::merkle::Hash;

/// A walk over a segment's bytes, positioned after the last whole batch.
#[derive(Debug)]
pub(crate) struct SegmentWalk<'a> {
    bytes: &'a [u8],
    log_id: [u8; 16],
    /// The offset behind the last whole batch.
    pub(crate) offset: usize,
    /// The stored CRC of the last head before `at`.
    pub(crate) chain: u32,
    /// The position of the next event.
    pub(crate) position: u64,
    /// The events of the last batch.
    pub(crate) events: Vec<WalkedEvent>,
}

/// A boundary after whole batches, from which a walk can resume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchBoundary {
    /// Its offset.
    pub(crate) offset: usize,
    /// The stored CRC of the last head before it.
    pub(crate) chain: u32,
    /// The position of the next event.
    pub(crate) position: u64,
}

/// The position and offsets of an event of a batch.
#[derive(Clone, Debug)]
pub(crate) struct WalkedEvent {
    pub(crate) position: u64,
    /// The offset of its head.
    pub(crate) offset: usize,
    pub(crate) payload: Range<usize>,
    pub(crate) commitment: Hash,
}

/// What a walk comes upon next.
#[derive(Debug)]
pub(crate) enum WalkStep {
    /// A whole batch, ended by this commit; its events are in [`SegmentWalk::events`].
    Batch(CommitPayload),
    /// The segment's end: its seal with its head's stored CRC, and zeros behind it.
    Sealed(CommitPayload, u32),
    /// Zeros from here to the end of the segment.
    End,
    /// Something that is not a whole batch.
    Fault(FrameFault),
}

/// Something that is not a whole batch.
#[derive(Clone, Debug)]
pub(crate) struct FrameFault {
    /// The offset of the frame that is not whole.
    pub(crate) offset: usize,
    /// The position that the frame has, or would have.
    pub(crate) position: u64,
    pub(crate) what: &'static str,
    /// The bytes whose check failed. Empty when bytes that pass their checks contradict others:
    /// no torn write does that.
    pub(crate) failed_bytes: Range<usize>,
}

impl<'a> SegmentWalk<'a> {
    /// A walk from the first frame of a loaded segment.
    pub(crate) const fn new(segment: &OpenedSegment, bytes: &'a [u8]) -> Self {
        let from = BatchBoundary {
            offset: SEGMENT_HEADER_BYTES,
            chain: segment.chain,
            position: segment.header.first_position,
        };
        Self::resume(segment.header.log_id, bytes, from)
    }

    /// A walk that goes on behind whole batches, over the same bytes or what they have become.
    pub(crate) const fn resume(log_id: [u8; 16], bytes: &'a [u8], from: BatchBoundary) -> Self {
        Self {
            bytes,
            log_id,
            offset: from.offset,
            chain: from.chain,
            position: from.position,
            events: Vec::new(),
        }
    }

    /// Where the walk has got to.
    pub(crate) const fn boundary(&self) -> BatchBoundary {
        BatchBoundary {
            offset: self.offset,
            chain: self.chain,
            position: self.position,
        }
    }

    /// The payload of one of [`SegmentWalk::events`].
    pub(crate) fn payload(&self, event: &WalkedEvent) -> &'a [u8] {
        self.bytes.get(event.payload.clone()).unwrap_or_default()
    }

    /// Goes on by one batch. After anything but a batch, it stays where it is.
    pub(crate) fn step(&mut self) -> WalkStep {
        self.events.clear();
        let mut at = self.offset;
        let mut chain = self.chain;
        let mut position = self.position;
        loop {
            let frame = match self.frame(at, chain, position) {
                Ok(Some(frame)) => frame,
                Ok(None) if self.events.is_empty() => return WalkStep::End,
                Ok(None) => {
                    let failed = at..at + FRAME_HEAD_BYTES;
                    let what = "the batch has no commit frame";
                    return fault(at, position, what, failed);
                }
                Err(fault) => return WalkStep::Fault(fault),
            };
            match frame.head.kind {
                FrameKind::Event => {
                    self.events.push(WalkedEvent {
                        position,
                        offset: at,
                        payload: frame.payload,
                        commitment: frame.head.commitment,
                    });
                    position += 1;
                }
                FrameKind::Commit | FrameKind::Seal => {
                    let commit = match self.closing(&frame, at, position) {
                        Ok(commit) => commit,
                        Err(what) => return fault(at, position, what, 0..0),
                    };
                    if frame.head.kind == FrameKind::Seal {
                        return self.sealed(commit, &frame);
                    }
                    self.offset = frame.end;
                    self.chain = frame.crc;
                    self.position = position;
                    return WalkStep::Batch(commit);
                }
            }
            at = frame.end;
            chain = frame.crc;
        }
    }

    fn sealed(&self, seal: CommitPayload, frame: &Frame) -> WalkStep {
        let rest = self.bytes.get(frame.end..).unwrap_or_default();
        if is_all_zero(rest) {
            WalkStep::Sealed(seal, frame.crc)
        } else {
            fault(
                frame.end,
                seal.first,
                "there are bytes behind the seal",
                0..0,
            )
        }
    }

    /// The frame at an offset, or `None` when only zeros follow.
    fn frame(&self, at: usize, chain: u32, position: u64) -> Result<Option<Frame>, FrameFault> {
        let whole = at..at + FRAME_HEAD_BYTES;
        let refuse = |what, failed| FrameFault {
            offset: at,
            position,
            what,
            failed_bytes: failed,
        };
        let rest = self.bytes.get(at..).unwrap_or_default();
        let Some((head, _)) = rest.split_first_chunk::<FRAME_HEAD_BYTES>() else {
            return match is_all_zero(rest) {
                true => Ok(None),
                false => Err(refuse("bytes where no head fits", 0..0)),
            };
        };
        if is_all_zero(head) {
            return match is_all_zero(rest) {
                true => Ok(None),
                false => Err(refuse("a head is missing before other bytes", whole)),
            };
        }
        let decoded = FrameHead::decode(head);
        let expected = expected_head_crc(chain, head);
        let (head, crc) = match decoded {
            Ok((head, crc)) if crc == expected => (head, crc),
            Ok(_) => return Err(refuse("a head's checksum is wrong", whole)),
            Err(what) => {
                // With the right checksum it was written like this, and no tear made it so.
                let stored = head.get(4..8) == Some(expected.to_le_bytes().as_slice());
                return Err(refuse(what, if stored { 0..0 } else { whole }));
            }
        };
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if length > PAYLOAD_BYTES_MAX {
            return Err(refuse("a payload over the limit", 0..0));
        }
        let start = at + FRAME_HEAD_BYTES;
        let end = start + padded_length(length);
        let Some(body) = self.bytes.get(start..end) else {
            return Err(refuse("a frame reaches over the segment's end", 0..0));
        };
        let (payload, padding) = body.split_at(length);
        if crc32c::crc32c(payload) != head.payload_crc {
            return Err(refuse("a payload's checksum is wrong", start..end));
        }
        if !is_all_zero(padding) {
            return Err(refuse("padding that is not zero", 0..0));
        }
        if head.kind == FrameKind::Event {
            if head.position != position {
                return Err(refuse("an event with another position", 0..0));
            }
            if head.commitment != Hash::from(Sha256::digest(payload)) {
                return Err(refuse("a payload that is not the one committed to", 0..0));
            }
        }
        Ok(Some(Frame {
            head,
            crc,
            payload: start..start + length,
            end,
        }))
    }

    /// Checks a commit or seal against the batch that it ends.
    fn closing(
        &self,
        frame: &Frame,
        at: usize,
        position: u64,
    ) -> Result<CommitPayload, &'static str> {
        let payload = self.bytes.get(frame.payload.clone()).unwrap_or_default();
        let commit = CommitPayload::decode(payload).ok_or("a commit frame without its content")?;
        if commit.log_id != self.log_id {
            return Err("a commit frame of another log");
        }
        if commit.root != frame.head.commitment || commit.tree_size != position {
            return Err("a commit frame that contradicts its head or position");
        }
        let batch_bytes = usize::try_from(commit.batch_bytes);
        let agrees = match frame.head.kind {
            FrameKind::Commit => {
                frame.head.position.checked_add(1) == Some(position)
                    && commit.first == self.position
                    && commit.count > 0
                    && usize::try_from(commit.count) == Ok(self.events.len())
                    && batch_bytes == Ok(at - self.offset)
            }
            FrameKind::Seal => {
                frame.head.position == position
                    && commit.first == position
                    && commit.count == 0
                    && self.events.is_empty()
                    && batch_bytes == Ok(0)
            }
            FrameKind::Event => false,
        };
        agrees
            .then_some(commit)
            .ok_or("a commit frame that contradicts its batch")
    }
}

#[derive(Debug)]
struct Frame {
    head: FrameHead,
    crc: u32,
    payload: Range<usize>,
    end: usize,
}

const fn fault(offset: usize, position: u64, what: &'static str, failed: Range<usize>) -> WalkStep {
    WalkStep::Fault(FrameFault {
        offset,
        position,
        what,
        failed_bytes: failed,
    })
}

/// Whether a fault at the end of the last segment is what a write leaves that a crash cut short.
///
/// `tail` is the offset behind the last whole batch, `length` the file's length; `bytes` are the
/// segment's, with zeros for those that the file lacks. A disk writes a sector whole or not at
/// all, and all was zero before the write, so a tear leaves one of these:
///
/// * of the bytes whose check failed, a sector is zero from its beginning (or from the tail's) to
///   its end, or the file ends before them: the hole;
/// * the frames before are whole, and from the next head on there is nothing but zeros.
pub(crate) fn is_torn_write(bytes: &[u8], length: usize, tail: usize, fault: &FrameFault) -> bool {
    let from_here = bytes.get(fault.offset..).unwrap_or_default();
    if is_all_zero(from_here) && fault.offset > tail {
        return true;
    }
    if fault.failed_bytes.is_empty() {
        return false;
    }
    if length < fault.failed_bytes.end {
        return true;
    }
    let first = fault.failed_bytes.start / SECTOR_BYTES;
    let last = (fault.failed_bytes.end - 1) / SECTOR_BYTES;
    (first..=last).any(|sector| {
        let start = (sector * SECTOR_BYTES).max(tail);
        let end = ((sector + 1) * SECTOR_BYTES).min(bytes.len());
        bytes.get(start..end).is_some_and(is_all_zero)
    })
}

/// The offset of a commit frame of a later batch than the one that begins at `tail`, if any.
///
/// A batch is written only after the one before it was synced, so such a frame proves that what
/// is not whole at the tail once was. The magic and the log's id are taken as proof even where
/// the rest of the commit is torn: to refuse wrongly is better than to cut wrongly.
pub(crate) fn later_commit_offset(walk: &SegmentWalk<'_>) -> Option<usize> {
    let bytes = walk.bytes.get(walk.offset..)?;
    let mut offset = FRAME_HEAD_BYTES;
    while let Some(rest) = bytes
        .get(offset..)
        .filter(|rest| rest.len() >= COMMIT_PAYLOAD_BYTES)
    {
        if rest.starts_with(&COMMIT_MAGIC) {
            let commit = rest
                .get(..COMMIT_PAYLOAD_BYTES)
                .and_then(CommitPayload::decode);
            let later = |c: &CommitPayload| c.log_id == walk.log_id && c.first > walk.position;
            if commit.as_ref().is_some_and(later) {
                return Some(walk.offset + offset - FRAME_HEAD_BYTES);
            }
        }
        offset += 8;
    }
    None
}

/// Finds the seal at the end of a segment without walking it: the last bytes that are not zero.
///
/// A root may end in zeros, so a few places are tried. Gives the seal and its head's stored CRC.
pub(crate) fn seal_at_end(bytes: &[u8]) -> Option<(CommitPayload, u32)> {
    let last = bytes.iter().rposition(|byte| *byte != 0)?;
    let nearest = padded_length(last + 1);
    for end in (nearest..=nearest + 32).step_by(8) {
        let start = end.checked_sub(COMMIT_FRAME_BYTES)?;
        let Some((head, rest)) = bytes.get(start..).and_then(<[u8]>::split_first_chunk) else {
            continue;
        };
        let payload = rest.get(..COMMIT_PAYLOAD_BYTES).unwrap_or_default();
        let (Ok((head, crc)), Some(seal)) =
            (FrameHead::decode(head), CommitPayload::decode(payload))
        else {
            continue;
        };
        // Every field of the head follows from the payload, so all of it is checked, though its
        // CRC cannot be: that needs the head before.
        let of_seal = FrameHead {
            length: COMMIT_PAYLOAD_LENGTH,
            kind: FrameKind::Seal,
            position: seal.first,
            commitment: seal.root,
            payload_crc: crc32c::crc32c(payload),
        };
        if head == of_seal {
            return Some((seal, crc));
        }
    }
    None
}
