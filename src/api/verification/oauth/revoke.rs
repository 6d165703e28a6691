//! `POST /oauth2/revoke` (RFC 7009): ends a token, by whoever holds it or by an administrator.
//!
//! Whoever presents an accepted secret may end its credential, with or without authentication:
//! the credential is then the actor. Who authenticates as somebody else needs the permission to end
//! every kind, and is answered 403 without it. A token that is unknown, another tenant's, or no
//! good any more is answered like one that has just been ended, whoever asks (RFC 7009, 2.2).

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::verification::oauth::client;
use crate::api::verification::oauth::client::Presented;
use crate::api::verification::oauth::introspect::TokenForm;
use crate::api::verification::oauth::{form, in_oauth};
use crate::domain::access::{Action, Authority};
use crate::domain::command::{self, Actor, Command, KeyTarget, Place, RevokeKey};
use crate::domain::rejection::Rejection;
use crate::ledger::{Submission, SubmitError};
use crate::views::index::{ShownCredential, VerificationCode, VerificationQuery};
use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::context::Context;
use crate::web::cookie;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::record_usage;

/// Ends a token (RFC 7009).
#[utoipa::path(post, path = "/oauth2/revoke", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    security((), ("bearer" = []), ("basic" = []), ("session" = [])),
    responses((status = 200, description = "It is no good any more, whatever it was."),
        (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody)))]
pub(crate) async fn revoke(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    ended(&app, request).await.map_err(in_oauth)?;
    let mut response = StatusCode::OK.into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

async fn ended(app: &App, request: Request) -> Result<(), Problem> {
    let (mut parts, body) = request.into_parts();
    let presented = client::presented(&parts, app)?;
    let nobody = presented.is_none()
        && cookie::presented(&parts.headers, &app.settings.public_url)?.is_none();
    check_known(presented.as_ref())?;
    let form = form::read(body, &parts.headers).await?;
    let presented = match nobody {
        true => client::in_form(&form, &parts, app)?,
        false => {
            form.refuse_client()?;
            presented
        }
    };
    check_known(presented.as_ref())?;
    let token = form.token()?;
    let nobody = nobody && presented.is_none();
    let own = presented.as_ref().is_some_and(|by| *by.token == token);
    if nobody || own {
        return by_holder(app, &mut parts, token).await;
    }
    if let Some(presented) = presented {
        client::take(presented, &mut parts)?;
    }
    let caller = Caller::from_request_parts(&mut parts, app).await?;
    by_another(app, &mut parts, caller, token).await
}

/// A client that shows no secret of ours is not known. One whose credential has ended is, to end
/// that once more.
fn check_known(presented: Option<&Presented>) -> Result<(), Problem> {
    match presented.is_some_and(Presented::is_unknown) {
        true => Err(Problem::unauthenticated(true)),
        false => Ok(()),
    }
}

/// The holder: the token is its own proof.
async fn by_holder(app: &App, parts: &mut Parts, token: &str) -> Result<(), Problem> {
    let views = app.ledger.views();
    let Ok(caller) = views.index.authenticate(token, app.ledger.now()) else {
        return Ok(());
    };
    record_usage::tell(
        parts,
        app,
        caller.presented_secret(),
        VerificationCode::Valid,
    );
    let command = Command::RevokeItself(caller.credential.organization());
    submit(app, parts, caller.actor, command, true).await
}

/// An administrator, who ends what exists for them.
async fn by_another(
    app: &App,
    parts: &mut Parts,
    caller: Caller,
    token: &str,
) -> Result<(), Problem> {
    // There is nothing to end of a token that is unknown, and so nothing that needs a permission.
    let Some(target) = target(app, &caller.authority, token) else {
        return Ok(());
    };
    caller.may_at_home(app, Action::Oversee)?;
    let command = Command::RevokeKey(RevokeKey {
        target,
        reason: None,
    });
    submit(app, parts, caller.actor, command, false).await
}

/// The credential that a secret is of, while it is of use or can be again.
fn target(app: &App, authority: &Authority, token: &str) -> Option<KeyTarget> {
    let ask = VerificationQuery {
        authority,
        key: token,
        required_scopes: &[],
        project: None,
        any_project: true,
        organization: None,
    };
    let verdict = app.ledger.views().index.verify(&ask, app.ledger.now());
    match verdict.key {
        Some(ShownCredential::Full { credential, .. }) => Some(KeyTarget {
            organization: credential.organization(),
            key: credential.id(),
            place: Place::default(),
        }),
        Some(ShownCredential::Ended { .. }) | None => None,
    }
}

async fn submit(
    app: &App,
    parts: &mut Parts,
    actor: Actor,
    command: Command,
    itself: bool,
) -> Result<(), Problem> {
    let context = Context::take(parts);
    let submission = Submission {
        request: command::Request {
            actor,
            command,
            if_match: None,
        },
        request_id: Some(context.request_id.as_str().to_owned()),
        network: context.network(app),
        idempotency: None,
        client_of: None,
    };
    match app.ledger.submit(submission).await {
        Ok(_answer) => Ok(()),
        // It has been ended meanwhile, which is what was asked for.
        Err(SubmitError::Rejected(Rejection::CredentialNotAccepted)) if itself => Ok(()),
        // RFC 7009, 2.2.1: what cannot be done now is a 503.
        Err(SubmitError::DiskFull) => {
            let detail = "the disk is full; try again later";
            Err(Problem::unavailable("disk_full", detail))
        }
        Err(why) => Err(why.into()),
    }
}
