//! What happens to webhook endpoints: edited, rotated, disabled and enabled, ended.

use super::SECOND_MS;
use super::acme::{Acme, strings};
use super::endpoints::{
    GIVEN, URL, enabling, endpoint, record, rotation, text, to_url, without_seals,
};
use crate::domain::command::{
    Actor, Command, NoteEndpointFailing, RotateEndpointSecret, StopEndpoint, StopReason,
    UpdateEndpoint,
};
use crate::domain::record::{DisabledBecause, EnabledFrom, EndpointStatus, FailingNotice};
use crate::domain::rejection::Rejection;

const DAY: u32 = 24 * 60 * 60;

#[test]
fn an_edit_says_what_changed_and_another_host_gets_another_secret() {
    let mut acme = Acme::new();
    let target = endpoint(&mut acme, &["api_key.*"]);
    let id = target.endpoint;
    let nothing = UpdateEndpoint {
        url: Some(String::from(URL)),
        description: Some(None),
        event_types: Some(strings(&["api_key.*"])),
        ordered: Some(false),
        ..UpdateEndpoint::of(target)
    };
    acme.when(acme.owner, nothing).then_nothing();
    let all = UpdateEndpoint {
        url: Some(String::from("https://HOOKS.example:443/other")),
        description: Some(Some(String::from("Chat"))),
        event_types: Some(strings(&["*"])),
        ordered: Some(true),
        ..UpdateEndpoint::of(target)
    };
    let before = record(&acme, target).secrets.clone();
    acme.when(acme.owner, all).then(&[&format!(
        r#"webhook_endpoint.updated {id} {{"changed":["url","description","event_types","ordered"],
            "url":"https://HOOKS.example:443/other","description":"Chat","event_types":["*"],
            "ordered":true,"secret":null}}"#
    )]);
    let after = record(&acme, target);
    assert_eq!(after.secrets, before, "the host is the same");
    assert!(after.event_types.matches("member.added") && after.ordered);
    acme.when(acme.owner, rotation(target, DAY)).accepted();
    for url in [
        "https://hooks.example:8443/other",
        "http://hooks.example/other",
        "https://other.example/",
        "https://hooks.example.other.example/",
    ] {
        let before = record(&acme, target).secrets[0].clone();
        let done = acme.when(acme.owner, to_url(target, url)).accepted();
        let shown = done.endpoint_secret.unwrap().reveal().to_owned();
        let [secret] = record(&acme, target).secrets.as_slice() else {
            panic!("{url}: the old ones have ended");
        };
        assert_eq!(secret.key.text(), Some(&*shown), "{url}");
        assert_ne!(secret.key.text(), before.key.text(), "{url}");
    }
    let path = to_url(target, "https://hooks.example.other.example/b");
    let done = acme.when(acme.owner, path).accepted();
    assert!(done.endpoint_secret.is_none());
}

#[test]
fn a_rotation_lets_the_secrets_sign_that_a_receiver_may_have() {
    let mut acme = Acme::new();
    let target = endpoint(&mut acme, &["*"]);
    let signing = |acme: &Acme| {
        let secrets = record(acme, target).secrets.iter();
        let signing = secrets.filter(|secret| secret.signs_at(acme.now));
        signing.map(|secret| secret.id).collect::<Vec<_>>()
    };
    let rotate = |acme: &mut Acme, overlap| {
        acme.later(1);
        let done = acme.when(acme.owner, rotation(target, overlap)).accepted();
        assert!(done.endpoint_secret.is_some());
        signing(acme)[0]
    };
    let deployed = signing(&acme)[0];
    // Answers that are lost, one after another: the receiver's own secret signs as promised.
    let second = rotate(&mut acme, DAY);
    let third = rotate(&mut acme, DAY);
    assert_eq!(signing(&acme), [third, second, deployed]);
    let fourth = rotate(&mut acme, DAY);
    assert_eq!(signing(&acme), [fourth, third, deployed]);
    acme.later(i64::from(DAY) - 3);
    assert_eq!(signing(&acme), [fourth, third, deployed]);
    acme.later(1);
    assert_eq!(signing(&acme), [fourth, third]);
    // A shorter overlap is one for all.
    let fifth = rotate(&mut acme, 60);
    assert_eq!(signing(&acme), [fifth, fourth, third]);
    acme.later(59);
    assert_eq!(signing(&acme), [fifth, fourth]);
    acme.later(1);
    assert_eq!(signing(&acme), [fifth]);
    // Without one, all end that others may know.
    let sixth = rotate(&mut acme, 30 * DAY);
    assert_eq!(signing(&acme), [sixth, fifth]);
    let seventh = rotate(&mut acme, 0);
    assert_eq!(signing(&acme), [seventh]);

    let with = RotateEndpointSecret {
        secret: text(GIVEN),
        ..rotation(target, 0)
    };
    let until = acme.now;
    let lines = without_seals(acme.when(acme.owner, with));
    let end =
        format!(r#""public_key":null}},"previous_valid_until":"{until}","earlier_kept":false}}"#);
    assert!(lines[0].ends_with(&end), "{lines:?}");
    assert_eq!(record(&acme, target).secrets[0].key.text(), Some(GIVEN));
    acme.when(acme.owner, rotation(target, 30 * DAY + 1))
        .refused(Rejection::OverlapTooLong);
}

#[test]
fn what_is_disabled_goes_on_where_it_stopped_or_at_the_present() {
    let mut acme = Acme::new();
    let target = endpoint(&mut acme, &["*"]);
    let id = target.endpoint;
    let from = record(&acme, target).from;
    let stop = Command::DisableEndpoint(target);
    let start = |from| Command::from(enabling(target, from));
    acme.when(acme.owner, start(EnabledFrom::Now))
        .then_nothing();
    acme.when(acme.owner, stop.clone()).then(&[&format!(
        r#"webhook_endpoint.disabled {id} {{"because":"requested","status_code":null}}"#
    )]);
    acme.when(acme.owner, stop.clone()).then_nothing();
    acme.when(acme.owner, start(EnabledFrom::WhereItStopped))
        .then(&[&format!(
            r#"webhook_endpoint.enabled {id} {{"from":"where_it_stopped"}}"#
        )]);
    assert_eq!(record(&acme, target).from, from);
    acme.when(acme.owner, stop).accepted();
    let position = acme.log.len() as u64;
    acme.when(acme.owner, start(EnabledFrom::Now))
        .then(&[&format!(
            r#"webhook_endpoint.enabled {id} {{"from":"now"}}"#
        )]);
    assert_eq!(record(&acme, target).from, position + 1);
    assert!(record(&acme, target).is_active());
}

#[test]
fn what_has_been_deleted_stays_so_and_takes_no_more() {
    let mut acme = Acme::new();
    let target = endpoint(&mut acme, &["*"]);
    let delete = Command::DeleteEndpoint(target);
    acme.when(acme.owner, delete.clone()).then(&[&format!(
        "webhook_endpoint.deleted {} {{}}",
        target.endpoint
    )]);
    acme.when(acme.owner, delete).then_nothing();
    for command in [
        Command::from(UpdateEndpoint::of(target)),
        rotation(target, 0).into(),
        enabling(target, EnabledFrom::Now).into(),
        Command::DisableEndpoint(target),
    ] {
        acme.when(acme.owner, command)
            .refused(Rejection::WebhookEndpointDeleted);
    }
    assert_eq!(record(&acme, target).status, EndpointStatus::Deleted);
}

#[test]
fn failing_is_noted_once_a_stage_and_enabling_forgets_it() {
    let mut acme = Acme::new();
    let target = endpoint(&mut acme, &["*"]);
    let id = target.endpoint;
    let (first, second) = (acme.now, acme.now.plus_ms(SECOND_MS));
    let note = |percent, since| {
        Command::from(NoteEndpointFailing {
            organization: target.organization,
            endpoint: id,
            percent,
            since,
        })
    };
    acme.when(Actor::System, note(50, first)).then(&[&format!(
        r#"webhook_endpoint.failing {id} {{"percent":50,"since":"{first}"}}"#
    )]);
    for (percent, since, events) in [
        (50, first, 0),
        (70, first, 1),
        (50, first, 0),
        (50, second, 1),
        (90, second, 1),
    ] {
        let done = acme.when(Actor::System, note(percent, since)).accepted();
        assert_eq!(done.events.len(), events, "{percent} {since}");
    }
    let (percent, since) = (90, second);
    let noted = Some(FailingNotice { percent, since });
    assert_eq!(record(&acme, target).failing, noted);
    acme.when(acme.owner, Command::DisableEndpoint(target))
        .accepted();
    acme.when(Actor::System, note(99, second)).then_nothing();
    assert_eq!(record(&acme, target).failing, noted);
    acme.when(acme.owner, enabling(target, EnabledFrom::WhereItStopped))
        .accepted();
    assert_eq!(record(&acme, target).failing, None);
}

#[test]
fn the_program_stops_what_is_gone_or_does_nothing_but_fail() {
    let mut acme = Acme::new();
    for (because, status_code, stored, reason) in [
        (
            StopReason::Gone,
            Some(410),
            r#"{"because":"gone","status_code":410}"#,
            DisabledBecause::Gone,
        ),
        (
            StopReason::Failing,
            None,
            r#"{"because":"failing","status_code":null}"#,
            DisabledBecause::Failing,
        ),
    ] {
        let target = endpoint(&mut acme, &["*"]);
        let stop = Command::from(StopEndpoint {
            organization: target.organization,
            endpoint: target.endpoint,
            because,
            status_code,
        });
        let expected = format!("webhook_endpoint.disabled {} {stored}", target.endpoint);
        acme.when(Actor::System, stop.clone()).then(&[&expected]);
        acme.when(Actor::System, stop.clone()).then_nothing();
        let status = EndpointStatus::Disabled(reason);
        assert_eq!(record(&acme, target).status, status);
        acme.when(acme.owner, Command::DeleteEndpoint(target))
            .accepted();
        acme.when(Actor::System, stop).then_nothing();
    }
}

#[test]
fn notes_are_the_programs_alone_and_of_the_organizations_own() {
    let mut acme = Acme::new();
    let target = endpoint(&mut acme, &["*"]);
    let globex = acme.globex;
    let commands = |organization| {
        let note = NoteEndpointFailing {
            organization,
            endpoint: target.endpoint,
            percent: 50,
            since: super::START,
        };
        let stop = StopEndpoint {
            organization,
            endpoint: target.endpoint,
            because: StopReason::Gone,
            status_code: None,
        };
        [Command::from(note), stop.into()]
    };
    for command in commands(target.organization) {
        for actor in [acme.owner, acme.platform, Actor::Operator] {
            acme.when(actor, command.clone())
                .refused(Rejection::ServerOnly);
        }
    }
    for command in commands(globex) {
        acme.when(Actor::System, command)
            .refused(Rejection::NotFound {
                what: "webhook endpoint",
            });
    }
    assert!(record(&acme, target).is_active());
}

#[test]
fn the_order_of_checks() {
    let mut acme = Acme::new();
    let target = endpoint(&mut acme, &["*"]);
    acme.when(acme.owner, Command::DeleteEndpoint(target))
        .accepted();
    let (reader, writer) = (
        acme.bearer(&["keys:read", "ledger:read"]),
        acme.bearer(&["webhooks:write"]),
    );
    let wrong = Command::from(to_url(target, "nonsense"));
    let right = Command::from(to_url(target, "https://hooks.example/b"));
    for (expected, actor, command, version) in [
        ("credential_not_accepted", Actor::System, &wrong, 9),
        ("not_found", acme.stranger, &wrong, 9),
        ("forbidden", reader, &wrong, 9),
        ("url_refused", writer, &wrong, 9),
        ("forbidden", writer, &right, 9),
        ("version_mismatch", acme.owner, &right, 9),
        ("webhook_endpoint_deleted", acme.owner, &right, 2),
    ] {
        let outcome = acme.when_at_version(actor, command.clone(), version);
        assert_eq!(outcome.code(), expected, "{command:?}");
    }
}
