//! The disk under the log: real files; in unit tests also a faulty disk in memory.
//!
//! Owns every call that touches a file of the log and the order in which a new file becomes
//! visible: temporary name, content, sync, rename, sync of the folder. Must never retry a write
//! or a sync: what a failed sync has left behind is not known. Paths and bytes come in, bytes and
//! the system's own errors go out.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[cfg(test)]
use super::memory_disk::{MemoryDisk, MemoryFile};

/// The unit that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// Zeros are written, and files are read through, in pieces of this size.
pub(crate) const IO_CHUNK_BYTES: usize = 1024 * 1024;

/// Where the log's files are.
#[derive(Clone, Debug)]
pub enum Disk {
    /// The machine's file system.
    Real,
    /// A disk in memory that forgets what was not synced and fails where a test sets a fault.
    #[cfg(test)]
    Memory(MemoryDisk),
}

/// Free bytes of the file system that holds `path`, for a user who is not root.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

impl Disk {
    pub(crate) fn create_folder_durably(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => {
                fs::create_dir_all(path)?;
                path.parent()
                    .map_or(Ok(()), |parent| self.sync_folder(parent))
            }
            #[cfg(test)]
            Self::Memory(_) => Ok(()),
        }
    }

    /// Free bytes where `path` is; without bound where writes themselves count.
    pub(crate) fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        match self {
            Self::Real => free_bytes(path),
            #[cfg(test)]
            Self::Memory(_) => Ok(u64::MAX),
        }
    }

    /// Creates a file, or empties the one that is there.
    pub(crate) fn create_or_truncate(&self, path: &Path) -> io::Result<DiskFile> {
        match self {
            Self::Real => {
                let mut options = fs::OpenOptions::new();
                options.read(true).write(true).create(true).truncate(true);
                options.open(path).map(DiskFile::Real)
            }
            #[cfg(test)]
            Self::Memory(disk) => disk.create(path).map(DiskFile::Memory),
        }
    }

    /// Opens a file that exists, for reading and writing.
    pub(crate) fn open_to_write(&self, path: &Path) -> io::Result<DiskFile> {
        match self {
            Self::Real => {
                let mut options = fs::OpenOptions::new();
                options.read(true).write(true);
                options.open(path).map(DiskFile::Real)
            }
            #[cfg(test)]
            Self::Memory(disk) => disk.open(path).map(DiskFile::Memory),
        }
    }

    /// Opens a file that exists, for reading alone: a copy on a medium that cannot be written to
    /// is read as well.
    pub(crate) fn open_to_read(&self, path: &Path) -> io::Result<DiskFile> {
        match self {
            Self::Real => fs::File::open(path).map(DiskFile::Real),
            #[cfg(test)]
            Self::Memory(disk) => disk.open(path).map(DiskFile::Memory),
        }
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Real => fs::rename(from, to),
            #[cfg(test)]
            Self::Memory(disk) => disk.rename(from, to),
        }
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => fs::remove_file(path),
            #[cfg(test)]
            Self::Memory(disk) => disk.remove(path),
        }
    }

    /// Makes what was created, renamed and removed in the folder durable.
    pub(crate) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real if path.as_os_str().is_empty() => fs::File::open(".")?.sync_all(),
            Self::Real => fs::File::open(path)?.sync_all(),
            #[cfg(test)]
            Self::Memory(disk) => disk.sync_folder(path),
        }
    }

    /// The names in a folder, in order. Names that are not UTF-8 are left out.
    pub(crate) fn list_names(&self, path: &Path) -> io::Result<Vec<String>> {
        match self {
            Self::Real => {
                let mut names = Vec::new();
                for entry in fs::read_dir(path)? {
                    if let Ok(name) = entry?.file_name().into_string() {
                        names.push(name);
                    }
                }
                names.sort();
                Ok(names)
            }
            #[cfg(test)]
            Self::Memory(disk) => disk.list(path),
        }
    }

    /// Creates a file full of zeros and syncs it; the folder is not yet synced.
    pub(crate) fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<DiskFile> {
        let file = self.create_or_truncate(path)?;
        let zeros = vec![0; IO_CHUNK_BYTES];
        let mut at = 0;
        while at < bytes {
            let piece =
                usize::try_from(bytes - at).map_or(IO_CHUNK_BYTES, |n| n.min(IO_CHUNK_BYTES));
            file.write_all_at(at, zeros.get(..piece).unwrap_or(&zeros))?;
            at += piece as u64;
        }
        file.sync_data()?;
        Ok(file)
    }

    /// Gives a synced file its name, for good: rename, then sync of the folder.
    pub(crate) fn rename_and_sync(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(from, to)?;
        self.sync_folder(to.parent().unwrap_or_else(|| Path::new(".")))
    }

    /// Writes a small file whole: temporary name, sync, rename, sync of the folder.
    pub(crate) fn write_file_atomically(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_added_extension("tmp");
        let file = self.create_or_truncate(&temporary)?;
        file.write_all_at(0, bytes)?;
        file.sync_data()?;
        self.rename_and_sync(&temporary, path)
    }

    /// Reads a small file whole.
    pub(crate) fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open_to_read(path)?;
        let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        let read = file.read_full_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// An open file; reads and writes name their offset, so that one handle serves all threads.
#[derive(Debug)]
pub(crate) enum DiskFile {
    Real(fs::File),
    #[cfg(test)]
    Memory(MemoryFile),
}

impl DiskFile {
    pub(crate) fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Real(file) => file.write_all_at(bytes, offset),
            #[cfg(test)]
            Self::Memory(file) => file.write_at(offset, bytes),
        }
    }

    /// Fills `buffer` as far as the file reaches and says how far that is.
    pub(crate) fn read_full_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match self {
            Self::Real(file) => file,
            #[cfg(test)]
            Self::Memory(file) => return Ok(file.read_at(offset, buffer)),
        };
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// fdatasync: the content, and of the metadata what is needed to read it.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_data(),
            #[cfg(test)]
            Self::Memory(file) => file.sync(),
        }
    }

    pub(crate) fn length(&self) -> io::Result<u64> {
        match self {
            Self::Real(file) => file.metadata().map(|metadata| metadata.len()),
            #[cfg(test)]
            Self::Memory(file) => Ok(file.length()),
        }
    }
}
