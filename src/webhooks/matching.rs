//! Which events an endpoint gets.
//!
//! Owns the rule, for the courier and for who asks beforehand how many there are. A payload's
//! heading says whether anybody could want it; no other is parsed.

use super::bodies::{BodyCache, WebhookBody};
use super::queue::UnreadRange;
use crate::domain::heading::Heading;
use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::record::WebhookEndpoint;
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Turn;

/// The one event of no organization that is told to all who ask for it.
pub(super) const CHECKPOINTED_EVENT: &str = "ledger.checkpointed";
/// What types of events begin with that tell of endpoints.
const ENDPOINT_EVENT_PREFIX: &str = "webhook_endpoint.";
/// Events that are looked at between two looks at the clock: some 10 milliseconds.
const EVENTS_PER_LOOK: u64 = 10_000;

/// Whether an event is told to an organization at all: its own are, and what the ledger is.
pub(super) fn is_visible_to_organization(heading: &Heading<'_>, to: OrganizationId) -> bool {
    match heading.organization {
        Some(of) => of == to,
        None => heading.name == CHECKPOINTED_EVENT,
    }
}

/// Whether an endpoint may want an event of this type, before anything else of it is known.
pub(super) fn may_match(endpoint: &WebhookEndpoint, name: &str) -> bool {
    endpoint.event_types.matches(name) || name.starts_with(ENDPOINT_EVENT_PREFIX)
}

/// Whether an endpoint gets an event.
pub(super) fn matches_body(endpoint: &WebhookEndpoint, body: &WebhookBody) -> bool {
    if endpoint.project.is_some() && endpoint.project != body.project {
        return false;
    }
    let is_itself = body.subject == Subject::WebhookEndpoint(endpoint.id);
    if body.is_notice {
        return !is_itself;
    }
    endpoint.event_types.matches(body.name)
}

/// Calls `found` with the position and the type of each event of a range, up to before `to`, that
/// an endpoint may want.
pub(super) fn scan_candidates(
    ledger: &Ledger,
    endpoint: &WebhookEndpoint,
    (range, to): (&UnreadRange, u64),
    mut found: impl FnMut(u64, &str),
) -> Result<(), HistoryError> {
    if range.next >= to {
        return Ok(());
    }
    ledger.reader().scan(range.next, to, |position, payload| {
        let heading = Heading::of(payload);
        let theirs = heading.filter(|heading| {
            is_visible_to_organization(heading, endpoint.organization)
                && may_match(endpoint, heading.name)
        });
        if let Some(heading) = theirs.filter(|heading| is_in_range_types(range, heading.name)) {
            found(position, heading.name);
        }
    })?;
    Ok(())
}

fn is_in_range_types(range: &UnreadRange, name: &str) -> bool {
    range.types.as_ref().is_none_or(|types| types.matches(name))
}

/// Whether the type alone says that an endpoint that may want an event gets it.
fn matches_by_type_alone(endpoint: &WebhookEndpoint, name: &str) -> bool {
    endpoint.project.is_none() && !name.starts_with(ENDPOINT_EVENT_PREFIX)
}

/// How many events of a range an endpoint gets. Reads the log: off the async threads.
///
/// # Errors
/// When the log cannot be read, or the turn is over.
pub fn count_matching_events(
    ledger: &Ledger,
    endpoint: &WebhookEndpoint,
    range: &UnreadRange,
    turn: &mut Turn,
) -> Result<u64, HistoryError> {
    let bodies = BodyCache::new(ledger.clone());
    let end = range.to.unwrap_or(u64::MAX);
    let end = end.min(ledger.reader().next_position());
    let mut range = range.clone();
    let mut count = 0;
    while range.next < end {
        turn.go_on()?;
        let to = end.min(range.next.saturating_add(EVENTS_PER_LOOK));
        let mut unsure = Vec::new();
        scan_candidates(ledger, endpoint, (&range, to), |position, name| {
            if matches_by_type_alone(endpoint, name) {
                count += 1;
            } else {
                unsure.push(position);
            }
        })?;
        for position in unsure {
            turn.go_on()?;
            let body = bodies.get_or_build(position, endpoint.organization, turn)?;
            count += u64::from(body.is_some_and(|body| matches_body(endpoint, &body)));
        }
        range.next = to;
    }
    Ok(count)
}
