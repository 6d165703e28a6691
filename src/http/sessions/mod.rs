//! `/v1/sessions`, `/v1/me` and the page of a sign-in link: how members come in person.
//!
//! Holds no rule. A password is compared here, before the command, since that takes long; what
//! takes that long is bounded in `passwords`, and slowed down for who guesses in `attempts`.

mod attempts;
pub(super) mod me;
pub(super) mod page;
mod passwords;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{mismatch, written};
use super::context::Context;
use super::problem::{Problem, ProblemBody};
use super::{App, body, cookie};
use crate::domain::command::{self, Actor, Command, SignIn, SignInFailure, SignInProof};
use crate::domain::decide::fold_case;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::rejection::Rejection;
use crate::domain::sign_in::{Password, PresentedToken};
use crate::ledger::{Record, Submission};
use crate::records::{MemberRecord, SessionRecord};
use attempts::{Network, Pair};

pub(super) use attempts::Attempts;
pub(super) use passwords::Passwords;

/// What somebody signs in with: a link's token, or an address and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SignInRequest {
    /// The last segment of a sign-in link.
    #[schema(value_type = Option<String>)]
    sign_in_token: Option<PresentedToken>,
    email: Option<String>,
    #[schema(value_type = Option<String>)]
    password: Option<Password>,
    /// Needed where the address belongs to members of several organizations.
    organization_id: Option<String>,
}

/// A new session; its token is in the cookie alone.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SignedInRecord {
    session: SessionRecord,
    member: MemberRecord,
}

/// An address and a password, as somebody typed them.
struct Typed {
    email: String,
    password: Password,
    organization: Option<OrganizationId>,
}

/// Begins a session and sets its cookie.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", security(()),
    request_body = SignInRequest,
    responses((status = 201, body = SignedInRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn create(
    State(app): State<App>,
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
        } => by_link(&app, &context, &token)?,
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
            by_password(&app, &context, typed).await?
        }
        SignInRequest { sign_in_token, .. } => return Err(neither(sign_in_token.is_some())),
    };
    begin(&app, &context, command).await
}

fn no_organization() -> Problem {
    let message = "is not an id of this form";
    Problem::invalid_field("field_invalid", "organization_id", message)
}

/// 422 for a body that is neither form.
fn neither(has_token: bool) -> Problem {
    if has_token {
        let message = "stands alone, without an address and a password";
        return Problem::invalid_field("field_invalid", "sign_in_token", message);
    }
    let message = "is missing: send sign_in_token, or email and password";
    Problem::invalid_field("field_missing", "sign_in_token", message)
}

fn by_link(app: &App, context: &Context, token: &PresentedToken) -> Result<SignIn, Problem> {
    let network = network(app, context);
    let admitted = app.attempts.admit(network, app.ledger.monotonic_ms());
    admitted.map_err(Problem::too_many_attempts)?;
    let hash = token.hash().ok_or(Rejection::SignInRefused)?;
    let means = app.ledger.views().sessions.of_link(hash, app.ledger.now());
    let means = means.ok_or(Rejection::SignInRefused)?;
    app.attempts.take_back(network);
    Ok(SignIn {
        organization: means.organization,
        member: means.user,
        proof: SignInProof::Link(hash),
    })
}

async fn by_password(app: &App, context: &Context, typed: Typed) -> Result<SignIn, Problem> {
    let Typed {
        email,
        password,
        organization,
    } = typed;
    let sessions = &app.ledger.views().sessions;
    let account = sessions.of_address(&email, organization);
    let checked = Checked {
        pair: Pair::new(&fold_case(&email), network(app, context)),
        account,
    };
    match compare(app, context, checked, password).await? {
        (Some((organization, member)), Some(proof)) => Ok(SignIn {
            organization,
            member,
            proof,
        }),
        (_, _) => Err(Rejection::SignInRefused.into()),
    }
}

/// A password's account, and what waits if it is wrong.
struct Checked {
    pair: Pair,
    account: Option<(OrganizationId, UserId)>,
}

type Compared = (Option<(OrganizationId, UserId)>, Option<SignInProof>);

/// Compares a password with its account's. An account that is not there, or has none, takes as long
/// and is answered alike.
async fn compare(
    app: &App,
    context: &Context,
    Checked { pair, account }: Checked,
    password: Password,
) -> Result<Compared, Problem> {
    let (network, now_ms) = (network(app, context), app.ledger.monotonic_ms());
    let admitted = app.attempts.admit(network, now_ms);
    admitted.map_err(Problem::too_many_attempts)?;
    if let Err(wait) = app.attempts.begin(pair, now_ms) {
        // Nothing was compared, so nothing has failed.
        app.attempts.take_back(network);
        return Err(Problem::too_many_attempts(wait));
    }
    let means = account.and_then(|(_, member)| app.ledger.views().sessions.means(member));
    let known = means.as_ref().and_then(|means| means.password.as_ref());
    let stored = known.and_then(|known| known.hash.text().map(str::to_owned));
    let right = match password.is_presentable() {
        true => app.passwords.is_behind(password, stored).await,
        false => Ok(false),
    };
    let right = right.inspect_err(|_busy| {
        // Nothing was compared here either.
        app.attempts.undo(pair);
        app.attempts.take_back(network);
    })?;
    let Some(known) = known.filter(|_| right) else {
        let now_ms = app.ledger.monotonic_ms();
        if let Some(failures) = app.attempts.failed(pair, now_ms) {
            note(app, context, account, failures);
        }
        return Ok((account, None));
    };
    app.attempts.succeeded(pair);
    app.attempts.take_back(network);
    Ok((account, Some(SignInProof::Password(known.set_by))))
}

/// Notes failures of an account that is there. Nobody waits for it: an answer that came later for
/// it would tell that the account is there.
fn note(app: &App, context: &Context, account: Option<(OrganizationId, UserId)>, failures: u32) {
    let Some((organization, member)) = account else {
        return;
    };
    let command = Command::NoteSignInFailure(SignInFailure {
        organization,
        member,
        failures,
    });
    if let Err(why) = app
        .ledger
        .submit_unattended(by_nobody(app, context, command))
    {
        tracing::warn!(%why, "a failure to sign in could not be noted");
    }
}

fn by_nobody(app: &App, context: &Context, command: Command) -> Submission {
    Submission {
        request: command::Request {
            actor: Actor::Nobody,
            command,
            if_match: None,
        },
        request_id: Some(context.request_id.as_str().to_owned()),
        network: context.network(app),
        idempotency: None,
        client_of: None,
    }
}

fn network(app: &App, context: &Context) -> Network {
    Network::of(context.address(app))
}

async fn begin(app: &App, context: &Context, command: SignIn) -> Result<Response, Problem> {
    let submission = by_nobody(app, context, Command::SignIn(command));
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
