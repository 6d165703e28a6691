//! Lists of credentials: the backlog and the store merged, newest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use ulid::Ulid;

use crate::domain::canonical::fold_case;
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Status};
use crate::domain::time::Timestamp;

use super::backlog::{Backlog, Window};
use super::store::{NewestFirst, Store, StoreError, read_credential};
use crate::views::page::{Cursor, Page, PageAsk, SCANNED_MAX};

/// How many credentials of a kind are taken from the backlog under one lock: some 100 microseconds.
const WINDOW_LEN: usize = 1_000;

/// Which credentials a list shows; what is `None` lets all through.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    pub kind: Option<Kind>,
    pub status: Option<Status>,
    /// Acting for this owner.
    pub owner: Option<Owner>,
    /// Bound to this project.
    pub project: Option<ProjectId>,
    /// With this in their name, whatever the case.
    pub q: Option<&'a str>,
    /// The instant that a status is of.
    pub now: Timestamp,
}

impl Filter<'_> {
    /// Lets everything through.
    #[must_use]
    pub const fn all(now: Timestamp) -> Self {
        Self {
            kind: None,
            status: None,
            owner: None,
            project: None,
            q: None,
            now,
        }
    }

    /// One page of records that are in RAM, oldest first.
    #[must_use]
    pub fn page(&self, records: &[Arc<Credential>], ask: PageAsk) -> Page<Credential> {
        let q = self.q.map(fold_case);
        let end = CredentialId(ask.end());
        let mut found = records.iter().rev().filter(|record| {
            record.id() < end
                && self.kind.is_none_or(|kind| record.kind() == kind)
                && self.keeps(record, q.as_deref())
        });
        let records: Vec<_> = found.by_ref().take(ask.limit).cloned().collect();
        let last = records.last().map(|record| Cursor(record.id().0));
        let next = last.filter(|_| found.next().is_some());
        Page { records, next }
    }

    /// `q` is folded already.
    fn keeps(&self, record: &Credential, q: Option<&str>) -> bool {
        self.status
            .is_none_or(|status| record.status(self.now) == status)
            && self.owner.is_none_or(|owner| record.owner() == owner)
            && self
                .project
                .is_none_or(|project| record.project() == Some(project))
            && q.is_none_or(|q| fold_case(record.name()).contains(q))
    }
}

/// The page so far.
struct Progress {
    page: Page<Credential>,
    limit: usize,
    scanned: usize,
    last: Option<CredentialId>,
}

/// The page of the organization's credentials that `ask` asks for.
pub(super) fn list(
    backlog: &Backlog,
    store: &Store,
    of: OrganizationId,
    filter: &Filter<'_>,
    ask: PageAsk,
) -> Result<Page<Credential>, StoreError> {
    let one;
    let kinds = match filter.kind {
        Some(kind) => {
            one = [kind];
            one.as_slice()
        }
        None => Kind::ALL.as_slice(),
    };
    let q = filter.q.map(fold_case);
    let keeps = |record: &Credential| filter.keeps(record, q.as_deref());
    let mut progress = Progress {
        page: Page {
            records: Vec::new(),
            next: None,
        },
        limit: ask.limit,
        scanned: 0,
        last: None,
    };
    let mut end = CredentialId(ask.end());
    loop {
        // RAM first: what leaves it meanwhile is in the store by the time that is read. The next
        // window reads both anew.
        let Window { records, floor } = backlog.window(of, kinds, end, WINDOW_LEN);
        let range = (floor.unwrap_or(CredentialId(Ulid(0))), end);
        let goes_on = store.newest_first(of, kinds, range, |stored| {
            progress.merge(records, stored, keeps)
        })?;
        match floor {
            Some(floor) if goes_on => end = floor,
            Some(_) | None => return Ok(progress.page),
        }
    }
}

impl Progress {
    /// Takes what both hold, the fresh record where both have one; `false` once the page is full.
    fn merge(
        &mut self,
        mut fresh: BTreeMap<CredentialId, Arc<Credential>>,
        stored: &mut NewestFirst,
        keeps: impl Fn(&Credential) -> bool,
    ) -> Result<bool, StoreError> {
        loop {
            let next_fresh = fresh.last_key_value().map(|(id, _)| *id);
            let next_stored = stored.peek();
            let Some(next) = next_fresh.max(next_stored) else {
                return Ok(true);
            };
            if self.page.records.len() >= self.limit || self.scanned >= SCANNED_MAX {
                self.page.next = self.last.map(|id| Cursor(id.0));
                return Ok(false);
            }
            let value = if next_stored == Some(next) {
                stored.next()?
            } else {
                None
            };
            let record = match (fresh.remove(&next), value) {
                (Some(record), _) => record,
                (None, Some(value)) => read_credential(&value)?,
                (None, None) => return Err(StoreError::Key),
            };
            self.scanned += 1;
            self.last = Some(next);
            if keeps(&record) {
                self.page.records.push(record);
            }
        }
    }
}
