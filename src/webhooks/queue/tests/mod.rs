//! Days of deliveries in a moment: the clock is a number.

mod model;

use ulid::Ulid;

use super::*;
use crate::domain::record::EventFilter;
use crate::webhooks::retry_schedule::RETRY_DELAYS_MS;

const HOUR_MS: i64 = 3_600_000;
/// The middle of the spread.
const JITTER: u32 = u32::MAX / 2;

const ONE: EndpointId = EndpointId(Ulid(1));
const TWO: EndpointId = EndpointId(Ulid(2));

fn terms(ordered: bool) -> EndpointTerms {
    EndpointTerms {
        ordered,
        active: true,
        first_position: 0,
    }
}

/// A queue with one endpoint, which gets the events 0 to `events` - 1 at the instant 0.
fn queue(ordered: bool, events: u64) -> DeliveryQueue {
    let mut queue = DeliveryQueue::default();
    assert_eq!(
        queue.configure_endpoint(ONE, terms(ordered), (seen(0), 0)),
        [0; 0]
    );
    for position in 0..events {
        queue.enqueue(ONE, position, 0);
    }
    queue
}

/// No reading is under way.
fn seen(to: u64) -> ReadProgress {
    ReadProgress {
        read_to: to,
        reading_to: to,
    }
}

fn refused() -> Result<(), FailedAttempt> {
    Err(FailedAttempt::default())
}

/// Begins what may begin at an instant, and names the positions.
fn begun(queue: &mut DeliveryQueue, now_ms: i64) -> Vec<u64> {
    std::iter::from_fn(|| queue.begin_next_attempt(now_ms).map(|start| start.position)).collect()
}

/// Ends an attempt, and says how the delivery stands.
fn end(
    queue: &mut DeliveryQueue,
    position: u64,
    outcome: Result<(), FailedAttempt>,
    now_ms: i64,
) -> DeliveryDisposition {
    queue
        .finish_attempt((ONE, position), outcome, (now_ms, JITTER))
        .0
}

#[test]
fn a_delivery_is_tried_ten_times_in_75_hours() {
    let mut queue = queue(false, 1);
    let (mut now, mut gaps) = (0, Vec::new());
    loop {
        assert_eq!(begun(&mut queue, now), [0]);
        match end(&mut queue, 0, refused(), now) {
            DeliveryDisposition::RetryAt { due_ms } => {
                gaps.push(due_ms - now);
                assert_eq!(queue.next_due_ms(), Some(due_ms));
                assert_eq!(begun(&mut queue, due_ms - 1), [0; 0]);
                now = due_ms;
            }
            DeliveryDisposition::Dead => break,
            DeliveryDisposition::Delivered => panic!("it was refused"),
        }
    }
    assert_eq!(gaps, RETRY_DELAYS_MS);
    assert_eq!(queue.next_due_ms(), None);
    assert_eq!(queue.endpoint(ONE).unwrap().outstanding_len(), 0);
}

#[test]
fn an_endpoint_where_nothing_arrives_for_five_days_is_told_of_and_disabled() {
    let mut queue = queue(false, 0);
    let mut told = Vec::new();
    // An event an hour; the endpoint refuses all of them, and all that are tried again.
    for hour in 0.. {
        let now = hour * HOUR_MS;
        queue.enqueue(ONE, u64::try_from(hour).unwrap(), now);
        while let Some(start) = queue.begin_next_attempt(now) {
            let at = (ONE, start.position);
            if let (_, Some(effect)) = queue.finish_attempt(at, refused(), (now, JITTER)) {
                told.push((hour, effect));
            }
        }
        if !queue.endpoint(ONE).unwrap().is_active() {
            break;
        }
    }
    let failing = |percent| EndpointAction::NotifyFailing {
        percent,
        since_ms: 0,
    };
    let expected = [
        (60, failing(50)),
        (84, failing(70)),
        (108, failing(90)),
        (120, EndpointAction::DisableFailing),
    ];
    assert_eq!(told, expected);
}

#[test]
fn one_arrival_ends_the_count_of_days() {
    let mut queue = queue(false, 2);
    assert_eq!(begun(&mut queue, 0), [0, 1]);
    end(&mut queue, 0, refused(), 0);
    assert_eq!(
        queue.endpoint(ONE).unwrap().progress.failing_since_ms,
        Some(0)
    );
    end(&mut queue, 1, Ok(()), 1);
    assert_eq!(queue.endpoint(ONE).unwrap().progress.failing_since_ms, None);
}

#[test]
fn who_says_gone_is_stopped_at_once_and_keeps_what_is_outstanding() {
    let mut queue = queue(false, 3);
    assert_eq!(begun(&mut queue, 0), [0, 1]);
    let gone = FailedAttempt {
        gone: true,
        ..FailedAttempt::default()
    };
    let (_, effect) = queue.finish_attempt((ONE, 0), Err(gone), (5, JITTER));
    assert_eq!(effect, Some(EndpointAction::DisableGone));
    end(&mut queue, 1, Ok(()), 6);
    assert_eq!(begun(&mut queue, HOUR_MS), [0; 0]);
    assert_eq!(queue.next_due_ms(), None);
    assert_eq!(queue.endpoint(ONE).unwrap().outstanding_len(), 2);

    // Its record says so too, then that it is active again: nothing of it is lost.
    let disabled = EndpointTerms {
        active: false,
        ..terms(false)
    };
    queue.configure_endpoint(ONE, disabled, (seen(3), HOUR_MS));
    queue.configure_endpoint(ONE, terms(false), (seen(7), 2 * HOUR_MS));
    assert_eq!(begun(&mut queue, 2 * HOUR_MS), [0, 2]);
    let (_, range, _) = queue.next_range_to_read(None).unwrap();
    assert_eq!(range, UnreadRange::since(3));
}

#[test]
fn enabled_from_now_on_an_endpoint_gets_nothing_of_before() {
    let mut queue = queue(false, 3);
    let disabled = EndpointTerms {
        active: false,
        ..terms(false)
    };
    queue.configure_endpoint(ONE, disabled, (seen(3), 0));
    queue.enqueue(ONE, 5, 0);
    let now_on = EndpointTerms {
        first_position: 10,
        ..terms(false)
    };
    assert_eq!(
        queue.configure_endpoint(ONE, now_on, (seen(11), 1)),
        [0, 1, 2]
    );
    let (_, range, _) = queue.next_range_to_read(None).unwrap();
    assert_eq!(range, UnreadRange::since(10));
}

#[test]
fn what_a_reading_that_did_not_know_an_endpoint_passed_by_is_read_for_it() {
    let mut queue = DeliveryQueue::default();
    let under_way = ReadProgress {
        read_to: 4,
        reading_to: 9,
    };
    let made_at_six = EndpointTerms {
        first_position: 7,
        ..terms(false)
    };
    queue.configure_endpoint(ONE, made_at_six, (under_way, 0));
    // The reading comes back and knows nothing of it.
    let (_, range, _) = queue.next_range_to_read(None).unwrap();
    assert_eq!(range, UnreadRange::since(7));
    queue.enqueue_read(ONE, (&range, &[8], 9), (9, 0));
    assert_eq!(begun(&mut queue, 0), [8]);
    queue.enqueue(ONE, 9, 0);
    assert_eq!(begun(&mut queue, 0), [9]);
}

#[test]
fn in_order_one_is_on_its_way_and_one_that_fails_holds_the_others_back() {
    let mut queue = queue(true, 3);
    assert_eq!(begun(&mut queue, 0), [0]);
    let DeliveryDisposition::RetryAt { due_ms } = end(&mut queue, 0, refused(), 0) else {
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
    queue.configure_endpoint(TWO, terms(false), (seen(0), 0));
    for position in 0..10 {
        queue.enqueue(TWO, position, 0);
    }
    let mut order = Vec::new();
    while let Some(start) = queue.begin_next_attempt(0) {
        order.push((start.endpoint, start.position));
    }
    assert_eq!(order, [(ONE, 0), (TWO, 0), (ONE, 1), (TWO, 1)]);
    queue.finish_attempt((ONE, 0), refused(), (0, JITTER));
    queue.finish_attempt((ONE, 1), refused(), (0, JITTER));
    queue.finish_attempt((TWO, 0), Ok(()), (0, JITTER));
    let mut places = BTreeMap::new();
    while let Some(start) = queue.begin_next_attempt(0) {
        *places.entry(start.endpoint).or_insert(0) += 1;
    }
    // One at a time after a failure; twice as many after an arrival, one of them still on its way.
    assert_eq!(places, BTreeMap::from([(ONE, 1), (TWO, 3)]));
}

#[test]
fn who_is_overloaded_is_spared() {
    let mut queue = queue(false, 3);
    assert_eq!(begun(&mut queue, 0), [0, 1]);
    let slow = Err(FailedAttempt {
        overloaded_or_timed_out: true,
        ..FailedAttempt::default()
    });
    end(&mut queue, 0, slow, 0);
    end(&mut queue, 1, slow, 0);
    // Two overloads in a row: two seconds between attempts.
    assert_eq!(begun(&mut queue, 1_999), [0; 0]);
    assert_eq!(queue.next_due_ms(), Some(2_000));
    assert_eq!(begun(&mut queue, 2_000), [2]);
}

#[test]
fn what_has_no_room_stays_in_the_log_until_there_is() {
    let window = u64::try_from(OUTSTANDING_MAX).unwrap();
    let mut queue = queue(false, window + 5);
    assert_eq!(
        queue.endpoint(ONE).unwrap().outstanding_len(),
        OUTSTANDING_MAX
    );
    assert_eq!(queue.next_range_to_read(None), None);
    assert_eq!(begun(&mut queue, 0), [0, 1]);
    end(&mut queue, 0, Ok(()), 0);
    let (endpoint, range, room) = queue.next_range_to_read(None).unwrap();
    assert_eq!(
        (endpoint, &range, room),
        (ONE, &UnreadRange::since(window), 1)
    );
    assert_eq!(queue.next_range_to_read(None), None, "it is being read");
    let seen = window + 5;
    queue.enqueue_read(ONE, (&range, &[window, window + 1], seen), (seen, 0));
    let line = queue.endpoint(ONE).unwrap();
    assert_eq!(line.progress.ranges, [UnreadRange::since(window + 1)]);
    // What happens meanwhile is not taken out of turn.
    queue.enqueue(ONE, window + 5, 0);
    assert_eq!(
        queue.endpoint(ONE).unwrap().outstanding_len(),
        OUTSTANDING_MAX
    );
}

#[test]
fn a_full_line_that_arrives_again_tries_what_waits_at_no_cost() {
    let window = u64::try_from(OUTSTANDING_MAX).unwrap();
    let mut queue = queue(false, window);
    // All but one have failed once and wait for minutes.
    for _ in 0..window - 1 {
        let start = queue.begin_next_attempt(0).unwrap();
        end(&mut queue, start.position, refused(), 0);
    }
    let last = begun(&mut queue, 1_000);
    assert_eq!(last.len(), 1);
    let now = 10 * 60_000;
    end(&mut queue, last[0], Ok(()), now);
    let ready = begun(&mut queue, now);
    assert_eq!(ready.len(), 2);
    let waits = end(&mut queue, ready[0], refused(), now);
    let again = RETRY_DELAYS_MS[0];
    assert_eq!(
        waits,
        DeliveryDisposition::RetryAt {
            due_ms: now + again
        }
    );
}

#[test]
fn a_replay_is_read_once_and_one_at_a_time() {
    let mut queue = queue(false, 0);
    let range = UnreadRange {
        next: 2,
        to: Some(4),
        types: Some(EventFilter::check(vec!["api_key.*".to_owned()]).unwrap()),
    };
    assert!(queue.start_replay(ONE, range.clone(), 9));
    assert!(!queue.start_replay(ONE, range.clone(), 9));
    // Who takes things as they come gets what is new meanwhile.
    queue.enqueue(ONE, 9, 0);
    assert_eq!(
        queue.next_range_to_read(None),
        Some((ONE, range.clone(), OUTSTANDING_MAX - 1))
    );
    queue.enqueue_read(ONE, (&range, &[2, 3], 4), (10, 0));
    assert_eq!(queue.next_range_to_read(None), None);
    assert_eq!(begun(&mut queue, 0), [2, 3]);

    queue.configure_endpoint(TWO, terms(true), (seen(10), 0));
    assert!(queue.start_replay(TWO, range.clone(), 10));
    queue.enqueue(TWO, 10, 0);
    assert_eq!(
        queue.endpoint(TWO).unwrap().outstanding_len(),
        0,
        "in order"
    );
}

#[test]
fn what_is_dropped_says_nothing_of_the_endpoint_and_holds_up_nothing() {
    let mut queue = queue(true, 3);
    assert_eq!(begun(&mut queue, 0), [0]);
    let slow = FailedAttempt {
        overloaded_or_timed_out: true,
        ..FailedAttempt::default()
    };
    end(&mut queue, 0, Err(slow), 0);
    queue.recheck_outstanding(ONE, HOUR_MS);
    for position in 0..2 {
        assert_eq!(begun(&mut queue, HOUR_MS), [position]);
        queue.discard_attempt((ONE, position), HOUR_MS);
    }
    assert_eq!(begun(&mut queue, HOUR_MS), [2]);
    let line = queue.endpoint(ONE).unwrap();
    assert!(line.is_failing());
    assert_eq!(line.outstanding_len(), 1);
    assert_eq!(line.progress().delivered_at_ms, None);
    // It has all of its attempts.
    let due_ms = HOUR_MS + RETRY_DELAYS_MS[0];
    let waits = DeliveryDisposition::RetryAt { due_ms };
    assert_eq!(end(&mut queue, 2, refused(), HOUR_MS), waits);
}

#[test]
fn another_address_gets_nothing_of_a_replay() {
    let mut queue = queue(false, 0);
    let from = EndpointTerms {
        first_position: 5,
        ..terms(false)
    };
    queue.configure_endpoint(TWO, from, (seen(5), 0));
    let range = UnreadRange {
        to: Some(5),
        ..UnreadRange::since(0)
    };
    assert!(queue.start_replay(TWO, range.clone(), 5));
    assert!(queue.next_range_to_read(None).is_some());
    queue.enqueue_read(TWO, (&range, &[1, 2], 3), (5, 0));
    queue.enqueue(TWO, 5, 0);
    assert_eq!(queue.skip_after_url_change(TWO, 0), [1, 2]);
    assert_eq!(queue.next_range_to_read(None), None);
    assert_eq!(begun(&mut queue, 0), [5]);
    assert_eq!(queue.skip_after_url_change(EndpointId(Ulid(3)), 0), [0; 0]);
}

#[test]
fn what_is_kept_says_what_is_outstanding_and_nothing_of_what_came_and_went() {
    let mut queue = queue(false, 3);
    assert_eq!(begun(&mut queue, 7), [0, 1]);
    end(&mut queue, 0, Ok(()), 8);
    end(&mut queue, 1, refused(), 8);
    let kept = |attempts, due_ms, last_ms| RetryState {
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
    assert_eq!(queue.take_changes(), QueueChanges::default());
    assert_eq!(begun(&mut queue, 8), [2]);
    end(&mut queue, 2, Ok(()), 9);
    assert_eq!(queue.take_changes().deliveries, [(ONE, 2, None)]);
    queue.remove_endpoint(ONE);
    assert_eq!(queue.take_changes().endpoints, [(ONE, None)]);
}
