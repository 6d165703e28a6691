//! Webhooks: each fact of the ledger, signed and sent to whoever asked for it.
//!
//! The log is the queue. `matching` says who gets which event, `queue` what is outstanding and
//! whose turn it is, `store` keeps that, `schedule` says when a failed delivery is tried again,
//! `address` says where a delivery may go and `client` brings it there. Must
//! never send what has not been committed, nor let a receiver or a name server lead a request
//! inside. Facts flow in from the ledger, attempts flow out.

pub mod address_guard;
pub mod attempt;
pub mod bodies;
pub mod delivery;
mod dispatcher;
pub mod examples;
pub mod http_sender;
pub mod matching;
pub mod pull;
pub mod queue;
pub mod resolver;
pub mod retry_schedule;
pub(crate) mod schemas;
mod special_addresses;
pub mod store;
pub mod stored_response;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::Entropy;
use crate::degraded::Part;
use crate::domain::ids::{DeliveryId, EndpointId};
use crate::ledger::Ledger;
use dispatcher::{Dispatcher, DispatcherParts, DispatcherRequest};
use http_sender::{InvalidSenderSettings, WebhookSender};
use queue::UnreadRange;
use store::{DeliveryStore, DeliveryStoreError, StoredQueue};

pub use bodies::PING_EVENT_TYPE;
pub use dispatcher::{DeliveryMetrics, EndpointBacklog, RequestedAttempt, RequestedAttemptRefusal};

/// What is asked of the courier and not answered yet.
const PENDING_REQUESTS_MAX: usize = 1_024;

/// How often a store that could not be opened is tried again.
const REOPEN_EVERY: Duration = Duration::from_secs(2);

const ROLLBACK_REMEDY: &str = "stop the service, then put the newer log back, or, if it is lost, \
    run `keyledger mark-restored` on the folder to go on from here";

/// Why webhooks could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksStartError {
    #[error("deliveries cannot be sent with these settings")]
    Client(#[from] InvalidSenderSettings),
}

/// Webhooks, running. Clones are handles to the same ones.
#[derive(Clone, Debug)]
pub struct Webhooks {
    store: DeliveryStore,
    asks: mpsc::Sender<DispatcherRequest>,
    counts: Arc<DeliveryMetrics>,
    running: Arc<Mutex<Option<Running>>>,
}

#[derive(Debug)]
struct Running {
    /// Dropped to have the courier stop.
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// How webhooks are run.
pub struct WebhookSettings {
    /// How deliveries are sent.
    pub sender: http_sender::SenderSettings,
    /// How long attempts are kept, in milliseconds.
    pub attempt_retention_ms: i64,
    /// Ids of tests, and the spread of retries.
    pub entropy: Entropy,
}

impl Webhooks {
    /// Starts delivering what a ledger tells, on a runtime. `folder` holds what has been delivered.
    ///
    /// # Errors
    /// When the folder or the settings cannot be used.
    pub fn start(
        ledger: Ledger,
        folder: &Path,
        settings: WebhookSettings,
        runtime: &Handle,
    ) -> Result<Self, WebhooksStartError> {
        let store = DeliveryStore::new_closed(folder, ledger.degraded().clone());
        let deliver_to = ledger.views().directory.all_webhook_endpoints();
        if !deliver_to.is_empty() && store.file_path().try_exists().is_ok_and(|there| !there) {
            let why = "it is missing; a new one is made, and receivers get again what has happened \
                since their endpoint was created";
            ledger
                .degraded()
                .note_damage(Part::Deliveries, store.file_path(), why);
        }
        // One that cannot be opened now is waited for: deliveries are no reason not to start.
        let loaded = open_and_load(&store).ok();
        let counts = Arc::new(DeliveryMetrics::default());
        let tools = DispatcherParts {
            ledger,
            store: store.clone(),
            sender: WebhookSender::new(settings.sender)?,
            entropy: settings.entropy,
            kept_for_ms: settings.attempt_retention_ms,
            counts: Arc::clone(&counts),
        };
        let (asks, asked) = mpsc::channel(PENDING_REQUESTS_MAX);
        let (stop, stopping) = watch::channel(());
        let task = runtime.spawn(run_dispatcher(tools, loaded, asked, stopping));
        Ok(Self {
            store,
            asks,
            counts,
            running: Arc::new(Mutex::new(Some(Running { stop, task }))),
        })
    }

    /// What has been delivered, to be read off the async threads.
    #[must_use]
    pub fn store(&self) -> &DeliveryStore {
        &self.store
    }

    /// How deliveries go.
    #[must_use]
    pub fn metrics(&self) -> &DeliveryMetrics {
        &self.counts
    }

    /// Begins an attempt out of turn; its delivery shows what becomes of it. `None`: webhooks have
    /// stopped.
    pub async fn begin_requested_attempt(
        &self,
        endpoint: EndpointId,
        trial: RequestedAttempt,
    ) -> Option<Result<DeliveryId, RequestedAttemptRefusal>> {
        let (answer, answered) = oneshot::channel();
        let ask = DispatcherRequest::Attempt {
            endpoint,
            trial,
            answer,
        };
        self.asks.send(ask).await.ok()?;
        answered.await.ok()
    }

    /// Has a part of the log delivered once more; `Some(false)`: such a replay is under way, or the
    /// endpoint is not known. `None`: webhooks have stopped.
    pub async fn start_replay(&self, endpoint: EndpointId, range: UnreadRange) -> Option<bool> {
        let (answer, answered) = oneshot::channel();
        let ask = DispatcherRequest::Replay {
            endpoint,
            range,
            answer,
        };
        self.asks.send(ask).await.ok()?;
        answered.await.ok()
    }

    /// How an endpoint's deliveries stand; `None`: it has none, or webhooks have stopped.
    pub async fn backlog(&self, endpoint: EndpointId) -> Option<EndpointBacklog> {
        let (answer, answered) = oneshot::channel();
        self.asks
            .send(DispatcherRequest::Backlog { endpoint, answer })
            .await
            .ok()?;
        answered.await.ok()?
    }

    /// Waits until all that has happened so far was read, nothing is on its way, and what became of
    /// it is kept: for tests and measurements.
    pub async fn wait_until_idle(&self) {
        let (answer, answered) = oneshot::channel();
        // Who has stopped has nothing on its way.
        drop(
            self.asks
                .send(DispatcherRequest::WaitUntilIdle { answer })
                .await,
        );
        answered.await.unwrap_or_default();
    }

    /// Begins nothing new, lets what is on its way end, and keeps what has been delivered.
    pub async fn stop(&self) {
        let running = self.running.lock();
        let running = running.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { stop, task }) = running {
            drop(stop);
            if task.await.is_err() {
                tracing::error!("the task that delivers webhooks panicked");
            }
        }
    }
}

/// Opens the store and reads what was kept; what cannot be read is damage, and replaced once.
fn open_and_load(store: &DeliveryStore) -> Result<StoredQueue, DeliveryStoreError> {
    store.open_or_replace()?;
    store.load_queue().or_else(|_damaged| {
        store.open_or_replace()?;
        store.load_queue()
    })
}

/// What was delivered must be in the log: where it is not, the log was rolled back.
fn report_rollback(tools: &DispatcherParts, seen: Option<u64>) {
    let position = tools.ledger.views().position();
    let next = position.map_or(0, |position| position + 1);
    if let Some(seen) = seen.filter(|seen| *seen > next) {
        let reason = format!(
            "{}: webhooks were brought the event at position {}, and the log ends before position \
             {next}: the log was rolled back, and keys that were revoked since may be accepted \
             again",
            tools.store.file_path().display(),
            seen - 1
        );
        let degraded = tools.ledger.degraded();
        degraded.begin(Part::Restore, reason, ROLLBACK_REMEDY);
    }
}

/// Delivers, once the store can be opened.
async fn run_dispatcher(
    tools: DispatcherParts,
    loaded: Option<StoredQueue>,
    mut asked: mpsc::Receiver<DispatcherRequest>,
    mut stopping: watch::Receiver<()>,
) {
    let mut loaded = loaded;
    while loaded.is_none() {
        tokio::select! {
            biased;
            _gone = stopping.changed() => return,
            // The answer's channel goes with it, which says that nothing is delivered.
            ask = asked.recv() => match ask {
                Some(_unanswered) => {}
                None => return,
            },
            () = tokio::time::sleep(REOPEN_EVERY) => {
                let store = tools.store.clone();
                let opened = tokio::task::spawn_blocking(move || open_and_load(&store)).await;
                loaded = opened.ok().and_then(Result::ok);
            }
        }
    }
    let loaded = loaded.unwrap_or_default();
    report_rollback(&tools, loaded.read_to);
    Dispatcher::new(tools, loaded).run(asked, stopping).await;
}
