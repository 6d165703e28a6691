//! Attempts made on request: a ping, an example, a redelivery.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::Dispatcher;
use super::send_attempt::AttemptPayload;
use crate::domain::ids::{DeliveryId, EndpointId, EventId, Subject};
use crate::domain::record::WebhookEndpoint;
use crate::domain::time::Timestamp;
use crate::ledger::Record;
use crate::webhooks::bodies::{BodyJson, PING_EVENT_TYPE, WebhookBody, body_bytes, record_json};
use crate::webhooks::delivery::{DeliveryCause, delivery_id};
use crate::webhooks::examples::ExampleEvent;
use crate::webhooks::queue::EndpointQueue;

/// Of one kind to one endpoint in a minute: enough to try things by hand.
const REQUESTED_ATTEMPTS_PER_MINUTE: usize = 10;
const MINUTE_MS: i64 = 60_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub enum RequestedAttempt {
    /// Whether anything arrives.
    Ping,
    /// What an event of a type looks like.
    ExampleEvent(ExampleEvent),
    /// A delivery once more.
    Redelivery { event: EventId, position: u64 },
}

/// Why there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestedAttemptRefusal {
    /// There were as many within a minute as there may be.
    RateLimited {
        /// When there may be another one, in seconds.
        after_s: u32,
    },
    /// There is no such endpoint, or it is deleted.
    EndpointNotFound,
    /// The body could not be made.
    BodyUnavailable,
}

impl RequestedAttempt {
    const fn cause(&self) -> DeliveryCause {
        match self {
            Self::Ping => DeliveryCause::Ping,
            Self::ExampleEvent(_) => DeliveryCause::ExampleEvent,
            Self::Redelivery { .. } => DeliveryCause::Redelivery,
        }
    }
}

/// When things were tried within the last minute.
#[derive(Default)]
pub(super) struct RequestedAttemptLimiter(BTreeMap<(EndpointId, &'static str), VecDeque<i64>>);

impl RequestedAttemptLimiter {
    /// Counts one more, unless there were as many as there may be.
    fn admit(
        &mut self,
        endpoint: EndpointId,
        cause: DeliveryCause,
        now_ms: i64,
    ) -> Result<(), i64> {
        self.0.retain(|_, tried| {
            while tried.front().is_some_and(|at| now_ms - at >= MINUTE_MS) {
                tried.pop_front();
            }
            !tried.is_empty()
        });
        let tried = self.0.entry((endpoint, cause.name())).or_default();
        match tried.front() {
            Some(first) if tried.len() >= REQUESTED_ATTEMPTS_PER_MINUTE => {
                Err(first + MINUTE_MS - now_ms)
            }
            _ => {
                tried.push_back(now_ms);
                Ok(())
            }
        }
    }
}

impl Dispatcher {
    /// Begins an attempt out of turn; a disabled endpoint is tried too. A test goes out whatever
    /// the filter, a delivery only while the filter holds it.
    pub(super) fn begin_requested_attempt(
        &mut self,
        endpoint: EndpointId,
        trial: RequestedAttempt,
    ) -> Result<DeliveryId, RequestedAttemptRefusal> {
        let endpoint = self.subscribers.get(endpoint);
        let endpoint = endpoint.ok_or(RequestedAttemptRefusal::EndpointNotFound)?;
        let now_ms = self.now_ms();
        let admitted = self.trials.admit(endpoint.id, trial.cause(), now_ms);
        admitted.map_err(|after_ms| RequestedAttemptRefusal::RateLimited {
            after_s: u32::try_from(after_ms / 1_000 + 1).unwrap_or(60),
        })?;
        let payload = match trial {
            RequestedAttempt::Redelivery { event, position } => {
                let delivery = delivery_id(endpoint.id, event);
                // What is outstanding anyway comes earlier, and in its order, unless it waits for
                // the endpoint to be enabled.
                let runs = self
                    .queue
                    .endpoint(endpoint.id)
                    .is_some_and(EndpointQueue::is_active);
                if runs && self.queue.retry_now(endpoint.id, position, now_ms) {
                    return Ok(delivery);
                }
                self.begin_attempt(endpoint, AttemptPayload::Redelivery(position), 0);
                return Ok(delivery);
            }
            RequestedAttempt::Ping => self.ping_payload(&endpoint),
            RequestedAttempt::ExampleEvent(example) => self.example_payload(&endpoint, &example),
        };
        let payload = payload.ok_or(RequestedAttemptRefusal::BodyUnavailable)?;
        let delivery = match &payload {
            AttemptPayload::Test(body, _) => delivery_id(endpoint.id, body.event),
            AttemptPayload::Event(_) | AttemptPayload::Redelivery(_) => {
                return Err(RequestedAttemptRefusal::BodyUnavailable);
            }
        };
        self.begin_attempt(endpoint, payload, 0);
        Ok(delivery)
    }

    /// A ping shows the endpoint itself.
    fn ping_payload(&mut self, endpoint: &Arc<WebhookEndpoint>) -> Option<AttemptPayload> {
        let record = Record::WebhookEndpoint(Arc::clone(endpoint));
        let now = Timestamp(self.now_ms());
        let (data, _) = record_json(&self.ledger, &record, now).ok()?;
        let (event, form) = self.test_body(PING_EVENT_TYPE, data);
        let bytes = body_bytes(&form).ok()?;
        Some(test_payload(
            endpoint,
            (event, PING_EVENT_TYPE),
            bytes,
            DeliveryCause::Ping,
        ))
    }

    fn example_payload(
        &mut self,
        endpoint: &WebhookEndpoint,
        example: &ExampleEvent,
    ) -> Option<AttemptPayload> {
        let data = example.data_for(endpoint.organization)?;
        let (event, form) = self.test_body(example.event_type(), data);
        let bytes = body_bytes(&form).ok()?;
        Some(test_payload(
            endpoint,
            (event, example.event_type()),
            bytes,
            DeliveryCause::ExampleEvent,
        ))
    }

    fn test_body<T: serde::Serialize>(
        &mut self,
        name: &'static str,
        data: T,
    ) -> (EventId, BodyJson<'static, T>) {
        let now_ms = self.now_ms();
        let event = EventId(self.entropy.next_ulid(now_ms));
        let form = BodyJson {
            id: event,
            name,
            timestamp: Timestamp(now_ms),
            sequence: None,
            data,
            test: Some(true),
        };
        (event, form)
    }
}

fn test_payload(
    endpoint: &WebhookEndpoint,
    (event, name): (EventId, &'static str),
    bytes: Bytes,
    cause: DeliveryCause,
) -> AttemptPayload {
    let body = WebhookBody {
        event,
        name,
        organization: endpoint.organization,
        project: endpoint.project,
        subject: Subject::WebhookEndpoint(endpoint.id),
        person: None,
        is_notice: false,
        bytes,
    };
    AttemptPayload::Test(Arc::new(body), cause)
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn ten_a_minute_of_each_kind() {
        let mut trials = RequestedAttemptLimiter::default();
        let endpoint = EndpointId(Ulid(1));
        for now_ms in 0..10 {
            assert_eq!(trials.admit(endpoint, DeliveryCause::Ping, now_ms), Ok(()));
        }
        assert_eq!(trials.admit(endpoint, DeliveryCause::Ping, 10), Err(59_990));
        assert_eq!(
            trials.admit(endpoint, DeliveryCause::ExampleEvent, 10),
            Ok(())
        );
        assert_eq!(
            trials.admit(EndpointId(Ulid(2)), DeliveryCause::Ping, 10),
            Ok(())
        );
        assert_eq!(trials.admit(endpoint, DeliveryCause::Ping, 60_000), Ok(()));
        assert_eq!(trials.admit(endpoint, DeliveryCause::Ping, 60_000), Err(1));
    }
}
