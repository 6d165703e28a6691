//! What is shown, decided on and accepted is the same after every kind of stop.

use std::fs;

use proptest::prelude::*;

use super::company::{create_account, create_organization, found, organization};
use super::image::image;
use super::{Setup, World, revoke, target};
use crate::domain::command::{Actor, Command, RotateKey};
use crate::domain::envelope::commitment;
use crate::domain::ids::{CredentialId, OrganizationId};
use crate::domain::pieces::Taken;
use crate::ledger::boot::{BootError, Restored};
use crate::ledger::snapshots::{self, Written};
use crate::merkle::Frontier;
use crate::views::index::VerificationCode;
use crate::views::snapshot::{SnapshotHead, SnapshotWriter};

fn remove(setup: &Setup, part: &str) {
    let path = setup.folder().path().join(part);
    if path.exists() {
        fs::remove_dir_all(path).unwrap();
    }
}

/// The position of the snapshot that a start would begin with; 0 without one.
fn snapshot_position(world: &World) -> u64 {
    let folder = world.setup.folder().path().join("snapshots");
    let loaded = snapshots::load(&folder, world.ledger.keys(), (0, world.ledger.degraded()));
    loaded.start.snapshot_frontier.size()
}

#[test]
fn a_restart_changes_nothing_that_anybody_sees() {
    let mut world = World::new(1);
    let tokens = found(&mut world);
    let live = image(&world, &tokens);

    let world = world.restarted();
    assert_eq!(image(&world, &tokens), live, "after a stop");

    let setup = world.stopped();
    remove(&setup, "views");
    let world = setup.open();
    assert_eq!(image(&world, &tokens), live, "without views");

    let world = world.crashed().open();
    assert_eq!(image(&world, &tokens), live, "after a crash");

    let setup = world.crashed();
    remove(&setup, "views");
    let world = setup.open();
    assert_eq!(image(&world, &tokens), live, "after a crash, without views");
}

#[test]
fn a_start_from_a_snapshot_is_a_start_from_the_log() {
    let mut setup = Setup::new(2);
    setup.events_between_snapshots = 7;
    let mut world = setup.create();
    let tokens = found(&mut world);
    let live = image(&world, &tokens);
    let world = world.restarted();
    assert!(snapshot_position(&world) > 0);
    assert_eq!(image(&world, &tokens), live, "from a snapshot");
    let setup = world.stopped();
    remove(&setup, "snapshots");
    let world = setup.open();
    assert_eq!(snapshot_position(&world), 0);
    assert_eq!(image(&world, &tokens), live, "from the log");
    let setup = world.crashed();
    remove(&setup, "views");
    let world = setup.open();
    assert_eq!(image(&world, &tokens), live, "from the log, without views");
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Issue(u8),
    Rotate(u8, u32),
    Disable(u8),
    Enable(u8),
    Revoke(u8),
    Account(u8),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        any::<u8>().prop_map(Act::Issue),
        any::<u8>().prop_map(Act::Issue),
        (any::<u8>(), 0_u32..3).prop_map(|(key, grace)| Act::Rotate(key, grace)),
        any::<u8>().prop_map(Act::Disable),
        any::<u8>().prop_map(Act::Enable),
        any::<u8>().prop_map(Act::Revoke),
        any::<u8>().prop_map(Act::Account),
        Just(Act::Restart),
    ]
}

fn play(world: &World, of: OrganizationId, keys: &mut Vec<CredentialId>, act: Act) {
    let pick = |n: u8| keys[usize::from(n) % keys.len()];
    // A refusal is as good as an answer here.
    let outcome = match act {
        Act::Issue(name) => {
            let (record, _) = world.key(of, &format!("key {name}"));
            keys.push(record.id());
            return;
        }
        Act::Rotate(key, grace) => world.try_submit(
            Actor::Operator,
            RotateKey {
                target: target(of, pick(key)),
                grace_period_seconds: grace,
                unpresented: None,
            },
        ),
        Act::Disable(key) => world.keyed(key, 1, Command::DisableKey(target(of, pick(key)))),
        Act::Enable(key) => world.keyed(key, 2, Command::EnableKey(target(of, pick(key)))),
        Act::Revoke(key) => world.keyed(key, 3, revoke(of, pick(key))),
        Act::Account(name) => world.keyed(name, 4, create_account(of, &format!("bot {name}"))),
        Act::Restart => return,
    };
    drop(outcome);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 6,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_with_snapshots_replays_to_what_was_live(
        acts in prop::collection::vec(act(), 1..40),
        between in 1_u64..9,
    ) {
        let mut setup = Setup::new(3);
        setup.events_between_snapshots = between;
        let mut world = setup.create();
        let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
        let mut keys = vec![world.key(of, "first").0.id()];
        for act in acts {
            world.later(700);
            if matches!(act, Act::Restart) {
                let live = image(&world, &[]);
                world = world.restarted();
                prop_assert_eq!(image(&world, &[]), live);
            }
            play(&world, of, &mut keys, act);
        }
        let live = image(&world, &[]);
        let world = world.restarted();
        prop_assert_eq!(image(&world, &[]), live.as_str());
        let setup = world.stopped();
        remove(&setup, "snapshots");
        prop_assert_eq!(image(&setup.open(), &[]), live);
    }
}

/// A snapshot of `world` that claims to have been begun when the log had `position` events.
fn snapshot_begun_at(world: &World, position: u64, folder: &std::path::Path) {
    let reader = world.ledger.reader();
    let mut frontier = Frontier::new();
    let scanned = reader.scan(0, position, |_, payload| {
        frontier.append_commitment(&commitment(payload).0);
    });
    scanned.unwrap();
    let state = world.ledger.state.lock().unwrap();
    let log_id = world.ledger.log_id();
    let roots = frontier.subtree_roots().to_vec();
    let head = SnapshotHead::new(log_id, position, roots, frontier.root(), state.once());
    let mut writer = SnapshotWriter::begin(folder, head).unwrap();
    let mut taken = Taken::Organizations(None);
    while !matches!(taken, Taken::All) {
        let (pieces, after) = state.pieces(&taken, 2);
        writer.add_records(pieces).unwrap();
        taken = after;
    }
    writer.finish_and_prune().unwrap();
}

#[test]
fn a_snapshot_that_is_long_is_given_up_at_a_stop_and_leaves_nothing() {
    let world = World::new(4);
    for (left_at_stop, is_stopping, expected) in [
        (0, false, Written::Whole),
        (0, true, Written::GivenUp),
        (1, true, Written::GivenUp),
        // There are not that many pieces of so small a state.
        (100, true, Written::Whole),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let once = world.ledger.state.lock().unwrap().once();
        let head = SnapshotHead::new(world.ledger.log_id(), 1, Vec::new(), [0; 32], once);
        let at_stop = (left_at_stop, || is_stopping);
        let written = snapshots::write(folder.path(), &world.ledger.state, head, at_stop);
        assert_eq!(written.unwrap(), expected);
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, usize::from(expected == Written::Whole));
    }
}

#[test]
fn a_snapshot_ahead_of_the_log_is_refused_until_the_operator_knows_of_the_rollback() {
    let mut setup = Setup::new(4);
    setup.events_between_snapshots = 5;
    let world = setup.create();
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let common = world.events();
    let setup = world.stopped();
    // From here on the same log goes on in two ways.
    let mut other = Setup::new(5);
    other.events_between_snapshots = 5;
    super::copy(setup.folder().path(), other.folder().path());
    let other = other.open();
    let tokens: Vec<_> = (0..4)
        .map(|n| (format!("{n}"), other.key(of, "other").1))
        .collect();
    let other = other.stopped();
    remove(&other, "snapshots");
    let folder = other.folder().path().join("snapshots");

    let world = setup.open();
    for number in 0..20 {
        world.key(of, &format!("key {number}"));
    }
    // Ahead of the log; of the log's own size with another root; begun in what both share, with
    // records that one of them never had.
    for position in [world.events(), common + 4, common] {
        remove(&other, "snapshots");
        snapshot_begun_at(&world, position, &folder);
        let Err(BootError::RolledBack { next, beyond }) = other.try_open() else {
            panic!("{position}");
        };
        assert_eq!(next, common + 4);
        assert_eq!(beyond.path, folder);
        assert_eq!(beyond.position, world.events() - 1, "{position}");
    }
    // Then what the snapshots hold is lost, and they go.
    remove(&other, "snapshots");
    for position in [world.events(), world.events() - 1, world.events() - 2] {
        snapshot_begun_at(&world, position, &folder);
    }
    fs::write(
        folder.join("00000000000000000001.snap"),
        b"KLSNAP01 and nothing more",
    )
    .unwrap();
    let mut other = other;
    other.restored = Some(Restored(Some(1)));
    let other = other.open();
    // As many positions are skipped as the snapshots know of.
    assert_eq!(other.events(), world.events() + 1);
    let mut setup = other.stopped();
    setup.restored = None;
    let other = setup.open();
    for (_, token) in &tokens {
        assert_eq!(super::image::code(&other, token), VerificationCode::Valid);
    }
    for number in 0..6 {
        other.key(of, &format!("more {number}"));
    }
    let live = image(&other, &tokens);
    let other = other.restarted();
    assert!(snapshot_position(&other) > common);
    assert_eq!(image(&other, &tokens), live);
}
