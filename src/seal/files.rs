//! The files of data keys as an audit sees them, without opening the ledger.
//!
//! Says of each whether it is there and whole: with the master key when that lies in the folder
//! and can be read, else by the file's own checksum. Must never write, nor hand out a key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::SealError;
use super::folder::{self, Found};
use super::keys::{MASTER_FILE, read_key, read_master};
use super::secret::DataKeyId;
use super::wrapped::{KeyName, Master, checked_body};

/// The files of a keys folder.
#[derive(Debug)]
pub struct KeyFiles {
    dir: PathBuf,
    master: Option<Master>,
    listed: BTreeSet<DataKeyId>,
}

impl KeyFiles {
    /// Looks at the folder; `None` when there is none, as in a copy without keys.
    ///
    /// # Errors
    /// What the file system says.
    pub fn look(dir: &Path) -> Result<Option<Self>, SealError> {
        if matches!(folder::look(dir)?, Found::Nothing | Found::Empty) {
            return Ok(None);
        }
        let names = folder::names(dir)?;
        Ok(Some(Self {
            dir: dir.to_path_buf(),
            // One that lies elsewhere, or is damaged itself, is no reason to check nothing.
            master: read_master(&dir.join(MASTER_FILE)).ok(),
            listed: names.iter().filter_map(|name| name.parse().ok()).collect(),
        }))
    }

    /// Where the file of a key is, or should be.
    pub fn path(&self, id: DataKeyId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Whether the file of a key is there, and whole. One that was there when the folder was
    /// looked at may have been destroyed since, by the server that is running.
    ///
    /// # Errors
    /// Those of damage.
    pub fn check(&self, id: DataKeyId) -> Result<bool, SealError> {
        let name = KeyName::Data(id);
        let found = match &self.master {
            Some(master) => read_key(&self.dir, master, name)?.is_some(),
            None => {
                let path = self.path(id);
                let text = folder::read(&path)?;
                let body = text.map(|text| checked_body(&path, &text).map(drop));
                body.transpose()?.is_some()
            }
        };
        Ok(found || self.listed.contains(&id))
    }
}
