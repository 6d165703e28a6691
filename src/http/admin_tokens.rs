//! `/v1/admin/api-tokens`: tokens that administrators make, replace and review.

use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::NoFields;
use super::call::Call;
use super::events::{EventRecord, HistoryPages};
use super::keys::{Filters, ReplaceRequest, Surface, expiry};
use super::lists::Query;
use super::path::Path;
use super::problem::{Problem, ProblemBody};
use super::records::{IssuedKey, KeyRecord};
use crate::domain::command::{CreateKey, Place, UpdateKey};
use crate::domain::ids::CredentialId;
use crate::domain::kind::{Deed, Kind};
use crate::domain::record::{Grant, Metadata};

/// A new admin token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AdminTokenCreate {
    /// 1 to 200 characters.
    name: String,
    /// Scopes of the catalogue.
    scopes: Vec<String>,
    /// 1 to 3650; not together with `expires_at`.
    expires_in_days: Option<u32>,
    /// RFC 3339; not together with `expires_in_days`.
    expires_at: Option<String>,
    /// Given back by verification; at most 4,096 bytes.
    metadata: Option<Metadata>,
}

/// A change of an admin token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AdminTokenPatch {
    name: Option<String>,
    scopes: Option<Vec<String>>,
    /// The new pairs, in the place of all old ones.
    metadata: Option<Metadata>,
}

fn surface(call: Call) -> Result<Surface, Problem> {
    let organization = call.home()?;
    Ok(Surface::new(call, organization, Place::of(Kind::Admin)))
}

/// Makes an admin token; its secret is in this answer alone.
#[utoipa::path(post, path = "/v1/admin/api-tokens", tag = "admin tokens", params(),
    request_body = AdminTokenCreate, responses((status = 201, body = IssuedKey), (status = "4XX",
    body = ProblemBody)))]
pub(in crate::http) async fn create(call: Call, request: Request) -> Result<Response, Problem> {
    let surface = surface(call)?;
    let body = surface.new_from::<AdminTokenCreate>(request).await?;
    let asked = body.value;
    let grant = Grant {
        scopes: asked.scopes,
        ..Grant::default()
    };
    let new = CreateKey {
        expiry: expiry(asked.expires_in_days, asked.expires_at.as_deref())?,
        metadata: asked.metadata.unwrap_or_default(),
        ..surface.draft(asked.name, grant)
    };
    surface.create(new, &body.bytes).await
}

/// Lists admin tokens, newest first.
#[utoipa::path(get, path = "/v1/admin/api-tokens", tag = "admin tokens", params(Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn list(call: Call, query: Query<Filters>) -> Result<Response, Problem> {
    surface(call)?.list(&query).await
}

/// Shows an admin token.
#[utoipa::path(get, path = "/v1/admin/api-tokens/{id}", tag = "admin tokens",
    params(("id" = String, Path)), responses((status = 200, body = KeyRecord), (status = "4XX",
    body = ProblemBody)))]
pub(in crate::http) async fn show(
    call: Call,
    Path(key): Path<CredentialId>,
) -> Result<Response, Problem> {
    surface(call)?.show(key).await
}

/// Makes another admin token with the same name and scopes beside this one, which lives on until
/// it is removed.
#[utoipa::path(post, path = "/v1/admin/api-tokens/{id}/replace", tag = "admin tokens",
    params(("id" = String, Path)), request_body = Option<ReplaceRequest>, responses((status = 201,
    body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn replace(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::Renew)?;
    key.replace(request).await
}

/// Has an admin token refused until it is enabled.
#[utoipa::path(post, path = "/v1/admin/api-tokens/{id}/disable", tag = "admin tokens",
    params(("id" = String, Path)), request_body = Option<NoFields>, responses((status = 200,
    body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn disable(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::Switch)?;
    key.disable(request).await
}

/// Has a disabled admin token accepted again.
#[utoipa::path(post, path = "/v1/admin/api-tokens/{id}/enable", tag = "admin tokens",
    params(("id" = String, Path)), request_body = Option<NoFields>, responses((status = 200,
    body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn enable(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::Switch)?;
    key.enable(request).await
}

/// Ends an admin token at once and for good; repeated, it answers the same.
#[utoipa::path(delete, path = "/v1/admin/api-tokens/{id}", tag = "admin tokens",
    params(("id" = String, Path)), responses((status = 200, body = KeyRecord), (status = "4XX",
    body = ProblemBody)))]
pub(in crate::http) async fn remove(
    call: Call,
    Path(key): Path<CredentialId>,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::End)?;
    key.delete().await
}

/// The history of an admin token, newest first.
#[utoipa::path(get, path = "/v1/admin/api-tokens/{id}/events", tag = "admin tokens",
    params(("id" = String, Path), ("limit" = Option<usize>, Query), ("cursor" = Option<String>,
    Query)), responses((status = 200, body = Vec<EventRecord>), (status = "4XX",
    body = ProblemBody)))]
pub(in crate::http) async fn events(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    surface(call)?.events(key, &query).await
}

/// Changes name, scopes or metadata.
#[utoipa::path(patch, path = "/v1/admin/api-tokens/{id}", tag = "admin tokens",
    params(("id" = String, Path)), request_body = AdminTokenPatch, responses((status = 200,
    body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn update(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::Edit)?;
    let patch = key.json::<AdminTokenPatch>(request).await?;
    key.edit(|edit| UpdateKey {
        name: patch.name,
        scopes: patch.scopes,
        metadata: patch.metadata,
        ..edit
    })
    .await
}
