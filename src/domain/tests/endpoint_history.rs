//! Webhook endpoints in the histories of other tests: random commands for [`super::history`], every
//! event of theirs for [`super::payloads`].

use super::Ledger;
use super::acme::{Acme, strings};
use super::history::{Step, any_of, pick};
use crate::domain::command::{
    Actor, Command, CreateEndpoint, EnableEndpoint, EndpointTarget, NoteEndpointFailing,
    RotateEndpointSecret, StopEndpoint, StopReason, UpdateEndpoint,
};
use crate::domain::endpoint_secret::EndpointSecretText;
use crate::domain::ids::{EndpointId, OrganizationId, ProjectId, Subject};
use crate::domain::record::{EnabledFrom, SignatureScheme};

const FILTERS: [&[&str]; 5] = [
    &["api_key.*"],
    &["*"],
    &["job.*", "member.added"],
    &["service_account.deleted"],
    &["usage.sealed"],
];
const URLS: [&str; 5] = [
    "https://hooks.example/a",
    "https://HOOKS.example:443/b",
    "https://hooks.example:8443/a",
    "http://other.example",
    "ftp://hooks.example/",
];
const GIVEN: [&str; 3] = [
    "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB",
    "whsec_QUFB",
    "whsk_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB",
];

fn given(how: u8) -> Option<EndpointSecretText> {
    let given = how.is_multiple_of(4).then(|| pick(&GIVEN, how / 4));
    given.map(|text| EndpointSecretText::new(text.to_owned()))
}

pub(super) fn endpoint_command(
    acme: &Acme,
    step: &Step,
    organization: OrganizationId,
    project: ProjectId,
) -> Command {
    let how = step.how;
    let first = EndpointId(ulid::Ulid(0));
    let known = any_of(&acme.state.endpoints, &first, step.which);
    let Some(endpoint) = known.filter(|_| !how.is_multiple_of(9)) else {
        return create(step, organization, project).into();
    };
    let target = EndpointTarget {
        organization,
        endpoint,
    };
    match how % 9 {
        1 | 2 => UpdateEndpoint {
            url: (how % 4 < 2).then(|| pick(&URLS, how / 9).to_owned()),
            description: (how % 5 < 2).then(|| Some(format!("number {how}"))),
            event_types: (!how.is_multiple_of(3)).then(|| strings(pick(&FILTERS, how / 9))),
            ordered: (how.is_multiple_of(6)).then_some(how > 99),
            ..UpdateEndpoint::of(target)
        }
        .into(),
        3 => RotateEndpointSecret {
            target,
            overlap_seconds: pick(&[0, 60, 86_400, 2_592_001], how / 9),
            secret: given(how),
        }
        .into(),
        4 | 5 => EnableEndpoint {
            target,
            from: pick(&[EnabledFrom::WhereItStopped, EnabledFrom::Now], how / 9),
        }
        .into(),
        6 => Command::DisableEndpoint(target),
        7 if how < 60 => Command::DeleteEndpoint(target),
        7 => NoteEndpointFailing {
            organization,
            endpoint,
            percent: pick(&[50, 70, 90], how),
            since: super::START.plus_ms(i64::from(how % 2)),
        }
        .into(),
        _ => StopEndpoint {
            organization,
            endpoint,
            because: pick(&[StopReason::Gone, StopReason::Failing], how / 9),
            status_code: (how > 99).then_some(410),
        }
        .into(),
    }
}

fn create(step: &Step, organization: OrganizationId, project: ProjectId) -> CreateEndpoint {
    let how = step.how;
    CreateEndpoint {
        organization,
        url: pick(&URLS, how / 9).to_owned(),
        description: None,
        event_types: strings(pick(&FILTERS, step.which)),
        project: how.is_multiple_of(2).then_some(project),
        ordered: how.is_multiple_of(5),
        signature: pick(&[SignatureScheme::V1, SignatureScheme::V1a], how / 9),
        secret: given(how),
    }
}

/// One endpoint to which everything happens that can happen to one.
pub(super) fn every_event(ledger: &mut Ledger, organization: OrganizationId) {
    let made = ledger.submit(CreateEndpoint {
        organization,
        url: String::from("https://hooks.example/keys"),
        description: Some(String::from("Chat")),
        event_types: strings(&["api_key.*"]),
        project: None,
        ordered: false,
        signature: SignatureScheme::V1,
        secret: None,
    });
    let Subject::WebhookEndpoint(endpoint) = made else {
        panic!("{made:?}");
    };
    let target = EndpointTarget {
        organization,
        endpoint,
    };
    ledger.submit(UpdateEndpoint {
        url: Some(String::from("https://other.example/keys")),
        event_types: Some(strings(&["api_key.revoked", "member.*"])),
        ..UpdateEndpoint::of(target)
    });
    ledger.submit(RotateEndpointSecret {
        target,
        overlap_seconds: 86_400,
        secret: None,
    });
    let note = NoteEndpointFailing {
        organization,
        endpoint,
        percent: 50,
        since: super::START,
    };
    ledger.when(Actor::System, note).accepted();
    let stop = StopEndpoint {
        organization,
        endpoint,
        because: StopReason::Gone,
        status_code: Some(410),
    };
    ledger.when(Actor::System, stop).accepted();
    ledger.submit(EnableEndpoint {
        target,
        from: EnabledFrom::Now,
    });
    ledger.submit(Command::DeleteEndpoint(target));
}
