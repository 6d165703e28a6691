//! `/platform/organizations/{organization_id}/api-keys`: organization keys.

use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::credentials::history::{EventRecord, HistoryPages};
use crate::api::credentials::{Filters, RevokeRequest, RotateRequest, Surface, expiry, new_expiry};
use crate::api::ledger::moment::AsOf;
use crate::api::usage::{SummaryPages, UsagePages, UsageRecord, UsageSummary};
use crate::domain::command::{CreateKey, Place, UpdateKey};
use crate::domain::ids::{CredentialId, OrganizationId, ProjectId};
use crate::domain::kind::{Deed, Kind};
use crate::domain::record::{Grant, Metadata};
use crate::domain::rejection::Rejection;
use crate::records::{IssuedKey, KeyRecord, MetadataPairs};
use crate::web::body::{NoFields, given, nullable};
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeyCreateRequest {
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
    #[schema(value_type = Option<MetadataPairs>)]
    metadata: Option<Metadata>,
}

/// A change of a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeyUpdateRequest {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    scopes: Option<Vec<String>>,
    /// 1 to 3650, from now on; `null` takes the expiry away. Not together with `expires_at`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>)]
    expires_in_days: Option<Option<u32>>,
    /// RFC 3339; `null` takes the expiry away. Not together with `expires_in_days`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
    /// The new pairs, in the place of all old ones.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MetadataPairs>, nullable = false)]
    metadata: Option<Metadata>,
}

fn surface(call: Call, organization: OrganizationId) -> Surface {
    Surface::new(call, organization, Place::of(Kind::Organization))
}

/// Makes a key; its secret is in this answer alone.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys", tag = "api keys",
    params(("organization_id" = String, Path)), request_body = ApiKeyCreateRequest,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    call: Call,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    let surface = surface(call, organization);
    let body = surface.new_from::<ApiKeyCreateRequest>(request).await?;
    let asked = body.value;
    // A text that is no id of a project names no project of this organization either.
    let project = asked.project_id.as_deref().map(str::parse::<ProjectId>);
    let project = project.transpose();
    let project = project.map_err(|_no_id| Problem::from(Rejection::UnknownProject))?;
    let grant = Grant {
        scopes: asked.scopes,
        ..Grant::default()
    };
    let new = CreateKey {
        project,
        description: asked.description,
        expiry: expiry(asked.expires_in_days, asked.expires_at.as_deref())?,
        metadata: asked.metadata.unwrap_or_default(),
        ..surface.draft(asked.name, grant)
    };
    surface.create(new, &body.bytes).await
}

/// Lists keys, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys", tag = "api keys",
    params(("organization_id" = String, Path), Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<Filters>,
) -> Result<Response, Problem> {
    surface(call, organization).list(&query).await
}

/// Shows a key.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys/{key_id}",
    tag = "api keys",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        ("as_of" = Option<String>, Query)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    surface(call, organization).show(key, &query).await
}

/// Gives a key a new secret; id and rights stay.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/rotate",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<RotateRequest>,
    responses((status = 200, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn rotate(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, organization).change(key, Deed::Renew)?;
    key.rotate(request).await
}

/// Has a key refused until it is enabled.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/disable",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn disable(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, organization).change(key, Deed::Switch)?;
    key.disable(request).await
}

/// Has a disabled key accepted again.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/enable",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn enable(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, organization).change(key, Deed::Switch)?;
    key.enable(request).await
}

/// Ends a key at once and for good.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/revoke",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<RevokeRequest>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn revoke(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, organization).change(key, Deed::End)?;
    key.revoke(request).await
}

/// The history of a key, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/events",
    tag = "api keys",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query),
        ("with_proofs" = Option<bool>, Query, description = "With a receipt of each.")),
    responses((status = 200, body = Vec<EventRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn events(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    surface(call, organization).events(key, &query).await
}

/// The last calls made with a key, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/usage",
    tag = "api keys",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        UsagePages),
    responses((status = 200, body = Vec<UsageRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<UsagePages>,
) -> Result<Response, Problem> {
    surface(call, organization).usage(key, &query).await
}

/// How often a key was used, by hour or by day.
#[utoipa::path(get,
    path = "/platform/organizations/{organization_id}/api-keys/{key_id}/usage/summary",
    tag = "api keys",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        SummaryPages),
    responses((status = 200, body = UsageSummary), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage_summary(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<SummaryPages>,
) -> Result<Response, Problem> {
    surface(call, organization).usage_summary(key, &query).await
}

/// Changes name, description, scopes, expiry or metadata; for a new secret, rotate.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/api-keys/{key_id}",
    tag = "api keys", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = ApiKeyUpdateRequest,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, organization).change(key, Deed::Edit)?;
    let patch = key.json::<ApiKeyUpdateRequest>(request).await?;
    let expires_at = patch.expires_at.as_ref().map(Option::as_deref);
    let expiry = new_expiry(expires_at, patch.expires_in_days)?;
    key.edit(|edit| UpdateKey {
        name: patch.name,
        description: patch.description,
        scopes: patch.scopes,
        expiry,
        metadata: patch.metadata,
        ..edit
    })
    .await
}
