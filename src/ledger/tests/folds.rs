//! Histories fold forward: every version is right in whatever order it is asked for, and all of
//! them together cost as much as reading the record's events once.

use super::company::{create_account, create_organization, found, organization};
use super::{World, api_key, target};
use crate::domain::command::{AddMember, EraseMember, UpdateKey, UpdateMember};
use crate::domain::envelope::commitment;
use crate::domain::ids::{CredentialId, OrganizationId, Subject};
use crate::domain::state::State;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::{Interrupted, Turn};
use crate::ledger::{Ledger, Record};

const EDITS: u32 = 2_000;

/// Positions and names of all versions of a record, folded from its first event in one go.
fn folded_at_once(ledger: &Ledger, subject: Subject) -> Vec<(u64, String)> {
    let mut state = State::default();
    let mut versions = Vec::new();
    for past in ledger.events_of(subject, 0, usize::MAX).unwrap() {
        let payload = ledger.reader().read_payload(past.event.position).unwrap();
        state.apply(&past.event, commitment(&payload)).unwrap();
        let shown = match subject {
            Subject::Ledger(_) => continue,
            Subject::Organization(id) => format!("{:?}", state.organization(id)),
            Subject::Project(id) => format!("{:?}", state.project(id)),
            Subject::Member(id) => format!("{:?}", state.member(id)),
            Subject::ServiceAccount(id) => format!("{:?}", state.account(id)),
            Subject::Credential(id) => format!("{:?}", state.credential(id)),
            Subject::Session(id) => format!("{:?}", state.session(id)),
            Subject::WebhookEndpoint(id) => format!("{:?}", state.endpoint(id)),
        };
        versions.push((past.event.position, shown));
    }
    versions
}

fn shown(record: &Record) -> String {
    match record {
        Record::Ledger => "None".to_owned(),
        Record::Organization(record) => format!("{:?}", Some(record)),
        Record::Project(record) => format!("{:?}", Some(record)),
        Record::Member(record) => format!("{:?}", Some(record)),
        Record::ServiceAccount(record) => format!("{:?}", Some(record)),
        Record::Credential(record) => format!("{:?}", Some(record)),
        Record::Session(record) => format!("{:?}", Some(record)),
        Record::WebhookEndpoint(record) => format!("{:?}", Some(record)),
    }
}

/// A key with many edits.
fn edited(world: &World) -> (OrganizationId, CredentialId) {
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let (key, _) = world.key(of, "edited");
    for n in 1..EDITS {
        world.run(UpdateKey {
            name: Some(format!("edited {n}")),
            ..UpdateKey::of(target(of, key.id()))
        });
    }
    (of, key.id())
}

#[test]
fn every_version_of_every_record_is_the_one_that_folding_all_its_events_gives() {
    let mut world = World::new(1);
    found(&mut world);
    let ledger = &world.ledger;
    let mut subjects = std::collections::BTreeSet::new();
    for position in 0..ledger.reader().next_position() {
        subjects.insert(ledger.event(position).unwrap().event.subject);
    }
    for subject in subjects {
        let versions = folded_at_once(ledger, subject);
        for (position, expected) in versions.iter().chain(versions.iter().rev()) {
            let record = ledger.record_as_of(subject, *position, &mut Turn::alone());
            assert_eq!(shown(&record.unwrap()), *expected, "{subject} {position}");
        }
    }
}

#[test]
fn many_edits_cost_as_much_as_reading_them_once() {
    let world = World::new(2);
    let (_, key) = edited(&world);
    let subject = Subject::Credential(key);
    let versions = folded_at_once(&world.ledger, subject);
    assert_eq!(versions.len(), EDITS as usize);
    let total = u64::from(EDITS);
    let read = |order: &[usize]| {
        let mut turn = Turn::alone();
        for index in order {
            let (position, expected) = &versions[*index];
            let record = world.ledger.record_as_of(subject, *position, &mut turn);
            assert_eq!(shown(&record.unwrap()), *expected, "{index}");
        }
        turn.steps()
    };
    let forward: Vec<_> = (0..versions.len()).collect();
    // Histories shorter than 16 events are not kept: their sum is all that it costs more.
    let short: u64 = (1..16).sum();
    assert_eq!(read(&forward), total + short, "one after another");
    // Two readers at different places do not get in each other's way.
    let halves: Vec<_> = (0..1_000).flat_map(|n| [n, n + 1_000]).collect();
    let steps = read(&halves);
    assert!(steps <= total + total / 10, "two readers: {steps}");
    // Whatever is asked for, a version that is kept is near.
    let mixed: Vec<_> = (0..500).map(|n| (n * 787 + 11) % versions.len()).collect();
    let steps = read(&mixed);
    assert!(steps <= 500 * 16, "in any order: {steps}");
}

#[test]
fn what_was_folded_before_an_interruption_is_not_folded_again() {
    let world = World::new(3);
    let (_, key) = edited(&world);
    let last = world.events() - 1;
    let mut tries = 0;
    let record = loop {
        let mut turn = Turn::of_steps(300);
        tries += 1;
        match world
            .ledger
            .record_as_of(Subject::Credential(key), last, &mut turn)
        {
            Err(HistoryError::Interrupted(Interrupted::TooLong)) => assert!(tries < 10),
            outcome => break outcome.unwrap(),
        }
    };
    assert_eq!(tries, EDITS.div_ceil(300));
    let newest = shown(&record);
    assert!(
        newest.contains(&format!("edited {}", EDITS - 1)),
        "{newest}"
    );
}

#[test]
fn an_erased_person_is_blank_in_what_was_folded_before() {
    let world = World::new(4);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let added = world.run(AddMember {
        organization: of,
        email: "dee@acme.example".to_owned(),
        name: None,
        role: "viewer".to_owned(),
    });
    let Record::Member(member) = &added.records[0] else {
        panic!("{added:?}");
    };
    let member = member.id;
    for n in 0..40 {
        world.run(UpdateMember {
            organization: of,
            member,
            role: Some(["team_member", "viewer"][n % 2].to_owned()),
            email: None,
            name: None,
        });
    }
    let position = world.events() - 1;
    let email = || {
        let record =
            world
                .ledger
                .record_as_of(Subject::Member(member), position, &mut Turn::alone());
        let Record::Member(record) = record.unwrap() else {
            panic!("a member is a member");
        };
        record.email.text().map(str::to_owned)
    };
    assert_eq!(email().as_deref(), Some("dee@acme.example"));
    world.run(EraseMember {
        organization: of,
        member,
        reason: "asked for it".to_owned(),
    });
    assert_eq!(email(), None);
}

#[test]
fn what_is_kept_is_bounded_and_one_organization_does_not_push_out_another() {
    let world = World::new(5);
    let (_, key) = edited(&world);
    let subject = Subject::Credential(key);
    let other = organization(&world.run(create_organization("Globex", "gus@globex.example")));
    let bot = world.run(create_account(other, "Bot"));
    let Record::ServiceAccount(bot) = &bot.records[0] else {
        panic!("{bot:?}");
    };
    let small = Subject::ServiceAccount(bot.id);
    world.run(api_key(other, "another"));
    let last = world.events() - 1;
    let read = |subject| {
        let mut turn = Turn::alone();
        world.ledger.record_as_of(subject, last, &mut turn).unwrap();
        turn.steps()
    };
    assert_eq!((read(subject), read(subject)), (u64::from(EDITS), 0));
    let kept = world.ledger.reading.folds.kept_bytes();
    assert!(kept > 0 && kept < 400_000, "{kept}");
    world.ledger.reading.folds.shrink_to(kept / 2);
    assert!(world.ledger.reading.folds.kept_bytes() <= kept / 2);
    assert_eq!((read(small), read(subject)), (1, u64::from(EDITS)));
}
