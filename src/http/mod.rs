//! HTTP: the only module that knows it. It maps requests to commands and records to JSON, and
//! holds no rule; statuses are made in `problem` alone.
//!
//! Order of checks, everywhere: who (401), tenant (404), permission (403), method (405), size
//! (413), media type (415), form (400), content (422), authority (403), version (412), conflicts
//! (409).

mod answer;
mod auth;
mod body;
mod call;
mod codes;
mod context;
mod cookie;
mod document;
mod lists;
mod meta;
mod platform;
mod problem;
mod records;
mod sessions;
mod verify;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{MatchedPathRejection, RawPathParamsRejection};
use axum::extract::{MatchedPath, RawPathParams, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock::Entropy;
use crate::config::PublicUrl;
use crate::domain::access::Action;
use crate::domain::ids::OrganizationId;
use crate::ledger::Ledger;
use auth::Caller;
use problem::Problem;
use sessions::{Attempts, Passwords};

pub use problem::{FieldProblem, ProblemBody};

/// How long a request may take before it is answered 408: the longest wait for a position is 1 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connections may go on after the end was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How the service faces the network.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// Proxies that may say who the client is.
    pub trusted: Vec<ipnet::IpNet>,
    /// What clients call this server: where links lead and sessions are used from.
    pub public_url: PublicUrl,
}

/// What every handler has.
#[derive(Clone)]
struct App {
    ledger: Ledger,
    settings: Arc<HttpSettings>,
    ready: Arc<AtomicBool>,
    document: Arc<str>,
    request_ids: Arc<Mutex<Entropy>>,
    attempts: Arc<Attempts>,
    passwords: Arc<Passwords>,
}

impl App {
    fn new_request_id(&self) -> String {
        let mut ids = self
            .request_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        format!("req_{}", ids.ulid(self.ledger.now().0))
    }

    fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut entropy = self
            .request_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        entropy.bytes()
    }
}

fn routes() -> OpenApiRouter<App> {
    use platform::{
        api_keys, credentials, events, members, organizations, projects, service_accounts,
    };
    use sessions::me;
    OpenApiRouter::with_openapi(document::Head::openapi())
        .routes(routes!(organizations::create, organizations::list))
        .routes(routes!(organizations::show, organizations::update))
        .routes(routes!(projects::create, projects::list))
        .routes(routes!(projects::show, projects::update))
        .routes(routes!(members::create, members::list))
        .routes(routes!(members::show, members::update, members::remove))
        .routes(routes!(members::issue_sign_in_link))
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
        .routes(routes!(events::of_api_key))
        .routes(routes!(credentials::list))
        .routes(routes!(credentials::show))
        .routes(routes!(credentials::revoke))
        .routes(routes!(verify::verify))
        .routes(routes!(verify::batch))
        .routes(routes!(sessions::create))
        .routes(routes!(sessions::page::show))
        .routes(routes!(me::show))
        .routes(routes!(me::list, me::sign_out))
        .routes(routes!(me::end_one))
        .routes(routes!(me::set_password))
        .routes(routes!(meta::livez))
        .routes(routes!(meta::readyz))
        .routes(routes!(meta::openapi))
        .routes(routes!(meta::docs))
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
    let app = App {
        ledger,
        settings: Arc::new(settings),
        ready: Arc::new(AtomicBool::new(true)),
        document: document.into(),
        request_ids: Arc::new(Mutex::new(Entropy::system())),
        attempts: Arc::default(),
        passwords: Arc::default(),
    };
    let ready = Arc::clone(&app.ready);
    (layered(router, app), ready)
}

/// What surrounds the routes, the outermost last.
fn layered(router: Router<App>, app: App) -> Router {
    let timeout = tower_http::timeout::TimeoutLayer::with_status_code(
        StatusCode::REQUEST_TIMEOUT,
        REQUEST_TIMEOUT,
    );
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_route)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(timeout)
        .layer(from_fn_with_state(app.clone(), context::frame))
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
        (Some(Weakest::InPerson), Ok(caller)) => caller.session().err(),
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
    InPerson,
    AtHome(Action),
    Everywhere(Action),
    In(Action),
}

fn weakest(route: &str) -> Option<Weakest> {
    let tail = route.strip_prefix("/platform/organizations");
    match tail.map(|tail| tail.strip_prefix("/{organization_id}")) {
        Some(Some(tail)) if tail.starts_with("/credentials") => Some(Weakest::In(Action::Oversee)),
        Some(Some(_)) => Some(Weakest::In(Action::ReadPlatform)),
        Some(None) => Some(Weakest::Everywhere(Action::ManageOrganizations)),
        None if route.starts_with("/v1/me") => Some(Weakest::InPerson),
        None if route.starts_with("/v1/verify") => Some(Weakest::AtHome(Action::Verify)),
        // The service about itself is open to all.
        None => None,
    }
}

fn organization_of(
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Option<OrganizationId> {
    let params = params.ok()?;
    let mut params = params.iter();
    let (_, id) = params.find(|(name, _)| *name == "organization_id")?;
    id.parse().ok()
}

/// A handler that panics is a 500, and the process lives.
fn panicked(_what: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "this should not have happened",
    )
    .into_response()
}
