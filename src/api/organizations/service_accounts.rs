//! Service accounts: what the platform's surface and the workspace's have in common. They show the
//! same accounts with the same record; each lets other fields be set.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;

use crate::api::ledger::moment::{AsOf, Then};
use crate::domain::access::Action;
use crate::domain::command::{
    Command, CreateServiceAccount, DeleteServiceAccount, UpdateServiceAccount,
};
use crate::domain::ids::{OrganizationId, ServiceAccountId, Subject};
use crate::ledger::{Answer, Record};
use crate::records::{ACCOUNT_STATUSES, ServiceAccountRecord, account_status};
use crate::web::answer::{mismatch, shown, written};
use crate::web::body::Body;
use crate::web::call::Call;
use crate::web::lists::{Query, StatusPages, page};
use crate::web::problem::Problem;

/// One page of the accounts of an organization, newest first.
pub(crate) async fn list(
    call: &Call,
    action: Action,
    organization: OrganizationId,
    query: &Query<StatusPages>,
) -> Result<Response, Problem> {
    call.may_read(action, organization).await?;
    let asked = query.read()?;
    let status = asked.status(&ACCOUNT_STATUSES)?;
    let then = Then::all(call, Some(organization), asked.as_of.as_deref()).await?;
    let found = then
        .directory()
        .service_accounts(organization, asked.ask()?, |record| {
            status.is_none_or(|status| status == account_status(record))
        });
    Ok(then.stamped(page(&query.uri, &found, |record| {
        ServiceAccountRecord::from(record)
    })))
}

/// One account.
pub(crate) async fn show(
    call: &Call,
    action: Action,
    (organization, id): (OrganizationId, ServiceAccountId),
    query: &Query<AsOf>,
) -> Result<Response, Problem> {
    call.may_read(action, organization).await?;
    let as_of = query.read()?.as_of;
    let then = Then::one(call, Subject::ServiceAccount(id), as_of.as_deref()).await?;
    let record = then.directory().service_account(organization, id);
    let record = record.ok_or_else(|| Problem::not_found("service account"))?;
    let body = ServiceAccountRecord::from(&record);
    Ok(then.stamped(shown(record.stamp.version, &body)))
}

/// The body of a new account, once the caller may make one.
pub(crate) async fn new_from<T: DeserializeOwned>(
    call: &Call,
    action: Action,
    organization: OrganizationId,
    request: Request,
) -> Result<Body<T>, Problem> {
    call.may(action, organization)?;
    call.json(request).await
}

/// Makes an account.
pub(crate) async fn create(
    call: &Call,
    new: CreateServiceAccount,
    body: &[u8],
) -> Result<Response, Problem> {
    let command = Command::CreateServiceAccount(new);
    let answer = call.submit(command, Some(body)).await?;
    answered(StatusCode::CREATED, &answer)
}

/// The body of an edit, once the caller may make it.
pub(crate) async fn edit_from<T: DeserializeOwned>(
    call: &Call,
    action: Action,
    (organization, account): (OrganizationId, ServiceAccountId),
    request: Request,
) -> Result<T, Problem> {
    known(call, action, organization, account)?;
    Ok(call.json(request).await?.value)
}

/// Changes an account.
pub(crate) async fn update(call: &Call, edit: UpdateServiceAccount) -> Result<Response, Problem> {
    let command = Command::UpdateServiceAccount(edit);
    let answer = call.submit(command, None).await?;
    answered(StatusCode::OK, &answer)
}

/// Deletes an account, and with it its tokens.
pub(crate) async fn remove(
    call: &Call,
    action: Action,
    organization: OrganizationId,
    account: ServiceAccountId,
) -> Result<Response, Problem> {
    known(call, action, organization, account)?;
    let command = Command::DeleteServiceAccount(DeleteServiceAccount {
        organization,
        account,
    });
    let answer = call.submit(command, None).await?;
    answered(StatusCode::OK, &answer)
}

fn known(
    call: &Call,
    action: Action,
    organization: OrganizationId,
    account: ServiceAccountId,
) -> Result<(), Problem> {
    call.may(action, organization)?;
    match call
        .views()
        .directory
        .service_account(organization, account)
    {
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
