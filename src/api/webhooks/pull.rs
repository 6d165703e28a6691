//! `GET /v1/events`: the bodies of webhooks by pull, page by page with a wait for what is new, and
//! as a live stream.
//!
//! Everything is within the caller's own organization, and what only auditors see needs their
//! leave. The log is read off the async threads, a piece at a time and in turns, so that one
//! consumer with much to catch up on does not keep the others waiting.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::domain::access::Action;
use crate::domain::record::EventFilter;
use crate::ledger::Ledger;
use crate::ledger::turns::Turn;
use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::call::Call;
use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::lists;
use crate::web::lists::{Query, number};
use crate::web::problem::{Problem, ProblemBody};
use crate::web::streams::{LOOK_EVERY, StreamAccess, Streams};
use crate::webhooks::bodies::BodyCache;
use crate::webhooks::pull::{self, PullFilter, PulledPage};

/// The path.
pub(crate) const PATH: &str = "/v1/events";
/// The longest wait, in seconds.
pub(crate) const WAIT_S_MAX: usize = 30;
/// Events that one reading looks at: some 10 milliseconds.
const EVENTS_PER_READING: u64 = 10_000;
/// Readings that one answer is made of: 200,000 events.
const READINGS_PER_ANSWER: u64 = 20;

/// What all who pull share.
pub(crate) struct Pull {
    bodies: Arc<BodyCache>,
    pub(crate) streams: Streams,
    pub(crate) events_per_reading: u64,
}

impl Pull {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            bodies: Arc::new(BodyCache::new(ledger)),
            streams: Streams::default(),
            events_per_reading: EVENTS_PER_READING,
        }
    }
}

/// An event as webhooks deliver it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PulledEvent {
    /// `webhook-id` of a delivery: the same event is never told under two ids.
    id: String,
    #[serde(rename = "type")]
    kind: String,
    /// When it happened.
    timestamp: String,
    /// Its position.
    sequence: u64,
    /// The record that it changed, as it was after the event.
    data: Map<String, Value>,
}

/// Which events, from where on, and for how long to wait for one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    after: Option<String>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    types: Option<String>,
    #[serde(default, deserialize_with = "number")]
    wait: Option<usize>,
}

impl Asked {
    fn wait(&self) -> Result<Option<Duration>, Problem> {
        match self.wait {
            None => Ok(None),
            Some(seconds @ 0..=WAIT_S_MAX) => Ok(Some(Duration::from_secs(seconds as u64))),
            Some(_) => {
                let message = format!("must be a whole number from 0 to {WAIT_S_MAX}");
                Err(Problem::invalid_query("wait", message))
            }
        }
    }
}

/// Whether a request may wait for something to happen: it then takes a place of [`Pull`]'s own.
pub(crate) fn waits(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "wait")
}

/// Types as a query has them: separated by commas.
pub(crate) fn types(text: Option<&str>) -> Result<Option<EventFilter>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let entries = text.split(',').map(str::to_owned).collect();
    let filter = EventFilter::check(entries);
    let filter = filter.map_err(|why| Problem::invalid_query("types", why.to_string()))?;
    Ok(Some(filter))
}

/// What a caller is shown of what is asked for; of nothing in particular, all that it may see.
pub(crate) fn wanted(
    app: &App,
    caller: &Caller,
    asked: Option<&EventFilter>,
) -> Result<PullFilter, Problem> {
    let home = caller.authority.organization;
    let organization = home.ok_or_else(|| Problem::not_found("organization"))?;
    let access = caller.may(app, Action::Webhooks, organization)?;
    let reads = caller.may(app, Action::ReceiveAllEvents, organization);
    let types = match (asked, reads) {
        (Some(filter), Err(refused)) if filter.needs_ledger_read() => return Err(refused),
        (Some(filter), _) => filter.clone(),
        (None, Ok(_)) => EventFilter::everything(),
        (None, Err(_)) => EventFilter::open_families(),
    };
    Ok(PullFilter {
        organization,
        project: access.authority().project,
        types,
    })
}

/// The organization's events after a position, oldest first: the bodies that webhooks deliver.
///
/// `Ledger-Position` says up to where the log was looked at, also where nothing was found: go on
/// with it as `after`. `Link` is there while there is more. One answer looks at no more than
/// 200,000 events and holds some 1 MiB, so that it may be empty although there is more.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(
        ("after" = Option<u64>, Query, description = "Events of later positions alone; without it \
            from the first. `Ledger-Position` of the answer before goes here."),
        ("limit" = Option<usize>, Query, description = "1 to 200 events."),
        ("types" = Option<String>, Query, description = "Types and families, separated by commas: \
            `api_key.*,member.added`. Others than `api_key.*`, `service_account.*` and `job.*` \
            need `ledger:read` too. Without it all that the caller may see."),
        ("wait" = Option<usize>, Query, description = "0 to 30 seconds: if there is nothing, how \
            long to wait for something before the answer is empty."),
    ),
    responses(
        (status = 200, body = Vec<PulledEvent>, headers(
            ("Ledger-Position" = u64, description = "Everything up to here has been looked at."))),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(shared): State<Arc<Pull>>,
    call: Call,
    query: Query<Asked>,
) -> Result<Response, Problem> {
    call.may(Action::Webhooks, call.home()?)?;
    let asked = query.read()?;
    let (limit, wait) = (lists::limit(asked.limit)?, asked.wait()?);
    let types = types(asked.types.as_deref())?;
    let wanted = wanted(&call.app, &call.caller, types.as_ref())?;
    let from = lists::first_after(&call.app, asked.after.as_deref())?.unwrap_or(0);
    call.wait().await?;
    // Who may wait has a place among those who wait; the others are a reading like any other.
    let of = Some(wanted.organization);
    let place = wait.map(|_| shared.streams.open(of)).transpose()?;
    let caller = StreamAccess::of(&call, still_wants(types, wanted.clone()));
    let deadline = Instant::now() + wait.unwrap_or_default();
    let bounds = Bounds {
        limit,
        readings: READINGS_PER_ANSWER,
        has_place: place.is_some(),
    };
    let page = poll(
        &caller,
        &shared,
        &Arc::new(wanted),
        (from, bounds),
        deadline,
    )
    .await?;
    Ok(uncached_json(&call, &query, &page))
}

/// Whether a caller still gets the same events as when the stream began.
pub(crate) fn still_wants(
    types: Option<EventFilter>,
    wanted_then: PullFilter,
) -> impl Fn(&App, &Caller) -> Result<bool, Problem> {
    move |app, caller| Ok(wanted(app, caller, types.as_ref())? == wanted_then)
}

/// How much is read for a page.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) limit: usize,
    pub(crate) readings: u64,
    /// A caller with a place to wait is never refused a turn: those places are bounded.
    pub(crate) has_place: bool,
}

/// A page with something in it, or what there is when the time is over.
async fn poll(
    caller: &StreamAccess,
    shared: &Pull,
    wanted: &Arc<PullFilter>,
    (from, bounds): (u64, Bounds),
    deadline: Instant,
) -> Result<PulledPage, Problem> {
    let app = &caller.app;
    let mut news = app.ledger.views().subscribe();
    let mut page = PulledPage::empty_at(from);
    // Whoever may see something else than when it began is to ask again.
    while caller.check_again().await? {
        news.mark_unchanged();
        page = read(app, shared, wanted, page, bounds).await?;
        let is_behind = page.next < app.shown();
        let now = Instant::now();
        if !page.bodies.is_empty() || is_behind || now >= deadline {
            break;
        }
        tokio::select! {
            _ = news.changed() => {}
            () = tokio::time::sleep_until(deadline.min(now + LOOK_EVERY)) => {}
        }
    }
    Ok(page)
}

/// A JSON array of bodies, with the position that it reaches and a link to what follows.
fn uncached_json(call: &Call, query: &Query<Asked>, page: &PulledPage) -> Response {
    let mut text = Vec::with_capacity(page.bytes + page.bodies.len() + 2);
    text.push(b'[');
    for (index, (_, body)) in page.bodies.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&body.bytes);
    }
    text.push(b']');
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seen) = page.next.checked_sub(1) {
        headers.insert(LEDGER_POSITION, HeaderValue::from(seen));
        if page.next < call.app.shown()
            && let Some(link) = lists::link(&query.uri, "after", &seen.to_string())
        {
            headers.insert(header::LINK, link);
        }
    }
    response
}

/// Goes on with a page by so many pieces of the log at most, until it is full or there is no more.
pub(crate) async fn read(
    app: &App,
    shared: &Pull,
    wanted: &Arc<PullFilter>,
    mut page: PulledPage,
    bounds: Bounds,
) -> Result<PulledPage, Problem> {
    let (bound, limit) = (shared.events_per_reading, bounds.limit);
    let end = page.next.saturating_add(bounds.readings * bound);
    for _ in 0..bounds.readings {
        let shown = app.shown();
        if page.is_full(limit) || page.next >= shown.min(end) {
            break;
        }
        // Asked after what is shown, so that it has at least all of that.
        let views = app.ledger.views();
        let of_ledger = wanted.includes_ledger_events();
        let of_ledger = of_ledger.then(|| views.newest_positions.newest_of_ledger());
        let newest = views
            .newest_positions
            .newest_of_organization(wanted.organization)
            .max(of_ledger);
        let Some(newest) = newest.filter(|newest| *newest >= page.next) else {
            page.next = shown;
            break;
        };
        let (ledger, bodies) = (app.ledger.clone(), Arc::clone(&shared.bodies));
        let to = shown.min(newest + 1).min(page.next + bound);
        let wanted = Arc::clone(wanted);
        let of = Some(wanted.organization);
        let turns = app.ledger.turns();
        let reading = move |turn: &mut Turn| {
            pull::extend_page((&ledger, &bodies), &wanted, page, (to, limit), turn)
        };
        page = match bounds.has_place {
            true => turns.run_bounded(of, reading).await??,
            false => turns.run(of, reading).await??,
        };
    }
    Ok(page)
}
