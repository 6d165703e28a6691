//! Erasing a person: the key goes after the event, in whatever order a crash leaves them, and
//! nothing that was proved changes.

use std::fs;
use std::path::PathBuf;

use super::company::{create_organization, found, organization};
use super::image::{image, verdicts};
use super::{Setup, World, network, submission};
use crate::domain::command::{Actor, AddMember, Command, EraseMember, IssueSignInLink, SignIn};
use crate::domain::command::{CreateKey, SignInFailure, SignInProof};
use crate::domain::envelope::Event;
use crate::domain::ids::{OrganizationId, Owner, UserId};
use crate::domain::kind::Kind;
use crate::ledger::history::PastNetwork;
use crate::ledger::key_holder::data_key;
use crate::ledger::{Record, Submission};

fn member(world: &World, of: OrganizationId, email: &str) -> UserId {
    let answer = world.run(AddMember {
        organization: of,
        email: email.to_owned(),
        name: Some("Dora Diaz".to_owned()),
        role: "viewer".to_owned(),
    });
    let Record::Member(record) = &answer.records[0] else {
        panic!("{answer:?}");
    };
    record.id
}

fn erase(organization: OrganizationId, member: UserId) -> Command {
    Command::EraseMember(EraseMember {
        organization,
        member,
        reason: "asked for it".to_owned(),
    })
}

fn key_file(setup: &Setup, member: UserId) -> PathBuf {
    let name = data_key(member.0).to_string();
    setup.folder().keys().join(name)
}

/// All stored payloads.
fn payloads(world: &World) -> Vec<Vec<u8>> {
    let reader = world.ledger.reader();
    let positions = 0..reader.next_position();
    positions
        .map(|at| reader.read_payload(at).unwrap())
        .collect()
}

#[track_caller]
fn blank(world: &World, of: OrganizationId, member: UserId) {
    let record = world.ledger.views().directory.member(of, member).unwrap();
    assert!(record.removed && record.erased_at.is_some());
    assert_eq!(record.email.text(), None);
    assert_eq!(record.name.as_ref().unwrap().text(), None);
    assert!(!key_file(&world.setup, member).exists());
    let keys = world.ledger.keys();
    assert!(keys.data_key(data_key(member.0)).unwrap().is_none());
    let sessions = &world.ledger.views().sessions;
    assert_eq!(sessions.members_by_address("dee@acme.example", None, 8), []);
}

#[test]
fn the_key_is_gone_when_the_answer_comes_and_nothing_that_was_proved_changes() {
    let mut world = World::new(1);
    let mut tokens = found(&mut world);
    let of = organization(&world.run(create_organization("Initech", "ann@initech.example")));
    let dora = member(&world, of, "dee@acme.example");
    let own = CreateKey {
        kind: Kind::Personal,
        owner: Owner::User(dora),
        ..super::api_key(of, "laptop")
    };
    tokens.push(("dora".to_owned(), super::token(&world.run(own))));
    let (_, key) = world.key(of, "of the organization");
    tokens.push(("initech".to_owned(), key));
    let before = payloads(&world);
    let root = |world: &World| {
        let reader = world.ledger.reader();
        reader.batch_root_at(before.len() as u64 - 1).unwrap()
    };
    let (root_before, now) = (root(&world), world.ledger.now());
    let accepted = verdicts(&world.ledger, &tokens, now);
    assert!(key_file(&world.setup, dora).exists());

    let answer = world.run(erase(of, dora));
    blank(&world, of, dora);
    let position = answer.position;
    assert_eq!(position, before.len() as u64 + 2);
    assert_eq!(payloads(&world)[..before.len()], before);
    assert_eq!(root(&world), root_before);
    // The set of accepted secrets is what it was, but for what ended.
    let after = verdicts(&world.ledger, &tokens, now);
    let changed = accepted.lines().zip(after.lines());
    let changed: Vec<_> = changed.filter(|(before, after)| before != after).collect();
    assert_eq!(changed.len(), 1, "{changed:#?}");
    let again = world.run(erase(of, dora));
    assert_eq!(again.position, position);

    let shown = image(&world, &tokens);
    let world = world.restarted();
    assert_eq!(image(&world, &tokens), shown);
    blank(&world, of, dora);
    let anew = member(&world, of, "Dee@acme.example");
    assert_ne!(anew, dora);
}

#[test]
fn a_key_that_a_crash_left_is_destroyed_at_the_next_start_also_from_a_snapshot_made_before() {
    for events_between_snapshots in [500_000, 3] {
        let mut setup = Setup::new(2);
        setup.events_between_snapshots = events_between_snapshots;
        let world = setup.create();
        let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
        let dora = member(&world, of, "dee@acme.example");
        let kept = fs::read(key_file(&world.setup, dora)).unwrap();
        world.key(of, "one more");
        // The snapshot that is due is written before it is needed.
        let world = world.restarted();
        let answer = world.run(erase(of, dora));
        let events = world.events();
        let setup = world.stopped();
        // As if the process had been killed between the append and the end of the key.
        fs::write(key_file(&setup, dora), kept).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(key_file(&setup, dora), mode).unwrap();

        let world = setup.open();
        blank(&world, of, dora);
        assert_eq!(world.events(), events);
        assert_eq!(world.run(erase(of, dora)).position, answer.position);
        let anew = member(&world, of, "dee@acme.example");
        let world = world.restarted();
        let record = world.ledger.views().directory.member(of, anew).unwrap();
        assert_eq!(record.email.text(), Some("dee@acme.example"));
    }
}

#[test]
fn where_an_erased_person_called_from_is_erased_in_every_history() {
    let world = World::new(3);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let dora = member(&world, of, "dee@acme.example");
    let link = Command::IssueSignInLink(IssueSignInLink {
        organization: of,
        member: dora,
    });
    let from = |actor, command| {
        let submission = Submission {
            network: Some(network("203.0.113.7")),
            ..submission(actor, command)
        };
        world.ledger.submit_blocking(submission).unwrap()
    };
    let issued = from(Actor::Operator, link);
    let sign_in = Command::SignIn(SignIn {
        organization: of,
        member: dora,
        proof: SignInProof::Link(issued.sign_in.as_ref().unwrap().hash()),
    });
    let signed_in = from(Actor::Anonymous, sign_in);
    let seen = |position| world.ledger.event(position).unwrap().network;
    let shown = |network| matches!(network, PastNetwork::Shown(_));
    assert!(shown(seen(issued.position)) && shown(seen(signed_in.position)));
    world.run(erase(of, dora));
    // The operator's own belongs to the organization; the member's is the member's.
    assert!(shown(seen(issued.position)));
    assert_eq!(seen(signed_in.position), PastNetwork::Erased);
    assert_eq!(seen(0), PastNetwork::NotKept);
}

/// An attempt to sign in that failed, from where the person was.
fn failure(world: &World, of: OrganizationId, member: UserId) {
    let noted = Command::NoteSignInFailure(SignInFailure {
        organization: of,
        member,
        failures: 1,
    });
    let submission = Submission {
        network: Some(network("192.0.2.9")),
        ..submission(Actor::System, noted)
    };
    world.ledger.submit_blocking(submission).unwrap();
}

#[test]
fn where_a_sign_in_failed_is_the_persons_and_is_erased_with_the_person() {
    let world = World::new(7);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let dora = member(&world, of, "dee@acme.example");
    failure(&world, of, dora);
    let position = world.events() - 1;
    let shown = |world: &World| world.ledger.event(position).unwrap().network;
    assert!(matches!(shown(&world), PastNetwork::Shown(_)));
    world.run(erase(of, dora));
    assert_eq!(shown(&world), PastNetwork::Erased);
}

#[test]
fn a_repeated_command_about_a_person_is_known_until_the_erasure_and_by_nothing_in_the_log() {
    let world = World::new(8);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let add = || AddMember {
        organization: of,
        email: "dee@acme.example".to_owned(),
        name: Some("Dora Diaz".to_owned()),
        role: "viewer".to_owned(),
    };
    let added = world.keyed(1, 1, add()).unwrap();
    let Record::Member(dora) = &added.records[0] else {
        panic!("{added:?}");
    };
    let dora = dora.id;
    // The same of an owner who comes with an organization, on every event of the command.
    world
        .keyed(2, 2, create_organization("Hooli", "gavin@hooli.example"))
        .unwrap();
    let plain = [1, 2].map(|body| super::idempotency(1, body).digest);
    for payload in payloads(&world) {
        let digest = Event::from_payload(&payload).unwrap().command_digest;
        assert!(digest.is_none_or(|digest| !plain.contains(&digest)));
    }
    let world = world.restarted();
    assert!(world.keyed(1, 1, add()).unwrap().replayed);
    let another = create_organization("Hooli", "gavin@hooli.example");
    assert!(world.keyed(2, 2, another).unwrap().replayed);
    let reused = |world: &World, body| super::refusal(world.keyed(1, body, add()));
    assert_eq!(reused(&world, 2), "Rejected(IdempotencyKeyReused)");
    world.run(erase(of, dora));
    let events = world.events();
    assert_eq!(reused(&world, 1), "Rejected(IdempotencyKeyReused)");
    let world = world.restarted();
    assert_eq!(reused(&world, 1), "Rejected(IdempotencyKeyReused)");
    assert_eq!(world.events(), events);
}
