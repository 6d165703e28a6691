//! The revocation feed: what verifiers that keep answers must forget, by position.
//!
//! Owns the newest entries, in a ring in RAM; what is older is read from the log again. Must never
//! lack an entry that it says it covers, nor hold the writer: readers take a few entries under a
//! short lock. Entries flow in with committed batches before their position is published; readers
//! never look beyond the published position. [`entry`] has the table of events and entries.

pub mod entry;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::ids::OrganizationId;
pub use entry::{AffectedCredentials, RevocationEffect, RevocationEntry};

/// Ids that the ring holds at most, over all entries. An entry of one credential takes some 110
/// bytes with its pointer, a further id 16: at most 115 MB, some minutes of a mass revocation.
const RING_IDS_MAX: usize = 1_000_000;
/// Entries looked at under one lock: some 10 microseconds.
const LOOKED_AT_MAX: usize = 1_000;
/// Ids that one page holds before it ends: two owners with all that they may have.
pub const FEED_PAGE_IDS_MAX: usize = 10_000;

/// Which entries a reader may see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FeedScope {
    /// Those of one organization, and those that concern all.
    OneOrganization(OrganizationId),
    Everything,
}

impl FeedScope {
    /// Whether an entry is shown.
    #[must_use]
    pub fn includes(self, entry: &RevocationEntry) -> bool {
        match self {
            Self::Everything => true,
            Self::OneOrganization(id) => entry.organization.is_none_or(|of| of == id),
        }
    }
}

/// Some entries in order, and how far they reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedPage {
    /// Oldest first.
    pub entries: Vec<Arc<RevocationEntry>>,
    /// Everything before this position has been looked at.
    pub next: u64,
}

impl FeedPage {
    /// Takes an entry; `false` once no more is to come.
    pub fn push_until_full(&mut self, entry: Arc<RevocationEntry>, limit: usize) -> bool {
        self.next = entry.position + 1;
        self.entries.push(entry);
        let ids: usize = self
            .entries
            .iter()
            .map(|entry| entry.id_count_at_least_one())
            .sum();
        self.entries.len() < limit && ids < FEED_PAGE_IDS_MAX
    }
}

/// The newest entries.
#[derive(Debug)]
pub struct RecentRevocations {
    ring: Mutex<RevocationRing>,
    news: watch::Sender<()>,
    ids_max: usize,
}

#[derive(Debug, Default)]
struct RevocationRing {
    entries: VecDeque<Arc<RevocationEntry>>,
    ids: usize,
    /// Every entry from this position on is in the ring.
    floor: u64,
}

impl Default for RecentRevocations {
    fn default() -> Self {
        Self::with_room(RING_IDS_MAX)
    }
}

impl RecentRevocations {
    fn with_room(ids_max: usize) -> Self {
        Self {
            ring: Mutex::default(),
            news: watch::Sender::new(()),
            ids_max,
        }
    }

    fn ring(&self) -> MutexGuard<'_, RevocationRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the entries of a batch that is durable, before its position is published.
    pub(super) fn apply(&self, entries: &[Arc<RevocationEntry>]) {
        if entries.is_empty() {
            return;
        }
        let mut ring = self.ring();
        for entry in entries {
            ring.ids += entry.id_count_at_least_one();
            ring.entries.push_back(Arc::clone(entry));
        }
        while ring.ids > self.ids_max
            && let Some(oldest) = ring.entries.pop_front()
        {
            ring.ids -= oldest.id_count_at_least_one();
            ring.floor = oldest.position + 1;
        }
    }

    /// Wakes waiting readers, once the position of the batch is published.
    pub(super) fn wake_readers(&self, entries: &[Arc<RevocationEntry>]) {
        if !entries.is_empty() {
            self.news.send_replace(());
        }
    }

    /// Empties the ring: entries before `floor` are in the log alone.
    pub(super) fn restart_at(&self, floor: u64) {
        *self.ring() = RevocationRing {
            floor,
            ..RevocationRing::default()
        };
    }

    /// Notified when there are new entries.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Entries from the position `from` on, none at or beyond `shown`; `None` if the log must be
    /// asked.
    #[must_use]
    pub fn read_page(
        &self,
        from: u64,
        shown: u64,
        scope: FeedScope,
        limit: usize,
    ) -> Option<FeedPage> {
        let mut page = FeedPage {
            entries: Vec::new(),
            next: from,
        };
        while page.next < shown {
            let ring = self.ring();
            if page.next < ring.floor {
                return (page.next > from).then_some(page);
            }
            let first = ring
                .entries
                .partition_point(|entry| entry.position < page.next);
            let mut left = LOOKED_AT_MAX;
            let mut found = Vec::new();
            let mut reached = shown;
            for entry in ring.entries.range(first..) {
                if entry.position >= shown {
                    break;
                }
                if left == 0 {
                    reached = entry.position;
                    break;
                }
                left -= 1;
                if scope.includes(entry) {
                    found.push(Arc::clone(entry));
                }
            }
            drop(ring);
            for entry in found {
                if !page.push_until_full(entry, limit) {
                    return Some(page);
                }
            }
            page.next = reached;
        }
        Some(page)
    }
}
