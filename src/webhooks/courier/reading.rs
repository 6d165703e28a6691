//! Reading the log: for those who are live once, for each line that is behind by itself.
//!
//! What no endpoint wants costs the same however many endpoints there are.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use super::{Courier, News, READINGS_MAX, shown};
use crate::domain::heading::Heading;
use crate::domain::ids::{EndpointId, OrganizationId};
use crate::domain::record::WebhookEndpoint;
use crate::error_chain::error_chain;
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Turn;
use crate::webhooks::bodies::Bodies;
use crate::webhooks::matching::{CHECKPOINTED, candidates, may_want, wants};
use crate::webhooks::queue::Range;

/// Events that one reading looks at: some 10 milliseconds.
const EVENTS_PER_READING: u64 = 10_000;

/// What a reading for those who are live found.
pub(super) struct Found {
    /// The position after the last one read.
    pub(super) to: u64,
    /// Who is to get which event.
    pub(super) deliveries: Vec<(EndpointId, u64)>,
}

/// All endpoints that are not deleted.
#[derive(Default)]
pub(super) struct Subscribers {
    by_organization: BTreeMap<OrganizationId, Vec<Arc<WebhookEndpoint>>>,
    by_id: BTreeMap<EndpointId, Arc<WebhookEndpoint>>,
    /// Those that are told what the ledger is.
    of_ledger: Vec<Arc<WebhookEndpoint>>,
}

impl Subscribers {
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
            if endpoint.event_types.matches(CHECKPOINTED) {
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
    fn may_want(&self, heading: Option<Heading<'_>>) -> &[Arc<WebhookEndpoint>] {
        // Every payload has a heading; one of a newer program may not, and is nobody's.
        let organization = match heading {
            Some(heading) if heading.name == CHECKPOINTED => return &self.of_ledger,
            heading => heading.and_then(|heading| heading.organization),
        };
        let of = organization.and_then(|id| self.by_organization.get(&id));
        of.map(Vec::as_slice).unwrap_or_default()
    }
}

impl Courier {
    /// Reads what is new for those who are live.
    pub(super) fn see(&mut self) {
        let shown = shown(&self.ledger);
        if self.seeing.is_some() || self.seen >= shown || self.now_ms() < self.read_after_ms {
            return;
        }
        if self.subscribers.by_id.is_empty() {
            self.seen = shown;
            self.keeping.see(shown);
            return;
        }
        let (from, to) = (self.seen, shown.min(self.seen + EVENTS_PER_READING));
        self.seeing = Some(to);
        let (ledger, bodies) = (self.ledger.clone(), Arc::clone(&self.bodies));
        let subscribers = Arc::clone(&self.subscribers);
        let came_back = self.came_back.clone();
        tokio::spawn(async move {
            let turns = ledger.turns().clone();
            // For all organizations at once: it is in no one's line.
            let found = turns.run_bounded(None, move |turn| {
                let wanted = (&*subscribers, &*bodies);
                see(&ledger, wanted, (from, to), turn)
            });
            let news = match found.await {
                Ok(Ok(found)) => News::Seen(found),
                Ok(Err(why)) => unread(&why, None),
                Err(why) => unread(&why, None),
            };
            // Nobody to tell: the courier has stopped.
            drop(came_back.send(news));
        });
    }

    /// Reads for lines that are behind, in turn.
    pub(super) fn read_behind(&mut self) {
        while self.readings < READINGS_MAX && self.now_ms() >= self.read_after_ms {
            let Some((id, range, room)) = self.queue.reading(self.read_last) else {
                break;
            };
            self.read_last = Some(id);
            self.readings += 1;
            let Some(endpoint) = self.subscribers.get(id) else {
                drop(self.came_back.send(News::Unread(Some(id))));
                continue;
            };
            let end = range.to.unwrap_or(self.seen).min(self.seen);
            let to = end.min(range.next.saturating_add(EVENTS_PER_READING));
            let (ledger, bodies) = (self.ledger.clone(), Arc::clone(&self.bodies));
            let came_back = self.came_back.clone();
            tokio::spawn(async move {
                let turns = ledger.turns().clone();
                let of = Some(endpoint.organization);
                let looked = range.clone();
                let found = turns.run_bounded(of, move |turn| {
                    read((&ledger, &bodies), &endpoint, (&looked, to, room), turn)
                });
                let news = match found.await {
                    Ok(Ok((positions, next))) => News::Read {
                        endpoint: id,
                        range,
                        positions,
                        next,
                    },
                    Ok(Err(why)) => unread(&why, Some(id)),
                    Err(why) => unread(&why, Some(id)),
                };
                drop(came_back.send(news));
            });
        }
    }
}

fn unread(why: &(dyn Error + 'static), whose: Option<EndpointId>) -> News {
    let why = error_chain(why);
    tracing::error!(why, "webhooks cannot read the log; they try again");
    News::Unread(whose)
}

/// Who is to get which of the events from `from` to before `to`.
fn see(
    ledger: &Ledger,
    (subscribers, bodies): (&Subscribers, &Bodies),
    (from, to): (u64, u64),
    turn: &mut Turn,
) -> Result<Found, HistoryError> {
    let mut candidates = Vec::new();
    ledger.reader().scan(from, to, |position, payload| {
        let heading = Heading::of(payload);
        let name = heading.map_or("", |heading| heading.name);
        let of = subscribers.may_want(heading).iter();
        let wanting = of.filter(|endpoint| position >= endpoint.from && may_want(endpoint, name));
        candidates.extend(wanting.map(|endpoint| (Arc::clone(endpoint), position)));
    })?;
    let mut deliveries = Vec::with_capacity(candidates.len());
    for (endpoint, position) in candidates {
        turn.go_on()?;
        let body = bodies.of(position, endpoint.organization, turn)?;
        if body.is_some_and(|body| wants(&endpoint, &body)) {
            deliveries.push((endpoint.id, position));
        }
    }
    Ok(Found { to, deliveries })
}

/// The positions of a range, up to before `to`, that an endpoint gets, at most `room`; and the
/// position to go on with.
fn read(
    (ledger, bodies): (&Ledger, &Bodies),
    endpoint: &WebhookEndpoint,
    (range, to, room): (&Range, u64, usize),
    turn: &mut Turn,
) -> Result<(Vec<u64>, u64), HistoryError> {
    let mut found = Vec::new();
    candidates(ledger, endpoint, (range, to), |position, _| {
        found.push(position);
    })?;
    let mut positions = Vec::new();
    for position in found {
        if positions.len() == room {
            return Ok((positions, position));
        }
        turn.go_on()?;
        let body = bodies.of(position, endpoint.organization, turn)?;
        if body.is_some_and(|body| wants(endpoint, &body)) {
            positions.push(position);
        }
    }
    Ok((positions, to.max(range.next)))
}
