//! The files of data keys as an audit sees them, without opening the ledger.
//!
//! Says of each whether it is there and whole: with the master key when that lies in the folder
//! and can be read, else by the file's own checksum. Must never write, nor hand out a key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::SealError;
use super::key_store::{MASTER_KEY_FILE, read_key, read_master_key};
use super::keys_folder::{self, FolderContent};
use super::secret::DataKeyId;
use super::wrapped_key::{KeyFileName, MasterKey, checked_file_body};

/// The files of a keys folder.
#[derive(Debug)]
pub struct DataKeyFiles {
    dir: PathBuf,
    master: Option<MasterKey>,
    listed: BTreeSet<DataKeyId>,
}

impl DataKeyFiles {
    /// Lists the folder; `None` when it is missing or empty, as in a copy without keys.
    ///
    /// # Errors
    /// What the file system says.
    pub fn list_folder(dir: &Path) -> Result<Option<Self>, SealError> {
        if matches!(
            keys_folder::folder_content(dir)?,
            FolderContent::Missing | FolderContent::Empty
        ) {
            return Ok(None);
        }
        let names = keys_folder::list_finished_names(dir)?;
        Ok(Some(Self {
            dir: dir.to_path_buf(),
            // One that lies elsewhere, or is damaged itself, is no reason to check nothing.
            master: read_master_key(&dir.join(MASTER_KEY_FILE)).ok(),
            listed: names.iter().filter_map(|name| name.parse().ok()).collect(),
        }))
    }

    /// Where the file of a key is, or should be.
    pub fn key_path(&self, id: DataKeyId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Whether the file of a key is there, and whole. One that was there when the folder was
    /// looked at may have been destroyed since, by the server that is running.
    ///
    /// # Errors
    /// Those of damage.
    pub fn check_key_file(&self, id: DataKeyId) -> Result<bool, SealError> {
        let name = KeyFileName::Data(id);
        let found = match &self.master {
            Some(master) => read_key(&self.dir, master, name)?.is_some(),
            None => {
                let path = self.key_path(id);
                let text = keys_folder::read_key_file(&path)?;
                let body = text.map(|text| checked_file_body(&path, &text).map(drop));
                body.transpose()?.is_some()
            }
        };
        Ok(found || self.listed.contains(&id))
    }
}
