//! `GET /v1/revocations/stream`: the feed as server-sent events.
//!
//! A task follows the feed and hands its events to the connection through a short queue; a reader
//! that does not take them is let go. `revocation` has an entry, `heartbeat` says how far the
//! stream has come, at least every 250 milliseconds; the `id` of both is a position to resume from.
//! The task looks again who its caller is before every page and with every heartbeat.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{Revocation, Standing, first_after, read, scope};
use crate::domain::access::Action;
use crate::domain::ids::OrganizationId;
use crate::http::call::Call;
use crate::http::context::single;
use crate::http::lists::Query;
use crate::http::problem::{Problem, ProblemBody};

/// Where an interrupted stream goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Streams that are open at once: each wakes for every entry, some 10 microseconds.
const STREAMS_MAX: usize = 256;
/// Streams of one organization.
const STREAMS_EACH_MAX: usize = 64;
/// From one heartbeat to the next: 250 ms are promised, the rest is for a busy machine.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// Entries that are read at once.
const PAGE_LEN: usize = 100;
/// Events that wait for the connection: usually 3 KB, at most 16 owners with 5,000 credentials
/// each, 2.5 MB.
const QUEUE_LEN: usize = 16;
/// How long a full queue may stay full.
const SLOW_MAX: Duration = Duration::from_secs(5);
/// How long a stream goes on: clocks on both sides drift apart, by some 0.2 s in this time.
const LIFE_MAX: Duration = Duration::from_secs(3_600);

/// How many streams are open, and whose.
#[derive(Clone, Default)]
pub(in crate::http) struct Streams(Arc<Mutex<BTreeMap<Option<OrganizationId>, usize>>>);

/// One place; it is free again when this is dropped.
struct Open {
    streams: Streams,
    of: Option<OrganizationId>,
}

impl Streams {
    fn open(&self, of: Option<OrganizationId>) -> Result<Open, Problem> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&of).copied().unwrap_or(0);
        if own >= STREAMS_EACH_MAX || open.values().sum::<usize>() >= STREAMS_MAX {
            return Err(Problem::unavailable(
                "streams_exhausted",
                "as many streams as may be open at once are open already",
            ));
        }
        open.insert(of, own + 1);
        let streams = self.clone();
        Ok(Open { streams, of })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self
            .streams
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.of);
            }
        }
    }
}

/// Where a stream begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Start {
    after: Option<String>,
}

/// How far the stream has come.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Heartbeat {
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
pub(in crate::http) async fn stream(call: Call, query: Query<Start>) -> Result<Response, Problem> {
    let access = call.may_at_home(Action::Verify)?;
    let scope = scope(&access)?;
    let start = query.read()?;
    let from = match single(call.context.headers(), &LAST_EVENT_ID)? {
        Some(id) if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) => {
            let detail = "Last-Event-ID is the id of an event of this stream: a position";
            return Err(Problem::bad_request("position_invalid", detail));
        }
        Some(id) => first_after(&call.app, Some(id))?,
        None => first_after(&call.app, start.after.as_deref())?,
    };
    call.wait().await?;
    let open = call
        .app
        .feed
        .streams
        .open(access.authority().organization)?;
    let shown = call.views().position().map_or(0, |position| position + 1);
    let (queue, events) = mpsc::channel(QUEUE_LEN);
    let follower = Follower {
        caller: Standing::of(call, scope),
        next: from.unwrap_or(shown),
        began: Instant::now(),
        queue,
        _open: open,
    };
    tokio::spawn(follower.run());
    let events = stream::unfold(events, |mut events: mpsc::Receiver<Event>| async {
        let event = events.recv().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    let mut response = Sse::new(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would keep events back until its buffer is full.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    headers.insert(unbuffered, HeaderValue::from_static("no"));
    Ok(response)
}

/// What follows the feed for one connection.
struct Follower {
    caller: Standing,
    next: u64,
    began: Instant,
    queue: mpsc::Sender<Event>,
    _open: Open,
}

/// Why a stream ends; nobody is told.
struct Over;

impl Follower {
    async fn run(mut self) {
        // Whatever it was, the client comes back.
        let _over: Result<(), Over> = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Over> {
        let mut news = self.caller.app.ledger.views().revocations.news();
        let mut beat = Instant::now();
        let mut complete_at = None;
        loop {
            self.check().await?;
            news.mark_unchanged();
            let (asked, shown) = (Instant::now(), self.shown());
            let page = read(&self.caller.app, self.next, self.caller.scope, PAGE_LEN).await;
            let page = page.map_err(|_unreadable| Over)?;
            for entry in &page.entries {
                let event = Event::default().event("revocation");
                let event = event.id(entry.position.to_string());
                let event = event.json_data(Revocation::of(entry));
                self.send(event.map_err(|_no_json| Over)?).await?;
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
                () = self.queue.closed() => return Err(Over),
            }
        }
    }

    /// Count of the events that all views show.
    fn shown(&self) -> u64 {
        let position = self.caller.app.ledger.views().position();
        position.map_or(0, |position| position + 1)
    }

    async fn heartbeat(&self, complete_at: Option<Instant>) -> Result<(), Over> {
        let position = self.next.saturating_sub(1);
        let elapsed_ms = complete_at.map(|at| {
            let elapsed = at.saturating_duration_since(self.began).as_millis();
            u64::try_from(elapsed).unwrap_or(u64::MAX)
        });
        let event = Event::default().event("heartbeat").id(position.to_string());
        let event = event.json_data(Heartbeat {
            position,
            elapsed_ms,
        });
        self.send(event.map_err(|_no_json| Over)?).await
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        let late = Instant::now() + SLOW_MAX;
        let mut event = Some(event);
        loop {
            let tick = late.min(Instant::now() + HEARTBEAT);
            match tokio::time::timeout_at(tick, self.queue.reserve()).await {
                Ok(Ok(place)) => {
                    if let Some(event) = event.take() {
                        place.send(event);
                    }
                    return Ok(());
                }
                Ok(Err(_closed)) => return Err(Over),
                Err(_elapsed) if Instant::now() >= late => return Err(Over),
                Err(_elapsed) => self.check().await?,
            }
        }
    }

    async fn check(&self) -> Result<(), Over> {
        let in_time = self.began.elapsed() <= LIFE_MAX;
        if in_time && self.caller.stands().await {
            Ok(())
        } else {
            Err(Over)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_streams_are_open_at_once_and_no_more() {
        let streams = Streams::default();
        let organization = |n: u128| Some(OrganizationId(ulid::Ulid(n)));
        let mut open = Vec::new();
        for n in 1..=4 {
            for _ in 0..STREAMS_EACH_MAX {
                open.push(streams.open(organization(n)).ok().unwrap());
            }
            let refused = streams.open(organization(n)).err().unwrap();
            assert_eq!(refused.code(), "streams_exhausted");
        }
        assert!(streams.open(None).is_err(), "in all");
        open.pop();
        assert!(streams.open(None).is_ok());
        drop(open);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
