//! The queue: ends first, shares, full and closed lanes; one sync for all who wait.

use tokio::sync::oneshot;

use super::company::{create_organization, organization};
use super::{Setup, World, api_key, idempotency, refusal, revoke, submission};
use crate::domain::command::Actor;
use crate::domain::ids::{CredentialId, OrganizationId};
use crate::ledger::lanes::{ENDS_MAX, Job, Lanes, ORDINARY_MAX, SHARE_MAX};
use crate::ledger::{Submission, SubmitError};
use crate::log::{Disk, MemoryDisk};

const ACME: OrganizationId = OrganizationId(ulid::Ulid(1));
const KEY: CredentialId = CredentialId(ulid::Ulid(7));

fn push(lanes: &Lanes, submission: Submission) -> Result<(), String> {
    let (answer, _nobody_waits) = oneshot::channel();
    let pushed = lanes.push(Job { submission, answer });
    pushed.map_err(|why| format!("{why:?}"))
}

fn issue(of: OrganizationId) -> Submission {
    submission(Actor::Operator, api_key(of, "key"))
}

fn end(of: OrganizationId) -> Submission {
    submission(Actor::Operator, revoke(of, KEY))
}

fn found() -> Submission {
    submission(
        Actor::Operator,
        create_organization("Acme", "ann@acme.example"),
    )
}

#[test]
fn ends_are_taken_first() {
    let lanes = Lanes::default();
    push(&lanes, issue(ACME)).unwrap();
    push(&lanes, found()).unwrap();
    push(&lanes, end(ACME)).unwrap();
    push(&lanes, end(ACME)).unwrap();
    assert_eq!(lanes.waiting(), (2, 2));
    let names = |jobs: Vec<Job>| -> Vec<&str> {
        let ends = |job: &Job| job.urgency() == crate::domain::command::Urgency::Ends;
        let name = |job: &Job| if ends(job) { "end" } else { "other" };
        jobs.iter().map(name).collect()
    };
    assert_eq!(names(lanes.take(3).unwrap()), ["end", "end", "other"]);
    assert_eq!(names(lanes.take(3).unwrap()), ["other"]);
}

#[test]
fn one_organization_has_a_quarter_of_the_lane_and_ends_have_their_own() {
    let lanes = Lanes::default();
    for organization in 1..=4 {
        let of = OrganizationId(ulid::Ulid(organization));
        for _ in 0..SHARE_MAX {
            push(&lanes, issue(of)).unwrap();
        }
        assert_eq!(push(&lanes, issue(of)).unwrap_err(), "QueueFull");
    }
    assert_eq!(lanes.waiting(), (0, ORDINARY_MAX));
    assert_eq!(push(&lanes, found()).unwrap_err(), "QueueFull");
    let keyed = Submission {
        idempotency: Some(idempotency(1, 1)),
        ..found()
    };
    assert_eq!(push(&lanes, keyed.clone()).unwrap_err(), "QueueFull");
    for _ in 0..ENDS_MAX {
        push(&lanes, end(ACME)).unwrap();
    }
    assert_eq!(push(&lanes, end(ACME)).unwrap_err(), "QueueFull");

    lanes.take(ENDS_MAX + 2).unwrap();
    assert_eq!(lanes.waiting(), (0, ORDINARY_MAX - 2));
    // What was refused is not running, and the share of the one taken is free again.
    push(&lanes, keyed.clone()).unwrap();
    let running = push(&lanes, keyed.clone()).unwrap_err();
    assert_eq!(running, "Rejected(CommandStillRunning)");
    lanes.take(ORDINARY_MAX).unwrap();
    assert!(push(&lanes, keyed.clone()).is_err(), "it is being decided");
    lanes.finished(idempotency(1, 1).command);
    push(&lanes, keyed).unwrap();
    for _ in 0..SHARE_MAX {
        push(&lanes, issue(ACME)).unwrap();
    }

    lanes.close();
    assert!(lanes.is_closed());
    assert_eq!(push(&lanes, end(ACME)).unwrap_err(), "Stopping");
    assert_eq!(lanes.take(ORDINARY_MAX).unwrap().len(), SHARE_MAX + 1);
    assert!(lanes.take(1).is_none());
}

#[test]
fn those_who_wait_together_share_one_sync_and_are_answered_after_it() {
    const WAITING: usize = 40;
    let disk = MemoryDisk::new(1);
    let setup = Setup {
        disk: Disk::Memory(disk.clone()),
        ..Setup::new(1)
    };
    let world = setup.create();
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let (events, operations) = (world.events(), disk.operations());

    // Whoever holds the state holds the writer.
    let held = world.ledger.state.lock().unwrap();
    let mut answers: Vec<_> = (0..WAITING)
        .map(|_| world.ledger.enqueue(issue(of)).unwrap())
        .collect();
    assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()));
    assert_eq!(world.events(), events);
    drop(held);
    for answer in answers {
        answer.blocking_recv().unwrap().unwrap();
    }
    assert_eq!(world.events(), events + WAITING as u64);
    // A batch is a write and a sync. The first to come may have a batch of its own, a segment may
    // end, and a checkpoint may be written meanwhile.
    let operations = disk.operations() - operations;
    assert!(operations < WAITING as u64, "{operations}");

    // All that was answered is there after a crash.
    let mut left = Setup::new(2);
    super::copy(
        &world.setup.folder().path().join("keys"),
        &left.folder().path().join("keys"),
    );
    std::fs::create_dir_all(left.folder().path().join("log")).unwrap();
    left.disk = Disk::Memory(moved(&disk.after_crash(1), &world.setup, &left));
    assert_eq!(left.open().events(), events + WAITING as u64);
}

/// The same disk with its files in another folder.
pub(super) fn moved(disk: &MemoryDisk, from: &Setup, to: &Setup) -> MemoryDisk {
    let other = MemoryDisk::new(1);
    for path in disk.paths() {
        let inner = path.strip_prefix(from.folder().path()).unwrap();
        let content = disk.content(&path).unwrap();
        other.put(&to.folder().path().join(inner), content);
    }
    other
}

#[test]
fn a_ledger_that_stops_finishes_what_it_took_and_takes_no_more() {
    let world = World::new(3);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let held = world.ledger.state.lock().unwrap();
    let taken = world.ledger.enqueue(issue(of)).unwrap();
    world.ledger.shared.lanes.close();
    drop(held);
    assert!(taken.blocking_recv().unwrap().is_ok());
    assert_eq!(
        refusal(world.try_submit(Actor::Operator, api_key(of, "late"))),
        "Stopping"
    );
    world.ledger.stop();
    let late = world.try_submit(Actor::Operator, revoke(of, KEY));
    assert!(matches!(late, Err(SubmitError::Stopping)));
}
