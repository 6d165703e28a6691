//! One attempt: a body, signed and sent, and what became of it.
//!
//! Each body is held against the filter and the project of the very record that its address comes
//! from: what was in the line before a filter or an address changed goes nowhere.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};

use super::{Dispatcher, TaskReport};
use crate::clock::Clock;
use crate::domain::ids::{EventId, OrganizationId};
use crate::domain::record::WebhookEndpoint;
use crate::domain::time::Timestamp;
use crate::domain::webhook_signature::{SigningKey, signature};
use crate::error_chain::error_chain;
use crate::ledger::Ledger;
use crate::ledger::turns::{Turn, Turns};
use crate::seal::sealed_value::SEAL_NONCE_BYTES;
use crate::webhooks::attempt::{AttemptFailure, HttpAttempt};
use crate::webhooks::bodies::{BodyCache, WebhookBody};
use crate::webhooks::delivery::{AttemptOutcome, AttemptRecord, DeliveryCause, delivery_id};
use crate::webhooks::http_sender::{WebhookRequest, WebhookSender};
use crate::webhooks::matching::matches_body;
use crate::webhooks::queue::{DeliveryDisposition, FailedAttempt};
use crate::webhooks::stored_response::StoredResponse;

/// Says that a delivery is a test; not among the headers of the specification.
const TEST_HEADER: HeaderName = HeaderName::from_static("webhook-test");
/// Says that somebody asked for a delivery once more.
const REDELIVERY_HEADER: HeaderName = HeaderName::from_static("webhook-redelivery");

/// What is sent.
#[derive(Clone)]
pub(super) enum AttemptPayload {
    /// What the log says, in turn.
    Event(u64),
    /// The same out of turn.
    Redelivery(u64),
    /// A test.
    Test(Arc<WebhookBody>, DeliveryCause),
}

impl AttemptPayload {
    pub(super) const fn cause(&self) -> DeliveryCause {
        match self {
            Self::Event(_) => DeliveryCause::Event,
            Self::Redelivery(_) => DeliveryCause::Redelivery,
            Self::Test(_, cause) => *cause,
        }
    }

    const fn position(&self) -> Option<u64> {
        match self {
            Self::Event(position) | Self::Redelivery(position) => Some(*position),
            Self::Test(..) => None,
        }
    }
}

/// What there was to send.
enum SentContent {
    /// An event or a test, of this type.
    Sent(EventId, &'static str),
    /// Nothing that the endpoint asks for.
    Unwanted,
    /// It could not be made, for a reason that is in the log.
    Unreadable,
}

/// An attempt that has ended.
pub(super) struct EndedAttempt {
    endpoint: Arc<WebhookEndpoint>,
    payload: AttemptPayload,
    content: SentContent,
    response: StoredResponse,
    before: u8,
    at: Timestamp,
    attempt: HttpAttempt,
}

impl Dispatcher {
    /// Begins an attempt.
    pub(super) fn begin_attempt(
        &mut self,
        endpoint: Arc<WebhookEndpoint>,
        payload: AttemptPayload,
        before: u8,
    ) {
        self.in_flight += 1;
        let sending = AttemptTask {
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
            drop(came_back.send(TaskReport::AttemptEnded(Box::new(ended))));
        });
    }

    /// Takes what became of an attempt.
    pub(super) fn finish_attempt(&mut self, ended: EndedAttempt) {
        self.in_flight -= 1;
        let now_ms = self.now_ms();
        if matches!(ended.content, SentContent::Unwanted) {
            self.discard_unwanted(&ended, now_ms);
            return;
        }
        let (attempt, id) = (&ended.attempt, ended.endpoint.id);
        let failed = attempt.failure.map(|_why| FailedAttempt {
            overloaded_or_timed_out: attempt.is_overloaded_or_timed_out(),
            gone: attempt.is_gone(),
            retry_after_ms: attempt.retry_after_ms,
        });
        let outcome = match ended.payload {
            AttemptPayload::Event(position) => {
                let jitter = u32::from_le_bytes(self.entropy.random_bytes());
                let result = failed.map_or(Ok(()), Err);
                let now = (now_ms, jitter);
                let (state, effect) = self.queue.finish_attempt((id, position), result, now);
                if let Some(effect) = effect {
                    self.submit_endpoint_action(&ended.endpoint, effect, attempt.status);
                }
                match state {
                    DeliveryDisposition::Delivered => AttemptOutcome::Delivered,
                    DeliveryDisposition::RetryAt { due_ms } => AttemptOutcome::Failed {
                        next_at: Some(Timestamp(due_ms)),
                    },
                    DeliveryDisposition::Dead => AttemptOutcome::Dead,
                }
            }
            AttemptPayload::Redelivery(_) | AttemptPayload::Test(..) if failed.is_none() => {
                AttemptOutcome::Delivered
            }
            AttemptPayload::Redelivery(_) | AttemptPayload::Test(..) => {
                AttemptOutcome::Failed { next_at: None }
            }
        };
        let (event, name) = match ended.content {
            SentContent::Sent(event, name) => (event, name),
            SentContent::Unwanted | SentContent::Unreadable => return,
        };
        self.counts.count_attempt(outcome, attempt.duration_ms);
        let attempted = AttemptRecord {
            endpoint: id,
            delivery: delivery_id(id, event),
            event,
            position: ended.payload.position(),
            name: name.to_owned(),
            cause: ended.payload.cause(),
            attempts_before: ended.before,
            at: ended.at,
            duration_ms: ended.attempt.duration_ms,
            status: ended.attempt.status,
            failure: ended.attempt.failure,
            outcome,
            response: ended.response,
        };
        self.keeping
            .add_attempt(ended.endpoint.organization, attempted);
    }

    /// Takes what the endpoint does not ask for any more out of its line.
    fn discard_unwanted(&mut self, ended: &EndedAttempt, now_ms: i64) {
        let id = ended.endpoint.id;
        match ended.payload {
            AttemptPayload::Event(position) => {
                self.queue.discard_attempt((id, position), now_ms);
                self.keeping.add_skipped(id, position);
            }
            // It was in no line, and leaves its delivery as it was.
            AttemptPayload::Redelivery(_) | AttemptPayload::Test(..) => {}
        }
    }
}

/// There is no body, for a reason that is in the log.
struct BodyUnavailable;

/// What an attempt needs.
struct AttemptTask {
    clock: Clock,
    sender: WebhookSender,
    bodies: Arc<BodyCache>,
    turns: Turns,
    ledger: Ledger,
    /// Of the answer, where it is sealed.
    nonce: [u8; SEAL_NONCE_BYTES],
}

impl AttemptTask {
    async fn run(
        self,
        endpoint: Arc<WebhookEndpoint>,
        payload: AttemptPayload,
        before: u8,
    ) -> EndedAttempt {
        let at = Timestamp(self.clock.now_ms());
        let body = self.body_if_wanted(&payload, &endpoint).await;
        let mut response = StoredResponse::default();
        let (content, attempt) = match body {
            Ok(Some(body)) => {
                let attempt = self
                    .sign_and_send(&endpoint, &body, payload.cause(), at)
                    .await;
                response = self.seal_response(&body, &attempt.response).await;
                (SentContent::Sent(body.event, body.name), attempt)
            }
            Ok(None) => (SentContent::Unwanted, HttpAttempt::default()),
            Err(BodyUnavailable) => {
                let failure = Some(AttemptFailure::Unreadable);
                let attempt = HttpAttempt {
                    failure,
                    ..HttpAttempt::default()
                };
                (SentContent::Unreadable, attempt)
            }
        };
        EndedAttempt {
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
    async fn body_if_wanted(
        &self,
        payload: &AttemptPayload,
        endpoint: &WebhookEndpoint,
    ) -> Result<Option<Arc<WebhookBody>>, BodyUnavailable> {
        let position = match payload {
            AttemptPayload::Event(position) | AttemptPayload::Redelivery(position) => *position,
            AttemptPayload::Test(body, _) => return Ok(Some(Arc::clone(body))),
        };
        let body = self
            .get_or_build_body(position, endpoint.organization)
            .await?;
        Ok(body.filter(|body| matches_body(endpoint, body)))
    }

    /// What an event says to an organization; `None` where that is nothing. An error that keeps it
    /// from being made is in the log.
    async fn get_or_build_body(
        &self,
        position: u64,
        to: OrganizationId,
    ) -> Result<Option<Arc<WebhookBody>>, BodyUnavailable> {
        if let Some(body) = self.bodies.cached(position, to) {
            return Ok(Some(body));
        }
        let bodies = Arc::clone(&self.bodies);
        let make = move |turn: &mut Turn| bodies.get_or_build(position, to, turn);
        let made = self.turns.run_bounded(Some(to), make).await;
        let why = match made {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(why)) => error_chain(&why),
            Err(why) => error_chain(&why),
        };
        tracing::error!(position, why, "the body of a delivery cannot be made");
        Err(BodyUnavailable)
    }

    /// The answer as it is stored: sealed where a person is in it, which may read a key's file.
    async fn seal_response(&self, body: &WebhookBody, answer: &[u8]) -> StoredResponse {
        let answer = String::from_utf8_lossy(answer).into_owned();
        let Some(person) = body.person.filter(|_| !answer.is_empty()) else {
            return StoredResponse::plain(&answer);
        };
        let (ledger, nonce, event) = (self.ledger.clone(), self.nonce, body.event);
        let sealed = tokio::task::spawn_blocking(move || {
            StoredResponse::sealed_for_person(ledger.keys(), (person, event), &answer, nonce)
        });
        // Only a panic is an error: nothing is stored then.
        sealed.await.unwrap_or_default()
    }

    async fn sign_and_send(
        &self,
        endpoint: &WebhookEndpoint,
        body: &WebhookBody,
        cause: DeliveryCause,
        at: Timestamp,
    ) -> HttpAttempt {
        let keys = signing_keys(endpoint, at);
        if keys.is_empty() {
            return HttpAttempt {
                failure: Some(AttemptFailure::SecretLost),
                ..HttpAttempt::default()
            };
        }
        let timestamp_s = at.0.div_euclid(1_000);
        let yes = HeaderValue::from_static("true");
        let marks = match cause {
            DeliveryCause::Event => Vec::new(),
            DeliveryCause::Redelivery => vec![(REDELIVERY_HEADER, yes)],
            DeliveryCause::Ping | DeliveryCause::ExampleEvent => vec![(TEST_HEADER, yes)],
        };
        let signature = signature(&keys, &body.event.to_string(), timestamp_s, &body.bytes);
        let request = WebhookRequest {
            organization: endpoint.organization,
            url: endpoint.url.clone(),
            id: body.event,
            timestamp_s,
            signature,
            extra_headers: marks,
            body: body.bytes.clone(),
        };
        self.sender.send(&request).await.without_secrets()
    }
}

/// What an endpoint's deliveries are signed with at an instant; nothing where what was sealed can
/// no longer be opened.
fn signing_keys(endpoint: &WebhookEndpoint, at: Timestamp) -> Vec<SigningKey> {
    let signing = endpoint.secrets.iter().filter(|secret| secret.signs_at(at));
    let texts = signing.filter_map(|secret| secret.key.text());
    texts
        .filter_map(|text| SigningKey::parse(text).ok())
        .collect()
}
