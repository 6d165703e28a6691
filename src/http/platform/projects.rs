//! `/platform/organizations/{organization_id}/projects`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Path;
use crate::domain::access::Action;
use crate::domain::command::{Command, CreateProject, UpdateProject};
use crate::domain::ids::{OrganizationId, ProjectId};
use crate::http::App;
use crate::http::answer::{mismatch, shown, submit, written};
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::context::Context;
use crate::http::lists::{Pages, Query, page};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::records::ProjectRecord;
use crate::ledger::{Answer, Record};

/// A new project.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ProjectCreate {
    /// 1 to 200 characters.
    name: String,
}

/// A change of a project.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ProjectPatch {
    name: Option<String>,
    archived: Option<bool>,
}

/// Makes a project.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/projects", tag = "projects",
    params(("organization_id" = String, Path)), request_body = ProjectCreate,
    responses((status = 201, body = ProjectRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path(organization): Path<OrganizationId>,
    request: Request,
) -> Result<Response, Problem> {
    caller.may(&app, Action::WritePlatform, organization)?;
    let body = body::json::<ProjectCreate>(request, &context).await?;
    let command = Command::CreateProject(CreateProject {
        organization,
        name: body.value.name,
    });
    let answer = submit(&app, &caller, &context, (command, Some(&body.bytes))).await?;
    answered(StatusCode::CREATED, &answer)
}

/// Lists projects, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/projects", tag = "projects",
    params(("organization_id" = String, Path), ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<ProjectRecord>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path(organization): Path<OrganizationId>,
    query: Query<Pages>,
) -> Result<Response, Problem> {
    caller.may(&app, Action::ReadPlatform, organization)?;
    context.wait(&app).await?;
    let directory = &app.ledger.views().directory;
    let found = directory.projects(organization, query.read()?.ask()?, |_| true);
    Ok(page(&query.uri, &found, |record| {
        ProjectRecord::from(record)
    }))
}

/// Shows a project.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/projects/{project_id}",
    tag = "projects",
    params(("organization_id" = String, Path), ("project_id" = String, Path)),
    responses((status = 200, body = ProjectRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn show(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, id)): Path<(OrganizationId, ProjectId)>,
) -> Result<Response, Problem> {
    caller.may(&app, Action::ReadPlatform, organization)?;
    context.wait(&app).await?;
    let record = app.ledger.views().directory.project(organization, id);
    let record = record.ok_or_else(|| Problem::not_found("project"))?;
    Ok(shown(record.stamp.version, &ProjectRecord::from(&record)))
}

/// Renames a project, puts it away or takes it out again.
#[utoipa::path(patch, path = "/platform/organizations/{organization_id}/projects/{project_id}",
    tag = "projects",
    params(("organization_id" = String, Path), ("project_id" = String, Path)),
    request_body = ProjectPatch,
    responses((status = 200, body = ProjectRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn update(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, project)): Path<(OrganizationId, ProjectId)>,
    request: Request,
) -> Result<Response, Problem> {
    caller.may(&app, Action::WritePlatform, organization)?;
    if app
        .ledger
        .views()
        .directory
        .project(organization, project)
        .is_none()
    {
        return Err(Problem::not_found("project"));
    }
    let ProjectPatch { name, archived } = body::json(request, &context).await?.value;
    let command = Command::UpdateProject(UpdateProject {
        organization,
        project,
        name,
        archived,
    });
    let answer = submit(&app, &caller, &context, (command, None)).await?;
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
