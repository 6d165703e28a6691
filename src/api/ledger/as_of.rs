//! `/v1/ledger/state`, `/diff`, `/who-could`: an organization as it was.
//!
//! Every answer is NDJSON without pages, names the position that it is as of, and the root of the
//! tree up to there, so that whoever keeps a checkpoint can tie the answer to it. Statuses are
//! those of the moment. What is folded is read within a bound of time; lines are made as they are
//! taken.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use crate::api::ledger::moment::{in_turn, off_thread};
use crate::api::ledger::noted::{Noted, note};
use crate::api::ledger::stored_events::{CutOff, NDJSON};
use crate::api::ledger::{covered, may_read_ledger};
use crate::audit::past::Asked;
use crate::domain::access::Action;
use crate::domain::event::ledger::LedgerReading;
use crate::domain::ids::{OrganizationId, ProjectId};
use crate::domain::log_point::Moment;
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::past::Pace;
use crate::ledger::turns::{Tenant, Turn};
use crate::merkle::Frontier;
use crate::web::call::Call;
use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::lists::Query;
use crate::web::past_reads::HeldPast;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::streams::StreamAccess;

/// The root of the tree over the events that an answer has taken into account, base64.
const LEDGER_ROOT: HeaderName = HeaderName::from_static("ledger-root");
/// Lines that are made at once: some 100 KB.
const LINES_PER_PIECE: usize = 100;

/// Whose state, as of when.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateAsked {
    organization_id: Option<String>,
    as_of: Option<String>,
}

/// Whose changes, from when to when.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffAsked {
    organization_id: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// Who could have done what, when.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhoAsked {
    organization_id: Option<String>,
    scope: Option<String>,
    project_id: Option<String>,
    as_of: Option<String>,
}

/// The organization asked for: the caller's own, unless the platform asks.
fn organization(call: &Call, named: Option<&str>) -> Result<OrganizationId, Problem> {
    let organization = match named {
        None => call.home()?,
        Some(named) => named
            .parse()
            .map_err(|_no_id| Problem::not_found("organization"))?,
    };
    call.may(Action::ReadLedger, organization)?;
    Ok(organization)
}

/// A moment as it is asked for; the present unless it is.
async fn moment(call: &Call, field: &str, text: Option<&str>) -> Result<Moment, Problem> {
    match text {
        Some(text) => Moment::named(call, text)
            .await
            .map_err(|why| why.about(field)),
        None => Ok(Moment::present(call)),
    }
}

/// What is folded, with its place among the readings of its organization: it is in RAM as long as
/// the answer goes on.
async fn folded<T: Send + 'static>(
    call: &Call,
    fold: impl FnOnce(&Ledger, &mut Pace<'_>) -> Result<T, HistoryError> + Send + 'static,
) -> Result<(T, HeldPast), Problem> {
    // It ends with the reading, also after the caller has gone away.
    let mut held = call.hold_past()?;
    let read = move |ledger: &Ledger, turn: &mut Turn| {
        let folded = held.reading(turn, |pace| fold(ledger, pace))?;
        Ok::<_, HistoryError>((folded, held))
    };
    Ok(in_turn(call, read).await??)
}

/// An answer under way: lines are made as they are taken, in the turns of the caller's
/// organization, since thousands of them are work.
struct Lines<L> {
    caller: StreamAccess,
    of: Tenant,
    line: L,
    next: usize,
    _held: HeldPast,
}

impl<L> Lines<L>
where
    L: Fn(usize) -> Option<serde_json::Result<String>> + Send + 'static,
{
    /// The next piece; none after the last one, or after one that is cut off.
    async fn next(lines: Option<Self>) -> Option<(Result<Bytes, CutOff>, Option<Self>)> {
        let mut lines = lines?;
        // Whoever has ended meanwhile gets no more.
        if !lines.caller.is_still_granted().await {
            return Some((Err(CutOff), None));
        }
        let (turns, of) = (lines.caller.app.ledger.turns().clone(), lines.of);
        let make = turns.run_bounded(of, move |_turn| (lines.piece(), lines));
        match make.await {
            Ok((Ok(piece), _)) if piece.is_empty() => None,
            Ok((Ok(piece), lines)) => Some((Ok(Bytes::from(piece)), Some(lines))),
            Ok((Err(why), _)) => {
                tracing::error!(%why, "a record of the past cannot be written");
                Some((Err(CutOff), None))
            }
            Err(why) => {
                tracing::error!(%why, "a reading of the past panicked");
                Some((Err(CutOff), None))
            }
        }
    }

    fn piece(&mut self) -> serde_json::Result<Vec<u8>> {
        let mut piece = Vec::new();
        let end = self.next + LINES_PER_PIECE;
        while self.next < end
            && let Some(line) = (self.line)(self.next)
        {
            piece.extend_from_slice(line?.as_bytes());
            piece.push(b'\n');
            self.next += 1;
        }
        Ok(piece)
    }
}

/// The answer of an organization's lines as of a moment.
async fn answered(
    call: &Call,
    (organization, moment): (OrganizationId, Moment),
    held: HeldPast,
    line: impl Fn(usize) -> Option<serde_json::Result<String>> + Send + Sync + 'static,
) -> Result<Response, Problem> {
    let lines = Lines {
        caller: StreamAccess::of(call, may_read_ledger(Some(organization))),
        of: call.caller.authority.organization,
        line,
        next: 0,
        _held: held,
    };
    let lines = stream::unfold(Some(lines), Lines::next);
    let mut response = Response::new(Body::from_stream(lines));
    let root = root(call, moment).await?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, NDJSON);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(root) = HeaderValue::from_str(&root) {
        headers.insert(LEDGER_ROOT, root);
    }
    if let Some(position) = moment.position {
        headers.insert(LEDGER_POSITION, HeaderValue::from(position));
    }
    Ok(response)
}

/// The root over all events up to a moment.
async fn root(call: &Call, moment: Moment) -> Result<String, Problem> {
    let Some(position) = moment.position else {
        return Ok(STANDARD.encode(Frontier::new().root()));
    };
    covered(call, position).await?;
    let read = move |ledger: &Ledger| ledger.tiles().root_at(position + 1);
    Ok(STANDARD.encode(off_thread(call, read).await??))
}

/// All credentials of the organization as they were, ended ones too, oldest first: NDJSON, each
/// line the record as it was then.
#[utoipa::path(get, path = "/v1/ledger/state", tag = "ledger",
    params(
        ("organization_id" = Option<String>, Query),
        ("as_of" = Option<String>, Query, description = "A position, or an instant; else now."),
    ),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String, headers(
            ("Ledger-Position" = u64, description = "Of the last event that counts."),
            ("Ledger-Root" = String, description = "The root of the tree up to there, base64."))),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn state(
    State(noted): State<Arc<Noted>>,
    call: Call,
    query: Query<StateAsked>,
) -> Result<Response, Problem> {
    call.may_at_home(Action::ReadLedger)?;
    let asked = query.read()?;
    let organization = organization(&call, asked.organization_id.as_deref())?;
    call.wait().await?;
    let moment = moment(&call, "as_of", asked.as_of.as_deref()).await?;
    note(&noted, &call, Some(organization), LedgerReading::State).await?;
    let events = moment.events();
    let folding = folded(&call, move |ledger, pace| {
        let fold = ledger.folded(Some(organization), events, pace)?;
        Ok((fold.credentials(), fold))
    });
    let ((credentials, fold), held) = folding.await?;
    let at = moment.at;
    answered(&call, (organization, moment), held, move |index| {
        credentials
            .get(index)
            .map(|credential| fold.line(credential, at))
    })
    .await
}

/// What changed in the organization's credentials between two moments, by whom: NDJSON, a line for
/// each credential that something was done to, with its record before and after.
#[utoipa::path(get, path = "/v1/ledger/diff", tag = "ledger",
    params(
        ("organization_id" = Option<String>, Query),
        ("from" = String, Query, description = "The earlier moment: a position, or an instant."),
        ("to" = Option<String>, Query, description = "The later one; without it now."),
    ),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String, headers(
            ("Ledger-Position" = u64, description = "Of the last event that counts."),
            ("Ledger-Root" = String, description = "The root of the tree up to there, base64."))),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn diff(
    State(noted): State<Arc<Noted>>,
    call: Call,
    query: Query<DiffAsked>,
) -> Result<Response, Problem> {
    call.may_at_home(Action::ReadLedger)?;
    let asked = query.read()?;
    let organization = organization(&call, asked.organization_id.as_deref())?;
    call.wait().await?;
    let from = asked.from.as_deref();
    let from = from.ok_or_else(|| Problem::invalid_query("from", "is missing"))?;
    let from = moment(&call, "from", Some(from)).await?;
    let to = moment(&call, "to", asked.to.as_deref()).await?;
    if to.events() < from.events() {
        return Err(Problem::invalid_query("to", "must not lie before from"));
    }
    note(&noted, &call, Some(organization), LedgerReading::Diff).await?;
    let span = (from.events(), to.events());
    let folding = folded(&call, move |ledger, pace| {
        let differences = ledger.differences(organization, span, pace)?;
        Ok((differences.all().collect::<Vec<_>>(), differences))
    });
    let ((all, differences), held) = folding.await?;
    let moments: (Timestamp, Timestamp) = (from.at, to.at);
    answered(&call, (organization, to), held, move |index| {
        let difference = all.get(index)?;
        Some(differences.line(difference, moments))
    })
    .await
}

/// Every credential of the organization that would have been accepted, as a verification would have
/// said then: NDJSON, oldest first, without pages. A credential that is bound to a project counts
/// unless another project is named.
#[utoipa::path(get, path = "/v1/ledger/who-could", tag = "ledger",
    params(
        ("organization_id" = Option<String>, Query),
        ("scope" = Option<String>, Query, description = "Scopes that are needed, all of them, \
            separated by commas."),
        ("project_id" = Option<String>, Query, description = "The project that it is used on."),
        ("as_of" = Option<String>, Query, description = "A position, or an instant; else now."),
    ),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String, headers(
            ("Ledger-Position" = u64, description = "Of the last event that counts."),
            ("Ledger-Root" = String, description = "The root of the tree up to there, base64."))),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn who_could(
    State(noted): State<Arc<Noted>>,
    call: Call,
    query: Query<WhoAsked>,
) -> Result<Response, Problem> {
    call.may_at_home(Action::ReadLedger)?;
    let asked = query.read()?;
    let organization = organization(&call, asked.organization_id.as_deref())?;
    call.wait().await?;
    let project = asked.project_id.as_deref().map(str::parse::<ProjectId>);
    let project = project.transpose();
    let project = project.map_err(|_no_id| {
        Problem::invalid_query(
            "project_id",
            "must be a project's id, of the form prj_ and 26 characters",
        )
    })?;
    let scopes = asked.scope.iter().flat_map(|text| text.split(','));
    let scopes: Vec<String> = scopes.map(str::to_owned).collect();
    let moment = moment(&call, "as_of", asked.as_of.as_deref()).await?;
    note(&noted, &call, Some(organization), LedgerReading::WhoCould).await?;
    let asked = Asked {
        scopes,
        project,
        organization: Some(organization),
    };
    let (events, at) = (moment.events(), moment.at);
    let folding = folded(&call, move |ledger, pace| {
        let fold = ledger.folded(Some(organization), events, pace)?;
        let catalogue = fold.state().catalogue();
        let known = |scope: &&String| !catalogue.has_scope(scope);
        Ok(match asked.scopes.iter().find(known) {
            Some(unknown) => Err(unknown.clone()),
            None => Ok((fold.who_could(&asked, at, &mut || pace.turn.go_on())?, fold)),
        })
    });
    let (judged, held) = folding.await?;
    let (accepted, fold) = judged.map_err(|unknown| {
        let message = format!("{unknown} was no scope of the catalogue then");
        Problem::invalid_query("scope", message)
    })?;
    answered(&call, (organization, moment), held, move |index| {
        accepted
            .get(index)
            .map(|accepted| fold.accepted_line(accepted, at))
    })
    .await
}
