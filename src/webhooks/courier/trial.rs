//! Attempts that somebody asks for: a ping, an example, a delivery once more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::Courier;
use super::sending::Payload;
use crate::domain::ids::{DeliveryId, EndpointId, EventId, Subject};
use crate::domain::record::WebhookEndpoint;
use crate::domain::time::Timestamp;
use crate::ledger::Record;
use crate::webhooks::bodies::{Body, Form, PING, shown, to_bytes};
use crate::webhooks::delivery::{Cause, delivery_id};
use crate::webhooks::examples::Example;
use crate::webhooks::queue::Line;

/// Of one kind to one endpoint in a minute: enough to try things by hand.
const TRIALS_PER_MINUTE: usize = 10;
const MINUTE_MS: i64 = 60_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Trial {
    /// Whether anything arrives.
    Ping,
    /// What an event of a type looks like.
    Example(Example),
    /// A delivery once more.
    Redelivery { event: EventId, position: u64 },
}

/// Why there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TrialRefused {
    /// There were as many within a minute as there may be.
    TooOften {
        /// When there may be another one, in seconds.
        after_s: u32,
    },
    /// There is no such endpoint, or it is deleted.
    NoEndpoint,
    /// The body could not be made.
    NoBody,
}

impl Trial {
    const fn cause(&self) -> Cause {
        match self {
            Self::Ping => Cause::Ping,
            Self::Example(_) => Cause::Example,
            Self::Redelivery { .. } => Cause::Redelivery,
        }
    }
}

/// When things were tried within the last minute.
#[derive(Default)]
pub(super) struct Trials(BTreeMap<(EndpointId, &'static str), VecDeque<i64>>);

impl Trials {
    /// Counts one more, unless there were as many as there may be.
    fn admit(&mut self, endpoint: EndpointId, cause: Cause, now_ms: i64) -> Result<(), i64> {
        self.0.retain(|_, tried| {
            while tried.front().is_some_and(|at| now_ms - at >= MINUTE_MS) {
                tried.pop_front();
            }
            !tried.is_empty()
        });
        let tried = self.0.entry((endpoint, cause.name())).or_default();
        match tried.front() {
            Some(first) if tried.len() >= TRIALS_PER_MINUTE => Err(first + MINUTE_MS - now_ms),
            _ => {
                tried.push_back(now_ms);
                Ok(())
            }
        }
    }
}

impl Courier {
    /// Begins an attempt out of turn; a disabled endpoint is tried too. A test goes out whatever
    /// the filter, a delivery only while the filter holds it.
    pub(super) fn attempt_now(
        &mut self,
        endpoint: EndpointId,
        trial: Trial,
    ) -> Result<DeliveryId, TrialRefused> {
        let endpoint = self.subscribers.get(endpoint);
        let endpoint = endpoint.ok_or(TrialRefused::NoEndpoint)?;
        let now_ms = self.now_ms();
        let admitted = self.trials.admit(endpoint.id, trial.cause(), now_ms);
        admitted.map_err(|after_ms| TrialRefused::TooOften {
            after_s: u32::try_from(after_ms / 1_000 + 1).unwrap_or(60),
        })?;
        let payload = match trial {
            Trial::Redelivery { event, position } => {
                let delivery = delivery_id(endpoint.id, event);
                // What is outstanding anyway comes earlier, and in its order, unless it waits for
                // the endpoint to be enabled.
                let runs = self.queue.line(endpoint.id).is_some_and(Line::runs);
                if runs && self.queue.try_now(endpoint.id, position, now_ms) {
                    return Ok(delivery);
                }
                self.send(endpoint, Payload::Redelivery(position), 0);
                return Ok(delivery);
            }
            Trial::Ping => self.ping(&endpoint),
            Trial::Example(example) => self.example(&endpoint, &example),
        };
        let payload = payload.ok_or(TrialRefused::NoBody)?;
        let delivery = match &payload {
            Payload::Given(body, _) => delivery_id(endpoint.id, body.event),
            Payload::Event(_) | Payload::Redelivery(_) => return Err(TrialRefused::NoBody),
        };
        self.send(endpoint, payload, 0);
        Ok(delivery)
    }

    /// A ping shows the endpoint itself.
    fn ping(&mut self, endpoint: &Arc<WebhookEndpoint>) -> Option<Payload> {
        let record = Record::WebhookEndpoint(Arc::clone(endpoint));
        let now = Timestamp(self.now_ms());
        let (data, _) = shown(&self.ledger, &record, now).ok()?;
        let (event, form) = self.test(PING, data);
        let bytes = to_bytes(&form).ok()?;
        Some(given(endpoint, (event, PING), bytes, Cause::Ping))
    }

    fn example(&mut self, endpoint: &WebhookEndpoint, example: &Example) -> Option<Payload> {
        let data = example.data(endpoint.organization)?;
        let (event, form) = self.test(example.name(), data);
        let bytes = to_bytes(&form).ok()?;
        Some(given(
            endpoint,
            (event, example.name()),
            bytes,
            Cause::Example,
        ))
    }

    fn test<T: serde::Serialize>(
        &mut self,
        name: &'static str,
        data: T,
    ) -> (EventId, Form<'static, T>) {
        let now_ms = self.now_ms();
        let event = EventId(self.entropy.next_ulid(now_ms));
        let form = Form {
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

fn given(
    endpoint: &WebhookEndpoint,
    (event, name): (EventId, &'static str),
    bytes: Bytes,
    cause: Cause,
) -> Payload {
    let body = Body {
        event,
        name,
        organization: endpoint.organization,
        project: endpoint.project,
        subject: Subject::WebhookEndpoint(endpoint.id),
        person: None,
        is_notice: false,
        bytes,
    };
    Payload::Given(Arc::new(body), cause)
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn ten_a_minute_of_each_kind() {
        let mut trials = Trials::default();
        let endpoint = EndpointId(Ulid(1));
        for now_ms in 0..10 {
            assert_eq!(trials.admit(endpoint, Cause::Ping, now_ms), Ok(()));
        }
        assert_eq!(trials.admit(endpoint, Cause::Ping, 10), Err(59_990));
        assert_eq!(trials.admit(endpoint, Cause::Example, 10), Ok(()));
        assert_eq!(trials.admit(EndpointId(Ulid(2)), Cause::Ping, 10), Ok(()));
        assert_eq!(trials.admit(endpoint, Cause::Ping, 60_000), Ok(()));
        assert_eq!(trials.admit(endpoint, Cause::Ping, 60_000), Err(1));
    }
}
