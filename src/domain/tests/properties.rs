//! What holds for every history: replay is live, refusals and abandoned batches change nothing,
//! chains have no gaps, nobody gives what they do not have.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::acme::Acme;
use super::history::{Step, request, step};
use super::{Ledger, fingerprint, read};
use crate::domain::digest::Digest32;
use crate::domain::envelope::commitment;
use crate::domain::event::Fact;
use crate::domain::ids::OrganizationId;
use crate::domain::personal::Personal;
use crate::domain::time::Timestamp;

fn play(steps: &[Step]) -> Acme {
    let mut acme = Acme::new();
    for step in steps {
        acme.later(step.gap());
        let request = request(&acme, step);
        acme.stage(&request);
        acme.state.settle();
    }
    acme
}

/// `organization_sequence` counts from 0, and each event commits to the one before it.
fn check_chains(ledger: &Ledger) {
    let mut heads: BTreeMap<OrganizationId, (u64, Digest32)> = BTreeMap::new();
    let mut versions = BTreeMap::new();
    for (position, payload) in ledger.log.iter().enumerate() {
        let event = read(payload);
        assert_eq!(event.position, position as u64);
        let version: &mut u32 = versions.entry(event.subject).or_default();
        *version += 1;
        assert_eq!(event.subject_version, *version);
        let Some(place) = event.organization else {
            continue;
        };
        let head = heads.get(&place.id);
        assert_eq!(place.sequence, head.map_or(0, |(sequence, _)| sequence + 1));
        assert_eq!(place.previous, head.map(|(_, commitment)| *commitment));
        heads.insert(place.id, (place.sequence, commitment(payload)));
    }
    for (id, (sequence, commitment)) in heads {
        let head = ledger.state.head(id).unwrap();
        assert_eq!((head.sequence, head.commitment), (sequence, commitment.0));
    }
}

/// What is counted and indexed, counted again from the records alone.
fn check_indexes(ledger: &Ledger) {
    let state = &ledger.state;
    let now = state.last_at().unwrap();
    for (id, _) in state.organizations.settled_after(None) {
        let counts = state.counts(id);
        let members = state.members.settled_after(None).map(|(_, member)| member);
        let members = members.filter(|member| member.organization == id && !member.removed);
        let members: Vec<_> = members.collect();
        assert_eq!(counts.members, members.len() as u64);
        let owners = members
            .iter()
            .filter(|member| state.catalogue().is_owner(&member.role));
        assert_eq!(counts.owners, owners.count() as u64);
        assert!(counts.owners > 0, "no organization is nobody's");
        let emails: Vec<_> = members
            .iter()
            .filter_map(|member| Personal::text(&member.email))
            .collect();
        let of_this = state.emails.settled_after(None);
        let of_this = of_this.filter(|((organization, _), _)| *organization == id);
        assert_eq!(of_this.count(), emails.len());
        let accounts = state.accounts.settled_after(None);
        let accounts = accounts.filter(|(_, a)| a.organization == id && !a.deleted);
        assert_eq!(counts.service_accounts, accounts.count() as u64);
        let keys = state.credentials.settled_after(None);
        let keys = keys.filter(|(_, key)| key.organization() == id && key.is_live(now));
        let live = keys.count() as u64;
        assert!(state.live.count_of_organization(id, now) >= live);
        let much_later = Timestamp(i64::MAX / 2);
        let for_ever = state.credentials.settled_after(None);
        let for_ever = for_ever.filter(|(_, key)| {
            let endless = key.ended().is_none() && key.expires_at().is_none();
            key.organization() == id && endless
        });
        let counted = state.live.count_of_organization(id, much_later);
        assert_eq!(counted, for_ever.count() as u64);
        let projects = state.projects.settled_after(None);
        let projects = projects.filter(|(_, project)| project.organization == id);
        assert_eq!(counts.projects, projects.count() as u64);
    }
    for (_, key) in state.credentials.settled_after(None) {
        let ends_with_owner = key.kind().rules().unique_name;
        let live = state.live_credentials_of(key.owner(), now);
        let counted = state.live.count_of_owner(key.owner(), now);
        assert_eq!(counted, live.len() as u64);
        assert_eq!(
            live.contains(&key.id()),
            ends_with_owner && key.is_live(now)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_replay_gives_what_the_live_ledger_has(steps in prop::collection::vec(step(), 1..60)) {
        let live = play(&steps);
        prop_assert_eq!(fingerprint(&live.replayed()), fingerprint(&live.state));
        check_chains(&live);
        check_indexes(&live);
    }

    #[test]
    fn the_same_commands_give_the_same_bytes(steps in prop::collection::vec(step(), 1..30)) {
        prop_assert_eq!(&play(&steps).log, &play(&steps).log);
    }

    #[test]
    fn what_is_refused_or_abandoned_changes_nothing(
        steps in prop::collection::vec((step(), 0_u8..4), 1..30),
    ) {
        let mut acme = Acme::new();
        for (step, fate) in steps {
            acme.later(step.gap());
            let before = fingerprint(&acme.state);
            let length = acme.log.len();
            let first = request(&acme, &step);
            let refused = acme.stage(&first).result.is_err();
            if refused {
                prop_assert_eq!(acme.log.len(), length);
                prop_assert_eq!(&fingerprint(&acme.state), &before);
            } else if fate == 0 {
                // A second command sees the first one; both go.
                let second = request(&acme, &step);
                acme.stage(&second);
                acme.state.abandon();
                acme.log.truncate(length);
                prop_assert_eq!(&fingerprint(&acme.state), &before);
            }
            acme.state.settle();
        }
        prop_assert_eq!(fingerprint(&acme.replayed()), fingerprint(&acme.state));
        check_chains(&acme);
        check_indexes(&acme);
    }

    #[test]
    fn a_batch_of_many_gives_what_one_by_one_gives(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let one_by_one = play(&steps);
        let mut batch = Acme::new();
        for step in &steps {
            batch.later(step.gap());
            let request = request(&batch, step);
            batch.stage(&request);
        }
        batch.state.settle();
        prop_assert_eq!(&one_by_one.log, &batch.log);
        prop_assert_eq!(fingerprint(&one_by_one.state), fingerprint(&batch.state));
    }
}

#[test]
fn histories_hold_every_type_of_event() {
    // The properties above would prove little if most commands were refused.
    let mut seen = BTreeSet::new();
    let (mut commands, mut accepted) = (0_u64, 0);
    for _ in 0..192 {
        let mut acme = Acme::new();
        for number in 0..60 {
            commands += 1;
            // A day goes by before the end, so that what expires does.
            if number == 50 {
                acme.later(24 * 60 * 60);
            }
            // SplitMix64 of the count: even bits that are the same in every run.
            let mixed = commands.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let [_, _, _, who, what, which, how, _] = (mixed ^ (mixed >> 27)).to_be_bytes();
            let step = Step {
                who,
                what,
                which,
                how,
            };
            let request = request(&acme, &step);
            let done = acme.stage(&request).result;
            accepted += u64::from(done.is_ok_and(|done| !done.events.is_empty()));
            acme.state.settle();
        }
        seen.extend(acme.log.iter().map(|payload| read(payload).fact.name()));
    }
    let all: BTreeSet<&str> = Fact::TYPES.iter().map(|(name, _)| *name).collect();
    assert_eq!(seen, all);
    assert!(accepted * 5 > commands, "{accepted} of {commands}");
}
