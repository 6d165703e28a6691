//! Server-sent events, read as they come.
//!
//! Owns the opening of a stream and its bounds in time and bytes. Nothing that a server sends makes
//! it panic or grow: another media type, a line or an event beyond its limit and bytes that are no
//! text end the stream. When to open the next one is the reader's business.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::time::timeout;

/// The longest event: an owner with 5,000 credentials has 165,000 bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// A server says what cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Lie(pub(crate) &'static str);

/// Why a stream has not begun, or is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamEnd {
    #[error("the server cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the server does not answer")]
    Unanswered,
    /// An answer with another status than 200.
    #[error("the server answered {}", .0.status().as_u16())]
    Refused(Box<Response>),
    #[error("the stream cannot be read: {0}")]
    Unreadable(#[from] Lie),
    #[error("the server is silent")]
    Silent,
    #[error("the stream broke off")]
    Broken(#[source] reqwest::Error),
    #[error("the server has ended the stream")]
    Over,
}

/// How long a stream may take to begin, and how long it may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) begin: Duration,
    pub(crate) silence: Duration,
}

/// A stream that has begun.
#[derive(Debug)]
pub(crate) struct EventStream {
    response: Response,
    silence_max: Duration,
    partial: Events,
    ready: VecDeque<Event>,
}

impl EventStream {
    /// Asks for a stream, after the event with an id or from now on.
    pub(crate) async fn open(
        request: RequestBuilder,
        last_event_id: Option<u64>,
        patience: Patience,
    ) -> Result<Self, StreamEnd> {
        let mut request = request.header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let answered = timeout(patience.begin, request.send()).await;
        let answered = answered.map_err(|_elapsed| StreamEnd::Unanswered)?;
        let response = answered.map_err(StreamEnd::Unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(StreamEnd::Refused(Box::new(response)));
        }
        check_kind(response.headers())?;
        Ok(Self {
            response,
            silence_max: patience.silence,
            partial: Events::default(),
            ready: VecDeque::new(),
        })
    }

    /// Its next event.
    pub(crate) async fn next(&mut self) -> Result<Event, StreamEnd> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let chunk = timeout(self.silence_max, self.response.chunk()).await;
            let chunk = chunk.map_err(|_elapsed| StreamEnd::Silent)?;
            let chunk = chunk.map_err(StreamEnd::Broken)?.ok_or(StreamEnd::Over)?;
            self.partial.feed(&chunk, &mut self.ready)?;
        }
    }
}

/// Whether an answer is a stream of events at all.
fn check_kind(headers: &HeaderMap) -> Result<(), Lie> {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().map(str::trim) {
        Some("text/event-stream") => Ok(()),
        Some(_) | None => Err(Lie("it is not a stream of events")),
    }
}

/// One event of a stream.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

/// Bytes that are not a whole event yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    event: Event,
}

impl Events {
    /// Takes some bytes and adds the events that they end.
    pub(crate) fn feed(&mut self, bytes: &[u8], ready: &mut VecDeque<Event>) -> Result<(), Lie> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let held = self.line.len() + self.event.data.len();
            if held.saturating_add(piece.len()) > EVENT_BYTES_MAX {
                return Err(Lie("an event is too long"));
            }
            self.line.extend_from_slice(piece);
            if piece.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line).map_err(|_no_text| Lie("not UTF-8"))?;
                ready.extend(self.line(line.trim_end_matches(['\r', '\n'])));
            }
        }
        Ok(())
    }

    /// Takes a line; an empty one ends an event.
    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event.name),
            "id" => value.clone_into(&mut self.event.id),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, or nothing that is of use here.
            _ => {}
        }
        None
    }
}
