//! The usage of a credential, as clients see it: its last calls, and counts for charts.
//!
//! Owns the forms of these answers and what records of credentials tell of their use. Decides
//! nothing: who may read a credential may read its usage. Data flows from the usage stream to the
//! answer; what is recorded comes in by `used`, `verify` and [`report`].

mod quota;
pub(crate) mod report;

pub(crate) use quota::ReportQuotas;

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::ledger::moment::in_turn;
use crate::domain::ids::Owner;
use crate::domain::record::Credential;
use crate::domain::time::{DAY_MS, Timestamp};
use crate::ledger::SubmitError;
use crate::usage::{
    BucketSize, BucketSummary, CallsQuery, CollapsedCalls, RecordingGap, StoredCall, UsageError,
    UsageHistory, UsageSummaryQuery, VerificationCode,
};
use crate::web::body::one_of;
use crate::web::call::Call;
use crate::web::lists::{Query, array, number, opened};
use crate::web::problem::Problem;

/// Most calls of one answer.
const CALLS_MAX: usize = 1_000;
/// As many as there are unless it is said how many.
const CALLS_USUAL: usize = 200;
/// The longest time that one summary covers by the hour: 31 days are 744 buckets.
const HOURS_SPAN_MS_MAX: i64 = 31 * DAY_MS;
/// The same by the day: longer than anything is kept.
const DAYS_SPAN_MS_MAX: i64 = 400 * DAY_MS;
/// What a summary covers unless it is said, by the hour and by the day.
const HOURS_SPAN_MS_USUAL: i64 = DAY_MS;
const DAYS_SPAN_MS_USUAL: i64 = 30 * DAY_MS;

/// One call made with a credential.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageRecord {
    id: String,
    key_id: String,
    /// A path without its query; empty where nobody said.
    endpoint: String,
    /// Empty where nobody said.
    method: String,
    /// What was answered: 401 and 403 of a verification stand for a refusal.
    status_code: u16,
    /// Of a verification, how long that took.
    duration_ms: f64,
    request_id: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    created_at: String,
    /// The code of the verification, `valid` where it was accepted.
    outcome: &'static str,
    secret_id: Option<String>,
    /// Told by a gateway afterwards, not seen by this server.
    reported: bool,
    /// The credential of the gateway that told it.
    reported_by: Option<String>,
}

/// Which calls are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsagePages {
    /// At most 1,000; 200 unless given.
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    /// From the link to the next page.
    cursor: Option<String>,
    /// RFC 3339; calls of that instant and later.
    from: Option<String>,
    /// RFC 3339; calls before that instant.
    to: Option<String>,
    /// Such as `valid` or `revoked`.
    outcome: Option<String>,
}

/// Which buckets are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SummaryPages {
    /// `hour`, unless it is `day`.
    bucket: Option<String>,
    /// RFC 3339; a day before `to` by the hour, 30 days before it by the day, unless given.
    from: Option<String>,
    /// RFC 3339; now unless given.
    to: Option<String>,
}

/// How a credential was used over time.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageSummary {
    key_id: String,
    bucket: &'static str,
    from: String,
    to: String,
    /// Since when use is recorded at all; null where it is not.
    tracked_since: Option<String>,
    last_used_at: Option<String>,
    last_reported_at: Option<String>,
    /// Of all time; a lower bound where there are gaps.
    calls: CallCounts,
    /// Intervals in which calls may be missing, since the server did not stop in order.
    gaps: Vec<GapRecord>,
    /// Calls that were counted and whose detail was not kept, by intervals: refused ones beyond the
    /// credential's share, and what came faster than it could be written. Of all time.
    collapsed: Vec<CollapsedRecord>,
    /// Those in which there was a call, oldest first.
    buckets: Vec<BucketRecord>,
}

#[derive(Default, Serialize, ToSchema)]
struct CallCounts {
    accepted: u64,
    denied: u64,
    reported: u64,
}

#[derive(Serialize, ToSchema)]
struct GapRecord {
    from: String,
    to: String,
}

/// Calls between two instants whose detail was not kept.
#[derive(Serialize, ToSchema)]
struct CollapsedRecord {
    outcome: &'static str,
    secret_id: Option<String>,
    reported: bool,
    calls: u64,
    from: String,
    to: String,
}

#[derive(Serialize, ToSchema)]
struct BucketRecord {
    start: String,
    calls: u64,
    outcomes: Vec<Counted>,
    endpoints: Vec<Counted>,
    addresses: Vec<Counted>,
    /// Calls of the bucket that were counted and whose detail was not kept.
    detail_shed: u64,
}

/// A value and how often it stood in a call.
#[derive(Serialize, ToSchema)]
struct Counted {
    value: String,
    calls: u64,
}

/// The last calls of a credential that the caller may read.
pub(crate) async fn calls(
    call: &Call,
    key: &Credential,
    query: &Query<UsagePages>,
) -> Result<Response, Problem> {
    let pages = query.read()?;
    let mut ask = pages.ask()?;
    let id = key.id();
    let usage = call.app.usage.clone();
    let restores = call.app.ledger.restores().len();
    if let Some(text) = &pages.cursor {
        let cursor = usage.as_ref();
        let cursor = cursor.and_then(|usage| usage.decode_cursor(id, restores, text));
        ask.before = Some(opened(&call.app, text, cursor)?);
    }
    let Some(usage) = usage else {
        return Ok(array::<()>(&query.uri, &[], None));
    };
    let cursors = usage.clone();
    let page = off_thread(call, usage, move |usage| usage.last_calls(id, &ask)).await?;
    let mut records: Vec<UsageRecord> = page.calls.into_iter().map(UsageRecord::from).collect();
    // Looked at after the reading: who is erased meanwhile is not shown either.
    if is_of_erased(call, key) {
        for record in &mut records {
            record.endpoint.clear();
            record.method.clear();
            record.request_id = None;
            record.ip_address = None;
            record.user_agent = None;
        }
    }
    let next = page.next;
    let next = next.map(|cursor| cursors.encode_cursor(id, restores, cursor));
    Ok(array(&query.uri, &records, next.as_deref()))
}

/// The summary of a credential that the caller may read.
pub(crate) async fn summary(
    call: &Call,
    key: &Credential,
    query: &Query<SummaryPages>,
) -> Result<Response, Problem> {
    let (name, ask) = query.read()?.ask(call.now())?;
    let (from, to) = (ask.from, ask.to);
    let mut summary = UsageSummary {
        key_id: key.id().to_string(),
        bucket: name,
        from: from.to_string(),
        to: to.to_string(),
        tracked_since: None,
        last_used_at: None,
        last_reported_at: None,
        calls: CallCounts::default(),
        gaps: Vec::new(),
        collapsed: Vec::new(),
        buckets: Vec::new(),
    };
    let Some(usage) = call.app.usage.clone() else {
        return Ok(shown_now(&summary));
    };
    let id = key.id();
    let buckets = off_thread(call, usage.clone(), move |usage| {
        usage.usage_summary(id, &ask)
    })
    .await?;
    // After the reading, which has settled what was recorded before.
    let known = usage.usage_of(id);
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    summary.tracked_since = Some(usage.tracked_since().to_string());
    summary.last_used_at = text(known.last_used_at);
    summary.last_reported_at = text(known.last_reported_at);
    summary.calls = CallCounts {
        accepted: known.accepted,
        denied: known.denied,
        reported: known.reported,
    };
    let gaps = usage.gaps().iter().copied();
    let gaps = gaps.filter(|gap| gap.from < to && gap.to >= from);
    summary.gaps = gaps.map(GapRecord::from).collect();
    let collapsed = usage.collapsed_calls(id).into_iter();
    summary.collapsed = collapsed.map(CollapsedRecord::from).collect();
    summary.buckets = buckets.into_iter().map(BucketRecord::from).collect();
    if is_of_erased(call, key) {
        for bucket in &mut summary.buckets {
            bucket.endpoints.clear();
            bucket.addresses.clear();
        }
    }
    Ok(shown_now(&summary))
}

/// Whether the calls were made for a person who has been erased: what they say of the person is
/// sealed in the files, but may have been opened, or counted in memory, before the erasure.
fn is_of_erased(call: &Call, key: &Credential) -> bool {
    let member = match key.owner() {
        Owner::User(id) => call.views().directory.member(key.organization(), id),
        Owner::Organization(_) | Owner::ServiceAccount(_) => None,
    };
    member.is_some_and(|member| member.erased_at.is_some())
}

/// An answer that nobody keeps.
fn shown_now(body: &UsageSummary) -> Response {
    let mut response = Json(body).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

/// Reads of files are off the async threads, in the turn of the caller's organization.
async fn off_thread<T: Send + 'static>(
    call: &Call,
    usage: UsageHistory,
    read: impl FnOnce(&UsageHistory) -> Result<T, UsageError> + Send + 'static,
) -> Result<T, Problem> {
    Ok(in_turn(call, move |_ledger, _turn| read(&usage)).await??)
}

impl UsagePages {
    fn ask(&self) -> Result<CallsQuery, Problem> {
        let limit = match self.limit {
            None => CALLS_USUAL,
            Some(limit @ 1..=CALLS_MAX) => limit,
            Some(_) => {
                let message = format!("must be a whole number from 1 to {CALLS_MAX}");
                return Err(Problem::invalid_query("limit", message));
            }
        };
        let outcome = self.outcome.as_deref().map(outcome_named).transpose()?;
        Ok(CallsQuery {
            limit,
            before: None,
            from: instant("from", self.from.as_deref())?,
            to: instant("to", self.to.as_deref())?,
            outcome,
        })
    }
}

impl SummaryPages {
    fn ask(&self, now: Timestamp) -> Result<(&'static str, UsageSummaryQuery), Problem> {
        let (name, bucket, usual, max) = match self.bucket.as_deref().unwrap_or("hour") {
            "hour" => (
                "hour",
                BucketSize::Hour,
                HOURS_SPAN_MS_USUAL,
                HOURS_SPAN_MS_MAX,
            ),
            "day" => ("day", BucketSize::Day, DAYS_SPAN_MS_USUAL, DAYS_SPAN_MS_MAX),
            _ => {
                return Err(Problem::invalid_query(
                    "bucket",
                    "must be one of: hour, day",
                ));
            }
        };
        let to = instant("to", self.to.as_deref())?.unwrap_or_else(|| now.plus_ms(1));
        let from = instant("from", self.from.as_deref())?;
        let from = from.unwrap_or_else(|| to.plus_ms(-usual));
        let span = to.0.saturating_sub(from.0);
        if !(0..=max).contains(&span) {
            let message = format!("must lie at most {} days before to", max / DAY_MS);
            return Err(Problem::invalid_query("from", message));
        }
        Ok((name, UsageSummaryQuery { bucket, from, to }))
    }
}

fn instant(name: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let instant = text.map(Timestamp::parse).transpose();
    instant.map_err(|why| Problem::invalid_query(name, why.to_string()))
}

fn outcome_named(name: &str) -> Result<VerificationCode, Problem> {
    let mut all = VerificationCode::ALL.into_iter();
    all.find(|outcome| outcome.wire_name() == name)
        .ok_or_else(|| {
            let names: Vec<_> = VerificationCode::ALL
                .iter()
                .map(|known| known.wire_name())
                .collect();
            Problem::invalid_query("outcome", one_of(names))
        })
}

impl From<StoredCall> for UsageRecord {
    fn from(call: StoredCall) -> Self {
        Self {
            id: call.id.to_string(),
            key_id: call.credential.to_string(),
            endpoint: call.endpoint,
            method: call.method,
            status_code: call.status,
            duration_ms: f64::from(call.duration_us) / 1_000.0,
            request_id: call.request_id,
            ip_address: call.ip.map(|ip| ip.to_string()),
            user_agent: call.user_agent,
            created_at: call.at.to_string(),
            outcome: call.outcome.wire_name(),
            secret_id: call.secret.map(|id| id.to_string()),
            reported: call.reporter.is_some(),
            reported_by: call.reporter.map(|id| id.to_string()),
        }
    }
}

impl From<RecordingGap> for GapRecord {
    fn from(gap: RecordingGap) -> Self {
        Self {
            from: gap.from.to_string(),
            to: gap.to.to_string(),
        }
    }
}

impl From<CollapsedCalls> for CollapsedRecord {
    fn from(calls: CollapsedCalls) -> Self {
        Self {
            outcome: calls.outcome.wire_name(),
            secret_id: calls.secret.map(|id| id.to_string()),
            reported: calls.reported,
            calls: calls.calls,
            from: calls.first_at.to_string(),
            to: calls.last_at.to_string(),
        }
    }
}

impl From<BucketSummary> for BucketRecord {
    fn from(bucket: BucketSummary) -> Self {
        let counted = |(value, calls)| Counted { value, calls };
        let outcomes = bucket.outcomes.into_iter();
        Self {
            start: bucket.start.to_string(),
            calls: bucket.calls,
            outcomes: outcomes
                .map(|(outcome, calls)| counted((outcome.wire_name().to_owned(), calls)))
                .collect(),
            endpoints: bucket.endpoints.into_iter().map(counted).collect(),
            addresses: bucket.addresses.into_iter().map(counted).collect(),
            detail_shed: bucket.detail_shed,
        }
    }
}

impl From<UsageError> for Problem {
    fn from(why: UsageError) -> Self {
        match why {
            UsageError::TooManyPending => Self::unavailable(
                "usage_busy",
                "as many calls as may wait to be recorded are waiting already",
            ),
            UsageError::DiskFull => SubmitError::DiskFull.into(),
            why => Self::internal("the usage history cannot be read or written", &why),
        }
    }
}
