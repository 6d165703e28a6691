//! Credentials as they are now: from the token view, else from the state in RAM.

use std::sync::{Arc, PoisonError};

use ulid::Ulid;

use super::Ledger;
use crate::domain::ids::{CredentialId, OrganizationId};
use crate::domain::record::Credential;
use crate::views::page::{Page, PageAsk};
use crate::views::tokens::{BrokenView, Filter};

/// Records copied under one hold of the state: some 100 microseconds.
const RECORDS_AT_ONCE: usize = 4_096;
/// Records of all organizations that one list looks at while the view is broken: some 20
/// milliseconds. Lists of larger ledgers wait for the view.
const SCANNED_MAX: usize = 200_000;

impl Ledger {
    /// A credential of the organization, an ended one too.
    ///
    /// # Errors
    /// None while the state is there.
    pub fn credential(
        &self,
        of: OrganizationId,
        id: CredentialId,
    ) -> Result<Option<Arc<Credential>>, BrokenView> {
        self.views().tokens.get(of, id).or_else(|_broken| {
            // The settled one: what is staged is not durable yet.
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let before = id.ulid().0.checked_sub(1).map(|id| CredentialId(Ulid(id)));
            let found = state.credentials_after(before).next().cloned();
            drop(state);
            Ok(found.filter(|found| found.id() == id && found.organization() == of))
        })
    }

    /// The organization's credentials that the filter lets through, newest first.
    ///
    /// # Errors
    /// When the view is broken and the ledger is too large for it to be made good from RAM.
    pub fn credentials(
        &self,
        of: OrganizationId,
        filter: &Filter<'_>,
        ask: PageAsk,
    ) -> Result<Page<Credential>, BrokenView> {
        let listed = self.views().tokens.list(of, filter, ask);
        listed.or_else(|broken| {
            let records = self.credentials_in_ram(of).ok_or(broken)?;
            Ok(filter.page(&records, ask))
        })
    }

    /// All credentials of an organization, oldest first; `None` if that is too much to look at.
    fn credentials_in_ram(&self, of: OrganizationId) -> Option<Vec<Arc<Credential>>> {
        let (mut found, mut after, mut scanned) = (Vec::new(), None, 0);
        loop {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let mut taken = 0;
            for record in state.credentials_after(after).take(RECORDS_AT_ONCE) {
                taken += 1;
                after = Some(record.id());
                if record.organization() == of {
                    found.push(Arc::clone(record));
                }
            }
            drop(state);
            scanned += taken;
            if taken < RECORDS_AT_ONCE {
                return Some(found);
            }
            if scanned >= SCANNED_MAX {
                return None;
            }
        }
    }
}
