//! Equal keys mean equal commands: one effect, one answer, at once and for ever.

use super::company::{account, create_account, create_organization, organization};
use super::{Setup, World, api_key, credential, idempotency, refusal, revoke, submission, target};
use crate::domain::command::{
    Actor, Command, CreateKey, DeleteServiceAccount, RotateKey, UpdateKey,
};
use crate::domain::ids::Owner;
use crate::domain::kind::Kind;
use crate::ledger::{Answer, Submission};

/// What an answer shows, but for the token.
fn shows(answer: &Answer) -> String {
    format!("{} {:?}", answer.position, answer.records)
}

#[test]
fn of_two_equal_commands_at_once_one_runs() {
    let world = World::new(1);
    let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let command = || Submission {
        idempotency: Some(idempotency(1, 1)),
        ..submission(Actor::Operator, api_key(of, "once"))
    };
    let events = world.events();
    let held = world.ledger.state.lock().unwrap();
    let first = world.ledger.enqueue(command()).unwrap();
    let second = world.ledger.submit_blocking(command());
    assert_eq!(refusal(second), "Rejected(CommandStillRunning)");
    drop(held);
    assert!(first.blocking_recv().unwrap().is_ok());
    assert!(world.keyed(1, 1, api_key(of, "once")).unwrap().replayed);
    assert_eq!(world.events(), events + 1);
    let reused = refusal(world.keyed(1, 2, api_key(of, "once")));
    assert_eq!(reused, "Rejected(IdempotencyKeyReused)");
    // A refusal is not remembered: its key is free.
    let unknown = refusal(world.keyed(
        2,
        1,
        revoke(of, crate::domain::ids::CredentialId(ulid::Ulid(1))),
    ));
    assert!(unknown.contains("NotFound"), "{unknown}");
    assert!(!world.keyed(2, 2, api_key(of, "another")).unwrap().replayed);
}

#[test]
fn a_repeated_command_gets_the_record_as_it_was_and_no_token() {
    let mut setup = Setup::new(2);
    setup.events_between_snapshots = 4;
    let mut world = setup.create();
    let found = || create_organization("Acme", "ann@acme.example");
    let made = world.keyed(1, 1, found()).unwrap();
    let of = organization(&made);
    let issued = world.keyed(2, 1, api_key(of, "Reporting")).unwrap();
    let key = credential(&issued).id();
    let bot = world.keyed(3, 1, create_account(of, "Bot")).unwrap();
    let bot_id = account(&bot);
    for name in ["one", "two", "three", "four"] {
        world.run(CreateKey {
            kind: Kind::ServiceAccount,
            owner: Owner::ServiceAccount(bot_id),
            ..api_key(of, name)
        });
    }
    let rotate = RotateKey {
        target: target(of, key),
        grace_period_seconds: 60,
        unpresented: None,
    };
    let rotated = world.keyed(4, 1, rotate).unwrap();
    let edit = UpdateKey {
        name: Some("Other".to_owned()),
        scopes: Some(vec!["cases:write".to_owned()]),
        ..UpdateKey::of(target(of, key))
    };
    let edited = world.keyed(5, 1, edit.clone()).unwrap();
    let disabled = world
        .keyed(6, 1, Command::DisableKey(target(of, key)))
        .unwrap();
    let revoked = world.keyed(7, 1, revoke(of, key)).unwrap();
    let delete = DeleteServiceAccount {
        organization: of,
        account: bot_id,
    };
    let deleted = world.keyed(8, 1, delete).unwrap();
    assert!(made.token.is_some() && issued.token.is_some() && rotated.token.is_some());
    world.later(5_000);
    world.run(api_key(of, "later"));

    let events = world.events();
    let again = |world: &World| {
        let commands: [(Command, &Answer); 8] = [
            (found().into(), &made),
            (api_key(of, "Reporting").into(), &issued),
            (create_account(of, "Bot").into(), &bot),
            (rotate.into(), &rotated),
            (edit.clone().into(), &edited),
            (Command::DisableKey(target(of, key)), &disabled),
            (revoke(of, key).into(), &revoked),
            (delete.into(), &deleted),
        ];
        for (number, (command, first)) in (1..).zip(commands) {
            let answer = world.keyed(number, 1, command.clone()).unwrap();
            assert!(answer.replayed && answer.token.is_none());
            assert_eq!(shows(&answer), shows(first), "command {number}");
            let reused = refusal(world.keyed(number, 9, command));
            assert_eq!(reused, "Rejected(IdempotencyKeyReused)");
        }
        assert_eq!(world.events(), events, "a repeated command adds nothing");
    };
    again(&world);
    let world = world.restarted();
    again(&world);
    let mut setup = world.crashed();
    std::fs::remove_dir_all(setup.folder().path().join("snapshots")).unwrap();
    std::fs::remove_dir_all(setup.folder().path().join("views")).unwrap();
    setup.events_between_snapshots = 500_000;
    again(&setup.open());
}
