//! The service about itself: liveness, readiness, the OpenAPI document and its page.

use std::sync::atomic::Ordering;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use super::App;
use super::budget::SharedBytes;
use super::problem::{Problem, ProblemBody};
use crate::ledger::Health;

/// The process is there.
#[utoipa::path(get, path = "/livez", tag = "service", security(()),
    responses((status = 200, body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// The process takes requests.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()),
    responses((status = 200, body = String), (status = 503, body = ProblemBody)))]
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    let good = *app.ledger.health().borrow() == Health::Good;
    if good && app.ready.load(Ordering::Acquire) {
        Ok("ok\n")
    } else {
        Err(Problem::not_ready())
    }
}

/// The OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", security(()),
    responses((status = 200, body = Object)))]
pub(super) async fn openapi(State(app): State<App>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        Extension(SharedBytes),
        app.document.clone(),
    )
        .into_response()
}

/// The OpenAPI document as a page.
#[utoipa::path(get, path = "/docs", tag = "service", security(()),
    responses((status = 200, body = String)))]
pub(super) async fn docs() -> Response {
    let policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; \
        script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
    (
        [(header::CONTENT_SECURITY_POLICY, policy)],
        Extension(SharedBytes),
        Html(include_str!("docs.html")),
    )
        .into_response()
}
