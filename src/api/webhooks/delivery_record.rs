//! What webhooks have delivered: attempts, deliveries, and how an endpoint's line stands.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::DeliveryId;
use crate::domain::time::Timestamp;
use crate::seal::KeyStore;
use crate::webhooks::EndpointBacklog;
use crate::webhooks::delivery::{AttemptOutcome, AttemptRecord};
use crate::webhooks::store::Delivery;

/// One attempt to deliver an event to an endpoint.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookAttemptRecord {
    /// The delivery: the same over all attempts to bring one event to one endpoint.
    id: String,
    /// What `webhook-id` said.
    event_id: String,
    #[serde(rename = "type")]
    kind: String,
    /// The event's position; null of a test.
    sequence: Option<u64>,
    /// `event`, `redelivery`, `ping` or `example`.
    cause: &'static str,
    /// Whether it says nothing that happened.
    test: bool,
    /// Counts those of the schedule, from 1.
    attempt: u16,
    at: String,
    duration_ms: u64,
    /// `delivered`, `failed` or `dead`.
    outcome: &'static str,
    /// Null where there was no answer.
    status_code: Option<u16>,
    /// The class of the failure, such as `timeout`; null where there was none.
    error: Option<&'static str>,
    /// What the answer's body begins with, at most 4 KB, without secrets of ours. Empty where the
    /// receiver is in a network inside, and once the person is erased whom the event was about.
    response: String,
    /// Null where this delivery is not tried again.
    next_attempt_at: Option<String>,
}

/// What an endpoint is sent of one event.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookDeliveryRecord {
    id: String,
    /// What `webhook-id` says.
    event_id: String,
    #[serde(rename = "type")]
    kind: String,
    /// The event's position; null of a test.
    sequence: Option<u64>,
    /// `pending`, `delivered`, `dead`, or `skipped` where the endpoint was enabled from a later
    /// event on, or was changed so that it does not ask for the event any more.
    status: &'static str,
    next_attempt_at: Option<String>,
    /// Those that are kept, oldest first.
    attempts: Vec<WebhookAttemptRecord>,
}

/// How the deliveries of an endpoint stand.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct WebhookStatusRecord {
    /// Deliveries that are outstanding, at most 10,000: those after them are not counted yet.
    pending: usize,
    /// When the oldest of their events happened.
    oldest_pending_at: Option<String>,
    /// Events of the whole log that are yet to be looked at for this endpoint.
    behind_events: u64,
    /// When the first of the attempts failed that have all failed since.
    failing_since: Option<String>,
    /// When an attempt succeeded last, tests and what was asked for once more apart.
    last_delivered_at: Option<String>,
}

impl WebhookAttemptRecord {
    /// An attempt, with the answer as far as its data key is there.
    pub(crate) fn new(attempted: &AttemptRecord, keys: &KeyStore) -> Self {
        Self {
            id: attempted.delivery.to_string(),
            event_id: attempted.event.to_string(),
            kind: attempted.name.clone(),
            sequence: attempted.position,
            cause: attempted.cause.name(),
            test: attempted.cause.is_test(),
            attempt: u16::from(attempted.attempts_before) + 1,
            at: attempted.at.to_string(),
            duration_ms: attempted.duration_ms,
            outcome: attempted.outcome.name(),
            status_code: attempted.status,
            error: attempted.failure.map(|failure| failure.name()),
            response: attempted.response_text(keys),
            next_attempt_at: match attempted.outcome {
                AttemptOutcome::Failed { next_at } => next_at.map(|at| at.to_string()),
                AttemptOutcome::Delivered | AttemptOutcome::Dead => None,
            },
        }
    }
}

impl WebhookDeliveryRecord {
    /// A delivery with those of its attempts that are kept.
    pub(crate) fn new(
        id: DeliveryId,
        (delivery, attempts): &(Delivery, Vec<AttemptRecord>),
        keys: &KeyStore,
    ) -> Self {
        let attempts = attempts.iter();
        let attempts = attempts.map(|attempted| WebhookAttemptRecord::new(attempted, keys));
        Self {
            id: id.to_string(),
            event_id: delivery.event.to_string(),
            kind: delivery.name.clone(),
            sequence: delivery.position,
            status: delivery.standing.name(),
            next_attempt_at: delivery.next_at.map(|at| at.to_string()),
            attempts: attempts.collect(),
        }
    }
}

impl WebhookStatusRecord {
    /// How a line stands; `oldest_at` is when the event at its oldest position happened.
    pub(crate) fn new(overview: &EndpointBacklog, oldest_at: Option<Timestamp>) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            pending: overview.pending,
            oldest_pending_at: text(oldest_at),
            behind_events: overview.unread_events,
            failing_since: text(overview.failing_since),
            last_delivered_at: text(overview.delivered_at),
        }
    }
}
