//! Clocks that jump: nothing is dated backwards, nothing revives, and ends are always taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::company::{create_organization, organization};
use super::image::{all, code};
use super::{DAY_MS, START_MS, World, api_key, refusal, revoke};
use crate::clock::{DRIFT_MS_MAX, IDLE_MS_MAX};
use crate::domain::command::{Actor, CreateKey, Expiry};
use crate::domain::ids::OrganizationId;
use crate::ledger::Answer;
use crate::ledger::time_file::TimeKeeper;
use crate::views::credentials::CredentialFilter;
use crate::views::index::VerificationCode;

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
    assert_eq!(code(&world, &expiring), VerificationCode::Valid);
    world.later(2 * DAY_MS);
    let last = world.run(api_key(of, "after two days"));
    assert_eq!(code(&world, &expiring), VerificationCode::Expired);
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
    assert_eq!(code(&world, &expiring), VerificationCode::Expired);
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
    let filter = CredentialFilter::match_all(world.ledger.now());
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

#[test]
fn what_expired_at_half_speed_stays_expired_over_starts_and_crashes() {
    let (mut world, of) = new(5);
    world.later(10 * DAY_MS);
    let expiring = super::token(&world.run(short(of)));
    let written = START_MS + 10 * DAY_MS;

    // The clock was ahead by ten days, and is right now.
    let mut setup = world.stopped();
    setup.now_ms = START_MS;
    let check = |world: &World, passed_ms: i64, expected: VerificationCode| {
        assert_eq!(world.ledger.now().0, written + passed_ms);
        assert_eq!(code(world, &expiring), expected);
    };
    let mut world = setup.open();
    check(&world, 0, VerificationCode::Valid);
    world.later(3 * DAY_MS);
    check(&world, 3 * DAY_MS / 2, VerificationCode::Expired);
    let mut world = world.restarted();
    check(&world, 3 * DAY_MS / 2, VerificationCode::Expired);
    world.later(DAY_MS);
    check(&world, 2 * DAY_MS, VerificationCode::Expired);

    // As the thread does every few seconds.
    let path = world.folder().time();
    TimeKeeper::new(path.clone()).store_if_ahead(&world.ledger.shared);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    world.later(10_000);
    let setup = world.crashed();
    let world = setup.open();
    check(&world, 2 * DAY_MS, VerificationCode::Expired);

    // An event is dated by it, and a clock that has caught up rules again.
    let mut setup = world.stopped();
    setup.accept_clock = true;
    let mut world = setup.open();
    let answer = world.run(api_key(of, "dated"));
    assert_eq!(at(&world, &answer), written + 2 * DAY_MS);
    world.later(20 * DAY_MS);
    let now = world.setup.now_ms;
    assert_eq!(world.ledger.now().0, now);
    let world = world.restarted();
    assert_eq!(world.ledger.now().0, now);
}

#[test]
fn a_clock_that_is_ahead_is_not_remembered() {
    let (mut world, _) = new(6);
    world.later(IDLE_MS_MAX - DAY_MS);
    let mut setup = world.stopped();
    assert!(!setup.folder().time().exists());
    setup.now_ms = START_MS;
    assert_eq!(setup.open().ledger.now().0, START_MS);
}
