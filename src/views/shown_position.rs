//! The position that the views have reached: one atomic for readers, one channel for waiters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Count of the events shown, so that 0 is the empty log.
#[derive(Debug)]
pub(super) struct ShownPosition {
    shown: AtomicU64,
    news: watch::Sender<u64>,
}

impl Default for ShownPosition {
    fn default() -> Self {
        Self {
            shown: AtomicU64::new(0),
            news: watch::Sender::new(0),
        }
    }
}

impl ShownPosition {
    /// The position of the last event shown.
    pub(super) fn get(&self) -> Option<u64> {
        self.shown.load(Ordering::Acquire).checked_sub(1)
    }

    /// Says that everything up to `position` is shown.
    pub(super) fn publish(&self, position: u64) {
        let count = position.saturating_add(1);
        debug_assert!(count >= self.shown.load(Ordering::Relaxed));
        self.shown.store(count, Ordering::Release);
        self.news.send_replace(count);
    }

    /// Follows how many events are shown.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Waits until `position` is shown, at most `timeout`.
    pub(super) async fn wait_until_shown(&self, position: u64, timeout: Duration) -> bool {
        if self.get().is_some_and(|shown| shown >= position) {
            return true;
        }
        let mut news = self.news.subscribe();
        let reached = news.wait_for(|count| *count > position);
        matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)))
    }
}
