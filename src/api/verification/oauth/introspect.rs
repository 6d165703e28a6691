//! `POST /oauth2/introspect` (RFC 7662): whether a token is active, and what it stands for.
//!
//! Clients keep an active answer until its `exp`, and a token that is revoked meanwhile goes on
//! being accepted there. So `exp` is never the token's own end unless that is near: it lies at most
//! [`MAX_AGE_SECONDS`] ahead, or as far as the caller's own credential says in its metadata.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::verification::oauth::client::Client;
use crate::api::verification::oauth::in_oauth;
use crate::domain::access::Action;
use crate::domain::record::Credential;
use crate::domain::time::Timestamp;
use crate::views::index::{
    ShownCredential, VerificationCode, VerificationQuery, VerificationResult,
};
use crate::web::app::App;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::record_usage;
use crate::web::record_usage::Presented;

/// How long a client may keep an answer unless its credential says otherwise.
const MAX_AGE_SECONDS: i64 = 60;
/// The longest that a credential may say: a day.
const MAX_AGE_SECONDS_MAX: i64 = 24 * 60 * 60;
/// The pair of the caller's metadata that says how long it may keep answers, in seconds.
const MAX_AGE_PAIR: &str = "introspection_max_age_seconds";

/// What to introspect or to end, and the client's credential if no header has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form, which is read by hand")]
pub(crate) struct TokenForm {
    /// The token.
    #[schema(min_length = 1)]
    token: String,
    /// Accepted and ignored: there is one sort of token.
    #[schema(nullable = false)]
    token_type_hint: Option<String>,
    /// The id of the credential that the client shows (`client_secret_post`).
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// Its secret; not beside `Authorization`.
    #[schema(nullable = false)]
    client_secret: Option<String>,
}

/// What a token stands for; of an inactive one, `active` alone.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Introspection {
    active: bool,
    /// The scopes that it has now, with spaces between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<String>,
    /// Its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// The credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sub: Option<String>,
    /// The project that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    aud: Option<String>,
    /// This server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    iss: Option<String>,
    /// When the secret was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    iat: Option<i64>,
    /// Until when this answer may be kept; left out where it may not be kept at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token_type: Option<&'static str>,
    /// When it ends by itself. Left out where there is nothing to tell, as all members are: clients
    /// of OAuth 2 warn of null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    keyledger_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    keyledger_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    keyledger_organization_id: Option<String>,
    /// Left out where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    keyledger_role: Option<String>,
    /// Everything up to here has been taken into account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    keyledger_position: Option<u64>,
}

/// Tells whether a token is active (RFC 7662). Any holder may ask about the token that it presents;
/// about others it needs `keys:verify`.
#[utoipa::path(post, path = "/oauth2/introspect", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    security((), ("bearer" = []), ("basic" = []), ("session" = [])),
    responses((status = 200, body = Introspection), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn introspect(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Problem> {
    let answer = asked(&app, request).await.map_err(in_oauth)?;
    let mut response = Json(answer).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

async fn asked(app: &App, request: Request) -> Result<Introspection, Problem> {
    let (client, sent) = Client::identified(request, app).await?;
    let call = &client.call;
    let form = sent.form(call.context.headers()).await;
    let form = match call.may_at_home(Action::Verify) {
        Ok(_leave) => form?,
        // Every holder may ask about its own.
        Err(refused) => {
            let own = form.ok().filter(|form| client.asks_about_itself(form));
            own.ok_or(refused)?
        }
    };
    let is_own = client.asks_about_itself(&form);
    let token = form.token()?;
    call.context.check()?;
    call.wait().await?;
    let authority = &call.caller.authority;
    let project = authority.project;
    let ask = VerificationQuery {
        authority,
        key: token,
        required_scopes: &[],
        project,
        // Who is bound to no project hears of every project's credentials, by `aud`.
        any_project: project.is_none(),
        organization: None,
    };
    let now = call.now();
    let began = call.app.ledger.clock().monotonic_duration();
    let verdict = call.views().index.verify(&ask, now);
    let took = call.app.ledger.clock().elapsed_since(began);
    // Of the request that the token came with, introspection is told nothing.
    let presented = Presented {
        token,
        required_scopes: &[],
        endpoint: "/oauth2/introspect",
        method: "POST",
        ip: None,
        user_agent: None,
        request_id: Some(call.context.request_id.as_str()),
        took,
    };
    if is_own {
        // The frame records the call, which is the one use of the token.
        record_usage::count(&call.app, &verdict, &presented);
    } else {
        record_usage::record(&call.app, &verdict, &presented);
    }
    // By the wall clock, as the client's is: the ledger's own time may be ahead of it.
    let wall = Timestamp(call.app.ledger.clock().now_ms());
    let kept_until =
        max_age(client.credential.as_deref()).map(|seconds| wall.plus_ms(seconds * 1_000));
    let about = match &verdict.key {
        Some(key) if verdict.code == VerificationCode::Valid => {
            about(&call.app, &verdict, key, kept_until)
        }
        Some(_) | None => None,
    };
    Ok(about.unwrap_or_default())
}

/// How long the caller may keep an answer; `None`: not at all.
fn max_age(caller: Option<&Credential>) -> Option<i64> {
    let said = caller.and_then(|key| key.metadata()?.get(MAX_AGE_PAIR)?.parse().ok());
    let said = said.filter(|seconds| (0..=MAX_AGE_SECONDS_MAX).contains(seconds));
    Some(said.unwrap_or(MAX_AGE_SECONDS)).filter(|seconds| *seconds > 0)
}

fn about(
    app: &App,
    verdict: &VerificationResult,
    key: &ShownCredential,
    kept_until: Option<Timestamp>,
) -> Option<Introspection> {
    let ShownCredential::Full {
        credential, secret, ..
    } = key
    else {
        return None;
    };
    let shown = credential.secrets().find(|known| known.id == *secret);
    let exp = kept_until.map(|kept| verdict.valid_until.map_or(kept, |end| end.min(kept)));
    let scopes = app.ledger.views().index.effective_scopes(key);
    Some(Introspection {
        active: true,
        scope: Some(scopes.join(" ")),
        client_id: Some(credential.owner().to_string()),
        sub: Some(credential.id().to_string()),
        aud: credential.project().map(|id| id.to_string()),
        iss: Some(app.settings.public_url.to_string()),
        iat: shown.map(|secret| seconds(secret.created_at)),
        exp: exp.map(seconds),
        token_type: Some("Bearer"),
        keyledger_expires_at: credential.expires_at(),
        keyledger_kind: Some(credential.kind().name()),
        keyledger_organization_id: Some(credential.organization().to_string()),
        keyledger_role: credential.grant().role.clone(),
        keyledger_position: Some(verdict.position),
    })
}

/// Whole seconds, as OAuth counts; never later than the instant.
const fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000)
}
