//! API keys: created, edited, disabled, enabled, revoked.

use super::acme::{Acme, key_of, strings};
use crate::domain::command::{Actor, Command, CreateKey, Expiry, KeyTarget, RevokeKey, UpdateKey};
use crate::domain::record::Status;
use crate::domain::rejection::{Beyond, Rejection};
use crate::domain::time::{DAY_MS, Timestamp};

#[test]
fn the_full_value_appears_only_once_in_the_response_that_created_it() {
    let mut acme = Acme::new();
    let command = CreateKey {
        description: Some(String::from("SOC deploy pipeline")),
        project: Some(acme.project),
        expiry: Expiry::InDays(365),
        ..acme.api_key(&["analysis:run", "projects:read", "cases:write"])
    };
    let done = acme.when(acme.owner, command).accepted();
    let raw_key = done.token.as_ref().unwrap().reveal().to_owned();
    let key = acme.credential(key_of(&done)).clone();
    assert_eq!(
        key.grant().scopes,
        ["analysis:run", "projects:read", "cases:write"]
    );
    assert_eq!(key.secret().shown_prefix(), raw_key[..12]);
    assert_eq!(key.secret().hint.to_string(), raw_key[raw_key.len() - 4..]);
    assert_eq!(key.project(), Some(acme.project));
    assert_eq!(key.expires_at(), Some(acme.now.plus_ms(365 * DAY_MS)));
    assert_eq!(
        key.stamp().created_by.unwrap().to_string(),
        acme.ann.to_string()
    );
    // Dropping the answer leaves no trace of it: not in the log, not in a debug print.
    let random = &raw_key[raw_key.len() - 72..];
    let log = acme.log.concat();
    assert!(!String::from_utf8(log).unwrap().contains(random));
    assert!(!format!("{done:?} {:?}", acme.state).contains(random));
}

#[test]
fn accepted_scopes_are_the_catalogues_and_unknown_ones_are_refused() {
    let mut acme = Acme::new();
    let many: Vec<String> = (0..101).map(|n| format!("cases:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (scopes, code) in [
        (
            &["projects:read", "projects:write", "rulesets:read"][..],
            "accepted",
        ),
        (
            &["rulesets:write", "analysis:run", "cases:read"],
            "accepted",
        ),
        (
            &["cases:write", "reviews:read", "reviews:write"],
            "accepted",
        ),
        (&["versions:read", "versions:write", "admin:*"], "accepted"),
        (&[], "field_empty"),
        (&["cases:delete"], "unknown_scope"),
        (&["cases:read", "Cases:read"], "unknown_scope"),
        (&["cases:*"], "unknown_scope"),
        (&[" cases:read"], "unknown_scope"),
        (&[""], "unknown_scope"),
        (&["*"], "scope_not_for_kind"),
        (&["cases:read", "cases:read"], "scope_twice"),
        (&many, "field_too_long"),
        (&["platform:*"], "beyond_your_authority"),
    ] {
        let command = acme.api_key(scopes);
        assert_eq!(acme.when(acme.owner, command).code(), code, "{scopes:?}");
    }
}

#[test]
fn an_expiry_is_one_to_3650_days_or_an_instant_to_come() {
    let mut acme = Acme::new();
    let now = acme.now;
    let days = |days: i64| Some(now.plus_ms(days * DAY_MS));
    let latest = Timestamp::parse("9999-12-31T23:59:59.999Z").unwrap();
    for (expiry, expected) in [
        (Expiry::Never, Ok(None)),
        (Expiry::InDays(1), Ok(days(1))),
        (Expiry::InDays(3650), Ok(days(3650))),
        (Expiry::At(now.plus_ms(1)), Ok(Some(now.plus_ms(1)))),
        (Expiry::At(Timestamp(i64::MAX)), Ok(Some(latest))),
        (Expiry::InDays(0), Err(Rejection::ExpiryDaysOutOfRange)),
        (Expiry::InDays(3651), Err(Rejection::ExpiryDaysOutOfRange)),
        (
            Expiry::InDays(u32::MAX),
            Err(Rejection::ExpiryDaysOutOfRange),
        ),
        (Expiry::At(now), Err(Rejection::ExpiryInPast)),
        (
            Expiry::At(Timestamp(i64::MIN)),
            Err(Rejection::ExpiryInPast),
        ),
    ] {
        let command = CreateKey {
            expiry,
            ..acme.api_key(&["cases:read"])
        };
        let outcome = acme.when(acme.owner, command);
        match expected {
            Ok(at) => {
                let key = key_of(&outcome.accepted());
                assert_eq!(acme.credential(key).expires_at(), at, "{expiry:?}");
            }
            Err(why) => outcome.refused(why),
        }
    }
}

#[test]
fn metadata_is_at_most_4096_bytes_of_keys_and_values() {
    let mut acme = Acme::new();
    let mut command = acme.api_key(&["cases:read"]);
    // The longest accepted command still fits one payload, however its text is escaped.
    command.name = "\"".repeat(200);
    command.description = Some("\u{10ffff}".repeat(2_000));
    let metadata = &mut command.metadata;
    metadata.insert("\u{0}".repeat(2_048), "\u{1}".repeat(2_048));
    acme.when(acme.owner, command.clone()).accepted();
    command.metadata.insert(String::new(), String::from("x"));
    acme.when(acme.owner, command)
        .refused(Rejection::MetadataTooLarge);
    let mut long = acme.api_key(&["cases:read"]);
    long.description = Some("x".repeat(2_001));
    assert_eq!(acme.when(acme.owner, long).code(), "field_too_long");
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let mut acme = Acme::new();
    let project = acme.project;
    let manager = acme.bearer(&["member:manage", "cases:read"]);
    let mut bound = acme.api_key(&["admin:*"]);
    bound.project = Some(project);
    let bound = acme.make(bound);
    let bound = acme.holder_of(bound);
    let mut short = acme.api_key(&["admin:*"]);
    short.expiry = Expiry::InDays(10);
    let short = acme.make(short);
    let short = acme.holder_of(short);
    let other = acme.project("Shop");
    for (actor, scope, project, days, beyond) in [
        (manager, "cases:read", None, None, None),
        (manager, "cases:write", None, None, Some(Beyond::Scopes)),
        (manager, "admin:*", None, None, Some(Beyond::Scopes)),
        (acme.admin, "admin:*", None, None, None),
        (acme.owner, "platform:*", None, None, Some(Beyond::Platform)),
        (acme.platform, "platform:*", None, None, None),
        (acme.platform, "admin:*", None, None, None),
        (bound, "cases:read", Some(acme.project), None, None),
        (bound, "cases:read", None, None, Some(Beyond::Project)),
        (
            bound,
            "cases:read",
            Some(other),
            None,
            Some(Beyond::Project),
        ),
        (short, "cases:read", None, Some(10), None),
        (short, "cases:read", None, Some(11), Some(Beyond::Expiry)),
        (short, "cases:read", None, None, Some(Beyond::Expiry)),
    ] {
        let command = CreateKey {
            project,
            expiry: days.map_or(Expiry::Never, Expiry::InDays),
            ..acme.api_key(&[scope])
        };
        let outcome = acme.when(actor, command);
        match beyond {
            None => drop(outcome.accepted()),
            Some(why) => outcome.refused(Rejection::BeyondYourAuthority { why }),
        }
    }
}

#[test]
fn an_edit_is_partial_and_says_what_changed() {
    let mut acme = Acme::new();
    let key = acme.key(&["cases:read", "cases:write"]);
    let nothing = acme.edit(key);
    acme.when(acme.owner, nothing).then_nothing();
    let same = UpdateKey {
        name: Some(String::from("CI pipeline")),
        description: Some(None),
        scopes: Some(strings(&["cases:read", "cases:write"])),
        ..acme.edit(key)
    };
    acme.when(acme.owner, same).then_nothing();
    assert_eq!(acme.credential(key).stamp().version, 1);
    let both = UpdateKey {
        name: Some(String::from("Deploy")),
        description: Some(Some(String::from("of the site"))),
        scopes: Some(strings(&["cases:read"])),
        ..acme.edit(key)
    };
    acme.when(acme.owner, both).then(&[
        &format!(
            r#"api_key.updated {key} {{"changed":["name","description"],"name":"Deploy",
            "description":"of the site","role":null,"expires_at":null,"metadata":{{}},
            "replaced_by":null}}"#
        ),
        &format!(r#"api_key.scopes_edited {key} {{"scopes":["cases:read"]}}"#),
    ]);
    let cleared = UpdateKey {
        description: Some(None),
        ..acme.edit(key)
    };
    acme.when(acme.owner, cleared).accepted();
    let record = acme.credential(key);
    assert_eq!((record.stamp().version, record.name()), (4, "Deploy"));
    assert_eq!((record.description(), record.secrets_len()), (None, 1));
}

#[test]
fn an_edit_needs_authority_over_the_key_before_and_after() {
    let mut acme = Acme::new();
    let manager = acme.bearer(&["member:manage", "cases:read"]);
    let (strong, weak) = (acme.key(&["cases:write"]), acme.key(&["cases:read"]));
    let beyond = || Rejection::BeyondYourAuthority {
        why: Beyond::Scopes,
    };
    let scopes = |acme: &Acme, key, scope| UpdateKey {
        scopes: Some(strings(&[scope])),
        ..acme.edit(key)
    };
    let narrowed = scopes(&acme, strong, "cases:read");
    acme.when(manager, narrowed).refused(beyond());
    let widened = scopes(&acme, weak, "cases:write");
    acme.when(manager, widened).refused(beyond());
    for command in [acme.rotate(strong, 0).into(), acme.enable(strong)] {
        acme.when(manager, command).refused(beyond());
    }
    // Ending or disabling something stronger needs the management permission only.
    let off = acme.disable(strong);
    acme.when(manager, off).accepted();
    let end = acme.revoke(strong);
    acme.when(manager, end).accepted();
    let platform = acme.key(&["platform:*"]);
    let rotate = acme.rotate(platform, 0);
    acme.when(acme.owner, rotate)
        .refused(Rejection::BeyondYourAuthority {
            why: Beyond::Platform,
        });
}

#[test]
fn revokes_the_key_immediately_and_irreversibly() {
    let mut acme = Acme::new();
    let key = acme.key(&["admin:*"]);
    let holder = acme.holder_of(key);
    let reason = "Manually rotated after leak";
    let command = RevokeKey {
        reason: Some(reason.to_owned()),
        ..acme.revoke(key)
    };
    acme.when(acme.owner, command.clone()).then(&[&format!(
        r#"api_key.revoked {key} {{"reason":"{reason}","cause":null}}"#
    )]);
    // Revoking twice: the same answer, no new event, the first reason stays.
    acme.when(acme.owner, command).then_nothing();
    let again = acme.revoke(key);
    acme.when(acme.owner, again).then_nothing();
    let ended = acme.credential(key).ended().unwrap();
    assert_eq!(ended.reason.as_deref(), Some(reason));
    let command = acme.api_key(&["cases:read"]);
    acme.when(holder, command)
        .refused(Rejection::CredentialNotAccepted);
    let mut edit = acme.edit(key);
    edit.name = Some(String::from("Alive"));
    let rotate = acme.rotate(key, 0);
    for command in [
        edit.into(),
        rotate.into(),
        acme.enable(key),
        acme.disable(key),
    ] {
        acme.when(acme.owner, command)
            .refused(Rejection::CredentialEnded);
    }
    let long = RevokeKey {
        reason: Some("x".repeat(501)),
        ..acme.revoke(key)
    };
    assert_eq!(acme.when(acme.owner, long).code(), "field_too_long");
}

#[test]
fn a_disabled_key_is_refused_until_it_is_enabled() {
    let mut acme = Acme::new();
    let key = acme.key(&["admin:*"]);
    let holder = acme.holder_of(key);
    let (off, on) = (acme.disable(key), acme.enable(key));
    acme.when(acme.owner, on.clone()).then_nothing();
    acme.when(holder, off.clone())
        .then(&[&format!("api_key.disabled {key} {{}}")]);
    acme.when(acme.owner, off).then_nothing();
    assert_eq!(acme.credential(key).status(acme.now), Status::Disabled);
    acme.when(holder, on.clone())
        .refused(Rejection::CredentialNotAccepted);
    acme.when(acme.owner, on)
        .then(&[&format!("api_key.enabled {key} {{}}")]);
    assert_eq!(acme.credential(key).status(acme.now), Status::Active);
}

#[test]
fn an_expired_key_has_ended_and_can_still_be_revoked() {
    let mut acme = Acme::new();
    let command = CreateKey {
        expiry: Expiry::InDays(1),
        ..acme.api_key(&["admin:*"])
    };
    let key = acme.make(command);
    let holder = acme.holder_of(key);
    acme.later(24 * 60 * 60 - 1);
    assert_eq!(acme.credential(key).status(acme.now), Status::Active);
    acme.later(1);
    assert_eq!(acme.credential(key).status(acme.now), Status::Expired);
    let (enable, rotate) = (acme.enable(key), acme.rotate(key, 0));
    acme.when(holder, enable.clone())
        .refused(Rejection::CredentialNotAccepted);
    acme.when(acme.owner, enable)
        .refused(Rejection::CredentialEnded);
    acme.when(acme.owner, rotate)
        .refused(Rejection::CredentialEnded);
    let end = acme.revoke(key);
    acme.when(acme.owner, end).accepted();
    assert_eq!(acme.credential(key).status(acme.now), Status::Revoked);
}

#[test]
fn another_organizations_key_is_the_same_as_none() {
    let mut acme = Acme::new();
    let key = acme.key(&["cases:read"]);
    let none = || Rejection::NotFound { what: "key" };
    let theirs = KeyTarget {
        organization: acme.globex,
        ..acme.target(key)
    };
    let nobodys = KeyTarget {
        key: crate::domain::ids::CredentialId(ulid::Ulid(1 << 90)),
        ..theirs
    };
    for target in [theirs, nobodys] {
        let command = RevokeKey {
            target,
            reason: None,
        };
        acme.when(acme.stranger, command).refused(none());
    }
    let command = acme.revoke(key);
    acme.when(acme.stranger, command)
        .refused(Rejection::NotFound {
            what: "organization",
        });
}

#[test]
fn whoever_holds_a_secret_may_end_its_credential_and_no_other() {
    let mut acme = Acme::new();
    let (key, other) = (acme.key(&["cases:read"]), acme.key(&["cases:read"]));
    let holder = acme.holder_of(key);
    let itself = Command::RevokeItself(acme.organization);
    // What it ends is its own credential; another one takes the permission.
    let another = acme.revoke(other);
    assert_eq!(acme.when(holder, another).code(), "forbidden");
    assert_eq!(
        acme.when(Actor::Operator, itself.clone()).code(),
        "forbidden"
    );
    acme.when(holder, itself.clone()).then(&[&format!(
        r#"api_key.revoked {key} {{"reason":null,"cause":null}}"#
    )]);
    acme.when(holder, itself.clone())
        .refused(Rejection::CredentialNotAccepted);
    // Neither a disabled credential nor a rotated secret is a proof.
    let holder = acme.holder_of(other);
    let (off, on, rotate) = (
        acme.disable(other),
        acme.enable(other),
        acme.rotate(other, 0),
    );
    acme.when(acme.owner, off).accepted();
    acme.when(holder, itself.clone())
        .refused(Rejection::CredentialNotAccepted);
    acme.when(acme.owner, on).accepted();
    acme.when(acme.owner, rotate).accepted();
    acme.when(holder, itself)
        .refused(Rejection::CredentialNotAccepted);
}
