//! The HTTP API: routes, their handlers and the document that describes them, in folders by what a
//! user asks for.
//!
//! It maps requests to commands and records to JSON, and holds no rule. How requests come in and
//! problems go out is `web`.
//!
//! Order of checks, everywhere: who (401), tenant (404), permission (403), method (405), size
//! (413), media type (415), form (400), content (422), authority (403), version (412), conflicts
//! (409).

pub(crate) mod route_rules;
pub(crate) mod routes;

pub(crate) mod credentials;
pub(crate) mod ledger;
pub(crate) mod organizations;
pub(crate) mod sessions;
pub(crate) mod usage;
pub(crate) mod verification;
pub(crate) mod webhooks;

pub(crate) mod document;
pub(crate) mod metrics;
pub(crate) mod service;
mod state;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::FromRef;
use tokio::net::TcpListener;

use crate::api::state::ApiState;
use crate::config::LedgerPrefix;
use crate::ledger::Ledger;
use crate::web::app::App;
use crate::web::frame::Frame;
use crate::web::problem::Problem;
use crate::web::{connection_limits, connections};

pub use crate::web::http_settings::HttpSettings;
pub use crate::web::problem::{FieldProblem, ProblemBody};
pub use crate::web::spans::{RequestTracer, SpanCounts};
pub use crate::web::tls::{Tls, WrongCertificate};

fn parts(prefix: &LedgerPrefix) -> (Router<ApiState>, utoipa::openapi::OpenApi) {
    let (router, mut document) = routes::routes(prefix).split_for_parts();
    document::complete(&mut document);
    (router, document)
}

/// The OpenAPI document, as it is served.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    parts(&LedgerPrefix::default()).1
}

/// The service over a ledger, ready to be called.
pub fn router(ledger: Ledger, settings: HttpSettings) -> Router {
    app(ledger, settings).0
}

fn app(ledger: Ledger, settings: HttpSettings) -> (Router, ApiState) {
    let (router, document) = parts(&settings.ledger_prefix);
    let documents = document::Texts::of(&document);
    let state = ApiState::new(App::new(ledger, settings), documents);
    (layered(router, state.clone()), state)
}

/// The routes in their frame.
fn layered(router: Router<ApiState>, state: ApiState) -> Router {
    router
        .method_not_allowed_fallback(routes::method_not_allowed)
        .fallback(no_such_route)
        .layer(Frame(App::from_ref(&state), route_rules::of))
        .with_state(state)
}

/// Files that the service has open when it is as busy as it may be.
pub const OPEN_FILES_MAX: usize =
    connection_limits::CONNECTIONS_MAX + connection_limits::FILES_RESERVED;

/// Where the service listens.
#[derive(Debug)]
pub struct Listeners {
    /// For everybody.
    pub main: TcpListener,
    /// What it speaks TLS with there.
    pub tls: Option<Tls>,
    /// For metrics and probes alone, without TLS and without credentials.
    pub metrics: Option<TcpListener>,
}

/// Serves until `shutdown` is done, then drains: not ready, no new connections, open requests end.
pub async fn serve(
    listeners: Listeners,
    ledger: Ledger,
    settings: HttpSettings,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let (router, state) = app(ledger, settings);
    let app = App::from_ref(&state);
    // Once for all listeners.
    connections::warn_of_few_files();
    let shutdown = async {
        shutdown.await;
        app.ready.store(false, Ordering::Release);
    };
    let main = (listeners.main, listeners.tls);
    let serving = connections::serve(main, (router, app.clone()), shutdown);
    let watched = async {
        let Some(metrics) = listeners.metrics else {
            return std::future::pending().await;
        };
        let apart = layered(routes::about_itself(), state);
        // It goes on while the others drain: who watches sees that, too.
        let never = std::future::pending();
        connections::serve((metrics, None), (apart, app.clone()), never).await
    };
    // Among the tasks whose delay it measures.
    let measured = app.clone();
    let measuring = tokio::spawn(async move { measured.load.watch().await });
    let served = tokio::select! {
        served = serving => served,
        watched = watched => watched,
    };
    measuring.abort();
    served
}

async fn no_such_route() -> Problem {
    Problem::not_found("page")
}
