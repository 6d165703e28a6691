//! `/platform/organizations/{organization_id}/credentials`: an administrator's oversight of every
//! kind.

use axum::extract::Request;
use axum::response::Response;

use crate::api::credentials::{Filters, RevokeRequest, Surface};
use crate::api::ledger::moment::AsOf;
use crate::api::usage::{SummaryPages, UsagePages, UsageRecord, UsageSummary};
use crate::domain::command::Place;
use crate::domain::ids::{CredentialId, OrganizationId};
use crate::domain::kind::Deed;
use crate::records::KeyRecord;
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// Lists credentials of every kind, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/credentials",
    tag = "credentials", params(("organization_id" = String, Path), Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<Filters>,
) -> Result<Response, Problem> {
    Surface::new(call, organization, Place::default())
        .list(&query)
        .await
}

/// Shows a credential of any kind.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/credentials/{key_id}",
    tag = "credentials",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        ("as_of" = Option<String>, Query)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    Surface::new(call, organization, Place::default())
        .show(key, &query)
        .await
}

/// The last calls made with a credential of any kind, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/credentials/{key_id}/usage",
    tag = "credentials",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        UsagePages),
    responses((status = 200, body = Vec<UsageRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<UsagePages>,
) -> Result<Response, Problem> {
    Surface::new(call, organization, Place::default())
        .usage(key, &query)
        .await
}

/// How often a credential of any kind was used, by hour or by day.
#[utoipa::path(get,
    path = "/platform/organizations/{organization_id}/credentials/{key_id}/usage/summary",
    tag = "credentials",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        SummaryPages),
    responses((status = 200, body = UsageSummary), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage_summary(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<SummaryPages>,
) -> Result<Response, Problem> {
    Surface::new(call, organization, Place::default())
        .usage_summary(key, &query)
        .await
}

/// Ends a credential of any kind at once and for good.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/credentials/{key_id}/revoke",
    tag = "credentials", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<RevokeRequest>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn revoke(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = Surface::new(call, organization, Place::default()).change(key, Deed::End)?;
    key.revoke(request).await
}
