//! Receipts of single events, and proofs that the ledger only grew.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::ledger::moment::{in_turn, off_thread};
use crate::api::ledger::{covered, not_published};
use crate::domain::access::Action;
use crate::domain::ids::{EventId, OrganizationId, ProjectId, Subject};
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Turn;
use crate::tiles::ProofUnavailable;
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};

/// A checkpoint to prove against.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Against {
    size: Option<String>,
}

/// A number of events.
fn size(field: &'static str, text: Option<&str>) -> Result<Option<u64>, Problem> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        None => Ok(None),
        Some(text) => match text.parse().ok().filter(|_: &u64| digits(text)) {
            Some(size) => Ok(Some(size)),
            None => Err(Problem::invalid_query(field, "must be a number of events")),
        },
    }
}

/// A receipt: that an event stands in the ledger, as a C2SP `tlog-proof` file.
///
/// With the event's stored payload (`/v1/ledger/events`) and the ledger's verifier key it can be
/// checked without this server: the entry is SHA-256 of the payload.
#[utoipa::path(get, path = "/v1/events/{event_id}/proof", tag = "ledger",
    params(("event_id" = String, Path),
        ("size" = Option<u64>, Query, description = "Against the checkpoint of so many events, if \
            it is kept: those of the last minutes and the first of each hour are. Without it the \
            newest.")),
    responses((status = 200, content_type = "text/plain", body = String),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn receipt(
    call: Call,
    Path(id): Path<EventId>,
    query: Query<Against>,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("event");
    let position = off_thread(&call, move |ledger| ledger.position_of(id)).await??;
    let position = position.ok_or_else(unknown)?;
    let event = off_thread(&call, move |ledger| ledger.event(position))
        .await??
        .event;
    let authority = &call.caller.authority;
    let of = event.organization.map(|place| place.id);
    if !authority.platform && of.is_some() && of != authority.organization {
        return Err(unknown());
    }
    if authority.project.is_some() && !authority.reaches(project_of(&call, of, event.subject)?) {
        return Err(unknown());
    }
    // Who gets events by webhook or by pull may prove them; what is nobody's is the auditor's.
    if of.is_none() || call.may_at_home(Action::Webhooks).is_err() {
        call.may_at_home(Action::ReadLedger)?;
    }
    let size = size("size", query.read()?.size.as_deref())?;
    covered(&call, position).await?;
    let prove = move |ledger: &Ledger| ledger.tiles().receipt(position, size);
    let receipt = off_thread(&call, prove).await??;
    let file = format!("attachment; filename=\"{id}.tlog-proof\"");
    let file = HeaderValue::from_str(&file).unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (header::CONTENT_DISPOSITION, file),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, receipt.to_text()).into_response())
}

/// The project whose record an event changed.
fn project_of(
    call: &Call,
    organization: Option<OrganizationId>,
    subject: Subject,
) -> Result<Option<ProjectId>, Problem> {
    let Some(organization) = organization else {
        return Ok(None);
    };
    let views = call.views();
    Ok(match subject {
        Subject::Project(id) => Some(id),
        Subject::Credential(id) => {
            let found = views.credentials.get(organization, id);
            found.and_then(|key| key.project())
        }
        Subject::WebhookEndpoint(id) => {
            let found = views.directory.webhook_endpoint(organization, id);
            found.and_then(|endpoint| endpoint.project)
        }
        Subject::Ledger(_)
        | Subject::Organization(_)
        | Subject::Member(_)
        | Subject::ServiceAccount(_)
        | Subject::Session(_) => None,
    })
}

/// The receipts of several events, once the newest of them is covered.
pub(crate) async fn receipts(call: &Call, positions: Vec<u64>) -> Result<Vec<String>, Problem> {
    let Some(newest) = positions.iter().max() else {
        return Ok(Vec::new());
    };
    covered(call, *newest).await?;
    let prove = move |ledger: &Ledger, turn: &mut Turn| {
        let tiles = ledger.tiles();
        let texts = positions.iter().map(|position| {
            turn.go_on().map_err(HistoryError::from)?;
            let receipt = tiles.receipt(*position, None)?;
            Ok::<_, Problem>(receipt.to_text())
        });
        texts.collect::<Result<Vec<String>, _>>()
    };
    in_turn(call, prove).await?
}

/// From which size to which.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Span {
    from: Option<String>,
    to: Option<String>,
}

/// That one tree is the beginning of another (RFC 6962, 2.1.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct Consistency {
    /// Events of the older tree.
    from: u64,
    /// Events of the newer one.
    to: u64,
    /// The proof: hashes, base64.
    hashes: Vec<String>,
}

/// A proof that the ledger of `from` events is the beginning of the ledger of `to` events: with it
/// and the two checkpoints anybody can see that nothing was changed in between.
#[utoipa::path(get, path = "/v1/ledger/consistency", tag = "ledger",
    params(("from" = u64, Query, description = "The size of an older checkpoint."),
        ("to" = Option<u64>, Query, description = "The size of a newer one; else the newest.")),
    responses((status = 200, body = Consistency), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn consistency(
    call: Call,
    query: Query<Span>,
) -> Result<Json<Consistency>, Problem> {
    call.may_at_home(Action::ReadLedger)?;
    let asked = query.read()?;
    let from = size("from", asked.from.as_deref())?;
    let from = from.ok_or_else(|| Problem::invalid_query("from", "is missing"))?;
    let tiles = call.app.ledger.tiles();
    let published = tiles
        .newest_published()
        .ok_or_else(not_published)?
        .checkpoint
        .size;
    let to = size("to", asked.to.as_deref())?.unwrap_or(published);
    if to > call.app.ledger.reader().next_position() {
        return Err(Problem::position_unknown());
    }
    if to > published {
        covered(&call, to - 1).await?;
    }
    let proof = off_thread(&call, move |ledger| {
        ledger.tiles().consistency_proof(from, to)
    })
    .await?;
    let hashes = proof.map_err(|why| match why {
        ProofUnavailable::OutOfRange(why) => Problem::invalid_query("from", why.to_string()),
        ProofUnavailable::NotPublished
        | ProofUnavailable::UnknownCheckpoint(_)
        | ProofUnavailable::Tree(_) => why.into(),
    })?;
    let hashes = hashes.iter().map(|hash| STANDARD.encode(hash)).collect();
    Ok(Json(Consistency { from, to, hashes }))
}
