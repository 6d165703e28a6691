//! `/v1/service-accounts`: the workspace's service accounts by their scopes.

use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::ledger::moment::AsOf;
use crate::api::organizations::service_accounts;
use crate::domain::access::Action;
use crate::domain::command::{CreateServiceAccount, UpdateServiceAccount};
use crate::domain::ids::ServiceAccountId;
use crate::records::ServiceAccountRecord;
use crate::web::body::nullable;
use crate::web::call::Call;
use crate::web::lists::{Query, StatusPages};
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// What this surface asks for everything.
const MANAGE: Action = Action::WorkspaceServiceAccounts;

/// A new service account; it starts with no tokens.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkspaceAccountCreate {
    /// Unique in the workspace but for case.
    name: String,
    description: Option<String>,
    /// What its tokens may carry.
    scopes: Vec<String>,
}

/// A change of a service account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkspaceAccountPatch {
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// `null`: what its role has.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Option<Vec<String>>>,
}

/// Makes a service account.
#[utoipa::path(post, path = "/v1/service-accounts", tag = "workspace service accounts", params(),
    request_body = WorkspaceAccountCreate,
    responses((status = 201, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(call: Call, request: Request) -> Result<Response, Problem> {
    let organization = call.home()?;
    let body =
        service_accounts::new_from::<WorkspaceAccountCreate>(&call, MANAGE, organization, request)
            .await?;
    let asked = body.value;
    let new = CreateServiceAccount {
        organization,
        name: asked.name,
        description: asked.description,
        role: None,
        scopes: Some(asked.scopes),
    };
    service_accounts::create(&call, new, &body.bytes).await
}

/// Lists service accounts, newest first; `active`, `disabled` and `deleted` ones unless one
/// `status` is asked for.
#[utoipa::path(get, path = "/v1/service-accounts", tag = "workspace service accounts",
    params(("status" = Option<String>, Query), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = Vec<ServiceAccountRecord>),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(call: Call, query: Query<StatusPages>) -> Result<Response, Problem> {
    let organization = call.home()?;
    service_accounts::list(&call, MANAGE, organization, &query).await
}

/// Shows a service account.
#[utoipa::path(get, path = "/v1/service-accounts/{id}", tag = "workspace service accounts",
    params(("id" = String, Path),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path(id): Path<ServiceAccountId>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    let organization = call.home()?;
    service_accounts::show(&call, MANAGE, (organization, id), &query).await
}

/// Changes scopes or description; tokens issued before keep theirs.
#[utoipa::path(patch, path = "/v1/service-accounts/{id}", tag = "workspace service accounts",
    params(("id" = String, Path)), request_body = WorkspaceAccountPatch,
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path(id): Path<ServiceAccountId>,
    request: Request,
) -> Result<Response, Problem> {
    let organization = call.home()?;
    let of = (organization, id);
    let patch: WorkspaceAccountPatch =
        service_accounts::edit_from(&call, MANAGE, of, request).await?;
    let edit = UpdateServiceAccount {
        description: patch.description,
        scopes: patch.scopes,
        ..UpdateServiceAccount::of(organization, id)
    };
    service_accounts::update(&call, edit).await
}

/// Deletes a service account, and with it its tokens.
#[utoipa::path(delete, path = "/v1/service-accounts/{id}", tag = "workspace service accounts",
    params(("id" = String, Path)),
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    call: Call,
    Path(id): Path<ServiceAccountId>,
) -> Result<Response, Problem> {
    let organization = call.home()?;
    service_accounts::remove(&call, MANAGE, organization, id).await
}
