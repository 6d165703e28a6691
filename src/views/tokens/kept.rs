//! The view as it was left, for whoever compares it with the log: nothing is thrown away.

use std::path::Path;
use std::sync::Arc;

use crate::domain::ids::{CredentialId, OrganizationId, Subject};
use crate::domain::record::Credential;

use super::store::{Applied, Store, StoreError};

/// A view that nobody has in use.
pub struct KeptView(Store);

impl KeptView {
    /// Opens what is in the folder; `None` where that is no view of this format.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn open(folder: &Path) -> Result<Option<(Self, Applied)>, StoreError> {
        let opened = Store::open_kept(folder)?;
        Ok(opened.map(|(store, applied)| (Self(store), applied)))
    }

    /// A credential of the organization.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn credential(
        &self,
        of: OrganizationId,
        id: CredentialId,
    ) -> Result<Option<Arc<Credential>>, StoreError> {
        self.0.credential(of, id)
    }

    /// The position of a subject's event by its version.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn event(&self, subject: Subject, version: u32) -> Result<Option<u64>, StoreError> {
        let events = self.0.history(subject, version.saturating_sub(1), 1)?;
        Ok(events.get(&version).copied())
    }

    /// How many credentials it holds, and how many events of records.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counts(&self) -> Result<(u64, u64), StoreError> {
        self.0.counts()
    }
}
