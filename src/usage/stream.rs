//! One stream of blocks in segment files: appended to at its end, read anywhere, shortened at its
//! beginning.
//!
//! Owns the files of one folder, and the addresses: an address is a byte's place in the whole
//! stream, and a segment's name is the address of its first byte, 20 digits. Must never rewrite
//! what stands in a sealed segment. All integers are little-endian.
//!
//! Segment header, 64 bytes: `magic 8 | format u32 | reserved u32 | log id 16 | first address u64 |
//! zeros 20 | crc32c u32` of the bytes before it. Block: a head of 48 bytes, `magic u32 | bytes u32
//! | records u32 | crc32c u32 of the records | earliest instant i64 | latest i64 | address u64 |
//! reserved u32 | crc32c u32` of the head before it; then the records. Whatever follows the last
//! whole block of the last segment is a torn tail and is cut.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::Bytes;
use crate::domain::time::Timestamp;

/// Bytes of a segment's header.
pub(super) const HEADER: u64 = 64;
/// Bytes of a block's head.
pub(super) const HEAD: usize = 48;
const MAGIC: [u8; 8] = *b"KLUSAGE\0";
const FORMAT: u32 = 1;
const BLOCK_MAGIC: u32 = 0x4b55_4c42;
/// The longest block: far more than one flush makes.
pub(super) const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is known of one segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Segment {
    /// Its first address.
    pub(super) first: u64,
    /// The address after its last byte.
    pub(super) end: u64,
    pub(super) records: u64,
    /// The earliest and the latest instant; `None` of an empty one.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    /// SHA-256 of the file, once it is sealed.
    pub(super) digest: Option<[u8; 32]>,
}

/// One block as it is read back.
pub(super) struct Block<'a> {
    /// The address of its first record.
    pub(super) address: u64,
    pub(super) records: &'a [u8],
    pub(super) latest: Timestamp,
}

/// The records of a block to be appended, with what its head says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) count: u32,
    pub(super) span: (Timestamp, Timestamp),
}

/// The stream's files.
#[derive(Debug)]
pub(super) struct Stream {
    folder: PathBuf,
    log_id: [u8; 16],
    segment_bytes: u64,
    /// Oldest first; the last one is being written.
    segments: Vec<Segment>,
    file: Arc<File>,
    /// Whether the disk refuses to be written to, for tests.
    #[cfg(test)]
    pub(super) broken: bool,
}

/// What opening found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Bytes of a torn tail that were cut.
    pub(super) torn: u64,
    /// Blocks that are damaged and were left out.
    pub(super) damaged: u64,
}

impl Stream {
    /// Opens the stream in a folder. Segments that `known` tells of and that end before `from`, the
    /// stream's end when that was written, are taken as they are; the blocks from there on are read
    /// and given to `block`.
    pub(super) fn open(
        (folder, log_id, segment_bytes): (&Path, [u8; 16], u64),
        known: &[Segment],
        from: u64,
        mut block: impl FnMut(&Block<'_>),
    ) -> io::Result<(Self, Found)> {
        fs::create_dir_all(folder)?;
        let mut found = Found::default();
        let mut segments = Vec::new();
        let names = names(folder)?;
        for (index, first) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            let sealed = known.iter().find(|known| known.first == *first);
            if let Some(sealed) = sealed.filter(|sealed| sealed.end < from && !is_last) {
                segments.push(*sealed);
                continue;
            }
            let file = open_file(folder, *first)?;
            let mut segment = Segment {
                first: *first,
                end: first + HEADER,
                records: 0,
                span: None,
                digest: sealed.and_then(|sealed| sealed.digest),
            };
            if !header_is_ours(&file, *first, log_id)? {
                tracing::warn!(segment = first, "a usage segment has no header of ours");
                found.damaged += 1;
                if is_last {
                    // It was being made: nothing is in it.
                    fs::remove_file(path(folder, *first))?;
                }
                continue;
            }
            scan(&file, &mut segment, &mut found, |read| {
                if read.address >= from {
                    block(read);
                }
            })?;
            let length = file.metadata()?.len();
            let end = segment.end - segment.first;
            if is_last && length > end {
                found.torn = length - end;
                file.set_len(end)?;
                file.sync_all()?;
            }
            if let Some(next) = names.get(index + 1).filter(|next| **next != segment.end) {
                tracing::warn!(segment = first, "the end of a usage segment is damaged");
                found.damaged += 1;
                segment.end = *next;
            }
            segments.push(segment);
        }
        let next = segments.last().map_or(0, |last| last.end);
        let file = match segments.last() {
            Some(last) => open_file(folder, last.first)?,
            None => {
                segments.push(empty(next));
                create_file(folder, next, log_id)?
            }
        };
        let stream = Self {
            folder: folder.to_owned(),
            log_id,
            segment_bytes,
            segments,
            file: Arc::new(file),
            #[cfg(test)]
            broken: false,
        };
        Ok((stream, found))
    }

    /// The address after the last byte.
    pub(super) fn end(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.end)
    }

    /// All segments, oldest first.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|one| one.end - one.first).sum()
    }

    /// Makes room for a block of so many bytes of records, in a new segment where the last one has
    /// none; returns the address that its first record is going to have.
    pub(super) fn prepare(&mut self, bytes: usize) -> io::Result<u64> {
        let Some(last) = self.segments.last() else {
            return Err(io::Error::other("a stream without a segment"));
        };
        let block = u64::try_from(HEAD + bytes).unwrap_or(u64::MAX);
        let used = last.end - last.first;
        if used > HEADER && used.saturating_add(block) > self.segment_bytes {
            self.seal()?;
        }
        Ok(self.end() + HEAD as u64)
    }

    /// Begins a segment behind the one that is written, if that has an instant before `oldest`:
    /// what is in it can be dropped once all of it is old, however few calls there are.
    pub(super) fn seal_if_before(&mut self, oldest: Timestamp) -> io::Result<()> {
        let span = self.segments.last().and_then(|last| last.span);
        match span {
            Some((earliest, _)) if earliest < oldest => self.seal(),
            Some(_) | None => Ok(()),
        }
    }

    fn seal(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let next = self.end();
        self.check_writable()?;
        self.file = Arc::new(create_file(&self.folder, next, self.log_id)?);
        self.segments.push(empty(next));
        Ok(())
    }

    /// Appends a block that [`Self::prepare`] has made room for. Where that fails, nothing of it
    /// stays.
    pub(super) fn append(&mut self, records: Records<'_>) -> io::Result<()> {
        self.check_writable()?;
        let Some(last) = self.segments.last_mut() else {
            return Err(io::Error::other("a stream without a segment"));
        };
        let offset = last.end - last.first;
        let head = head(&records, last.end);
        let written = self
            .file
            .write_all_at(&head, offset)
            .and_then(|()| self.file.write_all_at(records.bytes, offset + HEAD as u64));
        if let Err(why) = written {
            // What is left of it would be cut at the next start; a reader must not meet it before.
            self.file.set_len(offset)?;
            return Err(why);
        }
        last.end += (HEAD + records.bytes.len()) as u64;
        last.records += u64::from(records.count);
        last.span = joined(last.span, records.span);
        Ok(())
    }

    #[cfg(test)]
    fn check_writable(&self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests break the disk")]
    fn check_writable(&self) -> io::Result<()> {
        Ok(())
    }

    /// Has everything on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Drops whole segments from the beginning while `old` says so of the oldest one; the one that
    /// is being written stays.
    pub(super) fn drop_while(&mut self, old: impl Fn(&Segment, u64) -> bool) -> io::Result<usize> {
        let mut dropped = 0;
        while let [oldest, _, ..] = self.segments.as_slice()
            && old(oldest, self.bytes())
        {
            fs::remove_file(path(&self.folder, oldest.first))?;
            self.segments.remove(0);
            dropped += 1;
        }
        if dropped > 0 {
            sync_folder(&self.folder)?;
        }
        Ok(dropped)
    }

    /// Cuts everything from `address` on, which is the end of a block.
    pub(super) fn cut(&mut self, address: u64) -> io::Result<()> {
        while self.segments.len() > 1
            && let Some(last) = self.segments.pop_if(|last| last.first >= address)
        {
            fs::remove_file(path(&self.folder, last.first))?;
        }
        if let Some(last) = self.segments.last_mut() {
            let first = last.first;
            last.end = address.clamp(first + HEADER, last.end.max(first + HEADER));
            self.file = Arc::new(open_file(&self.folder, first)?);
            self.file.set_len(last.end - first)?;
            self.file.sync_all()?;
        }
        sync_folder(&self.folder)
    }

    /// Goes on at `address`, in a segment of its own, where the stream ends before.
    pub(super) fn skip_to(&mut self, address: u64) -> io::Result<()> {
        self.file = Arc::new(create_file(&self.folder, address, self.log_id)?);
        self.segments.push(empty(address));
        Ok(())
    }

    /// The folder of its files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Remembers the digest of a sealed segment.
    pub(super) fn set_digest(&mut self, first: u64, digest: [u8; 32]) {
        for segment in &mut self.segments {
            if segment.first == first {
                segment.digest = Some(digest);
            }
        }
    }

    /// Where a segment's file is.
    pub(super) fn path(&self, first: u64) -> PathBuf {
        path(&self.folder, first)
    }
}

fn empty(first: u64) -> Segment {
    Segment {
        first,
        end: first + HEADER,
        records: 0,
        span: None,
        digest: None,
    }
}

fn joined(
    span: Option<(Timestamp, Timestamp)>,
    (earliest, latest): (Timestamp, Timestamp),
) -> Option<(Timestamp, Timestamp)> {
    match span {
        None => Some((earliest, latest)),
        Some((from, to)) => Some((from.min(earliest), to.max(latest))),
    }
}

fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.use"))
}

/// The first addresses of the segments in a folder, in order.
fn names(folder: &Path) -> io::Result<Vec<u64>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".use"));
        names.extend(first.and_then(|first| first.parse::<u64>().ok()));
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn open_file(folder: &Path, first: u64) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path(folder, first))
}

fn create_file(folder: &Path, first: u64, log_id: [u8; 16]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    options.mode(0o600);
    let file = options.open(path(folder, first))?;
    file.write_all_at(&header(first, log_id), 0)?;
    file.sync_all()?;
    sync_folder(folder)?;
    Ok(file)
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn header(first: u64, log_id: [u8; 16]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&log_id);
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&[0; 20]);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn header_is_ours(file: &File, first: u64, log_id: [u8; 16]) -> io::Result<bool> {
    let ours = header(first, log_id);
    let mut found = vec![0; ours.len()];
    match file.read_exact_at(&mut found, 0) {
        Ok(()) => Ok(found == ours),
        Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(why) => Err(why),
    }
}

fn head(records: &Records<'_>, address: u64) -> Vec<u8> {
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

/// A block's head that is whole and stands where it says.
struct Head {
    bytes: usize,
    count: u32,
    crc: u32,
    span: (Timestamp, Timestamp),
}

fn read_head(head: &[u8; HEAD], address: u64) -> Option<Head> {
    let (covered, crc) = head.split_last_chunk::<4>()?;
    let mut from = Bytes(covered);
    let magic = from.u32()?;
    let bytes = usize::try_from(from.u32()?).ok()?;
    let (count, records_crc) = (from.u32()?, from.u32()?);
    let span = (from.instant()?, from.instant()?);
    let ours = magic == BLOCK_MAGIC
        && from.u64()? == address
        && bytes <= BLOCK_BYTES_MAX
        && crc32c::crc32c(covered) == u32::from_le_bytes(*crc);
    ours.then_some(Head {
        bytes,
        count,
        crc: records_crc,
        span,
    })
}

/// Reads the blocks of a segment, up to the first that is not whole; one whose records alone are
/// damaged is left out.
fn scan(
    file: &File,
    segment: &mut Segment,
    found: &mut Found,
    mut block: impl FnMut(&Block<'_>),
) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut records = Vec::new();
    loop {
        let offset = segment.end - segment.first;
        let mut head = [0; HEAD];
        if offset + HEAD as u64 > length {
            return Ok(());
        }
        file.read_exact_at(&mut head, offset)?;
        let Some(head) = read_head(&head, segment.end) else {
            return Ok(());
        };
        let begin = offset + HEAD as u64;
        if begin + head.bytes as u64 > length {
            return Ok(());
        }
        records.resize(head.bytes, 0);
        file.read_exact_at(&mut records, begin)?;
        let whole = crc32c::crc32c(&records) == head.crc;
        let end = begin + head.bytes as u64;
        if whole {
            block(&Block {
                address: segment.first + begin,
                records: &records,
                latest: head.span.1,
            });
            segment.records += u64::from(head.count);
            segment.span = joined(segment.span, head.span);
        } else if end == length {
            // The last block, torn within its records.
            return Ok(());
        } else {
            tracing::warn!(
                segment = segment.first,
                offset,
                "a block of usage is damaged"
            );
            found.damaged += 1;
        }
        segment.end = segment.first + end;
    }
}
