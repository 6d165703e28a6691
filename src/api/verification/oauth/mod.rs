//! OAuth 2 for clients that know it and nothing of this service: introspection (RFC 7662),
//! revocation (RFC 7009) and the metadata by which both are found (RFC 8414).
//!
//! Owns the forms and the answers of these standards, and how their clients authenticate. Decides
//! nothing itself: verdicts come from the index, ends are commands of the ledger. Bodies come in as
//! forms; answers go out as JSON, refusals as problems with the `error` that such clients read.

mod client;
mod form;
pub(crate) mod introspect;
pub(crate) mod metadata;
pub(crate) mod revoke;

use axum::http::{HeaderValue, StatusCode, header};

use crate::web::problem::Problem;

/// The same refusal as clients of OAuth 2 read it (RFC 6749, 5.2; RFC 6750, 3.1).
fn in_oauth(problem: Problem) -> Problem {
    match problem.status() {
        StatusCode::UNAUTHORIZED => {
            let ways = "Basic realm=\"keyledger\", Bearer realm=\"keyledger\"";
            let ways = HeaderValue::from_static(ways);
            let problem = problem.with_header(header::WWW_AUTHENTICATE, ways);
            problem.with_oauth_error("invalid_client")
        }
        StatusCode::FORBIDDEN => problem.with_oauth_error("insufficient_scope"),
        status if status.is_client_error() => problem.with_oauth_error("invalid_request"),
        _ => problem,
    }
}
