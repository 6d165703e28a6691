//! Credentials as gets and lists show them: all of them, in RAM.
//!
//! Owns the order in which lists go: by organization, kind and id. Must never show a credential
//! without being told its organization, nor keep the writer waiting: a reader holds the lock for as
//! long as it takes to find one run of records, and reads the records themselves without it.

#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use ulid::Ulid;

use crate::domain::canonical::fold_case;
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Status};
use crate::domain::settled::{Keyed, Run, Runs, Settled};
use crate::domain::time::Timestamp;

use super::list_page::{ListCursor, ListPage, PAGE_SCANNED_MAX, PageQuery};

/// Records taken in under one hold of the lock: some 100 microseconds.
const TAKEN_AT_ONCE: usize = 256;

/// Which credentials a list shows; what is `None` lets all through.
#[derive(Clone, Copy, Debug)]
pub struct CredentialFilter<'a> {
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

impl CredentialFilter<'_> {
    /// Lets everything through.
    #[must_use]
    pub const fn match_all(now: Timestamp) -> Self {
        Self {
            kind: None,
            status: None,
            owner: None,
            project: None,
            q: None,
            now,
        }
    }

    /// One page of records that the caller holds, oldest first.
    #[must_use]
    pub fn page_of(&self, records: &[Arc<Credential>], ask: PageQuery) -> ListPage<Credential> {
        let q = self.q.map(fold_case);
        let end = CredentialId(ask.upper_bound());
        let mut found = records.iter().rev().filter(|record| {
            record.id() < end
                && self.kind.is_none_or(|kind| record.kind() == kind)
                && self.keeps(record, q.as_deref())
        });
        let records: Vec<_> = found.by_ref().take(ask.limit).cloned().collect();
        let last = records.last().map(|record| ListCursor(record.id().0));
        let next = last.filter(|_| found.next().is_some());
        ListPage { records, next }
    }

    /// `q` is folded already. The kind is the caller's to look at.
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

/// The key by which lists are ordered.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct ListKey {
    organization: OrganizationId,
    kind: Kind,
    id: CredentialId,
}

impl Keyed<ListKey> for Credential {
    fn key(&self) -> ListKey {
        ListKey::of(self)
    }
}

impl ListKey {
    fn of(record: &Credential) -> Self {
        Self {
            organization: record.organization(),
            kind: record.kind(),
            id: record.id(),
        }
    }
}

/// Every credential, ended ones too, as of the newest durable batch.
#[derive(Debug, Default)]
pub struct CredentialsView(RwLock<Runs<ListKey, Credential>>);

impl CredentialsView {
    /// Takes the records that a durable batch changed.
    pub(super) fn apply(&self, changed: &[Arc<Credential>]) {
        for records in changed.chunks(TAKEN_AT_ONCE) {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            for record in records {
                all.put(ListKey::of(record), Arc::clone(record));
            }
        }
    }

    /// Takes all records of a log, which nothing reads yet.
    pub fn load_all(&self, all: &[Arc<Credential>]) {
        self.apply(all);
    }

    /// A credential of the organization, an ended one too.
    #[must_use]
    pub fn get(&self, organization: OrganizationId, id: CredentialId) -> Option<Arc<Credential>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = |kind| ListKey {
            organization,
            kind,
            id,
        };
        let mut kinds = Kind::ALL.into_iter();
        kinds.find_map(|kind| all.get(&key(kind)).cloned())
    }

    /// The organization's credentials that the filter lets through, newest first.
    #[must_use]
    pub fn list(
        &self,
        of: OrganizationId,
        filter: &CredentialFilter<'_>,
        ask: PageQuery,
    ) -> ListPage<Credential> {
        let kinds = Kind::ALL.into_iter();
        let kinds = kinds.filter(|kind| filter.kind.is_none_or(|only| *kind == only));
        let end = CredentialId(ask.upper_bound());
        let mut records = Merged(kinds.map(|kind| self.newest_first(of, kind, end)).collect());
        let q = filter.q.map(fold_case);
        let mut page = ListPage::default();
        let mut last = None;
        for _ in 0..PAGE_SCANNED_MAX {
            if page.records.len() >= ask.limit {
                break;
            }
            let Some(record) = records.next() else {
                return page;
            };
            last = Some(ListCursor(record.id().0));
            if filter.keeps(&record, q.as_deref()) {
                page.records.push(record);
            }
        }
        page.next = last.filter(|_| records.peek().is_some());
        page
    }

    fn newest_first(
        &self,
        organization: OrganizationId,
        kind: Kind,
        end: CredentialId,
    ) -> NewestFirst<'_> {
        let key = |id| ListKey {
            organization,
            kind,
            id,
        };
        NewestFirst {
            credentials: self,
            begin: key(CredentialId(Ulid(0))),
            end: key(end),
            run: None,
        }
    }
}

/// The credentials of one kind from `begin` to below `end`, from the last to the first.
struct NewestFirst<'a> {
    credentials: &'a CredentialsView,
    begin: ListKey,
    end: ListKey,
    /// The run that is being read, and how many of its records are to come.
    run: Option<(Arc<Run<Credential>>, usize)>,
}

impl NewestFirst<'_> {
    fn peek(&mut self) -> Option<&Arc<Credential>> {
        if self.run.is_none() {
            let all = self
                .credentials
                .0
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let (run, count) = all.run_below(&self.end)?;
            self.run = Some((Arc::clone(run), count));
        }
        let (run, count) = self.run.as_ref()?;
        let next = run.get(count.checked_sub(1)?)?;
        (ListKey::of(next) >= self.begin).then_some(next)
    }

    fn next(&mut self) -> Option<Arc<Credential>> {
        let next = Arc::clone(self.peek()?);
        self.end = ListKey::of(&next);
        self.run = self.run.take().and_then(|(run, count)| match count {
            0 | 1 => None,
            more => Some((run, more - 1)),
        });
        Some(next)
    }
}

/// Several kinds as one list.
struct Merged<'a>(Vec<NewestFirst<'a>>);

impl Merged<'_> {
    /// The id of the next record.
    fn peek(&mut self) -> Option<CredentialId> {
        let ids = self.0.iter_mut().filter_map(|kind| kind.peek());
        ids.map(|record| record.id()).max()
    }

    fn next(&mut self) -> Option<Arc<Credential>> {
        let newest = self.peek()?;
        for kind in &mut self.0 {
            if kind.peek().is_some_and(|next| next.id() == newest) {
                return kind.next();
            }
        }
        None
    }
}
