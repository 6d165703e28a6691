//! `/platform/organizations/{organization_id}/webhook-endpoints`: where events are sent.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::credentials::history::{EventRecord, HistoryPages, history};
use crate::api::ledger::moment::{AsOf, Then};
use crate::domain::access::{Access, Action};
use crate::domain::command::{
    Command, CreateEndpoint, EnableEndpoint, EndpointTarget, RotateEndpointSecret, UpdateEndpoint,
};
use crate::domain::endpoint_secret::EndpointSecretText;
use crate::domain::ids::{EndpointId, OrganizationId, ProjectId, Subject};
use crate::domain::record::{EnabledFrom, SignatureScheme, WebhookEndpoint};
use crate::domain::rejection::Rejection;
use crate::ledger::{Answer, Record};
use crate::records::{ENDPOINT_STATUSES, IssuedEndpoint, WebhookEndpointRecord};
use crate::web::answer::{mismatch, shown, written};
use crate::web::body::{NoFields, given, nullable};
use crate::web::call::Call;
use crate::web::lists::{Query, StatusPages, page};
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// How long the old secret signs too unless it is said: a day.
const OVERLAP_SECONDS: u32 = 24 * 60 * 60;

/// A new webhook endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointCreate {
    /// An https URL.
    url: String,
    /// 1 to 50 types of events, whole families as `api_key.*`, or `*`.
    event_types: Vec<String>,
    description: Option<String>,
    /// If set, the endpoint gets the events of this project alone.
    project_id: Option<String>,
    /// Whether events come one at a time and in the log's order.
    #[serde(default)]
    ordered: bool,
    /// How deliveries are signed; `v1` unless it is said.
    #[serde(default)]
    signature: Signature,
    /// The receiver's own secret: `whsec_` and the base64 of 24 to 64 bytes. For `v1` alone.
    #[schema(value_type = Option<String>)]
    secret: Option<EndpointSecretText>,
}

/// How deliveries are signed.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Signature {
    /// HMAC-SHA256 by a secret that the receiver has too.
    #[default]
    V1,
    /// Ed25519 by a key pair.
    V1a,
}

/// A change of a webhook endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointPatch {
    /// Another host or port gets a new secret, and the old ones end at once. Another URL ends a
    /// replay.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    url: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    event_types: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    ordered: Option<bool>,
}

/// A rotation.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointRotate {
    /// How long the old secret signs too: a day unless it is said, at most 2592000 (30 days).
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    overlap_seconds: Option<u32>,
    /// The receiver's own new secret.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    secret: Option<EndpointSecretText>,
}

/// Where an endpoint goes on.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointEnable {
    /// `where_it_stopped` unless it is said.
    #[serde(default)]
    from: EnableFrom,
}

/// Where an endpoint goes on.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EnableFrom {
    /// With the first event that it has not had.
    #[default]
    WhereItStopped,
    /// With the first event from now on.
    Now,
}

/// Makes a webhook endpoint; its secret is in this answer alone. Its deliveries begin with the
/// first event after its own creation.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/webhook-endpoints",
    tag = "webhook endpoints", params(("organization_id" = String, Path)),
    request_body = EndpointCreate,
    responses((status = 201, body = IssuedEndpoint), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    call: Call,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    call.may(Action::Webhooks, organization)?;
    let body = call.secret_json::<EndpointCreate>(request).await?;
    let asked = body.value;
    check_url(&call, organization, &asked.url)?;
    // A text that is no id of a project names no project of this organization either.
    let project = asked.project_id.as_deref().map(str::parse::<ProjectId>);
    let project = project.transpose();
    let command = Command::CreateEndpoint(CreateEndpoint {
        organization,
        url: asked.url,
        description: asked.description,
        event_types: asked.event_types,
        project: project.map_err(|_no_id| Problem::from(Rejection::UnknownProject))?,
        ordered: asked.ordered,
        signature: match asked.signature {
            Signature::V1 => SignatureScheme::V1,
            Signature::V1a => SignatureScheme::V1a,
        },
        secret: asked.secret,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    issued(StatusCode::CREATED, &answer)
}

/// Lists webhook endpoints, newest first; all statuses unless one `status` is asked for.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/webhook-endpoints",
    tag = "webhook endpoints",
    params(("organization_id" = String, Path), ("status" = Option<String>, Query),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = Vec<WebhookEndpointRecord>),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<StatusPages>,
) -> Result<Response, Problem> {
    let access = call.may_read(Action::Webhooks, organization).await?;
    let asked = query.read()?;
    let status = asked.status(&ENDPOINT_STATUSES)?;
    let then = Then::all(&call, Some(organization), asked.as_of.as_deref()).await?;
    let found = then
        .directory()
        .webhook_endpoints(organization, asked.ask()?, |record| {
            access.authority().reaches(record.project)
                && status.is_none_or(|status| status == record.status.name())
        });
    Ok(then.stamped(page(&query.uri, &found, |record| {
        WebhookEndpointRecord::from(record)
    })))
}

/// Shows a webhook endpoint.
#[utoipa::path(get,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}",
    tag = "webhook endpoints",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = WebhookEndpointRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    let target = EndpointTarget {
        organization,
        endpoint,
    };
    // Whoever may not see it as it is may not see it as it was.
    found_to_read(&call, target).await?;
    let as_of = query.read()?.as_of;
    let then = Then::one(&call, Subject::WebhookEndpoint(endpoint), as_of.as_deref()).await?;
    let record = then.directory().webhook_endpoint(organization, endpoint);
    let record = record.ok_or_else(|| Problem::not_found("webhook endpoint"))?;
    let body = WebhookEndpointRecord::from(&record);
    Ok(then.stamped(shown(record.stamp.version, &body)))
}

/// Changes address, description, filter or order. An address at another host or port gets a new
/// secret, which is in this answer alone, and the old ones end at once. What the new filter does
/// not hold is not delivered any more, also where it has been tried already.
#[utoipa::path(patch,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}",
    tag = "webhook endpoints",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    request_body = EndpointPatch,
    responses((status = 200, body = IssuedEndpoint), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, endpoint)?;
    let patch = call.json::<EndpointPatch>(request).await?.value;
    if let Some(url) = &patch.url {
        check_url(&call, organization, url)?;
    }
    let command = Command::UpdateEndpoint(UpdateEndpoint {
        target,
        url: patch.url,
        description: patch.description,
        event_types: patch.event_types,
        ordered: patch.ordered,
    });
    let answer = call.submit(command, None).await?;
    issued(StatusCode::OK, &answer)
}

/// Deletes a webhook endpoint; it stays listed. What has not been delivered is not delivered any
/// more.
#[utoipa::path(delete,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}",
    tag = "webhook endpoints",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    responses((status = 200, body = WebhookEndpointRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
) -> Result<Response, Problem> {
    let target = known(&call, organization, endpoint)?;
    let answer = call.submit(Command::DeleteEndpoint(target), None).await?;
    uncached_json(&answer)
}

/// Gives a webhook endpoint a new secret, which is in this answer alone. During the overlap
/// deliveries are signed with both, and with an earlier one whose overlap goes on. Without an
/// overlap all earlier secrets end at once.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}\
        /rotate-secret",
    tag = "webhook endpoints",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    request_body = Option<EndpointRotate>,
    responses((status = 200, body = IssuedEndpoint), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn rotate_secret(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, endpoint)?;
    let body = call.optional_secret_json::<EndpointRotate>(request).await?;
    let command = Command::RotateEndpointSecret(RotateEndpointSecret {
        target,
        overlap_seconds: body.value.overlap_seconds.unwrap_or(OVERLAP_SECONDS),
        secret: body.value.secret,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    issued(StatusCode::OK, &answer)
}

/// Has a disabled webhook endpoint delivered to again: with all that has happened meanwhile, or
/// from now on.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/enable",
    tag = "webhook endpoints",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    request_body = Option<EndpointEnable>,
    responses((status = 200, body = WebhookEndpointRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn enable(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, endpoint)?;
    let body = call.optional_json::<EndpointEnable>(request).await?;
    let from = match body.value.from {
        EnableFrom::WhereItStopped => EnabledFrom::WhereItStopped,
        EnableFrom::Now => EnabledFrom::Now,
    };
    let command = Command::EnableEndpoint(EnableEndpoint { target, from });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    uncached_json(&answer)
}

/// Has nothing delivered until the webhook endpoint is enabled; its events are kept for it.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/disable",
    tag = "webhook endpoints",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = WebhookEndpointRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn disable(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, endpoint)?;
    let body = call.optional_json::<NoFields>(request).await?;
    let command = Command::DisableEndpoint(target);
    let answer = call.submit(command, Some(&body.bytes)).await?;
    uncached_json(&answer)
}

/// The history of a webhook endpoint, newest first.
#[utoipa::path(get,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/events",
    tag = "webhook endpoints",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query),
        ("with_proofs" = Option<bool>, Query, description = "With a receipt of each.")),
    responses((status = 200, body = Vec<EventRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn events(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    let target = EndpointTarget {
        organization,
        endpoint,
    };
    let newest = found_to_read(&call, target).await?.stamp.version;
    history(call, (Subject::WebhookEndpoint(endpoint), newest), &query).await
}

/// The endpoint that a path names, once the caller may read it.
pub(crate) async fn found_to_read(
    call: &Call,
    target: EndpointTarget,
) -> Result<Arc<WebhookEndpoint>, Problem> {
    let access = call.may_read(Action::Webhooks, target.organization).await?;
    found(call, &access, target)
}

/// The endpoint that a path names, once the caller may change it.
pub(crate) fn found_to_change(
    call: &Call,
    target: EndpointTarget,
) -> Result<Arc<WebhookEndpoint>, Problem> {
    let access = call.may(Action::Webhooks, target.organization)?;
    found(call, &access, target)
}

fn found(
    call: &Call,
    access: &Access,
    target: EndpointTarget,
) -> Result<Arc<WebhookEndpoint>, Problem> {
    let directory = &call.views().directory;
    let record = directory.webhook_endpoint(target.organization, target.endpoint);
    let record = record.filter(|record| access.authority().reaches(record.project));
    record.ok_or_else(|| Problem::not_found("webhook endpoint"))
}

/// What a path names, once the caller may change it.
fn known(
    call: &Call,
    organization: OrganizationId,
    endpoint: EndpointId,
) -> Result<EndpointTarget, Problem> {
    let target = EndpointTarget {
        organization,
        endpoint,
    };
    found_to_change(call, target).map(|_record| target)
}

/// Whether an endpoint may have an address: whether anything would be delivered there.
fn check_url(call: &Call, organization: OrganizationId, url: &str) -> Result<(), Problem> {
    let guard = &call.app.settings.webhook_guard;
    guard.check_url(organization, url).map(drop).map_err(|why| {
        Problem::from(Rejection::UrlRefused {
            why: why.to_string(),
        })
    })
}

fn issued(status: StatusCode, answer: &Answer) -> Result<Response, Problem> {
    let record = record_of(answer)?;
    let body = IssuedEndpoint::new(record, answer);
    Ok(written(status, answer, record.stamp.version, &body))
}

fn uncached_json(answer: &Answer) -> Result<Response, Problem> {
    let record = record_of(answer)?;
    let body = WebhookEndpointRecord::from(record);
    Ok(written(StatusCode::OK, answer, record.stamp.version, &body))
}

fn record_of(answer: &Answer) -> Result<&Arc<WebhookEndpoint>, Problem> {
    match answer.records.first() {
        Some(Record::WebhookEndpoint(record)) => Ok(record),
        _ => Err(mismatch()),
    }
}
