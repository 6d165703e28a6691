//! `/platform/organizations/{organization_id}/projects`.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::ledger::moment::{AsOf, Then};
use crate::domain::access::Action;
use crate::domain::command::{Command, CreateProject, UpdateProject};
use crate::domain::ids::{OrganizationId, ProjectId, Subject};
use crate::ledger::{Answer, Record};
use crate::records::ProjectRecord;
use crate::web::answer::{mismatch, shown, written};
use crate::web::body::given;
use crate::web::call::Call;
use crate::web::lists::{Pages, Query, page};
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A new project.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectCreate {
    /// 1 to 200 characters.
    name: String,
}

/// A change of a project.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    archived: Option<bool>,
}

/// Makes a project.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/projects", tag = "projects",
    params(("organization_id" = String, Path)), request_body = ProjectCreate,
    responses((status = 201, body = ProjectRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    call: Call,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    call.may(Action::WritePlatform, organization)?;
    let body = call.json::<ProjectCreate>(request).await?;
    let command = Command::CreateProject(CreateProject {
        organization,
        name: body.value.name,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    answered(StatusCode::CREATED, &answer)
}

/// Lists projects, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/projects", tag = "projects",
    params(("organization_id" = String, Path), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = Vec<ProjectRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<Pages>,
) -> Result<Response, Problem> {
    let access = call.may_read(Action::ReadProjects, organization).await?;
    let asked = query.read()?;
    let then = Then::all(&call, Some(organization), asked.as_of.as_deref()).await?;
    let found = then
        .directory()
        .projects(organization, asked.ask()?, |project| {
            access.authority().reaches(Some(project.id))
        });
    Ok(then.stamped(page(&query.uri, &found, |record| {
        ProjectRecord::from(record)
    })))
}

/// Shows a project.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/projects/{project_id}",
    tag = "projects", params(("organization_id" = String, Path), ("project_id" = String, Path),
        ("as_of" = Option<String>, Query, description = "A position, or an instant.")),
    responses((status = 200, body = ProjectRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((organization, id)): Path<(OrganizationId, ProjectId)>,
    query: Query<AsOf>,
) -> Result<Response, Problem> {
    let access = call.may_read(Action::ReadProjects, organization).await?;
    let as_of = query.read()?.as_of;
    let then = Then::one(&call, Subject::Project(id), as_of.as_deref()).await?;
    let record = then.directory().project(organization, id);
    let record = record.filter(|project| access.authority().reaches(Some(project.id)));
    let record = record.ok_or_else(|| Problem::not_found("project"))?;
    let body = ProjectRecord::from(&record);
    Ok(then.stamped(shown(record.stamp.version, &body)))
}

/// Renames a project, puts it away or takes it out again.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/projects/{project_id}",
    tag = "projects", params(("organization_id" = String, Path), ("project_id" = String, Path)),
    request_body = ProjectPatch,
    responses((status = 200, body = ProjectRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn update(
    call: Call,
    Path((organization, project)): Path<(OrganizationId, ProjectId)>,
    request: Request,
) -> Result<Response, Problem> {
    let access = call.may(Action::UpdateProject, organization)?;
    let known = call.views().directory.project(organization, project);
    if known.is_none() || !access.authority().reaches(Some(project)) {
        return Err(Problem::not_found("project"));
    }
    let ProjectPatch { name, archived } = call.json(request).await?.value;
    let command = Command::UpdateProject(UpdateProject {
        organization,
        project,
        name,
        archived,
    });
    let answer = call.submit(command, None).await?;
    answered(StatusCode::OK, &answer)
}

fn answered(status: StatusCode, answer: &Answer) -> Result<Response, Problem> {
    match answer.records.first() {
        Some(Record::Project(record)) => Ok(written(
            status,
            answer,
            record.stamp.version,
            &ProjectRecord::from(record),
        )),
        _ => Err(mismatch()),
    }
}
