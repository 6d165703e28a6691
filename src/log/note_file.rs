//! One file of signed notes: written full of zeros, then appended to.
//!
//! Owns the bytes that [`super::checkpoint_store`] describes. Must never judge a checkpoint, nor
//! write to a file that has been opened by name: such a file is written anew first.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskFile};
use super::error::{FileErrorContext, FileOrDamage, LogDamage};
use super::frame::{FieldReader, is_all_zero, padded_length};
use super::segment::SEGMENT_BYTES_MAX;
use super::signed_checkpoint::{CheckpointStoreError, NOTE_BYTES_MAX, SignedCheckpoint};
use super::walk::{FrameFault, is_torn_write};

const FILE_MAGIC: [u8; 8] = *b"KLFLOOR1";
const RECORD_MAGIC: [u8; 8] = *b"KLCHKPNT";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 64;
const HEAD_BYTES: usize = 72;

/// The offset of a file's first record.
pub(crate) const FIRST_RECORD_OFFSET: u64 = 64;

/// Where checkpoint files are and what they have in common.
#[derive(Debug)]
pub(crate) struct CheckpointFolder {
    pub(crate) disk: Disk,
    pub(crate) folder: PathBuf,
    log_id: [u8; 16],
    file_bytes: u64,
}

/// A file that is being appended to.
#[derive(Debug)]
pub(crate) struct NoteFile {
    file: DiskFile,
    path: PathBuf,
    file_bytes: u64,
    end: u64,
    chain: u32,
    pub(crate) last: Option<SignedCheckpoint>,
}

/// What a file holds.
#[derive(Debug)]
pub(crate) struct NoteFileContent {
    bytes: Vec<u8>,
    /// What the header says; a file made with another size keeps it.
    file_bytes: u64,
    /// The offset behind the last whole record, and that record's stored CRC.
    end: usize,
    chain: u32,
    pub(crate) records: Vec<SignedCheckpoint>,
}

impl NoteFileContent {
    /// The bytes of the header and all whole records.
    pub(crate) fn into_intact_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.end);
        self.bytes
    }
}

impl CheckpointFolder {
    pub(crate) fn new(disk: Disk, folder: &Path, log_id: [u8; 16], file_bytes: u64) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            log_id,
            file_bytes,
        }
    }

    /// Makes a file that holds one checkpoint or none.
    pub(crate) fn create_file(
        &self,
        path: &Path,
        first: Option<&SignedCheckpoint>,
    ) -> Result<NoteFile, CheckpointStoreError> {
        let made = self.prepare(path, self.initial_content(first))?;
        self.install(made).map_err(CheckpointStoreError::from)
    }

    /// The same while in use: failing to prepare is a refusal, failing to install is poison.
    pub(crate) fn replace_file(
        &self,
        path: &Path,
        first: Option<&SignedCheckpoint>,
    ) -> Result<NoteFile, CheckpointStoreError> {
        let made = self
            .prepare(path, self.initial_content(first))
            .map_err(|error| {
                // Gives back what a full disk lacks; the next try writes over what stays.
                drop(self.disk.remove_file(&path.with_added_extension("tmp")));
                CheckpointStoreError::DiskFull(error.source)
            })?;
        self.install(made).map_err(CheckpointStoreError::Poisoned)
    }

    /// Reads a file and writes it anew, so that all of it is synced.
    pub(crate) fn rewrite_synced(&self, path: &Path) -> Result<NoteFile, CheckpointStoreError> {
        let made = self.prepare(path, self.read_file(path)?)?;
        self.install(made).map_err(CheckpointStoreError::from)
    }

    /// The same; without room for that the file as it is, to which nothing may be appended, and
    /// `false`.
    pub(crate) fn rewrite_synced_or_read(
        &self,
        path: &Path,
    ) -> Result<(NoteFile, bool), CheckpointStoreError> {
        match self.rewrite_synced(path) {
            Ok(renewed) => Ok((renewed, true)),
            Err(CheckpointStoreError::File(why)) if is_disk_full(&why.source) => {
                // Gives back what a full disk lacks; the next try writes over what stays.
                drop(self.disk.remove_file(&path.with_added_extension("tmp")));
                let mut content = self.read_file(path)?;
                let file = self.disk.open_to_read(path).at("open", path)?;
                let read = NoteFile {
                    file,
                    path: path.to_owned(),
                    file_bytes: content.file_bytes,
                    end: content.end as u64,
                    chain: content.chain,
                    last: content.records.pop(),
                };
                Ok((read, false))
            }
            Err(why) => Err(why),
        }
    }

    /// Reads and checks a file.
    pub(crate) fn read_file(&self, path: &Path) -> Result<NoteFileContent, FileOrDamage> {
        let bytes = self.disk.read_file(path).at("read", path)?;
        self.parse(path, bytes)
    }

    /// The same of whichever log it is.
    pub(crate) fn read_file_of_any_log(
        disk: Disk,
        folder: &Path,
        path: &Path,
    ) -> Result<Vec<SignedCheckpoint>, FileOrDamage> {
        let bytes = disk.read_file(path).at("read", path)?;
        let header = Header::decode(&bytes);
        let header = header.map_err(|what| FileOrDamage::from(LogDamage::new(path, 0, 0, what)))?;
        let place = Self::new(disk, folder, header.log_id, header.file_bytes);
        place.parse(path, bytes).map(|content| content.records)
    }

    fn initial_content(&self, first: Option<&SignedCheckpoint>) -> NoteFileContent {
        let mut bytes = FILE_MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&64_u32.to_le_bytes());
        bytes.extend_from_slice(&self.log_id);
        bytes.extend_from_slice(&self.file_bytes.to_le_bytes());
        bytes.resize(HEADER_BYTES - 4, 0);
        let mut chain = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&chain.to_le_bytes());
        if let Some(checkpoint) = first {
            let (record, crc) = encode_record(checkpoint, chain);
            bytes.extend_from_slice(&record);
            chain = crc;
        }
        NoteFileContent {
            end: bytes.len(),
            bytes,
            file_bytes: self.file_bytes,
            chain,
            records: first.cloned().into_iter().collect(),
        }
    }

    fn prepare(
        &self,
        path: &Path,
        mut content: NoteFileContent,
    ) -> Result<NoteFile, super::error::FileError> {
        let temporary = path.with_added_extension("tmp");
        let file_bytes = content.file_bytes;
        let file = self.disk.create_zeroed(&temporary, file_bytes);
        let file = file.at("create", &temporary)?;
        content.bytes.truncate(content.end);
        file.write_all_at(0, &content.bytes)
            .at("write", &temporary)?;
        file.sync_data().at("sync", &temporary)?;
        Ok(NoteFile {
            file,
            path: path.to_owned(),
            file_bytes,
            end: content.end as u64,
            chain: content.chain,
            last: content.records.pop(),
        })
    }

    fn install(&self, made: NoteFile) -> Result<NoteFile, super::error::FileError> {
        let temporary = made.path.with_added_extension("tmp");
        let installed = self.disk.rename_and_sync(&temporary, &made.path);
        installed.at("rename", &temporary).map(|()| made)
    }

    fn parse(&self, path: &Path, mut bytes: Vec<u8>) -> Result<NoteFileContent, FileOrDamage> {
        let refuse = |offset: usize, size, what| {
            FileOrDamage::from(LogDamage::new(path, offset as u64, size, what))
        };
        let length = bytes.len();
        let mut at = HEADER_BYTES;
        let header = Header::decode(&bytes).map_err(|what| refuse(0, 0, what))?;
        if header.log_id != self.log_id {
            return Err(refuse(16, 0, "the checkpoints belong to another log"));
        }
        match usize::try_from(header.file_bytes) {
            // What the file lacks counts as zeros, as in a segment.
            Ok(whole) if length <= whole && header.file_bytes <= SEGMENT_BYTES_MAX => {
                bytes.resize(whole, 0);
            }
            Ok(_) | Err(_) => return Err(refuse(32, 0, "the file is longer than it says")),
        }
        let mut records: Vec<SignedCheckpoint> = Vec::new();
        let mut chain = header.chain;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if is_all_zero(rest) {
                break;
            }
            let size = records.last().map_or(0, |last| last.size);
            match decode_record(rest, chain) {
                Ok((record, crc)) => {
                    if records
                        .last()
                        .is_some_and(|last| !may_follow_checkpoint(last, &record))
                    {
                        return Err(refuse(at, size, "a checkpoint that contradicts the last"));
                    }
                    at += checkpoint_record_bytes(&record);
                    chain = crc;
                    records.push(record);
                }
                Err((what, failed)) => {
                    let fault = FrameFault {
                        offset: at,
                        position: size,
                        what,
                        failed_bytes: at + failed.start..at + failed.end,
                    };
                    if !is_torn_write(&bytes, length, at, &fault) || has_later_record(rest) {
                        return Err(refuse(at, size, what));
                    }
                    break;
                }
            }
        }
        Ok(NoteFileContent {
            bytes,
            file_bytes: header.file_bytes,
            end: at,
            chain,
            records,
        })
    }
}

impl NoteFile {
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.end + bytes as u64 <= self.file_bytes
    }

    /// One write, one sync. Any failure is poison.
    pub(crate) fn append(
        &mut self,
        checkpoint: SignedCheckpoint,
    ) -> Result<(), CheckpointStoreError> {
        let (record, crc) = encode_record(&checkpoint, self.chain);
        let written = self.file.write_all_at(self.end, &record);
        let written = written.at("write", &self.path);
        let synced = written.and_then(|()| self.file.sync_data().at("sync", &self.path));
        synced.map_err(CheckpointStoreError::Poisoned)?;
        self.end += record.len() as u64;
        self.chain = crc;
        self.last = Some(checkpoint);
        Ok(())
    }
}

fn is_disk_full(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

struct Header {
    log_id: [u8; 16],
    file_bytes: u64,
    chain: u32,
}

impl Header {
    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "the header is cut short";
        let head = bytes.get(..HEADER_BYTES).ok_or(SHORT)?;
        let (content, chain) = head.split_last_chunk::<4>().ok_or(SHORT)?;
        let chain = u32::from_le_bytes(*chain);
        let mut fields = FieldReader(content);
        if fields.read_bytes::<8>() != Some(FILE_MAGIC) {
            return Err("the file does not begin as a checkpoint file does");
        }
        if crc32c::crc32c(content) != chain {
            return Err("the header's checksum is wrong");
        }
        if fields.read_u32() != Some(FORMAT) || fields.read_u32() != Some(64) {
            return Err("the file's format is not known to this program");
        }
        Ok(Self {
            log_id: fields.read_bytes().ok_or(SHORT)?,
            file_bytes: fields.read_u64().ok_or(SHORT)?,
            chain,
        })
    }
}

/// Whether one checkpoint may be signed after another: no smaller size, no two roots of one size.
pub(crate) fn may_follow_checkpoint(last: &SignedCheckpoint, next: &SignedCheckpoint) -> bool {
    next.size > last.size || (next.size == last.size && next.root == last.root)
}

/// The bytes that a record takes up.
pub(crate) const fn checkpoint_record_bytes(checkpoint: &SignedCheckpoint) -> usize {
    HEAD_BYTES + padded_length(checkpoint.note.len())
}

fn encode_record(checkpoint: &SignedCheckpoint, chain: u32) -> (Vec<u8>, u32) {
    let note = checkpoint.note.as_bytes();
    let length = u32::try_from(note.len()).unwrap_or(u32::MAX);
    let with_crc = |crc: u32| {
        let mut head = RECORD_MAGIC.to_vec();
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&crc.to_le_bytes());
        head.extend_from_slice(&checkpoint.size.to_le_bytes());
        head.extend_from_slice(&checkpoint.seconds.to_le_bytes());
        head.extend_from_slice(&checkpoint.root);
        head.extend_from_slice(&crc32c::crc32c(note).to_le_bytes());
        head.resize(HEAD_BYTES, 0);
        head
    };
    let crc = crc32c::crc32c_append(chain, &with_crc(0));
    let mut record = with_crc(crc);
    record.extend_from_slice(note);
    record.resize(checkpoint_record_bytes(checkpoint), 0);
    (record, crc)
}

/// The record at the beginning of `bytes` and its CRC; else what is wrong and the bytes over
/// which the failed check went.
fn decode_record(
    bytes: &[u8],
    chain: u32,
) -> Result<(SignedCheckpoint, u32), (&'static str, Range<usize>)> {
    let short = || ("a record is cut short", 0..HEAD_BYTES.min(bytes.len()));
    let mut head = *bytes.first_chunk::<HEAD_BYTES>().ok_or_else(short)?;
    let mut fields = FieldReader(&head);
    let magic = fields.read_bytes::<8>().ok_or_else(short)?;
    let length = fields.read_u32().ok_or_else(short)?;
    let stored = fields.read_u32().ok_or_else(short)?;
    let size = fields.read_u64().ok_or_else(short)?;
    let seconds = fields.read_u64().ok_or_else(short)?;
    let root = fields.read_bytes::<32>().ok_or_else(short)?;
    let note_crc = fields.read_u32().ok_or_else(short)?;
    head[12..16].fill(0);
    if crc32c::crc32c_append(chain, &head) != stored {
        return Err(("a record's checksum is wrong", 0..HEAD_BYTES));
    }
    // From here on the length can be trusted.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if magic != RECORD_MAGIC || length == 0 || length > NOTE_BYTES_MAX {
        return Err(("not a record", 0..0));
    }
    let end = HEAD_BYTES + padded_length(length);
    let Some(note) = bytes.get(HEAD_BYTES..HEAD_BYTES + length) else {
        return Err(("a record reaches over the file's end", 0..0));
    };
    if crc32c::crc32c(note) != note_crc {
        return Err(("a note's checksum is wrong", HEAD_BYTES..end));
    }
    let Ok(note) = String::from_utf8(note.to_vec()) else {
        return Err(("a note that is not text", 0..0));
    };
    let checkpoint = SignedCheckpoint {
        size,
        root,
        seconds,
        note,
    };
    if bytes.get(..end) != Some(encode_record(&checkpoint, chain).0.as_slice()) {
        return Err(("reserved bytes or padding that are not zero", 0..0));
    }
    Ok((checkpoint, stored))
}

/// Whether another record follows the one that begins these bytes: it was written after
/// that one had been synced, so what is not whole once was.
fn has_later_record(bytes: &[u8]) -> bool {
    let mut words = bytes.chunks_exact(8).skip(1);
    words.any(|word| word == RECORD_MAGIC)
}
