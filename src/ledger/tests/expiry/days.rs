//! Forty days of a small company, and what a standstill or a restart does to them.

use super::super::{DAY_MS, Setup, refusal, revoke};
use super::{HOUR_MS, Watched};
use crate::domain::command::{Actor, Command, Expiry, RotateKey};
use crate::domain::record::Status;
use crate::domain::time::Timestamp;
use crate::ledger::tests::target;
use crate::log::{Disk, MemoryDisk};

/// Keys of every sort on day 0.
fn company(setup: Setup) -> Watched {
    let mut acme = Watched::of(setup);
    acme.key("yearly", Expiry::InDays(365));
    acme.key("never", Expiry::Never);
    acme.key("b, with a", Expiry::InDays(37));
    acme.key("a, with b", Expiry::InDays(37));
    acme.key("short", Expiry::InDays(5));
    acme.key("hour", Expiry::At(acme.began.plus_ms(HOUR_MS)));
    let revoked = acme.key("revoked", Expiry::InDays(20));
    let moved = acme.key("moved", Expiry::InDays(36));
    let rotated = acme.key("rotated", Expiry::InDays(9));
    let disabled = acme.key("disabled", Expiry::InDays(9));
    acme.later(1);
    acme.world.run(RotateKey {
        target: target(acme.of, rotated),
        grace_period_seconds: 3_600,
        unpresented: None,
    });
    acme.world
        .run(Command::DisableKey(target(acme.of, disabled)));
    assert_eq!(acme.keys[6].0, revoked);
    assert_eq!(acme.keys[7].0, moved);
    acme
}

/// Lets the days from one to another go by, looking every six hours; things happen on some.
fn days(acme: &mut Watched, from: i64, to: i64) -> Vec<String> {
    let mut told = Vec::new();
    for quarter in from * 4..to * 4 {
        let (revoked, moved) = (acme.keys[6].0, acme.keys[7].0);
        match quarter {
            // A day after its notice of seven days.
            56 => drop(acme.world.run(revoke(acme.of, revoked))),
            // Nearer than 30 days; then away, and back.
            40 => acme.set_expiry(moved, Expiry::At(acme.began.plus_ms(18 * DAY_MS))),
            48 => acme.set_expiry(moved, Expiry::Never),
            52 => acme.set_expiry(moved, Expiry::At(acme.began.plus_ms(18 * DAY_MS))),
            _ => {}
        }
        acme.later(6 * HOUR_MS);
        told.extend(acme.told());
    }
    told
}

const FORTY_DAYS: [&str; 18] = [
    "day 0, 6 h: hour api_key.expired",
    "day 2, 0 h: rotated expires in 7 days",
    "day 2, 0 h: disabled expires in 7 days",
    "day 4, 0 h: short expires in 1 days",
    "day 5, 0 h: short api_key.expired",
    "day 6, 0 h: moved expires in 30 days",
    "day 7, 0 h: b, with a expires in 30 days",
    "day 7, 0 h: a, with b expires in 30 days",
    "day 8, 0 h: rotated expires in 1 days",
    "day 8, 0 h: disabled expires in 1 days",
    "day 9, 0 h: rotated api_key.expired",
    "day 9, 0 h: disabled api_key.expired",
    "day 11, 0 h: moved expires in 7 days",
    "day 13, 0 h: revoked expires in 7 days",
    "day 17, 0 h: moved expires in 1 days",
    "day 18, 0 h: moved api_key.expired",
    "day 30, 0 h: b, with a expires in 7 days",
    "day 30, 0 h: a, with b expires in 7 days",
];
const THE_END: [&str; 4] = [
    "day 36, 0 h: b, with a expires in 1 days",
    "day 36, 0 h: a, with b expires in 1 days",
    "day 37, 0 h: b, with a api_key.expired",
    "day 37, 0 h: a, with b api_key.expired",
];

fn on_memory(seed: u64) -> Setup {
    Setup {
        disk: Disk::Memory(MemoryDisk::new(seed)),
        ..Setup::new(seed)
    }
}

#[test]
fn forty_days_of_a_company() {
    let mut acme = company(on_memory(80));
    let told = days(&mut acme, 0, 40);
    assert_eq!(told, [&FORTY_DAYS[..], &THE_END[..]].concat());
    // It changes no record but for its version, and no verification.
    let credentials = &acme.world.ledger.views().credentials;
    let record = credentials.get(acme.of, acme.keys[9].0).unwrap();
    assert_eq!(record.stamp().version, 5);
    assert_eq!(record.status(Timestamp(0)), Status::Disabled);
    let history =
        acme.world
            .ledger
            .events_of(crate::domain::ids::Subject::Credential(record.id()), 0, 9);
    let history = history.unwrap();
    let history: Vec<_> = history.iter().map(|past| past.event.fact.name()).collect();
    let expected = [
        "api_key.created",
        "api_key.disabled",
        "api_key.expiring",
        "api_key.expiring",
        "api_key.expired",
    ];
    assert_eq!(history, expected);
    assert_eq!(acme.told(), [""; 0]);
}

#[test]
fn a_restart_every_day_tells_the_same_by_replay_and_from_snapshots() {
    for events_between_snapshots in [500_000, 3] {
        let mut setup = Setup::new(81);
        setup.events_between_snapshots = events_between_snapshots;
        let mut acme = company(setup);
        let mut told = Vec::new();
        for day in 0..40 {
            told.extend(days(&mut acme, day, day + 1));
            if day % 3 == 0 || told.len() % 2 == 1 {
                acme = acme.restarted();
            }
        }
        assert_eq!(told, [&FORTY_DAYS[..], &THE_END[..]].concat());
    }
}

#[test]
fn after_a_standstill_each_key_is_told_of_once_by_the_latest_that_is_due() {
    let mut acme = company(on_memory(82));
    let told = days(&mut acme, 0, 1);
    assert_eq!(told, FORTY_DAYS[..1]);
    // Two leads of four keys go by, and the end of two.
    acme.later(31 * DAY_MS);
    let mut acme = acme.restarted();
    acme.key("made before the look", Expiry::InDays(7));
    let expected = [
        "day 32, 0 h: short api_key.expired",
        "day 32, 0 h: rotated api_key.expired",
        "day 32, 0 h: disabled api_key.expired",
        "day 32, 0 h: revoked api_key.expired",
        "day 32, 0 h: moved expires in 7 days",
        "day 32, 0 h: b, with a expires in 7 days",
        "day 32, 0 h: a, with b expires in 7 days",
    ];
    assert_eq!(acme.told(), expected);
    assert_eq!(acme.told(), [""; 0]);
    let mut acme = acme.restarted();
    assert_eq!(acme.told(), [""; 0]);
}

#[test]
fn nobody_else_gives_notices() {
    let acme = company(on_memory(83));
    let notes = crate::domain::command::NoteExpiries {
        seen: None,
        at: acme.began,
        notices: Vec::new(),
    };
    for (actor, code) in [(Actor::Operator, "ServerOnly"), (Actor::System, "NotFound")] {
        let command = Command::NoteExpiries(notes.clone());
        let refused = refusal(acme.world.try_submit(actor, command));
        assert!(refused.contains(code), "{refused}");
    }
}
