//! The published tree below its prefix: checkpoint, tiles, keys (C2SP tlog-tiles v0.1.0).
//!
//! Nothing here depends on who asks, so that any cache may stand in front. With
//! `--ledger-public=false` only who may read the ledger is let in.

use axum::extract::{FromRef, FromRequestParts, OriginalUri, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ledger::moment;
use crate::api::ledger::not_published;
use crate::api::state::ApiState;
use crate::domain::access::Action;
use crate::merkle::TileId;
use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::context::Context;
use crate::web::problem::{Problem, ProblemBody};

/// A tile never changes: a year, as long as caches keep anything.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// There is a new checkpoint every second while something happens.
const FOR_A_MOMENT: HeaderValue = HeaderValue::from_static("public, max-age=1");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The routes, without the prefix.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(checkpoint))
        .routes(routes!(vkey))
        .routes(routes!(tile))
}

/// Somebody who may see the tree: everybody, unless the operator has closed it.
pub(crate) struct Admitted;

impl<S> FromRequestParts<S> for Admitted
where
    S: Send + Sync,
    App: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let app = &App::from_ref(state);
        if !app.settings.ledger_closed {
            return Ok(Self);
        }
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.may_at_home(app, Action::ReadLedger)?;
        Ok(Self)
    }
}

fn cached(kind: HeaderValue, cache: HeaderValue, body: impl IntoResponse) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
    (headers, body).into_response()
}

/// The newest checkpoint: origin, size and root, as a C2SP signed note.
#[utoipa::path(get, path = "/checkpoint", tag = "ledger", security(()),
    responses((status = 200, content_type = "text/plain", body = String),
        (status = "5XX", body = ProblemBody)))]
pub(crate) async fn checkpoint(
    _admitted: Admitted,
    State(app): State<App>,
) -> Result<Response, Problem> {
    let published = app
        .ledger
        .tiles()
        .newest_published()
        .ok_or_else(not_published)?;
    Ok(cached(TEXT, FOR_A_MOMENT, published.note.to_string()))
}

/// The verifier keys that checkpoints are signed with now, one a line, in the form of C2SP.
///
/// Whoever checks this ledger should have them from somewhere else: what a server says of itself
/// proves nothing against it.
#[utoipa::path(get, path = "/vkey", tag = "ledger", security(()),
    responses((status = 200, content_type = "text/plain", body = String)))]
pub(crate) async fn vkey(_admitted: Admitted, State(app): State<App>) -> Response {
    let keys: String = app
        .ledger
        .vkeys()
        .iter()
        .map(|key| format!("{key}\n"))
        .collect();
    cached(TEXT, FOR_A_MOMENT, keys)
}

/// A tile of hashes, `<L>/<N>[.p/<W>]`, or a bundle of entries, `entries/<N>[.p/<W>]`.
///
/// An entry is the commitment of an event: SHA-256 of its stored payload, in which a random nonce
/// stands, so that it says nothing of the event.
#[utoipa::path(get, path = "/tile/{*tile}", tag = "ledger", security(()),
    params(("tile" = String, Path, description = "As C2SP tlog-tiles v0.1.0 names it.")),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = ProblemBody)))]
pub(crate) async fn tile(
    _admitted: Admitted,
    State(app): State<App>,
    context: Context,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Problem> {
    let no_tile = || Problem::not_found("tile");
    // Not decoded: each tile has one name.
    let (_, path) = uri.path().split_once("/tile/").ok_or_else(no_tile)?;
    let id = TileId::parse_path(path).ok_or_else(no_tile)?;
    let address = context.address(&app);
    let read = moment::published(&app, address, move |tiles| tiles.tile_bytes(id)).await?;
    let bytes = read.map_err(|why| Problem::internal("a tile could not be read", &why))?;
    Ok(cached(BYTES, FOR_EVER, bytes.ok_or_else(no_tile)?))
}
