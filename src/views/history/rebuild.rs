//! Rebuilding a broken index beside everything else.
//!
//! The store is set aside and begun anew, then takes all events up to a position that all views
//! show. What the backlog holds goes in after that, so that nothing is lost that came meanwhile.
//! Until it is done the index stays broken to its readers.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::lock::lock;
use super::progress::HistoryProgress;
use super::store::HistoryStoreError;
use super::{BrokenHistoryError, HistoryIndex};
use crate::degraded::Part;
use crate::domain::ids::Subject;

impl HistoryIndex {
    /// Waits until the index is broken; `false` when it is time to stop.
    pub(crate) fn wait_until_broken(&self) -> bool {
        let rebuilding = &self.shared.rebuilding;
        let whole = |stopping: &mut bool| !*stopping && !self.is_broken();
        let waited = rebuilding
            .news
            .wait_while(lock(&rebuilding.stopping), whole);
        !*waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a while, or until it is time to stop.
    pub(crate) fn pause_rebuilding(&self, time: Duration) {
        let rebuilding = &self.shared.rebuilding;
        let going_on = |stopping: &mut bool| !*stopping;
        let stopping = lock(&rebuilding.stopping);
        let waited = rebuilding.news.wait_timeout_while(stopping, time, going_on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Nothing is rebuilt any more.
    pub(crate) fn stop_rebuilding(&self) {
        *lock(&self.shared.rebuilding.stopping) = true;
        self.shared.rebuilding.news.notify_all();
    }

    /// Whether a rebuilding that is under way must be given up.
    pub(crate) fn is_rebuilding_stopped(&self) -> bool {
        *lock(&self.shared.rebuilding.stopping)
    }

    /// Whether the store cannot be read.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.shared.is_broken.load(Ordering::Acquire)
    }

    /// The position up to which the store has ever taken events.
    pub(crate) fn settled_position(&self) -> u64 {
        self.shared.rebuilding.settled_to.load(Ordering::Acquire)
    }

    /// Where the store is.
    #[must_use]
    pub fn folder_path(&self) -> &Path {
        self.shared.store.folder_path()
    }

    /// Begins the store anew and fills it. `events` are at least those up to `applied`, which all
    /// views show.
    ///
    /// # Errors
    /// When the store fails again; the index is still broken.
    pub(crate) fn rebuild(
        &self,
        events: impl Iterator<Item = (Subject, u32, u64)>,
        applied: HistoryProgress,
    ) -> Result<(), BrokenHistoryError> {
        let shared = &self.shared;
        let _writing = lock(&shared.writing);
        if shared.store.lacks_room() {
            return Err(shared.mark_broken(HistoryStoreError::NoRoom));
        }
        let why = lock(&shared.why).clone();
        let begun = shared.store.begin_anew(&shared.degraded, why.as_deref());
        let loaded = begun.and_then(|()| shared.store.load_all(events, applied));
        loaded.map_err(|why| shared.mark_broken(why))
    }

    /// The index was rebuilt whole: readers may have it.
    pub(crate) fn finish_rebuild(&self) {
        // As long as it is broken nothing reads it, and so nothing can report it meanwhile.
        self.shared.degraded.end(Part::Views);
        self.shared.is_broken.store(false, Ordering::Release);
        self.shared.backlog.wake();
    }
}
