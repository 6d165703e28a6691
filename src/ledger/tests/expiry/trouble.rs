//! Refused for now: full disks, full queues, clocks that nobody believes. Nothing is lost.

use super::super::{DAY_MS, Setup, api_key, submission};
use super::{HOUR_MS, Watched};
use crate::domain::command::{Actor, Expiry};
use crate::ledger::lanes::ORDINARY_MAX;
use crate::ledger::tests::company::create_organization;
use crate::log::{Disk, MemoryDisk};

const NOTHING: [&str; 0] = [];
/// As long as it takes until it is tried again.
const AGAIN_MS: i64 = 10_000;

fn with_keys(mut acme: Watched) -> Watched {
    acme.key("two days", Expiry::InDays(2));
    acme.key("eight days", Expiry::InDays(8));
    assert_eq!(acme.told(), NOTHING);
    acme
}

#[test]
fn a_suspect_clock_tells_nothing_and_what_it_said_is_forgotten_with_it() {
    let mut acme = with_keys(Watched::new(100));
    let then = acme.world.ledger.clock().now_ms();
    // Years ahead: everything seems to have expired.
    acme.world.hands.set_wall_ms(then + 1_000 * DAY_MS);
    assert_eq!(acme.told(), NOTHING);
    acme.world.hands.set_wall_ms(then);
    acme.later(AGAIN_MS);
    assert_eq!(acme.told(), NOTHING);
    acme.later(DAY_MS);
    let both = [
        "day 1, 0 h: two days expires in 1 days",
        "day 1, 0 h: eight days expires in 7 days",
    ];
    assert_eq!(acme.told(), both);
}

#[test]
fn a_clock_that_is_accepted_is_believed() {
    let mut acme = with_keys(Watched::new(101));
    let then = acme.world.ledger.clock().now_ms();
    acme.world.hands.set_wall_ms(then + DAY_MS);
    assert_eq!(acme.told(), NOTHING);
    acme.world.ledger.accept_clock();
    // Not before it is time to try again.
    assert_eq!(acme.told(), NOTHING);
    acme.world.hands.advance_ms(AGAIN_MS);
    let both = [
        "day 1, 0 h: two days expires in 1 days",
        "day 1, 0 h: eight days expires in 7 days",
    ];
    assert_eq!(acme.told(), both);
}

#[test]
fn a_full_disk_is_waited_for() {
    let disk = MemoryDisk::new(102);
    let mut setup = Setup::new(102);
    setup.disk = Disk::Memory(disk.clone());
    setup.log.segment_bytes = 32 * 1024;
    let mut acme = with_keys(Watched::of(setup));
    disk.set_capacity(Some(0));
    while acme
        .world
        .try_submit(Actor::Operator, api_key(acme.of, "filler"))
        .is_ok()
    {}
    acme.later(DAY_MS);
    assert_eq!(acme.told(), NOTHING);
    // Not before it is time to try again, and then again.
    acme.later(AGAIN_MS);
    assert_eq!(acme.told(), NOTHING);
    disk.set_capacity(None);
    let mut acme = acme.restarted();
    let both = [
        "day 1, 0 h: two days expires in 1 days",
        "day 1, 0 h: eight days expires in 7 days",
    ];
    assert_eq!(acme.told(), both);
}

#[test]
fn a_full_queue_is_tried_at_the_next_look() {
    let mut acme = with_keys(Watched::new(103));
    acme.later(DAY_MS - HOUR_MS);
    assert_eq!(acme.told(), NOTHING);
    acme.later(2 * HOUR_MS);
    let ledger = acme.world.ledger.clone();
    let held = ledger.state.lock().unwrap();
    // Refused, so that they leave nothing behind.
    let filler = submission(Actor::Operator, create_organization("Acme", "no address"));
    let mut waiting = Vec::new();
    while let Ok(answer) = ledger.enqueue(filler.clone()) {
        waiting.push(answer);
    }
    assert!(waiting.len() >= ORDINARY_MAX);
    assert!(!acme.announcer.announce_due());
    drop(held);
    for answer in waiting {
        assert!(answer.blocking_recv().unwrap().is_err());
    }
    let both = [
        "day 1, 1 h: two days expires in 1 days",
        "day 1, 1 h: eight days expires in 7 days",
    ];
    assert_eq!(acme.told(), both);
}
