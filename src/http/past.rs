//! Reads of the past: `as_of`, and how many of them run at once.
//!
//! `as_of` is a position (digits), or an instant that is resolved to one; the answer names it in
//! `Ledger-Position`. Statuses are those of that instant. Logs are read off the async threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderValue;
use axum::response::Response;
use serde::Deserialize;

use super::call::Call;
use super::context::LEDGER_POSITION;
use super::problem::Problem;
use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::record::Credential;
use crate::domain::state::Changes;
use crate::domain::time::Timestamp;
use crate::ledger::past::PastError;
use crate::ledger::{Ledger, Record};
use crate::views::directory::Directory;

/// Readings of one organization's whole past that run at once.
const AT_ONCE_MAX: u8 = 2;
/// The same of all organizations: each holds one organization's credentials in RAM.
const AT_ONCE_IN_ALL_MAX: usize = 8;
/// How long one may take: some millions of events.
pub(super) const WITHIN_MS: i64 = 10_000;

/// `as_of` of a read of one record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AsOf {
    pub(super) as_of: Option<String>,
}

/// A place in the past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Of the last event that counts; `None` before the first.
    position: Option<u64>,
    /// For statuses.
    pub(super) at: Timestamp,
}

impl Moment {
    /// The moment that `as_of` names.
    pub(super) async fn named(call: &Call, as_of: &str) -> Result<Self, Problem> {
        let wrong = |why: &str| Problem::invalid_query("as_of", why);
        if as_of.bytes().all(|byte| byte.is_ascii_digit()) {
            let position = as_of
                .parse()
                .map_err(|_too_long| Problem::position_unknown())?;
            call.app.ledger.check_position(position)?;
            let at = off_thread(call, move |ledger| ledger.happened_at(position)).await??;
            let position = Some(position);
            return Ok(Self { position, at });
        }
        let at = Timestamp::parse(as_of).map_err(|why| wrong(&why.to_string()))?;
        if at > call.now() {
            return Err(wrong("lies in the future"));
        }
        let position = off_thread(call, move |ledger| ledger.position_at(at)).await??;
        Ok(Self { position, at })
    }

    /// Now, as the views show it.
    pub(super) fn present(call: &Call) -> Self {
        Self {
            position: call.views().position(),
            at: call.now(),
        }
    }

    /// Of the last event that counts; `None` before the first.
    pub(super) const fn position(self) -> Option<u64> {
        self.position
    }

    /// How many events count.
    pub(super) fn events(self) -> u64 {
        self.position.map_or(0, |position| position + 1)
    }

    /// A credential as it was then; `None` if it was not there yet.
    pub(super) async fn credential(
        self,
        call: &Call,
        subject: Subject,
    ) -> Result<Option<Arc<Credential>>, Problem> {
        let Some(position) = self.position else {
            return Ok(None);
        };
        let read = move |ledger: &Ledger| ledger.record_as_of(subject, position);
        match off_thread(call, read).await?? {
            Record::Credential(record) => Ok(Some(record)),
            Record::Ledger
            | Record::Organization(_)
            | Record::Project(_)
            | Record::Member(_)
            | Record::ServiceAccount(_)
            | Record::Session(_)
            | Record::WebhookEndpoint(_) => Ok(None),
        }
    }

    /// The credentials of an organization as they were then, oldest first.
    pub(super) async fn credentials(
        self,
        call: &Call,
        organization: OrganizationId,
    ) -> Result<Vec<Arc<Credential>>, Problem> {
        let Some(position) = self.position else {
            return Ok(Vec::new());
        };
        let running = call.app.past.begin(organization)?;
        let read = move |ledger: &Ledger| {
            // It ends with the reading, also when nobody waits for that any more.
            let _running = running;
            ledger.credentials_as_of(organization, position, WITHIN_MS)
        };
        Ok(off_thread(call, read).await??)
    }

    /// Names the position in an answer.
    pub(super) fn stamp(self, response: &mut Response) {
        if let Some(position) = self.position {
            let value = HeaderValue::from(position);
            response.headers_mut().insert(LEDGER_POSITION, value);
        }
    }
}

/// The members, projects, accounts and endpoints of an organization: as they are, or as they were.
pub(super) enum Then<'a> {
    /// As the views show them.
    Now(&'a Directory),
    /// As they were.
    Was(Box<Directory>, Moment),
}

impl<'a> Then<'a> {
    /// All of an organization's, for a list; or all that there are.
    pub(super) async fn all(
        call: &'a Call,
        organization: Option<OrganizationId>,
        as_of: Option<&str>,
    ) -> Result<Self, Problem> {
        let Some(as_of) = as_of else {
            return Ok(Self::Now(&call.views().directory));
        };
        let moment = Moment::named(call, as_of).await?;
        // All of them count as the reading of an organization that nobody has.
        let nobody = OrganizationId(ulid::Ulid::nil());
        let running = call.app.past.begin(organization.unwrap_or(nobody))?;
        let events = moment.events();
        let read = move |ledger: &Ledger| {
            // It ends with the reading, also when nobody waits for that any more.
            let _running = running;
            ledger.folded(organization, events, WITHIN_MS)
        };
        let fold = off_thread(call, read).await??;
        let directory = Directory::default();
        directory.apply(&fold.state().everything());
        Ok(Self::Was(Box::new(directory), moment))
    }

    /// One record alone.
    pub(super) async fn one(
        call: &'a Call,
        subject: Subject,
        as_of: Option<&str>,
    ) -> Result<Self, Problem> {
        let Some(as_of) = as_of else {
            return Ok(Self::Now(&call.views().directory));
        };
        let moment = Moment::named(call, as_of).await?;
        let directory = Directory::default();
        if let Some(position) = moment.position {
            let read = move |ledger: &Ledger| ledger.record_as_of(subject, position);
            let mut changes = Changes::default();
            match off_thread(call, read).await?? {
                Record::Organization(record) => changes.organizations.push(record),
                Record::Project(record) => changes.projects.push(record),
                Record::Member(record) => changes.members.push(record),
                Record::ServiceAccount(record) => changes.accounts.push(record),
                Record::WebhookEndpoint(record) => changes.endpoints.push(record),
                Record::Ledger | Record::Credential(_) | Record::Session(_) => {}
            }
            directory.apply(&changes);
        }
        Ok(Self::Was(Box::new(directory), moment))
    }

    /// What there is, or was.
    pub(super) fn directory(&self) -> &Directory {
        match self {
            Self::Now(directory) => directory,
            Self::Was(directory, _) => directory,
        }
    }

    /// Names the position in an answer that is of the past.
    pub(super) fn stamped(&self, mut response: Response) -> Response {
        if let Self::Was(_, moment) = self {
            moment.stamp(&mut response);
        }
        response
    }
}

/// Logs are read off the async threads.
pub(super) async fn off_thread<T: Send + 'static>(
    call: &Call,
    read: impl FnOnce(&Ledger) -> T + Send + 'static,
) -> Result<T, Problem> {
    let ledger = call.app.ledger.clone();
    let done = tokio::task::spawn_blocking(move || read(&ledger)).await;
    done.map_err(|why| Problem::internal("a read of the past panicked", &why))
}

/// Who is reading an organization's whole past.
#[derive(Clone, Default)]
pub(super) struct PastReads(Arc<Mutex<BTreeMap<OrganizationId, u8>>>);

/// One reading; it ends when this is dropped.
pub(super) struct Running {
    reads: PastReads,
    organization: OrganizationId,
}

impl PastReads {
    /// A place for one reading of an organization's past.
    pub(super) fn begin(&self, organization: OrganizationId) -> Result<Running, Problem> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_all: usize = running.values().map(|count| usize::from(*count)).sum();
        let own = running.get(&organization).copied().unwrap_or(0);
        if own >= AT_ONCE_MAX || in_all >= AT_ONCE_IN_ALL_MAX {
            return Err(Problem::unavailable(
                "past_busy",
                "as many readings of the past as may run at once are running already",
            ));
        }
        running.insert(organization, own + 1);
        let reads = self.clone();
        Ok(Running {
            reads,
            organization,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.reads.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.organization) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.organization);
            }
        }
    }
}

impl From<PastError> for Problem {
    fn from(why: PastError) -> Self {
        match why {
            PastError::History(why) => why.into(),
            PastError::TooLong => Self::unavailable(
                "past_too_long",
                "that much history was not read within 10 seconds",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readings_of_an_organization_run_at_once_and_no_more() {
        let reads = PastReads::default();
        let (acme, globex) = (OrganizationId(ulid::Ulid(1)), OrganizationId(ulid::Ulid(2)));
        let first = reads.begin(acme).ok();
        let second = reads.begin(acme).ok();
        assert!(first.is_some() && second.is_some());
        assert!(reads.begin(acme).is_err());
        assert!(reads.begin(globex).is_ok());
        drop(first);
        assert!(reads.begin(acme).is_ok());
        let others: Vec<_> = (3..20)
            .map(|n| reads.begin(OrganizationId(ulid::Ulid(n))))
            .collect();
        assert_eq!(others.iter().flatten().count(), AT_ONCE_IN_ALL_MAX - 1);
        drop(others);
        drop(second);
        assert!(reads.0.lock().unwrap().is_empty());
    }
}
