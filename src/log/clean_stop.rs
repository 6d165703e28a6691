//! The mark of a clean stop: all up to here was synced, and nothing has been written since.
//!
//! Owns the form of that file. Must never be believed where it says more than the log itself:
//! then it is a floor below which the log has fallen.

use std::path::Path;

use super::disk::Disk;
use super::error::{FileError, FileErrorContext};
use super::frame::FieldReader;
use super::segment::CLEAN_MARK_FILE;
use crate::merkle::Hash;

/// What a clean stop states: all up to here was synced, and nothing has been written since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CleanStopMark {
    pub(crate) log_id: [u8; 16],
    pub(crate) next: u64,
    pub(crate) root: Hash,
}

const MARK_MAGIC: [u8; 8] = *b"KLCLEAN1";

impl CleanStopMark {
    pub(crate) fn write(&self, disk: &Disk, folder: &Path) -> Result<(), FileError> {
        let path = folder.join(CLEAN_MARK_FILE);
        let mut bytes = MARK_MAGIC.to_vec();
        bytes.extend_from_slice(&self.log_id);
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&self.root);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        disk.write_file_atomically(&path, &bytes).at("write", &path)
    }

    /// The mark in a folder, unless it is not whole.
    pub(crate) fn read(disk: &Disk, folder: &Path) -> Result<Option<Self>, FileError> {
        let path = folder.join(CLEAN_MARK_FILE);
        let bytes = disk.read_file(&path).at("read", &path)?;
        Ok(Self::decode(&bytes))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let mut fields = FieldReader(content);
        let whole = u32::from_le_bytes(*crc) == crc32c::crc32c(content)
            && fields.read_bytes::<8>()? == MARK_MAGIC;
        let mark = Self {
            log_id: fields.read_bytes()?,
            next: fields.read_u64()?,
            root: fields.read_bytes()?,
        };
        (whole && fields.0.is_empty()).then_some(mark)
    }
}
