//! `/v1/service-accounts/{id}/tokens`: the tokens of a service account. Each carries the account's
//! scopes as they were when it was issued.

use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::credentials::history::{EventRecord, HistoryPages};
use crate::api::credentials::{Filters, RotateRequest, Surface, expiry};
use crate::api::ledger::moment::AsOf;
use crate::api::usage::{SummaryPages, UsagePages, UsageRecord, UsageSummary};
use crate::domain::command::{CreateKey, Place};
use crate::domain::ids::{CredentialId, Owner, ServiceAccountId};
use crate::domain::kind::{Deed, Kind};
use crate::domain::record::{Grant, Metadata};
use crate::records::{IssuedKey, KeyRecord, MetadataPairs};
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new token of a service account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountTokenCreate {
    /// Unique among the account's live tokens.
    name: String,
    /// Some of the account's scopes; all that it has now unless some are named.
    scopes: Option<Vec<String>>,
    /// 1 to 3650; not together with `expires_at`.
    expires_in_days: Option<u32>,
    /// RFC 3339; not together with `expires_in_days`.
    expires_at: Option<String>,
    /// Given back by verification; at most 4,096 bytes.
    #[schema(value_type = Option<MetadataPairs>)]
    metadata: Option<Metadata>,
}

/// The tokens of an account of the caller's organization.
fn surface(call: Call, account: ServiceAccountId) -> Result<Surface, Problem> {
    let organization = call.home()?;
    match call
        .views()
        .directory
        .service_account(organization, account)
    {
        Some(_) => {
            let place = Place::of(Kind::ServiceAccount).owned_by(Owner::ServiceAccount(account));
            Ok(Surface::new(call, organization, place))
        }
        None => Err(Problem::not_found("service account")),
    }
}

/// Makes a service account token; its secret is in this answer alone.
#[utoipa::path(post, path = "/v1/service-accounts/{id}/tokens", tag = "service account tokens",
    params(("id" = String, Path)), request_body = AccountTokenCreate,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    call: Call,
    Path(account): Path<ServiceAccountId>,
    request: Request,
) -> Result<Response, Problem> {
    let surface = surface(call, account)?;
    let body = surface.new_from::<AccountTokenCreate>(request).await?;
    let asked = body.value;
    let grant = Grant {
        scopes: asked.scopes.unwrap_or_default(),
        ..Grant::default()
    };
    let new = CreateKey {
        expiry: expiry(asked.expires_in_days, asked.expires_at.as_deref())?,
        metadata: asked.metadata.unwrap_or_default(),
        ..surface.draft(asked.name, grant)
    };
    surface.create(new, &body.bytes).await
}

/// Lists service account tokens, newest first.
#[utoipa::path(get, path = "/v1/service-accounts/{id}/tokens", tag = "service account tokens",
    params(("id" = String, Path), Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(account): Path<ServiceAccountId>,
    query: Query<Filters>,
) -> Result<Response, Problem> {
    surface(call, account)?.list(&query).await
}

/// Shows a service account token.
#[utoipa::path(get, path = "/v1/service-accounts/{id}/tokens/{tok_id}",
    tag = "service account tokens",
    params(("id" = String, Path), ("tok_id" = String, Path), ("as_of" = Option<String>, Query)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((account, key)): Path<(ServiceAccountId, CredentialId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    surface(call, account)?.show(key, &query).await
}

/// Gives a service account token a new secret; id and rights stay.
#[utoipa::path(post, path = "/v1/service-accounts/{id}/tokens/{tok_id}/rotate",
    tag = "service account tokens", params(("id" = String, Path), ("tok_id" = String, Path)),
    request_body = Option<RotateRequest>,
    responses((status = 200, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn rotate(
    call: Call,
    Path((account, key)): Path<(ServiceAccountId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, account)?.change(key, Deed::Renew)?;
    key.rotate(request).await
}

/// Ends a service account token at once and for good; repeated, it answers the same.
#[utoipa::path(delete, path = "/v1/service-accounts/{id}/tokens/{tok_id}",
    tag = "service account tokens", params(("id" = String, Path), ("tok_id" = String, Path)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    call: Call,
    Path((account, key)): Path<(ServiceAccountId, CredentialId)>,
) -> Result<Response, Problem> {
    let key = surface(call, account)?.change(key, Deed::End)?;
    key.delete().await
}

/// The history of a service account token, newest first.
#[utoipa::path(get, path = "/v1/service-accounts/{id}/tokens/{tok_id}/events",
    tag = "service account tokens",
    params(("id" = String, Path), ("tok_id" = String, Path), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query),
        ("with_proofs" = Option<bool>, Query, description = "With a receipt of each.")),
    responses((status = 200, body = Vec<EventRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn events(
    call: Call,
    Path((account, key)): Path<(ServiceAccountId, CredentialId)>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    surface(call, account)?.events(key, &query).await
}

/// The last calls made with a service account token, newest first.
#[utoipa::path(get, path = "/v1/service-accounts/{id}/tokens/{tok_id}/usage",
    tag = "service account tokens",
    params(("id" = String, Path), ("tok_id" = String, Path), UsagePages),
    responses((status = 200, body = Vec<UsageRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage(
    call: Call,
    Path((account, key)): Path<(ServiceAccountId, CredentialId)>,
    query: Query<UsagePages>,
) -> Result<Response, Problem> {
    surface(call, account)?.usage(key, &query).await
}

/// How often a service account token was used, by hour or by day.
#[utoipa::path(get, path = "/v1/service-accounts/{id}/tokens/{tok_id}/usage/summary",
    tag = "service account tokens",
    params(("id" = String, Path), ("tok_id" = String, Path), SummaryPages),
    responses((status = 200, body = UsageSummary), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage_summary(
    call: Call,
    Path((account, key)): Path<(ServiceAccountId, CredentialId)>,
    query: Query<SummaryPages>,
) -> Result<Response, Problem> {
    surface(call, account)?.usage_summary(key, &query).await
}
