//! A storm of expiries: everybody else has their turn.

use std::thread;

use tokio::sync::oneshot::Receiver;

use super::super::{Setup, api_key, submission};
use super::{HOUR_MS, Watched};
use crate::domain::command::{Actor, Expiry};
use crate::domain::expiry::Leads;
use crate::ledger::{Outcome, SubmitError};
use crate::log::{Disk, MemoryDisk};
use crate::workers::expiries::{COMMANDS_MAX, ExpiryAnnouncer, NOTICES_MAX};

/// So many keys expire at one instant.
const KEYS: usize = 3 * NOTICES_MAX + 7;

#[test]
fn a_storm_of_expiries_is_told_of_one_bounded_command_at_a_time() {
    let mut setup = Setup::new(90);
    setup.disk = Disk::Memory(MemoryDisk::new(90));
    setup.log.segment_bytes = 1 << 20;
    let mut acme = Watched::of(setup);
    let at = acme.began.plus_ms(HOUR_MS);
    for number in 0..KEYS {
        acme.key(&format!("key {number}"), Expiry::At(at));
    }
    let leads = Leads::check(Vec::new()).unwrap();
    acme.announcer = ExpiryAnnouncer::new(acme.world.ledger.clone(), leads, KEYS);
    assert_eq!(acme.told(), [""; 0]);
    acme.later(HOUR_MS);
    // Something has happened since, so that nothing still to come can be due before.
    acme.key("the last", Expiry::Never);

    // The writer is kept busy with a first command; then the announcer comes, and a second client.
    let ledger = acme.world.ledger.clone();
    let held = ledger.state.lock().unwrap();
    let client = || ledger.enqueue(submission(Actor::Operator, api_key(acme.of, "client")));
    let first = client().unwrap();
    let waiting = || ledger.shared.lanes.waiting();
    while waiting() != (0, 0) {
        thread::yield_now();
    }
    let mut announcer = acme.announcer;
    let sweeping = thread::spawn(move || {
        let more = announcer.announce_due();
        (announcer, more)
    });
    while waiting() != (0, 1) {
        thread::yield_now();
    }
    let second = client().unwrap();
    assert_eq!(waiting(), (0, 2));
    drop(held);
    let position = |outcome: Receiver<Result<Outcome, SubmitError>>| {
        let outcome = outcome.blocking_recv().unwrap().unwrap();
        let Outcome::Done(answer) = outcome else {
            panic!("{outcome:?}");
        };
        answer.position
    };
    let (first, second) = (position(first), position(second));
    assert_eq!(second, first + 1 + NOTICES_MAX as u64);
    let (announcer, more) = sweeping.join().unwrap();
    acme.announcer = announcer;
    assert!(!more);
    let told = acme.told();
    let expected = (0..KEYS).map(|number| format!("day 0, 1 h: key {number} api_key.expired"));
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[test]
fn a_look_ends_whatever_there_is_to_tell() {
    let mut acme = Watched::new(91);
    let at = acme.began.plus_ms(HOUR_MS);
    // Four are gathered at once: a look of so many commands does not come to the end.
    let keys = 4 * COMMANDS_MAX;
    for number in 0..keys {
        acme.key(&format!("key {number}"), Expiry::At(at));
    }
    acme.later(HOUR_MS);
    assert!(acme.announcer.announce_due());
    let first = acme.read();
    assert!(!first.is_empty() && first.len() < keys);
    let told = [first, acme.told()].concat();
    let expected = (0..keys).map(|number| format!("day 0, 1 h: key {number} api_key.expired"));
    assert_eq!(told, expected.collect::<Vec<_>>());
}
