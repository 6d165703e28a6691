//! Events by pull: the same bodies, read by a consumer that nothing can be sent to.
//!
//! Owns which events a consumer is shown and when a page is full. A reading says how far
//! it came, so that whoever follows goes on from there; what it returns is complete up to there.
//! Must never show what belongs to another organization, nor, to somebody who is bound to a
//! project, what is of another project or of none. Payloads flow in from the log, bodies out.

use std::sync::Arc;
use std::time::Duration;

use super::bodies::{BodyCache, WebhookBody};
use super::matching::{CHECKPOINTED_EVENT, is_visible_to_organization};
use crate::domain::heading::Heading;
use crate::domain::ids::{OrganizationId, ProjectId};
use crate::domain::record::EventFilter;
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Turn;

/// Events between two looks at whether a page is full: a scan cannot be left half-way.
const EVENTS_PER_SCAN: u64 = 1_000;
/// How long one reading makes bodies: what it has by then is sent, however little.
const READ_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes of bodies after which a page ends: usually 500 bodies.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a consumer is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PullFilter {
    pub organization: OrganizationId,
    /// Of this project alone.
    pub project: Option<ProjectId>,
    /// Of these types.
    pub types: EventFilter,
}

impl PullFilter {
    /// Whether it may hold events of no organization.
    #[must_use]
    pub fn includes_ledger_events(&self) -> bool {
        self.project.is_none() && self.types.matches(CHECKPOINTED_EVENT)
    }

    /// Whether an event may be shown, before anything but its heading is known.
    fn may_match(&self, heading: Option<Heading<'_>>) -> bool {
        // One whose heading cannot be read is looked at whole.
        heading.is_none_or(|heading| {
            is_visible_to_organization(&heading, self.organization)
                && self.types.matches(heading.name)
        })
    }

    /// Whether an event is shown.
    fn matches(&self, body: &WebhookBody) -> bool {
        body.organization == self.organization
            && (self.project.is_none() || self.project == body.project)
            && self.types.matches(body.name)
    }
}

/// Some bodies in order, and how far they reach.
#[derive(Debug, Default)]
pub struct PulledPage {
    /// Positions and bodies, oldest first.
    pub bodies: Vec<(u64, Arc<WebhookBody>)>,
    /// Bytes of the bodies.
    pub bytes: usize,
    /// Everything before this position has been looked at.
    pub next: u64,
}

impl PulledPage {
    /// An empty page that begins at a position.
    #[must_use]
    pub fn empty_at(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Whether no more is to come.
    #[must_use]
    pub fn is_full(&self, limit: usize) -> bool {
        self.bodies.len() >= limit || self.bytes >= PAGE_BYTES_MAX
    }

    fn push(&mut self, position: u64, body: Arc<WebhookBody>) {
        self.bytes += body.bytes.len();
        self.bodies.push((position, body));
    }
}

/// Goes on with a page, before the position `to` and until it is full: a piece of the log, off the
/// async threads.
///
/// # Errors
/// When the log or a record's past cannot be read, or the turn is over.
pub fn extend_page(
    (ledger, bodies): (&Ledger, &BodyCache),
    wanted: &PullFilter,
    mut page: PulledPage,
    (to, limit): (u64, usize),
    turn: &mut Turn,
) -> Result<PulledPage, HistoryError> {
    while page.next < to {
        turn.go_on()?;
        let stride_end = to.min(page.next + EVENTS_PER_SCAN);
        let mut candidates = Vec::new();
        ledger
            .reader()
            .scan(page.next, stride_end, |position, payload| {
                if wanted.may_match(Heading::of(payload)) {
                    candidates.push(position);
                }
            })?;
        for position in candidates {
            let body = bodies.get_or_build(position, wanted.organization, turn)?;
            if let Some(body) = body.filter(|body| wanted.matches(body)) {
                page.push(position, body);
            }
            page.next = position + 1;
            if page.is_full(limit) || turn.spent() >= READ_TIME_MAX {
                return Ok(page);
            }
        }
        page.next = stride_end;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::{EventId, Subject};

    const ACME: OrganizationId = OrganizationId(Ulid(1));

    fn body(organization: OrganizationId, project: Option<ProjectId>, bytes: usize) -> WebhookBody {
        WebhookBody {
            event: EventId(Ulid(9)),
            name: "api_key.created",
            organization,
            project,
            subject: Subject::Organization(organization),
            person: None,
            is_notice: false,
            bytes: Bytes::from(vec![b' '; bytes]),
        }
    }

    #[test]
    fn a_page_is_full_of_bodies_or_of_bytes() {
        let mut page = PulledPage::empty_at(3);
        assert!(!page.is_full(2));
        page.push(3, Arc::new(body(ACME, None, 10)));
        assert!(!page.is_full(2) && page.is_full(1));
        page.push(7, Arc::new(body(ACME, None, PAGE_BYTES_MAX - 11)));
        assert!(!page.is_full(3) && page.is_full(2));
        page.push(8, Arc::new(body(ACME, None, 1)));
        assert!(page.is_full(200), "{} bytes", page.bytes);
    }

    #[test]
    fn what_is_shown_is_of_the_organization_the_project_and_the_types() {
        let (own, other) = (ProjectId(Ulid(2)), ProjectId(Ulid(3)));
        let globex = OrganizationId(Ulid(4));
        let check = |project, types: EventFilter, expected: [bool; 4]| {
            let wanted = PullFilter {
                organization: ACME,
                project,
                types,
            };
            let bodies = [
                body(ACME, None, 0),
                body(ACME, Some(own), 0),
                body(ACME, Some(other), 0),
                body(globex, Some(own), 0),
            ];
            let shown = bodies.map(|body| wanted.matches(&body));
            assert_eq!(shown, expected, "{wanted:?}");
        };
        let members = EventFilter::check(vec!["member.*".to_owned()]).unwrap();
        check(None, EventFilter::everything(), [true, true, true, false]);
        check(
            None,
            EventFilter::open_families(),
            [true, true, true, false],
        );
        check(
            Some(own),
            EventFilter::everything(),
            [false, true, false, false],
        );
        check(None, members, [false; 4]);
    }
}
