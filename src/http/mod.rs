//! HTTP: the only module that knows it. It maps requests to commands and records to JSON, and
//! holds no rule; statuses are made in `problem` alone.
//!
//! Order of checks, everywhere: who (401), tenant (404), permission (403), method (405), size
//! (413), media type (415), form (400), content (422), authority (403), version (412), conflicts
//! (409).

mod access_tokens;
mod accounts;
mod admin_tokens;
mod answer;
mod api_tokens;
mod auth;
mod body;
mod call;
mod codes;
mod context;
mod document;
mod events;
mod frame;
mod keys;
mod lists;
mod meta;
mod past;
mod path;
mod platform;
mod problem;
mod project_tokens;
mod records;
mod service_account_tokens;
mod service_accounts;
mod verify;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{MatchedPathRejection, RawPathParamsRejection};
use axum::extract::{MatchedPath, RawPathParams, State};
use axum::http::HeaderValue;
use tokio::net::TcpListener;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock::Entropy;
use crate::domain::access::Action;
use crate::domain::ids::OrganizationId;
use crate::domain::kind::{Deed, Kind};
use crate::ledger::Ledger;
use auth::Caller;
use problem::Problem;

pub use problem::{FieldProblem, ProblemBody};

/// How long connections may go on after the end was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How the service faces the network.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// Proxies that may say who the client is.
    pub trusted: Vec<ipnet::IpNet>,
}

/// What every handler has: a handle to the one service.
#[derive(Clone)]
struct App(Arc<Service>);

struct Service {
    ledger: Ledger,
    past: past::PastReads,
    settings: HttpSettings,
    ready: Arc<AtomicBool>,
    document: Box<str>,
    request_ids: Mutex<Entropy>,
}

impl Deref for App {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

impl App {
    fn new(ledger: Ledger, settings: HttpSettings, document: String) -> Self {
        Self(Arc::new(Service {
            ledger,
            past: past::PastReads::default(),
            settings,
            ready: Arc::new(AtomicBool::new(true)),
            document: document.into(),
            request_ids: Mutex::new(Entropy::system()),
        }))
    }

    fn new_request_id(&self) -> HeaderValue {
        let now = self.ledger.now().0;
        let ids = self.request_ids.lock();
        let id = ids.unwrap_or_else(PoisonError::into_inner).ulid(now);
        let mut text = *b"req_00000000000000000000000000";
        if let Some(digits) = text.last_chunk_mut() {
            id.array_to_str(digits);
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req_"))
    }
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(document::Head::openapi())
        .merge(platform_routes())
        .merge(workspace_routes())
        .routes(routes!(verify::verify))
        .routes(routes!(verify::batch))
        .routes(routes!(meta::livez))
        .routes(routes!(meta::readyz))
        .routes(routes!(meta::openapi))
        .routes(routes!(meta::docs))
}

fn platform_routes() -> OpenApiRouter<App> {
    use platform::{api_keys, credentials, members, organizations, projects, service_accounts};
    OpenApiRouter::new()
        .routes(routes!(organizations::create, organizations::list))
        .routes(routes!(organizations::show, organizations::update))
        .routes(routes!(projects::create, projects::list))
        .routes(routes!(projects::show, projects::update))
        .routes(routes!(members::create, members::list))
        .routes(routes!(members::show, members::update, members::remove))
        .routes(routes!(service_accounts::create, service_accounts::list))
        .routes(routes!(
            service_accounts::show,
            service_accounts::update,
            service_accounts::remove
        ))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::show, api_keys::update))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(api_keys::rotate))
        .routes(routes!(api_keys::disable))
        .routes(routes!(api_keys::enable))
        .routes(routes!(api_keys::usage))
        .routes(routes!(api_keys::events))
        .routes(routes!(credentials::list))
        .routes(routes!(credentials::show))
        .routes(routes!(credentials::revoke))
}

/// The surfaces of the caller's own organization, one a kind.
fn workspace_routes() -> OpenApiRouter<App> {
    let personal = OpenApiRouter::new()
        .routes(routes!(api_tokens::create, api_tokens::list))
        .routes(routes!(api_tokens::show, api_tokens::remove))
        .routes(routes!(api_tokens::roll))
        .routes(routes!(api_tokens::events))
        .routes(routes!(api_tokens::scopes));
    let accounts = OpenApiRouter::new()
        .routes(routes!(service_accounts::create, service_accounts::list))
        .routes(routes!(
            service_accounts::show,
            service_accounts::update,
            service_accounts::remove
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
        .routes(routes!(service_account_tokens::events));
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
        .routes(routes!(admin_tokens::events));
    let project = OpenApiRouter::new()
        .routes(routes!(project_tokens::create, project_tokens::list))
        .routes(routes!(
            project_tokens::show,
            project_tokens::update,
            project_tokens::remove
        ))
        .routes(routes!(project_tokens::replace))
        .routes(routes!(project_tokens::events));
    personal
        .merge(accounts)
        .merge(access)
        .merge(admin)
        .merge(project)
}

fn parts() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut document) = routes().split_for_parts();
    document::complete(&mut document);
    (router, document)
}

/// The OpenAPI document, as it is served.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    parts().1
}

/// The service over a ledger, ready to be called.
pub fn router(ledger: Ledger, settings: HttpSettings) -> Router {
    app(ledger, settings).0
}

fn app(ledger: Ledger, settings: HttpSettings) -> (Router, Arc<AtomicBool>) {
    let (router, document) = parts();
    let document = document.to_pretty_json().unwrap_or_default();
    let app = App::new(ledger, settings, document);
    let ready = Arc::clone(&app.ready);
    (layered(router, app), ready)
}

/// The routes in their frame.
fn layered(router: Router<App>, app: App) -> Router {
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_route)
        .layer(frame::Frame(app.clone()))
        .with_state(app)
}

/// Serves until `shutdown` is done, then drains: not ready, no new connections, open requests end.
pub async fn serve(
    listener: TcpListener,
    ledger: Ledger,
    settings: HttpSettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (router, ready) = app(ledger, settings);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let (ending, ended) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        shutdown.await;
        ready.store(false, Ordering::Release);
        drop(ending);
    };
    let drained = async move {
        // The sender is dropped when the end was asked for; it never sends.
        drop(ended.await);
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        served = axum::serve(listener, service).with_graceful_shutdown(shutdown) => served,
        () = drained => Ok(()),
    }
}

async fn no_such_route() -> Problem {
    Problem::not_found("page")
}

/// 405 comes after 401, 404 and 403: who may not know a path learns nothing of it.
async fn method_not_allowed(
    State(app): State<App>,
    route: Result<MatchedPath, MatchedPathRejection>,
    caller: Result<Caller, Problem>,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Problem {
    let refusal = match (
        weakest(route.as_ref().map_or("", MatchedPath::as_str)),
        caller,
    ) {
        (None, _) => None,
        (Some(_), Err(problem)) => Some(problem),
        (Some(Weakest::Known), Ok(_)) => None,
        (Some(Weakest::AtHome(action)), Ok(caller)) => caller.may_at_home(&app, action).err(),
        (Some(Weakest::Everywhere(action)), Ok(caller)) => {
            caller.may_everywhere(&app, action).err()
        }
        (Some(Weakest::In(action)), Ok(caller)) => match organization_of(params) {
            Some(organization) => caller.may(&app, action, organization).err(),
            None => Some(Problem::not_found("organization")),
        },
    };
    refusal.unwrap_or_else(Problem::method_not_allowed)
}

/// The least that somebody must be allowed who is told of a path's methods, and where.
enum Weakest {
    Known,
    AtHome(Action),
    Everywhere(Action),
    In(Action),
}

fn weakest(route: &str) -> Option<Weakest> {
    let read = |kind| Action::Keys(kind, Deed::Read);
    let tail = route.strip_prefix("/platform/organizations");
    let platform = tail.map(|tail| match tail.strip_prefix("/{organization_id}") {
        Some(tail) if tail.starts_with("/credentials") => Weakest::In(Action::Oversee),
        Some(_) => Weakest::In(Action::ReadPlatform),
        None => Weakest::Everywhere(Action::ManageOrganizations),
    });
    let surfaces = [
        ("/v1/verify", Weakest::AtHome(Action::Verify)),
        ("/v1/api-tokens/scopes", Weakest::Known),
        ("/v1/api-tokens", Weakest::AtHome(read(Kind::Personal))),
        (
            "/v1/service-accounts",
            Weakest::AtHome(Action::ManageServiceAccounts),
        ),
        ("/v1/workspaces/", Weakest::In(read(Kind::Access))),
        ("/v1/admin/", Weakest::AtHome(read(Kind::Admin))),
        ("/v1/projects/", Weakest::AtHome(read(Kind::Project))),
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
