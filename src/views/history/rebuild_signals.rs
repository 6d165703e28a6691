//! When a rebuilding is due, and when it must end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use super::lock::lock;

/// When a rebuilding is due, and when it must end.
#[derive(Debug, Default)]
pub(super) struct RebuildSignals {
    pub(super) stopping: Mutex<bool>,
    pub(super) news: Condvar,
    pub(super) settled_to: AtomicU64,
}

impl RebuildSignals {
    pub(super) fn wake(&self) {
        // Under the lock, lest the thread be between its look and its sleep.
        let _stopping = lock(&self.stopping);
        self.news.notify_all();
    }

    /// The store has taken everything up to a position.
    pub(super) fn note_settled(&self, position: u64) {
        self.settled_to.fetch_max(position, Ordering::AcqRel);
    }
}
