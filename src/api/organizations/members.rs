//! `/platform/organizations/{organization_id}/members`.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::ledger::moment::{AsOf, Then};
use crate::domain::access::Action;
use crate::domain::command::{
    AddMember, Command, EraseMember, IssueSignInLink, RemoveMember, UpdateMember,
};
use crate::domain::ids::{OrganizationId, Subject, UserId};
use crate::ledger::{Answer, Record};
use crate::records::{MEMBER_STATUSES, MemberRecord, member_status};
use crate::web::answer::{mismatch, shown, written};
use crate::web::body::{NoFields, given, nullable};
use crate::web::call::Call;
use crate::web::lists::{Query, StatusPages, page};
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberCreate {
    email: String,
    /// A role of the catalogue.
    role: String,
    name: Option<String>,
}

/// A change of a member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberPatch {
    /// An e-mail address that no other member of the organization has.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    email: Option<String>,
    /// 1 to 200 characters; `null` takes the name away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// A role of the catalogue; the member's sessions end when it changes.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    role: Option<String>,
}

/// Why a person is erased.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberErase {
    /// 1 to 500 characters. They stay in the log for ever: do not name the person.
    reason: String,
}

/// Adds a member.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/members", tag = "members",
    params(("organization_id" = String, Path)), request_body = MemberCreate,
    responses((status = 201, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    call: Call,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    call.may(Action::WritePlatform, organization)?;
    let body = call.json::<MemberCreate>(request).await?;
    let MemberCreate { email, role, name } = body.value;
    let command = Command::AddMember(AddMember {
        organization,
        email,
        name,
        role,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    answered(&call, StatusCode::CREATED, &answer)
}

/// Issues a link for a member to sign in with; it ends the one before.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/members/{member_id}/sign-in-link",
    tag = "members", params(("organization_id" = String, Path), ("member_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn issue_sign_in_link(
    call: Call,
    Path((organization, member)): Path<(OrganizationId, UserId)>,
    request: Request,
) -> Result<Response, Problem> {
    known(&call, organization, member)?;
    let body = call.optional_json::<NoFields>(request).await?;
    let command = Command::IssueSignInLink(IssueSignInLink {
        organization,
        member,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    answered(&call, StatusCode::OK, &answer)
}

/// Lists members, newest first; `active` and `removed` ones unless one `status` is asked for.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/members", tag = "members",
    params(("organization_id" = String, Path), ("status" = Option<String>, Query),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = Vec<MemberRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<StatusPages>,
) -> Result<Response, Problem> {
    call.may_read(Action::ReadPlatform, organization).await?;
    let asked = query.read()?;
    let status = asked.status(&MEMBER_STATUSES)?;
    let then = Then::all(&call, Some(organization), asked.as_of.as_deref()).await?;
    let found = then
        .directory()
        .members(organization, asked.ask()?, |record| {
            status.is_none_or(|status| status == member_status(record))
        });
    Ok(then.stamped(page(&query.uri, &found, |record| {
        MemberRecord::from(record)
    })))
}

/// Shows a member.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/members/{member_id}",
    tag = "members", params(("organization_id" = String, Path), ("member_id" = String, Path),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((organization, id)): Path<(OrganizationId, UserId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    call.may_read(Action::ReadPlatform, organization).await?;
    let as_of = query.read()?.as_of;
    let then = Then::one(&call, Subject::Member(id), as_of.as_deref()).await?;
    let record = then.directory().member(organization, id);
    let record = record.ok_or_else(|| Problem::not_found("member"))?;
    let body = MemberRecord::from(&record);
    Ok(then.stamped(shown(record.stamp.version, &body)))
}

/// Changes address, name or role of a member; tokens and id stay.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/members/{member_id}",
    tag = "members", params(("organization_id" = String, Path), ("member_id" = String, Path)),
    request_body = MemberPatch,
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path((organization, member)): Path<(OrganizationId, UserId)>,
    request: Request,
) -> Result<Response, Problem> {
    known(&call, organization, member)?;
    let MemberPatch { email, name, role } = call.json(request).await?.value;
    let command = Command::UpdateMember(UpdateMember {
        organization,
        member,
        email,
        name,
        role,
    });
    let answer = call.submit(command, None).await?;
    answered(&call, StatusCode::OK, &answer)
}

/// Ends a membership, and with it the member's personal tokens.
#[utoipa::path(delete, path = "/platform/organizations/{organization_id}/members/{member_id}",
    tag = "members", params(("organization_id" = String, Path), ("member_id" = String, Path)),
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    call: Call,
    Path((organization, member)): Path<(OrganizationId, UserId)>,
) -> Result<Response, Problem> {
    known(&call, organization, member)?;
    let command = Command::RemoveMember(RemoveMember {
        organization,
        member,
    });
    let answer = call.submit(command, None).await?;
    answered(&call, StatusCode::OK, &answer)
}

/// Erases a person: ends the membership that still stands, with its tokens and sessions, and
/// destroys the key of the person's values, in every copy of the log.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/members/{member_id}/erase",
    tag = "members", params(("organization_id" = String, Path), ("member_id" = String, Path)),
    request_body = MemberErase,
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn erase(
    call: Call,
    Path((organization, member)): Path<(OrganizationId, UserId)>,
    request: Request,
) -> Result<Response, Problem> {
    known(&call, organization, member)?;
    let body = call.json::<MemberErase>(request).await?;
    let command = Command::EraseMember(EraseMember {
        organization,
        member,
        reason: body.value.reason,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    answered(&call, StatusCode::OK, &answer)
}

fn known(call: &Call, organization: OrganizationId, member: UserId) -> Result<(), Problem> {
    call.may(Action::WritePlatform, organization)?;
    match call.views().directory.member(organization, member) {
        Some(_) => Ok(()),
        None => Err(Problem::not_found("member")),
    }
}

fn answered(call: &Call, status: StatusCode, answer: &Answer) -> Result<Response, Problem> {
    match answer.records.first() {
        Some(Record::Member(record)) => Ok(written(
            status,
            answer,
            record.stamp.version,
            &MemberRecord::from(record).with_link(answer, &call.app.settings.public_url),
        )),
        _ => Err(mismatch()),
    }
}
