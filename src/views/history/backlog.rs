//! What the store has not taken yet: readable at once, taken to the store layer by layer.
//!
//! A layer is what one batch of the store takes, atomically with its position and root. The events
//! of all layers lie in one overlay, and leave it when their layer is in the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use std::{fmt, mem};

use crate::domain::ids::Subject;

use super::backlog_layer::BacklogLayer;
use super::lock::lock;
use super::progress::HistoryProgress;

/// Most events in the backlog, at some 100 bytes each: some ten seconds of the fastest writing.
const EVENTS_MAX: usize = 1_000_000;
/// A layer that has so many events takes no further batch: about 200 KB to the store.
const LAYER_LEN: usize = 4_096;
/// So many events leave the overlay under one lock, which takes some 50 microseconds.
const LEAVING_AT_ONCE: usize = 256;

/// All layers.
#[derive(Default)]
pub(super) struct Backlog {
    queue: Mutex<Queue>,
    news: Condvar,
    /// The position of each event, by its subject and the subject's version.
    overlay: RwLock<BTreeMap<(Subject, u32), u64>>,
    events: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    layers: VecDeque<BacklogLayer>,
    stopping: bool,
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Backlog {
    /// Takes the events of a batch, after which the store will have come to `applied`.
    pub(super) fn push(&self, events: &[(Subject, u32, u64)], applied: HistoryProgress) {
        self.events.fetch_add(events.len(), Ordering::Relaxed);
        let mut queue = lock(&self.queue);
        let is_new = queue.add(events, applied);
        let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        for (subject, version, position) in events {
            overlay.insert((*subject, *version), *position);
        }
        drop(overlay);
        drop(queue);
        // The thread waits for a first layer, or for the one before to be full.
        if is_new {
            self.news.notify_all();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.load(Ordering::Relaxed) >= EVENTS_MAX
    }

    /// Waits for a layer to take to a store that is not broken; `false` when it is time to stop.
    pub(super) fn wait_for_layer(&self, broken: impl Fn() -> bool) -> bool {
        let nothing = |queue: &mut Queue| !queue.stopping && (queue.layers.is_empty() || broken());
        let queue = self.news.wait_while(lock(&self.queue), nothing);
        !queue.unwrap_or_else(PoisonError::into_inner).stopping
    }

    /// Lets a layer that takes more batches gather them, for `timeout` at most: the store takes
    /// many at the price of one.
    pub(super) fn wait_for_more_batches(&self, timeout: Duration) {
        self.wait_at_most(timeout, |queue| queue.layers.len() <= 1);
    }

    /// Waits for `timeout`, or until the end.
    pub(super) fn pause(&self, timeout: Duration) {
        self.wait_at_most(timeout, |_| true);
    }

    fn wait_at_most(&self, timeout: Duration, waits: impl Fn(&Queue) -> bool) {
        let going_on = |queue: &mut Queue| !queue.stopping && waits(queue);
        let waited = self
            .news
            .wait_timeout_while(lock(&self.queue), timeout, going_on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Has the thread look again.
    pub(super) fn wake(&self) {
        // Under the lock, lest the thread be between its look and its sleep.
        let _queue = lock(&self.queue);
        self.news.notify_all();
    }

    /// Has the thread stop.
    pub(super) fn stop(&self) {
        lock(&self.queue).stopping = true;
        self.wake();
    }

    /// The oldest layer, which takes no further batch; its events stay readable.
    pub(super) fn pop_oldest(&self) -> Option<BacklogLayer> {
        lock(&self.queue).layers.pop_front()
    }

    /// Takes a layer back that the store has not taken.
    pub(super) fn put_back(&self, layer: BacklogLayer) {
        lock(&self.queue).layers.push_front(layer);
    }

    /// Lets go of a layer that is in the store.
    pub(super) fn forget_settled(&self, layer: &BacklogLayer) {
        for events in layer.events.chunks(LEAVING_AT_ONCE) {
            let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
            for (subject, version, _) in events {
                overlay.remove(&(*subject, *version));
            }
        }
        self.events.fetch_sub(layer.events.len(), Ordering::Relaxed);
    }

    /// Forgets everything; nothing may be on its way to the store.
    pub(super) fn clear(&self) {
        let mut queue = lock(&self.queue);
        let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        queue.layers.clear();
        self.events.store(0, Ordering::Relaxed);
        let forgotten = mem::take(&mut *overlay);
        drop(overlay);
        drop(queue);
        drop(forgotten);
    }

    /// Versions and positions of a subject's events after version `after`.
    pub(super) fn positions_after(
        &self,
        subject: Subject,
        after: u32,
        limit: usize,
    ) -> BTreeMap<u32, u64> {
        let Some(first) = after.checked_add(1) else {
            return BTreeMap::new();
        };
        let overlay = self.read();
        let events = overlay.range((subject, first)..=(subject, u32::MAX));
        let events = events.take(limit);
        events
            .map(|((_, version), position)| (*version, *position))
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<(Subject, u32), u64>> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Adds to the layer that still takes batches, or to a new one; whether it is new.
    fn add(&mut self, events: &[(Subject, u32, u64)], applied: HistoryProgress) -> bool {
        let newest = self.layers.back_mut();
        if let Some(layer) = newest.filter(|layer| layer.events.len() < LAYER_LEN) {
            layer.events.extend_from_slice(events);
            layer.applied = applied;
            return false;
        }
        self.layers.push_back(BacklogLayer {
            events: events.to_vec(),
            applied,
        });
        true
    }
}
