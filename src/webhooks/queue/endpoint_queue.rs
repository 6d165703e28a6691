//! One endpoint's line: what is outstanding for it, and when the next attempt may begin.
//!
//! Pure: instants come in as milliseconds, randomness as a number. A line holds positions of the
//! log, never bodies. What does not fit its window stays in the log, and the line remembers from
//! where on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{DeliveryDisposition, FailedAttempt};
use crate::domain::record::EventFilter;
use crate::webhooks::retry_schedule;

/// Deliveries of one endpoint that are outstanding at once: 100 bytes each, 1 MB; what comes after
/// waits in the log.
pub const OUTSTANDING_MAX: usize = 10_000;
/// Attempts to one endpoint at once: at 5 ms each, 6,400 a second.
pub const CONCURRENT_ATTEMPTS_MAX: usize = 32;
/// What an endpoint begins with, and what is left to one that fails.
const CONCURRENT_ATTEMPTS_MIN: usize = 1;
/// An attempt before its time, made because another delivery arrived, comes at most so often.
const EARLY_RETRY_GAP_MS: i64 = 5 * 60 * 1_000;

/// A part of the log that the line has yet to read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UnreadRange {
    /// The position to read next.
    pub next: u64,
    /// The position to stop before; `None`: until the present.
    pub to: Option<u64>,
    /// Types that are wanted; `None`: all that the endpoint gets.
    pub types: Option<EventFilter>,
}

impl UnreadRange {
    /// Everything from `next` on.
    #[must_use]
    pub const fn since(next: u64) -> Self {
        Self {
            next,
            to: None,
            types: None,
        }
    }
}

/// What is kept of a line beside its deliveries.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndpointProgress {
    /// The position that the endpoint begins with.
    pub first_position: u64,
    /// When the first of the attempts failed that have all failed since.
    pub failing_since_ms: Option<i64>,
    /// The notice that was given of it last, in percent.
    pub notified_percent: u8,
    /// When an attempt succeeded last.
    pub delivered_at_ms: Option<i64>,
    /// What the line has yet to read.
    pub ranges: VecDeque<UnreadRange>,
}

/// What is kept of a delivery that is outstanding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RetryState {
    /// Attempts that count.
    pub attempts: u8,
    /// When the next one is due.
    pub due_ms: i64,
    /// When the last one began; 0 before the first.
    pub last_ms: i64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum DeliveryStage {
    Ready,
    Waiting,
    InFlight,
}

#[derive(Clone, Copy, Debug)]
struct OutstandingDelivery {
    kept: RetryState,
    stage: DeliveryStage,
    /// The attempt comes before its time: should it fail, it costs none of those that there are.
    early: bool,
    /// Whether the store has it.
    stored: bool,
}

/// Whether attempts are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EndpointState {
    Active,
    /// Stopped for its answers, which its record does not say yet.
    Stopped,
    Disabled,
}

/// One endpoint's line.
#[derive(Debug)]
pub struct EndpointQueue {
    pub(super) ordered: bool,
    pub(super) standing: EndpointState,
    pub(super) progress: EndpointProgress,
    /// A part of the log is being read for it.
    pub(super) reading: bool,
    items: BTreeMap<u64, OutstandingDelivery>,
    ready: BTreeSet<u64>,
    waiting: BTreeSet<(i64, u64)>,
    in_flight: usize,
    at_once: usize,
    overloads: u32,
    not_before_ms: i64,
    /// Deliveries that changed since the store was told, and whether it has them.
    touched: BTreeMap<u64, bool>,
}

impl EndpointQueue {
    pub(super) fn new(progress: EndpointProgress) -> Self {
        Self {
            ordered: false,
            standing: EndpointState::Disabled,
            progress,
            reading: false,
            items: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            at_once: 2 * CONCURRENT_ATTEMPTS_MIN,
            overloads: 0,
            not_before_ms: 0,
            touched: BTreeMap::new(),
        }
    }

    /// Takes what the store has of a delivery.
    pub(super) fn restore_delivery(&mut self, position: u64, kept: RetryState) {
        let item = OutstandingDelivery {
            kept,
            stage: DeliveryStage::Waiting,
            early: false,
            stored: true,
        };
        self.items.insert(position, item);
        self.waiting.insert((kept.due_ms, position));
    }

    /// Whether what happens now goes into the line as it happens.
    pub(super) fn is_live(&self) -> bool {
        self.progress.ranges.iter().all(|range| range.to.is_some())
            && (!self.ordered || self.progress.ranges.is_empty())
    }

    /// Whether it has a part of the log to read, and room for what is there.
    pub(super) fn wants_to_read(&self) -> bool {
        self.is_active()
            && !self.reading
            && self.room_left() > 0
            && !self.progress.ranges.is_empty()
    }

    pub(super) fn room_left(&self) -> usize {
        OUTSTANDING_MAX.saturating_sub(self.items.len())
    }

    /// What is kept of it beside its deliveries.
    #[must_use]
    pub const fn progress(&self) -> &EndpointProgress {
        &self.progress
    }

    /// How many deliveries are outstanding.
    #[must_use]
    pub fn outstanding_len(&self) -> usize {
        self.items.len()
    }

    /// The oldest position that is outstanding.
    #[must_use]
    pub fn oldest_position(&self) -> Option<u64> {
        self.items.keys().next().copied()
    }

    /// Whether the last attempt failed.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.progress.failing_since_ms.is_some()
    }

    /// Whether attempts are made.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self.standing, EndpointState::Active)
    }

    /// Everything from `position` on is read later.
    pub(super) fn read_later_from(&mut self, position: u64) {
        if !self.progress.ranges.iter().any(|range| range.to.is_none()) {
            self.progress.ranges.push_back(UnreadRange::since(position));
        }
    }

    /// One more delivery; `false` if it is outstanding already, or there is no room.
    pub(super) fn enqueue(&mut self, position: u64, now_ms: i64) -> bool {
        if self.items.contains_key(&position) || self.room_left() == 0 {
            return false;
        }
        let kept = RetryState {
            attempts: 0,
            due_ms: now_ms,
            last_ms: 0,
        };
        let item = OutstandingDelivery {
            kept,
            stage: DeliveryStage::Ready,
            early: false,
            stored: false,
        };
        self.mark_changed(position);
        self.items.insert(position, item);
        self.ready.insert(position);
        true
    }

    /// What is due becomes ready.
    pub(super) fn promote_due(&mut self, now_ms: i64) {
        while let Some((due_ms, position)) = self.waiting.first().copied() {
            if due_ms > now_ms {
                break;
            }
            self.waiting.pop_first();
            if let Some(item) = self.items.get_mut(&position) {
                item.stage = DeliveryStage::Ready;
                self.ready.insert(position);
            }
        }
    }

    /// What may be attempted now.
    pub(super) fn next_ready(&self, now_ms: i64) -> Option<u64> {
        let most = if self.ordered { 1 } else { self.at_once };
        if !self.is_active() || self.in_flight >= most || self.not_before_ms > now_ms {
            return None;
        }
        let first = self.ready.first().copied()?;
        // In order, whatever waits before it comes before it.
        let in_turn = !self.ordered || self.oldest_position() == Some(first);
        in_turn.then_some(first)
    }

    /// When something may be attempted that may not be now, if nothing else happens.
    pub(super) fn next_due_ms(&self, now_ms: i64) -> Option<i64> {
        if !self.is_active() {
            return None;
        }
        let held_back =
            (self.not_before_ms > now_ms && !self.ready.is_empty()).then_some(self.not_before_ms);
        let waiting = self.waiting.first().map(|(due_ms, _)| *due_ms);
        [held_back, waiting].into_iter().flatten().min()
    }

    /// An attempt begins: how many there were before it.
    pub(super) fn begin_attempt(&mut self, position: u64, now_ms: i64) -> u8 {
        self.ready.remove(&position);
        self.in_flight += 1;
        self.not_before_ms = now_ms.saturating_add(retry_schedule::attempt_gap_ms(self.overloads));
        let Some(item) = self.items.get_mut(&position) else {
            return 0;
        };
        item.stage = DeliveryStage::InFlight;
        item.kept.last_ms = now_ms;
        item.kept.attempts
    }

    /// It has arrived. Whoever takes one again may take the others, too: where there is no room for
    /// more, those that wait are tried before their time.
    pub(super) fn mark_delivered(&mut self, position: u64, now_ms: i64) {
        let full = self.room_left() == 0;
        let failed_before = self.is_failing();
        self.in_flight = self.in_flight.saturating_sub(1);
        self.mark_changed(position);
        self.items.remove(&position);
        self.at_once = (self.at_once * 2).min(CONCURRENT_ATTEMPTS_MAX);
        self.overloads = 0;
        self.not_before_ms = now_ms;
        self.progress.failing_since_ms = None;
        self.progress.notified_percent = 0;
        self.progress.delivered_at_ms = Some(now_ms);
        if full && failed_before {
            self.retry_waiting_early(now_ms, EARLY_RETRY_GAP_MS);
        }
    }

    /// It was begun, and nothing of it was sent: there is nothing to wait for.
    pub(super) fn discard_attempt(&mut self, position: u64, now_ms: i64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.mark_changed(position);
        self.items.remove(&position);
        self.not_before_ms = now_ms;
    }

    /// Makes ready what waits and was not tried within `quiet_ms`, at no cost should it fail.
    pub(super) fn retry_waiting_early(&mut self, now_ms: i64, quiet_ms: i64) {
        for (due_ms, position) in std::mem::take(&mut self.waiting) {
            match self.items.get_mut(&position) {
                Some(item) if now_ms - item.kept.last_ms >= quiet_ms => {
                    item.stage = DeliveryStage::Ready;
                    item.early = true;
                    self.ready.insert(position);
                }
                Some(_) => {
                    self.waiting.insert((due_ms, position));
                }
                None => {}
            }
        }
    }

    /// It has not arrived: whether there is another attempt.
    pub(super) fn mark_failed(
        &mut self,
        position: u64,
        failed: FailedAttempt,
        now: (i64, u32),
    ) -> DeliveryDisposition {
        let (now_ms, jitter) = now;
        self.mark_changed(position);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.at_once = CONCURRENT_ATTEMPTS_MIN;
        self.progress.failing_since_ms.get_or_insert(now_ms);
        self.overloads = if failed.overloaded_or_timed_out {
            self.overloads.saturating_add(1)
        } else {
            0
        };
        self.not_before_ms = now_ms.saturating_add(retry_schedule::attempt_gap_ms(self.overloads));
        let Some(item) = self.items.get_mut(&position) else {
            return DeliveryDisposition::Dead;
        };
        if !item.early {
            item.kept.attempts = item.kept.attempts.saturating_add(1);
        }
        item.early = false;
        let made = item.kept.attempts.max(1);
        let delay = retry_schedule::retry_delay_ms(
            made,
            jitter,
            failed.retry_after_ms,
            failed.overloaded_or_timed_out,
        );
        let Some(delay) = delay else {
            self.items.remove(&position);
            return DeliveryDisposition::Dead;
        };
        item.stage = DeliveryStage::Waiting;
        item.kept.due_ms = now_ms.saturating_add(delay);
        self.waiting.insert((item.kept.due_ms, position));
        DeliveryDisposition::RetryAt {
            due_ms: item.kept.due_ms,
        }
    }

    /// Tries a delivery that is outstanding now; `false` if it is not.
    pub(super) fn retry_now(&mut self, position: u64) -> bool {
        let Some(item) = self.items.get_mut(&position) else {
            return false;
        };
        if item.stage == DeliveryStage::Waiting {
            self.waiting.remove(&(item.kept.due_ms, position));
            item.stage = DeliveryStage::Ready;
            item.early = true;
            self.ready.insert(position);
        }
        true
    }

    /// It is active again: what is outstanding is tried at once and has all its attempts again.
    pub(super) fn resume(&mut self, now_ms: i64) {
        self.progress.failing_since_ms = None;
        self.progress.notified_percent = 0;
        self.overloads = 0;
        self.not_before_ms = now_ms;
        self.at_once = 2 * CONCURRENT_ATTEMPTS_MIN;
        self.retry_waiting_early(now_ms, 0);
        for item in self.items.values_mut() {
            item.kept.attempts = 0;
            item.early = false;
        }
        for position in self.items.keys().copied().collect::<Vec<_>>() {
            self.mark_changed(position);
        }
    }

    /// Drops what is outstanding before `from`, but for what is on its way: the positions.
    pub(super) fn skip_before(&mut self, from: u64) -> Vec<u64> {
        let below = self.items.range(..from);
        let skipped: Vec<u64> = below
            .filter(|(_, item)| item.stage != DeliveryStage::InFlight)
            .map(|(position, _)| *position)
            .collect();
        for position in &skipped {
            self.mark_changed(*position);
            if let Some(item) = self.items.remove(position) {
                self.waiting.remove(&(item.kept.due_ms, *position));
                self.ready.remove(position);
            }
        }
        self.progress.ranges.retain(|range| range.to.is_none());
        for range in &mut self.progress.ranges {
            range.next = range.next.max(from);
        }
        skipped
    }

    /// What the store should have of the deliveries that changed since the last call; `None`:
    /// nothing any more.
    pub(super) fn take_changes(&mut self) -> Vec<(u64, Option<RetryState>)> {
        let mut changes = Vec::new();
        for (position, was_stored) in std::mem::take(&mut self.touched) {
            match self.items.get_mut(&position) {
                Some(item) => {
                    item.stored = true;
                    changes.push((position, Some(item.kept)));
                }
                // What came and went since then leaves nothing behind.
                None if was_stored => changes.push((position, None)),
                None => {}
            }
        }
        changes
    }

    /// The store has none of it.
    pub(super) fn mark_all_changed(&mut self) {
        self.touched.clear();
        for (position, item) in &mut self.items {
            item.stored = false;
            self.touched.insert(*position, false);
        }
    }

    fn mark_changed(&mut self, position: u64) {
        let stored = self.items.get(&position).is_some_and(|item| item.stored);
        self.touched.entry(position).or_insert(stored);
    }
}
