//! The queue: what is outstanding for every endpoint, and whose turn it is.
//!
//! Pure: the courier hands in instants, positions that an endpoint is to get, and how attempts
//! ended, and is told which attempt to begin. Nothing here reads the log, a clock or the network,
//! so that days of retries can be run through in a moment. The log is the queue behind this one: it
//! holds what a line has no room for.
//!
//! Turns go round: each endpoint that has something begins one attempt and stands at the back
//! again. Endpoints that fail have half of the places among them, so that they cannot take those of
//! others.

mod discard;
mod endpoint_queue;

#[cfg(test)]
mod tests;

pub use endpoint_queue::{
    CONCURRENT_ATTEMPTS_MAX, EndpointProgress, EndpointQueue, OUTSTANDING_MAX, RetryState,
    UnreadRange,
};

use endpoint_queue::EndpointState;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::domain::ids::EndpointId;
use crate::webhooks::retry_schedule::{DISABLE_FAILING_AFTER_MS, failing_notice_percent};

/// Attempts to all endpoints at once: each holds a body of usually 2 KB and a connection.
pub const IN_FLIGHT_MAX: usize = 2_048;
/// How many of them may go to endpoints whose last attempt failed.
const FAILING_IN_FLIGHT_MAX: usize = IN_FLIGHT_MAX / 2;

/// How the record of an endpoint would have its line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndpointTerms {
    /// One at a time, in the log's order.
    pub ordered: bool,
    /// Attempts are made.
    pub active: bool,
    /// The position that it begins with.
    pub first_position: u64,
}

/// How far the log has been read for lines that are live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadProgress {
    /// What is before this position has been offered.
    pub read_to: u64,
    /// A reading up to before this position is under way, which knows the endpoints of when it
    /// began; the same position if none is.
    pub reading_to: u64,
}

/// An attempt to begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AttemptStart {
    pub endpoint: EndpointId,
    /// The event.
    pub position: u64,
    /// Attempts that were made before.
    pub attempts: u8,
}

/// How an attempt failed, as far as the queue minds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FailedAttempt {
    /// The endpoint has too much to do: 429, 502, 503, 504, or no answer in time.
    pub overloaded_or_timed_out: bool,
    /// It says that it is gone: 410.
    pub gone: bool,
    /// What it asks for in `Retry-After`.
    pub retry_after_ms: Option<i64>,
}

/// How a delivery stands after an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryDisposition {
    /// It has arrived.
    Delivered,
    /// It is tried again.
    RetryAt {
        /// When.
        due_ms: i64,
    },
    /// It was tried as often as it may be.
    Dead,
}

/// What the ledger has to be told of an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndpointAction {
    /// Nothing has arrived for a share of the time after which it is disabled.
    NotifyFailing {
        /// Which share.
        percent: u8,
        /// When the first attempt failed.
        since_ms: i64,
    },
    /// It is to be disabled: nothing has arrived for all of that time.
    DisableFailing,
    /// It is to be disabled: it says that it is gone.
    DisableGone,
}

/// What is to be kept of the queue.
#[derive(Debug, Default, PartialEq)]
pub struct QueueChanges {
    /// Lines that changed; `None`: the endpoint is deleted.
    pub endpoints: Vec<(EndpointId, Option<EndpointProgress>)>,
    /// Deliveries that changed; `None`: no longer outstanding.
    pub deliveries: Vec<(EndpointId, u64, Option<RetryState>)>,
}

/// The lines of all endpoints.
#[derive(Debug, Default)]
pub struct DeliveryQueue {
    lines: BTreeMap<EndpointId, EndpointQueue>,
    /// Lines that may begin an attempt, in turn; each stands here once.
    turns: VecDeque<EndpointId>,
    in_turns: BTreeSet<EndpointId>,
    /// When lines have to be looked at again, and the same by line.
    timers: BTreeSet<(i64, EndpointId)>,
    timer_of: BTreeMap<EndpointId, i64>,
    /// What is on its way: whether the endpoint was failing when it left.
    in_flight: BTreeMap<(EndpointId, u64), bool>,
    failing_in_flight: usize,
    /// Lines that have to read the log and have room: few of many, most of the time.
    behind: BTreeSet<EndpointId>,
    touched: BTreeSet<EndpointId>,
    deleted: BTreeSet<EndpointId>,
}

impl DeliveryQueue {
    /// Takes what the store has of a line.
    pub fn restore_endpoint(&mut self, endpoint: EndpointId, progress: EndpointProgress) {
        self.lines.insert(endpoint, EndpointQueue::new(progress));
    }

    /// Takes what the store has of a delivery; `false` if there is no such line.
    pub fn restore_delivery(
        &mut self,
        endpoint: EndpointId,
        position: u64,
        kept: RetryState,
    ) -> bool {
        let line = self.lines.get_mut(&endpoint);
        line.map(|line| line.restore_delivery(position, kept))
            .is_some()
    }

    /// Brings a line in line with its endpoint's record. Says what is not going to be delivered any
    /// more.
    pub fn configure_endpoint(
        &mut self,
        endpoint: EndpointId,
        terms: EndpointTerms,
        (seen, now_ms): (ReadProgress, i64),
    ) -> Vec<u64> {
        let line = self.lines.entry(endpoint).or_insert_with(|| {
            let from = terms.first_position;
            let mut line = EndpointQueue::new(EndpointProgress {
                first_position: from,
                ..EndpointProgress::default()
            });
            line.standing = EndpointState::Active;
            // Made before the log was read so far, and not known to whoever read it.
            if from < seen.reading_to {
                line.read_later_from(from);
            }
            line
        });
        let ran = line.is_active();
        let mut skipped = Vec::new();
        if terms.first_position > line.progress.first_position {
            line.progress.first_position = terms.first_position;
            skipped = line.skip_before(terms.first_position);
        }
        line.ordered = terms.ordered;
        // A record that changed after the line was stopped may have been disabled and enabled
        // again.
        line.standing = if terms.active {
            EndpointState::Active
        } else {
            EndpointState::Disabled
        };
        if !line.is_active() {
            line.read_later_from(seen.read_to.max(terms.first_position));
        } else if !ran {
            line.resume(now_ms);
        }
        self.touched.insert(endpoint);
        self.reschedule(endpoint, now_ms);
        skipped
    }

    /// Forgets the line of an endpoint that is deleted.
    pub fn remove_endpoint(&mut self, endpoint: EndpointId) {
        if self.lines.remove(&endpoint).is_some() {
            self.deleted.insert(endpoint);
            self.behind.remove(&endpoint);
            let theirs = (endpoint, 0)..=(endpoint, u64::MAX);
            for failing in self
                .in_flight
                .extract_if(theirs, |_, _| true)
                .map(|(_, f)| f)
            {
                self.failing_in_flight -= usize::from(failing);
            }
            if let Some(at) = self.timer_of.remove(&endpoint) {
                self.timers.remove(&(at, endpoint));
            }
        }
    }

    /// A new event for an endpoint. Where there is no room, the line reads it later.
    pub fn enqueue(&mut self, endpoint: EndpointId, position: u64, now_ms: i64) {
        let Some(line) = self.lines.get_mut(&endpoint) else {
            return;
        };
        if !line.is_active() || !line.is_live() || position < line.progress.first_position {
            return;
        }
        if line.room_left() == 0 {
            line.read_later_from(position);
        } else {
            line.enqueue(position, now_ms);
        }
        self.touched.insert(endpoint);
        self.reschedule(endpoint, now_ms);
    }

    /// Has a part of the log delivered again. `seen` is how far the log has been read for lines
    /// that are live. `false` if a replay of this endpoint is under way already.
    pub fn start_replay(&mut self, endpoint: EndpointId, range: UnreadRange, seen: u64) -> bool {
        let Some(line) = self.lines.get_mut(&endpoint) else {
            return false;
        };
        let under_way = line.progress.ranges.iter().any(|range| range.to.is_some());
        if under_way {
            return false;
        }
        if line.ordered {
            line.read_later_from(seen);
        }
        line.progress.ranges.push_front(range);
        self.touched.insert(endpoint);
        self.update_behind(endpoint);
        true
    }

    /// The next line that has to read the log and has room, after `after`: what to read, and how
    /// many deliveries it can take.
    pub fn next_range_to_read(
        &mut self,
        after: Option<EndpointId>,
    ) -> Option<(EndpointId, UnreadRange, usize)> {
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut later = self.behind.range((start, std::ops::Bound::Unbounded));
        let found = later.next().or_else(|| self.behind.first()).copied()?;
        self.behind.remove(&found);
        let line = self.lines.get_mut(&found)?;
        line.reading = true;
        let range = line.progress.ranges.front()?.clone();
        Some((found, range, line.room_left()))
    }

    /// What was read: the positions to deliver, and the one to read next. Once that is `seen` or
    /// the range's end, the range is done. A range that changed meanwhile is read again.
    pub fn enqueue_read(
        &mut self,
        endpoint: EndpointId,
        (range, found, next): (&UnreadRange, &[u64], u64),
        (seen, now_ms): (u64, i64),
    ) {
        let Some(line) = self.lines.get_mut(&endpoint) else {
            return;
        };
        line.reading = false;
        if line.progress.ranges.front() != Some(range) {
            self.update_behind(endpoint);
            return;
        }
        let mut next = next;
        for position in found {
            if line.room_left() == 0 {
                next = *position;
                break;
            }
            line.enqueue(*position, now_ms);
        }
        let end = range.to.unwrap_or(seen);
        if next >= end {
            line.progress.ranges.pop_front();
        } else if let Some(front) = line.progress.ranges.front_mut() {
            front.next = next;
        }
        self.touched.insert(endpoint);
        self.reschedule(endpoint, now_ms);
    }

    /// A reading that came to nothing: it is tried again.
    pub fn retry_read(&mut self, endpoint: EndpointId) {
        if let Some(line) = self.lines.get_mut(&endpoint) {
            line.reading = false;
        }
        self.update_behind(endpoint);
    }

    /// The next attempt to begin, if one may begin now.
    pub fn begin_next_attempt(&mut self, now_ms: i64) -> Option<AttemptStart> {
        while let Some((at, endpoint)) = self.timers.first().copied() {
            if at > now_ms {
                break;
            }
            self.timers.pop_first();
            self.timer_of.remove(&endpoint);
            self.reschedule(endpoint, now_ms);
        }
        for _ in 0..self.turns.len() {
            if self.in_flight.len() >= IN_FLIGHT_MAX {
                return None;
            }
            let endpoint = self.turns.pop_front()?;
            self.in_turns.remove(&endpoint);
            let Some(line) = self.lines.get_mut(&endpoint) else {
                continue;
            };
            let failing = line.is_failing();
            if failing && self.failing_in_flight >= FAILING_IN_FLIGHT_MAX {
                self.push_turn(endpoint);
                continue;
            }
            let Some(position) = line.next_ready(now_ms) else {
                continue;
            };
            let attempts = line.begin_attempt(position, now_ms);
            self.in_flight.insert((endpoint, position), failing);
            self.failing_in_flight += usize::from(failing);
            self.reschedule(endpoint, now_ms);
            return Some(AttemptStart {
                endpoint,
                position,
                attempts,
            });
        }
        None
    }

    /// When [`DeliveryQueue::begin_next_attempt`] may have something that it does not have now, if
    /// nothing else happens.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// An attempt has ended: how the delivery stands, and what the ledger is to be told.
    pub fn finish_attempt(
        &mut self,
        (endpoint, position): (EndpointId, u64),
        outcome: Result<(), FailedAttempt>,
        (now_ms, jitter): (i64, u32),
    ) -> (DeliveryDisposition, Option<EndpointAction>) {
        if let Some(failing) = self.in_flight.remove(&(endpoint, position)) {
            self.failing_in_flight -= usize::from(failing);
        }
        let Some(line) = self.lines.get_mut(&endpoint) else {
            // Deleted while it was on its way.
            let state = outcome.map_or(DeliveryDisposition::Dead, |()| {
                DeliveryDisposition::Delivered
            });
            return (state, None);
        };
        let (state, effect) = match outcome {
            Ok(()) => {
                line.mark_delivered(position, now_ms);
                (DeliveryDisposition::Delivered, None)
            }
            Err(failed) => {
                let state = line.mark_failed(position, failed, (now_ms, jitter));
                (state, action_after_failure(line, failed, now_ms))
            }
        };
        match effect {
            Some(EndpointAction::DisableFailing | EndpointAction::DisableGone) => {
                line.standing = EndpointState::Stopped;
            }
            Some(EndpointAction::NotifyFailing { percent, .. }) => {
                line.progress.notified_percent = percent;
            }
            None => {}
        }
        self.touched.insert(endpoint);
        self.reschedule(endpoint, now_ms);
        (state, effect)
    }

    /// Tries an outstanding delivery now, before its time; `false` if it is not outstanding.
    pub fn retry_now(&mut self, endpoint: EndpointId, position: u64, now_ms: i64) -> bool {
        let Some(line) = self.lines.get_mut(&endpoint) else {
            return false;
        };
        let outstanding = line.retry_now(position);
        self.reschedule(endpoint, now_ms);
        outstanding
    }

    /// A line, to be looked at.
    #[must_use]
    pub fn endpoint(&self, endpoint: EndpointId) -> Option<&EndpointQueue> {
        self.lines.get(&endpoint)
    }

    /// All lines, to be counted.
    pub fn endpoints(&self) -> impl Iterator<Item = (&EndpointId, &EndpointQueue)> {
        self.lines.iter()
    }

    /// Everything is to be kept once more: the store has lost it.
    pub fn mark_all_changed(&mut self) {
        for (endpoint, line) in &mut self.lines {
            line.mark_all_changed();
            self.touched.insert(*endpoint);
        }
    }

    /// What changed since the last call, to be kept.
    pub fn take_changes(&mut self) -> QueueChanges {
        let mut changes = QueueChanges::default();
        for endpoint in std::mem::take(&mut self.deleted) {
            changes.endpoints.push((endpoint, None));
        }
        for endpoint in std::mem::take(&mut self.touched) {
            if let Some(line) = self.lines.get_mut(&endpoint) {
                let deliveries = line.take_changes();
                let deliveries = deliveries.into_iter();
                changes
                    .deliveries
                    .extend(deliveries.map(|(position, kept)| (endpoint, position, kept)));
                changes
                    .endpoints
                    .push((endpoint, Some(line.progress.clone())));
            }
        }
        changes
    }

    fn push_turn(&mut self, endpoint: EndpointId) {
        if self.in_turns.insert(endpoint) {
            self.turns.push_back(endpoint);
        }
    }

    /// After a change of a line: whether it has to read the log and can.
    fn update_behind(&mut self, endpoint: EndpointId) {
        if self
            .lines
            .get(&endpoint)
            .is_some_and(EndpointQueue::wants_to_read)
        {
            self.behind.insert(endpoint);
        } else {
            self.behind.remove(&endpoint);
        }
    }

    /// After a change of a line: whether it stands in turn, and when to look at it again.
    fn reschedule(&mut self, endpoint: EndpointId, now_ms: i64) {
        self.update_behind(endpoint);
        let Some(line) = self.lines.get_mut(&endpoint) else {
            return;
        };
        line.promote_due(now_ms);
        let startable = line.next_ready(now_ms).is_some();
        let due = line.next_due_ms(now_ms);
        if startable {
            self.push_turn(endpoint);
        }
        if self.timer_of.get(&endpoint).copied() == due {
            return;
        }
        if let Some(old) = self.timer_of.remove(&endpoint) {
            self.timers.remove(&(old, endpoint));
        }
        if let Some(at) = due {
            self.timers.insert((at, endpoint));
            self.timer_of.insert(endpoint, at);
        }
    }
}

/// What the ledger is to be told after a failure.
fn action_after_failure(
    line: &EndpointQueue,
    failed: FailedAttempt,
    now_ms: i64,
) -> Option<EndpointAction> {
    if failed.gone {
        return Some(EndpointAction::DisableGone);
    }
    let since_ms = line.progress.failing_since_ms?;
    let failing_for_ms = now_ms.saturating_sub(since_ms);
    if failing_for_ms >= DISABLE_FAILING_AFTER_MS {
        return Some(EndpointAction::DisableFailing);
    }
    let percent = failing_notice_percent(failing_for_ms)?;
    (percent > line.progress.notified_percent)
        .then_some(EndpointAction::NotifyFailing { percent, since_ms })
}
