//! `POST /v1/usage`: calls that a gateway has seen and this server has not, one JSON object a line.
//!
//! All lines are taken or none; the answer comes when they are on disk. A report says when a
//! credential was used elsewhere; it never counts as a use seen here. Its lines are worked through
//! in its organization's turns, off the threads that verify, and one that is refused costs as much
//! of the organization's quota as one that is taken.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::usage::{ReportQuotas, outcome_named};
use crate::domain::access::{Access, Action};
use crate::domain::blot::without_secrets;
use crate::domain::ids::{CredentialId, InvalidId, OrganizationId, SecretId, UserId};
use crate::domain::record::Credential;
use crate::domain::time::{DAY_MS, Timestamp};
use crate::ledger::turns::{NoTurn, Turn};
use crate::usage::{self, UsageError, VerificationCode};
use crate::web::body;
use crate::web::call::Call;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::record_usage::path_of;

/// Most lines of one report.
const LINES_MAX: usize = 10_000;
/// Longest report: 10,000 lines of 800 bytes.
const REPORT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest line, with texts of which every byte is escaped: what is parsed in one step.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// How far back a reported call may lie.
const PAST_MS_MAX: i64 = DAY_MS;
/// How far a reporter's clock may be ahead.
const FUTURE_MS_MAX: i64 = 60_000;
/// Longest texts of a line, in bytes.
const ENDPOINT_BYTES_MAX: usize = 2_048;
const METHOD_BYTES_MAX: usize = 32;
const REQUEST_ID_BYTES_MAX: usize = 128;
const USER_AGENT_BYTES_MAX: usize = 512;
/// The longest time that a call takes: a day.
const DURATION_MS_MAX: f64 = 86_400_000.0;
/// What HTTP answers with.
const STATUS_CODES: std::ops::RangeInclusive<u16> = 100..=599;
const NDJSON: &str = "application/x-ndjson";

/// A call that was made with a credential elsewhere.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportedCall {
    /// Of the reporter's own organization.
    key_id: String,
    /// A path; a query is cut off.
    endpoint: String,
    method: String,
    /// 100 to 599.
    status_code: u16,
    duration_ms: f64,
    request_id: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    /// RFC 3339, at most 24 hours past and 60 seconds ahead; now unless given.
    created_at: Option<String>,
    /// One of the credential's own.
    secret_id: Option<String>,
    /// `valid` unless given.
    outcome: Option<String>,
}

/// What became of a report.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reported {
    /// How many calls are on disk now.
    recorded: usize,
}

/// Records calls that were made with credentials elsewhere: NDJSON, at most 10,000 lines, all of
/// them or none.
#[utoipa::path(post, path = "/v1/usage", tag = "usage",
    request_body(content = ReportedCall, content_type = "application/x-ndjson"),
    responses((status = 201, body = Reported), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn report(
    State(quotas): State<Arc<ReportQuotas>>,
    call: Call,
    request: Request,
) -> Result<Response, Problem> {
    let charge = |tenant, bytes| {
        let taken = quotas.take(tenant, bytes, call.app.ledger.monotonic_ms());
        taken.map_err(Problem::too_many_reports)
    };
    let access = call.may_at_home(Action::ReportUsage)?;
    let tenant = access.authority().organization;
    charge(tenant, 0)?;
    let bytes = body::lines(request, &call.context, (NDJSON, REPORT_BYTES_MAX)).await?;
    charge(tenant, bytes.len())?;
    let Some(stream) = call.app.usage.clone() else {
        return Err(Problem::unavailable(
            "usage_off",
            "this server does not record usage",
        ));
    };
    let turns = call.app.ledger.turns().clone();
    let checked = turns.run(tenant, move |turn| checked(&call, &access, &bytes, turn));
    let report = checked.await.map_err(no_turn)??;
    let recorded = report.call_count();
    stream.record_report(report).await?;
    let mut response = (StatusCode::CREATED, axum::Json(Reported { recorded })).into_response();
    let no_store = axum::http::HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

fn no_turn(why: NoTurn) -> Problem {
    match why {
        NoTurn::Busy => UsageError::TooManyPending.into(),
        NoTurn::Panicked(why) => Problem::internal("the reading of a report panicked", &why),
    }
}

/// The lines of a report, ready to be recorded; the first that is wrong is named by its number,
/// from 0. One that cannot be parsed goes before one that says something wrong.
fn checked(
    call: &Call,
    access: &Access,
    bytes: &[u8],
    turn: &mut Turn,
) -> Result<usage::CallReport, Problem> {
    let known = BTreeMap::new();
    let mut keys = Keys {
        call,
        access,
        known,
    };
    let mut report = usage::CallReport::default();
    let (mut index, mut wrong) = (0, None);
    for line in bytes.split(|byte| *byte == b'\n') {
        turn.go_on()
            .map_err(|_interrupted| UsageError::TooManyPending)?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line = parsed(line, index)?;
        if wrong.is_none() {
            match keys.report(&line) {
                Ok(line) => report.add_call(&line.call()),
                Err(refused) => wrong = Some((index, refused)),
            }
        }
        index += 1;
    }
    match wrong {
        None => Ok(report),
        Some((index, (field, code, message))) => {
            let field = format!("[{index}].{field}");
            Err(Problem::invalid_field(code, field, message))
        }
    }
}

/// One line of a report.
fn parsed(line: &[u8], index: usize) -> Result<ReportedCall, Problem> {
    let too_long =
        |field: String, message| Problem::invalid_field("field_too_long", field, message);
    if index == LINES_MAX {
        let message = format!("must have at most {LINES_MAX} lines");
        return Err(too_long("body".to_owned(), message));
    }
    let item = format!("[{index}]");
    if line.len() > LINE_BYTES_MAX {
        let message = format!("must have at most {LINE_BYTES_MAX} bytes");
        return Err(too_long(item, message));
    }
    body::parse_item(line, &item)
}

/// A line that is right, with what it refers to.
struct Report<'a> {
    line: &'a ReportedCall,
    reporter: CredentialId,
    organization: OrganizationId,
    person: Option<UserId>,
    credential: CredentialId,
    secret: Option<SecretId>,
    at: Timestamp,
    outcome: VerificationCode,
    ip: Option<IpAddr>,
    endpoint: Cow<'a, str>,
    method: Cow<'a, str>,
    request_id: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
}

impl Report<'_> {
    fn call(&self) -> usage::CredentialCall<'_> {
        usage::CredentialCall {
            organization: self.organization,
            person: self.person,
            credential: self.credential,
            secret: self.secret,
            at: self.at,
            outcome: self.outcome,
            status: self.line.status_code,
            duration_us: micros(self.line.duration_ms),
            endpoint: &self.endpoint,
            method: &self.method,
            request_id: self.request_id.as_deref(),
            ip: self.ip,
            user_agent: self.user_agent.as_deref(),
            reporter: Some(self.reporter),
            scopes: &[],
        }
    }
}

/// What is wrong with a line: field, code, message.
type Refused = (&'static str, &'static str, String);

/// The credentials that a report names, each looked up once.
struct Keys<'a> {
    call: &'a Call,
    access: &'a Access,
    known: BTreeMap<CredentialId, Option<Arc<Credential>>>,
}

impl Keys<'_> {
    /// A credential that the caller reports for: of its organization, and of its project where it
    /// is bound to one.
    fn find(&mut self, id: CredentialId) -> Option<Arc<Credential>> {
        let authority = self.access.authority();
        let (call, organization) = (self.call, authority.organization?);
        let found = self.known.entry(id).or_insert_with(|| {
            let found = call.views().credentials.get(organization, id)?;
            authority.reaches(found.project()).then_some(found)
        });
        found.clone()
    }

    /// A line as it is recorded.
    fn report<'l>(&mut self, line: &'l ReportedCall) -> Result<Report<'l>, Refused> {
        check_lengths(line)?;
        let no_id = |field| move |why: InvalidId| (field, "field_invalid", why.to_string());
        let key = line.key_id.parse().map_err(no_id("key_id"))?;
        let credential = self.find(key).ok_or_else(|| {
            let message = "must be the id of a credential of your organization".to_owned();
            ("key_id", "unknown_key", message)
        })?;
        let secret = line.secret_id.as_deref().map(str::parse).transpose();
        let secret: Option<SecretId> = secret.map_err(no_id("secret_id"))?;
        if let Some(id) = secret
            && !credential.secrets().any(|secret| secret.id == id)
        {
            let message = "must be the id of a secret of this credential".to_owned();
            return Err(("secret_id", "unknown_secret", message));
        }
        let ip = line.ip_address.as_deref().map(str::parse).transpose();
        let ip = ip.map_err(|_no_address| {
            (
                "ip_address",
                "field_invalid",
                "must be an IPv4 or IPv6 address".to_owned(),
            )
        })?;
        let outcome = line.outcome.as_deref().map(outcome_named).transpose();
        let outcome = outcome.map_err(|_unknown| {
            (
                "outcome",
                "field_invalid",
                body::one_of(VerificationCode::ALL.map(|known| known.wire_name())),
            )
        })?;
        let clean = |text: &'l Option<String>| text.as_deref().map(without_secrets);
        Ok(Report {
            line,
            reporter: self.reporter()?,
            organization: credential.organization(),
            person: credential.owner().person(),
            credential: key,
            secret,
            at: instant(line.created_at.as_deref(), self.call.now())?,
            outcome: outcome.unwrap_or(VerificationCode::Valid),
            ip,
            endpoint: without_secrets(path_of(&line.endpoint)),
            method: without_secrets(&line.method),
            request_id: clean(&line.request_id),
            user_agent: clean(&line.user_agent),
        })
    }

    /// A report names the credential that it came by; a member in person has none.
    fn reporter(&self) -> Result<CredentialId, Refused> {
        let via = self.access.authority().via_credential();
        via.ok_or_else(|| {
            let message = "calls are reported with a credential, not in a session".to_owned();
            ("key_id", "credential_required", message)
        })
    }
}

fn check_lengths(line: &ReportedCall) -> Result<(), Refused> {
    let texts = [
        ("endpoint", Some(&line.endpoint), ENDPOINT_BYTES_MAX),
        ("method", Some(&line.method), METHOD_BYTES_MAX),
        ("request_id", line.request_id.as_ref(), REQUEST_ID_BYTES_MAX),
        ("user_agent", line.user_agent.as_ref(), USER_AGENT_BYTES_MAX),
    ];
    for (field, text, max) in texts {
        if text.is_some_and(|text| text.len() > max) {
            let message = format!("must have at most {max} bytes");
            return Err((field, "field_too_long", message));
        }
    }
    if !STATUS_CODES.contains(&line.status_code) {
        let message = "must be a whole number from 100 to 599".to_owned();
        return Err(("status_code", "field_invalid", message));
    }
    if !(0.0..=DURATION_MS_MAX).contains(&line.duration_ms) {
        let message = "must be a number from 0 to 86400000".to_owned();
        return Err(("duration_ms", "field_invalid", message));
    }
    Ok(())
}

fn instant(text: Option<&str>, now: Timestamp) -> Result<Timestamp, Refused> {
    let Some(text) = text else { return Ok(now) };
    let refused = |message: String| ("created_at", "field_invalid", message);
    let at = Timestamp::parse(text).map_err(|why| refused(why.to_string()))?;
    if at < now.plus_ms(-PAST_MS_MAX) || at > now.plus_ms(FUTURE_MS_MAX) {
        return Err(refused(
            "must be at most 24 hours ago and at most 60 seconds ahead".to_owned(),
        ));
    }
    Ok(at)
}

/// Whole microseconds of a checked number of milliseconds.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be between 0 and a day; what is longer than 71 minutes is cut to that"
)]
fn micros(ms: f64) -> u32 {
    (ms * 1_000.0).round() as u32
}
