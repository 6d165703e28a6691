//! Frame heads and commit payloads, to bytes and back.
//!
//! Owns the byte layout of a frame; the tables are in [the module above](super). Must never touch
//! a file, nor judge whether a frame is valid at its offset: that is for [`super::walk`].

use sha2::{Digest, Sha256};

use crate::merkle::Hash;

/// Bytes of a frame's head.
pub(crate) const FRAME_HEAD_BYTES: usize = 64;

/// Bytes of the payload of commits and seals: 8 + 16 + 8 + 4 + 4 + 8 + 32.
pub(crate) const COMMIT_PAYLOAD_BYTES: usize = 80;

/// The same as a head states it.
pub(crate) const COMMIT_PAYLOAD_LENGTH: u32 = 80;

/// Bytes of a whole commit or seal frame; [`COMMIT_PAYLOAD_BYTES`] needs no padding.
pub(crate) const COMMIT_FRAME_BYTES: usize = FRAME_HEAD_BYTES + COMMIT_PAYLOAD_BYTES;

/// The first bytes of the payload of commits and seals.
pub(crate) const COMMIT_MAGIC: [u8; 8] = *b"KLCOMMIT";

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FrameKind {
    Event,
    Commit,
    Seal,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Commit => 2,
            Self::Seal => 3,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Event),
            2 => Some(Self::Commit),
            3 => Some(Self::Seal),
            _ => None,
        }
    }
}

/// A frame's head, without its CRC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FrameHead {
    pub(crate) length: u32,
    pub(crate) kind: FrameKind,
    pub(crate) position: u64,
    pub(crate) commitment: Hash,
    pub(crate) payload_crc: u32,
}

impl FrameHead {
    /// The head and its CRC, continued from the CRC of the head before it.
    pub(crate) fn encode(&self, chain: u32) -> ([u8; FRAME_HEAD_BYTES], u32) {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[8] = self.kind.code();
        bytes[16..24].copy_from_slice(&self.position.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.commitment);
        bytes[56..60].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(chain, &bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a head and its stored CRC, which is not checked: see [`expected_head_crc`].
    pub(crate) fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Result<(Self, u32), &'static str> {
        const SHORT: &str = "a head is cut short";
        let mut fields = FieldReader(bytes);
        let length = fields.read_u32().ok_or(SHORT)?;
        let crc = fields.read_u32().ok_or(SHORT)?;
        let [kind, flags] = fields.read_bytes::<2>().ok_or(SHORT)?;
        let kind = FrameKind::of(kind).ok_or("a frame of unknown kind")?;
        if flags != 0 {
            return Err("a frame with unknown flags");
        }
        let reserved = fields.read_bytes::<6>().ok_or(SHORT)?;
        let head = Self {
            length,
            kind,
            position: fields.read_u64().ok_or(SHORT)?,
            commitment: fields.read_bytes::<32>().ok_or(SHORT)?,
            payload_crc: fields.read_u32().ok_or(SHORT)?,
        };
        if reserved != [0; 6] || fields.read_u32() != Some(0) {
            return Err("a frame whose reserved bytes are not zero");
        }
        Ok((head, crc))
    }
}

/// What the stored CRC of a head must be, given the stored CRC of the head before it.
pub(crate) fn expected_head_crc(chain: u32, head: &[u8; FRAME_HEAD_BYTES]) -> u32 {
    let mut bytes = *head;
    bytes[4..8].fill(0);
    crc32c::crc32c_append(chain, &bytes)
}

/// The payload of a commit, and with count 0 of a seal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CommitPayload {
    pub(crate) log_id: [u8; 16],
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// Bytes of the batch's event frames, padding included, without the commit frame.
    pub(crate) batch_bytes: u32,
    pub(crate) tree_size: u64,
    pub(crate) root: Hash,
}

impl CommitPayload {
    pub(crate) fn encode(&self) -> [u8; COMMIT_PAYLOAD_BYTES] {
        let mut bytes = [0; COMMIT_PAYLOAD_BYTES];
        bytes[0..8].copy_from_slice(&COMMIT_MAGIC);
        bytes[8..24].copy_from_slice(&self.log_id);
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.count.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.batch_bytes.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.tree_size.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.root);
        bytes
    }

    /// Reads the payload of a commit or seal; `None` when it is neither.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader(bytes);
        if fields.read_bytes::<8>()? != COMMIT_MAGIC {
            return None;
        }
        let commit = Self {
            log_id: fields.read_bytes()?,
            first: fields.read_u64()?,
            count: fields.read_u32()?,
            batch_bytes: fields.read_u32()?,
            tree_size: fields.read_u64()?,
            root: fields.read_bytes()?,
        };
        fields.0.is_empty().then_some(commit)
    }
}

/// The bytes that a payload takes up: padded with zeros to a multiple of 8.
pub(crate) const fn padded_length(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// The bytes of an event frame.
pub(crate) const fn event_frame_bytes(payload: usize) -> usize {
    FRAME_HEAD_BYTES + padded_length(payload)
}

/// Frames one after another, as they are written to a segment.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) chain: u32,
}

impl FrameBuffer {
    /// Begins anew behind the head whose stored CRC is `chain`.
    pub(crate) fn restart_after_crc(&mut self, chain: u32) {
        self.bytes.clear();
        self.chain = chain;
    }

    /// Adds an event and gives its commitment.
    pub(crate) fn push_event(&mut self, position: u64, payload: &[u8]) -> Hash {
        let commitment = Sha256::digest(payload).into();
        self.push(FrameKind::Event, position, commitment, payload);
        commitment
    }

    /// Adds the frame that ends a batch.
    pub(crate) fn push_commit(&mut self, commit: &CommitPayload) {
        let last = commit.tree_size.saturating_sub(1);
        self.push(FrameKind::Commit, last, commit.root, &commit.encode());
    }

    /// Adds the frame that ends a segment.
    pub(crate) fn push_seal(&mut self, log_id: [u8; 16], tree_size: u64, root: Hash) {
        let seal = CommitPayload {
            log_id,
            first: tree_size,
            count: 0,
            batch_bytes: 0,
            tree_size,
            root,
        };
        self.push(FrameKind::Seal, tree_size, root, &seal.encode());
    }

    fn push(&mut self, kind: FrameKind, position: u64, commitment: Hash, payload: &[u8]) {
        let head = FrameHead {
            // The limits were checked before: a payload is at most 65,535 bytes.
            length: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            kind,
            position,
            commitment,
            payload_crc: crc32c::crc32c(payload),
        };
        let (head, chain) = head.encode(self.chain);
        self.chain = chain;
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(padded_length(self.bytes.len()), 0);
    }
}

/// Reads little-endian fields one after another.
#[derive(Debug)]
pub(crate) struct FieldReader<'a>(pub(crate) &'a [u8]);

impl FieldReader<'_> {
    pub(crate) fn read_bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn read_u32(&mut self) -> Option<u32> {
        self.read_bytes().map(u32::from_le_bytes)
    }

    pub(crate) fn read_u64(&mut self) -> Option<u64> {
        self.read_bytes().map(u64::from_le_bytes)
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_all_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    // Slices compare by memcmp, which is what makes this fast.
    let mut pieces = bytes.chunks(ZEROS.len());
    pieces.all(|piece| ZEROS.get(..piece.len()) == Some(piece))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = FrameKind> {
        prop_oneof![
            Just(FrameKind::Event),
            Just(FrameKind::Commit),
            Just(FrameKind::Seal)
        ]
    }

    proptest! {
        #[test]
        fn heads_and_commits_come_back(
            (length, kind, position) in (any::<u32>(), kinds(), any::<u64>()),
            (commitment, payload_crc, chain) in (any::<Hash>(), any::<u32>(), any::<u32>()),
            (log_id, batch_bytes) in (any::<[u8; 16]>(), any::<u32>()),
        ) {
            let head = FrameHead { length, kind, position, commitment, payload_crc };
            let (bytes, crc) = head.encode(chain);
            prop_assert_eq!(FrameHead::decode(&bytes), Ok((head, crc)));
            prop_assert_eq!(expected_head_crc(chain, &bytes), crc);
            let commit = CommitPayload {
                log_id,
                first: position,
                count: length,
                batch_bytes,
                tree_size: position ^ 1,
                root: commitment,
            };
            prop_assert_eq!(CommitPayload::decode(&commit.encode()), Some(commit));
        }

        #[test]
        fn bytes_from_anywhere_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(head) = bytes.first_chunk() {
                let _head = FrameHead::decode(head);
            }
            let _commit = CommitPayload::decode(&bytes);
        }
    }

    #[test]
    fn unknown_kinds_flags_and_reserved_bytes_are_refused() {
        let mut frames = FrameBuffer::default();
        frames.push_event(0, b"payload");
        let head = *frames.bytes.first_chunk::<FRAME_HEAD_BYTES>().unwrap();
        assert!(FrameHead::decode(&head).is_ok());
        for (at, value) in [(8, 0), (8, 4), (9, 1), (10, 1), (15, 1), (60, 1), (63, 1)] {
            let mut changed = head;
            changed[at] = value;
            assert!(FrameHead::decode(&changed).is_err(), "{value} at {at}");
        }
        assert!(is_all_zero(&[]));
        assert!(is_all_zero(&[0; 5000]));
        assert!(!is_all_zero(&[vec![0; 4999], vec![1]].concat()));
    }
}
