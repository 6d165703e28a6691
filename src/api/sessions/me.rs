//! `/v1/me`: who calls; a member in person, the member's sessions and password.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::ledger::moment::in_turn;
use crate::api::sessions::by_password;
use crate::api::sessions::by_password::Account;
use crate::api::sessions::passwords::HashClient;
use crate::api::sessions::set_cookie;
use crate::api::sessions::sign_ins::SignIns;
use crate::domain::command::{Command, SetPassword, SignOut};
use crate::domain::ids::{EventId, SessionId, Subject};
use crate::domain::personal::Personal;
use crate::domain::rejection::Rejection;
use crate::domain::session::Session;
use crate::domain::sign_in::Password;
use crate::ledger::turns::Turn;
use crate::ledger::{Ledger, Record};
use crate::records::{KeyRecord, MemberRecord, OrganizationRecord, SessionRecord, Use};
use crate::web::answer::{mismatch, shown, written};
use crate::web::body;
use crate::web::call::Call;
use crate::web::cookie;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// Who calls.
#[derive(Serialize, ToSchema)]
pub(crate) struct MeRecord {
    /// The member, in a session or by a personal token with `*`; else null.
    member: Option<MemberRecord>,
    /// Null for a credential that is bound to a project.
    organization: Option<OrganizationRecord>,
    /// The session; null where a credential was presented.
    session: Option<SessionRecord>,
    /// The credential that was presented; null in a session.
    key: Option<KeyRecord>,
    /// Of a session: whether there is a password to sign in with.
    has_password: Option<bool>,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordPut {
    /// At least 8 characters, at most 1,024 bytes.
    #[schema(value_type = String)]
    password: Password,
    /// Needed unless a sign-in link began this session within 10 minutes.
    #[schema(value_type = Option<String>)]
    current_password: Option<Password>,
}

/// Shows who calls: whose session it is, or the credential that was presented, with its expiry.
#[utoipa::path(get, path = "/v1/me", tag = "me",
    responses((status = 200, body = MeRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(call: Call) -> Result<Response, Problem> {
    call.context.wait(&call.app).await?;
    match call.caller.session.clone() {
        Some(session) => show_session(&call, &session),
        None => show_credential(&call),
    }
}

/// Every holder may see its own credential, whatever its scopes are. Whose personal token it is
/// says only one that stands for its member in everything.
fn show_credential(call: &Call) -> Result<Response, Problem> {
    let authority = &call.caller.authority;
    let of = call.home()?;
    let key = authority.via_credential().ok_or_else(mismatch)?;
    let key = call.views().credentials.get(of, key).ok_or_else(mismatch)?;
    let directory = &call.views().directory;
    let organization = match authority.project {
        Some(_) => None,
        None => directory.organization(of),
    };
    let member = authority.member().filter(|_| authority.everything);
    let member = member.and_then(|id| directory.member(of, id));
    let used = Use::of(call.app.usage.as_ref(), &key);
    let me = MeRecord {
        member: member.as_ref().map(MemberRecord::from),
        organization: organization.as_ref().map(OrganizationRecord::from),
        session: None,
        key: Some(KeyRecord::new(call.views(), (&key, &used), call.now())),
        has_password: None,
    };
    Ok(shown(key.stamp().version, &me))
}

fn show_session(call: &Call, session: &Session) -> Result<Response, Problem> {
    let directory = &call.views().directory;
    let member = directory.member(session.organization, session.user);
    let organization = directory.organization(session.organization);
    let (Some(member), Some(organization)) = (member, organization) else {
        return Err(mismatch());
    };
    let means = call.views().sessions.sign_in_means_of_member(session.user);
    let me = MeRecord {
        member: Some(MemberRecord::from(&member)),
        organization: Some(OrganizationRecord::from(&organization)),
        session: Some(SessionRecord::new(session, session.id, Some(call.now()))),
        key: None,
        has_password: Some(means.is_some_and(|means| means.password.is_some())),
    };
    Ok(shown(member.stamp.version, &me))
}

/// Lists the member's own sessions that are in use, newest first.
#[utoipa::path(get, path = "/v1/me/sessions", tag = "me", security(("session" = [])),
    responses((status = 200, body = Vec<SessionRecord>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(call: Call) -> Result<Response, Problem> {
    let own = call.session()?;
    call.context.wait(&call.app).await?;
    let seen = call
        .views()
        .sessions
        .live_sessions_of_member(own.user, call.now());
    let records = seen
        .iter()
        .map(|seen| SessionRecord::new(&seen.session, own.id, Some(seen.last_seen_at)));
    let records: Vec<_> = records.collect();
    let mut response = Json(records).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

/// Signs out: ends this session and takes its cookie away.
#[utoipa::path(delete, path = "/v1/me/sessions", tag = "me", security(("session" = [])),
    responses((status = 200, body = SessionRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn sign_out(call: Call) -> Result<Response, Problem> {
    let session = call.session()?.id;
    end(&call, session).await
}

/// Ends one of the member's own sessions.
#[utoipa::path(delete, path = "/v1/me/sessions/{session_id}", tag = "me",
    security(("session" = [])), params(("session_id" = String, Path)),
    responses((status = 200, body = SessionRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn end_one(
    call: Call,
    Path(session): Path<SessionId>,
) -> Result<Response, Problem> {
    call.session()?;
    end(&call, session).await
}

async fn end(call: &Call, id: SessionId) -> Result<Response, Problem> {
    let own = call.session()?;
    let command = Command::SignOut(SignOut {
        organization: own.organization,
        session: id,
    });
    let answer = match call.submit(command, None).await {
        Ok(answer) => answer,
        // What has ended is no longer in the state; repeated, the answer is the same.
        Err(refused) => match ended_before(call, id).await? {
            Some(session) => {
                let record = SessionRecord::new(&session, own.id, None);
                return Ok(shown(session.stamp.version, &record));
            }
            None => return Err(refused),
        },
    };
    let Some(Record::Session(session)) = answer.records.first() else {
        return Err(mismatch());
    };
    let record = SessionRecord::new(session, own.id, None);
    let mut response = written(StatusCode::OK, &answer, session.stamp.version, &record);
    if session.id == own.id {
        set_cookie(&mut response, cookie::clear(&call.app.settings.public_url));
    }
    Ok(response)
}

/// A session of the member that has ended, as the log tells.
async fn ended_before(call: &Call, id: SessionId) -> Result<Option<Arc<Session>>, Problem> {
    let member = call.session()?.user;
    let read = move |ledger: &Ledger, turn: &mut Turn| ledger.newest_of(Subject::Session(id), turn);
    let Record::Session(session) = in_turn(call, read).await?? else {
        return Ok(None);
    };
    let own = session.user == member && session.ended.is_some();
    Ok(own.then_some(session))
}

/// Sets the member's password. All the member's sessions end, this one too.
#[utoipa::path(put, path = "/v1/me/password", tag = "me", security(("session" = [])),
    request_body = PasswordPut,
    responses((status = 200, body = MemberRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn set_password(
    State(sign_ins): State<Arc<SignIns>>,
    call: Call,
    request: Request,
) -> Result<Response, Problem> {
    let session = Arc::clone(call.session()?);
    let PasswordPut {
        password,
        current_password,
    } = body::secret_json(request, &call.context).await?.value;
    password.check()?;
    let current = match current_password {
        Some(current) => Some(known(&call, &sign_ins, &session, current).await?),
        None if session.is_of_recent_link(call.now()) => None,
        None => return Err(Rejection::PasswordProofNeeded.into()),
    };
    let salt = call.app.random_bytes();
    let client = HashClient {
        address: call.context.address(&call.app),
        organization: Some(session.organization),
    };
    let hash = sign_ins.passwords.hash(client, password, salt).await?;
    let command = Command::SetPassword(SetPassword {
        organization: session.organization,
        password: Personal::new(hash),
        current,
    });
    let answer = call.submit(command, None).await?;
    let Some(Record::Member(member)) = answer.records.first() else {
        return Err(mismatch());
    };
    let record = MemberRecord::from(member);
    let mut response = written(StatusCode::OK, &answer, member.stamp.version, &record);
    set_cookie(&mut response, cookie::clear(&call.app.settings.public_url));
    Ok(response)
}

/// The event that set the password which the member has shown to know.
async fn known(
    call: &Call,
    sign_ins: &SignIns,
    session: &Session,
    current: Password,
) -> Result<EventId, Problem> {
    let account = Account {
        name: session.user.to_string(),
        organization: Some(session.organization),
        members: vec![(session.organization, session.user)],
    };
    let fitting =
        by_password::compare(&call.app, sign_ins, &call.context, &account, current).await?;
    let own = fitting.first().map(|own| own.set_by);
    own.ok_or_else(|| {
        let detail = "the current password is incorrect";
        Problem::new(StatusCode::FORBIDDEN, "password_wrong", detail)
    })
}
