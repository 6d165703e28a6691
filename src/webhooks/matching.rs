//! Which events an endpoint gets.
//!
//! Owns the rule, for the courier and for who asks beforehand how many there are. A payload's
//! heading says whether anybody could want it; no other is parsed.

use super::bodies::{Bodies, Body};
use super::queue::Range;
use crate::domain::heading::Heading;
use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::record::WebhookEndpoint;
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Turn;

/// The one event of no organization that is told to all who ask for it.
pub(super) const CHECKPOINTED: &str = "ledger.checkpointed";
/// What types of events begin with that tell of endpoints.
const OF_ENDPOINTS: &str = "webhook_endpoint.";
/// Events that are looked at between two looks at the clock: some 10 milliseconds.
const EVENTS_PER_LOOK: u64 = 10_000;

/// Whether an event is told to an organization at all: its own are, and what the ledger is.
pub(super) fn is_told(heading: &Heading<'_>, to: OrganizationId) -> bool {
    match heading.organization {
        Some(of) => of == to,
        None => heading.name == CHECKPOINTED,
    }
}

/// Whether an endpoint may want an event of this type, before anything else of it is known.
pub(super) fn may_want(endpoint: &WebhookEndpoint, name: &str) -> bool {
    endpoint.event_types.matches(name) || name.starts_with(OF_ENDPOINTS)
}

/// Whether an endpoint gets an event.
pub(super) fn wants(endpoint: &WebhookEndpoint, body: &Body) -> bool {
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
pub(super) fn candidates(
    ledger: &Ledger,
    endpoint: &WebhookEndpoint,
    (range, to): (&Range, u64),
    mut found: impl FnMut(u64, &str),
) -> Result<(), HistoryError> {
    if range.next >= to {
        return Ok(());
    }
    ledger.reader().scan(range.next, to, |position, payload| {
        let heading = Heading::of(payload);
        let theirs = heading.filter(|heading| {
            is_told(heading, endpoint.organization) && may_want(endpoint, heading.name)
        });
        if let Some(heading) = theirs.filter(|heading| asked_for(range, heading.name)) {
            found(position, heading.name);
        }
    })?;
    Ok(())
}

fn asked_for(range: &Range, name: &str) -> bool {
    range.types.as_ref().is_none_or(|types| types.matches(name))
}

/// Whether the type alone says that an endpoint that may want an event gets it.
fn is_told_by_its_name(endpoint: &WebhookEndpoint, name: &str) -> bool {
    endpoint.project.is_none() && !name.starts_with(OF_ENDPOINTS)
}

/// How many events of a range an endpoint gets. Reads the log: off the async threads.
///
/// # Errors
/// When the log cannot be read, or the turn is over.
pub fn count(
    ledger: &Ledger,
    endpoint: &WebhookEndpoint,
    range: &Range,
    turn: &mut Turn,
) -> Result<u64, HistoryError> {
    let bodies = Bodies::new(ledger.clone());
    let end = range.to.unwrap_or(u64::MAX);
    let end = end.min(ledger.reader().next_position());
    let mut range = range.clone();
    let mut count = 0;
    while range.next < end {
        turn.go_on()?;
        let to = end.min(range.next.saturating_add(EVENTS_PER_LOOK));
        let mut unsure = Vec::new();
        candidates(ledger, endpoint, (&range, to), |position, name| {
            if is_told_by_its_name(endpoint, name) {
                count += 1;
            } else {
                unsure.push(position);
            }
        })?;
        for position in unsure {
            turn.go_on()?;
            let body = bodies.of(position, endpoint.organization, turn)?;
            count += u64::from(body.is_some_and(|body| wants(endpoint, &body)));
        }
        range.next = to;
    }
    Ok(count)
}
