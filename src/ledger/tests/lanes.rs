//! The queue: ends first, shares, full and closed lanes; one sync for all who wait.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::company::{create_organization, organization};
use super::{Setup, World, api_key, idempotency, refusal, revoke, submission};
use crate::domain::command::{Actor, Command, RemoveMember};
use crate::domain::ids::{CredentialId, OrganizationId, UserId};
use crate::ledger::lanes::{CASCADES_MAX, ENDS_MAX, Job, Lanes, ORDINARY_MAX, share_of};
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

/// What may end thousands of tokens.
fn cascade(of: OrganizationId) -> Submission {
    let removal = RemoveMember {
        organization: of,
        member: UserId(ulid::Ulid(9)),
    };
    submission(Actor::Operator, Command::RemoveMember(removal))
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
    let names = |jobs: VecDeque<Job>| -> Vec<&str> {
        let ends = |job: &Job| job.urgency() == crate::domain::command::Urgency::Ends;
        let name = |job: &Job| if ends(job) { "end" } else { "other" };
        jobs.iter().map(name).collect()
    };
    assert_eq!(names(lanes.take(3).unwrap()), ["end", "end", "other"]);
    assert_eq!(names(lanes.take(3).unwrap()), ["other"]);
}

#[test]
fn one_organization_has_a_quarter_of_a_lane_and_ends_have_their_own() {
    let lanes = Lanes::default();
    let of = |number| OrganizationId(ulid::Ulid(number));
    for number in 1..=4 {
        for _ in 0..share_of(ORDINARY_MAX) {
            push(&lanes, issue(of(number))).unwrap();
        }
        assert_eq!(push(&lanes, issue(of(number))).unwrap_err(), "QueueFull");
        for _ in 0..share_of(ENDS_MAX) {
            push(&lanes, end(of(number))).unwrap();
        }
        assert_eq!(push(&lanes, end(of(number))).unwrap_err(), "QueueFull");
        for _ in 0..share_of(CASCADES_MAX) {
            push(&lanes, cascade(of(number))).unwrap();
        }
        assert_eq!(push(&lanes, cascade(of(number))).unwrap_err(), "QueueFull");
    }
    assert_eq!(lanes.waiting(), (ENDS_MAX + CASCADES_MAX, ORDINARY_MAX));
    for full in [issue(of(5)), end(of(5)), cascade(of(5)), found()] {
        assert_eq!(push(&lanes, full).unwrap_err(), "QueueFull");
    }
    let keyed = Submission {
        idempotency: Some(idempotency(1, 1)),
        ..found()
    };
    assert_eq!(push(&lanes, keyed.clone()).unwrap_err(), "QueueFull");

    lanes.take(2 * ENDS_MAX).unwrap();
    // What was refused is not running, and the places of those taken are free again.
    push(&lanes, keyed.clone()).unwrap();
    let running = push(&lanes, keyed.clone()).unwrap_err();
    assert_eq!(running, "Rejected(CommandStillRunning)");
    while lanes.waiting().1 > 0 {
        lanes.take(ORDINARY_MAX).unwrap();
    }
    assert!(push(&lanes, keyed.clone()).is_err(), "it is being decided");
    lanes.finished(idempotency(1, 1).command);
    push(&lanes, keyed).unwrap();

    lanes.close();
    assert!(lanes.is_closed());
    assert_eq!(push(&lanes, end(ACME)).unwrap_err(), "Stopping");
    let mut left = 0;
    while let Some(taken) = lanes.take(ORDINARY_MAX) {
        left += taken.len();
    }
    assert_eq!(lanes.waiting(), (0, 0));
    assert!(left >= 1);
}

/// The organizations of jobs, in their order.
fn organizations(jobs: &VecDeque<Job>) -> Vec<Option<u128>> {
    let of = |job: &Job| job.submission.request.command.organization();
    jobs.iter()
        .map(|job| of(job).map(|id| { id.0 }.0))
        .collect()
}

#[test]
fn organizations_take_turns_in_every_lane_and_a_cascade_is_one_of_a_batch() {
    let (many, few) = (OrganizationId(ulid::Ulid(1)), OrganizationId(ulid::Ulid(2)));
    for make in [issue, end] {
        let lanes = Lanes::default();
        for _ in 0..5 {
            push(&lanes, make(many)).unwrap();
        }
        push(&lanes, make(few)).unwrap();
        let taken = lanes.take(100).unwrap();
        let turns = [1, 2, 1, 1, 1, 1].map(Some);
        assert_eq!(organizations(&taken), turns);
    }
    let lanes = Lanes::default();
    for _ in 0..3 {
        push(&lanes, cascade(many)).unwrap();
    }
    push(&lanes, cascade(few)).unwrap();
    push(&lanes, issue(few)).unwrap();
    assert_eq!(organizations(&lanes.take(100).unwrap()), [Some(1), Some(2)]);
    // A revocation that comes meanwhile goes before what was taken.
    let mut taken = lanes.take(100).unwrap();
    push(&lanes, end(many)).unwrap();
    lanes.take_ends(100, &mut taken);
    assert_eq!(organizations(&taken), [Some(1), Some(2)]);
    assert_eq!(lanes.waiting(), (2, 0));
}

#[test]
fn revocations_leave_places_of_a_batch_to_others() {
    let lanes = Lanes::default();
    for number in 1..=4 {
        for _ in 0..share_of(ENDS_MAX) {
            push(&lanes, end(OrganizationId(ulid::Ulid(number)))).unwrap();
        }
    }
    push(&lanes, issue(ACME)).unwrap();
    lanes.take(ENDS_MAX).unwrap();
    assert_eq!(lanes.waiting().1, 0);
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
    let (events, operations) = (world.events(), disk.operation_count());

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
    let operations = disk.operation_count() - operations;
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
    for path in disk.file_paths() {
        let inner = path.strip_prefix(from.folder().path()).unwrap();
        let content = disk.file_content(&path).unwrap();
        other.put_synced_file(&to.folder().path().join(inner), content);
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
