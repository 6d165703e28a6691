//! Quotas: what counts, what is refused, and what never is.

use super::company::{create_organization, organization};
use super::{Setup, World, api_key, credential, idempotency, revoke, submission, target};
use crate::domain::command::{Actor, Command, KeyTarget, UpdateKey};
use crate::domain::ids::{CredentialId, OrganizationId};
use crate::domain::record::Metadata;
use crate::ledger::quota::{
    BYTES_AT_ONCE, BYTES_PER_SECOND, CREATIONS_AT_ONCE, CREATIONS_PER_SECOND, Quotas,
};
use crate::ledger::{Answer, Submission, SubmitError};
use crate::log::{Disk, MemoryDisk};

const ACME: OrganizationId = OrganizationId(ulid::Ulid(1));
const GLOBEX: OrganizationId = OrganizationId(ulid::Ulid(2));

/// What comes of a client's command: an event, nothing, or the name of the refusal.
fn outcome(result: Result<Answer, SubmitError>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(SubmitError::TooManyBytes(_)) => "too many bytes",
        Err(SubmitError::TooManyCreations(_)) => "too many creations",
        Err(_) => "another refusal",
    }
}

fn by_client(world: &World, of: OrganizationId, command: impl Into<Command>) -> &'static str {
    outcome(world.ledger.submit_blocking(Submission {
        client_of: Some(of),
        ..submission(Actor::Operator, command)
    }))
}

/// An edit of 24 KB: metadata that JSON escapes.
fn edit(key: KeyTarget, number: u32) -> UpdateKey {
    let text = "\u{1}".repeat(4_000);
    UpdateKey {
        metadata: Some(Metadata::from([(format!("k{number}"), text)])),
        ..UpdateKey::of(key)
    }
}

#[test]
fn an_organization_appends_as_much_as_its_bucket_holds_and_still_revokes() {
    let setup = Setup {
        disk: Disk::Memory(MemoryDisk::new(1)),
        ..Setup::new(1)
    };
    let mut world = setup.create();
    let acme = organization(&world.run(create_organization("Acme", "ann@acme.example")));
    let globex = organization(&world.run(create_organization("Globex", "bob@globex.example")));
    let key = credential(&world.run(api_key(acme, "deploy"))).id();
    let other = credential(&world.run(api_key(globex, "deploy"))).id();
    let (key_at, other_at) = (target(acme, key), target(globex, other));
    let repeated = || Submission {
        client_of: Some(acme),
        idempotency: Some(idempotency(1, 1)),
        ..submission(Actor::Operator, api_key(acme, "once"))
    };
    assert_eq!(outcome(world.ledger.submit_blocking(repeated())), "done");

    // Refused commands, edits that change nothing and repeated answers append nothing.
    let nothing = || UpdateKey::of(target(acme, key));
    let refused = || UpdateKey {
        name: Some(String::new()),
        ..UpdateKey::of(target(acme, key))
    };
    for _ in 0..100 {
        assert_eq!(by_client(&world, acme, refused()), "another refusal");
    }
    let taken = (0..2_000).take_while(|n| by_client(&world, acme, edit(key_at, *n)) == "done");
    let bytes = u64::try_from(BYTES_AT_ONCE).unwrap();
    let edits = taken.count() as u64;
    assert!(
        (bytes / 26_000..=bytes / 24_000).contains(&edits),
        "{edits}"
    );

    for (command, expected) in [
        (edit(key_at, 9_999).into(), "too many bytes"),
        (Command::from(api_key(acme, "new")), "too many bytes"),
        (nothing().into(), "done"),
        (refused().into(), "another refusal"),
        (Command::DisableKey(key_at), "done"),
        (Command::EnableKey(key_at), "too many bytes"),
    ] {
        assert_eq!(by_client(&world, acme, command), expected);
    }
    assert_eq!(outcome(world.ledger.submit_blocking(repeated())), "done");
    assert_eq!(by_client(&world, globex, edit(other_at, 0)), "done");
    assert_eq!(by_client(&world, acme, revoke(acme, key)), "done");
    // It fills as time goes on.
    world.later(1_000);
    assert_eq!(by_client(&world, acme, api_key(acme, "new")), "done");
}

#[test]
fn creations_and_bytes_come_back_at_a_steady_rate() {
    let creation = Command::from(api_key(ACME, "key"));
    let edit = Command::from(UpdateKey::of(target(ACME, CredentialId(ulid::Ulid(7)))));
    let mut quotas = Quotas::default();
    let mut created = |organization, now_ms| {
        let taken = (0..=CREATIONS_AT_ONCE).take_while(|_| {
            let may = quotas.check(organization, &creation, now_ms).is_ok();
            if may {
                quotas.count_creation(organization, now_ms);
            }
            may
        });
        i64::try_from(taken.count()).unwrap()
    };
    assert_eq!(created(ACME, 5_000), CREATIONS_AT_ONCE);
    assert_eq!(created(ACME, 5_001), CREATIONS_PER_SECOND / 1_000);
    assert_eq!(created(ACME, 5_501), CREATIONS_PER_SECOND / 2);
    // A clock set back gives nothing.
    assert_eq!(created(ACME, 4_000), 0);
    assert_eq!(created(GLOBEX, 5_501), CREATIONS_AT_ONCE);
    assert_eq!(created(ACME, 60_000), CREATIONS_AT_ONCE);
    assert!(
        quotas.check(ACME, &edit, 60_000).is_ok(),
        "it creates nothing"
    );

    // What cannot be refused goes below nothing, by a bucket at most.
    for _ in 0..10 {
        quotas.count_bytes(ACME, usize::try_from(BYTES_AT_ONCE).unwrap(), 60_000);
    }
    let back_ms = BYTES_AT_ONCE / BYTES_PER_SECOND * 1_000;
    for (now_ms, expected) in [
        (60_000, Some(back_ms)),
        (60_000 + back_ms - 1_000, Some(1_000)),
        (60_000 + back_ms + 1, None),
    ] {
        let wait_ms = match quotas.check(ACME, &edit, now_ms) {
            Err(SubmitError::TooManyBytes(wait)) => i64::try_from(wait.as_millis()).ok(),
            Ok(()) | Err(_) => None,
        };
        assert_eq!(wait_ms.map(|ms| ms / 1_000 * 1_000), expected);
    }
}
