//! The checkpoint files: every signed checkpoint is on disk before it is published.
//!
//! Owns `DATA/checkpoints`. Must never accept a checkpoint that contradicts or undercuts the last
//! one, and never sign or verify: notes come in signed, and the caller that opens the folder
//! verifies the newest with its own key. A log that ends below the newest checkpoint has lost
//! events, which would go unnoticed without these files.
//!
//! # Format 1
//!
//! `recent.notes` holds the newest checkpoints; when it is full, a new one that begins with the
//! newest takes its place. `hourly-<number, 6 digits>.notes` hold the first checkpoint of each
//! hour, for ever. All are written full of zeros before use. Integers are little-endian.
//!
//! | header at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `KLFLOOR1` |
//! | 8 | 4 | format: 1 |
//! | 12 | 4 | bytes of the header: 64 |
//! | 16 | 16 | log id |
//! | 32 | 8 | bytes of the file |
//! | 40 | 20 | zeros |
//! | 60 | 4 | CRC-32C of the 60 bytes before |
//!
//! Records follow, each padded with zeros to a multiple of 8:
//!
//! | record at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `KLCHKPNT` |
//! | 8 | 4 | bytes of the note |
//! | 12 | 4 | chained CRC-32C of these 72 bytes |
//! | 16 | 8 | tree size |
//! | 24 | 8 | seconds since 1970 at which it was signed |
//! | 32 | 32 | root |
//! | 64 | 4 | CRC-32C of the note |
//! | 68 | 4 | reserved: 0 |
//! | 72 | | the signed note |
//!
//! The chained CRC is taken with its own field 0 and continued from the stored CRC of the record
//! before; the first from the header's.
//!
//! A record at the end that is not whole and has a hole, as [`super`] defines it for batches, is
//! a checkpoint that was never published; it is dropped. At open both files in use are written
//! anew and synced, so that nothing is believed that only the page cache holds. Where there is no
//! room for that, what they hold still binds, and both are written anew before the next checkpoint
//! is stored. So is a file whose write or sync has failed: its successor comes from memory.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::error::{FileErrorContext, FileOrDamage, LogDamage};
use super::note_file::{
    CheckpointFolder, FIRST_RECORD_OFFSET, NoteFile, NoteFileContent, checkpoint_record_bytes,
};
use super::signed_checkpoint::NOTE_BYTES_MAX;
pub use super::signed_checkpoint::{CheckpointStoreError, SignedCheckpoint};

/// Bytes of a checkpoint file: about 3,000 notes of usual size, an hour at one per second or four
/// months at one per hour.
pub const CHECKPOINT_FILE_BYTES: u64 = 1024 * 1024;

/// A stored checkpoint with its file and offset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocatedCheckpoint {
    pub file: PathBuf,
    /// Where its record begins there.
    pub offset: u64,
    pub checkpoint: SignedCheckpoint,
}

/// The checkpoint files, open for appending.
#[derive(Debug)]
pub struct CheckpointStore {
    place: CheckpointFolder,
    recent: NoteFile,
    hourly: NoteFile,
    hourly_number: u64,
    /// Files that the next append replaces by new ones first.
    unsound: Unsound,
}

/// Which files nothing may be appended to: a write of theirs has failed, or at the start there was
/// no room to write them anew.
#[derive(Clone, Copy, Debug, Default)]
struct Unsound {
    recent: bool,
    hourly: bool,
}

impl CheckpointStore {
    /// Makes the folder with its first files, zeroed and synced. A creation that was cut short
    /// may be repeated.
    ///
    /// # Errors
    /// [`CheckpointStoreError::AlreadyExists`], or what the system refuses.
    pub fn create(
        disk: Disk,
        folder: &Path,
        log_id: [u8; 16],
    ) -> Result<Self, CheckpointStoreError> {
        disk.create_folder_durably(folder).at("create", folder)?;
        let place = CheckpointFolder::new(disk, folder, log_id, CHECKPOINT_FILE_BYTES);
        Self::create_with_folder(place)
    }

    pub(crate) fn create_with_folder(
        place: CheckpointFolder,
    ) -> Result<Self, CheckpointStoreError> {
        let recent = recent_path(&place.folder);
        let names = place
            .disk
            .list_names(&place.folder)
            .at("list", &place.folder)?;
        let begun = hourly_numbers(&names).max();
        if names.iter().any(|name| name == RECENT) || place.has_history(begun)? {
            return Err(CheckpointStoreError::AlreadyExists(place.folder));
        }
        // The recent file comes last: as long as it is missing, nothing has been created.
        let hourly = place.create_file(&hourly_path(&place.folder, 0), None)?;
        let recent = place.create_file(&recent, None)?;
        Ok(Self {
            place,
            recent,
            hourly,
            hourly_number: 0,
            unsound: Unsound::default(),
        })
    }

    /// Opens the folder. What is newest must then be verified and given to
    /// [`Log::recover_and_open`](super::Log::recover_and_open) as its floor.
    ///
    /// # Errors
    /// [`CheckpointStoreError::Missing`], damage, or what the system refuses.
    pub fn open_and_resync(
        disk: Disk,
        folder: &Path,
        log_id: [u8; 16],
    ) -> Result<Self, CheckpointStoreError> {
        Self::open_with_folder(CheckpointFolder::new(
            disk,
            folder,
            log_id,
            CHECKPOINT_FILE_BYTES,
        ))
    }

    pub(crate) fn open_with_folder(place: CheckpointFolder) -> Result<Self, CheckpointStoreError> {
        let names = place
            .disk
            .list_names(&place.folder)
            .at("list", &place.folder)?;
        let Some(number) = hourly_numbers(&names).max() else {
            return Err(CheckpointStoreError::Missing(place.folder));
        };
        if !names.iter().any(|name| name == RECENT) {
            if place.has_history(Some(number))? {
                let what = "the file is missing, and there are older checkpoints";
                return Err(LogDamage::new(&recent_path(&place.folder), 0, 0, what).into());
            }
            return Err(CheckpointStoreError::Missing(place.folder));
        }
        let (recent, renewed_recent) = place.rewrite_synced_or_read(&recent_path(&place.folder))?;
        let hourly = place.rewrite_synced_or_read(&hourly_path(&place.folder, number))?;
        let (hourly, renewed_hourly) = hourly;
        let opened = Self {
            place,
            recent,
            hourly,
            hourly_number: number,
            unsound: Unsound {
                recent: !renewed_recent,
                hourly: !renewed_hourly,
            },
        };
        if let (Some(a), Some(b)) = (&opened.recent.last, &opened.hourly.last)
            && a.size == b.size
            && a.root != b.root
        {
            return Err(CheckpointStoreError::ConflictingRoots { size: a.size });
        }
        Ok(opened)
    }

    /// The newest checkpoint: nothing below it may be missing from the log.
    #[must_use]
    pub fn newest(&self) -> Option<&SignedCheckpoint> {
        // The hourly file is written first, so after a crash it may be ahead.
        let (recent, hourly) = (self.recent.last.as_ref(), self.hourly.last.as_ref());
        recent.into_iter().chain(hourly).max_by_key(|c| c.size)
    }

    /// Stores a signed checkpoint; when this returns it may be shown.
    ///
    /// # Errors
    /// Any of [`CheckpointStoreError`]. Where a write or sync failed, the next call begins new
    /// files.
    pub fn append(&mut self, checkpoint: SignedCheckpoint) -> Result<(), CheckpointStoreError> {
        let bytes = checkpoint.note.len();
        if bytes == 0 || bytes > NOTE_BYTES_MAX {
            return Err(CheckpointStoreError::InvalidNoteLength { bytes });
        }
        let size = checkpoint.size;
        if let Some(newest) = self.newest() {
            if size < newest.size {
                let newest = newest.size;
                return Err(CheckpointStoreError::SizeShrinks { size, newest });
            }
            if size == newest.size && checkpoint.root != newest.root {
                return Err(CheckpointStoreError::ConflictingRoots { size });
            }
        }
        self.replace_unsound()?;
        self.store(checkpoint)
    }

    /// Puts new files in the place of those that nothing may be appended to. What they begin with
    /// comes from memory: no sync is repeated, and nothing is read back after a failure. A new
    /// hourly file leaves the one before as it is, with at most a torn record at its end.
    fn replace_unsound(&mut self) -> Result<(), CheckpointStoreError> {
        if self.unsound.hourly {
            let number = self.hourly_number + 1;
            let last = self.hourly.last.clone();
            self.hourly = self
                .place
                .replace_file(&hourly_path(&self.place.folder, number), None)?;
            self.hourly.last = last;
            self.hourly_number = number;
            self.unsound.hourly = false;
        }
        if self.unsound.recent {
            let newest = self.newest().cloned();
            let path = recent_path(&self.place.folder);
            self.recent = self.place.replace_file(&path, newest.as_ref())?;
            self.unsound.recent = false;
        }
        Ok(())
    }

    fn store(&mut self, checkpoint: SignedCheckpoint) -> Result<(), CheckpointStoreError> {
        const HOUR: u64 = 3600;
        let needed = checkpoint_record_bytes(&checkpoint);
        let last_hour = self.hourly.last.as_ref().map(|last| last.seconds / HOUR);
        if last_hour != Some(checkpoint.seconds / HOUR) {
            if !self.hourly.has_room(needed) {
                let path = hourly_path(&self.place.folder, self.hourly_number + 1);
                self.hourly = self.place.replace_file(&path, None)?;
                self.hourly_number += 1;
            }
            let appended = self.hourly.append(checkpoint.clone());
            self.unsound.hourly = appended.is_err();
            appended?;
        }
        if !self.recent.has_room(needed) {
            let path = recent_path(&self.place.folder);
            let newest = self.recent.last.as_ref();
            self.recent = self.place.replace_file(&path, newest)?;
        }
        let appended = self.recent.append(checkpoint);
        self.unsound.recent = appended.is_err();
        appended
    }

    /// The first checkpoint of each hour, from the log's beginning.
    ///
    /// # Errors
    /// Damage, or what the system refuses.
    pub fn hourly_checkpoints(&self) -> Result<Vec<SignedCheckpoint>, CheckpointStoreError> {
        let mut all = Vec::new();
        for number in 0..=self.hourly_number {
            let path = hourly_path(&self.place.folder, number);
            all.extend(self.place.read_file(&path)?.records);
        }
        Ok(all)
    }
}

/// How often a file that fails its checks is read again: a server may be writing to it.
const READ_AGAIN_MAX: usize = 3;

/// The size of the newest checkpoint in a folder, of whichever log and without changing a byte; 0
/// where none is stored.
///
/// # Errors
/// Damage, or what the system refuses.
pub fn newest_checkpoint_size(disk: Disk, folder: &Path) -> Result<u64, CheckpointStoreError> {
    let names = match disk.list_names(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(0),
        names => names.at("list", folder)?,
    };
    let recent = names.iter().any(|name| name == RECENT);
    let hourly = hourly_numbers(&names).map(|number| hourly_path(folder, number));
    let paths = hourly.chain(recent.then(|| recent_path(folder)));
    let mut newest = 0;
    for path in paths {
        let records = CheckpointFolder::read_file_of_any_log(disk.clone(), folder, &path)?;
        newest = records.last().map_or(0, |last| last.size).max(newest);
    }
    Ok(newest)
}

/// Every checkpoint in a folder, those of each file in order, without changing a byte and also
/// while a server writes: the first of each hour, and the newest ones.
///
/// # Errors
/// [`CheckpointStoreError::Missing`], damage, or what the system refuses.
pub fn read_checkpoints(
    disk: Disk,
    folder: &Path,
    log_id: [u8; 16],
) -> Result<Vec<LocatedCheckpoint>, CheckpointStoreError> {
    let place = CheckpointFolder::new(disk, folder, log_id, CHECKPOINT_FILE_BYTES);
    let names = match place.disk.list_names(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return Err(CheckpointStoreError::Missing(place.folder));
        }
        names => names.at("list", folder)?,
    };
    let mut paths: Vec<PathBuf> = match hourly_numbers(&names).max() {
        None => return Err(CheckpointStoreError::Missing(place.folder)),
        Some(last) => (0..=last).map(|n| hourly_path(folder, n)).collect(),
    };
    paths.push(recent_path(folder));
    let mut kept = Vec::new();
    for path in paths {
        let is_there = names.iter().any(|name| path.ends_with(name));
        if !is_there {
            let what = "the file is missing, and there are other checkpoints";
            return Err(LogDamage::new(&path, 0, 0, what).into());
        }
        let mut offset = FIRST_RECORD_OFFSET;
        for signed in read_settled(&place, &path)?.records {
            let bytes = checkpoint_record_bytes(&signed) as u64;
            kept.push(LocatedCheckpoint {
                file: path.clone(),
                offset,
                checkpoint: signed,
            });
            offset += bytes;
        }
    }
    Ok(kept)
}

/// The files of a folder of checkpoints by their names, each as far as it is whole: copies of them
/// are opened as they are.
///
/// # Errors
/// As [`read_checkpoints`].
pub fn read_intact_checkpoint_files(
    disk: Disk,
    folder: &Path,
    log_id: [u8; 16],
) -> Result<Vec<(String, Vec<u8>)>, CheckpointStoreError> {
    let place = CheckpointFolder::new(disk, folder, log_id, CHECKPOINT_FILE_BYTES);
    let names = place.disk.list_names(folder).at("list", folder)?;
    let is_ours = |name: &String| name == RECENT || hourly_numbers([name]).next().is_some();
    let mut files = Vec::new();
    for name in names.into_iter().filter(is_ours) {
        let content = read_settled(&place, &folder.join(&name))?;
        files.push((name, content.into_intact_bytes()));
    }
    Ok(files)
}

/// Reads a file that may be written to meanwhile.
fn read_settled(place: &CheckpointFolder, path: &Path) -> Result<NoteFileContent, FileOrDamage> {
    let mut last = None;
    for _ in 0..READ_AGAIN_MAX {
        match place.read_file(path) {
            Err(FileOrDamage::Damaged(damage)) if last.as_ref() != Some(&damage) => {
                last = Some(damage);
            }
            outcome => return outcome,
        }
    }
    place.read_file(path)
}

impl CheckpointFolder {
    /// Whether there are checkpoints in hourly files, of which this is the last number: then
    /// these files are no leftover of a creation that was cut short.
    fn has_history(&self, last_hourly: Option<u64>) -> Result<bool, CheckpointStoreError> {
        match last_hourly {
            None => Ok(false),
            Some(0) => Ok(!self
                .read_file(&hourly_path(&self.folder, 0))?
                .records
                .is_empty()),
            Some(_) => Ok(true),
        }
    }
}

const RECENT: &str = "recent.notes";

fn recent_path(folder: &Path) -> PathBuf {
    folder.join(RECENT)
}

fn hourly_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("hourly-{number:06}.notes"))
}

fn hourly_numbers<'a>(names: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = u64> {
    names.into_iter().filter_map(|name| {
        let digits = name.strip_prefix("hourly-")?.strip_suffix(".notes")?;
        digits.parse().ok()
    })
}
