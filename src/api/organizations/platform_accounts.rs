//! `/platform/organizations/{organization_id}/service-accounts`: service accounts by their role.

use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::ledger::moment::AsOf;
use crate::api::organizations::service_accounts;
use crate::domain::access::Action;
use crate::domain::command::{CreateServiceAccount, UpdateServiceAccount};
use crate::domain::ids::{OrganizationId, ServiceAccountId};
use crate::records::ServiceAccountRecord;
use crate::web::body::{given, nullable};
use crate::web::call::Call;
use crate::web::lists::{Query, StatusPages};
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// What this surface asks for a write.
const WRITE: Action = Action::WritePlatform;

/// A new service account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceAccountCreate {
    /// Unique in the organization but for case.
    name: String,
    description: Option<String>,
    /// A role of the catalogue.
    role: String,
}

/// A change of a service account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceAccountPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    role: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    is_active: Option<bool>,
}

/// Makes a service account.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/service-accounts",
    tag = "service accounts", params(("organization_id" = String, Path)),
    request_body = ServiceAccountCreate,
    responses((status = 201, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    call: Call,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    let body =
        service_accounts::new_from::<ServiceAccountCreate>(&call, WRITE, organization, request)
            .await?;
    let asked = body.value;
    let new = CreateServiceAccount {
        organization,
        name: asked.name,
        description: asked.description,
        role: Some(asked.role),
        scopes: None,
    };
    service_accounts::create(&call, new, &body.bytes).await
}

/// Lists service accounts, newest first; `active`, `disabled` and `deleted` ones unless one
/// `status` is asked for.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/service-accounts",
    tag = "service accounts",
    params(("organization_id" = String, Path), ("status" = Option<String>, Query),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = Vec<ServiceAccountRecord>),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<StatusPages>,
) -> Result<Response, Problem> {
    service_accounts::list(&call, Action::ReadPlatform, organization, &query).await
}

/// Shows a service account.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/service-accounts/{sa_id}",
    tag = "service accounts", params(("organization_id" = String, Path), ("sa_id" = String, Path),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path(at): Path<(OrganizationId, ServiceAccountId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    service_accounts::show(&call, Action::ReadPlatform, at, &query).await
}

/// Changes name, description, role or activity.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/service-accounts/{sa_id}",
    tag = "service accounts", params(("organization_id" = String, Path), ("sa_id" = String, Path)),
    request_body = ServiceAccountPatch,
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path((organization, id)): Path<(OrganizationId, ServiceAccountId)>,
    request: Request,
) -> Result<Response, Problem> {
    let of = (organization, id);
    let patch: ServiceAccountPatch = service_accounts::edit_from(&call, WRITE, of, request).await?;
    let edit = UpdateServiceAccount {
        name: patch.name,
        description: patch.description,
        role: patch.role,
        is_active: patch.is_active,
        ..UpdateServiceAccount::of(organization, id)
    };
    service_accounts::update(&call, edit).await
}

/// Deletes a service account, and with it its tokens.
#[utoipa::path(delete, path = "/platform/organizations/{organization_id}/service-accounts/{sa_id}",
    tag = "service accounts", params(("organization_id" = String, Path), ("sa_id" = String, Path)),
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    call: Call,
    Path((organization, id)): Path<(OrganizationId, ServiceAccountId)>,
) -> Result<Response, Problem> {
    service_accounts::remove(&call, WRITE, organization, id).await
}
