//! The history index: what is read at once, what is there after a reopening, how it fails.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::HistoryIndex;
use super::progress::HistoryProgress;
use super::store::{HistoryStoreError, open_db};
use crate::domain::ids::{CredentialId, LogId, Subject};

const ROOT: [u8; 32] = [1; 32];

/// A subject of the tests.
fn key(number: u128) -> Subject {
    Subject::Credential(CredentialId(ulid::Ulid(number)))
}

fn applied(position: u64) -> HistoryProgress {
    HistoryProgress {
        position,
        root: ROOT,
    }
}

/// Applies events as one batch, all of which have the position `position`.
fn apply(index: &HistoryIndex, position: u64, events: &[(Subject, u32)]) {
    let events: Vec<_> = events
        .iter()
        .map(|(subject, version)| (*subject, *version, position))
        .collect();
    index.apply_events(&events, applied(position));
}

fn all(index: &HistoryIndex, subject: Subject) -> Vec<u64> {
    index.event_positions(subject, 0, usize::MAX).unwrap()
}

#[test]
fn a_reopened_index_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (index, nothing) = HistoryIndex::open_or_reset(folder.path()).unwrap();
    assert_eq!(nothing, None);
    apply(&index, 7, &[(key(1), 1), (key(2), 1)]);
    apply(&index, 8, &[]);
    apply(&index, 9, &[(key(1), 2)]);
    index.close().unwrap();

    let (index, reopened) = HistoryIndex::open_or_reset(folder.path()).unwrap();
    assert_eq!(reopened, Some(applied(9)));
    assert_eq!(index.stored_progress().unwrap(), reopened);
    assert_eq!(all(&index, key(1)), [7, 9]);
    assert_eq!(all(&index, key(2)), [7]);
    assert_eq!(all(&index, key(3)), [0; 0]);
}

#[test]
fn what_is_applied_is_read_at_once_from_ram_and_store_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = HistoryIndex::unattended(folder.path()).unwrap();
    apply(&index, 0, &[(key(1), 1)]);
    assert_eq!(index.stored_progress().unwrap(), None);
    assert_eq!(all(&index, key(1)), [0]);
    // Its layer is on its way to the store while the next event comes.
    let layer = index.shared.backlog.pop_oldest().unwrap();
    apply(&index, 1, &[(key(1), 2)]);
    index.shared.store.apply_layer(&layer).unwrap();
    index.shared.backlog.forget_settled(&layer);
    let read = |after, limit| index.event_positions(key(1), after, limit).unwrap();
    for (after, limit, expected) in [
        (0, 10, &[0, 1][..]),
        (0, 1, &[0]),
        (1, 10, &[1]),
        (2, 10, &[]),
        (u32::MAX, 10, &[]),
    ] {
        assert_eq!(read(after, limit), expected, "{limit} after {after}");
    }
    index.flush().unwrap();
    assert_eq!(read(0, 10), [0, 1]);
    assert_eq!(index.stored_progress().unwrap(), Some(applied(1)));
    assert!(!index.is_backlog_full());
}

#[test]
fn an_index_of_another_log_is_cleared_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = HistoryIndex::open_or_reset(folder.path()).unwrap();
    apply(&index, 7, &[(key(1), 1)]);
    index.close().unwrap();

    let (index, _) = HistoryIndex::open_or_reset(folder.path()).unwrap();
    index.clear().unwrap();
    assert_eq!(index.stored_progress().unwrap(), None);
    let ledger = Subject::Ledger(LogId([3; 16]));
    let loaded = HistoryProgress {
        position: 50_000,
        root: [2; 32],
    };
    let events = (1..=25_000).map(|version| (ledger, version, u64::from(version) * 2));
    index.fill_cleared(events, loaded).unwrap();
    drop(index);

    let (index, reopened) = HistoryIndex::open_or_reset(folder.path()).unwrap();
    assert_eq!(reopened, Some(loaded));
    assert_eq!(all(&index, key(1)), [0; 0]);
    let last = index.event_positions(ledger, 24_998, 10).unwrap();
    assert_eq!(last, [49_998, 50_000]);
}

#[test]
fn what_cannot_be_read_starts_empty() {
    type Damage = fn(&std::path::Path);
    let garbage: Damage = |folder| {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::write(path, [0xa5; 4_096]).unwrap();
            }
        }
    };
    let other_format: Damage = |folder| {
        let db = open_db(folder).unwrap();
        let meta = postcard::to_stdvec(&(99_u32, 7_u64, ROOT)).unwrap();
        db.insert(b"m", meta).unwrap();
    };
    let half_loaded: Damage = |folder| {
        open_db(folder).unwrap().remove(b"m").unwrap();
    };
    for damage in [garbage, other_format, half_loaded] {
        let folder = tempfile::tempdir().unwrap();
        let (index, _) = HistoryIndex::open_or_reset(folder.path()).unwrap();
        apply(&index, 7, &[(key(1), 1)]);
        index.close().unwrap();
        damage(folder.path());
        let (index, reopened) = HistoryIndex::open_or_reset(folder.path()).unwrap();
        assert_eq!(reopened, None);
        assert_eq!(all(&index, key(1)), [0; 0]);
        apply(&index, 8, &[(key(2), 1)]);
        index.flush().unwrap();
        assert_eq!(all(&index, key(2)), [8]);
    }
}

#[test]
fn a_broken_index_says_so_and_is_mended_by_clearing() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = HistoryIndex::open_or_reset(folder.path()).unwrap();
    apply(&index, 0, &[(key(1), 1)]);
    index.flush().unwrap();
    index.break_store();
    apply(&index, 1, &[(key(2), 1)]);
    let broken = index.event_positions(key(1), 0, 1).unwrap_err();
    assert!(matches!(*broken.why, HistoryStoreError::Panicked(_)));
    assert!(index.flush().is_err());
    index.clear().unwrap();
    assert_eq!(all(&index, key(1)), [0; 0]);
    apply(&index, 2, &[(key(2), 1)]);
    index.flush().unwrap();
    assert_eq!(all(&index, key(2)), [2]);
}

#[test]
fn readers_see_every_event_while_the_thread_works() {
    const EVENTS: u32 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = HistoryIndex::open_or_reset(folder.path()).unwrap();
    for version in 1..=EVENTS {
        apply(&index, version.into(), &[(key(1), version)]);
        let newest = index.event_positions(key(1), version - 1, 10).unwrap();
        assert_eq!(newest, [u64::from(version)]);
    }
    assert_eq!(all(&index, key(1)).len(), EVENTS as usize);
    // The thread takes it all without being asked.
    let taken = || index.stored_progress().unwrap() == Some(applied(EVENTS.into()));
    while !taken() {
        std::thread::yield_now();
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<u128>),
    Settle,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => proptest::collection::vec(1..6_u128, 1..8).prop_map(Op::Append),
        2 => Just(Op::Settle),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn histories_equal_a_plain_model(ops in proptest::collection::vec(op(), 1..20)) {
        let folder = tempfile::tempdir().unwrap();
        let (mut index, _) = HistoryIndex::unattended(folder.path()).unwrap();
        let mut model = BTreeMap::<u128, Vec<u64>>::new();
        let mut next = 0;
        for op in ops {
            match op {
                Op::Append(subjects) => {
                    let mut events = Vec::new();
                    for subject in subjects {
                        let positions = model.entry(subject).or_default();
                        positions.push(next);
                        events.push((key(subject), u32::try_from(positions.len()).unwrap(), next));
                        next += 1;
                    }
                    index.apply_events(&events, applied(next - 1));
                }
                Op::Settle => {
                    index.shared.settle_one().unwrap();
                }
                Op::Reopen => {
                    index.close().unwrap();
                    let (opened, reached) = HistoryIndex::unattended(folder.path()).unwrap();
                    let expected = u64::checked_sub(next, 1).map(applied);
                    prop_assert_eq!(reached, expected, "what was closed is there again");
                    index = opened;
                }
            }
        }
        for subject in 1..6 {
            let expected = model.remove(&subject).unwrap_or_default();
            prop_assert_eq!(all(&index, key(subject)), expected);
        }
    }
}
