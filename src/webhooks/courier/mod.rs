//! The courier: reads what happened, and brings it to whoever asked for it.
//!
//! Owns the one task that the queue belongs to. Whatever waits (reading the log, the network, the
//! disk) is a task of its own that comes back with news, so that nothing here has a lock and
//! nothing waits for an endpoint. Must never decide about the ledger: what has to become of an
//! endpoint is asked of it by commands, as any client asks. Positions flow in from the views,
//! attempts out to the network, their outcomes to the store.

mod keeping;
mod overview;
mod reading;
mod sending;
mod telling;
mod trial;

#[cfg(test)]
mod tests;

pub use overview::{Counts, Overview};
pub use trial::{Trial, TrialRefused};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::bodies::Bodies;
use super::client::Sender;
use super::queue::{Queue, Range, Seen, Terms};
use super::store::{Batch, Loaded, Store};
use crate::clock::{Clock, Entropy};
use crate::domain::ids::{DeliveryId, EndpointId};
use crate::domain::record::WebhookEndpoint;
use crate::ledger::Ledger;
use keeping::Keeping;
use reading::{Found, Subscribers};
use sending::{Ended, Payload};
use trial::Trials;

/// How long the courier waits at most: a clock that was set is noticed within that time.
const LOOK_EVERY_MS: i64 = 1_000;
/// Lines whose part of the log is read at once: each reading is a thread for some 10 milliseconds.
const READINGS_MAX: usize = 4;
/// How long a reading that failed is not tried again.
const READ_AGAIN_MS: i64 = 1_000;
/// Attempts that ended and are not kept yet: 5 KB each at most. Beyond it none begins.
const UNKEPT_MAX: usize = 20_000;
/// How long attempts may take to end when the process stops; they are made again otherwise.
const DRAIN: Duration = Duration::from_secs(3);

/// What a courier works with.
pub(super) struct Tools {
    pub(super) ledger: Ledger,
    pub(super) store: Store,
    pub(super) sender: Sender,
    pub(super) entropy: Entropy,
    /// How long attempts are kept, in milliseconds.
    pub(super) kept_for_ms: i64,
    pub(super) counts: Arc<Counts>,
}

/// What is asked of the courier.
pub(super) enum Ask {
    /// One attempt, out of turn.
    Try {
        endpoint: EndpointId,
        trial: Trial,
        answer: oneshot::Sender<Result<DeliveryId, TrialRefused>>,
    },
    /// A part of the log once more; `false`: one is under way already, or there is no such line.
    Replay {
        endpoint: EndpointId,
        range: Range,
        answer: oneshot::Sender<bool>,
    },
    /// How an endpoint's line stands.
    Look {
        endpoint: EndpointId,
        answer: oneshot::Sender<Option<Overview>>,
    },
    /// To be told when there is nothing left to do now.
    Settle { answer: oneshot::Sender<()> },
}

/// What tasks come back with.
enum News {
    /// The log was read for those who are live.
    Seen(Found),
    /// A part of it was read for a line.
    Read {
        endpoint: EndpointId,
        range: Range,
        positions: Vec<u64>,
        next: u64,
    },
    /// A reading failed; whose, unless it was for those who are live.
    Unread(Option<EndpointId>),
    /// An attempt has ended.
    Ended(Box<Ended>),
    /// The store has what it was given, or not.
    Kept(Box<Batch>, keeping::Outcome),
}

/// The state of the one task.
pub(super) struct Courier {
    ledger: Ledger,
    clock: Clock,
    entropy: Entropy,
    sender: Sender,
    bodies: Arc<Bodies>,
    queue: Queue,
    subscribers: Arc<Subscribers>,
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
    trials: Trials,
    settling: Vec<oneshot::Sender<()>>,
    keeping: Keeping,
    counts: Arc<Counts>,
    came_back: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
}

impl Courier {
    /// Takes up where the last process left off.
    pub(super) fn new(tools: Tools, loaded: Loaded) -> Self {
        let (came_back, news) = mpsc::unbounded_channel();
        let ledger = tools.ledger;
        let mut queue = Queue::default();
        for (endpoint, progress) in loaded.lines {
            queue.restore(endpoint, progress);
        }
        for (endpoint, position, kept) in loaded.outstanding {
            if !queue.restore_delivery(endpoint, position, kept) {
                tracing::warn!(%endpoint, position, "a delivery of no endpoint is left out");
            }
        }
        let shown = shown(&ledger);
        let seen = loaded.seen.unwrap_or_else(|| beginning(&ledger)).min(shown);
        Self {
            clock: ledger.clock().clone(),
            entropy: tools.entropy,
            sender: tools.sender,
            bodies: Arc::new(Bodies::new(ledger.clone())),
            queue,
            subscribers: Arc::default(),
            known_changes: None,
            seen,
            seeing: None,
            read_after_ms: 0,
            readings: 0,
            read_last: None,
            in_flight: 0,
            trials: Trials::default(),
            settling: Vec::new(),
            keeping: Keeping::new(tools.store, ledger.clone(), (tools.kept_for_ms, seen)),
            counts: tools.counts,
            ledger,
            came_back,
            news,
        }
    }

    /// Works until it is told to stop.
    pub(super) async fn run(
        mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut stop: watch::Receiver<()>,
    ) {
        let mut shown = self.ledger.views().subscribe();
        loop {
            self.work();
            let wait = self.wait();
            tokio::select! {
                biased;
                // Nothing is ever sent: whoever could is gone.
                _gone = stop.changed() => break,
                Some(news) = self.news.recv() => self.take_all(news),
                Some(ask) = asks.recv() => self.answer(ask),
                changed = shown.changed(), if self.seeing.is_none() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        drop(asks);
        self.finish().await;
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Begins whatever can begin.
    fn work(&mut self) {
        self.know_subscribers();
        self.see();
        self.read_behind();
        self.begin_attempts();
        self.settle();
        self.keep();
        self.counts.note(&self.queue, self.now_ms());
    }

    /// How long nothing has to be done, if nothing happens.
    fn wait(&self) -> Duration {
        let now_ms = self.now_ms();
        let due = self.queue.due_ms().unwrap_or(i64::MAX);
        let due = due.min(self.keeping.due_ms(now_ms));
        let wait = due.saturating_sub(now_ms).clamp(0, LOOK_EVERY_MS);
        Duration::from_millis(wait.unsigned_abs())
    }

    /// Learns of new, changed and deleted endpoints. The views are asked how often endpoints have
    /// changed before they are asked for them, so that a change in between is learned next time.
    fn know_subscribers(&mut self) {
        let directory = &self.ledger.views().directory;
        let changes = directory.webhook_endpoint_change_count();
        if self.known_changes == Some(changes) {
            return;
        }
        let endpoints = directory.all_webhook_endpoints();
        let seen = Seen {
            to: self.seen,
            begun: self.seeing.unwrap_or(self.seen),
        };
        let now = (seen, self.now_ms());
        for endpoint in &endpoints {
            if endpoint.is_deleted() {
                self.queue.remove(endpoint.id);
                continue;
            }
            let known = self.subscribers.get(endpoint.id);
            let same = |known: &WebhookEndpoint| known.stamp.position == endpoint.stamp.position;
            if known.as_deref().is_some_and(same) {
                continue;
            }
            let terms = Terms {
                ordered: endpoint.ordered,
                active: endpoint.is_active(),
                from: endpoint.from,
            };
            let mut skipped = self.queue.set(endpoint.id, terms, now);
            if let Some(known) = known {
                skipped.append(&mut self.changed(&known, endpoint));
            }
            for position in skipped {
                self.keeping.skip(endpoint.id, position);
            }
        }
        self.subscribers = Arc::new(Subscribers::new(endpoints));
        self.known_changes = Some(changes);
        self.keeping.touch();
    }

    /// Another address or filter: says what is not going to be delivered any more.
    fn changed(&mut self, before: &WebhookEndpoint, now: &WebhookEndpoint) -> Vec<u64> {
        let now_ms = self.now_ms();
        let skipped = if before.url == now.url {
            Vec::new()
        } else {
            self.queue.moved(now.id, now_ms)
        };
        if !now.event_types.covers(&before.event_types) {
            self.queue.look_again(now.id, now_ms);
        }
        skipped
    }

    fn begin_attempts(&mut self) {
        while self.keeping.unkept() < UNKEPT_MAX {
            let Some(start) = self.queue.next(self.now_ms()) else {
                break;
            };
            let Some(endpoint) = self.subscribers.get(start.endpoint) else {
                // No record, no line.
                self.queue.remove(start.endpoint);
                continue;
            };
            let payload = Payload::Event(start.position);
            self.send(endpoint, payload, start.attempts);
        }
    }

    fn take_all(&mut self, first: News) {
        self.take(first);
        while let Ok(news) = self.news.try_recv() {
            self.take(news);
        }
    }

    fn take(&mut self, news: News) {
        let now_ms = self.now_ms();
        match news {
            News::Seen(found) => {
                self.seeing = None;
                for (endpoint, position) in found.deliveries {
                    self.queue.offer(endpoint, position, now_ms);
                }
                self.seen = found.to;
                self.keeping.see(self.seen);
            }
            News::Read {
                endpoint,
                range,
                positions,
                next,
            } => {
                self.readings -= 1;
                let now = (self.seen, now_ms);
                self.queue.read(endpoint, (&range, &positions, next), now);
                self.keeping.touch();
            }
            News::Unread(whose) => {
                self.read_after_ms = now_ms.saturating_add(READ_AGAIN_MS);
                match whose {
                    Some(endpoint) => {
                        self.readings -= 1;
                        self.queue.not_read(endpoint);
                    }
                    None => self.seeing = None,
                }
            }
            News::Ended(ended) => self.ended(*ended),
            News::Kept(batch, outcome) => {
                if outcome == keeping::Outcome::Replaced {
                    self.queue.touch_all();
                }
                self.keeping.kept(*batch, outcome, now_ms);
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        // Who asks has seen the endpoint in the views.
        self.know_subscribers();
        match ask {
            Ask::Try {
                endpoint,
                trial,
                answer,
            } => drop(answer.send(self.attempt_now(endpoint, trial))),
            Ask::Replay {
                endpoint,
                range,
                answer,
            } => {
                let begun = self.queue.replay(endpoint, range, self.seen);
                self.keeping.touch();
                // Who asked may have gone.
                answer.send(begun).unwrap_or_default();
            }
            Ask::Look { endpoint, answer } => {
                let line = self.queue.line(endpoint);
                drop(answer.send(line.map(|line| Overview::of(line, self.seen))));
            }
            Ask::Settle { answer } => self.settling.push(answer),
        }
    }

    /// Tells those who wait for it that there is nothing left to do now.
    fn settle(&mut self) {
        let reads = self.seeing.is_some() || self.readings > 0 || self.seen < shown(&self.ledger);
        if self.settling.is_empty() || reads || self.in_flight > 0 {
            return;
        }
        if !self.keeping.is_done() {
            self.keeping.hurry();
            return;
        }
        for answer in self.settling.drain(..) {
            // Who asked may have gone.
            answer.send(()).unwrap_or_default();
        }
    }

    /// Waits for what is on its way, and keeps all of it.
    async fn finish(mut self) {
        let drained = tokio::time::timeout(DRAIN, async {
            while self.in_flight > 0 || self.keeping.is_busy() {
                let Some(news) = self.news.recv().await else {
                    break;
                };
                self.take(news);
            }
        });
        if drained.await.is_err() {
            tracing::warn!("deliveries on their way are made again after the next start");
        }
        self.keeping.keep_all(&mut self.queue).await;
    }
}

/// Where the log is read from without a store: where the first of the endpoints begins, disabled
/// ones too. One reading for all, in place of one for each of thousands.
fn beginning(ledger: &Ledger) -> u64 {
    let endpoints = ledger.views().directory.all_webhook_endpoints();
    let kept = endpoints.iter().filter(|endpoint| !endpoint.is_deleted());
    let begin = kept.map(|endpoint| endpoint.from);
    begin.min().unwrap_or(u64::MAX)
}

/// How many events the views show.
fn shown(ledger: &Ledger) -> u64 {
    ledger.views().position().map_or(0, |position| position + 1)
}
