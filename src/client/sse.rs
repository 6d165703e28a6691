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

/// Why what the server sent is not a valid stream of events.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidStream(pub(crate) &'static str);

/// Why a stream could not be opened, or has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the server cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the server did not respond in time")]
    ResponseTimeout,
    /// The status is not 200.
    #[error("the server responded with status {}", .0.status().as_u16())]
    Refused(Box<Response>),
    #[error("the stream cannot be read: {0}")]
    Invalid(#[from] InvalidStream),
    #[error("the server sent nothing in time")]
    Silent,
    #[error("the stream broke off")]
    Broken(#[source] reqwest::Error),
    #[error("the server closed the stream")]
    Closed,
}

/// How long a stream may take to begin, and how long it may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamTimeouts {
    pub(crate) begin: Duration,
    pub(crate) silence: Duration,
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    response: Response,
    silence_max: Duration,
    partial: EventParser,
    ready: VecDeque<Event>,
}

impl EventStream {
    /// Opens a stream, after the event with an id or from now on.
    pub(crate) async fn open(
        request: RequestBuilder,
        last_event_id: Option<u64>,
        timeouts: StreamTimeouts,
    ) -> Result<Self, StreamError> {
        let mut request = request.header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let answered = timeout(timeouts.begin, request.send()).await;
        let answered = answered.map_err(|_elapsed| StreamError::ResponseTimeout)?;
        let response = answered.map_err(StreamError::Unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(StreamError::Refused(Box::new(response)));
        }
        check_content_type(response.headers())?;
        Ok(Self {
            response,
            silence_max: timeouts.silence,
            partial: EventParser::default(),
            ready: VecDeque::new(),
        })
    }

    /// Its next event.
    pub(crate) async fn next(&mut self) -> Result<Event, StreamError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let chunk = timeout(self.silence_max, self.response.chunk()).await;
            let chunk = chunk.map_err(|_elapsed| StreamError::Silent)?;
            let chunk = chunk
                .map_err(StreamError::Broken)?
                .ok_or(StreamError::Closed)?;
            self.partial.feed(&chunk, &mut self.ready)?;
        }
    }
}

/// Refuses a response that is not a stream of events.
fn check_content_type(headers: &HeaderMap) -> Result<(), InvalidStream> {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().map(str::trim) {
        Some("text/event-stream") => Ok(()),
        Some(_) | None => Err(InvalidStream("it is not a stream of events")),
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
pub(crate) struct EventParser {
    line: Vec<u8>,
    event: Event,
}

impl EventParser {
    /// Takes some bytes and adds the events that they end.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        ready: &mut VecDeque<Event>,
    ) -> Result<(), InvalidStream> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let held = self.line.len() + self.event.data.len();
            if held.saturating_add(piece.len()) > EVENT_BYTES_MAX {
                return Err(InvalidStream("an event is too long"));
            }
            self.line.extend_from_slice(piece);
            if piece.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                let line =
                    std::str::from_utf8(&line).map_err(|_no_text| InvalidStream("not UTF-8"))?;
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
