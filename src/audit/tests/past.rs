//! The past is what was: the same as live operation has shown.

use std::collections::BTreeSet;
use std::convert::Infallible;

use crate::audit::past::{Asked, Differences, Fold, blank, find};
use crate::domain::access::Authority;
use crate::domain::envelope::Event;
use crate::domain::ids::OrganizationId;
use crate::domain::log_point::{InvalidLogPoint, LogPoint, Moment};
use crate::domain::record::Credential;
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::tests::{World, found};
use crate::views::index::{VerificationCode, VerificationQuery};

/// Shows the payloads from `from` on, before `to`.
fn payloads(ledger: &Ledger, from: u64, to: u64, mut visit: impl FnMut(&[u8])) {
    let seen = ledger.reader().scan(from, to, |_, payload| visit(payload));
    seen.unwrap();
}

fn folded(ledger: &Ledger, organization: Option<OrganizationId>, events: u64) -> Fold {
    let mut fold = Fold::new(organization);
    payloads(ledger, 0, events, |payload| {
        drop(fold.take(payload, &mut blank).unwrap());
    });
    fold
}

fn lines<'a>(fold: &Fold, of: impl IntoIterator<Item = &'a Credential>) -> Vec<String> {
    let at = Timestamp(0);
    let lines = of.into_iter().map(|record| fold.line(record, at).unwrap());
    lines.collect()
}

#[test]
fn one_organization_alone_is_as_it_is_among_all() {
    let mut world = World::new(61);
    found(&mut world);
    let next = world.ledger.reader().next_position();
    for events in (0..=next).step_by(7) {
        let all = folded(&world.ledger, None, events);
        let everything = all.state().everything();
        for organization in &everything.organizations {
            let alone = folded(&world.ledger, Some(organization.id), events);
            let theirs = all.credentials();
            let theirs = theirs.iter().map(|record| &**record);
            let theirs = theirs.filter(|record| record.organization() == organization.id);
            let own = alone.credentials();
            assert_eq!(
                lines(&alone, own.iter().map(|record| &**record)),
                lines(&all, theirs),
            );
        }
    }
}

#[test]
fn who_could_are_those_whose_secrets_are_accepted() {
    let mut world = World::new(62);
    let tokens = found(&mut world);
    let next = world.ledger.reader().next_position();
    let fold = folded(&world.ledger, None, next);
    let now = world.ledger.now();
    let authority = Authority::operator(fold.state().catalogue());
    let check = |scopes: &[&str], expected_some: bool| {
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let verdicts = tokens.iter().map(|(_, token)| {
            let ask = VerificationQuery {
                authority: &authority,
                key: token,
                required_scopes: &scopes,
                project: None,
                any_project: true,
                organization: None,
            };
            world.ledger.views().index.verify(&ask, now)
        });
        let accepted = verdicts.filter(|verdict| verdict.code == VerificationCode::Valid);
        let accepted: BTreeSet<_> = accepted
            .map(|v| v.key.unwrap().credential_and_secret_ids())
            .collect();
        let asked = Asked {
            scopes: scopes.clone(),
            ..Asked::default()
        };
        let could = fold.who_could(&asked, now, &mut || Ok::<(), Infallible>(()));
        let Ok(could) = could;
        let could: BTreeSet<_> = could
            .iter()
            .flat_map(|one| {
                one.secrets
                    .iter()
                    .map(|secret| (one.credential.id(), *secret))
            })
            .collect();
        // Some tokens of the history were not kept by who made them.
        assert!(accepted.is_subset(&could), "{scopes:?}");
        assert_eq!(!could.is_empty(), expected_some, "{scopes:?}");
        let known: BTreeSet<_> = tokens
            .iter()
            .filter_map(|(_, token)| Some(token.split('_').nth(1)?.to_owned()))
            .collect();
        let unknown = could.difference(&accepted);
        for (_, secret) in unknown {
            let id = secret.to_string();
            assert!(!known.contains(id.trim_start_matches("sec_")), "{id}");
        }
    };
    check(&[], true);
    check(&["cases:read"], true);
    check(&["cases:read", "cases:write"], true);
    check(&["no:such-scope"], false);
}

#[test]
fn differences_lead_from_one_moment_to_another_and_name_who_did_it() {
    let mut world = World::new(63);
    found(&mut world);
    let next = world.ledger.reader().next_position();
    for (from, to) in [
        (0, next),
        (next / 3, next / 2),
        (next / 2, next),
        (next, next),
    ] {
        let before = folded(&world.ledger, None, from);
        let after = folded(&world.ledger, None, to);
        let mut differences = Differences::since(folded(&world.ledger, None, from));
        let mut deeds = 0;
        payloads(&world.ledger, from, to, |payload| {
            differences.take(payload, &mut blank).unwrap();
            let event = Event::from_payload(payload).unwrap();
            deeds += usize::from(event.subject.to_string().starts_with("key_"));
        });
        let mut told = 0;
        for one in differences.all() {
            let id = one.after.id();
            assert_eq!(before.state().credential(id), one.before.as_ref());
            assert_eq!(after.state().credential(id), Some(&one.after));
            assert_eq!(
                one.deeds.last().unwrap().position,
                one.after.stamp().position
            );
            told += one.deeds.len();
        }
        assert_eq!(told, deeds);
        let unchanged = after.credentials().len() - differences.all().count();
        let same = |record: &&std::sync::Arc<Credential>| {
            before.state().credential(record.id()) == Some(*record)
        };
        assert_eq!(after.credentials().iter().filter(same).count(), unchanged);
    }
}

#[test]
fn a_moment_is_a_position_or_an_instant() {
    let instants = [10, 20, 20, 30];
    let happened_at = |position: u64| {
        let at = instants.get(usize::try_from(position).unwrap());
        Ok::<_, ()>(Timestamp(*at.unwrap()))
    };
    let check = |text: &str, expected: Option<(Option<u64>, i64)>| {
        let as_of: LogPoint = text.parse().unwrap();
        let expected = expected.map(|(position, at)| Moment {
            position,
            at: Timestamp(at),
        });
        assert_eq!(find(as_of, 4, happened_at), Ok(expected), "{text}");
    };
    check("0", Some((Some(0), 10)));
    check("3", Some((Some(3), 30)));
    check("4", None);
    check("18446744073709551616", None);
    check("1970-01-01T00:00:00.009Z", Some((None, 9)));
    check("1970-01-01T00:00:00.020Z", Some((Some(2), 20)));
    check("1970-01-01T01:00:00.025+01:00", Some((Some(2), 25)));
    check("2026-01-01T00:00:00Z", Some((Some(3), 1_767_225_600_000)));
    for text in ["", "-1", "yesterday", "2026-13"] {
        assert_eq!(text.parse::<LogPoint>(), Err(InvalidLogPoint), "{text}");
    }
}
