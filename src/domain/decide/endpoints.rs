//! Webhook endpoints: where events go, which ones, signed with what.
//!
//! Whoever gives an endpoint an address, a filter, a new secret or a new start decides what leaves
//! and to whom: that needs leave to read all that the filter asks for. To disable or to delete, the
//! permission to manage endpoints suffices. Whether an address may be delivered to is asked before
//! a command comes here, and again whenever something is delivered.

use url::Url;

use super::issue::check_project_in_use;
use super::usage::by_the_program;
use super::{Change, Decision, Facts, admit, checks, decision};
use crate::domain::access::{Access, Action, Authority};
use crate::domain::command::{
    CreateEndpoint, EnableEndpoint, EndpointTarget, NoteEndpointFailing, Request,
    RotateEndpointSecret, StopEndpoint, StopReason, UpdateEndpoint,
};
use crate::domain::endpoint_secret::EndpointSecretText;
use crate::domain::event::Fact;
use crate::domain::event::endpoints::{
    EndpointCreated, EndpointDeleted, EndpointDisabled, EndpointEnabled, EndpointFailing,
    EndpointSecretRotated, EndpointUpdated, NewEndpointSecret,
};
use crate::domain::ids::{EndpointId, OrganizationId, SecretId, Subject};
use crate::domain::personal::Personal;
use crate::domain::record::{
    DisabledBecause, EndpointStatus, EventFilter, SignatureScheme, WebhookEndpoint,
};
use crate::domain::rejection::{Beyond, Rejection};
use crate::domain::state::State;
use crate::domain::webhook_signature::SigningKey;

/// Endpoints of an organization that have not been deleted: each is looked at for each of the
/// organization's events.
const ENDPOINTS_MAX: u64 = 50;
/// Longest address of an endpoint, in bytes.
const URL_BYTES_MAX: usize = 2_000;
/// Longest overlap of two secrets: 30 days.
const OVERLAP_SECONDS_MAX: u32 = 30 * 24 * 60 * 60;

pub(super) fn create(
    state: &State,
    request: &Request,
    command: &CreateEndpoint,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(state, request, facts, Action::Webhooks, organization)?;
    url(&command.url)?;
    if let Some(description) = &command.description {
        checks::lines("description", description, checks::DESCRIPTION_CHARS_MAX)?;
    }
    let event_types = EventFilter::check(command.event_types.clone())?;
    let key = new_key(command.signature, command.secret.as_ref(), facts)?;
    let project = command.project.map(|project| state.project(project));
    if project.is_some_and(|found| found.is_none_or(|found| found.organization != organization)) {
        return Err(Rejection::UnknownProject);
    }
    if !access.authority().reaches(command.project) {
        let why = Beyond::Project;
        return Err(Rejection::BeyondYourAuthority { why });
    }
    check_filter(state, &access, &event_types)?;
    // It goes on receiving when its maker has ended.
    access.authority().outlive(None)?;
    check_project_in_use(state, command.project)?;
    if state.counts(organization).endpoints >= ENDPOINTS_MAX {
        return Err(Rejection::TooManyEndpoints { max: ENDPOINTS_MAX });
    }
    let (secret, shown) = new_secret(&key, SecretId(facts.ids[1]));
    let created = EndpointCreated {
        url: command.url.clone(),
        description: command.description.clone(),
        event_types,
        project_id: command.project,
        ordered: command.ordered,
        signature: command.signature,
        secret,
        created_by: access.authority().principal,
    };
    let id = EndpointId(facts.ids[0]);
    Ok(with_secret(
        decided(&access, organization, id, vec![created.into()]),
        shown,
    ))
}

pub(super) fn update(
    state: &State,
    request: &Request,
    command: &UpdateEndpoint,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.target.organization;
    let (access, record) = admit_endpoint(state, request, facts, command.target)?;
    if let Some(address) = &command.url {
        url(address)?;
    }
    if let Some(Some(description)) = &command.description {
        checks::lines("description", description, checks::DESCRIPTION_CHARS_MAX)?;
    }
    let event_types = command.event_types.clone().map(EventFilter::check);
    let mut after = EndpointUpdated {
        changed: Vec::new(),
        url: command.url.clone().unwrap_or_else(|| record.url.clone()),
        description: command
            .description
            .clone()
            .unwrap_or_else(|| record.description.clone()),
        event_types: event_types.unwrap_or_else(|| Ok(record.event_types.clone()))?,
        ordered: command.ordered.unwrap_or(record.ordered),
        secret: None,
    };
    let changed = [
        (after.url != record.url).then_some("url"),
        (after.description != record.description).then_some("description"),
        (after.event_types != record.event_types).then_some("event_types"),
        (after.ordered != record.ordered).then_some("ordered"),
    ];
    after.changed = changed.into_iter().flatten().map(str::to_owned).collect();
    if after.url != record.url || after.event_types != record.event_types {
        check_filter(state, &access, &after.event_types)?;
    }
    if after.url != record.url || !record.event_types.covers(&after.event_types) {
        access.authority().outlive(None)?;
    }
    checks::version(request.if_match, record.stamp.version)?;
    live(record)?;
    if after.changed.is_empty() {
        return Ok(decided(&access, organization, record.id, vec![]));
    }
    let mut shown = None;
    if host(&after.url) != host(&record.url) {
        // What the old host knows is no secret of the new one.
        let key = new_key(record.signature, None, facts)?;
        let (secret, text) = new_secret(&key, SecretId(facts.ids[0]));
        (after.secret, shown) = (Some(secret), text);
    }
    Ok(with_secret(
        decided(&access, organization, record.id, vec![after.into()]),
        shown,
    ))
}

pub(super) fn rotate(
    state: &State,
    request: &Request,
    command: &RotateEndpointSecret,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.target.organization;
    let (access, record) = admit_endpoint(state, request, facts, command.target)?;
    if command.overlap_seconds > OVERLAP_SECONDS_MAX {
        return Err(Rejection::OverlapTooLong);
    }
    let key = new_key(record.signature, command.secret.as_ref(), facts)?;
    check_filter(state, &access, &record.event_types)?;
    access.authority().outlive(None)?;
    checks::version(request.if_match, record.stamp.version)?;
    live(record)?;
    let (secret, shown) = new_secret(&key, SecretId(facts.ids[0]));
    let overlap_ms = i64::from(command.overlap_seconds) * 1_000;
    // If the answer of the rotation before was lost, the receiver has an earlier one.
    let mut earlier = record.secrets.iter().skip(1);
    let earlier_kept = overlap_ms > 0 && earlier.any(|secret| secret.signs_at(facts.now));
    let rotated = EndpointSecretRotated {
        secret,
        previous_valid_until: facts.now.plus_ms(overlap_ms),
        earlier_kept,
    };
    Ok(with_secret(
        decided(&access, organization, record.id, vec![rotated.into()]),
        shown,
    ))
}

pub(super) fn enable(
    state: &State,
    request: &Request,
    command: EnableEndpoint,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let (access, record) = admit_endpoint(state, request, facts, command.target)?;
    check_filter(state, &access, &record.event_types)?;
    if !record.is_active() {
        access.authority().outlive(None)?;
    }
    checks::version(request.if_match, record.stamp.version)?;
    live(record)?;
    let changes = if record.is_active() {
        vec![]
    } else {
        vec![EndpointEnabled { from: command.from }.into()]
    };
    let organization = command.target.organization;
    Ok(decided(&access, organization, record.id, changes))
}

pub(super) fn disable(
    state: &State,
    request: &Request,
    command: EndpointTarget,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let (access, record) = admit_endpoint(state, request, facts, command)?;
    checks::version(request.if_match, record.stamp.version)?;
    live(record)?;
    let disabled = EndpointDisabled {
        because: DisabledBecause::Requested,
        status_code: None,
    };
    let changes = if record.is_active() {
        vec![disabled.into()]
    } else {
        vec![]
    };
    Ok(decided(&access, command.organization, record.id, changes))
}

pub(super) fn delete(
    state: &State,
    request: &Request,
    command: EndpointTarget,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let (access, record) = admit_endpoint(state, request, facts, command)?;
    checks::version(request.if_match, record.stamp.version)?;
    // Repeated: the same answer and no new event.
    let changes = if record.is_deleted() {
        vec![]
    } else {
        vec![EndpointDeleted {}.into()]
    };
    Ok(decided(&access, command.organization, record.id, changes))
}

/// Notes that deliveries to an endpoint do nothing but fail: once for each stage.
pub(super) fn failing(
    state: &State,
    request: &Request,
    command: NoteEndpointFailing,
) -> Result<Decision, Rejection> {
    by_the_program(request)?;
    let record = endpoint(state, command.organization, command.endpoint)?;
    let known = record
        .failing
        .is_some_and(|noted| noted.since == command.since && noted.percent >= command.percent);
    let failing = EndpointFailing {
        percent: command.percent,
        since: command.since,
    };
    let fact = (record.is_active() && !known).then(|| failing.into());
    Ok(noted(record, fact))
}

/// Disables an endpoint whose receiver is gone, or has done nothing but fail for too long.
pub(super) fn stop(
    state: &State,
    request: &Request,
    command: StopEndpoint,
) -> Result<Decision, Rejection> {
    by_the_program(request)?;
    let record = endpoint(state, command.organization, command.endpoint)?;
    let disabled = EndpointDisabled {
        because: match command.because {
            StopReason::Gone => DisabledBecause::Gone,
            StopReason::Failing => DisabledBecause::Failing,
        },
        status_code: command.status_code,
    };
    let fact = record.is_active().then(|| disabled.into());
    Ok(noted(record, fact))
}

fn noted(record: &WebhookEndpoint, fact: Option<Fact>) -> Decision {
    let subject = Subject::WebhookEndpoint(record.id);
    let change = |fact| Change {
        organization: Some(record.organization),
        subject,
        fact,
    };
    Decision {
        changes: fact.into_iter().map(change).collect(),
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority: Authority::nothing(),
    }
}

fn decided(
    access: &Access,
    organization: OrganizationId,
    id: EndpointId,
    facts: Vec<Fact>,
) -> Decision {
    decision(access, organization, Subject::WebhookEndpoint(id), facts)
}

fn with_secret(made: Decision, shown: Option<EndpointSecretText>) -> Decision {
    Decision {
        endpoint_secret: shown,
        ..made
    }
}

fn endpoint(
    state: &State,
    organization: OrganizationId,
    id: EndpointId,
) -> Result<&WebhookEndpoint, Rejection> {
    state
        .endpoint(id)
        .filter(|endpoint| endpoint.organization == organization)
        .map(|endpoint| &**endpoint)
        .ok_or(Rejection::NotFound {
            what: "webhook endpoint",
        })
}

/// Leave to manage the endpoint that a path names, and the endpoint. Whoever is bound to a project
/// finds those of that project alone.
fn admit_endpoint<'a>(
    state: &'a State,
    request: &Request,
    facts: &Facts,
    target: EndpointTarget,
) -> Result<(Access, &'a WebhookEndpoint), Rejection> {
    let organization = target.organization;
    let access = admit(state, request, facts, Action::Webhooks, organization)?;
    let record = endpoint(state, organization, target.endpoint)?;
    if !access.authority().reaches(record.project) {
        return Err(Rejection::NotFound {
            what: "webhook endpoint",
        });
    }
    Ok((access, record))
}

/// Leave to have everything sent out that a filter asks for.
fn check_filter(state: &State, access: &Access, filter: &EventFilter) -> Result<(), Rejection> {
    let reads = access
        .authority()
        .allows(state.catalogue(), Action::ReceiveAllEvents);
    if filter.needs_ledger_read() && !reads {
        return Err(Rejection::Forbidden {
            needs: Action::ReceiveAllEvents.needs(),
        });
    }
    Ok(())
}

fn live(record: &WebhookEndpoint) -> Result<(), Rejection> {
    match record.status {
        EndpointStatus::Active | EndpointStatus::Disabled(_) => Ok(()),
        EndpointStatus::Deleted => Err(Rejection::WebhookEndpointDeleted),
    }
}

/// The form of an address.
fn url(text: &str) -> Result<(), Rejection> {
    if text.len() > URL_BYTES_MAX {
        return Err(Rejection::FieldTooLong {
            field: "url",
            max: URL_BYTES_MAX,
            unit: "bytes",
        });
    }
    // A client would read past them, so that people and programs see two addresses.
    if text.chars().any(char::is_control) {
        return Err(Rejection::FieldControlCharacters { field: "url" });
    }
    checks::no_token("url", text)?;
    let parsed = Url::parse(text).ok();
    let of_web = |url: &Url| matches!(url.scheme(), "https" | "http") && url.has_host();
    match parsed.filter(of_web) {
        Some(_) => Ok(()),
        None => Err(Rejection::UrlRefused {
            why: String::from("must be an https URL with a host, like https://example.com/hooks"),
        }),
    }
}

/// The host that an address leads to, and its port.
fn host(url: &str) -> Option<(String, Option<u16>)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.to_owned();
    Some((host, url.port_or_known_default()))
}

/// The secret that the user has given, or a new one.
fn new_key(
    scheme: SignatureScheme,
    given: Option<&EndpointSecretText>,
    facts: &Facts,
) -> Result<SigningKey, Rejection> {
    let invalid = |why: &str| Rejection::SigningSecretInvalid {
        why: why.to_owned(),
    };
    match (scheme, given) {
        (SignatureScheme::V1, None) => Ok(SigningKey::v1(&facts.random)),
        (SignatureScheme::V1a, None) => Ok(SigningKey::v1a(&facts.random)),
        (SignatureScheme::V1a, Some(_)) => {
            Err(invalid("cannot be given to an endpoint that signs by v1a"))
        }
        (SignatureScheme::V1, Some(text)) => match SigningKey::parse(text.reveal()) {
            Ok(key @ SigningKey::V1(_)) => Ok(key),
            Ok(SigningKey::V1a(_)) => Err(invalid("a signing secret begins with whsec_")),
            Err(why) => Err(invalid(&why.to_string())),
        },
    }
}

/// The secret as it is stored, and as the one answer shows it: a private key is never shown.
fn new_secret(key: &SigningKey, id: SecretId) -> (NewEndpointSecret, Option<EndpointSecretText>) {
    let text = key.secret_text();
    let shown = match key {
        SigningKey::V1(_) => Some(EndpointSecretText::new(text.clone())),
        SigningKey::V1a(_) => None,
    };
    let secret = NewEndpointSecret {
        id,
        key: Personal::new(text),
        public_key: key.public_text(),
    };
    (secret, shown)
}
