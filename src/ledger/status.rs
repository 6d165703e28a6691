//! How the ledger is doing, in numbers: for who watches it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Ledger;
use crate::domain::event::Fact;

/// Events appended since the start, by type.
#[derive(Debug)]
pub(crate) struct Appended(BTreeMap<&'static str, AtomicU64>);

impl Default for Appended {
    fn default() -> Self {
        let types = Fact::TYPES.iter().map(|(name, _)| *name);
        Self(types.map(|name| (name, AtomicU64::new(0))).collect())
    }
}

impl Appended {
    pub(crate) fn count(&self, name: &'static str) {
        if let Some(count) = self.0.get(name) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The numbers of one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Events in the log.
    pub events: u64,
    /// Events that the views in RAM do not show yet.
    pub views_behind: u64,
    /// Commands that wait in the lane of ends and in the ordinary one.
    pub waiting: [u64; 2],
    /// Events that the newest signed checkpoint covers.
    pub checkpoint: u64,
    /// Events appended since the start, by type.
    pub appended: Vec<(&'static str, u64)>,
    /// Data keys that are missing or damaged, by whose they are.
    pub unusable_keys: [(&'static str, u64); 3],
    /// Secrets that the verification index knows.
    pub secrets: u64,
}

impl Ledger {
    /// How the ledger is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let events = self.reader.next_position();
        let shown = self.views().position().map_or(0, |position| position + 1);
        let (ends, ordinary) = self.shared.lanes.waiting();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let appended = self.shared.appended.0.iter();
        Status {
            events,
            views_behind: events.saturating_sub(shown),
            waiting: [count(ends), count(ordinary)],
            checkpoint: self.shared.checkpoint.load(Ordering::Acquire),
            appended: appended
                .map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
                .collect(),
            unusable_keys: self.shared.unusable_keys.counts(),
            secrets: count(self.views().index.secret_count()),
        }
    }
}
