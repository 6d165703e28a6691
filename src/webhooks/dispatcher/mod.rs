//! The courier: reads what happened, and brings it to whoever asked for it.
//!
//! Owns the one task that the queue belongs to. Whatever waits (reading the log, the network, the
//! disk) is a task of its own that comes back with news, so that nothing here has a lock and
//! nothing waits for an endpoint. Must never decide about the ledger: what has to become of an
//! endpoint is asked of it by commands, as any client asks. Positions flow in from the views,
//! attempts out to the network, their outcomes to the store.

mod delivery_metrics;
mod endpoint_actions;
mod log_reading;
mod persistence;
mod requested_attempts;
mod send_attempt;

#[cfg(test)]
mod tests;

pub use delivery_metrics::{DeliveryMetrics, EndpointBacklog};
pub use requested_attempts::{RequestedAttempt, RequestedAttemptRefusal};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::bodies::BodyCache;
use super::http_sender::WebhookSender;
use super::queue::{DeliveryQueue, EndpointTerms, ReadProgress, UnreadRange};
use super::store::{DeliveryBatch, DeliveryStore, StoredQueue};
use crate::clock::{Clock, Entropy};
use crate::domain::ids::{DeliveryId, EndpointId};
use crate::domain::record::WebhookEndpoint;
use crate::ledger::Ledger;
use log_reading::{ActiveEndpoints, LiveDeliveries};
use persistence::{PersistenceBuffer, WriteOutcome};
use requested_attempts::RequestedAttemptLimiter;
use send_attempt::{AttemptPayload, EndedAttempt};

/// How long the courier waits at most: a clock that was set is noticed within that time.
const WAIT_MS_MAX: i64 = 1_000;
/// Lines whose part of the log is read at once: each reading is a thread for some 10 milliseconds.
const CONCURRENT_READS_MAX: usize = 4;
/// How long a reading that failed is not tried again.
const READ_RETRY_MS: i64 = 1_000;
/// Attempts that ended and are not kept yet: 5 KB each at most. Beyond it none begins.
const UNPERSISTED_ATTEMPTS_MAX: usize = 20_000;
/// How long attempts may take to end when the process stops; they are made again otherwise.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// What a courier works with.
pub(super) struct DispatcherParts {
    pub(super) ledger: Ledger,
    pub(super) store: DeliveryStore,
    pub(super) sender: WebhookSender,
    pub(super) entropy: Entropy,
    /// How long attempts are kept, in milliseconds.
    pub(super) kept_for_ms: i64,
    pub(super) counts: Arc<DeliveryMetrics>,
}

/// What is asked of the courier.
pub(super) enum DispatcherRequest {
    /// One attempt, out of turn.
    Attempt {
        endpoint: EndpointId,
        trial: RequestedAttempt,
        answer: oneshot::Sender<Result<DeliveryId, RequestedAttemptRefusal>>,
    },
    /// A part of the log once more; `false`: one is under way already, or there is no such line.
    Replay {
        endpoint: EndpointId,
        range: UnreadRange,
        answer: oneshot::Sender<bool>,
    },
    /// How an endpoint's line stands.
    Backlog {
        endpoint: EndpointId,
        answer: oneshot::Sender<Option<EndpointBacklog>>,
    },
    /// To be told when there is nothing left to do now.
    WaitUntilIdle { answer: oneshot::Sender<()> },
}

/// What tasks come back with.
enum TaskReport {
    /// The log was read for those who are live.
    LiveRead(LiveDeliveries),
    /// A part of it was read for a line.
    BacklogRead {
        endpoint: EndpointId,
        range: UnreadRange,
        positions: Vec<u64>,
        next: u64,
    },
    /// A reading failed; whose, unless it was for those who are live.
    ReadFailed(Option<EndpointId>),
    /// An attempt has ended.
    AttemptEnded(Box<EndedAttempt>),
    /// The store has what it was given, or not.
    Persisted(Box<DeliveryBatch>, WriteOutcome),
}

/// The state of the one task.
pub(super) struct Dispatcher {
    ledger: Ledger,
    clock: Clock,
    entropy: Entropy,
    sender: WebhookSender,
    bodies: Arc<BodyCache>,
    queue: DeliveryQueue,
    subscribers: Arc<ActiveEndpoints>,
    /// Changes of endpoints that the subscribers are as of.
    known_changes: Option<u64>,
    /// The log has been read up to here for those who are live.
    seen: u64,
    /// A reading for them is under way, up to before this position.
    seeing: Option<u64>,
    read_after_ms: i64,
    readings: usize,
    read_last: Option<EndpointId>,
    in_flight: usize,
    trials: RequestedAttemptLimiter,
    settling: Vec<oneshot::Sender<()>>,
    keeping: PersistenceBuffer,
    counts: Arc<DeliveryMetrics>,
    came_back: mpsc::UnboundedSender<TaskReport>,
    news: mpsc::UnboundedReceiver<TaskReport>,
}

impl Dispatcher {
    /// Takes up where the last process left off.
    pub(super) fn new(tools: DispatcherParts, loaded: StoredQueue) -> Self {
        let (came_back, news) = mpsc::unbounded_channel();
        let ledger = tools.ledger;
        let mut queue = DeliveryQueue::default();
        for (endpoint, progress) in loaded.endpoints {
            queue.restore_endpoint(endpoint, progress);
        }
        for (endpoint, position, kept) in loaded.outstanding {
            if !queue.restore_delivery(endpoint, position, kept) {
                tracing::warn!(%endpoint, position, "a delivery of no endpoint is left out");
            }
        }
        let shown = visible_events(&ledger);
        let seen = loaded
            .read_to
            .unwrap_or_else(|| first_endpoint_position(&ledger))
            .min(shown);
        Self {
            clock: ledger.clock().clone(),
            entropy: tools.entropy,
            sender: tools.sender,
            bodies: Arc::new(BodyCache::new(ledger.clone())),
            queue,
            subscribers: Arc::default(),
            known_changes: None,
            seen,
            seeing: None,
            read_after_ms: 0,
            readings: 0,
            read_last: None,
            in_flight: 0,
            trials: RequestedAttemptLimiter::default(),
            settling: Vec::new(),
            keeping: PersistenceBuffer::new(tools.store, ledger.clone(), (tools.kept_for_ms, seen)),
            counts: tools.counts,
            ledger,
            came_back,
            news,
        }
    }

    /// Works until it is told to stop.
    pub(super) async fn run(
        mut self,
        mut asks: mpsc::Receiver<DispatcherRequest>,
        mut stop: watch::Receiver<()>,
    ) {
        let mut shown = self.ledger.views().subscribe();
        loop {
            self.do_due_work();
            let wait = self.next_wait();
            tokio::select! {
                biased;
                // Nothing is ever sent: whoever could is gone.
                _gone = stop.changed() => break,
                Some(news) = self.news.recv() => self.handle_reports(news),
                Some(ask) = asks.recv() => self.handle_request(ask),
                changed = shown.changed(), if self.seeing.is_none() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        drop(asks);
        self.shut_down().await;
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Begins whatever can begin.
    fn do_due_work(&mut self) {
        self.refresh_endpoints();
        self.read_live_events();
        self.read_backlogs();
        self.begin_due_attempts();
        self.wake_idle_waiters();
        self.persist_batch();
        self.counts.update_from_queue(&self.queue, self.now_ms());
    }

    /// How long nothing has to be done, if nothing happens.
    fn next_wait(&self) -> Duration {
        let now_ms = self.now_ms();
        let due = self.queue.next_due_ms().unwrap_or(i64::MAX);
        let due = due.min(self.keeping.next_write_ms(now_ms));
        let wait = due.saturating_sub(now_ms).clamp(0, WAIT_MS_MAX);
        Duration::from_millis(wait.unsigned_abs())
    }

    /// Learns of new, changed and deleted endpoints. The views are asked how often endpoints have
    /// changed before they are asked for them, so that a change in between is learned next time.
    fn refresh_endpoints(&mut self) {
        let directory = &self.ledger.views().directory;
        let changes = directory.webhook_endpoint_change_count();
        if self.known_changes == Some(changes) {
            return;
        }
        let endpoints = directory.all_webhook_endpoints();
        let seen = ReadProgress {
            read_to: self.seen,
            reading_to: self.seeing.unwrap_or(self.seen),
        };
        let now = (seen, self.now_ms());
        for endpoint in &endpoints {
            if endpoint.is_deleted() {
                self.queue.remove_endpoint(endpoint.id);
                continue;
            }
            let known = self.subscribers.get(endpoint.id);
            let same = |known: &WebhookEndpoint| known.stamp.position == endpoint.stamp.position;
            if known.as_deref().is_some_and(same) {
                continue;
            }
            let terms = EndpointTerms {
                ordered: endpoint.ordered,
                active: endpoint.is_active(),
                first_position: endpoint.from,
            };
            let mut skipped = self.queue.configure_endpoint(endpoint.id, terms, now);
            if let Some(known) = known {
                skipped.append(&mut self.apply_endpoint_change(&known, endpoint));
            }
            for position in skipped {
                self.keeping.add_skipped(endpoint.id, position);
            }
        }
        self.subscribers = Arc::new(ActiveEndpoints::new(endpoints));
        self.known_changes = Some(changes);
        self.keeping.mark_changed();
    }

    /// Another address or filter: says what is not going to be delivered any more.
    fn apply_endpoint_change(
        &mut self,
        before: &WebhookEndpoint,
        now: &WebhookEndpoint,
    ) -> Vec<u64> {
        let now_ms = self.now_ms();
        let skipped = if before.url == now.url {
            Vec::new()
        } else {
            self.queue.skip_after_url_change(now.id, now_ms)
        };
        if !now.event_types.covers(&before.event_types) {
            self.queue.recheck_outstanding(now.id, now_ms);
        }
        skipped
    }

    fn begin_due_attempts(&mut self) {
        while self.keeping.unpersisted_attempts() < UNPERSISTED_ATTEMPTS_MAX {
            let Some(start) = self.queue.begin_next_attempt(self.now_ms()) else {
                break;
            };
            let Some(endpoint) = self.subscribers.get(start.endpoint) else {
                // No record, no line.
                self.queue.remove_endpoint(start.endpoint);
                continue;
            };
            let payload = AttemptPayload::Event(start.position);
            self.begin_attempt(endpoint, payload, start.attempts);
        }
    }

    fn handle_reports(&mut self, first: TaskReport) {
        self.handle_report(first);
        while let Ok(news) = self.news.try_recv() {
            self.handle_report(news);
        }
    }

    fn handle_report(&mut self, news: TaskReport) {
        let now_ms = self.now_ms();
        match news {
            TaskReport::LiveRead(found) => {
                self.seeing = None;
                for (endpoint, position) in found.deliveries {
                    self.queue.enqueue(endpoint, position, now_ms);
                }
                self.seen = found.read_to;
                self.keeping.set_read_position(self.seen);
            }
            TaskReport::BacklogRead {
                endpoint,
                range,
                positions,
                next,
            } => {
                self.readings -= 1;
                let now = (self.seen, now_ms);
                self.queue
                    .enqueue_read(endpoint, (&range, &positions, next), now);
                self.keeping.mark_changed();
            }
            TaskReport::ReadFailed(whose) => {
                self.read_after_ms = now_ms.saturating_add(READ_RETRY_MS);
                match whose {
                    Some(endpoint) => {
                        self.readings -= 1;
                        self.queue.retry_read(endpoint);
                    }
                    None => self.seeing = None,
                }
            }
            TaskReport::AttemptEnded(ended) => self.finish_attempt(*ended),
            TaskReport::Persisted(batch, outcome) => {
                if outcome == WriteOutcome::Replaced {
                    self.queue.mark_all_changed();
                }
                self.keeping.finish_write(*batch, outcome, now_ms);
            }
        }
    }

    fn handle_request(&mut self, ask: DispatcherRequest) {
        // Who asks has seen the endpoint in the views.
        self.refresh_endpoints();
        match ask {
            DispatcherRequest::Attempt {
                endpoint,
                trial,
                answer,
            } => drop(answer.send(self.begin_requested_attempt(endpoint, trial))),
            DispatcherRequest::Replay {
                endpoint,
                range,
                answer,
            } => {
                let begun = self.queue.start_replay(endpoint, range, self.seen);
                self.keeping.mark_changed();
                // Who asked may have gone.
                answer.send(begun).unwrap_or_default();
            }
            DispatcherRequest::Backlog { endpoint, answer } => {
                let line = self.queue.endpoint(endpoint);
                drop(answer.send(line.map(|line| EndpointBacklog::of_endpoint(line, self.seen))));
            }
            DispatcherRequest::WaitUntilIdle { answer } => self.settling.push(answer),
        }
    }

    /// Tells those who wait for it that there is nothing left to do now.
    fn wake_idle_waiters(&mut self) {
        let reads =
            self.seeing.is_some() || self.readings > 0 || self.seen < visible_events(&self.ledger);
        if self.settling.is_empty() || reads || self.in_flight > 0 {
            return;
        }
        if !self.keeping.is_all_persisted() {
            self.keeping.persist_without_delay();
            return;
        }
        for answer in self.settling.drain(..) {
            // Who asked may have gone.
            answer.send(()).unwrap_or_default();
        }
    }

    /// Waits for what is on its way, and keeps all of it.
    async fn shut_down(mut self) {
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
            while self.in_flight > 0 || self.keeping.is_writing() {
                let Some(news) = self.news.recv().await else {
                    break;
                };
                self.handle_report(news);
            }
        });
        if drained.await.is_err() {
            tracing::warn!("deliveries on their way are made again after the next start");
        }
        self.keeping.persist_all(&mut self.queue).await;
    }
}

/// Where the log is read from without a store: where the first of the endpoints begins, disabled
/// ones too. One reading for all, in place of one for each of thousands.
fn first_endpoint_position(ledger: &Ledger) -> u64 {
    let endpoints = ledger.views().directory.all_webhook_endpoints();
    let kept = endpoints.iter().filter(|endpoint| !endpoint.is_deleted());
    let begin = kept.map(|endpoint| endpoint.from);
    begin.min().unwrap_or(u64::MAX)
}

/// How many events the views show.
fn visible_events(ledger: &Ledger) -> u64 {
    ledger.views().position().map_or(0, |position| position + 1)
}
