//! `/v1/admin/api-tokens`: tokens that administrators make, replace and review.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::credentials::history::{EventRecord, HistoryPages};
use crate::api::credentials::{Filters, ReplaceRequest, Surface, expiry, new_expiry};
use crate::api::ledger::moment::AsOf;
use crate::api::usage::{SummaryPages, UsagePages, UsageRecord, UsageSummary};
use crate::domain::command::{CreateKey, Place, UpdateKey};
use crate::domain::ids::CredentialId;
use crate::domain::kind::{Deed, Kind};
use crate::domain::record::{Credential, Grant, Metadata};
use crate::domain::time::{DAY_MS, Timestamp};
use crate::records::{IssuedKey, KeyRecord, MetadataPairs, NOT_TRACKED, Use};
use crate::web::app::App;
use crate::web::body::{NoFields, given, nullable};
use crate::web::call::Call;
use crate::web::lists::{Query, ask, number};
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new admin token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminTokenCreate {
    /// 1 to 200 characters.
    name: String,
    /// Scopes of the catalogue.
    scopes: Vec<String>,
    /// 1 to 3650; not together with `expires_at`.
    expires_in_days: Option<u32>,
    /// RFC 3339; not together with `expires_in_days`.
    expires_at: Option<String>,
    /// Given back by verification; at most 4,096 bytes.
    #[schema(value_type = Option<MetadataPairs>)]
    metadata: Option<Metadata>,
}

/// A change of an admin token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminTokenPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
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

/// Days without use that a review may ask for.
/// After how many days without a use a token is found unless it is said.
const UNUSED_DAYS_USUAL: usize = 90;
const UNUSED_DAYS: std::ops::RangeInclusive<usize> = 1..=3_650;

/// What a review of admin tokens asks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Review {
    #[serde(default, deserialize_with = "number")]
    unused_days: Option<usize>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A live admin token and what a reviewer should know of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReviewRecord {
    key: KeyRecord,
    /// All questions of the review, in one order.
    findings: [Finding; 4],
}

/// The answer to one question of a review.
#[derive(Serialize, ToSchema)]
pub(crate) struct Finding {
    /// `without_expiry`, `never_used`, `not_used_for_days` or `scopes_never_exercised`.
    finding: &'static str,
    /// `found`, `not_found`, or `not_tracked` where nobody can say.
    state: &'static str,
    /// Of scopes that were never exercised, which.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
}

fn surface(call: Call) -> Result<Surface, Problem> {
    let organization = call.home()?;
    Ok(Surface::new(call, organization, Place::of(Kind::Admin)))
}

/// Makes an admin token; its secret is in this answer alone.
#[utoipa::path(post, path = "/v1/admin/api-tokens", tag = "admin tokens", params(),
    request_body = AdminTokenCreate,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(call: Call, request: Request) -> Result<Response, Problem> {
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
pub(crate) async fn list(call: Call, query: Query<Filters>) -> Result<Response, Problem> {
    surface(call)?.list(&query).await
}

/// Shows an admin token.
#[utoipa::path(get, path = "/v1/admin/api-tokens/{id}", tag = "admin tokens",
    params(("id" = String, Path), ("as_of" = Option<String>, Query)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    surface(call)?.show(key, &query).await
}

/// Makes another admin token with the same name and scopes beside this one, which lives on until
/// it is removed.
#[utoipa::path(post, path = "/v1/admin/api-tokens/{id}/replace", tag = "admin tokens",
    params(("id" = String, Path)), request_body = Option<ReplaceRequest>,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn replace(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::Renew)?;
    key.replace(request).await
}

/// Has an admin token refused until it is enabled.
#[utoipa::path(post, path = "/v1/admin/api-tokens/{id}/disable", tag = "admin tokens",
    params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn disable(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::Switch)?;
    key.disable(request).await
}

/// Has a disabled admin token accepted again.
#[utoipa::path(post, path = "/v1/admin/api-tokens/{id}/enable", tag = "admin tokens",
    params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn enable(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::Switch)?;
    key.enable(request).await
}

/// Ends an admin token at once and for good; repeated, it answers the same.
#[utoipa::path(delete, path = "/v1/admin/api-tokens/{id}", tag = "admin tokens",
    params(("id" = String, Path)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(call: Call, Path(key): Path<CredentialId>) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::End)?;
    key.delete().await
}

/// The history of an admin token, newest first.
#[utoipa::path(get, path = "/v1/admin/api-tokens/{id}/events", tag = "admin tokens",
    params(("id" = String, Path), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query),
        ("with_proofs" = Option<bool>, Query, description = "With a receipt of each.")),
    responses((status = 200, body = Vec<EventRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn events(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    surface(call)?.events(key, &query).await
}

/// The last calls made with an admin token, newest first.
#[utoipa::path(get, path = "/v1/admin/api-tokens/{id}/usage", tag = "admin tokens",
    params(("id" = String, Path), UsagePages),
    responses((status = 200, body = Vec<UsageRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<UsagePages>,
) -> Result<Response, Problem> {
    surface(call)?.usage(key, &query).await
}

/// How often an admin token was used, by hour or by day.
#[utoipa::path(get, path = "/v1/admin/api-tokens/{id}/usage/summary", tag = "admin tokens",
    params(("id" = String, Path), SummaryPages),
    responses((status = 200, body = UsageSummary), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage_summary(
    call: Call,
    Path(key): Path<CredentialId>,
    query: Query<SummaryPages>,
) -> Result<Response, Problem> {
    surface(call)?.usage_summary(key, &query).await
}

/// Changes name, scopes or metadata.
#[utoipa::path(patch, path = "/v1/admin/api-tokens/{id}", tag = "admin tokens",
    params(("id" = String, Path)), request_body = AdminTokenPatch,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path(key): Path<CredentialId>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call)?.change(key, Deed::Edit)?;
    let patch = key.json::<AdminTokenPatch>(request).await?;
    let expires_at = patch.expires_at.as_ref().map(Option::as_deref);
    let expiry = new_expiry(expires_at, patch.expires_in_days)?;
    key.edit(|edit| UpdateKey {
        name: patch.name,
        scopes: patch.scopes,
        expiry,
        metadata: patch.metadata,
        ..edit
    })
    .await
}

/// Lists live admin tokens with what a regular audit asks of them: tokens without expiry, never
/// used, not used for `unused_days` (90 unless given), with scopes that were never exercised.
#[utoipa::path(get, path = "/v1/admin/api-tokens/review", tag = "admin tokens",
    params(("unused_days" = Option<usize>, Query), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<ReviewRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn review(call: Call, query: Query<Review>) -> Result<Response, Problem> {
    let surface = surface(call)?;
    surface.may_read().await?;
    let asked = query.read()?;
    if asked
        .unused_days
        .is_some_and(|days| !UNUSED_DAYS.contains(&days))
    {
        return Err(Problem::invalid_query(
            "unused_days",
            "must be a whole number from 1 to 3650",
        ));
    }
    let page_asked = ask(asked.limit, asked.cursor.as_deref())?;
    let days = asked.unused_days.unwrap_or(UNUSED_DAYS_USUAL);
    let days = i64::try_from(days).unwrap_or(i64::MAX / DAY_MS);
    let unused_since = surface.call.now().plus_ms(-days * DAY_MS);
    let asked = Arc::new(surface);
    let surface = Arc::clone(&asked);
    let show = move |key: &Credential| ReviewRecord {
        findings: findings(&asked.call.app, key, unused_since),
        key: asked.record(key),
    };
    surface.review(&query.uri, page_asked, show).await
}

fn findings(app: &App, key: &Credential, unused_since: Timestamp) -> [Finding; 4] {
    let used = Use::of(app.usage.as_ref(), key);
    let tracked = used.status() != NOT_TRACKED;
    let finding = |finding, found: Option<bool>, scopes| Finding {
        finding,
        state: match found {
            Some(true) => "found",
            Some(false) => "not_found",
            None => NOT_TRACKED,
        },
        scopes,
    };
    let last = used.last_used_at().max(used.last_reported_at());
    let idle_since = last.unwrap_or_else(|| key.stamp().created_at);
    let unexercised = used.never_exercised(&app.ledger.views().index.catalogue(), key);
    let lacking = tracked.then_some(!unexercised.is_empty());
    let unexercised = if tracked { unexercised } else { Vec::new() };
    [
        finding(
            "without_expiry",
            Some(key.expires_at().is_none()),
            Vec::new(),
        ),
        finding("never_used", tracked.then_some(last.is_none()), Vec::new()),
        finding(
            "not_used_for_days",
            tracked.then_some(idle_since < unused_since),
            Vec::new(),
        ),
        finding("scopes_never_exercised", lacking, unexercised),
    ]
}
