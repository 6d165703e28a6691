//! `/v1/workspaces/{workspace_id}/access-tokens`: tokens that carry one role; and the roles.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::credentials::history::{EventRecord, HistoryPages};
use crate::api::credentials::{Filters, RotateRequest, Surface, expiry, new_expiry};
use crate::api::ledger::moment::AsOf;
use crate::api::usage::{SummaryPages, UsagePages, UsageRecord, UsageSummary};
use crate::domain::access::{Action, Authority};
use crate::domain::catalogue::{Catalogue, Role};
use crate::domain::command::{CreateKey, Place, UpdateKey};
use crate::domain::ids::{CredentialId, OrganizationId};
use crate::domain::kind::{Deed, Kind};
use crate::domain::record::{Grant, Metadata};
use crate::records::{IssuedKey, KeyRecord, MetadataPairs};
use crate::web::body::{NoFields, given, nullable};
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new access token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessTokenCreate {
    /// 1 to 200 characters.
    label: String,
    /// A role of the catalogue.
    role: Option<String>,
    /// The same as `role`, in its place.
    scope: Option<String>,
    /// 1 to 3650; not together with `expires_at`.
    expires_in_days: Option<u32>,
    /// RFC 3339; not together with `expires_in_days`.
    expires_at: Option<String>,
    /// Given back by verification; at most 4,096 bytes.
    #[schema(value_type = Option<MetadataPairs>)]
    metadata: Option<Metadata>,
}

/// A change of an access token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessTokenPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    label: Option<String>,
    /// A role of the catalogue.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    role: Option<String>,
    /// The same as `role`, in its place.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    scope: Option<String>,
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

/// A role of the catalogue.
#[derive(Serialize, ToSchema)]
pub(crate) struct RoleRecord {
    name: String,
    title: String,
    description: String,
    scopes: Vec<String>,
    /// What its holder may do with access tokens.
    permissions: Vec<&'static str>,
}

fn surface(call: Call, workspace: OrganizationId) -> Surface {
    Surface::new(call, workspace, Place::of(Kind::Access))
}

/// The role that a body asks for, under either of its names.
fn role_of(role: Option<String>, scope: Option<String>) -> Result<Option<String>, Problem> {
    match (role, scope) {
        (Some(_), Some(_)) => {
            let message = "not together with role, which means the same";
            Err(Problem::invalid_field("field_invalid", "scope", message))
        }
        (role, scope) => Ok(role.or(scope)),
    }
}

/// Makes an access token; its secret is in this answer alone.
#[utoipa::path(post, path = "/v1/workspaces/{workspace_id}/access-tokens", tag = "access tokens",
    params(("workspace_id" = String, Path)), request_body = AccessTokenCreate,
    responses((status = 201, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    call: Call,
    Path(workspace): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    let surface = surface(call, workspace);
    let body = surface.new_from::<AccessTokenCreate>(request).await?;
    let asked = body.value;
    let role = role_of(asked.role, asked.scope)?;
    let role = role.ok_or_else(|| Problem::invalid_field("field_missing", "role", "is missing"))?;
    let grant = Grant {
        role: Some(role),
        ..Grant::default()
    };
    let new = CreateKey {
        expiry: expiry(asked.expires_in_days, asked.expires_at.as_deref())?,
        metadata: asked.metadata.unwrap_or_default(),
        ..surface.draft(asked.label, grant)
    };
    surface.create(new, &body.bytes).await
}

/// Lists access tokens, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{workspace_id}/access-tokens", tag = "access tokens",
    params(("workspace_id" = String, Path), Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(workspace): Path<OrganizationId>,
    query: Query<Filters>,
) -> Result<Response, Problem> {
    surface(call, workspace).list(&query).await
}

/// Shows an access token.
#[utoipa::path(get, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}",
    tag = "access tokens",
    params(("workspace_id" = String, Path), ("id" = String, Path),
        ("as_of" = Option<String>, Query)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    surface(call, workspace).show(key, &query).await
}

/// Gives an access token a new secret; id and rights stay.
#[utoipa::path(post, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}/rotate",
    tag = "access tokens", params(("workspace_id" = String, Path), ("id" = String, Path)),
    request_body = Option<RotateRequest>,
    responses((status = 200, body = IssuedKey), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn rotate(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, workspace).change(key, Deed::Renew)?;
    key.rotate(request).await
}

/// Has an access token refused until it is enabled.
#[utoipa::path(post, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}/disable",
    tag = "access tokens", params(("workspace_id" = String, Path), ("id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn disable(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, workspace).change(key, Deed::Switch)?;
    key.disable(request).await
}

/// Has a disabled access token accepted again.
#[utoipa::path(post, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}/enable",
    tag = "access tokens", params(("workspace_id" = String, Path), ("id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn enable(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, workspace).change(key, Deed::Switch)?;
    key.enable(request).await
}

/// Ends an access token at once and for good; repeated, it answers the same.
#[utoipa::path(delete, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}",
    tag = "access tokens", params(("workspace_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
) -> Result<Response, Problem> {
    let key = surface(call, workspace).change(key, Deed::End)?;
    key.delete().await
}

/// The history of an access token, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}/events",
    tag = "access tokens",
    params(("workspace_id" = String, Path), ("id" = String, Path), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query),
        ("with_proofs" = Option<bool>, Query, description = "With a receipt of each.")),
    responses((status = 200, body = Vec<EventRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn events(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    surface(call, workspace).events(key, &query).await
}

/// The last calls made with an access token, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}/usage",
    tag = "access tokens",
    params(("workspace_id" = String, Path), ("id" = String, Path), UsagePages),
    responses((status = 200, body = Vec<UsageRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<UsagePages>,
) -> Result<Response, Problem> {
    surface(call, workspace).usage(key, &query).await
}

/// How often an access token was used, by hour or by day.
#[utoipa::path(get, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}/usage/summary",
    tag = "access tokens",
    params(("workspace_id" = String, Path), ("id" = String, Path), SummaryPages),
    responses((status = 200, body = UsageSummary), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn usage_summary(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<SummaryPages>,
) -> Result<Response, Problem> {
    surface(call, workspace).usage_summary(key, &query).await
}

/// Changes label, role, expiry or metadata.
#[utoipa::path(patch, path = "/v1/workspaces/{workspace_id}/access-tokens/{id}",
    tag = "access tokens", params(("workspace_id" = String, Path), ("id" = String, Path)),
    request_body = AccessTokenPatch,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path((workspace, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    let key = surface(call, workspace).change(key, Deed::Edit)?;
    let patch = key.json::<AccessTokenPatch>(request).await?;
    let expires_at = patch.expires_at.as_ref().map(Option::as_deref);
    let expiry = new_expiry(expires_at, patch.expires_in_days)?;
    let role = role_of(patch.role, patch.scope)?;
    key.edit(|edit| UpdateKey {
        name: patch.label,
        role,
        expiry,
        metadata: patch.metadata,
        ..edit
    })
    .await
}

/// Lists the roles that members and access tokens can have.
#[utoipa::path(get, path = "/v1/workspaces/{workspace_id}/roles", tag = "access tokens",
    params(("workspace_id" = String, Path)),
    responses((status = 200, body = Vec<RoleRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn roles(
    call: Call,
    Path(workspace): Path<OrganizationId>,
) -> Result<Response, Problem> {
    let action = Action::Keys(Kind::Access, Deed::Read);
    call.may_read(action, workspace).await?;
    let catalogue = call.views().index.catalogue();
    let roles = catalogue.text().roles.iter().filter(|role| !role.keep);
    let records: Vec<RoleRecord> = roles.map(|role| role_record(role, &catalogue)).collect();
    Ok(Json(records).into_response())
}

fn role_record(role: &Role, catalogue: &Catalogue) -> RoleRecord {
    let deeds = [
        (Deed::Read, "view"),
        (Deed::Create, "create"),
        (Deed::Edit, "edit"),
        (Deed::Renew, "rotate"),
        (Deed::Switch, "disable"),
        (Deed::Switch, "enable"),
        (Deed::End, "delete"),
    ];
    let deeds = deeds.into_iter();
    RoleRecord {
        name: role.name.clone(),
        title: role.title.clone(),
        description: role.description.clone(),
        scopes: catalogue.given_by(role).map(str::to_owned).collect(),
        permissions: deeds
            .filter(|(deed, _)| {
                let action = Action::Keys(Kind::Access, *deed);
                Authority::of_role(&role.name, catalogue).allows(catalogue, action)
            })
            .map(|(_, name)| name)
            .collect(),
    }
}
