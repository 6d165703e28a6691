//! Webhooks: each fact of the ledger, signed and sent to whoever asked for it.
//!
//! The log is the queue. `matching` says who gets which event, `queue` what is outstanding and
//! whose turn it is, `store` keeps that, `schedule` says when a failed delivery is tried again,
//! `signature` signs, `address` says where a delivery may go and `client` brings it there. Must
//! never send what has not been committed, nor let a receiver or a name server lead a request
//! inside. Facts flow in from the ledger, attempts flow out.

pub mod address;
pub mod attempt;
pub mod bodies;
pub mod client;
mod courier;
pub mod delivery;
pub mod examples;
pub mod matching;
pub mod pull;
pub mod queue;
mod ranges;
pub mod resolver;
pub mod schedule;
pub mod signature;
pub mod store;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::Entropy;
use crate::domain::ids::{DeliveryId, EndpointId};
use crate::ledger::Ledger;
use client::{InvalidSettings, Sender};
use courier::{Ask, Courier, Tools};
use queue::Range;
use store::{Store, StoreError};

pub use courier::{Counts, Overview, PING, Trial, TrialRefused};

/// What is asked of the courier and not answered yet.
const ASKS_MAX: usize = 1_024;

/// Why webhooks could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What has been delivered.
    #[error("what webhooks have delivered cannot be read")]
    Store(#[from] StoreError),
    /// The client.
    #[error("deliveries cannot be sent with these settings")]
    Client(#[from] InvalidSettings),
}

/// Webhooks, running. Clones are handles to the same ones.
#[derive(Clone, Debug)]
pub struct Webhooks {
    store: Store,
    asks: mpsc::Sender<Ask>,
    counts: Arc<Counts>,
    running: Arc<Mutex<Option<Running>>>,
}

#[derive(Debug)]
struct Running {
    /// Dropped to have the courier stop.
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// How webhooks are run.
pub struct Settings {
    /// How deliveries are sent.
    pub client: client::Settings,
    /// How long attempts are kept, in milliseconds.
    pub kept_for_ms: i64,
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
        settings: Settings,
        runtime: &Handle,
    ) -> Result<Self, StartError> {
        let store = Store::open(folder)?;
        let loaded = store.load()?;
        let counts = Arc::new(Counts::default());
        let tools = Tools {
            ledger,
            store: store.clone(),
            sender: Sender::new(settings.client)?,
            entropy: settings.entropy,
            kept_for_ms: settings.kept_for_ms,
            counts: Arc::clone(&counts),
        };
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (stop, stopping) = watch::channel(());
        let courier = Courier::new(tools, loaded);
        let task = runtime.spawn(courier.run(asked, stopping));
        Ok(Self {
            store,
            asks,
            counts,
            running: Arc::new(Mutex::new(Some(Running { stop, task }))),
        })
    }

    /// What has been delivered, to be read off the async threads.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How deliveries go.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Begins an attempt out of turn; its delivery shows what becomes of it. `None`: webhooks have
    /// stopped.
    pub async fn attempt(
        &self,
        endpoint: EndpointId,
        trial: Trial,
    ) -> Option<Result<DeliveryId, TrialRefused>> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Try {
            endpoint,
            trial,
            answer,
        };
        self.asks.send(ask).await.ok()?;
        answered.await.ok()
    }

    /// Has a part of the log delivered once more; `Some(false)`: such a replay is under way, or the
    /// endpoint is not known. `None`: webhooks have stopped.
    pub async fn replay(&self, endpoint: EndpointId, range: Range) -> Option<bool> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Replay {
            endpoint,
            range,
            answer,
        };
        self.asks.send(ask).await.ok()?;
        answered.await.ok()
    }

    /// How an endpoint's deliveries stand; `None`: it has none, or webhooks have stopped.
    pub async fn overview(&self, endpoint: EndpointId) -> Option<Overview> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Look { endpoint, answer }).await.ok()?;
        answered.await.ok()?
    }

    /// Waits until all that has happened so far was read, nothing is on its way, and what became of
    /// it is kept: for tests and measurements.
    pub async fn settle(&self) {
        let (answer, answered) = oneshot::channel();
        // Who has stopped has nothing on its way.
        drop(self.asks.send(Ask::Settle { answer }).await);
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
