//! How events get to a connection: through a short queue, for as long as the caller may have them.
//!
//! Whoever follows a feed sends; a reader that does not take what is sent is let go, and so is one
//! that has read for an hour: it comes back.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::web::app::App;
use crate::web::call::Call;
use crate::web::context::single;
use crate::web::lists::first_after;
use crate::web::problem::Problem;
use crate::web::shares::Share;
use crate::web::streams::{LOOK_EVERY, StreamAccess};

/// Where an interrupted stream goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Events that wait for the connection: usually 3 KB, 30 KB of whole records; at most 16 owners
/// with 5,000 credentials each, 2.5 MB.
const QUEUE_LEN: usize = 16;
/// How long a full queue may stay full.
const SLOW_MAX: Duration = Duration::from_secs(5);
/// How long a stream goes on: clocks on both sides drift apart, by some 0.2 s in this time.
const LIFE_MAX: Duration = Duration::from_secs(3_600);

/// The way to one connection.
pub(crate) struct Line {
    caller: StreamAccess,
    began: Instant,
    queue: mpsc::Sender<Event>,
    _open: Share,
}

/// Why a stream ends; nobody is told.
pub(crate) struct Over;

impl Line {
    /// A way, and the answer that it leads to.
    pub(crate) fn open(caller: StreamAccess, open: Share) -> (Self, Response) {
        let (queue, events) = mpsc::channel(QUEUE_LEN);
        let line = Self {
            caller,
            began: Instant::now(),
            queue,
            _open: open,
        };
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
        (line, response)
    }

    pub(crate) fn app(&self) -> &App {
        &self.caller.app
    }

    /// Count of the events that all views show.
    pub(crate) fn shown(&self) -> u64 {
        self.app().shown()
    }

    /// When the stream began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Comes when nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Sends an event once there is room.
    pub(crate) async fn send(&self, event: Event) -> Result<(), Over> {
        let late = Instant::now() + SLOW_MAX;
        let mut event = Some(event);
        loop {
            let tick = late.min(Instant::now() + LOOK_EVERY);
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

    /// Whether it goes on.
    pub(crate) async fn check(&self) -> Result<(), Over> {
        let in_time = self.began.elapsed() <= LIFE_MAX;
        if in_time && self.caller.is_still_granted().await {
            Ok(())
        } else {
            Err(Over)
        }
    }
}

/// The first position of a stream: after what was received last, else after what the query names.
pub(crate) fn resumed(call: &Call, after: Option<&str>) -> Result<Option<u64>, Problem> {
    match single(call.context.headers(), &LAST_EVENT_ID)? {
        Some(id) if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) => {
            let detail = "Last-Event-ID must be the id of an event of this stream, a position";
            Err(Problem::bad_request("position_invalid", detail))
        }
        Some(id) => first_after(&call.app, Some(id)),
        None => first_after(&call.app, after),
    }
}
