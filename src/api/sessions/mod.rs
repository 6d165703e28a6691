//! `/v1/sessions`, `/v1/me` and the page of a sign-in link: how members come in person.
//!
//! Holds no rule. A password is compared here, before the command, since that takes long; what
//! takes that long is bounded in `passwords`, and guesses are slowed down in `attempts`.

mod attempts;
mod by_password;
mod hash_turns;
pub(crate) mod me;
pub(crate) mod page;
mod password_hash;
mod passwords;
mod sign_ins;
mod unauthenticated;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::command::{Actor, Command, SignIn, SignInProof};
use crate::domain::rejection::Rejection;
use crate::domain::sign_in::{Password, PresentedToken};
use crate::ledger::Record;
use crate::records::{MemberRecord, SessionRecord};
use crate::web::answer::{mismatch, written};
use crate::web::app::App;
use crate::web::context::Context;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::{body, cookie};
use attempts::Attempts;
use by_password::Typed;
pub(crate) use sign_ins::SignIns;
use unauthenticated::unauthenticated_submission;

/// What somebody signs in with: a link's token, or an address and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInRequest {
    /// The last segment of a sign-in link.
    #[schema(value_type = Option<String>)]
    sign_in_token: Option<PresentedToken>,
    email: Option<String>,
    #[schema(value_type = Option<String>)]
    password: Option<Password>,
    /// Needed where the password fits in several organizations, and where more than eight have a
    /// member with this address.
    organization_id: Option<String>,
}

/// A new session; its token is in the cookie alone.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedInRecord {
    session: SessionRecord,
    member: MemberRecord,
}

/// Begins a session and sets its cookie.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", security(()),
    request_body = SignInRequest,
    responses((status = 201, body = SignedInRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    State(sign_ins): State<Arc<SignIns>>,
    context: Context,
    request: Request,
) -> Result<Response, Problem> {
    cookie::check_same_site(context.headers(), &app.settings.public_url)?;
    let command = match body::secret_json(request, &context).await?.value {
        SignInRequest {
            sign_in_token: Some(token),
            email: None,
            password: None,
            organization_id: None,
        } => by_link(&app, &sign_ins.attempts, &context, &token)?,
        SignInRequest {
            sign_in_token: None,
            email: Some(email),
            password: Some(password),
            organization_id,
        } => {
            let organization = organization_id.as_deref().map(str::parse).transpose();
            let typed = Typed {
                email,
                password,
                organization: organization.map_err(|_no_id| no_organization())?,
            };
            by_password::sign_in(&app, &sign_ins, &context, typed).await?
        }
        SignInRequest { sign_in_token, .. } => return Err(neither(sign_in_token.is_some())),
    };
    begin(&app, &context, command).await
}

fn no_organization() -> Problem {
    let message = "must be an id of the form org_ and 26 characters";
    Problem::invalid_field("field_invalid", "organization_id", message)
}

/// 422 for a body that is neither form.
fn neither(has_token: bool) -> Problem {
    if has_token {
        let message = "must be sent alone, without email, password and organization_id";
        return Problem::invalid_field("field_invalid", "sign_in_token", message);
    }
    let message = "is missing: send sign_in_token, or email and password";
    Problem::invalid_field("field_missing", "sign_in_token", message)
}

fn by_link(
    app: &App,
    attempts: &Attempts,
    context: &Context,
    token: &PresentedToken,
) -> Result<SignIn, Problem> {
    let address = context.address(app);
    let admitted = attempts.admit(address, app.ledger.monotonic_ms());
    admitted.map_err(Problem::too_many_attempts)?;
    let hash = token.hash().ok_or(Rejection::SignInRefused)?;
    let means = app
        .ledger
        .views()
        .sessions
        .sign_in_means_by_link(hash, app.ledger.now());
    let means = means.ok_or(Rejection::SignInRefused)?;
    attempts.take_back(address);
    Ok(SignIn {
        organization: means.organization,
        member: means.user,
        proof: SignInProof::Link(hash),
    })
}

async fn begin(app: &App, context: &Context, command: SignIn) -> Result<Response, Problem> {
    let submission =
        unauthenticated_submission(app, context, Actor::Anonymous, Command::SignIn(command));
    let answer = app.ledger.submit(submission).await?;
    let directory = &app.ledger.views().directory;
    let member = directory.member(command.organization, command.member);
    let (Some(Record::Session(session)), Some(token), Some(member)) =
        (answer.records.first(), &answer.sign_in, member)
    else {
        return Err(mismatch());
    };
    let body = SignedInRecord {
        session: SessionRecord::new(session, session.id, Some(session.stamp.created_at)),
        member: MemberRecord::from(&member),
    };
    let version = session.stamp.version;
    let mut response = written(StatusCode::CREATED, &answer, version, &body);
    set_cookie(&mut response, cookie::set(token, &app.settings.public_url));
    Ok(response)
}

fn set_cookie(response: &mut Response, value: HeaderValue) {
    response.headers_mut().insert(header::SET_COOKIE, value);
}
