//! Days of deliveries in a moment: the clock is a number.

mod model;

use ulid::Ulid;

use super::*;
use crate::domain::record::EventFilter;
use crate::webhooks::schedule::RETRY_AFTER_MS;

const HOUR_MS: i64 = 3_600_000;
/// The middle of the spread.
const JITTER: u32 = u32::MAX / 2;

const ONE: EndpointId = EndpointId(Ulid(1));
const TWO: EndpointId = EndpointId(Ulid(2));

fn terms(ordered: bool) -> Terms {
    Terms {
        ordered,
        active: true,
        from: 0,
    }
}

/// A queue with one endpoint, which gets the events 0 to `events` - 1 at the instant 0.
fn queue(ordered: bool, events: u64) -> Queue {
    let mut queue = Queue::default();
    assert_eq!(queue.set(ONE, terms(ordered), (seen(0), 0)), [0; 0]);
    for position in 0..events {
        queue.offer(ONE, position, 0);
    }
    queue
}

/// No reading is under way.
fn seen(to: u64) -> Seen {
    Seen { to, begun: to }
}

fn refused() -> Result<(), Failed> {
    Err(Failed::default())
}

/// Begins what may begin at an instant, and names the positions.
fn begun(queue: &mut Queue, now_ms: i64) -> Vec<u64> {
    std::iter::from_fn(|| queue.next(now_ms).map(|start| start.position)).collect()
}

/// Ends an attempt, and says how the delivery stands.
fn end(queue: &mut Queue, position: u64, outcome: Result<(), Failed>, now_ms: i64) -> State {
    queue.finished((ONE, position), outcome, (now_ms, JITTER)).0
}

#[test]
fn a_delivery_is_tried_ten_times_in_75_hours() {
    let mut queue = queue(false, 1);
    let (mut now, mut gaps) = (0, Vec::new());
    loop {
        assert_eq!(begun(&mut queue, now), [0]);
        match end(&mut queue, 0, refused(), now) {
            State::Waiting { due_ms } => {
                gaps.push(due_ms - now);
                assert_eq!(queue.due_ms(), Some(due_ms));
                assert_eq!(begun(&mut queue, due_ms - 1), [0; 0]);
                now = due_ms;
            }
            State::Dead => break,
            State::Delivered => panic!("it was refused"),
        }
    }
    assert_eq!(gaps, RETRY_AFTER_MS);
    assert_eq!(queue.due_ms(), None);
    assert_eq!(queue.line(ONE).unwrap().outstanding(), 0);
}

#[test]
fn an_endpoint_where_nothing_arrives_for_five_days_is_told_of_and_disabled() {
    let mut queue = queue(false, 0);
    let mut told = Vec::new();
    // An event an hour; the endpoint refuses all of them, and all that are tried again.
    for hour in 0.. {
        let now = hour * HOUR_MS;
        queue.offer(ONE, u64::try_from(hour).unwrap(), now);
        while let Some(start) = queue.next(now) {
            let at = (ONE, start.position);
            if let (_, Some(effect)) = queue.finished(at, refused(), (now, JITTER)) {
                told.push((hour, effect));
            }
        }
        if !queue.line(ONE).unwrap().runs() {
            break;
        }
    }
    let failing = |percent| Effect::Failing {
        percent,
        since_ms: 0,
    };
    let expected = [
        (60, failing(50)),
        (84, failing(70)),
        (108, failing(90)),
        (120, Effect::StopFailing),
    ];
    assert_eq!(told, expected);
}

#[test]
fn one_arrival_ends_the_count_of_days() {
    let mut queue = queue(false, 2);
    assert_eq!(begun(&mut queue, 0), [0, 1]);
    end(&mut queue, 0, refused(), 0);
    assert_eq!(queue.line(ONE).unwrap().progress.failing_since_ms, Some(0));
    end(&mut queue, 1, Ok(()), 1);
    assert_eq!(queue.line(ONE).unwrap().progress.failing_since_ms, None);
}

#[test]
fn who_says_gone_is_stopped_at_once_and_keeps_what_is_outstanding() {
    let mut queue = queue(false, 3);
    assert_eq!(begun(&mut queue, 0), [0, 1]);
    let gone = Failed {
        gone: true,
        ..Failed::default()
    };
    let (_, effect) = queue.finished((ONE, 0), Err(gone), (5, JITTER));
    assert_eq!(effect, Some(Effect::StopGone));
    end(&mut queue, 1, Ok(()), 6);
    assert_eq!(begun(&mut queue, HOUR_MS), [0; 0]);
    assert_eq!(queue.due_ms(), None);
    assert_eq!(queue.line(ONE).unwrap().outstanding(), 2);

    // Its record says so too, then that it is active again: nothing of it is lost.
    let disabled = Terms {
        active: false,
        ..terms(false)
    };
    queue.set(ONE, disabled, (seen(3), HOUR_MS));
    queue.set(ONE, terms(false), (seen(7), 2 * HOUR_MS));
    assert_eq!(begun(&mut queue, 2 * HOUR_MS), [0, 2]);
    let (_, range, _) = queue.reading(None).unwrap();
    assert_eq!(range, Range::since(3));
}

#[test]
fn enabled_from_now_on_an_endpoint_gets_nothing_of_before() {
    let mut queue = queue(false, 3);
    let disabled = Terms {
        active: false,
        ..terms(false)
    };
    queue.set(ONE, disabled, (seen(3), 0));
    queue.offer(ONE, 5, 0);
    let now_on = Terms {
        from: 10,
        ..terms(false)
    };
    assert_eq!(queue.set(ONE, now_on, (seen(11), 1)), [0, 1, 2]);
    let (_, range, _) = queue.reading(None).unwrap();
    assert_eq!(range, Range::since(10));
}

#[test]
fn what_a_reading_that_did_not_know_an_endpoint_passed_by_is_read_for_it() {
    let mut queue = Queue::default();
    let under_way = Seen { to: 4, begun: 9 };
    let made_at_six = Terms {
        from: 7,
        ..terms(false)
    };
    queue.set(ONE, made_at_six, (under_way, 0));
    // The reading comes back and knows nothing of it.
    let (_, range, _) = queue.reading(None).unwrap();
    assert_eq!(range, Range::since(7));
    queue.read(ONE, (&range, &[8], 9), (9, 0));
    assert_eq!(begun(&mut queue, 0), [8]);
    queue.offer(ONE, 9, 0);
    assert_eq!(begun(&mut queue, 0), [9]);
}

#[test]
fn in_order_one_is_on_its_way_and_one_that_fails_holds_the_others_back() {
    let mut queue = queue(true, 3);
    assert_eq!(begun(&mut queue, 0), [0]);
    let State::Waiting { due_ms } = end(&mut queue, 0, refused(), 0) else {
        panic!("there are more attempts");
    };
    assert_eq!(begun(&mut queue, due_ms - 1), [0; 0]);
    assert_eq!(begun(&mut queue, due_ms), [0]);
    end(&mut queue, 0, Ok(()), due_ms);
    assert_eq!(begun(&mut queue, due_ms), [1]);
    end(&mut queue, 1, Ok(()), due_ms);
    assert_eq!(begun(&mut queue, due_ms), [2]);
}

#[test]
fn turns_go_round_and_what_fails_gets_one_place() {
    let mut queue = queue(false, 10);
    queue.set(TWO, terms(false), (seen(0), 0));
    for position in 0..10 {
        queue.offer(TWO, position, 0);
    }
    let mut order = Vec::new();
    while let Some(start) = queue.next(0) {
        order.push((start.endpoint, start.position));
    }
    assert_eq!(order, [(ONE, 0), (TWO, 0), (ONE, 1), (TWO, 1)]);
    queue.finished((ONE, 0), refused(), (0, JITTER));
    queue.finished((ONE, 1), refused(), (0, JITTER));
    queue.finished((TWO, 0), Ok(()), (0, JITTER));
    let mut places = BTreeMap::new();
    while let Some(start) = queue.next(0) {
        *places.entry(start.endpoint).or_insert(0) += 1;
    }
    // One at a time after a failure; twice as many after an arrival, one of them still on its way.
    assert_eq!(places, BTreeMap::from([(ONE, 1), (TWO, 3)]));
}

#[test]
fn who_is_overloaded_is_spared() {
    let mut queue = queue(false, 3);
    assert_eq!(begun(&mut queue, 0), [0, 1]);
    let slow = Err(Failed {
        slow: true,
        ..Failed::default()
    });
    end(&mut queue, 0, slow, 0);
    end(&mut queue, 1, slow, 0);
    // Two overloads in a row: two seconds between attempts.
    assert_eq!(begun(&mut queue, 1_999), [0; 0]);
    assert_eq!(queue.due_ms(), Some(2_000));
    assert_eq!(begun(&mut queue, 2_000), [2]);
}

#[test]
fn what_has_no_room_stays_in_the_log_until_there_is() {
    let window = u64::try_from(WINDOW).unwrap();
    let mut queue = queue(false, window + 5);
    assert_eq!(queue.line(ONE).unwrap().outstanding(), WINDOW);
    assert_eq!(queue.reading(None), None);
    assert_eq!(begun(&mut queue, 0), [0, 1]);
    end(&mut queue, 0, Ok(()), 0);
    let (endpoint, range, room) = queue.reading(None).unwrap();
    assert_eq!((endpoint, &range, room), (ONE, &Range::since(window), 1));
    assert_eq!(queue.reading(None), None, "it is being read");
    let seen = window + 5;
    queue.read(ONE, (&range, &[window, window + 1], seen), (seen, 0));
    let line = queue.line(ONE).unwrap();
    assert_eq!(line.progress.ranges, [Range::since(window + 1)]);
    // What happens meanwhile is not taken out of turn.
    queue.offer(ONE, window + 5, 0);
    assert_eq!(queue.line(ONE).unwrap().outstanding(), WINDOW);
}

#[test]
fn a_full_line_that_arrives_again_tries_what_waits_at_no_cost() {
    let window = u64::try_from(WINDOW).unwrap();
    let mut queue = queue(false, window);
    // All but one have failed once and wait for minutes.
    for _ in 0..window - 1 {
        let start = queue.next(0).unwrap();
        end(&mut queue, start.position, refused(), 0);
    }
    let last = begun(&mut queue, 1_000);
    assert_eq!(last.len(), 1);
    let now = 10 * 60_000;
    end(&mut queue, last[0], Ok(()), now);
    let ready = begun(&mut queue, now);
    assert_eq!(ready.len(), 2);
    let waits = end(&mut queue, ready[0], refused(), now);
    let again = RETRY_AFTER_MS[0];
    assert_eq!(
        waits,
        State::Waiting {
            due_ms: now + again
        }
    );
}

#[test]
fn a_replay_is_read_once_and_one_at_a_time() {
    let mut queue = queue(false, 0);
    let range = Range {
        next: 2,
        to: Some(4),
        types: Some(EventFilter::check(vec!["api_key.*".to_owned()]).unwrap()),
    };
    assert!(queue.replay(ONE, range.clone(), 9));
    assert!(!queue.replay(ONE, range.clone(), 9));
    // Who takes things as they come gets what is new meanwhile.
    queue.offer(ONE, 9, 0);
    assert_eq!(queue.reading(None), Some((ONE, range.clone(), WINDOW - 1)));
    queue.read(ONE, (&range, &[2, 3], 4), (10, 0));
    assert_eq!(queue.reading(None), None);
    assert_eq!(begun(&mut queue, 0), [2, 3]);

    queue.set(TWO, terms(true), (seen(10), 0));
    assert!(queue.replay(TWO, range.clone(), 10));
    queue.offer(TWO, 10, 0);
    assert_eq!(queue.line(TWO).unwrap().outstanding(), 0, "in order");
}

#[test]
fn what_is_dropped_says_nothing_of_the_endpoint_and_holds_up_nothing() {
    let mut queue = queue(true, 3);
    assert_eq!(begun(&mut queue, 0), [0]);
    let slow = Failed {
        slow: true,
        ..Failed::default()
    };
    end(&mut queue, 0, Err(slow), 0);
    queue.look_again(ONE, HOUR_MS);
    for position in 0..2 {
        assert_eq!(begun(&mut queue, HOUR_MS), [position]);
        queue.dropped((ONE, position), HOUR_MS);
    }
    assert_eq!(begun(&mut queue, HOUR_MS), [2]);
    let line = queue.line(ONE).unwrap();
    assert!(line.is_failing());
    assert_eq!(line.outstanding(), 1);
    assert_eq!(line.progress().delivered_at_ms, None);
    // It has all of its attempts.
    let due_ms = HOUR_MS + RETRY_AFTER_MS[0];
    let waits = State::Waiting { due_ms };
    assert_eq!(end(&mut queue, 2, refused(), HOUR_MS), waits);
}

#[test]
fn another_address_gets_nothing_of_a_replay() {
    let mut queue = queue(false, 0);
    let from = Terms {
        from: 5,
        ..terms(false)
    };
    queue.set(TWO, from, (seen(5), 0));
    let range = Range {
        to: Some(5),
        ..Range::since(0)
    };
    assert!(queue.replay(TWO, range.clone(), 5));
    assert!(queue.reading(None).is_some());
    queue.read(TWO, (&range, &[1, 2], 3), (5, 0));
    queue.offer(TWO, 5, 0);
    assert_eq!(queue.moved(TWO, 0), [1, 2]);
    assert_eq!(queue.reading(None), None);
    assert_eq!(begun(&mut queue, 0), [5]);
    assert_eq!(queue.moved(EndpointId(Ulid(3)), 0), [0; 0]);
}

#[test]
fn what_is_kept_says_what_is_outstanding_and_nothing_of_what_came_and_went() {
    let mut queue = queue(false, 3);
    assert_eq!(begun(&mut queue, 7), [0, 1]);
    end(&mut queue, 0, Ok(()), 8);
    end(&mut queue, 1, refused(), 8);
    let kept = |attempts, due_ms, last_ms| Kept {
        attempts,
        due_ms,
        last_ms,
    };
    let changes = queue.take_changes();
    let expected = [
        (ONE, 1, Some(kept(1, 5_008, 7))),
        (ONE, 2, Some(kept(0, 0, 0))),
    ];
    assert_eq!(changes.deliveries, expected);
    assert_eq!(queue.take_changes(), Changes::default());
    assert_eq!(begun(&mut queue, 8), [2]);
    end(&mut queue, 2, Ok(()), 9);
    assert_eq!(queue.take_changes().deliveries, [(ONE, 2, None)]);
    queue.remove(ONE);
    assert_eq!(queue.take_changes().lines, [(ONE, None)]);
}
