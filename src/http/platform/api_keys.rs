//! `/platform/organizations/{organization_id}/api-keys`: organization keys.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Path;
use super::credentials::{Filters, answered, find, find_for_write, issued, list_of};
use crate::domain::access::Action;
use crate::domain::command::{
    Command, CreateKey, Expiry, KeyTarget, RevokeKey, RotateKey, UpdateKey,
};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId};
use crate::domain::kind::Kind;
use crate::domain::record::{Grant, Metadata};
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;
use crate::http::App;
use crate::http::answer::{shown, submit};
use crate::http::auth::Caller;
use crate::http::body::{self, NoFields, nullable};
use crate::http::context::Context;
use crate::http::lists::{Pages, Query, array};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::records::{IssuedKey, KeyRecord};

/// A new key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ApiKeyCreateRequest {
    /// 1 to 200 characters.
    name: String,
    description: Option<String>,
    /// Scopes of the catalogue.
    scopes: Vec<String>,
    /// 1 to 3650; not together with `expires_at`.
    expires_in_days: Option<u32>,
    /// RFC 3339; not together with `expires_in_days`.
    expires_at: Option<String>,
    /// If set, the key works on this project alone.
    project_id: Option<String>,
    /// Given back by verification; at most 4,096 bytes.
    metadata: Option<Metadata>,
}

/// A change of a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ApiKeyUpdateRequest {
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    scopes: Option<Vec<String>>,
}

/// Why a key is revoked.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ApiKeyRevokeRequest {
    /// At most 500 characters.
    pub(super) reason: Option<String>,
}

/// How a key is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ApiKeyRotateRequest {
    /// How long the old secret lives on; 0 unless said otherwise, at most 2592000.
    grace_period_seconds: Option<u32>,
}

/// The expiry that a body asks for.
fn expiry(days: Option<u32>, at: Option<&str>) -> Result<Expiry, Problem> {
    let wrong = |message: &str| Problem::invalid_field("expiry_invalid", "expires_at", message);
    match (days, at) {
        (Some(_), Some(_)) => Err(wrong("not together with expires_in_days")),
        (Some(days), None) => Ok(Expiry::InDays(days)),
        (None, None) => Ok(Expiry::Never),
        (None, Some(at)) => Timestamp::parse(at)
            .map(Expiry::At)
            .map_err(|why| wrong(&why.to_string())),
    }
}

/// Makes a key; its secret is in this answer alone.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys", tag = "api keys",
    params(("organization_id" = String, Path)), request_body = ApiKeyCreateRequest,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    caller.may(&app, Action::WritePlatform, organization)?;
    let body = body::json::<ApiKeyCreateRequest>(request, &context).await?;
    let asked = body.value;
    // A text that is no id of a project names no project of this organization either.
    let project = asked
        .project_id
        .as_deref()
        .map(str::parse::<ProjectId>)
        .transpose();
    let project = project.map_err(|_no_id| Problem::from(Rejection::UnknownProject))?;
    let command = Command::CreateKey(CreateKey {
        organization,
        kind: Kind::Organization,
        owner: Owner::Organization(organization),
        project,
        name: asked.name,
        description: asked.description,
        grant: Grant {
            scopes: asked.scopes,
            ..Grant::default()
        },
        expiry: expiry(asked.expires_in_days, asked.expires_at.as_deref())?,
        metadata: asked.metadata.unwrap_or_default(),
    });
    let answer = submit(&app, &caller, &context, (command, Some(&body.bytes))).await?;
    issued(&app, StatusCode::CREATED, &answer)
}

/// Lists keys, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys", tag = "api keys",
    params(("organization_id" = String, Path), Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path(organization): Path<OrganizationId>,
    query: Query<Filters>,
) -> Result<Response, Problem> {
    caller.may(&app, Action::ReadPlatform, organization)?;
    context.wait(&app).await?;
    list_of(&app, organization, Some(Kind::Organization), &query)
}

/// Shows a key.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys/{key_id}",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn show(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
) -> Result<Response, Problem> {
    caller.may(&app, Action::ReadPlatform, organization)?;
    context.wait(&app).await?;
    let record = find(&app, organization, key, Some(Kind::Organization))?;
    Ok(shown(
        record.stamp.version,
        &KeyRecord::new(&record, app.ledger.now()),
    ))
}

/// Changes name, description or scopes; for a new secret, rotate.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/api-keys/{key_id}",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = ApiKeyUpdateRequest,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn update(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&app, &caller, organization, key)?;
    let patch = body::json::<ApiKeyUpdateRequest>(request, &context)
        .await?
        .value;
    let ApiKeyUpdateRequest {
        name,
        description,
        scopes,
    } = patch;
    let command = Command::UpdateKey(UpdateKey {
        target,
        name,
        description,
        scopes,
    });
    let answer = submit(&app, &caller, &context, (command, None)).await?;
    answered(&app, &answer)
}

/// Ends a key at once and for good.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/revoke",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<ApiKeyRevokeRequest>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&app, &caller, organization, key)?;
    let body = body::optional_json::<ApiKeyRevokeRequest>(request, &context).await?;
    let command = Command::RevokeKey(RevokeKey {
        target,
        reason: body.value.reason,
    });
    let answer = submit(&app, &caller, &context, (command, Some(&body.bytes))).await?;
    answered(&app, &answer)
}

/// Gives a key a new secret; id and scopes stay.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/rotate",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<ApiKeyRotateRequest>,
    responses((status = 200, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&app, &caller, organization, key)?;
    let body = body::optional_json::<ApiKeyRotateRequest>(request, &context).await?;
    let grace_period_seconds = body.value.grace_period_seconds.unwrap_or(0);
    let command = Command::RotateKey(RotateKey {
        target,
        grace_period_seconds,
    });
    let answer = submit(&app, &caller, &context, (command, Some(&body.bytes))).await?;
    issued(&app, StatusCode::OK, &answer)
}

/// Has a key refused until it is enabled.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/disable",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn disable(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&app, &caller, organization, key)?;
    let body = body::optional_json::<NoFields>(request, &context).await?;
    let command = (Command::DisableKey(target), Some(body.bytes.as_slice()));
    answered(&app, &submit(&app, &caller, &context, command).await?)
}

/// Has a disabled key accepted again.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/enable",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn enable(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&app, &caller, organization, key)?;
    let body = body::optional_json::<NoFields>(request, &context).await?;
    let command = (Command::EnableKey(target), Some(body.bytes.as_slice()));
    answered(&app, &submit(&app, &caller, &context, command).await?)
}

/// The last calls made with a key: none are recorded yet.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/usage",
    tag = "api keys",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Object>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn usage(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<Pages>,
) -> Result<Response, Problem> {
    caller.may(&app, Action::ReadPlatform, organization)?;
    context.wait(&app).await?;
    find(&app, organization, key, Some(Kind::Organization))?;
    query.read()?.ask()?;
    Ok(array::<()>(&query.uri, &[], None))
}

/// Leave to write, and the key as the path names it.
fn known(
    app: &App,
    caller: &Caller,
    organization: OrganizationId,
    key: CredentialId,
) -> Result<KeyTarget, Problem> {
    caller.may(app, Action::WritePlatform, organization)?;
    let kind = Some(Kind::Organization);
    find_for_write(app, organization, key, kind)?;
    Ok(KeyTarget {
        organization,
        key,
        kind,
    })
}
