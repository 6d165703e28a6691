//! Clocks that jump: nothing is dated backwards, nothing revives, and ends are always taken.

use super::company::{create_organization, organization};
use super::image::{all, code};
use super::{DAY_MS, START_MS, World, api_key, refusal, revoke};
use crate::clock::{DRIFT_MS_MAX, IDLE_MS_MAX};
use crate::domain::command::{Actor, CreateKey, Expiry};
use crate::domain::ids::OrganizationId;
use crate::ledger::Answer;
use crate::views::credentials::Filter;
use crate::views::index::Code;

fn new(seed: u64) -> (World, OrganizationId) {
    let world = World::new(seed);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    (world, of)
}

fn at(world: &World, answer: &Answer) -> i64 {
    world
        .ledger
        .event(answer.position)
        .unwrap()
        .event
        .occurred_at
        .0
}

fn short(of: OrganizationId) -> CreateKey {
    CreateKey {
        expiry: Expiry::InDays(1),
        ..api_key(of, "short")
    }
}

#[test]
fn a_clock_set_back_dates_nothing_backwards_and_revives_nothing() {
    let (mut world, of) = new(1);
    let expiring = super::token(&world.run(short(of)));
    assert_eq!(code(&world, &expiring), Code::Valid);
    world.later(2 * DAY_MS);
    let last = world.run(api_key(of, "after two days"));
    assert_eq!(code(&world, &expiring), Code::Expired);
    let date = at(&world, &last);
    assert_eq!(date, START_MS + 2 * DAY_MS);

    // Little enough to be believed.
    world.hands.set_wall_ms(date - DRIFT_MS_MAX);
    assert_eq!(
        at(&world, &world.run(api_key(of, "a little earlier"))),
        date
    );
    // A start has nothing to compare the clock with but the log.
    let mut setup = world.stopped();
    setup.now_ms = START_MS;
    let world = setup.open();
    assert_eq!(world.ledger.now().0, date);
    assert_eq!(code(&world, &expiring), Code::Expired);
    assert_eq!(
        at(&world, &world.run(api_key(of, "two days earlier"))),
        date
    );
    let refused = world.try_submit(
        Actor::Operator,
        CreateKey {
            expiry: Expiry::At(crate::domain::time::Timestamp(date - 1)),
            ..api_key(of, "for the past")
        },
    );
    assert_eq!(refusal(refused), "Rejected(ExpiryInPast)");
}

#[test]
fn records_stay_in_the_order_of_their_making_over_starts_with_a_clock_set_back() {
    let (mut world, of) = new(2);
    world.later(DAY_MS);
    let mut made = vec![world.key(of, "0").0.id()];
    for number in 1..8 {
        let mut setup = world.stopped();
        setup.now_ms = START_MS;
        world = setup.open();
        made.push(world.key(of, &format!("{number}")).0.id());
    }
    let filter = Filter::all(world.ledger.now());
    let credentials = &world.ledger.views().credentials;
    let listed = all(|ask| credentials.list(of, &filter, ask));
    let mut listed: Vec<_> = listed.iter().map(|record| record.id()).collect();
    listed.reverse();
    // The first key of the organization came with it.
    assert_eq!(listed[1..], made);
}

#[test]
fn a_clock_that_jumps_stops_all_but_ends_until_it_is_accepted() {
    for jump in [DRIFT_MS_MAX + 1, -DRIFT_MS_MAX - 1, 3_650 * DAY_MS] {
        let (mut world, of) = new(3);
        let (key, _) = world.key(of, "key");
        world.later(DAY_MS);
        let wall = START_MS + DAY_MS + jump;
        world.hands.set_wall_ms(wall);
        let refused = world.try_submit(Actor::Operator, api_key(of, "refused"));
        assert_eq!(refusal(refused), "ClockSuspect", "{jump}");
        let ended = world.run(revoke(of, key.id()));
        // The monotonic clock vouches for the date.
        assert_eq!(at(&world, &ended), START_MS + DAY_MS, "{jump}");
        assert_eq!(
            refusal(world.try_submit(Actor::Operator, api_key(of, "no"))),
            "ClockSuspect"
        );
        world.ledger.accept_clock();
        let accepted = world.run(api_key(of, "accepted"));
        assert_eq!(at(&world, &accepted), wall.max(START_MS + DAY_MS), "{jump}");
    }
}

#[test]
fn a_start_long_after_the_last_event_takes_ends_alone_until_the_clock_is_accepted() {
    let (world, of) = new(4);
    let (key, _) = world.key(of, "key");
    let mut setup = world.stopped();
    setup.now_ms = START_MS + IDLE_MS_MAX;
    let world = setup.open();
    assert!(
        world
            .try_submit(Actor::Operator, api_key(of, "within 400 days"))
            .is_ok()
    );
    let mut setup = world.stopped();
    setup.now_ms += IDLE_MS_MAX + 1;
    let mut world = setup.open();
    let refused = world.try_submit(Actor::Operator, api_key(of, "beyond"));
    assert_eq!(refusal(refused), "ClockSuspect");
    world.later(1_000);
    let ended = world.run(revoke(of, key.id()));
    assert_eq!(at(&world, &ended), START_MS + IDLE_MS_MAX + 1_000);
    let mut setup = world.stopped();
    setup.accept_clock = true;
    let world = setup.open();
    let answer = world.run(api_key(of, "accepted"));
    assert_eq!(at(&world, &answer), START_MS + 2 * IDLE_MS_MAX + 1_001);
}
