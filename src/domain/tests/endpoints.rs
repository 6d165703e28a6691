//! Webhook endpoints as they are made, and who may have what sent out.

use super::Outcome;
use super::acme::{Acme, strings};
use crate::domain::command::{
    Actor, Command, CreateEndpoint, CreateKey, EnableEndpoint, EndpointTarget,
    RotateEndpointSecret, UpdateEndpoint, UpdateProject,
};
use crate::domain::endpoint_secret::EndpointSecretText;
use crate::domain::ids::{EndpointId, Subject};
use crate::domain::record::{
    EnabledFrom, EndpointStatus, EventFilter, SignatureScheme, WebhookEndpoint, WrongEventType,
};
use crate::domain::rejection::{Beyond, Rejection};
use crate::domain::webhook_signature::SigningKey;

pub(super) const URL: &str = "https://hooks.example/keys";
/// 24 bytes, the least.
pub(super) const GIVEN: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";

/// The request for an endpoint of Acme.
pub(super) fn new(acme: &Acme, event_types: &[&str]) -> CreateEndpoint {
    CreateEndpoint {
        organization: acme.organization,
        url: String::from(URL),
        description: None,
        event_types: strings(event_types),
        project: None,
        ordered: false,
        signature: SignatureScheme::V1,
        secret: None,
    }
}

pub(super) fn made(acme: &mut Acme, command: CreateEndpoint) -> EndpointTarget {
    let organization = command.organization;
    let done = acme.when(Actor::Operator, command).accepted();
    let Subject::WebhookEndpoint(endpoint) = done.subject else {
        panic!("{done:?}");
    };
    EndpointTarget {
        organization,
        endpoint,
    }
}

pub(super) fn endpoint(acme: &mut Acme, event_types: &[&str]) -> EndpointTarget {
    let command = new(acme, event_types);
    made(acme, command)
}

pub(super) fn record(acme: &Acme, target: EndpointTarget) -> &WebhookEndpoint {
    acme.state.endpoint(target.endpoint).unwrap()
}

pub(super) fn text(secret: &str) -> Option<EndpointSecretText> {
    Some(EndpointSecretText::new(secret.to_owned()))
}

pub(super) fn rotation(target: EndpointTarget, overlap_seconds: u32) -> RotateEndpointSecret {
    RotateEndpointSecret {
        target,
        overlap_seconds,
        secret: None,
    }
}

pub(super) fn to_url(target: EndpointTarget, url: &str) -> UpdateEndpoint {
    UpdateEndpoint {
        url: Some(url.to_owned()),
        ..UpdateEndpoint::of(target)
    }
}

pub(super) fn to_types(target: EndpointTarget, event_types: &[&str]) -> UpdateEndpoint {
    UpdateEndpoint {
        event_types: Some(strings(event_types)),
        ..UpdateEndpoint::of(target)
    }
}

pub(super) fn enabling(target: EndpointTarget, from: EnabledFrom) -> EnableEndpoint {
    EnableEndpoint { target, from }
}

/// The stored form of a secret, the events' own key of the stand-in left out.
pub(super) fn without_seals(outcome: Outcome) -> Vec<String> {
    let done = outcome.accepted();
    let mut lines = Vec::new();
    for event in &done.events {
        let mut line = super::line(event);
        if let Some((before, sealed)) = line.split_once(r#"{"sealed""#) {
            let (_, after) = sealed.split_once('}').unwrap();
            line = format!("{before}SEALED{after}");
        }
        lines.push(line);
    }
    lines
}

#[test]
fn a_new_endpoint_has_a_secret_that_is_shown_once_and_starts_after_its_creation() {
    let mut acme = Acme::new();
    let [id, secret, ..] = acme.facts().ids;
    let (id, position) = (EndpointId(id), acme.log.len() as u64);
    let command = CreateEndpoint {
        description: Some(String::from("Chat\nroom")),
        project: Some(acme.project),
        ordered: true,
        ..new(&acme, &["api_key.*", "member.added"])
    };
    let done = acme.when(acme.owner, command).accepted();
    let shown = done.endpoint_secret.as_ref().unwrap().reveal().to_owned();
    let record = acme.state.endpoint(id).unwrap();
    assert_eq!(record.secrets[0].key.text(), Some(&*shown));
    assert_eq!(record.secrets[0].id.ulid(), secret);
    assert!(matches!(SigningKey::parse(&shown), Ok(SigningKey::V1(key)) if key.len() == 32));
    assert_eq!(record.from, position + 1);
    assert_eq!(record.status, EndpointStatus::Active);
    assert_eq!((done.events.len(), record.stamp.version), (1, 1));
    let line = without_seals(Outcome { result: Ok(done) });
    let secret = crate::domain::ids::SecretId(secret);
    let expected = format!(
        r#"webhook_endpoint.created {id} {{"url":"https://hooks.example/keys",
            "description":"Chat\nroom","event_types":["api_key.*","member.added"],
            "project_id":"{}","ordered":true,"signature":"v1","secret":{{"id":"{secret}",
            "key":SEALED,"public_key":null}},"created_by":"{}"}}"#,
        acme.project, acme.ann
    );
    let expected = expected.lines().map(str::trim_start);
    assert_eq!(line, [expected.collect::<String>()]);
}

#[test]
fn a_key_pair_shows_its_public_half_alone() {
    let mut acme = Acme::new();
    let command = CreateEndpoint {
        signature: SignatureScheme::V1a,
        ..new(&acme, &["*"])
    };
    let done = acme.when(acme.owner, command.clone()).accepted();
    assert!(done.endpoint_secret.is_none());
    let Subject::WebhookEndpoint(id) = done.subject else {
        panic!("{done:?}");
    };
    let secret = &acme.state.endpoint(id).unwrap().secrets[0];
    let key = SigningKey::parse(secret.key.text().unwrap()).unwrap();
    assert!(matches!(key, SigningKey::V1a(_)));
    assert_eq!(secret.public_key, key.public_text());
    assert!(secret.public_key.as_ref().unwrap().starts_with("whpk_"));
    let given = CreateEndpoint {
        secret: text(GIVEN),
        ..command
    };
    let outcome = acme.when(acme.owner, given);
    assert_eq!(outcome.code(), "signing_secret_invalid");
}

#[test]
fn a_secret_that_is_given_is_taken_as_it_is_or_refused_with_its_fault() {
    let mut acme = Acme::new();
    let long = format!("whsec_{}", "QUFB".repeat(22));
    let with = |acme: &Acme, secret: &str| CreateEndpoint {
        secret: text(secret),
        ..new(acme, &["*"])
    };
    for (secret, expected) in [
        ("", "begins with whsec_"),
        ("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB", "begins with whsec_"),
        ("whsec_", "this one 0"),
        ("whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", "this one 23"),
        (&long, "this one 66"),
        (
            "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUF",
            "not standard base64",
        ),
        (
            "whsec_QUFB QUFBQUFBQUFBQUFBQUFBQUFBQUFB",
            "not standard base64",
        ),
    ] {
        let command = with(&acme, secret);
        match acme.when(acme.owner, command).result {
            Err(Rejection::SigningSecretInvalid { why }) => {
                assert!(why.contains(expected), "{secret}: {why}");
                assert!(secret.is_empty() || !why.contains(secret), "{why}");
            }
            other => panic!("{secret}: {other:?}"),
        }
    }
    let private = SigningKey::v1a(&[7; 32]).secret_text();
    let command = with(&acme, &private);
    let outcome = acme.when(acme.owner, command);
    assert_eq!(outcome.code(), "signing_secret_invalid");
    let command = with(&acme, GIVEN);
    let done = acme.when(acme.owner, command).accepted();
    assert_eq!(done.endpoint_secret.unwrap().reveal(), GIVEN);
}

#[test]
fn an_address_is_one_of_the_web() {
    let mut acme = Acme::new();
    let long = format!("https://hooks.example/{}", "x".repeat(1_978));
    let longer = format!("{long}x");
    for (url, expected) in [
        (URL, "accepted"),
        ("http://10.0.0.1:8080/a?b=c", "accepted"),
        ("HTTPS://hooks.example", "accepted"),
        (&long, "accepted"),
        (&longer, "field_too_long"),
        ("", "url_refused"),
        ("hooks.example/a", "url_refused"),
        ("https://", "url_refused"),
        ("https:///", "url_refused"),
        ("ftp://hooks.example/", "url_refused"),
        ("file:///etc/passwd", "url_refused"),
        ("data:https://hooks.example/", "url_refused"),
        ("https://hooks.example/\n", "field_control_characters"),
        ("https://hooks.example/\u{85}", "field_control_characters"),
    ] {
        let command = CreateEndpoint {
            url: url.to_owned(),
            ..new(&acme, &["*"])
        };
        let outcome = acme.when(acme.owner, command);
        assert_eq!(outcome.code(), expected, "{url:?}");
        if let Err(why) = outcome.result {
            assert_eq!(why.reason().field, Some("url"));
        }
    }
}

#[test]
fn what_is_asked_for_is_delivered_to_somebody() {
    let mut acme = Acme::new();
    for (entry, why) in [
        ("api_key.stolen", WrongEventType::Unknown),
        ("usage.*", WrongEventType::OfNoOrganization),
        ("*", WrongEventType::Twice),
    ] {
        let command = new(&acme, &["*", entry]);
        acme.when(acme.owner, command)
            .refused(Rejection::EventTypeNotDelivered {
                event_type: entry.to_owned(),
                why,
            });
    }
    let none = new(&acme, &[]);
    acme.when(acme.owner, none).refused(Rejection::FieldEmpty {
        field: "event_types",
    });
}

#[test]
fn more_than_credentials_accounts_and_jobs_needs_leave_to_read_the_ledger() {
    let mut acme = Acme::new();
    let writer = acme.bearer(&["webhooks:write"]);
    let reader = acme.bearer(&["webhooks:write", "ledger:read"]);
    let needs = Rejection::Forbidden {
        needs: "ledger:read",
    };
    for (types, free) in [
        (&["api_key.*", "service_account.created", "job.*"][..], true),
        (&["*"], false),
        (&["api_key.created", "member.*"], false),
    ] {
        let command = new(&acme, types);
        let outcome = acme.when(writer, command.clone());
        if free {
            outcome.accepted();
        } else {
            outcome.refused(needs.clone());
        }
        acme.when(reader, command).accepted();
    }
    let all = endpoint(&mut acme, &["*"]);
    let keys = endpoint(&mut acme, &["api_key.*"]);
    // Who decides what leaves, and to whom, may read it.
    for command in [
        Command::from(to_types(keys, &["*"])),
        to_url(all, "https://hooks.example/elsewhere").into(),
        rotation(all, 0).into(),
        enabling(all, EnabledFrom::Now).into(),
    ] {
        acme.when(writer, command.clone()).refused(needs.clone());
        acme.when(reader, command).accepted();
    }
    let narrower = to_types(all, &["api_key.*"]);
    acme.when(writer, narrower).accepted();
    let described = UpdateEndpoint {
        description: Some(Some(String::from("Chat"))),
        ..UpdateEndpoint::of(keys)
    };
    for ends in [
        Command::from(described),
        Command::DisableEndpoint(keys),
        Command::DeleteEndpoint(keys),
    ] {
        acme.when(writer, ends).accepted();
    }
}

#[test]
fn whoever_is_bound_to_a_project_has_its_endpoints_alone() {
    let mut acme = Acme::new();
    let other = acme.project("Shop");
    let bound = CreateKey {
        project: Some(acme.project),
        ..acme.api_key(&["admin:*"])
    };
    let bound = acme.make(bound);
    let bound = acme.holder_of(bound);
    let of = |acme: &Acme, project| CreateEndpoint {
        project,
        ..new(acme, &["api_key.*"])
    };
    for project in [None, Some(other)] {
        let command = of(&acme, project);
        acme.when(bound, command.clone())
            .refused(Rejection::BeyondYourAuthority {
                why: Beyond::Project,
            });
        let target = made(&mut acme, command);
        for command in [
            Command::from(to_types(target, &["job.*"])),
            rotation(target, 0).into(),
            enabling(target, EnabledFrom::Now).into(),
            Command::DisableEndpoint(target),
            Command::DeleteEndpoint(target),
        ] {
            acme.when(bound, command).refused(Rejection::NotFound {
                what: "webhook endpoint",
            });
        }
    }
    let own = of(&acme, Some(acme.project));
    acme.when(bound, own.clone()).accepted();
    let own = made(&mut acme, own);
    acme.when(bound, Command::DeleteEndpoint(own)).accepted();
}

#[test]
fn a_project_is_the_organizations_own_and_in_use() {
    let mut acme = Acme::new();
    let (own, globex) = (acme.project, acme.globex);
    let foreign = acme.project("Shop");
    let unknown = crate::domain::ids::ProjectId(ulid::Ulid(1 << 90));
    let of = |acme: &Acme, organization, project| CreateEndpoint {
        organization,
        project: Some(project),
        ..new(acme, &["*"])
    };
    for (organization, project) in [(acme.organization, unknown), (globex, foreign)] {
        let command = of(&acme, organization, project);
        acme.when(Actor::Operator, command)
            .refused(Rejection::UnknownProject);
    }
    let archive = UpdateProject {
        organization: acme.organization,
        project: own,
        name: None,
        archived: Some(true),
    };
    acme.when(Actor::Operator, archive).accepted();
    let command = of(&acme, acme.organization, own);
    acme.when(Actor::Operator, command)
        .refused(Rejection::ProjectArchived);
}

#[test]
fn an_organization_has_fifty_endpoints_deleted_ones_apart() {
    let mut acme = Acme::new();
    let first = endpoint(&mut acme, &["*"]);
    for _ in 1..50 {
        endpoint(&mut acme, &["*"]);
    }
    let command = new(&acme, &["*"]);
    acme.when(acme.owner, command.clone())
        .refused(Rejection::TooManyEndpoints { max: 50 });
    let next_door = CreateEndpoint {
        organization: acme.globex,
        ..command.clone()
    };
    acme.when(acme.stranger, next_door).accepted();
    for _ in 0..2 {
        acme.when(acme.owner, Command::DeleteEndpoint(first))
            .accepted();
    }
    acme.when(acme.owner, command.clone()).accepted();
    acme.when(acme.owner, command)
        .refused(Rejection::TooManyEndpoints { max: 50 });
    assert_eq!(acme.replayed().counts(acme.organization).endpoints, 50);
}

#[test]
fn a_filter_in_the_log_is_read_whatever_it_names() {
    let stored = r#"["planet.exploded","*"]"#;
    let filter: EventFilter = serde_json::from_str(stored).unwrap();
    assert_eq!(serde_json::to_string(&filter).unwrap(), stored);
}
