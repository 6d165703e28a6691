//! Rotation: a new secret, and how long the old one lives on.

use super::acme::Acme;
use crate::domain::command::{Actor, CreateKey, Expiry, RotateKey};
use crate::domain::decide::keys::SECRETS_PER_CREDENTIAL_MAX;
use crate::domain::ids::CredentialId;
use crate::domain::rejection::{Beyond, Rejection};
use crate::domain::time::{DAY_MS, Timestamp};

/// When each secret of a key stops being accepted, oldest first.
fn ends(acme: &Acme, key: CredentialId) -> Vec<Option<Timestamp>> {
    let key = acme.credential(key);
    let ends = key.secrets().map(|secret| secret.valid_until(key));
    ends.collect()
}

fn accepted(acme: &Acme, actor: Actor) -> bool {
    acme.state.authority(actor, acme.now).is_ok()
}

#[test]
fn a_rotation_keeps_id_and_scopes_and_the_old_value_stops_immediately() {
    let mut acme = Acme::new();
    let key = acme.key(&["admin:*"]);
    let before = acme.credential(key).clone();
    let old = acme.holder_of(key);
    let rotate = acme.rotate(key, 0);
    let done = acme.when(acme.owner, rotate).accepted();
    let token = done.token.unwrap();
    let after = acme.credential(key).clone();
    assert_eq!((after.id(), &after.grant()), (before.id(), &before.grant()));
    assert_eq!(after.secrets_len(), 2);
    assert_eq!(after.older_secrets()[0].hash, before.secret().hash);
    assert_eq!(after.secret().hash, token.hash());
    assert_eq!(ends(&acme, key), [Some(acme.now), None]);
    assert!(!accepted(&acme, old) && accepted(&acme, acme.holder_of(key)));
    let command = acme.api_key(&["cases:read"]);
    acme.when(old, command)
        .refused(Rejection::CredentialNotAccepted);
}

#[test]
fn a_grace_period_is_at_most_30_days() {
    let mut acme = Acme::new();
    let key = acme.key(&["cases:read"]);
    for (seconds, code) in [
        (0, "accepted"),
        (30 * 24 * 60 * 60, "accepted"),
        (30 * 24 * 60 * 60 + 1, "grace_too_long"),
        (u32::MAX, "grace_too_long"),
    ] {
        let rotate = acme.rotate(key, seconds);
        assert_eq!(acme.when(acme.owner, rotate).code(), code, "{seconds}");
    }
}

#[test]
fn a_key_is_rotated_a_thousand_times_at_most() {
    let mut acme = Acme::new();
    let key = acme.key(&["cases:read"]);
    for _ in 1..SECRETS_PER_CREDENTIAL_MAX {
        let rotate = acme.rotate(key, 0);
        acme.when(acme.owner, rotate).accepted();
    }
    let rotate = acme.rotate(key, 0);
    let (what, max) = ("secrets of one credential", 1_000);
    acme.when(acme.owner, rotate)
        .refused(Rejection::LimitReached { what, max });
}

#[test]
fn within_its_grace_the_old_secret_works_and_then_no_more() {
    let mut acme = Acme::new();
    let key = acme.key(&["admin:*"]);
    let old = acme.holder_of(key);
    // The old secret itself may ask for the rotation.
    let rotate = acme.rotate(key, 60);
    acme.when(old, rotate).accepted();
    let new = acme.holder_of(key);
    acme.later(59);
    assert!(accepted(&acme, old) && accepted(&acme, new));
    acme.later(1);
    assert!(!accepted(&acme, old) && accepted(&acme, new));
}

#[test]
fn a_further_rotation_ends_the_oldest_secret_at_once_and_prolongs_none() {
    let mut acme = Acme::new();
    let key = acme.key(&["cases:read"]);
    let start = acme.now;
    for grace in [3_600, 7_200] {
        let rotate = acme.rotate(key, grace);
        acme.when(acme.owner, rotate).accepted();
        acme.later(10);
    }
    let second = start.plus_ms(10_000);
    let graced = second.plus_ms(7_200_000);
    assert_eq!(ends(&acme, key), [Some(second), Some(graced), None]);
    // A secret whose grace has passed keeps the end that it had.
    acme.later(10_000);
    let rotate = acme.rotate(key, 0);
    acme.when(acme.owner, rotate).accepted();
    let now = acme.now;
    assert_eq!(
        ends(&acme, key),
        [Some(second), Some(graced), Some(now), None]
    );
    let end = acme.revoke(key);
    acme.later(5);
    acme.when(acme.owner, end).accepted();
    let last = Some(acme.now);
    assert_eq!(ends(&acme, key).last(), Some(&last));
}

/// What a rotation knows about the newest secret.
#[derive(Clone, Copy, Debug)]
enum Newest {
    /// Nothing, or that it was presented.
    Presented,
    /// That it was not.
    Unpresented,
    /// That the one before it was not: another rotation has come between.
    Outdated,
    /// That it was not, by the secret itself.
    PresentedNow,
}

#[test]
fn after_a_lost_answer_a_further_rotation_keeps_the_promised_grace() {
    // Ends are seconds after the first rotation; the second one comes 10 seconds after it.
    for (first_grace, newest, second_grace, expected) in [
        (3_600, Newest::Presented, 60, [10, 70]),
        (3_600, Newest::Outdated, 60, [10, 70]),
        (3_600, Newest::PresentedNow, 60, [10, 70]),
        (3_600, Newest::Unpresented, 60, [3_600, 10]),
        (3_600, Newest::Unpresented, 0, [3_600, 10]),
        (3_600, Newest::Unpresented, 7_200, [3_600, 10]),
        // Nothing was promised, or no longer: the newest is the one in use.
        (0, Newest::Unpresented, 60, [0, 70]),
        (10, Newest::Unpresented, 60, [10, 70]),
        (11, Newest::Unpresented, 60, [11, 10]),
    ] {
        let mut acme = Acme::new();
        let key = acme.key(&["admin:*"]);
        let start = acme.now;
        let first = acme.rotate(key, first_grace);
        acme.when(acme.owner, first).accepted();
        acme.later(10);
        let record = acme.credential(key);
        let (unpresented, actor) = match newest {
            Newest::Presented => (None, acme.owner),
            Newest::Unpresented => (Some(record.secret_id()), acme.owner),
            Newest::Outdated => (Some(record.older_secrets()[0].id), acme.owner),
            Newest::PresentedNow => (Some(record.secret_id()), acme.holder_of(key)),
        };
        let second = RotateKey {
            unpresented,
            ..acme.rotate(key, second_grace)
        };
        acme.when(actor, second).accepted();
        let expected = expected.map(|seconds| Some(start.plus_ms(seconds * 1_000)));
        let case = (first_grace, newest, second_grace);
        assert_eq!(ends(&acme, key)[..2], expected, "{case:?}");
        assert_eq!(ends(&acme, key)[2], None, "{case:?}");
    }
}

#[test]
fn any_number_of_answers_may_be_lost_within_one_grace() {
    let mut acme = Acme::new();
    let key = acme.key(&["cases:read"]);
    let deployed = acme.holder_of(key);
    let first = acme.rotate(key, 3_600);
    acme.when(acme.owner, first).accepted();
    for _ in 0..5 {
        acme.later(60);
        let lost = acme.holder_of(key);
        let again = RotateKey {
            unpresented: Some(acme.credential(key).secret_id()),
            ..acme.rotate(key, 86_400)
        };
        acme.when(acme.owner, again).accepted();
        assert!(accepted(&acme, deployed) && !accepted(&acme, lost));
    }
    acme.later(3_600 - 300);
    assert!(!accepted(&acme, deployed) && accepted(&acme, acme.holder_of(key)));
}

#[test]
fn a_grace_period_never_passes_the_expiry_nor_extends_it() {
    let mut acme = Acme::new();
    let command = CreateKey {
        expiry: Expiry::InDays(1),
        ..acme.api_key(&["cases:read"])
    };
    let key = acme.make(command);
    let expires_at = acme.credential(key).expires_at();
    let rotate = acme.rotate(key, 2 * 24 * 60 * 60);
    let outcome = acme.when(acme.owner, rotate).accepted();
    assert_eq!(acme.credential(key).expires_at(), expires_at);
    assert_eq!(expires_at, Some(acme.now.plus_ms(DAY_MS)));
    assert_eq!(acme.credential(key).older_secrets()[0].ends_at, expires_at);
    assert_eq!(ends(&acme, key), [expires_at, expires_at]);
    assert_eq!(outcome.events.len(), 1);
}

#[test]
fn a_credential_rotates_none_that_outlives_it() {
    let mut acme = Acme::new();
    let command = CreateKey {
        expiry: Expiry::InDays(1),
        ..acme.api_key(&["admin:*"])
    };
    let short = acme.make(command);
    let long = acme.key(&["cases:read"]);
    let actor = acme.holder_of(short);
    let rotate = acme.rotate(long, 0);
    acme.when(actor, rotate)
        .refused(Rejection::BeyondYourAuthority {
            why: Beyond::Expiry,
        });
    let own = acme.rotate(short, 0);
    acme.when(actor, own).accepted();
}

#[test]
fn a_disabled_key_rotates_and_stays_disabled() {
    let mut acme = Acme::new();
    let key = acme.key(&["cases:read"]);
    let (off, rotate) = (acme.disable(key), acme.rotate(key, 60));
    acme.when(acme.owner, off).accepted();
    acme.when(acme.owner, rotate).accepted();
    assert!(acme.credential(key).disabled());
    let new = acme.holder_of(key);
    assert!(!accepted(&acme, new));
}
