//! `/platform/organizations/{organization_id}/members`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Path;
use crate::domain::access::Action;
use crate::domain::command::{AddMember, ChangeMemberRole, Command, RemoveMember};
use crate::domain::ids::{OrganizationId, UserId};
use crate::http::App;
use crate::http::answer::{mismatch, shown, submit, written};
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::context::Context;
use crate::http::lists::{Query, StatusPages, page};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::records::{MEMBER_STATUSES, MemberRecord, member_status};
use crate::ledger::{Answer, Record};

/// A new member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct MemberCreate {
    email: String,
    /// A role of the catalogue.
    role: String,
    name: Option<String>,
}

/// A change of a member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct MemberPatch {
    /// A role of the catalogue.
    role: String,
}

/// Adds a member.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/members", tag = "members",
    params(("organization_id" = String, Path)), request_body = MemberCreate,
    responses((status = 201, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    caller.may(&app, Action::WritePlatform, organization)?;
    let body = body::json::<MemberCreate>(request, &context).await?;
    let MemberCreate { email, role, name } = body.value;
    let command = Command::AddMember(AddMember {
        organization,
        email,
        name,
        role,
    });
    let answer = submit(&app, &caller, &context, (command, Some(&body.bytes))).await?;
    answered(StatusCode::CREATED, &answer)
}

/// Lists members, newest first; `active` and `removed` ones unless one `status` is asked for.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/members", tag = "members",
    params(("organization_id" = String, Path), ("status" = Option<String>, Query),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<MemberRecord>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path(organization): Path<OrganizationId>,
    query: Query<StatusPages>,
) -> Result<Response, Problem> {
    caller.may(&app, Action::ReadPlatform, organization)?;
    context.wait(&app).await?;
    let directory = &app.ledger.views().directory;
    let asked = query.read()?;
    let status = asked.status(&MEMBER_STATUSES)?;
    let found = directory.members(organization, asked.ask()?, |record| {
        status.is_none_or(|status| status == member_status(record))
    });
    Ok(page(&query.uri, &found, |record| {
        MemberRecord::from(record)
    }))
}

/// Shows a member.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/members/{member_id}",
    tag = "members", params(("organization_id" = String, Path), ("member_id" = String, Path)),
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn show(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, id)): Path<(OrganizationId, UserId)>,
) -> Result<Response, Problem> {
    caller.may(&app, Action::ReadPlatform, organization)?;
    context.wait(&app).await?;
    let record = app.ledger.views().directory.member(organization, id);
    let record = record.ok_or_else(|| Problem::not_found("member"))?;
    Ok(shown(record.stamp.version, &MemberRecord::from(&record)))
}

/// Gives a member another role.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/members/{member_id}",
    tag = "members", params(("organization_id" = String, Path), ("member_id" = String, Path)),
    request_body = MemberPatch,
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn update(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, member)): Path<(OrganizationId, UserId)>,
    request: Request,
) -> Result<Response, Problem> {
    known(&app, &caller, organization, member)?;
    let MemberPatch { role } = body::json(request, &context).await?.value;
    let command = Command::ChangeMemberRole(ChangeMemberRole {
        organization,
        member,
        role,
    });
    let answer = submit(&app, &caller, &context, (command, None)).await?;
    answered(StatusCode::OK, &answer)
}

/// Ends a membership, and with it the member's personal tokens.
#[utoipa::path(delete, path = "/platform/organizations/{organization_id}/members/{member_id}",
    tag = "members", params(("organization_id" = String, Path), ("member_id" = String, Path)),
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn remove(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, member)): Path<(OrganizationId, UserId)>,
) -> Result<Response, Problem> {
    known(&app, &caller, organization, member)?;
    let command = Command::RemoveMember(RemoveMember {
        organization,
        member,
    });
    let answer = submit(&app, &caller, &context, (command, None)).await?;
    answered(StatusCode::OK, &answer)
}

fn known(
    app: &App,
    caller: &Caller,
    organization: OrganizationId,
    member: UserId,
) -> Result<(), Problem> {
    caller.may(app, Action::WritePlatform, organization)?;
    match app.ledger.views().directory.member(organization, member) {
        Some(_) => Ok(()),
        None => Err(Problem::not_found("member")),
    }
}

fn answered(status: StatusCode, answer: &Answer) -> Result<Response, Problem> {
    match answer.records.first() {
        Some(Record::Member(record)) => Ok(written(
            status,
            answer,
            record.stamp.version,
            &MemberRecord::from(record),
        )),
        _ => Err(mismatch()),
    }
}
