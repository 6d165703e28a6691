//! Blocks of a stream: their form, and finding them in a segment that may be damaged.
//!
//! A block is a head of 48 bytes, `magic u32 | bytes u32 | records u32 | crc32c u32 of the
//! records | earliest instant i64 | latest i64 | address u64 | reserved u32 | crc32c u32` of the
//! head before it; then the records. Must never write. All integers are little-endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::call_record::ByteReader;
use super::usage_stream::{StreamSegment, joined_span};
use crate::domain::time::Timestamp;

/// Bytes of a block's head.
pub(super) const BLOCK_HEAD_BYTES: usize = 48;
const BLOCK_MAGIC: u32 = 0x4b55_4c42;
/// Bytes that are searched at once for the next whole block behind a damaged one.
const SEARCH_WINDOW_BYTES: u64 = 1 << 20;
/// The longest block: far more than one flush makes.
pub(super) const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One block as it is read back.
pub(super) struct StreamBlock<'a> {
    /// The address of its first record.
    pub(super) address: u64,
    pub(super) records: &'a [u8],
    pub(super) latest: Timestamp,
}

/// The records of a block to be appended, with what its head says.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockRecords<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) count: u32,
    pub(super) span: (Timestamp, Timestamp),
}

/// The head of a block that begins at an address.
pub(super) fn encode_block_head(records: &BlockRecords<'_>, address: u64) -> Vec<u8> {
    let (earliest, latest) = records.span;
    let bytes = u32::try_from(records.bytes.len()).unwrap_or(u32::MAX);
    let mut head = BLOCK_MAGIC.to_le_bytes().to_vec();
    head.extend_from_slice(&bytes.to_le_bytes());
    head.extend_from_slice(&records.count.to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(records.bytes).to_le_bytes());
    head.extend_from_slice(&earliest.0.to_le_bytes());
    head.extend_from_slice(&latest.0.to_le_bytes());
    head.extend_from_slice(&address.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    head
}

/// A block's head that is whole and at the address that it states.
struct Head {
    bytes: usize,
    count: u32,
    crc: u32,
    span: (Timestamp, Timestamp),
}

fn decode_block_head(head: &[u8; BLOCK_HEAD_BYTES], address: u64) -> Option<Head> {
    let (covered, crc) = head.split_last_chunk::<4>()?;
    let mut from = ByteReader(covered);
    let magic = from.read_u32()?;
    let bytes = usize::try_from(from.read_u32()?).ok()?;
    let (count, records_crc) = (from.read_u32()?, from.read_u32()?);
    let span = (from.read_instant()?, from.read_instant()?);
    let ours = magic == BLOCK_MAGIC
        && from.read_u64()? == address
        && bytes <= BLOCK_BYTES_MAX
        && crc32c::crc32c(covered) == u32::from_le_bytes(*crc);
    ours.then_some(Head {
        bytes,
        count,
        crc: records_crc,
        span,
    })
}

/// Reads the blocks of a segment, up to the last that is whole, and counts the damaged stretches
/// between them, which are passed over.
pub(super) fn scan_blocks(
    file: &File,
    segment: &mut StreamSegment,
    mut block: impl FnMut(&StreamBlock<'_>),
) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let (mut damaged, mut records) = (0, Vec::new());
    let mut offset = segment.end - segment.first;
    while let Some(begin) = next_block(file, segment.first, offset, length)? {
        damaged += u64::from(begin > offset);
        let mut head = [0; BLOCK_HEAD_BYTES];
        file.read_exact_at(&mut head, begin)?;
        let Some(head) = decode_block_head(&head, segment.first + begin) else {
            break;
        };
        let first_record = begin + BLOCK_HEAD_BYTES as u64;
        offset = first_record + head.bytes as u64;
        records.resize(head.bytes, 0);
        file.read_exact_at(&mut records, first_record)?;
        if crc32c::crc32c(&records) == head.crc {
            block(&StreamBlock {
                address: segment.first + first_record,
                records: &records,
                latest: head.span.1,
            });
            segment.records += u64::from(head.count);
            segment.span = joined_span(segment.span, head.span);
        } else if offset == length {
            // The last block, torn within its records.
            break;
        } else {
            damaged += 1;
        }
        segment.end = segment.first + offset;
    }
    Ok(damaged)
}

/// Where the next block begins whose head is whole and whose records are there, from an offset on:
/// at the offset itself, unless that is damaged or the torn end.
fn next_block(file: &File, first: u64, from: u64, length: u64) -> io::Result<Option<u64>> {
    let fits = |bytes: &[u8], at: u64| {
        let head = bytes.first_chunk::<BLOCK_HEAD_BYTES>();
        let head = head.and_then(|head| decode_block_head(head, first + at));
        head.is_some_and(|head| at + (BLOCK_HEAD_BYTES + head.bytes) as u64 <= length)
    };
    let mut window = vec![0; BLOCK_HEAD_BYTES];
    if from + BLOCK_HEAD_BYTES as u64 > length {
        return Ok(None);
    }
    file.read_exact_at(&mut window, from)?;
    if fits(&window, from) {
        return Ok(Some(from));
    }
    let mut at = from;
    while at + (BLOCK_HEAD_BYTES as u64) <= length {
        let bytes = (length - at).min(SEARCH_WINDOW_BYTES);
        window.resize(usize::try_from(bytes).unwrap_or(BLOCK_HEAD_BYTES), 0);
        file.read_exact_at(&mut window, at)?;
        let magic = BLOCK_MAGIC.to_le_bytes();
        let found = (0..=window.len() - BLOCK_HEAD_BYTES).find(|index| {
            let rest = window.get(*index..).unwrap_or_default();
            rest.starts_with(&magic) && fits(rest, at + *index as u64)
        });
        if let Some(index) = found {
            return Ok(Some(at + index as u64));
        }
        // A head may begin in one window and end in the next.
        at += bytes - (BLOCK_HEAD_BYTES as u64 - 1);
    }
    Ok(None)
}
