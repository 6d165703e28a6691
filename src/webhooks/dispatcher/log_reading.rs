//! Reading the log: for those who are live once, for each line that is behind by itself.
//!
//! What no endpoint wants costs the same however many endpoints there are.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use super::{CONCURRENT_READS_MAX, Dispatcher, TaskReport, visible_events};
use crate::domain::heading::Heading;
use crate::domain::ids::{EndpointId, OrganizationId};
use crate::domain::record::WebhookEndpoint;
use crate::error_chain::error_chain;
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Turn;
use crate::webhooks::bodies::BodyCache;
use crate::webhooks::matching::{CHECKPOINTED_EVENT, matches_body, may_match, scan_candidates};
use crate::webhooks::queue::UnreadRange;

/// Events that one reading looks at: some 10 milliseconds.
const EVENTS_PER_READ: u64 = 10_000;

/// What a reading for those who are live found.
pub(super) struct LiveDeliveries {
    /// The position after the last one read.
    pub(super) read_to: u64,
    /// Who is to get which event.
    pub(super) deliveries: Vec<(EndpointId, u64)>,
}

/// All endpoints that are not deleted.
#[derive(Default)]
pub(super) struct ActiveEndpoints {
    by_organization: BTreeMap<OrganizationId, Vec<Arc<WebhookEndpoint>>>,
    by_id: BTreeMap<EndpointId, Arc<WebhookEndpoint>>,
    /// Those that are told what the ledger is.
    of_ledger: Vec<Arc<WebhookEndpoint>>,
}

impl ActiveEndpoints {
    pub(super) fn new(endpoints: Vec<Arc<WebhookEndpoint>>) -> Self {
        let mut subscribers = Self::default();
        for endpoint in endpoints {
            if endpoint.is_deleted() {
                continue;
            }
            let of = subscribers
                .by_organization
                .entry(endpoint.organization)
                .or_default();
            of.push(Arc::clone(&endpoint));
            if endpoint.event_types.matches(CHECKPOINTED_EVENT) {
                subscribers.of_ledger.push(Arc::clone(&endpoint));
            }
            subscribers.by_id.insert(endpoint.id, endpoint);
        }
        subscribers
    }

    pub(super) fn get(&self, endpoint: EndpointId) -> Option<Arc<WebhookEndpoint>> {
        self.by_id.get(&endpoint).cloned()
    }

    /// The endpoints that may want an event, by its heading alone.
    fn candidates_for(&self, heading: Option<Heading<'_>>) -> &[Arc<WebhookEndpoint>] {
        // Every payload has a heading; one of a newer program may not, and is nobody's.
        let organization = match heading {
            Some(heading) if heading.name == CHECKPOINTED_EVENT => return &self.of_ledger,
            heading => heading.and_then(|heading| heading.organization),
        };
        let of = organization.and_then(|id| self.by_organization.get(&id));
        of.map(Vec::as_slice).unwrap_or_default()
    }
}

impl Dispatcher {
    /// Reads what is new for those who are live.
    pub(super) fn read_live_events(&mut self) {
        let shown = visible_events(&self.ledger);
        if self.seeing.is_some() || self.seen >= shown || self.now_ms() < self.read_after_ms {
            return;
        }
        if self.subscribers.by_id.is_empty() {
            self.seen = shown;
            self.keeping.set_read_position(shown);
            return;
        }
        let (from, to) = (self.seen, shown.min(self.seen + EVENTS_PER_READ));
        self.seeing = Some(to);
        let (ledger, bodies) = (self.ledger.clone(), Arc::clone(&self.bodies));
        let subscribers = Arc::clone(&self.subscribers);
        let came_back = self.came_back.clone();
        tokio::spawn(async move {
            let turns = ledger.turns().clone();
            // For all organizations at once: it is in no one's line.
            let found = turns.run_bounded(None, move |turn| {
                let wanted = (&*subscribers, &*bodies);
                find_live_deliveries(&ledger, wanted, (from, to), turn)
            });
            let news = match found.await {
                Ok(Ok(found)) => TaskReport::LiveRead(found),
                Ok(Err(why)) => report_read_failure(&why, None),
                Err(why) => report_read_failure(&why, None),
            };
            // Nobody to tell: the courier has stopped.
            drop(came_back.send(news));
        });
    }

    /// Reads for lines that are behind, in turn.
    pub(super) fn read_backlogs(&mut self) {
        while self.readings < CONCURRENT_READS_MAX && self.now_ms() >= self.read_after_ms {
            let Some((id, range, room)) = self.queue.next_range_to_read(self.read_last) else {
                break;
            };
            self.read_last = Some(id);
            self.readings += 1;
            let Some(endpoint) = self.subscribers.get(id) else {
                drop(self.came_back.send(TaskReport::ReadFailed(Some(id))));
                continue;
            };
            let end = range.to.unwrap_or(self.seen).min(self.seen);
            let to = end.min(range.next.saturating_add(EVENTS_PER_READ));
            let (ledger, bodies) = (self.ledger.clone(), Arc::clone(&self.bodies));
            let came_back = self.came_back.clone();
            tokio::spawn(async move {
                let turns = ledger.turns().clone();
                let of = Some(endpoint.organization);
                let looked = range.clone();
                let found = turns.run_bounded(of, move |turn| {
                    find_deliveries_in_range(
                        (&ledger, &bodies),
                        &endpoint,
                        (&looked, to, room),
                        turn,
                    )
                });
                let news = match found.await {
                    Ok(Ok((positions, next))) => TaskReport::BacklogRead {
                        endpoint: id,
                        range,
                        positions,
                        next,
                    },
                    Ok(Err(why)) => report_read_failure(&why, Some(id)),
                    Err(why) => report_read_failure(&why, Some(id)),
                };
                drop(came_back.send(news));
            });
        }
    }
}

fn report_read_failure(why: &(dyn Error + 'static), whose: Option<EndpointId>) -> TaskReport {
    let why = error_chain(why);
    tracing::error!(why, "webhooks cannot read the log; they try again");
    TaskReport::ReadFailed(whose)
}

/// Who is to get which of the events from `from` to before `to`.
fn find_live_deliveries(
    ledger: &Ledger,
    (subscribers, bodies): (&ActiveEndpoints, &BodyCache),
    (from, to): (u64, u64),
    turn: &mut Turn,
) -> Result<LiveDeliveries, HistoryError> {
    let mut candidates = Vec::new();
    ledger.reader().scan(from, to, |position, payload| {
        let heading = Heading::of(payload);
        let name = heading.map_or("", |heading| heading.name);
        let of = subscribers.candidates_for(heading).iter();
        let wanting = of.filter(|endpoint| position >= endpoint.from && may_match(endpoint, name));
        candidates.extend(wanting.map(|endpoint| (Arc::clone(endpoint), position)));
    })?;
    let mut deliveries = Vec::with_capacity(candidates.len());
    for (endpoint, position) in candidates {
        turn.go_on()?;
        let body = bodies.get_or_build(position, endpoint.organization, turn)?;
        if body.is_some_and(|body| matches_body(&endpoint, &body)) {
            deliveries.push((endpoint.id, position));
        }
    }
    Ok(LiveDeliveries {
        read_to: to,
        deliveries,
    })
}

/// The positions of a range, up to before `to`, that an endpoint gets, at most `room`; and the
/// position to go on with.
fn find_deliveries_in_range(
    (ledger, bodies): (&Ledger, &BodyCache),
    endpoint: &WebhookEndpoint,
    (range, to, room): (&UnreadRange, u64, usize),
    turn: &mut Turn,
) -> Result<(Vec<u64>, u64), HistoryError> {
    let mut found = Vec::new();
    scan_candidates(ledger, endpoint, (range, to), |position, _| {
        found.push(position);
    })?;
    let mut positions = Vec::new();
    for position in found {
        if positions.len() == room {
            return Ok((positions, position));
        }
        turn.go_on()?;
        let body = bodies.get_or_build(position, endpoint.organization, turn)?;
        if body.is_some_and(|body| matches_body(endpoint, &body)) {
            positions.push(position);
        }
    }
    Ok((positions, to.max(range.next)))
}
