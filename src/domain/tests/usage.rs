//! What the program notes of how credentials are used.

use super::acme::Acme;
use crate::domain::command::{Actor, Command, EndedSecretUse, SealUsage};
use crate::domain::digest::Digest32;
use crate::domain::event::EndedCode;
use crate::domain::ids::CredentialId;

const HOUR: i64 = 60 * 60;

fn note(acme: &Acme, key: CredentialId) -> Command {
    let secret = acme.credential(key).secret_id();
    Command::NoteEndedSecretUse(EndedSecretUse {
        key,
        secret,
        code: EndedCode::Revoked,
        uses: 7,
        first_at: acme.now,
        last_at: acme.now,
    })
}

#[test]
fn an_ended_secret_that_is_presented_is_noted_once_an_hour_at_most() {
    let mut acme = Acme::new();
    let key = acme.key(&["cases:read"]);
    let revoke = acme.revoke(key);
    acme.when(acme.owner, revoke).accepted();
    let before = acme.credential(key).clone();
    for (later, code) in [
        (0, "accepted"),
        (HOUR - 1, "ended_use_already_recorded"),
        (1, "accepted"),
        (HOUR - 1, "ended_use_already_recorded"),
    ] {
        acme.later(later);
        let note = note(&acme, key);
        assert_eq!(acme.when(Actor::System, note).code(), code, "{later}");
    }
    let after = acme.credential(key);
    assert_eq!(after.stamp().version, before.stamp().version + 2);
    assert_eq!(after.ended(), before.ended());
    assert_eq!(acme.replayed().credential(key), acme.state.credential(key));
}

#[test]
fn a_note_is_the_programs_alone_and_of_the_credentials_own_secret() {
    let mut acme = Acme::new();
    let (key, other) = (acme.key(&["cases:read"]), acme.key(&["cases:read"]));
    let own = note(&acme, key);
    for actor in [acme.owner, Actor::Operator] {
        assert_eq!(acme.when(actor, own.clone()).code(), "server_only");
    }
    let Command::NoteEndedSecretUse(mut mixed) = own else {
        panic!("{own:?}");
    };
    mixed.secret = acme.credential(other).secret_id();
    let mixed = Command::NoteEndedSecretUse(mixed);
    assert_eq!(acme.when(Actor::System, mixed).code(), "not_found");
}

#[test]
fn segments_of_the_usage_history_are_anchored_once_and_in_order() {
    let mut acme = Acme::new();
    for (actor, from, to, code) in [
        (acme.owner, 0, 64, "server_only"),
        (Actor::Operator, 0, 64, "server_only"),
        (Actor::System, 0, 0, "usage_already_anchored"),
        (Actor::System, 0, 64, "accepted"),
        (Actor::System, 0, 64, "usage_already_anchored"),
        (Actor::System, 63, 128, "usage_already_anchored"),
        (Actor::System, 64, 128, "accepted"),
        // What was lost before it was anchored shows as a gap between addresses.
        (Actor::System, 256, 320, "accepted"),
    ] {
        let seal = Command::SealUsage(SealUsage {
            from,
            to,
            segments: 1,
            records: 5,
            first_at: acme.now,
            last_at: acme.now,
            digest: Digest32([1; 32]),
        });
        let outcome = acme.when(actor, seal);
        assert_eq!(outcome.code(), code, "{from}..{to}");
    }
    assert_eq!(acme.state.ledger().usage_sealed_to, 320);
    assert_eq!(acme.replayed().ledger(), acme.state.ledger());
}
