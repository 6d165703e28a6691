//! Random histories of an endpoint: outages, kills, stops. Every event arrives.

use proptest::prelude::*;

use super::*;

/// What the store would hold.
#[derive(Default)]
struct Stored {
    lines: BTreeMap<EndpointId, EndpointProgress>,
    deliveries: BTreeMap<(EndpointId, u64), RetryState>,
    seen: u64,
}

impl Stored {
    fn take(&mut self, changes: QueueChanges, seen: u64) {
        for (endpoint, progress) in changes.endpoints {
            match progress {
                Some(progress) => drop(self.lines.insert(endpoint, progress)),
                None => drop(self.lines.remove(&endpoint)),
            }
        }
        for (endpoint, position, kept) in changes.deliveries {
            match kept {
                Some(kept) => drop(self.deliveries.insert((endpoint, position), kept)),
                None => drop(self.deliveries.remove(&(endpoint, position))),
            }
        }
        self.seen = seen;
    }

    fn restored(&self) -> DeliveryQueue {
        let mut queue = DeliveryQueue::default();
        for (endpoint, progress) in &self.lines {
            queue.restore_endpoint(*endpoint, progress.clone());
        }
        for ((endpoint, position), kept) in &self.deliveries {
            assert!(queue.restore_delivery(*endpoint, *position, *kept));
        }
        queue
    }
}

/// One thing that happens to an endpoint.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Events are appended and the log is read.
    Events(u64),
    /// Attempts are made for some minutes, all in all fewer than 75 hours, and all end in this way.
    Attempts(bool, i64),
    /// What changed is kept.
    Keep,
    /// The process is killed and starts again.
    Kill,
    /// The endpoint is disabled, or enabled where it stopped.
    Active(bool),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        (1_u64..20).prop_map(Turn::Events),
        (any::<bool>(), 0_i64..60).prop_map(|(arrive, minutes)| Turn::Attempts(arrive, minutes)),
        Just(Turn::Keep),
        Just(Turn::Kill),
        any::<bool>().prop_map(Turn::Active),
    ];
    prop::collection::vec(turn, 1..60)
}

/// An endpoint's world: the log's length, what arrived, and the clock.
struct World {
    ordered: bool,
    active: bool,
    queue: DeliveryQueue,
    stored: Stored,
    events: u64,
    seen: u64,
    now_ms: i64,
    arrived: Vec<u64>,
}

impl World {
    fn new(ordered: bool) -> Self {
        let mut queue = DeliveryQueue::default();
        queue.configure_endpoint(ONE, terms(ordered), (seen(0), 0));
        Self {
            ordered,
            active: true,
            queue,
            stored: Stored::default(),
            events: 0,
            seen: 0,
            now_ms: 0,
            arrived: Vec::new(),
        }
    }

    fn terms(&self) -> EndpointTerms {
        EndpointTerms {
            active: self.active,
            ..terms(self.ordered)
        }
    }

    fn read(&mut self) {
        for position in self.seen..self.events {
            self.queue.enqueue(ONE, position, self.now_ms);
        }
        self.seen = self.events;
        while let Some((endpoint, range, room)) = self.queue.next_range_to_read(None) {
            let all = range.next..range.to.unwrap_or(self.seen);
            let found: Vec<u64> = all.clone().take(room).collect();
            let next = found.last().map_or(all.end, |last| last + 1);
            let now = (self.seen, self.now_ms);
            self.queue
                .enqueue_read(endpoint, (&range, &found, next), now);
        }
    }

    fn attempts(&mut self, arrive: bool, minutes: i64) {
        for _ in 0..=minutes {
            while let Some(start) = self.queue.begin_next_attempt(self.now_ms) {
                let outcome = if arrive { Ok(()) } else { refused() };
                if arrive {
                    self.arrived.push(start.position);
                }
                let at = (ONE, start.position);
                self.queue
                    .finish_attempt(at, outcome, (self.now_ms, JITTER));
                self.read();
            }
            self.now_ms += 60_000;
        }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Events(count) => {
                self.events += count;
                self.read();
            }
            Turn::Attempts(arrive, minutes) => self.attempts(arrive, minutes),
            Turn::Keep => self.stored.take(self.queue.take_changes(), self.seen),
            Turn::Kill => {
                self.queue = self.stored.restored();
                self.seen = self.stored.seen;
                self.active(self.active);
                self.read();
            }
            Turn::Active(active) => self.active(active),
        }
    }

    fn active(&mut self, active: bool) {
        self.active = active;
        self.queue
            .configure_endpoint(ONE, self.terms(), (seen(self.seen), self.now_ms));
        self.read();
    }
}

proptest! {
    #[test]
    fn every_event_arrives_and_in_order_where_that_is_asked(
        ordered in any::<bool>(),
        turns in turns(),
    ) {
        let mut world = World::new(ordered);
        for turn in turns {
            world.turn(turn);
        }
        // The endpoint is well for some days.
        world.active(true);
        world.read();
        world.attempts(true, 2 * 24 * 60);
        for position in 0..world.events {
            prop_assert!(world.arrived.contains(&position), "{position} did not arrive");
        }
        // What a kill makes arrive again comes in order too: no event first arrives after a later
        // one.
        if ordered {
            let mut first = Vec::new();
            for position in &world.arrived {
                if !first.contains(position) {
                    first.push(*position);
                }
            }
            prop_assert!(first.is_sorted(), "{first:?}");
        }
        prop_assert_eq!(world.queue.endpoint(ONE).map(EndpointQueue::outstanding_len), Some(0));
    }
}
