//! The index as a stopped server left it, to be compared with the log: nothing is thrown away.

use std::path::Path;

use crate::domain::ids::Subject;

use super::progress::HistoryProgress;
use super::store::{HistoryStore, HistoryStoreError};

/// A history index that no server uses.
pub struct OfflineHistory(HistoryStore);

impl OfflineHistory {
    /// Opens what is in the folder; `None` where there is no index of this format.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn open(folder: &Path) -> Result<Option<(Self, HistoryProgress)>, HistoryStoreError> {
        let opened = HistoryStore::open_unchanged(folder)?;
        Ok(opened.map(|(store, applied)| (Self(store), applied)))
    }

    /// The position of a subject's event by its version.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn event_position(
        &self,
        subject: Subject,
        version: u32,
    ) -> Result<Option<u64>, HistoryStoreError> {
        let events = self
            .0
            .positions_after(subject, version.saturating_sub(1), 1)?;
        Ok(events.get(&version).copied())
    }

    /// How many events it holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn event_count(&self) -> Result<u64, HistoryStoreError> {
        self.0.event_count()
    }
}
