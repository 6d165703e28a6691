//! The token view: what is read at once, what is there after a reopening, how it fails.

mod model;

use std::sync::Arc;

use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::store::{Applied, StoreError, open_db};
use super::{Filter, TokenView};
use crate::domain::ids::{CredentialId, LogId, OrganizationId, Owner, ProjectId, Subject, UserId};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Metadata, Unpacked};
use crate::domain::state::Changes;
use crate::domain::time::Timestamp;
use crate::views::Batch;
use crate::views::fixtures::{credential, ended, packed};
use crate::views::page::{PageAsk, SCANNED_MAX};

const NOW: Timestamp = Timestamp(100);

/// Applies records as one batch, whose events have the position `position`.
fn apply(view: &TokenView, position: u64, records: &[Unpacked]) {
    let changes = Changes {
        credentials: records.iter().map(packed).collect(),
        ..Changes::default()
    };
    let events: Vec<_> = records
        .iter()
        .map(|record| {
            (
                Subject::Credential(record.id),
                record.stamp.version,
                position,
            )
        })
        .collect();
    view.apply(&Batch {
        changes: &changes,
        events: &events,
        entries: &[],
        position,
        root: [1; 32],
    });
}

/// All records of a list, page by page; fails if a page is too long.
fn walk(view: &TokenView, of: u128, filter: &Filter<'_>, limit: usize) -> Vec<Unpacked> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let ask = PageAsk { after, limit };
        let page = view.list(OrganizationId(Ulid(of)), filter, ask).unwrap();
        assert!(page.records.len() <= limit);
        all.extend(page.records.iter().map(|record| record.unpacked()));
        match page.next {
            // A cursor survives being text.
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => return all,
        }
    }
}

fn ids(records: &[Unpacked]) -> Vec<u128> {
    records.iter().map(|record| record.id.0.0).collect()
}

/// A record with every field set.
fn full(id: u128) -> Unpacked {
    let pairs = [("team".to_owned(), "red".to_owned())];
    let mut record = Unpacked {
        kind: Kind::Personal,
        owner: Owner::User(UserId(Ulid(5))),
        project: Some(ProjectId(Ulid(6))),
        description: Some("for the tests".into()),
        metadata: Some(Arc::new(pairs.into_iter().collect::<Metadata>())),
        expires_at: Some(Timestamp(1_000)),
        ended: Some(ended(NOW)),
        issued_via: Some(CredentialId(Ulid(8))),
        ..credential(1, id)
    };
    record.stamp.created_by = Some(crate::domain::ids::Principal::User(UserId(Ulid(5))));
    record.secrets[0].ends_at = Some(NOW);
    record
}

#[test]
fn a_reopened_view_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (view, applied) = TokenView::open(folder.path()).unwrap();
    assert_eq!(applied, None);
    let records = [credential(1, 1), full(2), credential(2, 3)];
    apply(&view, 7, &records);
    apply(&view, 8, &[]);
    view.close().unwrap();

    let (view, applied) = TokenView::open(folder.path()).unwrap();
    let expected = Applied {
        position: 8,
        root: [1; 32],
    };
    assert_eq!(applied, Some(expected));
    assert_eq!(view.applied().unwrap(), applied);
    for record in &records {
        let shown = view.get(record.organization, record.id).unwrap();
        assert_eq!(shown.as_deref(), Some(&*packed(record)));
        let elsewhere = view.get(OrganizationId(Ulid(9)), record.id).unwrap();
        assert_eq!(elsewhere, None);
    }
    let all = Filter::all(NOW);
    assert_eq!(walk(&view, 1, &all, 10), [full(2), credential(1, 1)]);
    let history = view.history(Subject::Credential(records[0].id), 0, 10);
    assert_eq!(history.unwrap(), [7]);
}

/// A view of another form is not to be read: when this changes, so must the number of the format.
#[test]
fn the_stored_form_is_that_of_its_format_number() {
    let bytes = postcard::to_stdvec(&packed(&full(2))).unwrap();
    let read = postcard::from_bytes::<Credential>(&bytes).unwrap();
    assert_eq!(read.unpacked(), full(2));
    let digest = hex::encode(Sha256::digest(&bytes));
    assert_eq!(
        (super::store::FORMAT, &digest[..16]),
        (4, "ed589414f32101f8")
    );
}

#[test]
fn what_is_applied_is_read_at_once_and_the_newest_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (view, _) = TokenView::unattended(folder.path()).unwrap();
    let all = Filter::all(NOW);
    let mut record = credential(1, 1);
    apply(&view, 0, std::slice::from_ref(&record));
    assert_eq!(view.applied().unwrap(), None);
    assert_eq!(walk(&view, 1, &all, 10), [record.clone()]);
    // Its layer is on its way to the store while a newer version comes.
    let layer = view.shared.backlog.oldest().unwrap();
    record.stamp.version = 2;
    record.disabled = true;
    apply(&view, 1, std::slice::from_ref(&record));
    view.shared.store.apply(&layer).unwrap();
    view.shared.backlog.settled(&layer);
    assert_eq!(walk(&view, 1, &all, 10), [record.clone()]);
    let shown = view.get(record.organization, record.id).unwrap();
    assert_eq!(shown.as_deref(), Some(&*packed(&record)));
    // History in both, from both.
    let subject = Subject::Credential(record.id);
    assert_eq!(view.history(subject, 0, 10).unwrap(), [0, 1]);
    assert_eq!(view.history(subject, 0, 1).unwrap(), [0]);
    assert_eq!(view.history(subject, 1, 10).unwrap(), [1]);
    assert_eq!(view.history(subject, u32::MAX, 10).unwrap(), [0; 0]);
    view.flush().unwrap();
    assert_eq!(walk(&view, 1, &all, 10), [record]);
    assert_eq!(view.history(subject, 0, 10).unwrap(), [0, 1]);
    assert_eq!(
        view.applied().unwrap().map(|applied| applied.position),
        Some(1)
    );
    assert!(!view.backlog_full());
}

#[test]
fn a_long_backlog_and_the_store_are_one_list() {
    let folder = tempfile::tempdir().unwrap();
    let (view, _) = TokenView::unattended(folder.path()).unwrap();
    // Kinds unevenly mixed, every third record in the store, more than one window in RAM.
    let of_kind = |id: u128| Unpacked {
        kind: if id.is_multiple_of(7) {
            Kind::Admin
        } else {
            Kind::Access
        },
        ..credential(1, id)
    };
    let (stored, fresh): (Vec<_>, Vec<_>) = (1..=4_000).partition(|id| id % 3 == 0);
    let stored: Vec<_> = stored.into_iter().map(of_kind).collect();
    let fresh: Vec<_> = fresh.into_iter().map(of_kind).collect();
    apply(&view, 1, &stored);
    view.flush().unwrap();
    apply(&view, 2, &fresh);
    let newest_first: Vec<u128> = (1..=4_000).rev().collect();
    for limit in [200, 3_999] {
        assert_eq!(ids(&walk(&view, 1, &Filter::all(NOW), limit)), newest_first);
    }
    let admin = Filter {
        kind: Some(Kind::Admin),
        ..Filter::all(NOW)
    };
    let sevenths: Vec<u128> = newest_first.into_iter().filter(|id| id % 7 == 0).collect();
    assert_eq!(ids(&walk(&view, 1, &admin, 33)), sevenths);
}

#[test]
fn a_rare_filter_answers_in_time_with_a_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let (view, _) = TokenView::unattended(folder.path()).unwrap();
    let count = SCANNED_MAX as u128 + 10;
    let records: Vec<_> = (1..=count).map(|id| credential(1, id)).collect();
    apply(&view, 1, &records);
    let filter = Filter {
        q: Some("kEY 1"),
        owner: Some(Owner::User(UserId(Ulid(1)))),
        ..Filter::all(NOW)
    };
    let of = OrganizationId(Ulid(1));
    let ask = PageAsk {
        after: None,
        limit: 10,
    };
    let page = view.list(of, &filter, ask).unwrap();
    assert!(page.records.is_empty());
    let after = page.next;
    assert_eq!(after.map(|cursor| cursor.0.0), Some(11));
    let ask = PageAsk { after, ..ask };
    assert_eq!(view.list(of, &filter, ask).unwrap().next, None);
}

#[test]
fn a_view_of_another_log_is_cleared_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (view, _) = TokenView::open(folder.path()).unwrap();
    apply(&view, 7, &[credential(1, 1), credential(1, 2)]);
    view.close().unwrap();

    let (view, applied) = TokenView::open(folder.path()).unwrap();
    assert!(applied.is_some_and(|applied| applied.root != [2; 32]));
    view.clear().unwrap();
    assert_eq!(view.applied().unwrap(), None);
    let ledger = Subject::Ledger(LogId([3; 16]));
    let applied = Applied {
        position: 9,
        root: [2; 32],
    };
    let records: Vec<_> = (3..=4).map(|id| packed(&credential(1, id))).collect();
    let history = (1..=25_000).map(|version| (ledger, version, u64::from(version) * 2));
    view.load(records.into_iter(), history, applied).unwrap();
    drop(view);

    let (view, reopened) = TokenView::open(folder.path()).unwrap();
    assert_eq!(reopened, Some(applied));
    assert_eq!(ids(&walk(&view, 1, &Filter::all(NOW), 10)), [4, 3]);
    let last = view.history(ledger, 24_998, 10).unwrap();
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
        db.insert(
            b"m",
            postcard::to_stdvec(&(99_u32, 7_u64, [1_u8; 32])).unwrap(),
        )
        .unwrap();
    };
    let half_loaded: Damage = |folder| {
        open_db(folder).unwrap().remove(b"m").unwrap();
    };
    for damage in [garbage, other_format, half_loaded] {
        let folder = tempfile::tempdir().unwrap();
        let (view, _) = TokenView::open(folder.path()).unwrap();
        apply(&view, 7, &[credential(1, 1)]);
        view.close().unwrap();
        damage(folder.path());
        let (view, applied) = TokenView::open(folder.path()).unwrap();
        assert_eq!(applied, None);
        assert!(walk(&view, 1, &Filter::all(NOW), 10).is_empty());
        apply(&view, 8, &[credential(1, 2)]);
        view.flush().unwrap();
        assert_eq!(ids(&walk(&view, 1, &Filter::all(NOW), 10)), [2]);
    }
}

#[test]
fn a_broken_view_says_so_serves_what_is_in_ram_and_is_mended_by_clearing() {
    let folder = tempfile::tempdir().unwrap();
    let (view, _) = TokenView::open(folder.path()).unwrap();
    let of = OrganizationId(Ulid(1));
    let record = credential(1, 1);
    apply(&view, 0, std::slice::from_ref(&record));
    view.flush().unwrap();
    view.shared
        .broken_by(StoreError::Panicked("a page".to_owned()));
    let fresh = credential(1, 2);
    apply(&view, 1, std::slice::from_ref(&fresh));
    assert!(view.get(of, record.id).is_err());
    assert_eq!(
        view.get(of, fresh.id).unwrap().as_deref(),
        Some(&*packed(&fresh))
    );
    let ask = PageAsk {
        after: None,
        limit: 1,
    };
    let broken = view.list(of, &Filter::all(NOW), ask).unwrap_err();
    assert!(matches!(*broken.why, StoreError::Panicked(_)));
    assert!(view.history(Subject::Credential(record.id), 0, 1).is_err());
    assert!(view.flush().is_err());
    view.clear().unwrap();
    assert_eq!(view.get(of, fresh.id).unwrap(), None);
    apply(&view, 2, std::slice::from_ref(&fresh));
    view.flush().unwrap();
    assert_eq!(
        view.get(of, fresh.id).unwrap().as_deref(),
        Some(&*packed(&fresh))
    );
}

#[test]
fn readers_see_every_record_while_the_thread_works() {
    const RECORDS: u128 = 3_000;
    let folder = tempfile::tempdir().unwrap();
    let (view, _) = TokenView::open(folder.path()).unwrap();
    let of = OrganizationId(Ulid(1));
    for id in 1..=RECORDS {
        let record = credential(1, id);
        apply(
            &view,
            u64::try_from(id).unwrap(),
            std::slice::from_ref(&record),
        );
        assert!(view.get(of, record.id).unwrap().is_some());
        if id % 500 == 0 {
            let all = walk(&view, 1, &Filter::all(NOW), 170);
            assert_eq!(all.len(), usize::try_from(id).unwrap());
        }
    }
    // The thread takes it all without being asked.
    let last = u64::try_from(RECORDS).unwrap();
    let taken = || {
        view.applied()
            .unwrap()
            .is_some_and(|at| at.position == last)
    };
    while !taken() {
        std::thread::yield_now();
    }
}
