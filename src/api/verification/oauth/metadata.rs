//! `GET /.well-known/oauth-authorization-server` (RFC 8414): where the two endpoints are.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::app::App;

/// How long a client may keep it: it changes with `--public-url` alone.
const KEEP: &str = "public, max-age=300";

/// What this server is to clients of OAuth 2. It issues no tokens to them, so that there is neither
/// an authorization nor a token endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthorizationServerMetadata)]
pub(crate) struct Metadata {
    issuer: String,
    introspection_endpoint: String,
    /// A bearer token is taken too, which has no name in this list.
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    revocation_endpoint: String,
    /// `none`: whoever holds the token.
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    response_types_supported: [&'static str; 0],
    grant_types_supported: [&'static str; 0],
    service_documentation: String,
}

/// Where introspection and revocation are (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "oauth", security(()),
    responses((status = 200, body = Metadata)))]
pub(crate) async fn show(State(app): State<App>) -> Response {
    let url = app.settings.public_url.as_str();
    let metadata = Metadata {
        issuer: url.to_owned(),
        introspection_endpoint: format!("{url}/oauth2/introspect"),
        introspection_endpoint_auth_methods_supported: [
            "client_secret_basic",
            "client_secret_post",
        ],
        revocation_endpoint: format!("{url}/oauth2/revoke"),
        revocation_endpoint_auth_methods_supported: [
            "client_secret_basic",
            "client_secret_post",
            "none",
        ],
        response_types_supported: [],
        grant_types_supported: [],
        service_documentation: format!("{url}/docs"),
    };
    ([(header::CACHE_CONTROL, KEEP)], Json(metadata)).into_response()
}
