//! Lists against a plain model: all records in a map, filtered from end to end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ulid::Ulid;

use super::{NOW, apply, ids, walk};
use crate::domain::ids::{OrganizationId, Owner, ProjectId, UserId};
use crate::domain::kind::Kind;
use crate::domain::record::{Status, Unpacked};
use crate::domain::time::Timestamp;
use crate::views::fixtures::{credential, ended, packed};
use crate::views::tokens::{Filter, TokenView};

const NAMES: [&str; 4] = ["Deploy", "deploy two", "Stra\u{df}e", "nightly"];
const QUESTIONS: [&str; 4] = ["DEPLOY", "strasse", "t", ""];
const STATUSES: [Status; 4] = [
    Status::Active,
    Status::Disabled,
    Status::Expired,
    Status::Revoked,
];

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<Unpacked>),
    Settle,
    Reopen,
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

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => proptest::collection::vec(record(), 1..8).prop_map(Op::Put),
        2 => Just(Op::Settle),
        1 => Just(Op::Reopen),
    ]
}

fn filters() -> Vec<Filter<'static>> {
    let all = Filter::all(NOW);
    let mut filters = vec![all];
    filters.extend(Kind::ALL.map(|kind| Filter {
        kind: Some(kind),
        ..all
    }));
    filters.extend(STATUSES.map(|status| Filter {
        status: Some(status),
        ..all
    }));
    filters.extend(QUESTIONS.map(|q| Filter { q: Some(q), ..all }));
    let owner = Some(Owner::User(UserId(Ulid(5))));
    let project = Some(ProjectId(Ulid(6)));
    filters.push(Filter { owner, ..all });
    filters.push(Filter {
        owner,
        project,
        ..all
    });
    filters
}

fn matches(record: &Unpacked, of: u128, filter: &Filter<'_>) -> bool {
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
        ops in proptest::collection::vec(op(), 1..20),
        limit in 1..9_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (mut view, _) = TokenView::unattended(folder.path()).unwrap();
        let mut model = BTreeMap::new();
        let mut newest = None;
        for (position, op) in (0..).zip(ops) {
            match op {
                Op::Put(records) => {
                    newest = Some(position);
                    apply(&view, position, &records);
                    model.extend(records.into_iter().map(|record| (record.id, record)));
                }
                Op::Settle => {
                    view.shared.settle_one().unwrap();
                }
                Op::Reopen => {
                    view.close().unwrap();
                    let (opened, applied) = TokenView::unattended(folder.path()).unwrap();
                    let position = applied.map(|applied| applied.position);
                    prop_assert_eq!(position, newest, "what was closed is there again");
                    view = opened;
                }
            }
        }
        for filter in filters() {
            for of in 1..4 {
                let listed = walk(&view, of, &filter, limit);
                let expected = model.values().rev();
                let expected: Vec<Unpacked> =
                    expected.filter(|record| matches(record, of, &filter)).cloned().collect();
                prop_assert_eq!(ids(&listed), ids(&expected), "{:?}", filter);
                prop_assert_eq!(listed, expected);
            }
        }
    }
}
