//! What is kept is there after a stop, and goes when its time is over.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::clock::Clock;
use crate::degraded::Part;
use crate::domain::time::Timestamp;
use crate::webhooks::delivery::{DeliveryCause, delivery_id};
use crate::webhooks::queue::UnreadRange;
use crate::webhooks::stored_response::StoredResponse;

fn open(folder: &Path) -> DeliveryStore {
    DeliveryStore::open(folder, DegradedParts::new(Clock::system())).unwrap()
}

const ENDPOINT: EndpointId = EndpointId(Ulid(1));
const OTHER: EndpointId = EndpointId(Ulid(2));

fn attempted(position: u64, at: i64, outcome: AttemptOutcome) -> AttemptRecord {
    let event = crate::domain::ids::EventId(Ulid(u128::from(position)));
    AttemptRecord {
        endpoint: ENDPOINT,
        delivery: delivery_id(ENDPOINT, event),
        event,
        position: Some(position),
        name: if position == 0 {
            "api_key.created"
        } else {
            "api_key.revoked"
        }
        .to_owned(),
        cause: DeliveryCause::Event,
        attempts_before: 0,
        at: Timestamp(at),
        duration_ms: 3,
        status: Some(200),
        failure: None,
        outcome,
        response: StoredResponse::plain("ok"),
    }
}

fn failed(next_at: i64) -> AttemptOutcome {
    AttemptOutcome::Failed {
        next_at: Some(Timestamp(next_at)),
    }
}

#[test]
fn what_was_kept_is_there_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert_eq!(store.load_queue().unwrap().read_to, None);
    let progress = EndpointProgress {
        first_position: 3,
        failing_since_ms: Some(5),
        ranges: [UnreadRange::since(7)].into(),
        ..EndpointProgress::default()
    };
    let kept = RetryState {
        attempts: 2,
        due_ms: 9,
        last_ms: 8,
    };
    let batch = DeliveryBatch {
        changes: QueueChanges {
            endpoints: vec![
                (ENDPOINT, Some(progress.clone())),
                (OTHER, Some(EndpointProgress::default())),
            ],
            deliveries: vec![(ENDPOINT, 4, Some(kept)), (OTHER, 5, Some(kept))],
        },
        read_to: 12,
        ..DeliveryBatch::default()
    };
    store.write_batch(&batch).unwrap();
    drop(store);

    let store = open(folder.path());
    let loaded = store.load_queue().unwrap();
    assert_eq!(loaded.read_to, Some(12));
    let other = (OTHER, EndpointProgress::default());
    assert_eq!(loaded.endpoints, [(ENDPOINT, progress), other.clone()]);
    let outstanding = [(ENDPOINT, 4, kept), (OTHER, 5, kept)];
    assert_eq!(loaded.outstanding, outstanding);
    let gone = DeliveryBatch {
        changes: QueueChanges {
            endpoints: vec![(ENDPOINT, None)],
            deliveries: vec![(OTHER, 5, None)],
        },
        read_to: 13,
        ..DeliveryBatch::default()
    };
    store.write_batch(&gone).unwrap();
    let loaded = store.load_queue().unwrap();
    assert_eq!(loaded.endpoints, [other]);
    assert_eq!(loaded.outstanding, []);
}

#[test]
fn attempts_are_listed_newest_first_by_outcome_and_type() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let attempts = vec![
        attempted(0, 1, failed(6)),
        attempted(1, 2, AttemptOutcome::Delivered),
        attempted(0, 6, AttemptOutcome::Delivered),
        attempted(2, 7, AttemptOutcome::Dead),
    ];
    let batch = DeliveryBatch {
        attempts: attempts.clone(),
        ..DeliveryBatch::default()
    };
    store.write_batch(&batch).unwrap();
    let check = |ask: AttemptQuery, expected: &[usize], next: Option<u64>| {
        let page = store.list_attempts(ENDPOINT, &ask).unwrap();
        let expected: Vec<_> = expected.iter().map(|at| attempts[*at].clone()).collect();
        let found: Vec<_> = page.attempts.into_iter().map(|(_, found)| found).collect();
        assert_eq!((found, page.next), (expected, next), "{ask:?}");
    };
    let all = AttemptQuery {
        limit: 10,
        ..AttemptQuery::default()
    };
    check(all.clone(), &[3, 2, 1, 0], None);
    let two = AttemptQuery {
        limit: 2,
        ..all.clone()
    };
    check(two.clone(), &[3, 2], Some(2));
    let before = Some(2);
    check(
        AttemptQuery {
            before_number: before,
            ..two
        },
        &[1, 0],
        None,
    );
    let outcome = Some("delivered");
    check(
        AttemptQuery {
            outcome,
            ..all.clone()
        },
        &[2, 1],
        None,
    );
    let name = Some("api_key.created".to_owned());
    check(AttemptQuery { name, ..all }, &[2, 0], None);
    assert_eq!(
        store
            .list_attempts(OTHER, &AttemptQuery::default())
            .unwrap()
            .attempts,
        []
    );

    let (delivery, made) = store
        .find_delivery(ENDPOINT, attempts[0].delivery)
        .unwrap()
        .unwrap();
    assert_eq!(delivery.standing, DeliveryStatus::Delivered);
    assert_eq!(made, [attempts[0].clone(), attempts[2].clone()]);
    assert_eq!(
        store.find_delivery(OTHER, attempts[0].delivery).unwrap(),
        None
    );
}

#[test]
fn what_is_not_delivered_any_more_is_skipped_unless_it_has_arrived() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for (position, outcome, expected) in [
        (0, failed(9), DeliveryStatus::Skipped),
        (1, AttemptOutcome::Dead, DeliveryStatus::Skipped),
        (2, AttemptOutcome::Delivered, DeliveryStatus::Delivered),
    ] {
        let attempt = attempted(position, 1, outcome);
        let delivery = attempt.delivery;
        let batch = DeliveryBatch {
            attempts: vec![attempt],
            skipped: vec![(ENDPOINT, delivery)],
            ..DeliveryBatch::default()
        };
        store.write_batch(&batch).unwrap();
        let (found, _) = store.find_delivery(ENDPOINT, delivery).unwrap().unwrap();
        assert_eq!((found.standing, found.next_at), (expected, None));
    }
}

#[test]
fn what_is_asked_for_once_more_makes_a_delivery_arrive_and_never_worse() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let again = |outcome| AttemptRecord {
        cause: DeliveryCause::Redelivery,
        ..attempted(0, 5, outcome)
    };
    let in_vain = AttemptOutcome::Failed { next_at: None };
    for (attempt, standing, next_at) in [
        (
            attempted(0, 1, failed(9)),
            DeliveryStatus::Pending,
            Some(Timestamp(9)),
        ),
        (again(in_vain), DeliveryStatus::Pending, Some(Timestamp(9))),
        (
            attempted(0, 9, AttemptOutcome::Dead),
            DeliveryStatus::Dead,
            None,
        ),
        (again(in_vain), DeliveryStatus::Dead, None),
        (
            again(AttemptOutcome::Delivered),
            DeliveryStatus::Delivered,
            None,
        ),
        (again(in_vain), DeliveryStatus::Delivered, None),
    ] {
        let delivery = attempt.delivery;
        let batch = DeliveryBatch {
            attempts: vec![attempt],
            ..DeliveryBatch::default()
        };
        store.write_batch(&batch).unwrap();
        let (found, _) = store.find_delivery(ENDPOINT, delivery).unwrap().unwrap();
        assert_eq!((found.standing, found.next_at), (standing, next_at));
    }
}

/// The positions of the attempts that are left of an endpoint, newest first.
fn left(store: &DeliveryStore, endpoint: EndpointId) -> Vec<u64> {
    let ask = AttemptQuery {
        limit: 1_000,
        ..AttemptQuery::default()
    };
    let page = store.list_attempts(endpoint, &ask).unwrap();
    let positions = page
        .attempts
        .iter()
        .map(|(_, found)| found.position.unwrap());
    positions.collect()
}

#[test]
fn old_attempts_go_whatever_became_of_their_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let attempts = vec![
        attempted(0, 1, failed(2)),
        attempted(1, 2, AttemptOutcome::Dead),
        attempted(0, 3, AttemptOutcome::Delivered),
        attempted(2, 4, failed(9)),
        attempted(3, 5, AttemptOutcome::Dead),
    ];
    let batch = DeliveryBatch {
        attempts: attempts.clone(),
        ..DeliveryBatch::default()
    };
    store.write_batch(&batch).unwrap();
    assert!(!store.prune_attempts(Timestamp(4)).unwrap());
    assert_eq!(left(&store, ENDPOINT), [3, 2]);
    let delivery = |at: usize| {
        store
            .find_delivery(ENDPOINT, attempts[at].delivery)
            .unwrap()
    };
    assert_eq!((delivery(0), delivery(1)), (None, None));
    assert_eq!(delivery(3).unwrap().0.standing, DeliveryStatus::Pending);
    assert_eq!(delivery(4).unwrap().0.standing, DeliveryStatus::Dead);
}

/// Attempts of an organization's endpoint, the first at `from`.
fn batch_of(
    organization: u128,
    endpoint: EndpointId,
    positions: std::ops::Range<u64>,
) -> DeliveryBatch {
    let attempts = positions.map(|position| AttemptRecord {
        endpoint,
        ..attempted(position, 100, AttemptOutcome::Dead)
    });
    DeliveryBatch {
        attempts: attempts.collect(),
        organizations: [(endpoint, OrganizationId(Ulid(organization)))].into(),
        ..DeliveryBatch::default()
    }
}

#[test]
fn one_who_is_sent_much_pushes_nobody_elses_attempts_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let (loud, beside, quiet) = (
        EndpointId(Ulid(1)),
        EndpointId(Ulid(2)),
        EndpointId(Ulid(3)),
    );
    store.write_batch(&batch_of(2, quiet, 0..4)).unwrap();
    store.write_batch(&batch_of(1, beside, 0..3)).unwrap();
    for round in 0..5 {
        let positions = round * 20..(round + 1) * 20;
        store.write_batch(&batch_of(1, loud, positions)).unwrap();
        assert!(!store.prune_to_room(Timestamp(0), 20).unwrap());
        assert_eq!(left(&store, quiet).len(), 4);
        assert_eq!(left(&store, beside).len(), 3);
        // The newest of its own, as many as there is room for.
        let newest: Vec<u64> = (round * 20 + 7..(round + 1) * 20).rev().collect();
        assert_eq!(left(&store, loud), newest);
        drop(store);
        store = open(folder.path());
    }
    // What is too old is no share of anybody's.
    assert!(!store.prune_to_room(Timestamp(101), 20).unwrap());
    assert_eq!(left(&store, quiet), [0; 0]);
    store.write_batch(&batch_of(1, loud, 0..20)).unwrap();
    assert!(!store.prune_to_room(Timestamp(0), 20).unwrap());
    assert_eq!(left(&store, loud).len(), 20);
}

#[test]
fn a_file_without_counts_is_counted_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write_batch(&batch_of(1, ENDPOINT, 0..30)).unwrap();
    let writing = store.begin_write().unwrap();
    writing.delete_table(COUNTS).unwrap();
    let mut numbers = writing.open_table(NUMBERS).unwrap();
    numbers.insert(FORMAT, FORMAT_WITHOUT_COUNTS).unwrap();
    drop(numbers);
    writing.commit().unwrap();
    drop(store);
    let store = open(folder.path());
    store.write_batch(&batch_of(2, OTHER, 0..3)).unwrap();
    assert!(!store.prune_to_room(Timestamp(0), 10).unwrap());
    assert_eq!(left(&store, OTHER).len(), 3);
    assert_eq!(left(&store, ENDPOINT), [29, 28, 27, 26, 25, 24, 23]);
}

#[test]
fn the_folder_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks");
    drop(open(&path));
    for (path, mode) in [(path.clone(), 0o700), (path.join("deliveries.redb"), 0o600)] {
        let found = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
    }
}

/// How a file is damaged.
type Damaged = fn(&mut Vec<u8>);

/// Damages the file of a store, opens it, and looks whether it is set aside and made anew.
fn check_replaced(name: &str, damage: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deliveries.redb");
    drop(filled(folder.path()));
    damage(&path);
    let degraded = DegradedParts::new(Clock::system());
    let store = DeliveryStore::open(folder.path(), degraded.clone()).unwrap();
    assert_eq!(degraded.damaged_count(Part::Deliveries), 1, "{name}");
    assert_eq!(degraded.list(), [], "{name}");
    assert_eq!(store.load_queue().unwrap().read_to, None, "{name}");
    store.write_batch(&batch_of(1, ENDPOINT, 0..3)).unwrap();
    assert_eq!(left(&store, ENDPOINT).len(), 3, "{name}");
    let beside = fs::read_dir(folder.path()).unwrap();
    let beside = beside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str()
            .unwrap()
            .starts_with("deliveries.redb.damaged-")
    });
    assert_eq!(beside.count(), 1, "{name}");
}

fn filled(folder: &Path) -> DeliveryStore {
    let store = open(folder);
    store.write_batch(&batch_of(1, ENDPOINT, 0..300)).unwrap();
    store
}

#[test]
fn a_damaged_file_is_set_aside_and_made_anew() {
    let kinds: [(&str, Damaged); 5] = [
        ("empty", Vec::clear),
        ("one byte", |bytes| bytes.truncate(1)),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
        ("another file", |bytes| {
            bytes[..8].copy_from_slice(b"notredb!");
        }),
        ("zeros", |bytes| bytes.fill(0)),
    ];
    for (name, damage) in kinds {
        check_replaced(name, |path| {
            let mut bytes = fs::read(path).unwrap();
            damage(&mut bytes);
            fs::write(path, bytes).unwrap();
        });
    }
    check_replaced("a folder", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
}

#[test]
fn no_flipped_bits_panic_or_stop_the_store() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    let path = folder.path().join("deliveries.redb");
    let whole = fs::read(&path).unwrap();
    let mut at = 12_345_usize;
    for _ in 0..40 {
        let mut bytes = whole.clone();
        // Within one page, as a bad sector would.
        at = (at * 1_103_515_245 + 12_345) % whole.len();
        for byte in bytes[at / 4_096 * 4_096..]
            .iter_mut()
            .take(4_096)
            .step_by(61)
        {
            *byte ^= 0x10;
        }
        fs::write(&path, bytes).unwrap();
        let degraded = DegradedParts::new(Clock::system());
        let store = DeliveryStore::open(folder.path(), degraded.clone()).unwrap();
        let replaced = degraded.damaged_count(Part::Deliveries) == 1;
        let loaded = store.load_queue().unwrap();
        assert!(replaced || loaded.read_to.is_some(), "page at {at}");
        store.write_batch(&batch_of(1, OTHER, 0..3)).unwrap();
        assert_eq!(left(&store, OTHER).len(), 3, "page at {at}");
    }
}

#[test]
fn damage_that_is_met_while_running_has_the_file_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let degraded = DegradedParts::new(Clock::system());
    let store = DeliveryStore::open(folder.path(), degraded.clone()).unwrap();
    store.write_batch(&batch_of(1, ENDPOINT, 0..3)).unwrap();
    let met: Result<(), _> = store.catch_damage(|| panic!("a page that redb does not like"));
    assert!(matches!(met, Err(DeliveryStoreError::Panicked(_))));
    assert!(degraded.is_degraded(Part::Deliveries));
    let batch = batch_of(1, OTHER, 0..3);
    assert!(matches!(
        store.write_batch(&batch),
        Err(DeliveryStoreError::Damaged)
    ));
    assert!(store.open_or_replace().unwrap());
    assert!(!degraded.is_degraded(Part::Deliveries));
    store.write_batch(&batch).unwrap();
    assert_eq!(left(&store, OTHER).len(), 3);
}

#[test]
fn a_folder_in_which_nothing_can_be_made_degrades_deliveries_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let above = folder.path().join("webhooks");
    let degraded = DegradedParts::new(Clock::system());
    // A name that leads nowhere, since modes do not bind who is root.
    std::os::unix::fs::symlink(folder.path().join("nowhere/at/all"), &above).unwrap();
    let store = DeliveryStore::new_closed(&above, degraded.clone());
    assert!(store.open_or_replace().is_err());
    assert!(degraded.is_degraded(Part::Deliveries));
    assert!(matches!(
        store.load_queue(),
        Err(DeliveryStoreError::Closed)
    ));
    fs::remove_file(&above).unwrap();
    assert!(!store.open_or_replace().unwrap());
    assert!(!degraded.is_degraded(Part::Deliveries));
    assert_eq!(store.load_queue().unwrap().read_to, None);
}

#[test]
fn a_file_that_may_not_be_opened_is_not_damaged() {
    for (kind, is_damage) in [
        (io::ErrorKind::PermissionDenied, false),
        (io::ErrorKind::ReadOnlyFilesystem, false),
        (io::ErrorKind::StorageFull, false),
        (io::ErrorKind::UnexpectedEof, true),
    ] {
        let folder = DeliveryStoreError::Folder(kind.into());
        let file = redb::StorageError::Io(kind.into());
        assert_eq!(!folder.is_transient(), is_damage, "{kind}");
        assert_eq!(
            !DeliveryStoreError::from(file).is_transient(),
            is_damage,
            "{kind}"
        );
    }
}
