//! The directory: organizations, projects, members, service accounts and webhook endpoints, for
//! lists and gets.
//!
//! Owns the newest version of each such record, in RAM. Must never be asked by verification, which
//! has an index of its own, and never without naming the organization. Records flow in from
//! committed batches; shared copies flow out. Ended records stay.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ulid::Ulid;

use crate::domain::ids::{EndpointId, OrganizationId, ProjectId, ServiceAccountId, UserId};
use crate::domain::record::{Member, Organization, Project, ServiceAccount, WebhookEndpoint};
use crate::domain::state::Changes;

use super::list_page::{ListCursor, ListPage, PAGE_SCANNED_MAX, PageQuery};

type Records<T> = BTreeMap<(OrganizationId, Ulid), Arc<T>>;

/// Every record but credentials.
#[derive(Debug, Default)]
pub struct Directory {
    shelves: RwLock<DirectoryShelves>,
    endpoint_changes: AtomicU64,
}

#[derive(Debug, Default)]
struct DirectoryShelves {
    organizations: BTreeMap<Ulid, Arc<Organization>>,
    projects: Records<Project>,
    members: Records<Member>,
    accounts: Records<ServiceAccount>,
    endpoints: Records<WebhookEndpoint>,
}

impl Directory {
    /// Takes what a committed batch changed.
    pub fn apply(&self, changes: &Changes) {
        let idle = changes.organizations.is_empty()
            && changes.projects.is_empty()
            && changes.members.is_empty()
            && changes.accounts.is_empty()
            && changes.endpoints.is_empty();
        if idle {
            return;
        }
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        for record in &changes.organizations {
            shelves
                .organizations
                .insert(record.id.0, Arc::clone(record));
        }
        for record in &changes.projects {
            let key = (record.organization, record.id.0);
            shelves.projects.insert(key, Arc::clone(record));
        }
        for record in &changes.members {
            let key = (record.organization, record.id.0);
            shelves.members.insert(key, Arc::clone(record));
        }
        for record in &changes.accounts {
            let key = (record.organization, record.id.0);
            shelves.accounts.insert(key, Arc::clone(record));
        }
        for record in &changes.endpoints {
            let key = (record.organization, record.id.0);
            shelves.endpoints.insert(key, Arc::clone(record));
        }
        if !changes.endpoints.is_empty() {
            self.endpoint_changes.fetch_add(1, Ordering::Release);
        }
    }

    #[must_use]
    pub fn organization(&self, id: OrganizationId) -> Option<Arc<Organization>> {
        self.read().organizations.get(&id.ulid()).cloned()
    }

    /// The organization, while the ledger holds one and no other.
    #[must_use]
    pub fn only_organization(&self) -> Option<Arc<Organization>> {
        let shelves = self.read();
        let mut all = shelves.organizations.values();
        let first = all.next().cloned();
        first.filter(|_| all.next().is_none())
    }

    /// All organizations: for those who may see the whole platform.
    #[must_use]
    pub fn organizations(
        &self,
        ask: PageQuery,
        keep: impl Fn(&Organization) -> bool,
    ) -> ListPage<Organization> {
        let shelves = self.read();
        let end = ask.upper_bound();
        let records = shelves.organizations.range(..end).rev();
        collect_page(records.map(|(id, record)| (*id, record)), ask.limit, keep)
    }

    #[must_use]
    pub fn project(&self, of: OrganizationId, id: ProjectId) -> Option<Arc<Project>> {
        self.read().projects.get(&(of, id.0)).cloned()
    }

    /// The organization's projects that `keep` keeps.
    #[must_use]
    pub fn projects(
        &self,
        of: OrganizationId,
        ask: PageQuery,
        keep: impl Fn(&Project) -> bool,
    ) -> ListPage<Project> {
        list_page(&self.read().projects, of, ask, keep)
    }

    /// A member of the organization, a removed one too.
    #[must_use]
    pub fn member(&self, of: OrganizationId, id: UserId) -> Option<Arc<Member>> {
        self.read().members.get(&(of, id.0)).cloned()
    }

    /// The organization's members that `keep` keeps.
    #[must_use]
    pub fn members(
        &self,
        of: OrganizationId,
        ask: PageQuery,
        keep: impl Fn(&Member) -> bool,
    ) -> ListPage<Member> {
        list_page(&self.read().members, of, ask, keep)
    }

    /// A service account of the organization, a deleted one too.
    #[must_use]
    pub fn service_account(
        &self,
        of: OrganizationId,
        id: ServiceAccountId,
    ) -> Option<Arc<ServiceAccount>> {
        self.read().accounts.get(&(of, id.0)).cloned()
    }

    /// The organization's service accounts that `keep` keeps.
    #[must_use]
    pub fn service_accounts(
        &self,
        of: OrganizationId,
        ask: PageQuery,
        keep: impl Fn(&ServiceAccount) -> bool,
    ) -> ListPage<ServiceAccount> {
        list_page(&self.read().accounts, of, ask, keep)
    }

    /// A webhook endpoint of the organization, a deleted one too.
    #[must_use]
    pub fn webhook_endpoint(
        &self,
        of: OrganizationId,
        id: EndpointId,
    ) -> Option<Arc<WebhookEndpoint>> {
        self.read().endpoints.get(&(of, id.0)).cloned()
    }

    /// The organization's webhook endpoints that `keep` keeps.
    #[must_use]
    pub fn webhook_endpoints(
        &self,
        of: OrganizationId,
        ask: PageQuery,
        keep: impl Fn(&WebhookEndpoint) -> bool,
    ) -> ListPage<WebhookEndpoint> {
        list_page(&self.read().endpoints, of, ask, keep)
    }

    /// Counts the batches that changed webhook endpoints: as long as it is the same, so are they.
    #[must_use]
    pub fn webhook_endpoint_change_count(&self) -> u64 {
        self.endpoint_changes.load(Ordering::Acquire)
    }

    /// The webhook endpoints of all organizations, deleted ones too: for the delivery task.
    #[must_use]
    pub fn all_webhook_endpoints(&self) -> Vec<Arc<WebhookEndpoint>> {
        self.read().endpoints.values().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, DirectoryShelves> {
        // A panic between two inserts leaves whole records, so that a poisoned lock is still good.
        self.shelves.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list_page<T>(
    records: &Records<T>,
    of: OrganizationId,
    ask: PageQuery,
    keep: impl Fn(&T) -> bool,
) -> ListPage<T> {
    let end = ask.upper_bound();
    let records = records.range((of, Ulid(0))..(of, end)).rev();
    collect_page(
        records.map(|((_, id), record)| (*id, record)),
        ask.limit,
        keep,
    )
}

fn collect_page<'a, T: 'a>(
    newest_first: impl Iterator<Item = (Ulid, &'a Arc<T>)>,
    limit: usize,
    keep: impl Fn(&T) -> bool,
) -> ListPage<T> {
    let mut records = Vec::new();
    let mut last = None;
    for (scanned, (id, record)) in newest_first.enumerate() {
        if records.len() == limit || scanned == PAGE_SCANNED_MAX {
            return ListPage {
                records,
                next: last.map(ListCursor),
            };
        }
        if keep(record) {
            records.push(Arc::clone(record));
        }
        last = Some(id);
    }
    ListPage {
        records,
        next: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::views::fixtures::stamp;

    fn project(of: u128, id: u128, archived: bool) -> Arc<Project> {
        Arc::new(Project {
            id: ProjectId(Ulid(id)),
            organization: OrganizationId(Ulid(of)),
            name: format!("project {id}"),
            archived,
            stamp: stamp(1, Timestamp(0)),
        })
    }

    #[test]
    fn lists_are_newest_first_in_pages_and_never_leave_their_organization() {
        let directory = Directory::default();
        let projects = (1..=7).map(|id| project(1 + id % 2, id, id == 5)).collect();
        directory.apply(&Changes {
            projects,
            ..Changes::default()
        });
        let of = OrganizationId(Ulid(2));
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let ask = PageQuery { after, limit: 2 };
            let page = directory.projects(of, ask, |_| true);
            seen.extend(page.records.iter().map(|record| record.id.0.0));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, [7, 5, 3, 1]);
        let ask = PageQuery {
            after: None,
            limit: 10,
        };
        let live = directory.projects(of, ask, |project| !project.archived);
        assert_eq!(live.records.len(), 3);
        assert!(directory.project(of, ProjectId(Ulid(7))).is_some());
        assert!(directory.project(of, ProjectId(Ulid(6))).is_none());
        assert!(directory.members(of, ask, |_| true).records.is_empty());
    }
}
