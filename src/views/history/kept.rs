//! The index as it was left, to be compared with the log: nothing is thrown away.

use std::path::Path;

use crate::domain::ids::Subject;

use super::store::{Applied, Store, StoreError};

/// An index that is not in use.
pub struct KeptHistory(Store);

impl KeptHistory {
    /// Opens what is in the folder; `None` where that is no index of this format.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn open(folder: &Path) -> Result<Option<(Self, Applied)>, StoreError> {
        let opened = Store::open_kept(folder)?;
        Ok(opened.map(|(store, applied)| (Self(store), applied)))
    }

    /// The position of a subject's event by its version.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn event(&self, subject: Subject, version: u32) -> Result<Option<u64>, StoreError> {
        let events = self.0.history(subject, version.saturating_sub(1), 1)?;
        Ok(events.get(&version).copied())
    }

    /// How many events it holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn count(&self) -> Result<u64, StoreError> {
        self.0.count()
    }
}
