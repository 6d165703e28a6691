//! What is to be kept, a tenth of a second at once.
//!
//! One batch is on its way to the disk at a time. One that the store could not take is given to it
//! again, before anything newer.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dispatcher, TaskReport};
use crate::domain::ids::{EndpointId, OrganizationId};
use crate::domain::time::Timestamp;
use crate::error_chain::error_chain;
use crate::ledger::Ledger;
use crate::webhooks::delivery::{AttemptRecord, delivery_id};
use crate::webhooks::queue::DeliveryQueue;
use crate::webhooks::store::{DeliveryBatch, DeliveryStore};

/// From one batch to the next: what is lost by a kill is sent twice.
const PERSIST_EVERY_MS: i64 = 100;
/// The same where nothing but the reading of the log went on.
const PERSIST_POSITION_EVERY_MS: i64 = 5_000;
/// How soon a batch is tried again that could not be kept.
const PERSIST_RETRY_MS: i64 = 1_000;
/// Attempts that are to go are looked for so often, which costs one row where there are none.
const PRUNE_EVERY_MS: i64 = 60_000;

pub(super) struct PersistenceBuffer {
    store: DeliveryStore,
    ledger: Ledger,
    kept_for_ms: i64,
    attempts: Vec<AttemptRecord>,
    /// Whose the endpoints of these attempts are.
    organizations: BTreeMap<EndpointId, OrganizationId>,
    skipped: BTreeSet<(EndpointId, u64)>,
    seen: u64,
    kept_seen: u64,
    touched: bool,
    /// Attempts of the batch that is on its way.
    under_way: Option<usize>,
    /// A batch that the store could not take.
    refused: Option<Box<DeliveryBatch>>,
    not_before_ms: i64,
    seen_not_before_ms: i64,
    prune_after_ms: i64,
}

impl PersistenceBuffer {
    pub(super) fn new(
        store: DeliveryStore,
        ledger: Ledger,
        (kept_for_ms, seen): (i64, u64),
    ) -> Self {
        Self {
            store,
            ledger,
            kept_for_ms,
            attempts: Vec::new(),
            organizations: BTreeMap::new(),
            skipped: BTreeSet::new(),
            seen,
            kept_seen: seen,
            touched: false,
            under_way: None,
            refused: None,
            not_before_ms: 0,
            seen_not_before_ms: 0,
            prune_after_ms: 0,
        }
    }

    /// An attempt of an organization's endpoint has ended.
    pub(super) fn add_attempt(&mut self, organization: OrganizationId, attempted: AttemptRecord) {
        self.organizations.insert(attempted.endpoint, organization);
        self.attempts.push(attempted);
        self.touched = true;
    }

    /// A delivery is not going to be made.
    pub(super) fn add_skipped(&mut self, endpoint: EndpointId, position: u64) {
        self.skipped.insert((endpoint, position));
        self.touched = true;
    }

    /// The log has been read up to here.
    pub(super) fn set_read_position(&mut self, seen: u64) {
        self.seen = seen;
    }

    /// Something in the queue has changed.
    pub(super) fn mark_changed(&mut self) {
        self.touched = true;
    }

    /// Attempts that are not kept yet.
    pub(super) fn unpersisted_attempts(&self) -> usize {
        let refused = self
            .refused
            .as_ref()
            .map_or(0, |batch| batch.attempts.len());
        self.attempts.len() + self.under_way.unwrap_or(0) + refused
    }

    pub(super) fn is_writing(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether the store has all of it.
    pub(super) fn is_all_persisted(&self) -> bool {
        !self.touched && !self.is_writing() && self.refused.is_none()
    }

    /// Somebody waits for it: what the store has not refused is kept now.
    pub(super) fn persist_without_delay(&mut self) {
        if self.refused.is_none() {
            self.not_before_ms = 0;
        }
    }

    /// When there is something to keep.
    pub(super) fn next_write_ms(&self, now_ms: i64) -> i64 {
        if self.under_way.is_some() {
            i64::MAX
        } else if self.refused.is_some() || self.touched {
            self.not_before_ms
        } else if self.seen > self.kept_seen {
            self.seen_not_before_ms.max(now_ms)
        } else {
            i64::MAX
        }
    }

    /// The store has taken a batch, or not.
    pub(super) fn finish_write(
        &mut self,
        batch: DeliveryBatch,
        outcome: WriteOutcome,
        now_ms: i64,
    ) {
        self.under_way = None;
        self.not_before_ms = now_ms.saturating_add(PERSIST_EVERY_MS);
        self.seen_not_before_ms = now_ms.saturating_add(PERSIST_POSITION_EVERY_MS);
        match outcome {
            WriteOutcome::Stored => self.kept_seen = batch.read_to,
            WriteOutcome::Refused => {
                self.not_before_ms = now_ms.saturating_add(PERSIST_RETRY_MS);
                self.refused = Some(Box::new(batch));
            }
            WriteOutcome::Replaced => {
                self.refused = Some(Box::new(batch));
                self.touched = true;
            }
        }
    }

    /// What there is to keep now, and a job that gives it to the store.
    fn take_write_job(&mut self, queue: &mut DeliveryQueue) -> WriteJob {
        let (store, ledger) = (self.store.clone(), self.ledger.clone());
        if let Some(refused) = self.refused.take() {
            return WriteJob {
                batch: *refused,
                skipped: BTreeSet::new(),
                store,
                ledger,
            };
        }
        self.touched = false;
        WriteJob {
            batch: DeliveryBatch {
                changes: queue.take_changes(),
                read_to: self.seen,
                attempts: std::mem::take(&mut self.attempts),
                organizations: std::mem::take(&mut self.organizations),
                skipped: Vec::new(),
            },
            skipped: std::mem::take(&mut self.skipped),
            store,
            ledger,
        }
    }

    /// Keeps all there is, at the end.
    pub(super) async fn persist_all(mut self, queue: &mut DeliveryQueue) {
        loop {
            let last = self.refused.is_none();
            let keep = self.take_write_job(queue);
            let kept =
                tokio::task::spawn_blocking(move || keep.run().1 == WriteOutcome::Stored).await;
            if last || !kept.unwrap_or(false) {
                break;
            }
        }
    }
}

impl Dispatcher {
    /// Gives the store what there is to keep.
    pub(super) fn persist_batch(&mut self) {
        let now_ms = self.now_ms();
        if self.keeping.next_write_ms(now_ms) > now_ms {
            return;
        }
        let keep = self.keeping.take_write_job(&mut self.queue);
        self.keeping.under_way = Some(keep.batch.attempts.len());
        let prune = now_ms >= self.keeping.prune_after_ms;
        if prune {
            self.keeping.prune_after_ms = now_ms.saturating_add(PRUNE_EVERY_MS);
        }
        let cutoff = Timestamp(now_ms.saturating_sub(self.keeping.kept_for_ms));
        let (store, came_back) = (self.keeping.store.clone(), self.came_back.clone());
        tokio::task::spawn_blocking(move || {
            let (batch, outcome) = keep.run();
            // Nobody to tell: the courier has stopped.
            drop(came_back.send(TaskReport::Persisted(Box::new(batch), outcome)));
            if prune && outcome == WriteOutcome::Stored {
                prune_attempts(&store, cutoff);
            }
        });
    }
}

/// A batch on its way to the store.
struct WriteJob {
    batch: DeliveryBatch,
    /// Deliveries that are not going to be made: their ids are made of the events' in the log.
    skipped: BTreeSet<(EndpointId, u64)>,
    store: DeliveryStore,
    ledger: Ledger,
}

impl WriteJob {
    /// Waits for the disk: the batch, and what became of it.
    fn run(mut self) -> (DeliveryBatch, WriteOutcome) {
        for (endpoint, position) in self.skipped {
            if let Ok(past) = self.ledger.event(position) {
                let delivery = delivery_id(endpoint, past.event.id);
                self.batch.skipped.push((endpoint, delivery));
            }
        }
        let outcome = write_batch(&self.store, &self.batch);
        (self.batch, outcome)
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WriteOutcome {
    /// The store has it.
    Stored,
    /// It is to be tried again.
    Refused,
    /// The store is a new one, in the place of a damaged one: it needs all there is.
    Replaced,
}

/// Gives a batch to the store. One that cannot be written is opened again: after a failed write it
/// believes nothing that it holds in memory.
fn write_batch(store: &DeliveryStore, batch: &DeliveryBatch) -> WriteOutcome {
    let Err(why) = store.write_batch(batch) else {
        return WriteOutcome::Stored;
    };
    let why = error_chain(&why);
    tracing::error!(
        why,
        "what webhooks have delivered cannot be kept; it is tried again"
    );
    match store.open_or_replace() {
        Ok(true) => WriteOutcome::Replaced,
        // What cannot be opened has been reported.
        Ok(false) | Err(_) => WriteOutcome::Refused,
    }
}

fn prune_attempts(store: &DeliveryStore, cutoff: Timestamp) {
    loop {
        match store.prune_attempts(cutoff) {
            Ok(true) => {}
            Ok(false) => break,
            Err(why) => {
                let why = error_chain(&why);
                tracing::warn!(why, "old attempts cannot be removed; it is tried again");
                break;
            }
        }
    }
}
