//! What belongs to a person is on the disk in sealed form alone, and blank once its key is gone.

use std::fs;

use super::company::{create_organization, found, organization};
use super::{Setup, World, api_key, network, refusal, submission};
use crate::domain::command::{Actor, AddMember};
use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::ids::{OrganizationId, UserId};
use crate::ledger::key_holder::data_key;
use crate::ledger::{Record, Submission};
use crate::seal::{OpenedValue, SealContext};

/// Every byte below a folder.
fn bytes_below(path: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(bytes_below(&path));
        } else {
            bytes.extend(fs::read(&path).unwrap());
        }
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    bytes.windows(text.len()).any(|window| window == text)
}

fn add(of: OrganizationId, email: &str) -> AddMember {
    AddMember {
        organization: of,
        email: email.to_owned(),
        name: Some("Dora Diaz".to_owned()),
        role: "viewer".to_owned(),
    }
}

fn member(world: &World, of: OrganizationId, email: &str) -> UserId {
    let answer = world.run(add(of, email));
    let Record::Member(record) = &answer.records[0] else {
        panic!("{answer:?}");
    };
    record.id
}

#[test]
fn no_file_holds_an_address_a_name_a_network_or_a_token_in_plain() {
    let mut setup = Setup::new(1);
    setup.events_between_snapshots = 10;
    let mut world = setup.create();
    let tokens = found(&mut world);
    let setup = world.stopped();
    let bytes = bytes_below(setup.folder().path());
    assert!(
        holds(&bytes, "Acme & Sons"),
        "the search finds what is there"
    );
    for text in [
        "carl@acme.example",
        "ann@acme.example",
        "fay.moss@acme.example",
        "Carl M",
        "Fay Moss",
        "203.0.113.7",
        "curl/8",
        "$argon2id",
    ] {
        assert!(!holds(&bytes, text), "{text}");
    }
    for (name, token) in tokens {
        assert!(!holds(&bytes, &token), "{name}");
    }
}

#[test]
fn a_sealed_value_opens_under_its_own_key_in_its_own_place_alone() {
    let world = World::new(2);
    let acme = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let globex = organization(&world.run(create_organization("Globex", "bob@globex.example")));
    let submission = Submission {
        network: Some(network("203.0.113.7")),
        ..submission(Actor::Operator, api_key(acme, "key"))
    };
    let answer = world.ledger.submit_blocking(submission).unwrap();
    let payload = world.ledger.reader().read_payload(answer.position).unwrap();
    let event = Event::from_payload(&payload).unwrap();
    let sealed = event.actor.network.clone().unwrap();
    assert_eq!(sealed.key_id, data_key(acme.0));
    let (keys, log_id, id) = (
        world.ledger.keys(),
        world.ledger.log_id(),
        event.id.to_string(),
    );
    let context = SealContext {
        log_id,
        event_id: &id,
        field: "actor.network",
    };
    assert!(matches!(
        keys.open_sealed(&sealed, context),
        Ok(OpenedValue::Plain(_))
    ));
    let mut foreign = sealed.clone();
    foreign.key_id = data_key(globex.0);
    assert!(keys.open_sealed(&foreign, context).is_err());
    let other = crate::domain::ids::EventId(ulid::Ulid(5)).to_string();
    for elsewhere in [
        SealContext {
            field: "data.email",
            ..context
        },
        SealContext {
            event_id: &other,
            ..context
        },
        SealContext {
            log_id: [0; 16],
            ..context
        },
    ] {
        assert!(keys.open_sealed(&sealed, elsewhere).is_err());
    }
}

#[test]
fn a_member_whose_key_is_destroyed_is_blank_at_the_next_start_and_frees_the_address() {
    for events_between_snapshots in [500_000, 3] {
        let mut setup = Setup::new(3);
        setup.events_between_snapshots = events_between_snapshots;
        let world = setup.create();
        let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
        let dora = member(&world, of, "dora@acme.example");
        let taken = refusal(world.try_submit(Actor::Operator, add(of, "Dora@acme.example")));
        assert_eq!(taken, "Rejected(EmailTaken)");
        world.key(of, "one more");
        let events = world.events();
        let root = world.ledger.reader().batch_root_at(events - 1).unwrap();
        world
            .ledger
            .keys()
            .destroy_data_key(data_key(dora.0))
            .unwrap();

        let world = world.restarted();
        assert_eq!(
            world.ledger.reader().batch_root_at(events - 1).unwrap(),
            root
        );
        let record = world.ledger.views().directory.member(of, dora).unwrap();
        assert_eq!(record.email.text(), None);
        assert_eq!(record.name.as_ref().unwrap().text(), None);
        assert_eq!(record.role, "viewer");
        let past = world.ledger.event(record.stamp.position).unwrap();
        let Fact::MemberAdded(added) = &past.event.fact else {
            panic!("{past:?}");
        };
        assert_eq!(added.email.text(), None);
        let again = member(&world, of, "Dora@acme.example");
        assert_ne!(again, dora);
    }
}

#[test]
fn a_key_that_a_crash_left_half_written_is_removed_at_the_next_start() {
    let world = World::new(4);
    let keys = world.setup.folder().keys();
    let left = keys.join(".tmp-dk_half");
    fs::write(&left, b"half a key").unwrap();
    let world = world.restarted();
    assert!(!left.exists());
    world.run(create_organization("Acme", "ann@acme.example"));
}
