//! `/v1/projects/{project_id}/api-tokens`: tokens of one project, with one of its presets. They are
//! never edited: a new one takes the place of the old.

use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::credentials::history::{EventRecord, HistoryPages};
use crate::api::credentials::{Filters, ReplaceRequest, Surface, expiry};
use crate::api::ledger::moment::AsOf;
use crate::api::usage::{SummaryPages, UsagePages, UsageRecord, UsageSummary};
use crate::domain::command::{CreateKey, Place};
use crate::domain::ids::{CredentialId, ProjectId};
use crate::domain::kind::{Deed, Kind};
use crate::domain::record::{Grant, Metadata};
use crate::records::{IssuedKey, KeyRecord, MetadataPairs};
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new project token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectTokenCreate {
    /// 1 to 200 characters.
    label: String,
    /// `status`, `read-only` or `admin`, as in the catalogue.
    scope: String,
    /// 1 to 3650; not together with `expires_at`.
    expires_in_days: Option<u32>,
    /// RFC 3339; not together with `expires_in_days`.
    expires_at: Option<String>,
    /// Given back by verification; at most 4,096 bytes.
    #[schema(value_type = Option<MetadataPairs>)]
    metadata: Option<Metadata>,
}

/// The path of one of them, and why it takes no PATCH.
pub(crate) const ONE: &str = "/v1/projects/{project_id}/api-tokens/{id}";
pub(crate) const NEVER_EDITED: &str = "a project token is never edited; make another one, or \
    replace this one by POST to its path with /replace";

/// The tokens of a project of the caller's organization.
fn surface(call: Call, project: ProjectId) -> Result<Surface, Problem> {
    let organization = call.home()?;
    match call.views().directory.project(organization, project) {
        Some(_) => {
            let place = Place::of(Kind::Project).on(project);
            Ok(Surface::new(call, organization, place))
        }
        None => Err(Problem::not_found("project")),
    }
}

/// Makes a project token; its secret is in this answer alone.
#[utoipa::path(post, path = "/v1/projects/{project_id}/api-tokens", tag = "project tokens",
    params(("project_id" = String, Path)), request_body = ProjectTokenCreate,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    call: Call,
    Path(project): Path<ProjectId>,
    request: Request,
) -> Result<Response, Problem> {
    let surface = surface(call, project)?;
    let body = surface.new_from::<ProjectTokenCreate>(request).await?;
    let asked = body.value;
    let grant = Grant {
        preset: Some(asked.scope),
        ..Grant::default()
    };
    let new = CreateKey {
        expiry: expiry(asked.expires_in_days, asked.expires_at.as_deref())?,
        metadata: asked.metadata.unwrap_or_default(),
        ..surface.draft(asked.label, grant)
    };
    surface.create(new, &body.bytes).await
}

/// Lists project tokens, newest first.
#[utoipa::path(get, path = "/v1/projects/{project_id}/api-tokens", tag = "project tokens",
    params(("project_id" = String, Path), Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(project): Path<ProjectId>,
    query: Query<Filters>,
) -> Result<Response, Problem> {
    surface(call, project)?.list(&query).await
}

/// Shows a project token.
#[utoipa::path(get, path = "/v1/projects/{project_id}/api-tokens/{id}", tag = "project tokens",
    params(("project_id" = String, Path), ("id" = String, Path), ("as_of" = Option<String>, Query)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((project, key)): Path<(ProjectId, CredentialId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    surface(call, project)?.show(key, &query).await
}

/// Makes another project token with the same label and scope, and ends this one in the same
/// instant.
#[utoipa::path(post, path = "/v1/projects/{project_id}/api-tokens/{id}/replace",
    tag = "project tokens", params(("project_id" = String, Path), ("id" = String, Path)),
    request_body = Option<ReplaceRequest>,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn replace(
    call: Call,
    Path((project, key)): Path<(ProjectId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, project)?.change(key, Deed::Renew)?;
    key.replace(request).await
}

/// Ends a project token at once and for good; repeated, it answers the same.
#[utoipa::path(delete, path = "/v1/projects/{project_id}/api-tokens/{id}", tag = "project tokens",
    params(("project_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    call: Call,
    Path((project, key)): Path<(ProjectId, CredentialId)>,
) -> Result<Response, Problem> {
    let key = surface(call, project)?.change(key, Deed::End)?;
    key.delete().await
}

/// The history of a project token, newest first.
#[utoipa::path(get, path = "/v1/projects/{project_id}/api-tokens/{id}/events",
    tag = "project tokens",
    params(("project_id" = String, Path), ("id" = String, Path), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query),
        ("with_proofs" = Option<bool>, Query, description = "With a receipt of each.")),
    responses((status = 200, body = Vec<EventRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn events(
    call: Call,
    Path((project, key)): Path<(ProjectId, CredentialId)>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    surface(call, project)?.events(key, &query).await
}

/// The last calls made with a project token, newest first.
#[utoipa::path(get, path = "/v1/projects/{project_id}/api-tokens/{id}/usage",
    tag = "project tokens",
    params(("project_id" = String, Path), ("id" = String, Path), UsagePages),
    responses((status = 200, body = Vec<UsageRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage(
    call: Call,
    Path((project, key)): Path<(ProjectId, CredentialId)>,
    query: Query<UsagePages>,
) -> Result<Response, Problem> {
    surface(call, project)?.usage(key, &query).await
}

/// How often a project token was used, by hour or by day.
#[utoipa::path(get, path = "/v1/projects/{project_id}/api-tokens/{id}/usage/summary",
    tag = "project tokens",
    params(("project_id" = String, Path), ("id" = String, Path), SummaryPages),
    responses((status = 200, body = UsageSummary), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage_summary(
    call: Call,
    Path((project, key)): Path<(ProjectId, CredentialId)>,
    query: Query<SummaryPages>,
) -> Result<Response, Problem> {
    surface(call, project)?.usage_summary(key, &query).await
}
