//! Snapshots: the state in a file, so that a start need not replay the whole log.
//!
//! Derived and discardable: a snapshot that cannot be read whole, or that another version of the
//! code wrote, is passed over. It holds the log's id, position, frontier and root as of its
//! beginning, then the records in pieces, each with the position of its last change.
//!
//! Form: `KLSNAP01`, then blocks `len u32 | crc32c u32 | postcard`, little-endian; the first block
//! is the head, the last one counts the blocks before it. Files come by temp + fsync + rename.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::pieces::{Once, Piece};
use crate::merkle::Hash;

const MAGIC: &[u8; 8] = b"KLSNAP01";

/// Snapshots of other versions of the code are passed over: raise it with any record's form.
const CODE_VERSION: u32 = 11;

/// The longest block: 4,096 records of at most 16 KiB each. What is longer goes in two.
const BLOCK_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Bytes after which what was written is synced: the sync at the end, which a stop may have to wait
/// for, then takes a fraction of a second, and the log's own syncs wait for no more than this.
const SYNC_EVERY_BYTES: usize = 32 * 1024 * 1024;

/// Blocks that are decoded before they are taken: at most 4 x 64 MiB, usually 4 x 1 MiB.
const BLOCKS_AHEAD: usize = 4;

/// Snapshots that are kept: the newest, and one for when that does not fit the log.
const KEPT: usize = 2;

/// The head of a snapshot: which log, up to where.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SnapshotHead {
    code_version: u32,
    pub log_id: [u8; 16],
    /// The position from which to replay: the tree's size then.
    pub position: u64,
    /// The frontier's hashes then.
    pub frontier: Vec<Hash>,
    /// The root then.
    pub root: Hash,
    /// The records that exist once in the ledger.
    pub once: Once,
}

impl SnapshotHead {
    /// The head of a snapshot by this version of the code.
    #[must_use]
    pub fn new(
        log_id: [u8; 16],
        position: u64,
        frontier: Vec<Hash>,
        root: Hash,
        once: Once,
    ) -> Self {
        Self {
            code_version: CODE_VERSION,
            log_id,
            position,
            frontier,
            root,
            once,
        }
    }
}

#[derive(Deserialize, Serialize)]
enum SnapshotBlock {
    Head(Box<SnapshotHead>),
    Pieces(Vec<Piece>),
    End { blocks: u64 },
}

/// Why a snapshot was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system.
    #[error("a snapshot file cannot be used")]
    File(#[from] io::Error),
    /// A record that does not serialize.
    #[error("a snapshot cannot be encoded")]
    Encode(#[from] postcard::Error),
    /// Not a whole snapshot of this version.
    #[error("not a whole snapshot of this version: {0}")]
    Malformed(&'static str),
    /// A snapshot of another version of the program, or of another log.
    #[error("a snapshot of another version or log")]
    OtherVersionOrLog,
}

/// A snapshot in the making.
#[derive(Debug)]
pub struct SnapshotWriter {
    folder: PathBuf,
    temporary: PathBuf,
    position: u64,
    out: BufWriter<File>,
    blocks: u64,
    /// Bytes that were written since the last sync.
    unsynced: usize,
}

impl SnapshotWriter {
    /// Begins a snapshot in `folder`, which is made if need be.
    pub fn begin(folder: &Path, head: SnapshotHead) -> Result<Self, SnapshotError> {
        fs::create_dir_all(folder)?;
        let temporary = folder.join("new.tmp");
        let mut out = BufWriter::new(File::create(&temporary)?);
        out.write_all(MAGIC)?;
        let position = head.position;
        let folder = folder.to_owned();
        let mut writer = Self {
            folder,
            temporary,
            position,
            out,
            blocks: 0,
            unsynced: 0,
        };
        writer.write_block(&SnapshotBlock::Head(Box::new(head)))?;
        Ok(writer)
    }

    /// Adds records.
    pub fn add_records(&mut self, pieces: Vec<Piece>) -> Result<(), SnapshotError> {
        self.add_below(pieces, BLOCK_BYTES_MAX)
    }

    /// Adds records in blocks of at most so many bytes.
    fn add_below(&mut self, pieces: Vec<Piece>, bytes: u32) -> Result<(), SnapshotError> {
        let second = pieces.len() / 2;
        let block = SnapshotBlock::Pieces(pieces);
        let encoded = postcard::to_stdvec(&block)?;
        let fits = u32::try_from(encoded.len()).is_ok_and(|length| length <= bytes);
        let (false, SnapshotBlock::Pieces(mut first)) = (fits || second == 0, block) else {
            return self.put_block(&encoded);
        };
        let second = first.split_off(second);
        self.add_below(first, bytes)?;
        self.add_below(second, bytes)
    }

    /// Ends the snapshot, durable under its name, and removes all others but the one before it.
    /// One that claims to be newer is not of this log, or the log has lost what it was of.
    pub fn finish_and_prune(mut self) -> Result<(), SnapshotError> {
        let blocks = self.blocks;
        self.write_block(&SnapshotBlock::End { blocks })?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        let path = self.folder.join(format!("{:020}.snap", self.position));
        fs::rename(&self.temporary, &path)?;
        File::open(&self.folder)?.sync_all()?;
        let (newer, older): (Vec<_>, Vec<_>) = list_snapshots(&self.folder)?
            .into_iter()
            .filter(|other| *other != path)
            .partition(|other| *other > path);
        for other in newer.into_iter().chain(older.into_iter().skip(KEPT - 1)) {
            fs::remove_file(other)?;
        }
        Ok(())
    }

    fn write_block(&mut self, block: &SnapshotBlock) -> Result<(), SnapshotError> {
        self.put_block(&postcard::to_stdvec(block)?)
    }

    fn put_block(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= BLOCK_BYTES_MAX);
        let length = length.ok_or(SnapshotError::Malformed("a block is too long"))?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&crc32c::crc32c(bytes).to_le_bytes())?;
        self.out.write_all(bytes)?;
        self.blocks += 1;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.out.flush()?;
            self.out.get_ref().sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        // What was given up gives its room back; what was finished has another name by now.
        drop(fs::remove_file(&self.temporary));
    }
}

/// The snapshots of a folder, newest first; none where there is no folder.
pub fn list_snapshots(folder: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why.into()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "snap")
        {
            paths.push(path);
        }
    }
    paths.sort();
    paths.reverse();
    Ok(paths)
}

/// Reads a snapshot of the log `log_id`, calling `take` for each record. What it took before an
/// error must be thrown away.
pub fn read_snapshot(
    path: &Path,
    log_id: [u8; 16],
    begin: impl FnOnce(&SnapshotHead) -> Result<(), SnapshotError>,
    mut take: impl FnMut(Piece) -> Result<(), SnapshotError>,
) -> Result<SnapshotHead, SnapshotError> {
    let mut from = BufReader::with_capacity(1 << 20, File::open(path)?);
    let head = read_head(&mut from, log_id)?;
    begin(&head)?;
    thread::scope(|scope| {
        let (decoded, blocks) = mpsc::sync_channel(BLOCKS_AHEAD);
        scope.spawn(move || decode(&mut from, &decoded));
        for (seen, block) in (1..).zip(blocks) {
            match block? {
                SnapshotBlock::Pieces(pieces) => pieces.into_iter().try_for_each(&mut take)?,
                SnapshotBlock::End { blocks } if blocks == seen => return Ok(*head),
                SnapshotBlock::End { .. } | SnapshotBlock::Head(_) => break,
            }
        }
        Err(SnapshotError::Malformed("blocks are missing"))
    })
}

/// A snapshot's file, and the position from which to replay after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotFile {
    /// The file.
    pub path: PathBuf,
    /// The size of the tree at its beginning.
    pub position: u64,
}

/// The newest snapshot of a log by its head alone; what cannot be read is passed over.
#[must_use]
pub fn newest_snapshot(folder: &Path, log_id: [u8; 16]) -> Option<SnapshotFile> {
    let paths = list_snapshots(folder).unwrap_or_default();
    paths.into_iter().find_map(|path| {
        let head = read_head(&mut File::open(&path).ok()?, log_id).ok()?;
        let position = head.position;
        Some(SnapshotFile { path, position })
    })
}

fn read_head(from: &mut impl Read, log_id: [u8; 16]) -> Result<Box<SnapshotHead>, SnapshotError> {
    let mut magic = [0; 8];
    from.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(SnapshotError::Malformed("another magic"));
    }
    let SnapshotBlock::Head(head) = read_block(from)? else {
        return Err(SnapshotError::Malformed("no head"));
    };
    if head.code_version != CODE_VERSION || head.log_id != log_id {
        return Err(SnapshotError::OtherVersionOrLog);
    }
    Ok(head)
}

/// Decodes blocks up to the last one or the first that cannot be read, while those before are
/// taken.
fn decode(from: &mut impl Read, decoded: &SyncSender<Result<SnapshotBlock, SnapshotError>>) {
    loop {
        let block = read_block(from);
        let more = matches!(block, Ok(SnapshotBlock::Pieces(_)));
        if decoded.send(block).is_err() || !more {
            return;
        }
    }
}

fn read_block<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, SnapshotError> {
    let mut word = [0; 4];
    from.read_exact(&mut word)?;
    let length = u32::from_le_bytes(word);
    from.read_exact(&mut word)?;
    if length > BLOCK_BYTES_MAX {
        return Err(SnapshotError::Malformed("a block is too long"));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    from.read_exact(&mut bytes)?;
    if crc32c::crc32c(&bytes) != u32::from_le_bytes(word) {
        return Err(SnapshotError::Malformed("a block's checksum is wrong"));
    }
    Ok(postcard::from_bytes(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::state::State;
    use crate::views::fixtures::{credential, packed};

    const LOG_ID: [u8; 16] = [7; 16];

    fn head(log_id: [u8; 16], position: u64) -> SnapshotHead {
        let frontier = vec![[1; 32]];
        SnapshotHead::new(log_id, position, frontier, [2; 32], State::default().once())
    }

    fn pieces(count: u128) -> Vec<Piece> {
        let records = (1..=count).map(|id| Piece::Credential(packed(&credential(1, id))));
        records.collect()
    }

    /// Writes a snapshot of some records in blocks of at most so many bytes.
    fn write(folder: &Path, head: SnapshotHead, bytes: u32) -> PathBuf {
        let path = folder.join(format!("{:020}.snap", head.position));
        let mut writer = SnapshotWriter::begin(folder, head).unwrap();
        writer.add_below(pieces(9), bytes).unwrap();
        writer.finish_and_prune().unwrap();
        path
    }

    fn taken(path: &Path) -> Result<Vec<Piece>, SnapshotError> {
        let mut taken = Vec::new();
        let take = |piece| {
            taken.push(piece);
            Ok(())
        };
        read_snapshot(path, LOG_ID, |_| Ok(()), take)?;
        Ok(taken)
    }

    #[test]
    fn records_too_long_for_one_block_go_in_several() {
        let folder = tempfile::tempdir().unwrap();
        let one = write(folder.path(), head(LOG_ID, 1), BLOCK_BYTES_MAX);
        let many = write(folder.path(), head(LOG_ID, 2), 500);
        assert!(fs::metadata(&many).unwrap().len() > fs::metadata(&one).unwrap().len());
        assert_eq!(taken(&one).unwrap(), pieces(9));
        assert_eq!(taken(&many).unwrap(), pieces(9));
    }

    #[test]
    fn two_snapshots_are_kept_and_none_that_claims_to_be_newer() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let paths = list_snapshots(folder.path()).unwrap();
            let stem = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
            paths.iter().filter_map(stem).collect::<Vec<_>>()
        };
        for (position, kept) in [
            (5, vec![5]),
            (9, vec![9, 5]),
            (12, vec![12, 9]),
            (10, vec![10, 9]),
        ] {
            write(folder.path(), head(LOG_ID, position), 500);
            assert_eq!(names(), kept);
        }
        // What is given up leaves nothing.
        let mut writer = SnapshotWriter::begin(folder.path(), head(LOG_ID, 20)).unwrap();
        writer.add_records(pieces(2)).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_snapshot_that_is_not_whole_or_not_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = write(folder.path(), head([8; 16], 3), 500);
        assert!(taken(&foreign).is_err());
        let old = SnapshotHead {
            code_version: CODE_VERSION - 1,
            ..head(LOG_ID, 4)
        };
        assert!(taken(&write(folder.path(), old, 500)).is_err());
        let path = write(folder.path(), head(LOG_ID, 5), 500);
        let whole = fs::read(&path).unwrap();
        assert!(taken(&path).is_ok());
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(taken(&path).is_err(), "cut to {length} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            fs::write(&path, changed).unwrap();
            assert!(taken(&path).is_err(), "byte {at} changed");
        }
    }
}
