//! One attempt: a body, signed and sent, and what became of it.
//!
//! Each body is held against the filter and the project of the very record that its address comes
//! from: what was in the line before a filter or an address changed goes nowhere.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};

use super::{Courier, News};
use crate::clock::Clock;
use crate::domain::ids::{EventId, OrganizationId};
use crate::domain::record::WebhookEndpoint;
use crate::domain::time::Timestamp;
use crate::domain::webhook_signature::{SigningKey, signature};
use crate::error_chain::error_chain;
use crate::ledger::Ledger;
use crate::ledger::turns::{Turn, Turns};
use crate::seal::sealed_value::SEAL_NONCE_BYTES;
use crate::webhooks::attempt::{Attempt, Failure};
use crate::webhooks::bodies::{Bodies, Body};
use crate::webhooks::client::{Request, Sender};
use crate::webhooks::delivery::{Attempted, Cause, Outcome, delivery_id};
use crate::webhooks::matching::wants;
use crate::webhooks::queue::{Failed, State};
use crate::webhooks::response::StoredResponse;

/// Says that a delivery is a test; not among the headers of the specification.
const TEST: HeaderName = HeaderName::from_static("webhook-test");
/// Says that somebody asked for a delivery once more.
const REDELIVERY: HeaderName = HeaderName::from_static("webhook-redelivery");

/// What is sent.
#[derive(Clone)]
pub(super) enum Payload {
    /// What the log says, in turn.
    Event(u64),
    /// The same out of turn.
    Redelivery(u64),
    /// A test.
    Given(Arc<Body>, Cause),
}

impl Payload {
    pub(super) const fn cause(&self) -> Cause {
        match self {
            Self::Event(_) => Cause::Event,
            Self::Redelivery(_) => Cause::Redelivery,
            Self::Given(_, cause) => *cause,
        }
    }

    const fn position(&self) -> Option<u64> {
        match self {
            Self::Event(position) | Self::Redelivery(position) => Some(*position),
            Self::Given(..) => None,
        }
    }
}

/// What there was to send.
enum Content {
    /// An event or a test, of this type.
    Sent(EventId, &'static str),
    /// Nothing that the endpoint asks for.
    Unwanted,
    /// It could not be made, for a reason that is in the log.
    Unreadable,
}

/// An attempt that has ended.
pub(super) struct Ended {
    endpoint: Arc<WebhookEndpoint>,
    payload: Payload,
    content: Content,
    response: StoredResponse,
    before: u8,
    at: Timestamp,
    attempt: Attempt,
}

impl Courier {
    /// Begins an attempt.
    pub(super) fn send(&mut self, endpoint: Arc<WebhookEndpoint>, payload: Payload, before: u8) {
        self.in_flight += 1;
        let sending = Sending {
            clock: self.clock.clone(),
            sender: self.sender.clone(),
            bodies: Arc::clone(&self.bodies),
            turns: self.ledger.turns().clone(),
            ledger: self.ledger.clone(),
            nonce: self.entropy.random_bytes(),
        };
        let came_back = self.came_back.clone();
        tokio::spawn(async move {
            let ended = sending.run(endpoint, payload, before).await;
            // Nobody to tell: the courier has stopped, and the attempt is made again.
            drop(came_back.send(News::Ended(Box::new(ended))));
        });
    }

    /// Takes what became of an attempt.
    pub(super) fn ended(&mut self, ended: Ended) {
        self.in_flight -= 1;
        let now_ms = self.now_ms();
        if matches!(ended.content, Content::Unwanted) {
            self.dropped(&ended, now_ms);
            return;
        }
        let (attempt, id) = (&ended.attempt, ended.endpoint.id);
        let failed = attempt.failure.map(|_why| Failed {
            slow: attempt.is_slow(),
            gone: attempt.is_gone(),
            retry_after_ms: attempt.retry_after_ms,
        });
        let outcome = match ended.payload {
            Payload::Event(position) => {
                let jitter = u32::from_le_bytes(self.entropy.random_bytes());
                let result = failed.map_or(Ok(()), Err);
                let now = (now_ms, jitter);
                let (state, effect) = self.queue.finished((id, position), result, now);
                if let Some(effect) = effect {
                    self.tell(&ended.endpoint, effect, attempt.status);
                }
                match state {
                    State::Delivered => Outcome::Delivered,
                    State::Waiting { due_ms } => Outcome::Failed {
                        next_at: Some(Timestamp(due_ms)),
                    },
                    State::Dead => Outcome::Dead,
                }
            }
            Payload::Redelivery(_) | Payload::Given(..) if failed.is_none() => Outcome::Delivered,
            Payload::Redelivery(_) | Payload::Given(..) => Outcome::Failed { next_at: None },
        };
        let (event, name) = match ended.content {
            Content::Sent(event, name) => (event, name),
            Content::Unwanted | Content::Unreadable => return,
        };
        self.counts.count(outcome, attempt.duration_ms);
        let attempted = Attempted {
            endpoint: id,
            delivery: delivery_id(id, event),
            event,
            position: ended.payload.position(),
            name: name.to_owned(),
            cause: ended.payload.cause(),
            before: ended.before,
            at: ended.at,
            duration_ms: ended.attempt.duration_ms,
            status: ended.attempt.status,
            failure: ended.attempt.failure,
            outcome,
            response: ended.response,
        };
        self.keeping.note(ended.endpoint.organization, attempted);
    }

    /// Takes what the endpoint does not ask for any more out of its line.
    fn dropped(&mut self, ended: &Ended, now_ms: i64) {
        let id = ended.endpoint.id;
        match ended.payload {
            Payload::Event(position) => {
                self.queue.dropped((id, position), now_ms);
                self.keeping.skip(id, position);
            }
            // It was in no line, and leaves its delivery as it was.
            Payload::Redelivery(_) | Payload::Given(..) => {}
        }
    }
}

/// There is no body, for a reason that is in the log.
struct Unmade;

/// What an attempt needs.
struct Sending {
    clock: Clock,
    sender: Sender,
    bodies: Arc<Bodies>,
    turns: Turns,
    ledger: Ledger,
    /// Of the answer, where it is sealed.
    nonce: [u8; SEAL_NONCE_BYTES],
}

impl Sending {
    async fn run(self, endpoint: Arc<WebhookEndpoint>, payload: Payload, before: u8) -> Ended {
        let at = Timestamp(self.clock.now_ms());
        let body = self.body(&payload, &endpoint).await;
        let mut response = StoredResponse::default();
        let (content, attempt) = match body {
            Ok(Some(body)) => {
                let attempt = self.attempt(&endpoint, &body, payload.cause(), at).await;
                response = self.stored(&body, &attempt.response).await;
                (Content::Sent(body.event, body.name), attempt)
            }
            Ok(None) => (Content::Unwanted, Attempt::default()),
            Err(Unmade) => {
                let failure = Some(Failure::Unreadable);
                let attempt = Attempt {
                    failure,
                    ..Attempt::default()
                };
                (Content::Unreadable, attempt)
            }
        };
        Ended {
            endpoint,
            payload,
            content,
            response,
            before,
            at,
            attempt,
        }
    }

    /// The body, if the endpoint asks for it now. A test tells no fact, and goes out in any case.
    async fn body(
        &self,
        payload: &Payload,
        endpoint: &WebhookEndpoint,
    ) -> Result<Option<Arc<Body>>, Unmade> {
        let position = match payload {
            Payload::Event(position) | Payload::Redelivery(position) => *position,
            Payload::Given(body, _) => return Ok(Some(Arc::clone(body))),
        };
        let body = self.made(position, endpoint.organization).await?;
        Ok(body.filter(|body| wants(endpoint, body)))
    }

    /// What an event says to an organization; `None` where that is nothing. An error that keeps it
    /// from being made is in the log.
    async fn made(&self, position: u64, to: OrganizationId) -> Result<Option<Arc<Body>>, Unmade> {
        if let Some(body) = self.bodies.at_hand(position, to) {
            return Ok(Some(body));
        }
        let bodies = Arc::clone(&self.bodies);
        let make = move |turn: &mut Turn| bodies.of(position, to, turn);
        let made = self.turns.run_bounded(Some(to), make).await;
        let why = match made {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(why)) => error_chain(&why),
            Err(why) => error_chain(&why),
        };
        tracing::error!(position, why, "the body of a delivery cannot be made");
        Err(Unmade)
    }

    /// The answer as it is stored: sealed where a person is in it, which may read a key's file.
    async fn stored(&self, body: &Body, answer: &[u8]) -> StoredResponse {
        let answer = String::from_utf8_lossy(answer).into_owned();
        let Some(person) = body.person.filter(|_| !answer.is_empty()) else {
            return StoredResponse::plain(&answer);
        };
        let (ledger, nonce, event) = (self.ledger.clone(), self.nonce, body.event);
        let sealed = tokio::task::spawn_blocking(move || {
            StoredResponse::about_person(ledger.keys(), (person, event), &answer, nonce)
        });
        // Only a panic is an error: nothing is stored then.
        sealed.await.unwrap_or_default()
    }

    async fn attempt(
        &self,
        endpoint: &WebhookEndpoint,
        body: &Body,
        cause: Cause,
        at: Timestamp,
    ) -> Attempt {
        let keys = keys(endpoint, at);
        if keys.is_empty() {
            return Attempt {
                failure: Some(Failure::SecretLost),
                ..Attempt::default()
            };
        }
        let timestamp_s = at.0.div_euclid(1_000);
        let yes = HeaderValue::from_static("true");
        let marks = match cause {
            Cause::Event => Vec::new(),
            Cause::Redelivery => vec![(REDELIVERY, yes)],
            Cause::Ping | Cause::Example => vec![(TEST, yes)],
        };
        let signature = signature(&keys, &body.event.to_string(), timestamp_s, &body.bytes);
        let request = Request {
            organization: endpoint.organization,
            url: endpoint.url.clone(),
            id: body.event,
            timestamp_s,
            signature,
            marks,
            body: body.bytes.clone(),
        };
        self.sender.send(&request).await.without_secrets()
    }
}

/// What an endpoint's deliveries are signed with at an instant; nothing where what was sealed can
/// no longer be opened.
fn keys(endpoint: &WebhookEndpoint, at: Timestamp) -> Vec<SigningKey> {
    let signing = endpoint.secrets.iter().filter(|secret| secret.signs_at(at));
    let texts = signing.filter_map(|secret| secret.key.text());
    texts
        .filter_map(|text| SigningKey::parse(text).ok())
        .collect()
}
