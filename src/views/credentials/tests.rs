//! Lists against a plain model: all records in a map, filtered from end to end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ulid::Ulid;

use super::{CredentialFilter, CredentialsView};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId, UserId};
use crate::domain::kind::Kind;
use crate::domain::record::{Status, Unpacked};
use crate::domain::time::Timestamp;
use crate::views::fixtures::{credential, ended, packed};
use crate::views::list_page::{PAGE_SCANNED_MAX, PageQuery};

const NOW: Timestamp = Timestamp(100);
const NAMES: [&str; 4] = ["Deploy", "deploy two", "Stra\u{df}e", "nightly"];
const QUESTIONS: [&str; 4] = ["DEPLOY", "strasse", "t", ""];
const STATUSES: [Status; 4] = [
    Status::Active,
    Status::Disabled,
    Status::Expired,
    Status::Revoked,
];

fn apply(all: &CredentialsView, records: &[Unpacked]) {
    all.apply(&records.iter().map(packed).collect::<Vec<_>>());
}

/// All records of a list, page by page; fails if a page is too long.
fn walk(
    all: &CredentialsView,
    of: u128,
    filter: &CredentialFilter<'_>,
    limit: usize,
) -> Vec<Unpacked> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let ask = PageQuery { after, limit };
        let page = all.list(OrganizationId(Ulid(of)), filter, ask);
        assert!(page.records.len() <= limit);
        found.extend(page.records.iter().map(|record| record.unpacked()));
        match page.next {
            // A cursor survives being text.
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => return found,
        }
    }
}

fn ids(records: &[Unpacked]) -> Vec<u128> {
    records.iter().map(|record| record.id.0.0).collect()
}

#[test]
fn a_credential_is_found_in_its_organization_alone() {
    let all = CredentialsView::default();
    let mut record = credential(1, 1);
    apply(&all, std::slice::from_ref(&record));
    let get = |of| all.get(OrganizationId(Ulid(of)), CredentialId(Ulid(1)));
    assert_eq!(get(1), Some(packed(&record)));
    assert_eq!(get(2), None);
    record.stamp.version = 2;
    record.disabled = true;
    apply(&all, std::slice::from_ref(&record));
    assert_eq!(get(1), Some(packed(&record)), "the newest wins");
}

#[test]
fn kinds_unevenly_mixed_are_one_list() {
    let all = CredentialsView::default();
    let of_kind = |id: u128| Unpacked {
        kind: if id.is_multiple_of(7) {
            Kind::Admin
        } else {
            Kind::Access
        },
        ..credential(1, id)
    };
    apply(&all, &(1..=4_000).map(of_kind).collect::<Vec<_>>());
    apply(&all, &[credential(0, 1_000), credential(2, 2_000)]);
    let newest_first: Vec<u128> = (1..=4_000).rev().collect();
    for limit in [200, 3_999] {
        assert_eq!(
            ids(&walk(&all, 1, &CredentialFilter::match_all(NOW), limit)),
            newest_first
        );
    }
    let admin = CredentialFilter {
        kind: Some(Kind::Admin),
        ..CredentialFilter::match_all(NOW)
    };
    let sevenths: Vec<u128> = newest_first.into_iter().filter(|id| id % 7 == 0).collect();
    assert_eq!(ids(&walk(&all, 1, &admin, 33)), sevenths);
}

#[test]
fn a_rare_filter_answers_in_time_with_a_cursor() {
    let all = CredentialsView::default();
    let count = PAGE_SCANNED_MAX as u128 + 10;
    apply(
        &all,
        &(1..=count).map(|id| credential(1, id)).collect::<Vec<_>>(),
    );
    let filter = CredentialFilter {
        q: Some("kEY 1"),
        owner: Some(Owner::User(UserId(Ulid(1)))),
        ..CredentialFilter::match_all(NOW)
    };
    let of = OrganizationId(Ulid(1));
    let ask = PageQuery {
        after: None,
        limit: 10,
    };
    let page = all.list(of, &filter, ask);
    assert!(page.records.is_empty());
    let after = page.next;
    assert_eq!(after.map(|cursor| cursor.0.0), Some(11));
    let ask = PageQuery { after, ..ask };
    assert_eq!(all.list(of, &filter, ask).next, None);
}

fn record() -> impl Strategy<Value = Unpacked> {
    let content = (
        0..NAMES.len(),
        0..STATUSES.len(),
        any::<bool>(),
        any::<bool>(),
    );
    (1..40_u32, content).prop_map(|(id, (name, status, owned, bound))| {
        // An id has one kind and one organization for ever.
        let (kind, id) = (id as usize % Kind::ALL.len(), u128::from(id));
        let organization = OrganizationId(Ulid(1 + id % 2));
        Unpacked {
            kind: Kind::ALL[kind],
            name: NAMES[name].into(),
            owner: if owned {
                Owner::User(UserId(Ulid(5)))
            } else {
                Owner::Organization(organization)
            },
            project: bound.then_some(ProjectId(Ulid(6))),
            disabled: STATUSES[status] == Status::Disabled,
            expires_at: (STATUSES[status] == Status::Expired).then_some(NOW),
            ended: (STATUSES[status] == Status::Revoked).then(|| ended(Timestamp(1))),
            ..credential(1 + id % 2, id)
        }
    })
}

fn filters() -> Vec<CredentialFilter<'static>> {
    let all = CredentialFilter::match_all(NOW);
    let mut filters = vec![all];
    filters.extend(Kind::ALL.map(|kind| CredentialFilter {
        kind: Some(kind),
        ..all
    }));
    filters.extend(STATUSES.map(|status| CredentialFilter {
        status: Some(status),
        ..all
    }));
    filters.extend(QUESTIONS.map(|q| CredentialFilter { q: Some(q), ..all }));
    let owner = Some(Owner::User(UserId(Ulid(5))));
    let project = Some(ProjectId(Ulid(6)));
    filters.push(CredentialFilter { owner, ..all });
    filters.push(CredentialFilter {
        owner,
        project,
        ..all
    });
    filters
}

fn matches(record: &Unpacked, of: u128, filter: &CredentialFilter<'_>) -> bool {
    let folded = |text: &str| text.to_lowercase().replace('\u{df}', "ss");
    record.organization.0.0 == of
        && filter.kind.is_none_or(|kind| record.kind == kind)
        && filter
            .status
            .is_none_or(|status| packed(record).status(NOW) == status)
        && filter.owner.is_none_or(|owner| record.owner == owner)
        && (filter.project.is_none() || record.project == filter.project)
        && filter
            .q
            .is_none_or(|q| folded(&record.name).contains(&folded(q)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn lists_equal_a_plain_model(
        batches in proptest::collection::vec(proptest::collection::vec(record(), 1..8), 1..20),
        limit in 1..9_usize,
    ) {
        let all = CredentialsView::default();
        let mut model = BTreeMap::new();
        for records in batches {
            apply(&all, &records);
            model.extend(records.into_iter().map(|record| (record.id, record)));
        }
        for filter in filters() {
            for of in 1..4 {
                let listed = walk(&all, of, &filter, limit);
                let expected = model.values().rev();
                let expected: Vec<Unpacked> =
                    expected.filter(|record| matches(record, of, &filter)).cloned().collect();
                prop_assert_eq!(ids(&listed), ids(&expected), "{:?}", filter);
                prop_assert_eq!(listed, expected);
            }
        }
    }
}
