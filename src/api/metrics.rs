//! `/metrics`: the service in numbers, for Prometheus.

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::domain::access::Action;
use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::problem::{Problem, ProblemBody};

/// The media type of the answer.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What a proxy says of whom it asks for.
const FORWARDING: [&str; 4] = [
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-forwarded-host",
];

/// The service in numbers. Answers a client on this machine, provided that no proxy stands between,
/// and whoever holds `platform:*`.
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses((status = 200, body = String), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    if !is_local(&app, &request) {
        let (mut parts, _) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, &app).await?;
        caller.may_everywhere(&app, Action::ManageOrganizations)?;
    }
    answer(app).await
}

/// The same on a listener of its own, whose clients need no credential.
pub(crate) async fn show_all(State(app): State<App>) -> Result<Response, Problem> {
    answer(app).await
}

/// Some of the numbers are read from the log: off the async threads.
async fn answer(app: App) -> Result<Response, Problem> {
    let text = tokio::task::spawn_blocking(move || app.metrics.text()).await;
    let text = text.map_err(|why| Problem::internal("writing the metrics panicked", &why))?;
    let text = text.map_err(|why| Problem::internal("the metrics could not be written", &why))?;
    let headers = [
        (header::CONTENT_TYPE, TEXT),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}

/// Whether a request comes from this machine itself. A proxy on it forwards those of others: where
/// there is one, or what asks says that it forwards, the address says nothing.
pub(crate) fn is_local(app: &App, request: &Request) -> bool {
    let peer = request
        .extensions()
        .get::<ConnectInfo<std::net::SocketAddr>>();
    let local = peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
    let forwards = FORWARDING
        .iter()
        .any(|name| request.headers().contains_key(*name));
    local && !forwards && !app.settings.behind_proxy
}
