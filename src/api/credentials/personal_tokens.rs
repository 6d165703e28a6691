//! `/v1/api-tokens`: a member's own personal tokens, and nobody else's.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::credentials::history::{EventRecord, HistoryPages};
use crate::api::credentials::{Filters, Surface, expiry};
use crate::api::ledger::moment::AsOf;
use crate::api::usage::{SummaryPages, UsagePages, UsageRecord, UsageSummary};
use crate::domain::command::{CreateKey, Place};
use crate::domain::ids::{CredentialId, Owner};
use crate::domain::kind::{Deed, Kind};
use crate::domain::record::{Grant, Metadata};
use crate::records::{IssuedKey, KeyRecord, MetadataPairs};
use crate::web::body::NoFields;
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new personal token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonalTokenCreate {
    /// Unique among your live tokens.
    name: String,
    /// Scopes of the catalogue, or `*` alone: all that you may do, never more than now.
    scopes: Vec<String>,
    /// 1 to 3650; not together with `expires_at`.
    expires_in_days: Option<u32>,
    /// RFC 3339; not together with `expires_in_days`.
    expires_at: Option<String>,
    /// Given back by verification; at most 4,096 bytes.
    #[schema(value_type = Option<MetadataPairs>)]
    metadata: Option<Metadata>,
}

/// A scope of the catalogue.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScopeRecord {
    name: String,
    description: String,
}

/// The caller's own tokens. Who is no member has none, and is refused.
fn mine(call: Call) -> Result<Surface, Problem> {
    let organization = call.home()?;
    let place = Place::of(Kind::Personal);
    let place = match call.caller.authority.member() {
        Some(member) => place.owned_by(Owner::User(member)),
        None => place,
    };
    Ok(Surface::new(call, organization, place))
}

/// Makes a personal token of the caller; its secret is in this answer alone.
#[utoipa::path(post, path = "/v1/api-tokens", tag = "personal tokens", params(),
    request_body = PersonalTokenCreate,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(call: Call, request: Request) -> Result<Response, Problem> {
    let surface = mine(call)?;
    let body = surface.new_from::<PersonalTokenCreate>(request).await?;
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

/// Lists personal tokens, newest first.
#[utoipa::path(get, path = "/v1/api-tokens", tag = "personal tokens", params(Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(call: Call, query: Query<Filters>) -> Result<Response, Problem> {
    mine(call)?.list(&query).await
}

/// Shows a personal token.
#[utoipa::path(get, path = "/v1/api-tokens/{id}", tag = "personal tokens",
    params(("id" = String, Path), ("as_of" = Option<String>, Query)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    mine(call)?.show(key, &query).await
}

/// Gives a personal token a new secret; the old one is dead when this returns.
#[utoipa::path(post, path = "/v1/api-tokens/{id}/roll", tag = "personal tokens",
    params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 200, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn roll(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = mine(call)?.change(key, Deed::Renew)?;
    key.roll(request).await
}

/// Ends a personal token at once and for good; repeated, it answers the same.
#[utoipa::path(delete, path = "/v1/api-tokens/{id}", tag = "personal tokens",
    params(("id" = String, Path)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(call: Call, Path(key): Path<CredentialId>) -> Result<Response, Problem> {
    let key = mine(call)?.change(key, Deed::End)?;
    key.delete().await
}

/// The history of a personal token, newest first.
#[utoipa::path(get, path = "/v1/api-tokens/{id}/events", tag = "personal tokens",
    params(("id" = String, Path), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query),
        ("with_proofs" = Option<bool>, Query, description = "With a receipt of each.")),
    responses((status = 200, body = Vec<EventRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn events(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    mine(call)?.events(key, &query).await
}

/// The last calls made with a personal token, newest first.
#[utoipa::path(get, path = "/v1/api-tokens/{id}/usage", tag = "personal tokens",
    params(("id" = String, Path), UsagePages),
    responses((status = 200, body = Vec<UsageRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<UsagePages>,
) -> Result<Response, Problem> {
    mine(call)?.usage(key, &query).await
}

/// How often a personal token was used, by hour or by day.
#[utoipa::path(get, path = "/v1/api-tokens/{id}/usage/summary", tag = "personal tokens",
    params(("id" = String, Path), SummaryPages),
    responses((status = 200, body = UsageSummary), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage_summary(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<SummaryPages>,
) -> Result<Response, Problem> {
    mine(call)?.usage_summary(key, &query).await
}

/// Lists the scopes that tokens can carry.
#[utoipa::path(get, path = "/v1/api-tokens/scopes", tag = "personal tokens",
    responses((status = 200, body = Vec<ScopeRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn scopes(call: Call) -> Result<Response, Problem> {
    call.wait().await?;
    let catalogue = call.views().index.catalogue();
    let scopes = catalogue.text().scopes.iter().filter(|scope| !scope.keep);
    let records: Vec<ScopeRecord> = scopes
        .map(|scope| ScopeRecord {
            name: scope.name.clone(),
            description: scope.description.clone(),
        })
        .collect();
    Ok(Json(records).into_response())
}
