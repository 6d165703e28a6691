//! `GET /v1/ledger/events`: stored payloads, byte for byte, one a line.
//!
//! What is sent is what the commitments in the tree are of, hashes of tokens and sealed values
//! included; nothing in it can be turned back into a secret. A tenant gets its own events and no
//! others, and sees by `organization_sequence` and `organization_previous` that none is left out.
//! The log is read in pieces, as fast as the client takes them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use crate::api::ledger::may_read_ledger;
use crate::api::ledger::noted::{Noted, note};
use crate::api::ledger::position::first_position_from;
use crate::api::webhooks::pull::Pull;
use crate::domain::access::Action;
use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::event::ledger::LedgerReading;
use crate::domain::heading::Heading;
use crate::domain::ids::{OrganizationId, Principal, Subject, Via};
use crate::domain::log_point::LogPoint;
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Tenant;
use crate::web::call::Call;
use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::lists::{Query, first_after};
use crate::web::problem::{Problem, ProblemBody};
use crate::web::shares::Share;
use crate::web::streams::StreamAccess;

/// Lines of an answer at most.
const LINES_MAX: usize = 1_000_000;
/// Events that are looked at for one piece of an answer: some 5 milliseconds, a turn.
const EVENTS_PER_PIECE: u64 = 4_000;
/// Bytes after which a piece is sent, whatever is left of it.
const PIECE_BYTES: usize = 1024 * 1024;
/// Lines of JSON.
pub(crate) const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Which events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    after: Option<String>,
    limit: Option<String>,
    organization_id: Option<String>,
    subject: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    actor: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// The same, read.
#[derive(Clone)]
struct Wanted {
    /// `None`: of all organizations, and of none.
    organization: Option<OrganizationId>,
    subject: Option<Subject>,
    /// A type, or what the types of a family begin with.
    kind: Option<Kind>,
    /// Whose deed it was: a principal, or the credential or session that was used.
    actor: Option<Actor>,
}

#[derive(Clone)]
enum Kind {
    One(String),
    Family(String),
}

#[derive(Clone, Copy)]
enum Actor {
    Is(Principal),
    Used(Via),
}

impl Asked {
    fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = &self.limit else {
            return Ok(LINES_MAX);
        };
        let limit = text.parse().ok();
        limit
            .filter(|limit| (1..=LINES_MAX).contains(limit))
            .ok_or_else(|| {
                Problem::invalid_query(
                    "limit",
                    format!("must be a whole number from 1 to {LINES_MAX}"),
                )
            })
    }

    fn wanted(&self, organization: Option<OrganizationId>) -> Result<Wanted, Problem> {
        let subject = self.subject.as_deref().map(str::parse).transpose();
        Ok(Wanted {
            organization,
            subject: subject.map_err(|_no_id| no_id("subject"))?,
            kind: self.kind.as_deref().map(kind).transpose()?,
            actor: self.actor.as_deref().map(actor).transpose()?,
        })
    }

    /// The organization asked for. Only the platform sees more than its own, and only to it is
    /// another one's there.
    fn organization(&self, call: &Call) -> Result<Option<OrganizationId>, Problem> {
        let named = self.organization_id.as_deref().map(str::parse).transpose();
        let named = named.map_err(|_no_id| Problem::not_found("organization"))?;
        let authority = &call.caller.authority;
        match named {
            None if authority.platform => Ok(None),
            None => Ok(Some(call.home()?)),
            Some(named) => {
                call.may(Action::ReadLedger, named)?;
                Ok(Some(named))
            }
        }
    }
}

fn no_id(field: &'static str) -> Problem {
    Problem::invalid_query(
        field,
        "must be the id of a record, such as key_01H2XA9CKEB7WZG8RMN2KPQV7D",
    )
}

fn kind(text: &str) -> Result<Kind, Problem> {
    let known = |matches: &dyn Fn(&str) -> bool| Fact::TYPES.iter().any(|(name, _)| matches(name));
    match text.strip_suffix('*') {
        Some(family) if family.ends_with('.') && known(&|name| name.starts_with(family)) => {
            Ok(Kind::Family(family.to_owned()))
        }
        None if known(&|name| name == text) => Ok(Kind::One(text.to_owned())),
        Some(_) | None => {
            let message =
                "must be a type of event, such as api_key.created, or a family, such as api_key.*";
            Err(Problem::invalid_query("type", message))
        }
    }
}

fn actor(text: &str) -> Result<Actor, Problem> {
    let used = text.parse().map(Actor::Used);
    // A credential acts for itself, or is what somebody else used.
    let is = text.parse().map(Actor::Is);
    is.or(used).map_err(|_no_id| no_id("actor"))
}

impl Wanted {
    /// Whether an event is wanted: by its heading if that tells, else by all of it.
    fn has(&self, payload: &[u8]) -> Result<bool, HistoryError> {
        if let Some(heading) = Heading::of(payload) {
            let of = self.organization.is_none() || heading.organization == self.organization;
            if !of || !self.kind.as_ref().is_none_or(|kind| kind.has(heading.name)) {
                return Ok(false);
            }
            if self.subject.is_none() && self.actor.is_none() {
                return Ok(true);
            }
        }
        let event = Event::from_payload(payload)?;
        let organization = event.organization.map(|place| place.id);
        Ok(
            (self.organization.is_none() || organization == self.organization)
                && self.subject.is_none_or(|subject| event.subject == subject)
                && self
                    .kind
                    .as_ref()
                    .is_none_or(|kind| kind.has(event.fact.name()))
                && self.actor.is_none_or(|actor| actor.did(&event)),
        )
    }
}

impl Kind {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Family(family) => name.starts_with(family.as_str()),
        }
    }
}

impl Actor {
    fn did(self, event: &Event) -> bool {
        match self {
            Self::Is(principal) => {
                let used = match principal {
                    Principal::Credential(id) => event.actor.via == Some(Via::Credential(id)),
                    Principal::User(_) | Principal::ServiceAccount(_) => false,
                };
                event.actor.id == Some(principal) || used
            }
            Self::Used(via) => event.actor.via == Some(via),
        }
    }
}

/// Stored events, oldest first: NDJSON, each line the exact bytes of the payload whose SHA-256 is
/// the entry in the ledger's tree.
///
/// From the first event or after a position; without `organization_id` of the caller's own
/// organization, for `platform:*` of all and of none. Hashes of tokens are in them as they are
/// stored; personal values are sealed.
#[utoipa::path(get, path = "/v1/ledger/events", tag = "ledger",
    params(
        ("after" = Option<u64>, Query, description = "Events of later positions alone."),
        ("limit" = Option<u64>, Query, description = "1 to 1,000,000 lines, as many unless given."),
        ("organization_id" = Option<String>, Query),
        ("subject" = Option<String>, Query, description = "Events that change this record."),
        ("type" = Option<String>, Query, description = "A type, or a family such as `api_key.*`."),
        ("actor" = Option<String>, Query, description = "Events of this member, service account, \
            credential or session."),
        ("from" = Option<String>, Query, description = "The first position, or the first instant."),
        ("to" = Option<String>, Query, description = "The position or the instant to stop before."),
    ),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String, headers(
            ("Ledger-Position" = u64, description = "Everything up to here is in the answer, \
                unless `limit` or `to` ends it before."))),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(noted): State<Arc<Noted>>,
    State(pull): State<Arc<Pull>>,
    call: Call,
    query: Query<Asked>,
) -> Result<Response, Problem> {
    call.may_at_home(Action::ReadLedger)?;
    let asked = query.read()?;
    let organization = asked.organization(&call)?;
    let wanted = asked.wanted(organization)?;
    let limit = asked.limit()?;
    let after = first_after(&call.app, asked.after.as_deref())?.unwrap_or(0);
    call.wait().await?;
    let point = |field, text: Option<&str>| {
        let point = text.map(str::parse::<LogPoint>).transpose();
        point.map_err(|why| Problem::invalid_query(field, why.to_string()))
    };
    let from = match point("from", asked.from.as_deref())? {
        Some(point) => first_position_from(point, &call).await?.max(after),
        None => after,
    };
    let shown = call.app.shown();
    let to = match point("to", asked.to.as_deref())? {
        Some(point) => first_position_from(point, &call).await?.min(shown),
        None => shown,
    };
    note(&noted, &call, organization, LedgerReading::Events).await?;
    let open = pull.streams.open(call.caller.authority.organization)?;
    let reading = Reading {
        caller: StreamAccess::of(&call, may_read_ledger(organization)),
        wanted: Arc::new(wanted),
        next: from,
        to,
        left: limit,
        of: call.caller.authority.organization,
        _open: open,
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(
        Some(reading),
        Reading::next,
    )));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, NDJSON);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(last) = shown.checked_sub(1) {
        headers.insert(LEDGER_POSITION, HeaderValue::from(last));
    }
    Ok(response)
}

/// An answer under way.
struct Reading {
    caller: StreamAccess,
    wanted: Arc<Wanted>,
    next: u64,
    to: u64,
    left: usize,
    /// Whose turns it takes.
    of: Tenant,
    _open: Share,
}

/// The answer is cut off: its client sees that it does not end.
#[derive(Debug, thiserror::Error)]
#[error("the answer is cut off")]
pub(crate) struct CutOff;

/// Lines, and where to go on.
struct Piece {
    bytes: Vec<u8>,
    lines: usize,
    next: u64,
}

impl Reading {
    /// The next piece that has something in it; after the last one, or one that is cut off, none.
    async fn next(reading: Option<Self>) -> Option<(Result<Bytes, CutOff>, Option<Self>)> {
        let mut reading = reading?;
        while reading.next < reading.to && reading.left > 0 {
            match reading.piece().await {
                Some(piece) => {
                    reading.next = piece.next;
                    reading.left -= piece.lines;
                    if !piece.bytes.is_empty() {
                        return Some((Ok(Bytes::from(piece.bytes)), Some(reading)));
                    }
                }
                None => return Some((Err(CutOff), None)),
            }
        }
        None
    }

    async fn piece(&self) -> Option<Piece> {
        // Whoever has ended meanwhile gets no more.
        if !self.caller.is_still_granted().await {
            return None;
        }
        let ledger = self.caller.app.ledger.clone();
        let wanted = Arc::clone(&self.wanted);
        let (next, to, left) = (self.next, self.to, self.left);
        let turns = self.caller.app.ledger.turns();
        let read = turns.run_bounded(self.of, move |_turn| {
            read(&ledger, &wanted, (next, to), left)
        });
        match read.await {
            Ok(Ok(piece)) => Some(piece),
            Ok(Err(why)) => {
                tracing::error!(
                    why = crate::error_chain::error_chain(&why),
                    "the log cannot be read"
                );
                None
            }
            Err(why) => {
                tracing::error!(%why, "a reading of the log panicked");
                None
            }
        }
    }
}

fn read(
    ledger: &Ledger,
    wanted: &Wanted,
    (next, to): (u64, u64),
    left: usize,
) -> Result<Piece, HistoryError> {
    let mut piece = Piece {
        bytes: Vec::new(),
        lines: 0,
        next: to.min(next.saturating_add(EVENTS_PER_PIECE)),
    };
    let end = piece.next;
    let mut outcome = Ok(());
    let mut full = false;
    ledger.reader().scan(next, end, |position, payload| {
        if full || outcome.is_err() {
            return;
        }
        match wanted.has(payload) {
            Ok(false) => {}
            Ok(true) => {
                piece.bytes.extend_from_slice(payload);
                piece.bytes.push(b'\n');
                piece.lines += 1;
                if piece.lines == left || piece.bytes.len() >= PIECE_BYTES {
                    full = true;
                    piece.next = position + 1;
                }
            }
            Err(why) => outcome = Err(why),
        }
    })?;
    outcome.map(|()| piece)
}
