//! `/platform/organizations/{organization_id}/service-accounts`.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Path;
use crate::domain::access::Action;
use crate::domain::command::{
    Command, CreateServiceAccount, DeleteServiceAccount, UpdateServiceAccount,
};
use crate::domain::ids::{OrganizationId, ServiceAccountId};
use crate::http::answer::{mismatch, shown, written};
use crate::http::body::nullable;
use crate::http::call::Call;
use crate::http::lists::{Query, StatusPages, page};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::records::{ACCOUNT_STATUSES, ServiceAccountRecord, account_status};
use crate::ledger::{Answer, Record};

/// A new service account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ServiceAccountCreate {
    /// Unique in the organization but for case.
    name: String,
    description: Option<String>,
    /// A role of the catalogue.
    role: String,
}

/// A change of a service account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ServiceAccountPatch {
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    role: Option<String>,
    is_active: Option<bool>,
}

/// Makes a service account.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/service-accounts",
    tag = "service accounts", params(("organization_id" = String, Path)),
    request_body = ServiceAccountCreate,
    responses((status = 201, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn create(
    call: Call,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    call.may(Action::WritePlatform, organization)?;
    let body = call.json::<ServiceAccountCreate>(request).await?;
    let ServiceAccountCreate {
        name,
        description,
        role,
    } = body.value;
    let command = Command::CreateServiceAccount(CreateServiceAccount {
        organization,
        name,
        description,
        role: Some(role),
        scopes: None,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    answered(StatusCode::CREATED, &answer)
}

/// Lists service accounts, newest first; `active`, `disabled` and `deleted` ones unless one
/// `status` is asked for.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/service-accounts",
    tag = "service accounts",
    params(("organization_id" = String, Path), ("status" = Option<String>, Query),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<ServiceAccountRecord>),
        (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<StatusPages>,
) -> Result<Response, Problem> {
    call.may_read(Action::ReadPlatform, organization).await?;
    let directory = &call.views().directory;
    let asked = query.read()?;
    let status = asked.status(&ACCOUNT_STATUSES)?;
    let found = directory.accounts(organization, asked.ask()?, |record| {
        status.is_none_or(|status| status == account_status(record))
    });
    Ok(page(&query.uri, &found, |record| {
        ServiceAccountRecord::from(record)
    }))
}

/// Shows a service account.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/service-accounts/{sa_id}",
    tag = "service accounts",
    params(("organization_id" = String, Path), ("sa_id" = String, Path)),
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn show(
    call: Call,
    Path((organization, id)): Path<(OrganizationId, ServiceAccountId)>,
) -> Result<Response, Problem> {
    call.may_read(Action::ReadPlatform, organization).await?;
    let record = call.views().directory.account(organization, id);
    let record = record.ok_or_else(|| Problem::not_found("service account"))?;
    Ok(shown(
        record.stamp.version,
        &ServiceAccountRecord::from(&record),
    ))
}

/// Changes name, description, role or activity.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/service-accounts/{sa_id}",
    tag = "service accounts",
    params(("organization_id" = String, Path), ("sa_id" = String, Path)),
    request_body = ServiceAccountPatch,
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn update(
    call: Call,
    Path((organization, account)): Path<(OrganizationId, ServiceAccountId)>,
    request: Request,
) -> Result<Response, Problem> {
    known(&call, organization, account)?;
    let patch = call.json::<ServiceAccountPatch>(request).await?.value;
    let command = Command::UpdateServiceAccount(UpdateServiceAccount {
        organization,
        account,
        name: patch.name,
        description: patch.description,
        role: patch.role.map(Some),
        scopes: None,
        is_active: patch.is_active,
    });
    let answer = call.submit(command, None).await?;
    answered(StatusCode::OK, &answer)
}

/// Deletes a service account, and with it its tokens.
#[utoipa::path(delete, path = "/platform/organizations/{organization_id}/service-accounts/{sa_id}",
    tag = "service accounts",
    params(("organization_id" = String, Path), ("sa_id" = String, Path)),
    responses((status = 200, body = ServiceAccountRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn remove(
    call: Call,
    Path((organization, account)): Path<(OrganizationId, ServiceAccountId)>,
) -> Result<Response, Problem> {
    known(&call, organization, account)?;
    let command = Command::DeleteServiceAccount(DeleteServiceAccount {
        organization,
        account,
    });
    let answer = call.submit(command, None).await?;
    answered(StatusCode::OK, &answer)
}

fn known(
    call: &Call,
    organization: OrganizationId,
    account: ServiceAccountId,
) -> Result<(), Problem> {
    call.may(Action::WritePlatform, organization)?;
    match call.views().directory.account(organization, account) {
        Some(_) => Ok(()),
        None => Err(Problem::not_found("service account")),
    }
}

fn answered(status: StatusCode, answer: &Answer) -> Result<Response, Problem> {
    match answer.records.first() {
        Some(Record::ServiceAccount(record)) => {
            let body = ServiceAccountRecord::from(record);
            Ok(written(status, answer, record.stamp.version, &body))
        }
        _ => Err(mismatch()),
    }
}
