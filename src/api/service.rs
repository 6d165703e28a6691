//! The service about itself: liveness, readiness, the OpenAPI document and its page.

use std::path::Path;
use std::sync::atomic::Ordering;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::document::Texts;
use crate::api::metrics::is_local;
use crate::domain::time::Timestamp;
use crate::ledger::Health;
use crate::web::app::App;
use crate::web::budget::SharedBytes;
use crate::web::problem::{Problem, ProblemBody};

/// The process is there.
#[utoipa::path(get, path = "/livez", tag = "service", security(()),
    responses((status = 200, body = String)))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the process takes requests, and which of its parts are degraded.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready` or `degraded`; either takes requests.
    #[schema(examples("ready", "degraded"))]
    status: &'static str,
    /// The parts that do not work as they should.
    degraded: Vec<DegradedPart>,
    /// Files that were found damaged since the start, the newest 32. What is lost with them is not
    /// of the ledger, or has been made again from it.
    damaged: Vec<DamagedFile>,
}

/// A file or folder that was found damaged.
#[derive(Serialize, ToSchema)]
#[schema(as = DamagedFile)]
struct DamagedFile {
    /// The part that it belongs to.
    part: &'static str,
    /// When it was found.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Where it is; only for clients that may read the metrics without a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    file: Option<String>,
    /// Under which name it was set aside; only for the same clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kept_as: Option<String>,
    /// What was wrong, and what was done; only for the same clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

/// A part that does not work as it should.
#[derive(Serialize, ToSchema)]
#[schema(as = DegradedPart)]
struct DegradedPart {
    /// `views`, `signing`, `publishing`, `snapshots`, `deliveries`, `usage`, `keys`, `restore`,
    /// `clock` or `tls_certificate`.
    part: &'static str,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// What is wrong; only for clients that may read the metrics without a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// What to do; only for clients that may read the metrics without a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    remedy: Option<&'static str>,
}

/// The process takes requests. Degraded parts are listed and do not make it unready:
/// verifications, and the revocation of credentials, do not depend on them.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = ProblemBody)))]
pub(crate) async fn readyz(
    State(app): State<App>,
    request: Request,
) -> Result<Json<Readiness>, Problem> {
    // Reasons name files and records: not for the network.
    let detailed = is_local(&app, &request);
    readiness(&app, detailed)
}

/// The same on a listener of its own, whose clients need no credential.
pub(crate) async fn readyz_in_detail(State(app): State<App>) -> Result<Json<Readiness>, Problem> {
    readiness(&app, true)
}

fn readiness(app: &App, detailed: bool) -> Result<Json<Readiness>, Problem> {
    let good = *app.ledger.health().borrow() == Health::Good;
    if !good || !app.ready.load(Ordering::Acquire) {
        return Err(Problem::not_ready());
    }
    let degraded = app.ledger.degraded().list();
    Ok(Json(Readiness {
        status: if degraded.is_empty() {
            "ready"
        } else {
            "degraded"
        },
        degraded: degraded
            .into_iter()
            .map(|one| DegradedPart {
                part: one.part.name(),
                since: one.since,
                reason: detailed.then_some(one.reason),
                remedy: detailed.then_some(one.remedy),
            })
            .collect(),
        damaged: app
            .ledger
            .degraded()
            .damage_found()
            .into_iter()
            .map(|one| {
                let text = |path: &Path| path.display().to_string();
                DamagedFile {
                    part: one.part.name(),
                    at: one.at,
                    file: detailed.then(|| text(&one.file)),
                    kept_as: one.kept_as.as_deref().filter(|_| detailed).map(text),
                    reason: detailed.then_some(one.reason),
                }
            })
            .collect(),
    }))
}

/// The OpenAPI document, version 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "service", security(()),
    responses((status = 200, body = Object, description = "The document.")))]
pub(crate) async fn openapi(State(texts): State<Arc<Texts>>) -> Response {
    document(texts.newest.clone())
}

/// The same document as OpenAPI 3.0, without webhooks: for generators of clients that do not know
/// version 3.1.
#[utoipa::path(get, path = "/openapi-3.0.json", tag = "service", security(()),
    responses((status = 200, body = Object, description = "The document.")))]
pub(crate) async fn openapi_3_0(State(texts): State<Arc<Texts>>) -> Response {
    document(texts.openapi_3_0.clone())
}

fn document(text: Bytes) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, Extension(SharedBytes), text).into_response()
}

/// The OpenAPI document as a page.
#[utoipa::path(get, path = "/docs", tag = "service", security(()),
    responses((status = 200, body = String, content_type = "text/html")))]
pub(crate) async fn docs() -> Response {
    let policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; \
        script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
    (
        [(header::CONTENT_SECURITY_POLICY, policy)],
        Extension(SharedBytes),
        Html(include_str!("docs.html")),
    )
        .into_response()
}
