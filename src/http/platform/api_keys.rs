//! `/platform/organizations/{organization_id}/api-keys`: organization keys.

use axum::extract::Request;
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
use crate::http::answer::shown;
use crate::http::body::{NoFields, nullable};
use crate::http::call::Call;
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
    call: Call,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    call.may(Action::WritePlatform, organization)?;
    let body = call.json::<ApiKeyCreateRequest>(request).await?;
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
    let answer = call.submit(command, Some(&body.bytes)).await?;
    issued(&call, StatusCode::CREATED, &answer)
}

/// Lists keys, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys", tag = "api keys",
    params(("organization_id" = String, Path), Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<Filters>,
) -> Result<Response, Problem> {
    call.may_read(Action::ReadPlatform, organization).await?;
    list_of(&call, organization, Some(Kind::Organization), &query)
}

/// Shows a key.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys/{key_id}",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn show(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
) -> Result<Response, Problem> {
    call.may_read(Action::ReadPlatform, organization).await?;
    let record = find(&call, organization, key, Some(Kind::Organization))?;
    Ok(shown(
        record.stamp.version,
        &KeyRecord::new(&record, call.now()),
    ))
}

/// Changes name, description or scopes; for a new secret, rotate.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/api-keys/{key_id}",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = ApiKeyUpdateRequest,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn update(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, key)?;
    let patch = call.json::<ApiKeyUpdateRequest>(request).await?.value;
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
    let answer = call.submit(command, None).await?;
    answered(&call, &answer)
}

/// Ends a key at once and for good.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/revoke",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<ApiKeyRevokeRequest>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn revoke(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, key)?;
    let body = call.optional_json::<ApiKeyRevokeRequest>(request).await?;
    let command = Command::RevokeKey(RevokeKey {
        target,
        reason: body.value.reason,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    answered(&call, &answer)
}

/// Gives a key a new secret; id and scopes stay.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/rotate",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<ApiKeyRotateRequest>,
    responses((status = 200, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn rotate(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, key)?;
    let body = call.optional_json::<ApiKeyRotateRequest>(request).await?;
    let grace_period_seconds = body.value.grace_period_seconds.unwrap_or(0);
    let command = Command::RotateKey(RotateKey {
        target,
        grace_period_seconds,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    issued(&call, StatusCode::OK, &answer)
}

/// Has a key refused until it is enabled.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/disable",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn disable(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, key)?;
    let body = call.optional_json::<NoFields>(request).await?;
    let answer = call
        .submit(Command::DisableKey(target), Some(&body.bytes))
        .await?;
    answered(&call, &answer)
}

/// Has a disabled key accepted again.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/enable",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn enable(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let target = known(&call, organization, key)?;
    let body = call.optional_json::<NoFields>(request).await?;
    let answer = call
        .submit(Command::EnableKey(target), Some(&body.bytes))
        .await?;
    answered(&call, &answer)
}

/// The last calls made with a key: none are recorded yet.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/usage",
    tag = "api keys",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Object>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn usage(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<Pages>,
) -> Result<Response, Problem> {
    call.may_read(Action::ReadPlatform, organization).await?;
    find(&call, organization, key, Some(Kind::Organization))?;
    query.read()?.ask()?;
    Ok(array::<()>(&query.uri, &[], None))
}

/// Leave to write, and the key as the path names it.
fn known(
    call: &Call,
    organization: OrganizationId,
    key: CredentialId,
) -> Result<KeyTarget, Problem> {
    call.may(Action::WritePlatform, organization)?;
    let kind = Some(Kind::Organization);
    find_for_write(call, organization, key, kind)?;
    Ok(KeyTarget {
        organization,
        key,
        kind,
    })
}
