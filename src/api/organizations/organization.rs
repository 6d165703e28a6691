//! `/platform/organizations`: tenants.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::credentials::as_answered;
use crate::api::ledger::moment::{AsOf, Then};
use crate::domain::access::Action;
use crate::domain::catalogue::ADMIN;
use crate::domain::command::{Command, CreateOrganization, UpdateOrganization};
use crate::domain::ids::{OrganizationId, Subject};
use crate::ledger::{Answer, Record};
use crate::records::{KeyRecord, MemberRecord, OrganizationRecord};
use crate::web::answer::{mismatch, shown, written};
use crate::web::body::given;
use crate::web::call::Call;
use crate::web::lists::{Pages, Query, page};
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new organization.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganizationCreate {
    /// 1 to 200 characters.
    name: String,
    /// The address of its first owner.
    owner_email: String,
}

/// A change of an organization.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganizationPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// 2 to 8 lower-case letters and digits.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    token_prefix: Option<String>,
}

/// A new organization with its owner and its first key.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrganizationCreated {
    organization: OrganizationRecord,
    owner: MemberRecord,
    key: KeyRecord,
    /// The key's secret; null in a replay of an earlier answer.
    raw_key: Option<String>,
}

/// Makes an organization, its owner and a first key with `admin:*`.
#[utoipa::path(post, path = "/platform/organizations", tag = "organizations",
    request_body = OrganizationCreate,
    responses((status = 201, body = OrganizationCreated), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(call: Call, request: Request) -> Result<Response, Problem> {
    call.may_everywhere(Action::ManageOrganizations)?;
    let body = call.json::<OrganizationCreate>(request).await?;
    let command = Command::CreateOrganization(CreateOrganization {
        name: body.value.name,
        owner_email: body.value.owner_email,
        key_scopes: vec![ADMIN.to_owned()],
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    let [
        Record::Organization(organization),
        Record::Member(owner),
        Record::Credential(key),
    ] = answer.records.as_slice()
    else {
        return Err(mismatch());
    };
    let created = OrganizationCreated {
        organization: organization.into(),
        owner: MemberRecord::from(owner).with_link(&answer, &call.app.settings.public_url),
        key: as_answered(&call, &answer, key),
        raw_key: answer.token.as_ref().map(|token| token.reveal().to_owned()),
    };
    Ok(written(
        StatusCode::CREATED,
        &answer,
        organization.stamp.version,
        &created,
    ))
}

/// Lists all organizations, newest first.
#[utoipa::path(get, path = "/platform/organizations", tag = "organizations",
    params(("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = Vec<OrganizationRecord>),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(call: Call, query: Query<Pages>) -> Result<Response, Problem> {
    call.may_read_everywhere(Action::ManageOrganizations)
        .await?;
    let asked = query.read()?;
    let then = Then::all(&call, None, asked.as_of.as_deref()).await?;
    let found = then.directory().organizations(asked.ask()?, |_| true);
    Ok(then.stamped(page(&query.uri, &found, |record| {
        OrganizationRecord::from(record)
    })))
}

/// Shows an organization.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}", tag = "organizations",
    params(("organization_id" = String, Path),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = OrganizationRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path(id): Path<OrganizationId>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    call.may_read(Action::ReadPlatform, id).await?;
    let as_of = query.read()?.as_of;
    let then = Then::one(&call, Subject::Organization(id), as_of.as_deref()).await?;
    let record = then.directory().organization(id);
    let record = record.ok_or_else(|| Problem::not_found("organization"))?;
    let body = OrganizationRecord::from(&record);
    Ok(then.stamped(shown(record.stamp.version, &body)))
}

/// Changes name or token prefix.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}", tag = "organizations",
    params(("organization_id" = String, Path)), request_body = OrganizationPatch,
    responses((status = 200, body = OrganizationRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    call.may(Action::WritePlatform, organization)?;
    let OrganizationPatch { name, token_prefix } = call.json(request).await?.value;
    let command = Command::UpdateOrganization(UpdateOrganization {
        organization,
        name,
        token_prefix,
    });
    let answer = call.submit(command, None).await?;
    answered(StatusCode::OK, &answer)
}

fn answered(status: StatusCode, answer: &Answer) -> Result<Response, Problem> {
    match answer.records.first() {
        Some(Record::Organization(record)) => {
            let body = OrganizationRecord::from(record);
            Ok(written(status, answer, record.stamp.version, &body))
        }
        _ => Err(mismatch()),
    }
}
