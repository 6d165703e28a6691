//! The history index: where in the log the events of every record are.
//!
//! Owns a sled store, which may be lost at any time, and a backlog in RAM of what the store has not
//! taken yet. Must never keep the write path waiting. Batches flow in by [`HistoryIndex::apply`]
//! and are readable at once; a thread of its own takes them to the store; positions flow out to
//! readers, who block on the disk.

mod backlog;
mod backlog_layer;
mod lock;
mod offline;
mod progress;
mod rebuild;
mod rebuild_signals;
mod store;

#[cfg(test)]
mod tests;

pub use offline::OfflineHistory;
pub use progress::HistoryProgress;
pub use store::HistoryStoreError;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use crate::clock::Clock;
use crate::degraded::{DegradedParts, Part};
use crate::domain::ids::Subject;
use crate::priority::lower_thread_priority;

use super::committed_batch::CommittedBatch;
use backlog::Backlog;
use lock::lock;
use rebuild_signals::RebuildSignals;
use store::HistoryStore;

/// The store has failed. Writing goes on, and what is in RAM is still read; the rest comes back
/// when the index has been rebuilt.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the history index is broken until it is rebuilt")]
pub struct BrokenHistoryError {
    /// How it failed.
    #[source]
    pub why: Arc<HistoryStoreError>,
}

/// Why the index cannot be opened, though all that it held was thrown away.
#[derive(Debug, thiserror::Error)]
pub enum HistoryOpenError {
    /// No store can be made in the folder.
    #[error("the history index cannot be made")]
    Store(#[from] HistoryStoreError),
    /// The system gives no thread.
    #[error("the history index's thread cannot be started")]
    Thread(#[from] io::Error),
}

/// What the service does about a broken index.
const REBUILD_NOTICE: &str = "it is set aside and rebuilt from the log in the \
    background, again every few seconds while that fails; meanwhile histories are refused. If it \
    goes on, make room on the disk or correct the folder's owner";
/// How long batches gather before they go to the store.
const GATHERING: Duration = Duration::from_millis(50);
/// How often a paused index looks whether there is room again.
const ROOM_LOOKED_FOR_EVERY: Duration = Duration::from_millis(500);

/// The index, with its thread.
pub struct HistoryIndex {
    shared: Arc<SharedHistory>,
    thread: Option<JoinHandle<()>>,
}

struct SharedHistory {
    backlog: Backlog,
    store: HistoryStore,
    /// Held while the store is changed by one operation at a time.
    writing: Mutex<()>,
    is_broken: AtomicBool,
    why: Mutex<Option<Arc<HistoryStoreError>>>,
    degraded: DegradedParts,
    rebuilding: RebuildSignals,
}

impl fmt::Debug for HistoryIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryIndex")
            .field("backlog", &self.shared.backlog)
            .finish_non_exhaustive()
    }
}

impl HistoryIndex {
    /// Opens the index in its folder, and says what it holds. If that is not the log's position and
    /// root, it must be cleared and loaded. What cannot be read is thrown away, the folder with it.
    pub fn open_or_reset(
        folder: &Path,
    ) -> Result<(Self, Option<HistoryProgress>), HistoryOpenError> {
        Self::open_or_reset_with_degraded(folder, DegradedParts::new(Clock::system()))
    }

    /// The same; trouble with the store is no error: the index is broken then, which is reported,
    /// until it is rebuilt.
    pub fn open_or_reset_with_degraded(
        folder: &Path,
        degraded: DegradedParts,
    ) -> Result<(Self, Option<HistoryProgress>), HistoryOpenError> {
        let (mut index, applied) = Self::without_thread(folder, degraded)?;
        let shared = Arc::clone(&index.shared);
        let thread = Builder::new().name("history".to_owned());
        let work = move || {
            lower_thread_priority();
            shared.run_thread();
        };
        index.thread = Some(thread.spawn(work)?);
        Ok((index, applied))
    }

    #[cfg(test)]
    fn unattended(folder: &Path) -> Result<(Self, Option<HistoryProgress>), HistoryOpenError> {
        Self::without_thread(folder, DegradedParts::new(Clock::system()))
    }

    /// Has the store fail, as a read of a damaged page does.
    #[cfg(test)]
    pub(crate) fn break_store(&self) {
        drop(
            self.shared
                .mark_broken(HistoryStoreError::Panicked("a damaged page".to_owned())),
        );
    }

    /// The index without its thread: the backlog goes to the store by hand.
    fn without_thread(
        folder: &Path,
        degraded: DegradedParts,
    ) -> Result<(Self, Option<HistoryProgress>), HistoryOpenError> {
        let (store, opened) = HistoryStore::open_or_begin_anew(folder, &degraded);
        let shared = Arc::new(SharedHistory {
            backlog: Backlog::default(),
            store,
            writing: Mutex::default(),
            is_broken: AtomicBool::new(false),
            why: Mutex::default(),
            degraded,
            rebuilding: RebuildSignals::default(),
        });
        let applied = match opened {
            Ok(applied) => applied,
            Err(why) => {
                drop(shared.mark_broken(why));
                None
            }
        };
        let thread = None;
        Ok((Self { shared, thread }, applied))
    }

    /// Takes a committed batch. Readers see it when this returns.
    pub fn apply(&self, batch: &CommittedBatch<'_>) {
        let applied = HistoryProgress {
            position: batch.position,
            root: batch.root,
        };
        self.apply_events(batch.events, applied);
    }

    /// Takes events of subjects, each with the subject's version and its position, after those
    /// taken before.
    pub fn apply_events(&self, events: &[(Subject, u32, u64)], applied: HistoryProgress) {
        self.shared.backlog.push(events, applied);
    }

    /// Whether the backlog is at its limit: what creates records must wait, what ends them need
    /// not.
    #[must_use]
    pub fn is_backlog_full(&self) -> bool {
        self.shared.backlog.is_full()
    }

    /// What the store holds by now, whatever the backlog.
    pub fn stored_progress(&self) -> Result<Option<HistoryProgress>, BrokenHistoryError> {
        self.shared.read(HistoryStore::progress)
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<(), BrokenHistoryError> {
        let shared = &self.shared;
        let _writing = lock(&shared.writing);
        shared.backlog.clear();
        match shared.store.wipe() {
            Ok(()) => {
                shared.degraded.end(Part::Views);
                shared.is_broken.store(false, Ordering::Release);
                shared.backlog.wake();
                Ok(())
            }
            Err(why) => Err(shared.mark_broken(why)),
        }
    }

    /// Fills a cleared index with all events up to `applied`. Batches applied meanwhile wait in the
    /// backlog. If it does not come to its end, the next start finds an index that must be loaded.
    pub fn fill_cleared(
        &self,
        events: impl Iterator<Item = (Subject, u32, u64)>,
        applied: HistoryProgress,
    ) -> Result<(), BrokenHistoryError> {
        let shared = &self.shared;
        let _writing = lock(&shared.writing);
        shared.check_not_broken()?;
        let loaded = shared.store.load_all(events, applied);
        loaded.map_err(|why| shared.mark_broken(why))
    }

    /// Positions of the subject's events after its version `after`, oldest first. Whose subject it
    /// is the caller must have seen to.
    pub fn event_positions(
        &self,
        subject: Subject,
        after: u32,
        limit: usize,
    ) -> Result<Vec<u64>, BrokenHistoryError> {
        let mut events = self.shared.backlog.positions_after(subject, after, limit);
        events.append(
            &mut self
                .shared
                .read(|store| store.positions_after(subject, after, limit))?,
        );
        Ok(events.into_values().take(limit).collect())
    }

    /// Takes the whole backlog to the store, and the store to the disk.
    pub fn flush(&self) -> Result<(), BrokenHistoryError> {
        while self.shared.settle_one()? {}
        self.shared.read(HistoryStore::flush)
    }

    /// Flushes, and ends the thread. An index that is dropped instead loses its backlog, which the
    /// log makes good at the next start.
    pub fn close(self) -> Result<(), BrokenHistoryError> {
        self.flush()
    }
}

impl Drop for HistoryIndex {
    fn drop(&mut self) {
        self.shared.backlog.stop();
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics; there is nothing to learn from how it ended.
            drop(thread.join());
        }
    }
}

impl SharedHistory {
    /// The thread: takes the backlog to the store until it is stopped.
    fn run_thread(&self) {
        let broken = || self.is_broken.load(Ordering::Acquire);
        while self.backlog.wait_for_layer(broken) {
            if self.store.lacks_room() {
                self.backlog.pause(ROOM_LOOKED_FOR_EVERY);
                continue;
            }
            self.backlog.wait_for_more_batches(GATHERING);
            if let Err(broken) = self.settle_one() {
                tracing::debug!(why = %broken.why, "the history index is broken");
            }
        }
    }

    /// Takes the oldest layer of the backlog to the store; `false` if there is none.
    fn settle_one(&self) -> Result<bool, BrokenHistoryError> {
        let _writing = lock(&self.writing);
        self.check_not_broken()?;
        let Some(layer) = self.backlog.pop_oldest() else {
            return Ok(false);
        };
        match self.store.apply_layer(&layer) {
            Ok(()) => {
                self.rebuilding.note_settled(layer.applied.position);
                self.backlog.forget_settled(&layer);
                Ok(true)
            }
            Err(why) => {
                self.backlog.put_back(layer);
                Err(self.mark_broken(why))
            }
        }
    }

    fn read<T>(
        &self,
        ask: impl FnOnce(&HistoryStore) -> Result<T, HistoryStoreError>,
    ) -> Result<T, BrokenHistoryError> {
        self.check_not_broken()?;
        ask(&self.store).map_err(|why| self.mark_broken(why))
    }

    fn check_not_broken(&self) -> Result<(), BrokenHistoryError> {
        if !self.is_broken.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*lock(&self.why) {
            Some(why) => Err(BrokenHistoryError {
                why: Arc::clone(why),
            }),
            None => Ok(()),
        }
    }

    fn mark_broken(&self, why: HistoryStoreError) -> BrokenHistoryError {
        let text = crate::error_chain::error_chain(&why);
        let reason = format!("{}: {text}", self.store.folder_path().display());
        self.degraded.begin(Part::Views, reason, REBUILD_NOTICE);
        let why = Arc::new(why);
        *lock(&self.why) = Some(Arc::clone(&why));
        self.is_broken.store(true, Ordering::Release);
        self.rebuilding.wake();
        BrokenHistoryError { why }
    }
}
