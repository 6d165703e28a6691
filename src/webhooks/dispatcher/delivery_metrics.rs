//! How deliveries go, in numbers: of one endpoint for its owner, of all for the operator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::metrics::histogram::Histogram;

use crate::domain::time::Timestamp;
use crate::webhooks::delivery::AttemptOutcome;
use crate::webhooks::queue::{DeliveryQueue, EndpointQueue};

/// Of an attempt, in seconds: up to its time limit.
const ATTEMPT_BUCKETS: [f64; 12] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0,
];
/// The numbers are looked at so often.
const UPDATE_EVERY_MS: i64 = 1_000;
/// No position.
const NO_POSITION: u64 = u64::MAX;

/// How the line of an endpoint stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointBacklog {
    /// Deliveries that are outstanding, as far as the line holds them.
    pub pending: usize,
    /// The position of the oldest of them.
    pub oldest_position: Option<u64>,
    /// Events of the log that the line has yet to read.
    pub unread_events: u64,
    /// When the first of the attempts failed that have all failed since.
    pub failing_since: Option<Timestamp>,
    /// When an attempt succeeded last.
    pub delivered_at: Option<Timestamp>,
}

impl EndpointBacklog {
    pub(super) fn of_endpoint(line: &EndpointQueue, seen: u64) -> Self {
        let progress = line.progress();
        let unread = progress.ranges.iter().map(|range| {
            let end = range.to.unwrap_or(seen);
            end.saturating_sub(range.next)
        });
        Self {
            pending: line.outstanding_len(),
            oldest_position: line.oldest_position(),
            unread_events: unread.sum(),
            failing_since: progress.failing_since_ms.map(Timestamp),
            delivered_at: progress.delivered_at_ms.map(Timestamp),
        }
    }
}

/// What is counted of all endpoints.
#[derive(Debug)]
pub struct DeliveryMetrics {
    delivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    /// How long attempts take, in seconds.
    pub attempt_seconds: Histogram,
    pending: AtomicU64,
    oldest: AtomicU64,
    active: AtomicU64,
    failing: AtomicU64,
    stopped: AtomicU64,
    note_after_ms: AtomicI64,
}

impl Default for DeliveryMetrics {
    fn default() -> Self {
        Self {
            delivered: AtomicU64::default(),
            failed: AtomicU64::default(),
            dead: AtomicU64::default(),
            attempt_seconds: Histogram::new(ATTEMPT_BUCKETS),
            pending: AtomicU64::default(),
            oldest: AtomicU64::new(NO_POSITION),
            active: AtomicU64::default(),
            failing: AtomicU64::default(),
            stopped: AtomicU64::default(),
            note_after_ms: AtomicI64::default(),
        }
    }
}

impl DeliveryMetrics {
    /// Attempts by their outcome.
    #[must_use]
    pub fn attempts_by_outcome(&self) -> [(&'static str, u64); 3] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = [of(&self.delivered), of(&self.failed), of(&self.dead)];
        let named = AttemptOutcome::NAMES.into_iter().zip(counts);
        let mut attempts = [("", 0); 3];
        for (place, of) in attempts.iter_mut().zip(named) {
            *place = of;
        }
        attempts
    }

    /// Endpoints by how they are: `active`, `failing`, `disabled`.
    #[must_use]
    pub fn endpoints_by_state(&self) -> [(&'static str, u64); 3] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("active", of(&self.active)),
            ("failing", of(&self.failing)),
            ("disabled", of(&self.stopped)),
        ]
    }

    /// Deliveries that are outstanding, as far as lines hold them.
    #[must_use]
    pub fn pending_deliveries(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// The position of the oldest delivery that is outstanding.
    #[must_use]
    pub fn oldest_pending_position(&self) -> Option<u64> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        (oldest != NO_POSITION).then_some(oldest)
    }

    pub(super) fn count_attempt(&self, outcome: AttemptOutcome, duration_ms: u64) {
        let count = match outcome {
            AttemptOutcome::Delivered => &self.delivered,
            AttemptOutcome::Failed { .. } => &self.failed,
            AttemptOutcome::Dead => &self.dead,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let ms = u32::try_from(duration_ms).unwrap_or(u32::MAX);
        self.attempt_seconds.observe(f64::from(ms) / 1_000.0);
    }

    /// Looks at all lines, once in a while.
    pub(super) fn update_from_queue(&self, queue: &DeliveryQueue, now_ms: i64) {
        if now_ms < self.note_after_ms.load(Ordering::Relaxed) {
            return;
        }
        let (mut pending, mut oldest) = (0, NO_POSITION);
        let mut states = BTreeMap::from([("active", 0), ("failing", 0), ("stopped", 0)]);
        for (_, line) in queue.endpoints() {
            pending += line.outstanding_len() as u64;
            oldest = oldest.min(line.oldest_position().unwrap_or(NO_POSITION));
            let state = match (line.is_active(), line.is_failing()) {
                (false, _) => "stopped",
                (true, true) => "failing",
                (true, false) => "active",
            };
            *states.entry(state).or_default() += 1;
        }
        let of = |state: &str| states.get(state).copied().unwrap_or(0);
        self.pending.store(pending, Ordering::Relaxed);
        self.oldest.store(oldest, Ordering::Relaxed);
        self.active.store(of("active"), Ordering::Relaxed);
        self.failing.store(of("failing"), Ordering::Relaxed);
        self.stopped.store(of("stopped"), Ordering::Relaxed);
        let after = now_ms.saturating_add(UPDATE_EVERY_MS);
        self.note_after_ms.store(after, Ordering::Relaxed);
    }
}
