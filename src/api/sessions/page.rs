//! The page behind a sign-in link: a button. Whatever fetches the link before its reader does, a
//! mail scanner or a preview, uses nothing up; the button posts to `/v1/sessions`.
//!
//! The page is the same for every link: its script takes the token from the address. Nothing else
//! may run or load, nobody may frame it, and the address goes nowhere as a referrer.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::domain::rejection::Rejection;
use crate::domain::sign_in::presented;
use crate::web::app::App;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

const STYLE: &str = include_str!("sign_in.css");
const SCRIPT: &str = include_str!("sign_in.js");

const READY: &str = "<h1>Sign in to keyledger</h1>\n\
    <p>This link works once. The button uses it.</p>\n\
    <button id=\"sign-in\" type=\"button\">Sign in</button>\n\
    <p id=\"outcome\" role=\"status\"></p>";
const GONE: &str = "<h1>This link can no longer be used</h1>\n\
    <p>It has been used, has ended, or never was one. Ask an administrator for a new one.</p>";

/// Shows the page of a sign-in link.
#[utoipa::path(get, path = "/sign-in/{token}", tag = "sessions", security(()),
    params(("token" = String, Path)),
    responses((status = 200, body = String, content_type = "text/html"),
        (status = 401, description = "The link can no longer be used: a page for browsers, a \
            problem for others.", content((String = "text/html"),
            (ProblemBody = "application/json"))),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let hash = presented(&token);
    let now = app.ledger.now();
    let link = hash.and_then(|hash| app.ledger.views().sessions.sign_in_means_by_link(hash, now));
    let (status, content) = match link {
        Some(_) => (StatusCode::OK, READY),
        // People get a page, programs a problem.
        None if is_browser(&headers) => (StatusCode::UNAUTHORIZED, GONE),
        None => return Err(Rejection::SignInRefused.into()),
    };
    let mut response = (status, Html(page(content))).into_response();
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CACHE_CONTROL, "no-store");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    if status == StatusCode::UNAUTHORIZED {
        set(header::WWW_AUTHENTICATE, "Bearer realm=\"keyledger\"");
    }
    if let Ok(policy) = HeaderValue::from_str(&policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}

fn is_browser(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn page(content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>keyledger</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n{content}\n</main>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

/// Only this script and this style, by their hashes, and requests to this server.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}
