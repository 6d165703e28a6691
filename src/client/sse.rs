//! Server-sent events, read as they come.
//!
//! Nothing that a server sends makes it panic or grow: a line or an event beyond its limit and
//! bytes that are no text end the stream.

use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// The longest event: an owner with 5,000 credentials has 165,000 bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// A server says what cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Lie(pub(crate) &'static str);

/// Whether an answer is a stream of events at all.
pub(crate) fn check_kind(headers: &HeaderMap) -> Result<(), Lie> {
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
    /// Takes some bytes and hands out the events that they end.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&Event) -> Result<(), Lie>,
    ) -> Result<(), Lie> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let held = self.line.len() + self.event.data.len();
            if held.saturating_add(piece.len()) > EVENT_BYTES_MAX {
                return Err(Lie("an event is too long"));
            }
            self.line.extend_from_slice(piece);
            if piece.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line).map_err(|_no_text| Lie("not UTF-8"))?;
                if let Some(event) = self.line(line.trim_end_matches(['\r', '\n'])) {
                    take(&event)?;
                }
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
