//! One stream of blocks in segment files: appended to at its end, read anywhere, shortened at its
//! beginning.
//!
//! Owns the files of one folder, and the addresses: an address is a byte's place in the whole
//! stream, and a segment's name is the address of its first byte, 20 digits. Must never rewrite
//! bytes of a sealed segment. All integers are little-endian.
//!
//! Segment header, 64 bytes: `magic 8 | format u32 | reserved u32 | log id 16 | first address u64 |
//! zeros 20 | crc32c u32` of the bytes before it; blocks ([`super::stream_blocks`]) follow.
//! Whatever follows the last whole block of the last segment is a torn tail and is cut; what is
//! damaged between two whole blocks is passed over and reported.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::stream_blocks::{
    BLOCK_HEAD_BYTES, BlockRecords, StreamBlock, encode_block_head, scan_blocks,
};
use crate::degraded::{DegradedParts, Part};
use crate::domain::time::Timestamp;

/// Bytes of a segment's header.
pub(super) const STREAM_HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 8] = *b"KLUSAGE\0";
const FORMAT: u32 = 1;
const NO_HEADER: &str = "it does not begin as a segment of this log's usage does; the calls in it \
    are missing from the usage history";
const MISSING: &str = "it is missing, and so are its calls from the usage history";
const NO_END: &str = "its end is missing; the calls in it are missing from the usage history";

/// What is known of one segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct StreamSegment {
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

/// The stream's files.
#[derive(Debug)]
pub(super) struct UsageStream {
    folder: PathBuf,
    log_id: [u8; 16],
    segment_bytes: u64,
    /// Oldest first; the last one is being written.
    segments: Vec<StreamSegment>,
    file: Arc<File>,
    /// Whether the disk refuses to be written to, for tests.
    #[cfg(test)]
    pub(super) broken: bool,
}

/// Where a stream is opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLocation<'a> {
    pub(super) folder: &'a Path,
    pub(super) log_id: [u8; 16],
    pub(super) segment_bytes: u64,
    /// Where damage is reported.
    pub(super) degraded: &'a DegradedParts,
}

/// What opening found.
#[derive(Debug, Default)]
pub(super) struct StreamDamage {
    /// Bytes of a torn tail that were cut.
    pub(super) torn_bytes: u64,
    /// Stretches that are damaged and were left out.
    pub(super) damaged_stretches: u64,
}

impl UsageStream {
    /// Opens the stream in a folder. Segments that `known` lists and that end before `from`, the
    /// stream's end when that was written, are taken as they are; the blocks from there on are read
    /// and given to `block`.
    pub(super) fn open(
        place: StreamLocation<'_>,
        known: &[StreamSegment],
        from: u64,
        mut block: impl FnMut(&StreamBlock<'_>),
    ) -> io::Result<(Self, StreamDamage)> {
        let StreamLocation {
            folder,
            log_id,
            segment_bytes,
            degraded,
        } = place;
        fs::create_dir_all(folder)?;
        let mut found = StreamDamage::default();
        let mut segments = Vec::new();
        let names = list_first_addresses(folder)?;
        for (index, first) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            let sealed = known.iter().find(|known| known.first == *first);
            if let Some(sealed) = sealed.filter(|sealed| sealed.end < from && !is_last) {
                segments.push(*sealed);
                continue;
            }
            let name = Name {
                first: *first,
                next: names.get(index + 1).copied(),
            };
            let read = recover_segment(place, name, &mut found, |read| {
                if read.address >= from {
                    block(read);
                }
            })?;
            segments.extend(read.map(|read| StreamSegment {
                digest: sealed.and_then(|sealed| sealed.digest),
                ..read
            }));
        }
        // The oldest ones go by retention, and the checkpoint may be older than that.
        let oldest = names.first().copied().unwrap_or(0);
        for missing in known.iter().filter(|known| known.first > oldest) {
            if !names.contains(&missing.first) {
                found.damaged_stretches += 1;
                degraded.note_damage(Part::Usage, &segment_path(folder, missing.first), MISSING);
            }
        }
        let next = segments.last().map_or(0, |last| last.end);
        let file = match segments.last() {
            Some(last) => open_segment_file(folder, last.first)?,
            None => {
                segments.push(empty_segment(next));
                create_segment_file(folder, next, log_id)?
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
    pub(super) fn end_address(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.end)
    }

    /// All segments, oldest first.
    pub(super) fn segments(&self) -> &[StreamSegment] {
        &self.segments
    }

    /// The segments that are not written to any more, with their files.
    pub(super) fn sealed_segments(&self) -> Vec<(PathBuf, StreamSegment)> {
        let sealed = self
            .segments
            .split_last()
            .map_or(&[][..], |(_, sealed)| sealed);
        sealed
            .iter()
            .map(|segment| (segment_path(&self.folder, segment.first), *segment))
            .collect()
    }

    /// Bytes of all files.
    pub(super) fn total_bytes(&self) -> u64 {
        self.segments.iter().map(|one| one.end - one.first).sum()
    }

    /// Makes room for a block of so many bytes of records, in a new segment where the last one has
    /// none; returns the address that its first record is going to have.
    pub(super) fn make_room(&mut self, bytes: usize) -> io::Result<u64> {
        let Some(last) = self.segments.last() else {
            return Err(io::Error::other("a stream without a segment"));
        };
        let block = u64::try_from(BLOCK_HEAD_BYTES + bytes).unwrap_or(u64::MAX);
        let used = last.end - last.first;
        if used > STREAM_HEADER_BYTES && used.saturating_add(block) > self.segment_bytes {
            self.seal()?;
        }
        Ok(self.end_address() + BLOCK_HEAD_BYTES as u64)
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
        let next = self.end_address();
        self.check_writable()?;
        self.file = Arc::new(create_segment_file(&self.folder, next, self.log_id)?);
        self.segments.push(empty_segment(next));
        Ok(())
    }

    /// Appends a block that [`Self::make_room`] has made room for. Where that fails, nothing of it
    /// stays.
    pub(super) fn append_block(&mut self, records: BlockRecords<'_>) -> io::Result<()> {
        self.check_writable()?;
        let Some(last) = self.segments.last_mut() else {
            return Err(io::Error::other("a stream without a segment"));
        };
        let offset = last.end - last.first;
        let head = encode_block_head(&records, last.end);
        let written = self.file.write_all_at(&head, offset).and_then(|()| {
            self.file
                .write_all_at(records.bytes, offset + BLOCK_HEAD_BYTES as u64)
        });
        if let Err(why) = written {
            // What is left of it would be cut at the next start; a reader must not meet it before.
            self.file.set_len(offset)?;
            return Err(why);
        }
        last.end += (BLOCK_HEAD_BYTES + records.bytes.len()) as u64;
        last.records += u64::from(records.count);
        last.span = joined_span(last.span, records.span);
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
    pub(super) fn drop_oldest_while(
        &mut self,
        old: impl Fn(&StreamSegment, u64) -> bool,
    ) -> io::Result<usize> {
        let mut dropped = 0;
        while let [oldest, _, ..] = self.segments.as_slice()
            && old(oldest, self.total_bytes())
        {
            fs::remove_file(segment_path(&self.folder, oldest.first))?;
            self.segments.remove(0);
            dropped += 1;
        }
        if dropped > 0 {
            sync_folder(&self.folder)?;
        }
        Ok(dropped)
    }

    /// Cuts everything from `address` on, which is the end of a block.
    pub(super) fn truncate_at(&mut self, address: u64) -> io::Result<()> {
        while self.segments.len() > 1
            && let Some(last) = self.segments.pop_if(|last| last.first >= address)
        {
            fs::remove_file(segment_path(&self.folder, last.first))?;
        }
        if let Some(last) = self.segments.last_mut() {
            let first = last.first;
            last.end = address.clamp(
                first + STREAM_HEADER_BYTES,
                last.end.max(first + STREAM_HEADER_BYTES),
            );
            self.file = Arc::new(open_segment_file(&self.folder, first)?);
            self.file.set_len(last.end - first)?;
            self.file.sync_all()?;
        }
        sync_folder(&self.folder)
    }

    /// Goes on at `address`, in a segment of its own, where the stream ends before.
    pub(super) fn skip_to(&mut self, address: u64) -> io::Result<()> {
        self.file = Arc::new(create_segment_file(&self.folder, address, self.log_id)?);
        self.segments.push(empty_segment(address));
        Ok(())
    }

    /// The log that it belongs to.
    pub(super) const fn log_id(&self) -> [u8; 16] {
        self.log_id
    }

    /// The folder of its files.
    pub(super) fn folder_path(&self) -> &Path {
        &self.folder
    }

    /// Remembers the digest of a sealed segment.
    pub(super) fn set_segment_digest(&mut self, first: u64, digest: [u8; 32]) {
        for segment in &mut self.segments {
            if segment.first == first {
                segment.digest = Some(digest);
            }
        }
    }

    /// Where a segment's file is.
    pub(super) fn segment_path(&self, first: u64) -> PathBuf {
        segment_path(&self.folder, first)
    }
}

/// A segment's name, and that of the one behind it.
#[derive(Clone, Copy, Debug)]
struct Name {
    first: u64,
    next: Option<u64>,
}

/// Reads a segment that may have been written to; `None` if it is not one. The torn end of the
/// last one is cut, other damage is reported.
fn recover_segment(
    place: StreamLocation<'_>,
    name: Name,
    found: &mut StreamDamage,
    block: impl FnMut(&StreamBlock<'_>),
) -> io::Result<Option<StreamSegment>> {
    let path = segment_path(place.folder, name.first);
    let file = open_segment_file(place.folder, name.first)?;
    let mut segment = empty_segment(name.first);
    if !header_is_ours(&file, name.first, place.log_id)? {
        if name.next.is_none() && file.metadata()?.len() <= STREAM_HEADER_BYTES {
            // It was being made: nothing is in it.
            fs::remove_file(path)?;
        } else {
            found.damaged_stretches += 1;
            place.degraded.set_aside(Part::Usage, &path, NO_HEADER)?;
        }
        return Ok(None);
    }
    let damaged = scan_blocks(&file, &mut segment, block)?;
    if damaged > 0 {
        found.damaged_stretches += damaged;
        let why = passed_over(damaged);
        place.degraded.note_damage(Part::Usage, &path, &why);
    }
    let (length, end) = (file.metadata()?.len(), segment.end - segment.first);
    if name.next.is_none() && length > end {
        found.torn_bytes = length - end;
        file.set_len(end)?;
        file.sync_all()?;
    }
    if let Some(next) = name.next.filter(|next| *next != segment.end) {
        found.damaged_stretches += 1;
        place.degraded.note_damage(Part::Usage, &path, NO_END);
        segment.end = next;
    }
    Ok(Some(segment))
}

/// What is wrong with the file of a sealed segment.
pub(super) fn damage_of_sealed_segment(
    path: &Path,
    known: &StreamSegment,
    log_id: [u8; 16],
) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    if !header_is_ours(&file, known.first, log_id)? {
        return Ok(Some(NO_HEADER.to_owned()));
    }
    let mut read = empty_segment(known.first);
    let damaged = scan_blocks(&file, &mut read, |_whole| {})?;
    Ok(if read.end < known.end {
        Some(NO_END.to_owned())
    } else if damaged > 0 {
        Some(passed_over(damaged))
    } else {
        None
    })
}

fn passed_over(damaged: u64) -> String {
    format!("{damaged} damaged stretches of it are passed over, and their calls are missing")
}

fn empty_segment(first: u64) -> StreamSegment {
    StreamSegment {
        first,
        end: first + STREAM_HEADER_BYTES,
        records: 0,
        span: None,
        digest: None,
    }
}

pub(super) fn joined_span(
    span: Option<(Timestamp, Timestamp)>,
    (earliest, latest): (Timestamp, Timestamp),
) -> Option<(Timestamp, Timestamp)> {
    match span {
        None => Some((earliest, latest)),
        Some((from, to)) => Some((from.min(earliest), to.max(latest))),
    }
}

fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.use"))
}

/// The first addresses of the segments in a folder, in order.
fn list_first_addresses(folder: &Path) -> io::Result<Vec<u64>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".use"));
        names.extend(first.and_then(|first| first.parse::<u64>().ok()));
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn open_segment_file(folder: &Path, first: u64) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment_path(folder, first))
}

fn create_segment_file(folder: &Path, first: u64, log_id: [u8; 16]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    options.mode(0o600);
    let file = options.open(segment_path(folder, first))?;
    file.write_all_at(&encode_header(first, log_id), 0)?;
    file.sync_all()?;
    sync_folder(folder)?;
    Ok(file)
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn encode_header(first: u64, log_id: [u8; 16]) -> Vec<u8> {
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
    let ours = encode_header(first, log_id);
    let mut found = vec![0; ours.len()];
    match file.read_exact_at(&mut found, 0) {
        Ok(()) => Ok(found == ours),
        Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(why) => Err(why),
    }
}
