//! Full disks, failed syncs and crashes below a ledger: what was answered is there.

use std::time::Duration;

use super::company::{create_organization, organization};
use super::image::code;
use super::{Setup, World, api_key, credential, refusal, revoke, submission, token};
use crate::domain::command::Actor;
use crate::domain::ids::OrganizationId;
use crate::ledger::{Health, SubmitError};
use crate::log::{Disk, DiskFault, MemoryDisk, SpareMaker};
use crate::views::index::VerificationCode;

/// Tries of 100 milliseconds: a full disk is looked at again after five seconds.
const TRIES_MAX: usize = 300;

fn on(disk: &MemoryDisk, seed: u64) -> Setup {
    Setup {
        disk: Disk::Memory(disk.clone()),
        ..Setup::new(seed)
    }
}

fn founded(setup: Setup) -> (World, OrganizationId) {
    let world = setup.create();
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    (world, of)
}

#[test]
fn a_full_disk_takes_ends_alone_until_there_is_room() {
    let disk = MemoryDisk::new(1);
    let mut setup = on(&disk, 1);
    setup.log.segment_bytes = 32 * 1024;
    setup.log.spares = SpareMaker::Background;
    let (world, of) = founded(setup);
    let (first, first_token) = world.key(of, "first");
    let (second, second_token) = world.key(of, "second");
    disk.set_capacity(Some(0));
    let mut refused = None;
    for number in 0..1_000 {
        match world.try_submit(Actor::Operator, api_key(of, &format!("key {number}"))) {
            Ok(_) => {}
            Err(why) => {
                refused = Some(why);
                break;
            }
        }
    }
    assert!(
        matches!(refused, Some(SubmitError::DiskFull)),
        "{refused:?}"
    );
    let events = world.events();
    world.run(revoke(of, first.id()));
    assert_eq!(code(&world, &first_token), VerificationCode::Revoked);
    assert_eq!(
        refusal(world.try_submit(Actor::Operator, api_key(of, "no"))),
        "DiskFull"
    );

    // Together in one batch: the end is taken, the creation is not, and leaves nothing behind.
    let held = world.ledger.state.lock().unwrap();
    let lone = world
        .ledger
        .enqueue(submission(Actor::Operator, api_key(of, "lone")));
    let creation = world
        .ledger
        .enqueue(submission(Actor::Operator, api_key(of, "with an end")));
    let end = world
        .ledger
        .enqueue(submission(Actor::Operator, revoke(of, second.id())));
    drop(held);
    let [lone, creation] = [lone, creation].map(|answer| answer.unwrap().blocking_recv().unwrap());
    assert!(matches!(lone, Err(SubmitError::DiskFull)));
    assert!(matches!(creation, Err(SubmitError::DiskFull)));
    assert!(end.unwrap().blocking_recv().unwrap().is_ok());
    assert_eq!(code(&world, &second_token), VerificationCode::Revoked);
    assert_eq!(world.events(), events + 2);
    assert_eq!(*world.ledger.health().borrow(), Health::Good);

    disk.set_capacity(None);
    let room = (0..TRIES_MAX).any(|_| {
        std::thread::park_timeout(Duration::from_millis(100));
        world
            .try_submit(Actor::Operator, api_key(of, "there is room again"))
            .is_ok()
    });
    assert!(room);
}

#[test]
fn a_failed_sync_leaves_the_outcome_unknown_and_ends_the_ledger() {
    let disk = MemoryDisk::new(2);
    let (world, of) = founded(on(&disk, 2));
    let (kept, kept_token) = world.key(of, "kept");
    let health = world.ledger.health();
    assert_eq!(*health.borrow(), Health::Good);
    let held = world.ledger.state.lock().unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            world
                .ledger
                .enqueue(submission(Actor::Operator, api_key(of, "unknown")))
        })
        .collect();
    // The batch's sync, unless a signature comes between; then nothing of the batch is synced.
    disk.inject_fault_after(1, DiskFault::Crash);
    drop(held);
    for (number, answer) in waiting.into_iter().enumerate() {
        // Those who were in no batch yet are told so.
        match answer.unwrap().blocking_recv() {
            Ok(Err(SubmitError::OutcomeUnknown)) => {}
            Ok(Err(SubmitError::Stopping)) if number > 0 => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(*health.borrow(), Health::Failed(_)));
    let refused = refusal(world.try_submit(Actor::Operator, revoke(of, kept.id())));
    assert!(
        refused == "Stopping" || refused == "OutcomeUnknown",
        "{refused}"
    );
    // What is read meanwhile is what was durable before.
    assert_eq!(code(&world, &kept_token), VerificationCode::Valid);

    let mut setup = world.stopped();
    setup.disk = Disk::Memory(disk.after_crash(2));
    let world = setup.open();
    assert_eq!(code(&world, &kept_token), VerificationCode::Valid);
    world.run(revoke(of, kept.id()));
    assert_eq!(code(&world, &kept_token), VerificationCode::Revoked);
}

/// What was answered before a crash.
#[derive(Default)]
struct Answered {
    /// Tokens, and whether their credential was revoked.
    tokens: Vec<(String, bool)>,
    last: u64,
}

/// Works until the disk fails, `rounds` commands at most.
fn work(world: &World, of: OrganizationId, rounds: u64, answered: &mut Answered) {
    for number in 0..rounds {
        let Ok(made) = world.try_submit(Actor::Operator, api_key(of, &format!("key {number}")))
        else {
            return;
        };
        answered.tokens.push((token(&made), false));
        answered.last = made.position;
        if number % 3 == 0 {
            let ended = world.try_submit(Actor::Operator, revoke(of, credential(&made).id()));
            let Ok(ended) = ended else {
                // Nobody knows whether it is there; either is right.
                answered.tokens.pop();
                return;
            };
            answered.tokens.last_mut().unwrap().1 = true;
            answered.last = ended.position;
        }
    }
}

#[test]
fn everything_answered_is_there_after_a_crash() {
    for seed in 0..50 {
        let disk = MemoryDisk::new(seed);
        let mut setup = on(&disk, seed);
        setup.log.segment_bytes = 16 * 1024;
        setup.events_between_snapshots = 5 + seed % 7;
        // Its first event holds a catalogue; a segment must have room for that.
        setup.log.segment_bytes *= 2;
        let (world, of) = founded(setup);
        let fault = if seed % 2 == 0 {
            DiskFault::Crash
        } else {
            DiskFault::Error
        };
        disk.inject_fault_after(seed * 3 % 101, fault);
        let mut answered = Answered::default();
        work(&world, of, 40, &mut answered);

        let left = disk.after_crash(seed);
        let mut setup = world.stopped();
        setup.disk = Disk::Memory(left);
        let (ledger, hands) = setup
            .try_open()
            .unwrap_or_else(|why| panic!("seed {seed}: {why:?}"));
        let world = World {
            ledger,
            hands,
            setup,
        };
        assert!(world.events() > answered.last, "seed {seed}");
        for (token, revoked) in &answered.tokens {
            let expected = if *revoked {
                VerificationCode::Revoked
            } else {
                VerificationCode::Valid
            };
            assert_eq!(code(&world, token), expected, "seed {seed}");
        }
        world.run(api_key(of, "and on it goes"));
    }
}
