//! The list of routes, and who may be told which methods a path takes.

use axum::Router;
use axum::extract::rejection::{MatchedPathRejection, RawPathParamsRejection};
use axum::extract::{MatchedPath, RawPathParams, State};
use axum::http::Method;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::credentials::{
    access_tokens, admin_tokens, all_kinds, organization_keys, personal_tokens, project_tokens,
    service_account_tokens,
};
use crate::api::organizations::{
    members, organization, platform_accounts, projects, workspace_accounts,
};
use crate::api::state::ApiState;
use crate::api::verification::{forward_auth, oauth, revocations, verify};
use crate::api::webhooks::{deliveries, endpoints, pull, pull_stream, replay};
use crate::api::{document, ledger, metrics, service, sessions, usage};
use crate::config::LedgerPrefix;
use crate::domain::access::Action;
use crate::domain::ids::{OrganizationId, ProjectId};
use crate::domain::kind::{Deed, Kind};
use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::problem::Problem;

/// Every route, with its part of the document.
pub(crate) fn routes(prefix: &LedgerPrefix) -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(document::Head::openapi())
        .nest(prefix.as_str(), ledger::tiles::routes())
        .merge(platform_routes())
        .merge(workspace_routes())
        .merge(session_routes())
        .routes(routes!(verify::verify))
        .routes(routes!(verify::batch))
        .routes(routes!(usage::report::report))
        .routes(routes!(revocations::list))
        .routes(routes!(revocations::stream::stream))
        .routes(routes!(revocations::snapshot::snapshot))
        .routes(routes!(pull::list))
        .routes(routes!(pull_stream::stream))
        .routes(routes!(ledger::proofs::receipt))
        .routes(routes!(ledger::proofs::consistency))
        .routes(routes!(ledger::stored_events::list))
        .routes(routes!(ledger::checkpoints::tell))
        .routes(routes!(ledger::as_of::state))
        .routes(routes!(ledger::as_of::diff))
        .routes(routes!(ledger::as_of::who_could))
        .routes(routes!(metrics::show))
        .routes(routes!(oauth::introspect::introspect))
        .routes(routes!(oauth::revoke::revoke))
        .routes(routes!(oauth::metadata::show))
        .merge(forward_auth::routes())
        .routes(routes!(service::livez))
        .routes(routes!(service::readyz))
        .routes(routes!(service::openapi))
        .routes(routes!(service::openapi_3_0))
        .routes(routes!(service::docs))
}

/// What the service tells of itself on a listener of its own.
pub(crate) fn about_itself() -> Router<ApiState> {
    Router::new()
        .route("/metrics", get(metrics::show_all))
        .route("/livez", get(service::livez))
        .route("/readyz", get(service::readyz_in_detail))
}

fn platform_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(organization::create, organization::list))
        .routes(routes!(organization::show, organization::update))
        .routes(routes!(projects::create, projects::list))
        .routes(routes!(projects::show, projects::update))
        .routes(routes!(members::create, members::list))
        .routes(routes!(members::show, members::update, members::remove))
        .routes(routes!(members::issue_sign_in_link))
        .routes(routes!(members::erase))
        .routes(routes!(platform_accounts::create, platform_accounts::list))
        .routes(routes!(
            platform_accounts::show,
            platform_accounts::update,
            platform_accounts::remove
        ))
        .routes(routes!(organization_keys::create, organization_keys::list))
        .routes(routes!(organization_keys::show, organization_keys::update))
        .routes(routes!(organization_keys::revoke))
        .routes(routes!(organization_keys::rotate))
        .routes(routes!(organization_keys::disable))
        .routes(routes!(organization_keys::enable))
        .routes(routes!(organization_keys::events))
        .routes(routes!(organization_keys::usage))
        .routes(routes!(organization_keys::usage_summary))
        .routes(routes!(all_kinds::list))
        .routes(routes!(all_kinds::show))
        .routes(routes!(all_kinds::usage))
        .routes(routes!(all_kinds::usage_summary))
        .routes(routes!(all_kinds::revoke))
        .routes(routes!(endpoints::create, endpoints::list))
        .routes(routes!(
            endpoints::show,
            endpoints::update,
            endpoints::remove
        ))
        .routes(routes!(endpoints::rotate_secret))
        .routes(routes!(endpoints::enable))
        .routes(routes!(endpoints::disable))
        .routes(routes!(endpoints::events))
        .routes(routes!(deliveries::ping))
        .routes(routes!(deliveries::example))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::show))
        .routes(routes!(deliveries::redeliver))
        .routes(routes!(deliveries::status))
        .routes(routes!(replay::replay))
}

/// The surfaces of the caller's own organization, one a kind.
fn workspace_routes() -> OpenApiRouter<ApiState> {
    let personal = OpenApiRouter::new()
        .routes(routes!(personal_tokens::create, personal_tokens::list))
        .routes(routes!(personal_tokens::show, personal_tokens::remove))
        .routes(routes!(personal_tokens::roll))
        .routes(routes!(personal_tokens::events))
        .routes(routes!(personal_tokens::usage))
        .routes(routes!(personal_tokens::usage_summary))
        .routes(routes!(personal_tokens::scopes));
    let accounts = OpenApiRouter::new()
        .routes(routes!(
            workspace_accounts::create,
            workspace_accounts::list
        ))
        .routes(routes!(
            workspace_accounts::show,
            workspace_accounts::update,
            workspace_accounts::remove
        ))
        .routes(routes!(
            service_account_tokens::create,
            service_account_tokens::list
        ))
        .routes(routes!(
            service_account_tokens::show,
            service_account_tokens::remove
        ))
        .routes(routes!(service_account_tokens::rotate))
        .routes(routes!(service_account_tokens::events))
        .routes(routes!(service_account_tokens::usage))
        .routes(routes!(service_account_tokens::usage_summary));
    let access = OpenApiRouter::new()
        .routes(routes!(access_tokens::create, access_tokens::list))
        .routes(routes!(
            access_tokens::show,
            access_tokens::update,
            access_tokens::remove
        ))
        .routes(routes!(access_tokens::rotate))
        .routes(routes!(access_tokens::disable))
        .routes(routes!(access_tokens::enable))
        .routes(routes!(access_tokens::events))
        .routes(routes!(access_tokens::usage))
        .routes(routes!(access_tokens::usage_summary))
        .routes(routes!(access_tokens::roles));
    let admin = OpenApiRouter::new()
        .routes(routes!(admin_tokens::create, admin_tokens::list))
        .routes(routes!(
            admin_tokens::show,
            admin_tokens::update,
            admin_tokens::remove
        ))
        .routes(routes!(admin_tokens::review))
        .routes(routes!(admin_tokens::replace))
        .routes(routes!(admin_tokens::disable))
        .routes(routes!(admin_tokens::enable))
        .routes(routes!(admin_tokens::events))
        .routes(routes!(admin_tokens::usage))
        .routes(routes!(admin_tokens::usage_summary));
    let project = OpenApiRouter::new()
        .routes(routes!(project_tokens::create, project_tokens::list))
        .routes(routes!(project_tokens::show, project_tokens::remove))
        .routes(routes!(project_tokens::replace))
        .routes(routes!(project_tokens::events))
        .routes(routes!(project_tokens::usage))
        .routes(routes!(project_tokens::usage_summary));
    personal
        .merge(accounts)
        .merge(access)
        .merge(admin)
        .merge(project)
}

/// Members in person.
fn session_routes() -> OpenApiRouter<ApiState> {
    use sessions::me;
    OpenApiRouter::new()
        .routes(routes!(sessions::create))
        .routes(routes!(sessions::page::show))
        .routes(routes!(me::show))
        .routes(routes!(me::list, me::sign_out))
        .routes(routes!(me::end_one))
        .routes(routes!(me::set_password))
}

/// 405 comes after 401, 404 and 403: who may not know a path learns nothing of it.
pub(crate) async fn method_not_allowed(
    State(app): State<App>,
    method: Method,
    route: Result<MatchedPath, MatchedPathRejection>,
    caller: Result<Caller, Problem>,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Problem {
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let refusal = match (weakest(route), caller) {
        (None, _) => None,
        (Some(_), Err(problem)) => Some(problem),
        (Some(Weakest::Known), Ok(_)) => None,
        (Some(Weakest::InPerson), Ok(caller)) => caller.session().err(),
        (Some(Weakest::OnProject(action)), Ok(caller)) => unknown_project(&app, &caller, params)
            .or_else(|| caller.may_at_home(&app, action).err()),
        (Some(Weakest::AtHome(action)), Ok(caller)) => caller.may_at_home(&app, action).err(),
        (Some(Weakest::Everywhere(action)), Ok(caller)) => {
            caller.may_everywhere(&app, action).err()
        }
        (Some(Weakest::In(action)), Ok(caller)) => match organization_of(params) {
            Some(organization) => caller.may(&app, action, organization).err(),
            None => Some(Problem::not_found("organization")),
        },
    };
    refusal.unwrap_or_else(|| {
        if (method, route) == (Method::PATCH, project_tokens::ONE) {
            Problem::method_not_allowed_because(project_tokens::NEVER_EDITED)
        } else {
            Problem::method_not_allowed()
        }
    })
}

/// The least that somebody must be allowed who is told of a path's methods, and where.
enum Weakest {
    Known,
    InPerson,
    AtHome(Action),
    OnProject(Action),
    Everywhere(Action),
    In(Action),
}

fn weakest(route: &str) -> Option<Weakest> {
    let read = |kind| Action::Keys(kind, Deed::Read);
    let tail = route.strip_prefix("/platform/organizations");
    let platform = tail.map(|tail| match tail.strip_prefix("/{organization_id}") {
        Some(tail) if tail.starts_with("/credentials") => Weakest::In(Action::Oversee),
        Some(tail) if tail.starts_with("/webhook-endpoints") => Weakest::In(Action::Webhooks),
        Some(tail) if tail.starts_with("/projects/") => Weakest::In(Action::ReadProjects),
        Some(tail) if tail.starts_with("/api-keys") => Weakest::In(read(Kind::Organization)),
        Some(_) => Weakest::In(Action::ReadPlatform),
        None => Weakest::Everywhere(Action::ManageOrganizations),
    });
    let surfaces = [
        ("/v1/verify", Weakest::AtHome(Action::Verify)),
        ("/v1/usage", Weakest::AtHome(Action::ReportUsage)),
        ("/v1/revocations", Weakest::AtHome(Action::Verify)),
        ("/v1/events/{event_id}/", Weakest::Known),
        ("/v1/events", Weakest::AtHome(Action::Webhooks)),
        ("/v1/ledger/", Weakest::AtHome(Action::ReadLedger)),
        ("/oauth2/introspect", Weakest::AtHome(Action::Verify)),
        ("/v1/me", Weakest::InPerson),
        ("/v1/api-tokens/scopes", Weakest::Known),
        ("/v1/api-tokens", Weakest::AtHome(read(Kind::Personal))),
        (
            "/v1/service-accounts",
            Weakest::AtHome(Action::WorkspaceServiceAccounts),
        ),
        ("/v1/workspaces/", Weakest::In(read(Kind::Access))),
        ("/v1/admin/", Weakest::AtHome(read(Kind::Admin))),
        ("/v1/projects/", Weakest::OnProject(read(Kind::Project))),
    ];
    let mut surfaces = surfaces.into_iter();
    // The service about itself is open to all.
    platform.or_else(|| {
        let found = surfaces.find(|(path, _)| route.starts_with(path));
        found.map(|(_, weakest)| weakest)
    })
}

fn organization_of(
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Option<OrganizationId> {
    let params = params.ok()?;
    let mut params = params.iter();
    let (_, id) = params.find(|(name, _)| matches!(*name, "organization_id" | "workspace_id"))?;
    id.parse().ok()
}

/// The refusal of a path that names no project of the caller's organization.
fn unknown_project(
    app: &App,
    caller: &Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Option<Problem> {
    let params = params.ok();
    let mut params = params.iter().flatten();
    let id = params.find(|(name, _)| *name == "project_id");
    let id = id.and_then(|(_, id)| id.parse::<ProjectId>().ok());
    let home = caller.authority.organization;
    let found = home.zip(id).and_then(|(home, id)| {
        let directory = &app.ledger.views().directory;
        directory.project(home, id)
    });
    found.is_none().then(|| Problem::not_found("project"))
}
