//! A ledger that goes on from an older copy: no position ever names two events, and a rollback that
//! nobody acknowledged is not served.

use std::fs;

use super::company::{create_organization, organization};
use super::image::code;
use super::telling::published;
use super::{DAY_MS, Setup, World, api_key, copy, revoke};
use crate::domain::command::{Command, RecordRestore};
use crate::domain::event::ledger::LedgerRestored;
use crate::domain::ids::OrganizationId;
use crate::ledger::PositionError;
use crate::ledger::boot::{BootError, RestoreMark, Restored};
use crate::views::index::VerificationCode;

/// What a copy of a folder by files takes along.
const TRUTH: [&str; 3] = ["log", "checkpoints", "keys"];

fn begun(seed: u64) -> (World, OrganizationId) {
    let world = World::new(seed);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    (world, of)
}

/// Puts older truth beside whatever the folder holds.
fn put_back(from: &Setup, to: &Setup) {
    for part in TRUTH {
        let target = to.folder().path().join(part);
        fs::remove_dir_all(&target).unwrap();
        copy(&from.folder().path().join(part), &target);
    }
}

#[test]
fn positions_of_lost_events_are_known_for_ever_and_new_ones_are_not_among_them() {
    let (world, of) = begun(31);
    let size = world.events();
    let setup = world.stopped();
    let mark = RestoreMark {
        size,
        positions: Some(2_500),
    };
    mark.write(&setup.folder()).unwrap();
    let mut world = setup.open();
    let restore = LedgerRestored {
        size,
        resumes_at: size + 2_500,
    };
    assert!(!setup_mark(&world).exists());
    for _ in 0..3 {
        assert_eq!(world.ledger.restores(), [restore]);
        let lost = Err(PositionError::Lost(restore));
        let next = world.events();
        for (position, expected) in [
            (0, Ok(())),
            (size - 1, Ok(())),
            (size, lost),
            (size + 2_499, lost),
            (size + 2_500, Ok(())),
            (next - 1, Ok(())),
            // Nobody was given it by this ledger.
            (next, lost),
            (u64::MAX, lost),
        ] {
            assert_eq!(
                world.ledger.check_position(position),
                expected,
                "{position}"
            );
        }
        let answer = world.run(api_key(of, "new"));
        assert!(answer.position > restore.resumes_at);
        world = world.restarted();
    }
    // Without a restore the end is the end.
    let (world, _) = begun(32);
    let end = world.events();
    assert_eq!(
        world.ledger.check_position(end),
        Err(PositionError::Unknown)
    );
}

fn setup_mark(world: &World) -> std::path::PathBuf {
    world.setup.folder().path().join("restored")
}

#[test]
fn a_restore_that_was_cut_short_is_finished_by_the_next_start() {
    let (world, _of) = begun(33);
    let size = world.events();
    let part = RecordRestore {
        positions: 3_500,
        at_once: 50,
    };
    world.run(Command::RecordRestore(part));
    assert_eq!(world.events(), size + 50);
    // With the mark still there, and without it.
    for marked in [true, false] {
        let copied = Setup::new(34);
        copy(world.setup.folder().path(), copied.folder().path());
        if marked {
            let mark = RestoreMark {
                size,
                positions: None,
            };
            mark.write(&copied.folder()).unwrap();
        }
        let opened = copied.open();
        assert_eq!(opened.events(), size + 3_501, "{marked}");
        assert_eq!(opened.ledger.restores().len(), 1);
        assert!(!setup_mark(&opened).exists());
    }
}

#[test]
fn the_usual_rate_of_events_says_how_many_positions_are_given_up() {
    for (days, positions) in [(0, 10_000), (1, 10_000), (30, 24_000)] {
        let (mut world, of) = begun(35);
        // 400 events a day.
        for _ in 0..4 {
            for _ in 0..100 {
                world.run(api_key(of, "k"));
            }
            world.later(DAY_MS / 4);
        }
        let size = world.events();
        let mut setup = world.stopped();
        setup.now_ms += days * DAY_MS - DAY_MS / 4;
        setup.restored = Some(Restored(None));
        let world = setup.open();
        let given_up = world.events() - 1 - size;
        assert!(
            (positions..positions * 3 / 2).contains(&given_up),
            "{days}: {given_up}"
        );
    }
}

#[test]
fn an_older_log_beside_newer_views_is_refused_until_the_operator_acknowledges_it() {
    let (world, of) = begun(36);
    let (key, token) = world.key(of, "leaked");
    let older = Setup::new(37);
    copy(world.setup.folder().path(), older.folder().path());
    world.run(revoke(of, key.id()));
    for number in 0..300 {
        world.run(api_key(of, &format!("later {number}")));
    }
    published(&world);
    let last = world.events() - 1;
    let newer = world.stopped();
    put_back(&older, &newer);
    // Each store that is derived from the log tells alone.
    for (alone, expected) in [("views", last), ("tiles", 255)] {
        let some = Setup::new(38);
        copy(newer.folder().path(), some.folder().path());
        for other in ["views", "tiles"] {
            if other != alone {
                fs::remove_dir_all(some.folder().path().join(other)).unwrap();
            }
        }
        let Err(BootError::RolledBack { beyond, .. }) = some.try_open() else {
            panic!("{alone}: the rollback passed in silence");
        };
        assert!(beyond.path.starts_with(some.folder().path().join(alone)));
        assert_eq!(beyond.position, expected, "{alone}");
    }
    let mut newer = newer;
    newer.restored = Some(Restored(Some(7)));
    let world = newer.open();
    // At least as far as is known of lost events.
    assert!(world.events() > last + 1);
    assert_eq!(code(&world, &token), VerificationCode::Valid);
    let lost = world.ledger.check_position(last);
    assert!(matches!(lost, Err(PositionError::Lost(_))));
    // Views and tiles are made anew.
    let mut setup = world.stopped();
    setup.restored = None;
    let world = setup.open();
    assert_eq!(world.ledger.restores().len(), 1);
}
