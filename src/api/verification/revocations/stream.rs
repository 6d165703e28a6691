//! `GET /v1/revocations/stream`: the feed as server-sent events.
//!
//! A task follows the feed and hands its events to the connection through a short queue; a reader
//! that does not take them is let go. `revocation` has an entry, `heartbeat` says how far the
//! stream has come, at least every 250 milliseconds; the `id` of both is a position to resume from.
//! The task looks again who its caller is before every page and with every heartbeat.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::api::verification::revocations::{Feed, Revocation, Visible, read, visible_to};
use crate::ledger::turns::Tenant;
use crate::web::call::Call;
use crate::web::lists::Query;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::streams::{LOOK_EVERY, Line, Over, StreamAccess, resumed};

/// From one heartbeat to the next: 250 ms are promised, the rest is for a busy machine.
const HEARTBEAT: Duration = LOOK_EVERY;
/// Entries that are read at once.
const PAGE_LEN: usize = 100;

/// Where a stream begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    after: Option<String>,
}

/// How far the stream has come.
#[derive(Serialize, ToSchema)]
pub(crate) struct Heartbeat {
    /// Every entry up to here has been sent.
    position: u64,
    /// From the stream's beginning to the instant when that was all there was; null until it has
    /// caught up. Who knows when they asked for the stream knows how old what they have is.
    elapsed_ms: Option<u64>,
}

/// Entries as they come, as server-sent events.
#[utoipa::path(get, path = "/v1/revocations/stream", tag = "revocations",
    params(
        ("after" = Option<u64>, Query, description = "Entries of later positions; without it from \
            now on."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same, and stronger: what was \
            received last."),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = String, description = "Events \
            `revocation`, with an entry, and `heartbeat`, with `position` and `elapsed_ms`, at \
            least every 250 ms. Their `id` is a position. A stream ends within an hour: resume."),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn stream(
    State(feed): State<Arc<Feed>>,
    call: Call,
    query: Query<Start>,
) -> Result<Response, Problem> {
    let visible = visible_to(&call.app, &call.caller)?;
    let start = query.read()?;
    let from = resumed(&call, start.after.as_deref())?;
    call.wait().await?;
    let home = call.caller.authority.organization;
    let open = feed.streams.open(home)?;
    let next = from.unwrap_or_else(|| call.app.shown());
    let caller = StreamAccess::of(&call, move |app, caller| {
        Ok(visible_to(app, caller)? == visible)
    });
    let (line, response) = Line::open(caller, open);
    let follower = Follower {
        line,
        home,
        visible,
        next,
    };
    tokio::spawn(follower.run());
    Ok(response)
}

/// What follows the feed for one connection.
struct Follower {
    line: Line,
    home: Tenant,
    visible: Visible,
    next: u64,
}

impl Follower {
    async fn run(mut self) {
        // Whatever it was, the client comes back.
        let _over: Result<(), Over> = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Over> {
        let mut news = self.line.app().ledger.views().revocations.subscribe();
        let mut beat = Instant::now();
        let mut complete_at = None;
        loop {
            self.line.check().await?;
            news.mark_unchanged();
            let (asked, shown) = (Instant::now(), self.line.shown());
            let app = self.line.app();
            let page = read(app, self.home, self.next, self.visible, PAGE_LEN).await;
            let page = page.map_err(|_unreadable| Over)?;
            for entry in &page.entries {
                let event = Event::default().event("revocation");
                let event = event.id(entry.position.to_string());
                let event = event.json_data(Revocation::of(entry));
                self.line.send(event.map_err(|_no_json| Over)?).await?;
            }
            self.next = self.next.max(page.next);
            let is_complete = self.next >= shown;
            if is_complete {
                complete_at = Some(asked);
            }
            if beat <= Instant::now() {
                self.heartbeat(complete_at).await?;
                beat = asked + HEARTBEAT;
            }
            if !is_complete {
                continue;
            }
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep_until(beat) => {}
                () = self.line.closed() => return Err(Over),
            }
        }
    }

    async fn heartbeat(&self, complete_at: Option<Instant>) -> Result<(), Over> {
        let position = self.next.saturating_sub(1);
        let elapsed_ms = complete_at.map(|at| {
            let elapsed = at.saturating_duration_since(self.line.began()).as_millis();
            u64::try_from(elapsed).unwrap_or(u64::MAX)
        });
        let event = Event::default().event("heartbeat").id(position.to_string());
        let event = event.json_data(Heartbeat {
            position,
            elapsed_ms,
        });
        self.line.send(event.map_err(|_no_json| Over)?).await
    }
}
