//! `/v1/forward-auth`: a gateway asks whether it may let a request through.
//!
//! Owns what gateways send and read: who the gateway is (`gateway`), what it requires and which
//! credential its client has shown (`asked`), and the identity headers of an acceptance. The
//! request's method, query and body count for nothing: they may be the client's. So may every
//! header that the gateway does not set or clear, which is why the configurations of
//! `docs/gateways.md` touch each of ours. The verdict comes from the index alone.
//!
//! Three forms by path: `/v1/forward-auth` itself for Caddy and Traefik, which tell the original
//! request by `X-Forwarded-Uri`; `/v1/forward-auth/nginx` for nginx, which is to set
//! `X-Original-URI` and can pass 401 and 403 alone; anything below `/v1/forward-auth/envoy` for
//! Envoy, whose path goes on with the original one. Anything else below `/v1/forward-auth` is
//! Envoy's too, from when it had no prefix of its own.

mod asked;
mod gateway;
mod paths;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::api::state::ApiState;
use crate::views::index::{
    ShownCredential, VerificationCode, VerificationQuery, VerificationResult,
};
use crate::web::app::App;
use crate::web::context::Context;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::record_usage;
use crate::web::record_usage::Presented;
use asked::{Asked, Form};
use paths::ROOT;

pub(crate) use paths::NGINX;

/// Why there is no verdict, where nginx can be told 403 alone.
const REASON: HeaderName = HeaderName::from_static("x-keyledger-reason");

/// Who has been let through: all of these stand in every acceptance, lest a gateway copy a client's
/// own header where one of ours is missing.
const IDENTITY: [HeaderName; 7] = [
    HeaderName::from_static("x-keyledger-key-id"),
    HeaderName::from_static("x-keyledger-kind"),
    HeaderName::from_static("x-keyledger-organization-id"),
    HeaderName::from_static("x-keyledger-project-id"),
    HeaderName::from_static("x-keyledger-owner-id"),
    HeaderName::from_static("x-keyledger-scopes"),
    HeaderName::from_static("x-keyledger-role"),
];

#[derive(OpenApi)]
#[openapi(paths(documented, documented_nginx, documented_envoy))]
struct Document;

/// Every method, on the path and on all below it.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    let ours = OpenApiRouter::with_openapi(Document::openapi());
    ours.route(ROOT, any(ask))
        .route("/v1/forward-auth/", any(ask))
        .route("/v1/forward-auth/{*path}", any(ask))
        .route(NGINX, any(ask))
}

/// Whether a gateway may let a request through. Takes every method and any path below it, as
/// gateways send them; see `docs/gateways.md` for their configurations.
#[utoipa::path(get, path = "/v1/forward-auth", tag = "forward auth", operation_id = "ask",
    security(()), params(
        ("X-Keyledger-Gateway" = Option<String>, Header, description = "The gateway's credential."),
        ("X-Keyledger-Require-Organization" = Option<String>, Header),
        ("X-Keyledger-Require-Project" = Option<String>, Header),
        ("X-Keyledger-Require-Scopes" = Option<String>, Header),
        ("X-Keyledger-Query-Parameter" = Option<String>, Header,
            description = "The parameter of the original URI that may hold the credential."),
        ("X-API-Key" = Option<String>, Header, description = "The client's credential."),
        ("X-Forwarded-Uri" = Option<String>, Header, description = "The original URI.")),
    responses((status = 200, description = "Let it through; every `X-Keyledger-` identity header"),
        (status = "4XX", body = ProblemBody)))]
#[expect(dead_code, reason = "describes what no single method does")]
fn documented() {}

/// The same for nginx: 200, 401 or 403 and nothing else, with `X-Keyledger-Reason` where a 403
/// stands for another status.
#[utoipa::path(get, path = "/v1/forward-auth/nginx", tag = "forward auth",
    operation_id = "ask_for_nginx", security(()),
    params(("X-Original-URI" = Option<String>, Header, description = "The original URI.")),
    responses((status = 200, description = "Let it through; every `X-Keyledger-` identity header"),
        (status = "4XX", body = ProblemBody)))]
#[expect(dead_code, reason = "describes what no single method does")]
fn documented_nginx() {}

/// The same for Envoy, which puts the original path behind this one. Takes every method.
#[utoipa::path(get, path = "/v1/forward-auth/envoy", tag = "forward auth",
    operation_id = "ask_for_envoy", security(()),
    responses((status = 200, description = "Let it through; every `X-Keyledger-` identity header"),
        (status = "4XX", body = ProblemBody)))]
#[expect(dead_code, reason = "describes what no single method does")]
fn documented_envoy() {}

async fn ask(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let form = Form::of(&parts.uri, &parts.headers);
    let context = Context::take(&mut parts);
    // What is told of the gateway itself: the rest of the path is its client's.
    parts.uri = Uri::from_static(form.path());
    asked::check_once(context.headers())?;
    let gateway = gateway::authenticate(&app, &parts, context.headers())?;
    let asked = Asked::read(context.headers(), &form, gateway.project)?;
    let Some(key) = &asked.key else {
        return Err(Problem::unauthenticated(false));
    };
    let ask = VerificationQuery {
        authority: &gateway.authority,
        key,
        required_scopes: &asked.scopes,
        project: asked.project,
        any_project: false,
        organization: Some(gateway.organization),
    };
    let began = app.ledger.clock().monotonic_duration();
    let verdict = app.ledger.views().index.verify(&ask, app.ledger.now());
    let took = app.ledger.clock().elapsed_since(began);
    let method = form.original_method(context.headers());
    let user_agent = context.user_agent();
    let presented = Presented {
        token: key,
        required_scopes: &asked.scopes,
        endpoint: &form.original_path(context.headers()),
        // Envoy asks with the client's own method.
        method: method.as_deref().unwrap_or(parts.method.as_str()),
        ip: context.address(&app),
        user_agent: user_agent.as_deref(),
        request_id: Some(context.request_id.as_str()),
        took,
    };
    record_usage::record(&app, &verdict, &presented);
    answer(&app, &verdict, &asked.scopes)
}

fn answer(app: &App, verdict: &VerificationResult, scopes: &[String]) -> Result<Response, Problem> {
    let refused = |code, detail| Problem::new(StatusCode::FORBIDDEN, code, detail);
    match (verdict.code, &verdict.key) {
        (VerificationCode::Valid, Some(key)) => Ok(accepted(app, key)),
        (VerificationCode::WrongOrganization, _) => Err(refused(
            "wrong_organization",
            "the credential is of another organization",
        )),
        (VerificationCode::WrongProject, _) => Err(refused(
            "wrong_project",
            "the credential works on another project",
        )),
        (VerificationCode::InsufficientScope, _) => {
            let scopes = scopes.join(" ");
            let detail = "the credential lacks a scope that is required";
            let problem = refused("insufficient_scope", detail);
            let challenge = format!(
                "Bearer realm=\"keyledger\", error=\"insufficient_scope\", scope=\"{scopes}\""
            );
            Err(match HeaderValue::from_str(&challenge) {
                Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
                Err(_no_header) => problem,
            })
        }
        (
            VerificationCode::Valid
            | VerificationCode::Malformed
            | VerificationCode::NotFound
            | VerificationCode::Revoked
            | VerificationCode::Rotated
            | VerificationCode::Expired
            | VerificationCode::Disabled
            | VerificationCode::OwnerInactive,
            _,
        ) => Err(Problem::unauthenticated(true)),
    }
}

/// Empty, with every identity header.
fn accepted(app: &App, key: &ShownCredential) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let values = match key {
        ShownCredential::Ended { .. } => Default::default(),
        ShownCredential::Full { credential, .. } => {
            let scopes = app.ledger.views().index.effective_scopes(key);
            let project = credential.project().map(|id| id.to_string());
            [
                credential.id().to_string(),
                credential.kind().name().to_owned(),
                credential.organization().to_string(),
                project.unwrap_or_default(),
                credential.owner().to_string(),
                scopes.join(" "),
                credential.grant().role.clone().unwrap_or_default(),
            ]
        }
    };
    for (name, value) in IDENTITY.into_iter().zip(values) {
        // Ids and names of a catalogue are plain text, but a header must not be left out.
        let value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
        headers.insert(name, value);
    }
    response
}

/// A problem as nginx can pass it on, which answers 500 for whatever is neither 401 nor 403. Called
/// where all problems go out, so that timeouts and overload are turned too.
pub(crate) fn as_nginx_reads(problem: Problem) -> Problem {
    let status = problem.status();
    let passes = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if passes {
        return problem;
    }
    let reason = match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limited",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        status if status.is_client_error() => "bad_request",
        _ => "failed",
    };
    problem
        .turned_into(StatusCode::FORBIDDEN, "no_verdict")
        .with_header(REASON, HeaderValue::from_static(reason))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Method;

    use super::*;
    use crate::api::route_rules;

    #[test]
    fn nginx_is_told_what_it_can_pass_on() {
        let check = |problem: Problem, route: &str, expect: (u16, Option<&str>, Option<&str>)| {
            let rules = route_rules::of(&Method::GET, route, &Uri::from_static("/x"));
            let reply = (rules.turn_problem)(problem).render("r");
            let header = |name| reply.headers().get(name).and_then(|v| v.to_str().ok());
            let told = (header("x-keyledger-reason"), header("retry-after"));
            assert_eq!((reply.status().as_u16(), told.0, told.1), expect, "{route}");
        };
        let slow = || Problem::too_many_attempts(Duration::from_secs(7));
        check(slow(), ROOT, (429, None, Some("7")));
        check(slow(), NGINX, (403, Some("rate_limited"), Some("7")));
        let unavailable = (403, Some("unavailable"), Some("1"));
        check(Problem::not_ready(), NGINX, unavailable);
        check(Problem::busy("x"), NGINX, unavailable);
        let bad = || Problem::bad_request("header_twice", "x");
        check(bad(), NGINX, (403, Some("bad_request"), None));
        for route in ["/v1/verify", paths::ENVOY, "/v1/forward-auth/{*path}"] {
            check(bad(), route, (400, None, None));
        }
        check(Problem::timeout(), NGINX, (403, Some("bad_request"), None));
        check(Problem::defect(), NGINX, (403, Some("failed"), None));
        let nobody = Problem::unauthenticated(false);
        check(nobody, NGINX, (401, None, None));
    }
}
