//! What many credentials have alike, kept once: grants, token prefixes, and the whole of what a
//! record shares.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::credential::Common;
use super::{Credential, Grant, NoSecret, Unpacked};

/// Values that records share.
#[derive(Debug, Default)]
pub struct Shared {
    grants: Known<Grant>,
    prefixes: Known<str>,
    commons: Known<Common>,
}

impl Shared {
    /// Equal grants share their memory.
    pub fn grant(&mut self, grant: &Grant) -> Arc<Grant> {
        self.grants.share(grant, || Arc::new(grant.clone()))
    }

    /// Equal prefixes share their memory.
    pub fn prefix(&mut self, prefix: &str) -> Arc<str> {
        self.prefixes.share(prefix, || prefix.into())
    }

    /// Packs a record, which then shares what others have too.
    pub fn pack(&mut self, open: Unpacked) -> Result<Credential, NoSecret> {
        let mut credential = Credential::try_from(open)?;
        self.share(&mut credential);
        Ok(credential)
    }

    /// Lets a record share what others have too.
    pub fn share(&mut self, credential: &mut Credential) {
        if let Some(known) = self.commons.get(&credential.common) {
            credential.common = known;
            return;
        }
        let mut common = (*credential.common).clone();
        let (grant, prefix) = common.interned_mut();
        *grant = self.grant(grant);
        *prefix = self.prefix(prefix);
        credential.common = self.commons.share(&common, || Arc::new(common.clone()));
    }
}

/// Every value that is in use, once.
#[derive(Debug)]
struct Known<T: ?Sized> {
    values: BTreeSet<Arc<T>>,
    /// So many are to be there before those that nothing uses any more are looked for.
    swept_at: usize,
}

impl<T: ?Sized> Default for Known<T> {
    fn default() -> Self {
        Self {
            values: BTreeSet::new(),
            swept_at: 0,
        }
    }
}

impl<T: Ord + ?Sized> Known<T> {
    fn get(&self, value: &T) -> Option<Arc<T>> {
        self.values.get(value).cloned()
    }

    fn share(&mut self, value: &T, new: impl FnOnce() -> Arc<T>) -> Arc<T> {
        if let Some(known) = self.get(value) {
            return known;
        }
        if self.values.len() >= self.swept_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.swept_at = 2 * self.values.len() + 64;
        }
        let new = new();
        self.values.insert(Arc::clone(&new));
        new
    }
}
