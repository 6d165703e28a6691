//! Segment files: their header, their names, and how a new one comes to be.
//!
//! Owns the header's byte layout and the names in the log's folder. Must never change a byte of
//! a segment that has been written: a segment is appended to, replaced whole by a copy of itself,
//! or left alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::{FileError, FileErrorContext, FileOrDamage, LogDamage};
use super::frame::{COMMIT_FRAME_BYTES, FieldReader, is_all_zero};
use crate::merkle::Hash;

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;

/// The first bytes of a segment.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"KEYLEDG1";

/// The format that this program writes and reads.
pub(crate) const SEGMENT_FORMAT: u32 = 1;

/// The smallest segment: it holds 12 KiB of batches after the header.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;

/// Offsets are kept in 32 bits; a quarter of what they could reach.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The header at the beginning of a segment file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: [u8; 16],
    /// The position of the first event, which is the size of the tree before it.
    pub(crate) first_position: u64,
    pub(crate) segment_bytes: u64,
    /// The stored CRC of the seal of the segment before this one.
    pub(crate) previous_chain: u32,
    pub(crate) root: Hash,
}

impl SegmentHeader {
    /// The header and its CRC, from which the chain of heads goes on.
    pub(crate) fn encode(&self) -> ([u8; SEGMENT_HEADER_BYTES], u32) {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let header_bytes: u32 = 4096;
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&header_bytes.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log_id);
        bytes[32..40].copy_from_slice(&self.first_position.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.previous_chain.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.first_position.to_le_bytes());
        bytes[64..96].copy_from_slice(&self.root);
        let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER_BYTES - 4]);
        bytes[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header and gives it with its CRC.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<(Self, u32), &'static str> {
        const SHORT: &str = "the header is cut short";
        let mut fields = FieldReader(bytes);
        if fields.read_bytes::<8>() != Some(SEGMENT_MAGIC) {
            return Err("the file does not begin as a segment does");
        }
        let (content, crc) = bytes.split_last_chunk::<4>().ok_or(SHORT)?;
        let crc = u32::from_le_bytes(*crc);
        if crc32c::crc32c(content) != crc {
            return Err("the header's checksum is wrong");
        }
        if fields.read_u32() != Some(SEGMENT_FORMAT) {
            return Err("the segment's format is not known to this program");
        }
        if fields.read_u32().map(usize::try_from) != Some(Ok(SEGMENT_HEADER_BYTES)) {
            return Err("the header is of another length");
        }
        let log_id = fields.read_bytes().ok_or(SHORT)?;
        let first = fields.read_u64().ok_or(SHORT)?;
        let segment_bytes = fields.read_u64().ok_or(SHORT)?;
        let previous_chain = fields.read_u32().ok_or(SHORT)?;
        let reserved = fields.read_u32().ok_or(SHORT)?;
        let tree_size = fields.read_u64().ok_or(SHORT)?;
        let root = fields.read_bytes().ok_or(SHORT)?;
        if reserved != 0 || !content.get(96..).is_some_and(is_all_zero) {
            return Err("the header's reserved bytes are not zero");
        }
        if tree_size != first {
            return Err("the header's tree size is not its first position");
        }
        if !is_segment_size(segment_bytes) {
            return Err("the header's segment size is out of bounds");
        }
        let header = Self {
            log_id,
            first_position: first,
            segment_bytes,
            previous_chain,
            root,
        };
        Ok((header, crc))
    }
}

/// Whether segments may be of this size.
pub(crate) const fn is_segment_size(bytes: u64) -> bool {
    bytes >= SEGMENT_BYTES_MIN && bytes <= SEGMENT_BYTES_MAX && bytes.is_multiple_of(4096)
}

/// The bytes of batches that a segment of this size holds: all but header and seal.
pub(crate) const fn batch_capacity(segment_bytes: u64) -> u64 {
    segment_bytes.saturating_sub((SEGMENT_HEADER_BYTES + COMMIT_FRAME_BYTES) as u64)
}

/// A name in the log's folder, by what the file is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LogFileName {
    /// A segment, by its first position.
    Segment(u64),
    /// A written spare, by its number.
    Spare(u64),
    /// The mark that a clean stop leaves.
    CleanMark,
    /// Something that was being made when the process ended; never yet part of the log.
    Unfinished,
    /// A torn tail that was copied aside, or a file of other origin.
    Foreign,
}

impl LogFileName {
    pub(crate) fn parse(name: &str) -> Self {
        let number = |digits: &str| {
            let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        if name == CLEAN_MARK_FILE {
            return Self::CleanMark;
        }
        match name.rsplit_once('.') {
            Some((digits, "seg")) => number(digits).map_or(Self::Foreign, Self::Segment),
            Some((digits, "spare")) => number(digits).map_or(Self::Foreign, Self::Spare),
            Some((_, "tmp" | "new")) => Self::Unfinished,
            Some(_) | None => Self::Foreign,
        }
    }
}

/// The file that a clean stop leaves behind.
pub(crate) const CLEAN_MARK_FILE: &str = "clean";

pub(crate) fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.seg"))
}

pub(crate) fn spare_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.spare"))
}

/// A segment whose header has been read and found whole.
#[derive(Clone, Debug)]
pub(crate) struct OpenedSegment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<DiskFile>,
    pub(crate) header: SegmentHeader,
    /// The header's CRC.
    pub(crate) chain: u32,
    /// The file's length, which a crash of a copying machine may have cut.
    pub(crate) length: u64,
}

impl OpenedSegment {
    pub(crate) fn open(disk: &Disk, folder: &Path, first: u64) -> Result<Self, FileOrDamage> {
        let path = segment_path(folder, first);
        let file = disk.open_to_write(&path).at("open", &path)?;
        Self::check_header_of(path, file, first)
    }

    /// The same, opened for reading only.
    pub(crate) fn open_to_read(
        disk: &Disk,
        folder: &Path,
        first: u64,
    ) -> Result<Self, FileOrDamage> {
        let path = segment_path(folder, first);
        let file = disk.open_to_read(&path).at("open", &path)?;
        Self::check_header_of(path, file, first)
    }

    fn check_header_of(path: PathBuf, file: DiskFile, first: u64) -> Result<Self, FileOrDamage> {
        let length = file.length().at("measure", &path)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        file.read_full_at(0, &mut bytes).at("read", &path)?;
        let (header, chain) =
            SegmentHeader::decode(&bytes).map_err(|what| LogDamage::new(&path, 0, first, what))?;
        if header.first_position != first {
            let what = "the header's first position is not that of the file's name";
            return Err(LogDamage::new(&path, 32, first, what).into());
        }
        if length > header.segment_bytes {
            let what = "the file is longer than its header says";
            return Err(LogDamage::new(&path, header.segment_bytes, first, what).into());
        }
        Ok(Self {
            path,
            file: Arc::new(file),
            header,
            chain,
            length,
        })
    }

    /// The whole segment; bytes that the file lacks are zeros.
    pub(crate) fn load_zero_padded(&self) -> Result<Vec<u8>, FileError> {
        let length = usize::try_from(self.header.segment_bytes);
        let mut bytes = vec![0; length.unwrap_or(SEGMENT_HEADER_BYTES)];
        self.file
            .read_full_at(0, &mut bytes)
            .at("read", &self.path)?;
        Ok(bytes)
    }
}

/// Whether a file has this length and is zero all through.
pub(crate) fn is_zero_filled(file: &DiskFile, bytes: u64) -> std::io::Result<bool> {
    if file.length()? != bytes {
        return Ok(false);
    }
    let mut piece = vec![0; super::disk::IO_CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        let read = file.read_full_at(at, &mut piece)?;
        if read == 0 || !piece.get(..read).is_some_and(is_all_zero) {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}
