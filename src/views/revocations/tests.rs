//! The table of events and entries, for every type there is; the ring against a plain list.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;
use ulid::Ulid;

use super::entry::{effect_of, may_be_in_feed};
use super::{
    AffectedCredentials, FeedPage, FeedScope, RecentRevocations, RevocationEffect, RevocationEntry,
};
use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::ids::{CredentialId, OrganizationId, Owner, UserId};

/// A stored payload of every type.
const PAYLOADS: &str = include_str!("../../domain/tests/payloads_v11.ndjson");

const TABLE: &str = "\
api_key.created: -
api_key.disabled: disabled, one
api_key.enabled: enabled, one
api_key.ended_secret_used: -
api_key.expired: -
api_key.expiring: -
api_key.revoked: ended, one
api_key.rotated: rotated, one
api_key.scopes_edited: changed, one
api_key.updated: changed, one
catalogue.adopted: changed, all
ledger.checkpointed: -
ledger.opened: -
ledger.read: -
ledger.restored: -
member.added: -
member.password_set: -
member.removed: ended, owner
member.role_changed: changed, owner
member.sign_in_failed: -
member.sign_in_link_issued: -
member.updated: -
organization.created: -
organization.updated: -
project.archived: -
project.created: -
project.unarchived: -
project.updated: -
service_account.created: -
service_account.deleted: ended, owner
service_account.disabled: disabled, owner
service_account.enabled: enabled, owner
service_account.updated: changed, owner
session.ended: -
session.started: -
signing_key.rotated: -
subject.erased: -
usage.sealed: -
webhook_endpoint.created: -
webhook_endpoint.deleted: -
webhook_endpoint.disabled: -
webhook_endpoint.enabled: -
webhook_endpoint.failing: -
webhook_endpoint.secret_rotated: -
webhook_endpoint.updated: -
";

#[test]
fn every_type_of_event_stands_in_the_table() {
    let mut lines = BTreeSet::new();
    for payload in PAYLOADS.lines() {
        let event = Event::from_payload(payload.as_bytes()).unwrap();
        let name = event.fact.name();
        let entry = RevocationEntry::from_event(&event, |owner| {
            assert!(!matches!(owner, Owner::Organization(_)));
            vec![CredentialId(Ulid(1)), CredentialId(Ulid(2))]
        });
        let told = entry.as_ref().map_or_else(
            || "-".to_owned(),
            |entry| {
                assert_eq!(entry.position, event.position);
                let place = event.organization.map(|place| place.id);
                assert_eq!(entry.organization, place);
                let reach = match &entry.affected {
                    AffectedCredentials::One(_) => "one",
                    AffectedCredentials::OfOwner(_, ids) => {
                        assert_eq!(ids.len(), entry.id_count_at_least_one());
                        "owner"
                    }
                    AffectedCredentials::All => "all",
                };
                format!("{}, {reach}", entry.effect.wire_name())
            },
        );
        assert_eq!(
            may_be_in_feed(name),
            effect_of(&event.fact).is_some(),
            "{name}"
        );
        lines.insert((name.to_owned(), told));
    }
    let named: BTreeSet<_> = lines.iter().map(|(name, _)| name.clone()).collect();
    let types = Fact::TYPES.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(named, types.collect());
    let mut table = String::new();
    for (name, told) in lines {
        writeln!(table, "{name}: {told}").unwrap();
    }
    assert_eq!(table, TABLE);
    assert!(may_be_in_feed("a.type_to_come"));
}

fn entry(position: u64, of: u128, ids: u128) -> Arc<RevocationEntry> {
    let reach = match ids {
        0 => AffectedCredentials::All,
        1 => AffectedCredentials::One(CredentialId(Ulid(u128::from(position)))),
        _ => {
            let ids = (0..ids).map(|id| CredentialId(Ulid(id)));
            AffectedCredentials::OfOwner(Owner::User(UserId(Ulid(7))), ids.collect())
        }
    };
    Arc::new(RevocationEntry {
        position,
        organization: (ids > 0).then_some(OrganizationId(Ulid(of))),
        effect: RevocationEffect::Changed,
        affected: reach,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn the_ring_holds_what_it_says_or_sends_to_the_log(
        events in prop::collection::vec((0_u128..3, prop::option::of(0_u128..5)), 1..80),
        floor in 0_u64..10, from in 0_u64..90, limit in 1_usize..9, room in 1_usize..60,
        scope in 0_u128..3,
    ) {
        let feed = RecentRevocations::with_room(room);
        feed.restart_at(floor);
        let mut all = Vec::new();
        for (position, (of, ids)) in (floor..).zip(&events) {
            let new: Vec<_> = ids.map(|ids| entry(position, *of, ids)).into_iter().collect();
            feed.apply(&new);
            all.extend(new);
        }
        let shown = floor + events.len() as u64;
        let scope = match scope {
            0 => FeedScope::Everything,
            of => FeedScope::OneOrganization(OrganizationId(Ulid(of))),
        };
        let ids = |entry: &Arc<RevocationEntry>| entry.id_count_at_least_one();
        let weight: usize = feed.ring().entries.iter().map(ids).sum();
        prop_assert!(weight <= room && feed.ring().ids == weight);
        let Some(page) = feed.read_page(from, shown, scope, limit) else {
            // Only what is too old, or pushed out, is not known.
            prop_assert!(from < feed.ring().floor && from < shown);
            return Ok(());
        };
        let seen = all.iter().filter(|entry| entry.position >= from && scope.includes(entry));
        let expected: Vec<_> = seen.take(limit).cloned().collect();
        let full = expected.len() == limit;
        let next = match expected.last() {
            Some(last) if full => last.position + 1,
            Some(_) | None => shown.max(from),
        };
        prop_assert_eq!(page, FeedPage { entries: expected, next });
    }
}

#[test]
fn nothing_beyond_the_published_position_is_shown() {
    let feed = RecentRevocations::default();
    let mut news = feed.subscribe();
    feed.apply(&[entry(0, 1, 1), entry(1, 1, 1)]);
    assert!(!news.has_changed().unwrap());
    let page = feed.read_page(0, 1, FeedScope::Everything, 9).unwrap();
    assert_eq!((page.entries.len(), page.next), (1, 1));
    feed.wake_readers(&[]);
    assert!(!news.has_changed().unwrap());
    feed.wake_readers(&page.entries);
    assert!(news.has_changed().unwrap());
    news.mark_unchanged();
    assert_eq!(
        feed.read_page(2, 2, FeedScope::Everything, 9).unwrap().next,
        2
    );
    feed.restart_at(2);
    assert_eq!(feed.read_page(1, 2, FeedScope::Everything, 9), None);
}

#[test]
fn a_page_looks_on_beyond_what_is_looked_at_under_one_lock() {
    let feed = RecentRevocations::default();
    let many: Vec<_> = (0..5_000).map(|position| entry(position, 1, 1)).collect();
    feed.apply(&many);
    feed.apply(&[entry(5_000, 2, 1)]);
    let other = FeedScope::OneOrganization(OrganizationId(Ulid(2)));
    let page = feed.read_page(0, 5_001, other, 9).unwrap();
    assert_eq!((page.entries.len(), page.next), (1, 5_001));
    let heavy: Vec<_> = (5_001..5_005)
        .map(|position| entry(position, 1, 5_000))
        .collect();
    feed.apply(&heavy);
    let page = feed
        .read_page(5_001, 5_005, FeedScope::Everything, 9)
        .unwrap();
    assert_eq!(page.next, 5_003, "a page ends with its ids");
}
