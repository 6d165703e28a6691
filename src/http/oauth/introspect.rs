//! `POST /oauth2/introspect` (RFC 7662): whether a token is active, and what it stands for.
//!
//! Clients keep an active answer until its `exp`, and a token that is revoked meanwhile goes on
//! being accepted there. So `exp` is never the token's own end unless that is near: it lies at most
//! [`MAX_AGE_SECONDS`] ahead, or as far as the caller's own credential says in its metadata.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::client::Client;
use super::{form, in_oauth};
use crate::domain::access::Action;
use crate::domain::record::Credential;
use crate::domain::time::Timestamp;
use crate::http::App;
use crate::http::problem::{Problem, ProblemBody};
use crate::http::used::{self, Presented};
use crate::views::index::{Ask, Code, Shown, Verdict};

/// How long a client may keep an answer unless its credential says otherwise.
const MAX_AGE_SECONDS: i64 = 60;
/// The longest that a credential may say: a day.
const MAX_AGE_SECONDS_MAX: i64 = 24 * 60 * 60;
/// The pair of the caller's metadata that says how long it may keep answers, in seconds.
const MAX_AGE_PAIR: &str = "introspection_max_age_seconds";

/// What to introspect.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form, which is read by hand")]
pub(super) struct TokenForm {
    /// The token.
    token: String,
    /// Accepted and ignored: there is one sort of token.
    token_type_hint: Option<String>,
}

/// Of an inactive token: `active` alone.
#[derive(Serialize, ToSchema)]
pub(super) struct Introspection {
    active: bool,
    #[serde(flatten)]
    about: Option<About>,
}

#[derive(Serialize, ToSchema)]
struct About {
    /// The scopes that it has now, with spaces between them.
    scope: String,
    /// Its owner.
    client_id: String,
    /// The credential.
    sub: String,
    /// The project that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    iss: String,
    /// When the secret was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    /// Until when this answer may be kept; left out where it may not be kept at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    token_type: &'static str,
    /// When it ends by itself. Left out where there is nothing to tell, as all members are: clients
    /// of OAuth 2 warn of null.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    keyledger_expires_at: Option<Timestamp>,
    keyledger_kind: &'static str,
    keyledger_organization_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyledger_role: Option<String>,
    /// Everything up to here has been taken into account.
    keyledger_position: u64,
}

/// Tells whether a token is active (RFC 7662). Any holder may ask about the token that it presents;
/// about others it needs `keys:verify`.
#[utoipa::path(post, path = "/oauth2/introspect", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    security(("bearer" = []), ("basic" = []), ("session" = [])),
    responses((status = 200, body = Introspection), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn introspect(
    client: Client,
    request: Request,
) -> Result<Response, Problem> {
    let (verdict, about) = asked(&client, request).await.map_err(in_oauth)?;
    let answer = Introspection {
        active: verdict.code == Code::Valid,
        about,
    };
    let mut response = Json(answer).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

async fn asked(client: &Client, request: Request) -> Result<(Verdict, Option<About>), Problem> {
    let call = &client.call;
    let token = match call.may_at_home(Action::Verify) {
        Ok(_leave) => form::token(request, call.context.headers()).await?,
        Err(refused) => own_token(client, request).await.ok_or(refused)?,
    };
    call.context.check()?;
    call.wait().await?;
    let authority = &call.caller.authority;
    let project = authority.project;
    let ask = Ask {
        authority,
        key: &token,
        required_scopes: &[],
        project,
        // Who is bound to no project hears of every project's credentials, by `aud`.
        any_project: project.is_none(),
        organization: None,
    };
    let now = call.now();
    let began = call.app.ledger.clock().monotonic();
    let verdict = call.views().index.verify(&ask, now);
    let took = call.app.ledger.clock().since(began);
    // Of the request that the token came with, introspection is told nothing.
    let presented = Presented {
        token: &token,
        required_scopes: &[],
        endpoint: "/oauth2/introspect",
        method: "POST",
        ip: None,
        user_agent: None,
        request_id: Some(call.context.request_id.as_str()),
        took,
    };
    used::record(&call.app, &verdict, &presented);
    // By the wall clock, as the client's is: the ledger's own time may be ahead of it.
    let wall = Timestamp(call.app.ledger.clock().now_ms());
    let kept_until =
        max_age(client.credential.as_deref()).map(|seconds| wall.plus_ms(seconds * 1_000));
    let about = match &verdict.key {
        Some(key) if verdict.code == Code::Valid => about(&call.app, &verdict, key, kept_until),
        Some(_) | None => None,
    };
    Ok((verdict, about))
}

/// The token of the form, if it is the one that the caller itself has presented: every holder may
/// ask about its own.
async fn own_token(client: &Client, request: Request) -> Option<Zeroizing<String>> {
    let own = client.token.as_ref()?;
    let asked = form::token(request, client.call.context.headers()).await;
    asked.ok().filter(|asked| asked == own)
}

/// How long the caller may keep an answer; `None`: not at all.
fn max_age(caller: Option<&Credential>) -> Option<i64> {
    let said = caller.and_then(|key| key.metadata()?.get(MAX_AGE_PAIR)?.parse().ok());
    let said = said.filter(|seconds| (0..=MAX_AGE_SECONDS_MAX).contains(seconds));
    Some(said.unwrap_or(MAX_AGE_SECONDS)).filter(|seconds| *seconds > 0)
}

fn about(
    app: &App,
    verdict: &Verdict,
    key: &Shown,
    kept_until: Option<Timestamp>,
) -> Option<About> {
    let Shown::Whole {
        credential, secret, ..
    } = key
    else {
        return None;
    };
    let shown = credential.secrets().find(|known| known.id == *secret);
    let exp = kept_until.map(|kept| verdict.valid_until.map_or(kept, |end| end.min(kept)));
    let scopes = app.ledger.views().index.scopes_in_force(key);
    Some(About {
        scope: scopes.join(" "),
        client_id: credential.owner().to_string(),
        sub: credential.id().to_string(),
        aud: credential.project().map(|id| id.to_string()),
        iss: app.settings.public_url.to_string(),
        iat: shown.map(|secret| seconds(secret.created_at)),
        exp: exp.map(seconds),
        token_type: "Bearer",
        keyledger_expires_at: credential.expires_at(),
        keyledger_kind: credential.kind().name(),
        keyledger_organization_id: credential.organization().to_string(),
        keyledger_role: credential.grant().role.clone(),
        keyledger_position: verdict.position,
    })
}

/// Whole seconds, as OAuth counts; never later than the instant.
const fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000)
}
