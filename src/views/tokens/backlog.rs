//! What the store has not taken yet: readable at once, taken to the store layer by layer.
//!
//! A layer is what one batch of the store takes, atomically with its position and root. Records of
//! all layers lie in one overlay, the newest of each, and leave it when their layer is in the
//! store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use std::{fmt, mem, thread};

use ulid::Ulid;

use crate::domain::ids::{CredentialId, OrganizationId, Subject};
use crate::domain::kind::Kind;
use crate::domain::record::Credential;

use super::lock;
use super::store::Applied;
use crate::views::Batch;

/// Most records in the backlog: some ten seconds of the fastest creation.
const RECORDS_MAX: usize = 1_000_000;
/// Most bytes in the backlog.
const BYTES_MAX: usize = 512 << 20;
/// A layer that has so many records or events takes no further batch: about 2 MB to the store.
const LAYER_LEN: usize = 4_096;
/// So many records leave the overlay under one lock, which takes some 50 microseconds.
const LEAVING_AT_ONCE: usize = 256;
/// Bytes of an event of the history with its place in the maps.
const EVENT_BYTES: usize = 96;

/// What one batch of the store takes.
pub(super) struct Layer {
    number: u64,
    pub(super) credentials: Vec<Arc<Credential>>,
    pub(super) history: Vec<(Subject, u32, u64)>,
    pub(super) applied: Applied,
    bytes: usize,
}

/// The newest credentials of the overlay below an id.
pub(super) struct Window {
    pub(super) records: BTreeMap<CredentialId, Arc<Credential>>,
    /// The overlay holds more, older than this one.
    pub(super) floor: Option<CredentialId>,
}

/// All layers.
#[derive(Default)]
pub(super) struct Backlog {
    queue: Mutex<Queue>,
    news: Condvar,
    overlay: RwLock<Overlay>,
    records: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    layers: VecDeque<Layer>,
    layers_made: u64,
    stopping: bool,
}

/// Credentials carry the number of the layer that they are in.
#[derive(Default)]
struct Overlay {
    credentials: BTreeMap<(OrganizationId, Kind, CredentialId), (u64, Arc<Credential>)>,
    history: BTreeMap<(Subject, u32), u64>,
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog")
            .field("records", &self.records)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Backlog {
    /// Takes a batch.
    pub(super) fn push(&self, batch: &Batch<'_>) {
        let credentials = &batch.changes.credentials;
        let bytes = credentials
            .iter()
            .map(|record| weight(record))
            .sum::<usize>()
            + batch.events.len() * EVENT_BYTES;
        self.records.fetch_add(credentials.len(), Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);

        let applied = Applied {
            position: batch.position,
            root: batch.root,
        };
        let mut queue = lock(&self.queue);
        let was_empty = queue.layers.is_empty();
        let mut layer = queue.open_layer(applied);
        layer.credentials.extend_from_slice(credentials);
        layer.history.extend_from_slice(batch.events);
        layer.bytes += bytes;
        let number = layer.number;
        queue.layers.push_back(layer);
        let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        for record in credentials {
            let value = (number, Arc::clone(record));
            overlay.credentials.insert(key(record), value);
        }
        for (subject, version, position) in batch.events {
            overlay.history.insert((*subject, *version), *position);
        }
        drop(overlay);
        drop(queue);
        // The thread waits for nothing but an empty queue to change.
        if was_empty {
            self.news.notify_one();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.load(Ordering::Relaxed) >= RECORDS_MAX
            || self.bytes.load(Ordering::Relaxed) >= BYTES_MAX
    }

    /// Waits for a layer to take to a store that is not broken; `false` when it is time to stop.
    pub(super) fn wait(&self, broken: impl Fn() -> bool) -> bool {
        let nothing = |queue: &mut Queue| !queue.stopping && (queue.layers.is_empty() || broken());
        let queue = self.news.wait_while(lock(&self.queue), nothing);
        !queue.unwrap_or_else(PoisonError::into_inner).stopping
    }

    /// Lets a layer that takes more batches gather them for `timeout`: the store takes many at the
    /// price of one, and whoever waits for an answer is not kept from a core by this work.
    pub(super) fn gather(&self, timeout: Duration) {
        if lock(&self.queue).layers.len() == 1 {
            thread::sleep(timeout);
        }
    }

    /// Waits for `timeout`, or until the end.
    pub(super) fn pause(&self, timeout: Duration) {
        let going_on = |queue: &mut Queue| !queue.stopping;
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

    /// The oldest layer, which takes no further batch; its records stay readable.
    pub(super) fn oldest(&self) -> Option<Layer> {
        lock(&self.queue).layers.pop_front()
    }

    /// Takes a layer back that the store has not taken.
    pub(super) fn put_back(&self, layer: Layer) {
        lock(&self.queue).layers.push_front(layer);
    }

    /// Lets go of the records of a layer that is in the store, but for those changed since.
    pub(super) fn settled(&self, layer: &Layer) {
        for records in layer.credentials.chunks(LEAVING_AT_ONCE) {
            let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
            for key in records.iter().map(|record| key(record)) {
                let newest = overlay.credentials.get(&key).map(|(number, _)| *number);
                if newest == Some(layer.number) {
                    overlay.credentials.remove(&key);
                }
            }
        }
        for events in layer.history.chunks(LEAVING_AT_ONCE) {
            let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
            for (subject, version, _) in events {
                overlay.history.remove(&(*subject, *version));
            }
        }
        self.records
            .fetch_sub(layer.credentials.len(), Ordering::Relaxed);
        self.bytes.fetch_sub(layer.bytes, Ordering::Relaxed);
    }

    /// Forgets everything; nothing may be on its way to the store.
    pub(super) fn clear(&self) {
        let mut queue = lock(&self.queue);
        let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        queue.layers.clear();
        self.records.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        let forgotten = mem::take(&mut *overlay);
        drop(overlay);
        drop(queue);
        drop(forgotten);
    }

    pub(super) fn credential(
        &self,
        of: OrganizationId,
        id: CredentialId,
    ) -> Option<Arc<Credential>> {
        let overlay = self.read();
        Kind::ALL
            .into_iter()
            .find_map(|kind| overlay.credentials.get(&(of, kind, id)))
            .map(|(_, record)| Arc::clone(record))
    }

    /// Versions and positions of a subject's events after version `after`.
    pub(super) fn history(&self, subject: Subject, after: u32, limit: usize) -> BTreeMap<u32, u64> {
        let Some(first) = after.checked_add(1) else {
            return BTreeMap::new();
        };
        let overlay = self.read();
        let events = overlay
            .history
            .range((subject, first)..=(subject, u32::MAX));
        let events = events.take(limit);
        events
            .map(|((_, version), position)| (*version, *position))
            .collect()
    }

    /// The organization's credentials of these kinds below `end`, at most `len` of each kind.
    pub(super) fn window(
        &self,
        of: OrganizationId,
        kinds: &[Kind],
        end: CredentialId,
        len: usize,
    ) -> Window {
        let mut window = Window {
            records: BTreeMap::new(),
            floor: None,
        };
        let overlay = self.read();
        for kind in kinds {
            let range = (of, *kind, CredentialId(Ulid(0)))..(of, *kind, end);
            let mut records = overlay.credentials.range(range).rev();
            let mut last = None;
            for ((_, _, id), (_, record)) in records.by_ref().take(len) {
                window.records.insert(*id, Arc::clone(record));
                last = Some(*id);
            }
            if records.next().is_some() {
                window.floor = window.floor.max(last);
            }
        }
        drop(overlay);
        // Below the floor of one kind there may be gaps, which the next window fills.
        if let Some(floor) = window.floor {
            window.records = window.records.split_off(&floor);
        }
        window
    }

    fn read(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Takes out the layer that the next batch, which ends at `applied`, belongs to.
    fn open_layer(&mut self, applied: Applied) -> Layer {
        match self.layers.pop_back() {
            Some(layer) if layer.credentials.len().max(layer.history.len()) < LAYER_LEN => {
                return Layer { applied, ..layer };
            }
            Some(full) => self.layers.push_back(full),
            None => {}
        }
        self.layers_made += 1;
        Layer {
            number: self.layers_made,
            credentials: Vec::new(),
            history: Vec::new(),
            applied,
            bytes: 0,
        }
    }
}

fn key(record: &Credential) -> (OrganizationId, Kind, CredentialId) {
    (record.organization(), record.kind(), record.id())
}

/// About how many bytes a record takes, with its copy in the overlay.
fn weight(record: &Credential) -> usize {
    let metadata = record.metadata().into_iter().flat_map(|pairs| pairs.iter());
    let metadata: usize = metadata
        .map(|(key, value)| key.len() + value.len() + 48)
        .sum();
    let description = record.description().map_or(0, str::len);
    512 + record.name().len() + description + metadata + record.secrets_len() * 160
}
