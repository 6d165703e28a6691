//! `GET /v1/events/stream`: events as they come, as server-sent events.
//!
//! A task follows the log for each connection. An event has its type as name and its position as
//! `id`; `heartbeat` says how far the stream has come, so that resuming skips what was looked at
//! and not wanted. The task looks again who its caller is before every page and five times a
//! second.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::api::webhooks::pull::{Bounds, Pull, read, still_wants, types, wanted};
use crate::domain::access::Action;
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::streams::{LOOK_EVERY, Line, Over, StreamAccess, resumed};
use crate::webhooks::pull::{PullFilter, PulledPage};

/// From one heartbeat to the next: 15 s are promised, the rest is for a busy machine.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Events that are read at once.
const PAGE_LEN: usize = 100;

/// Where a stream begins, and of what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    after: Option<String>,
    types: Option<String>,
}

/// How far the stream has come.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reached {
    /// Everything up to here has been looked at, and what was asked for has been sent.
    position: u64,
}

/// The organization's events as they come, as server-sent events.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events",
    params(
        ("after" = Option<u64>, Query, description = "Events of later positions; without it from \
            now on."),
        ("types" = Option<String>, Query, description = "Types and families, separated by commas, \
            as of `/v1/events`."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same as `after`, and stronger: \
            what was received last."),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = String, description = "Events \
            named by their type, each with the body that webhooks deliver and its position as \
            `id`; and `heartbeat` with `position`, at least every 15 seconds. A stream ends within \
            an hour: resume."),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn stream(
    State(shared): State<Arc<Pull>>,
    call: Call,
    query: Query<Start>,
) -> Result<Response, Problem> {
    call.may(Action::Webhooks, call.home()?)?;
    let start = query.read()?;
    let types = types(start.types.as_deref())?;
    let wanted = wanted(&call.app, &call.caller, types.as_ref())?;
    let from = resumed(&call, start.after.as_deref())?;
    call.wait().await?;
    let open = shared.streams.open(Some(wanted.organization))?;
    let next = from.unwrap_or_else(|| call.app.shown());
    let caller = StreamAccess::of(&call, still_wants(types, wanted.clone()));
    let (line, response) = Line::open(caller, open);
    let follower = Follower {
        line,
        shared,
        wanted: Arc::new(wanted),
        next,
    };
    tokio::spawn(follower.run());
    Ok(response)
}

/// What follows the log for one connection.
struct Follower {
    line: Line,
    shared: Arc<Pull>,
    wanted: Arc<PullFilter>,
    next: u64,
}

impl Follower {
    async fn run(mut self) {
        // Whatever it was, the client comes back.
        let _over: Result<(), Over> = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Over> {
        let mut news = self.line.app().ledger.views().subscribe();
        let mut beat = Instant::now();
        loop {
            self.line.check().await?;
            news.mark_unchanged();
            let page = PulledPage::empty_at(self.next);
            let bounds = Bounds {
                limit: PAGE_LEN,
                readings: 1,
                has_place: true,
            };
            let page = read(self.line.app(), &self.shared, &self.wanted, page, bounds).await;
            let page = page.map_err(|_unreadable| Over)?;
            for (position, body) in &page.bodies {
                let event = Event::default().event(body.name).id(position.to_string());
                let text = std::str::from_utf8(&body.bytes).map_err(|_no_text| Over)?;
                self.line.send(event.data(text)).await?;
            }
            self.next = self.next.max(page.next);
            if beat <= Instant::now() {
                self.heartbeat().await?;
                beat = Instant::now() + HEARTBEAT;
            }
            if self.next < self.line.app().shown() {
                continue;
            }
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.line.closed() => return Err(Over),
            }
        }
    }

    async fn heartbeat(&self) -> Result<(), Over> {
        let position = self.next.saturating_sub(1);
        let event = Event::default().event("heartbeat").id(position.to_string());
        let event = event.json_data(Reached { position });
        self.line.send(event.map_err(|_no_json| Over)?).await
    }
}
