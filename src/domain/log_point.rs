//! Points in the log: as people name them, and as they are found.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::time::Timestamp;

/// A point in the log, as it is named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogPoint {
    /// The event at a position.
    Position(u64),
    /// What had happened by an instant.
    Instant(Timestamp),
}

/// A text that names no point in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a position, or an RFC 3339 time such as 2026-04-24T15:30:00Z")]
pub struct InvalidLogPoint;

impl FromStr for LogPoint {
    type Err = InvalidLogPoint;

    /// Digits are a position, all else is an instant.
    fn from_str(text: &str) -> Result<Self, InvalidLogPoint> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than a number has lie beyond every end.
            return Ok(Self::Position(text.parse().unwrap_or(u64::MAX)));
        }
        let instant = Timestamp::parse(text).map(Self::Instant);
        instant.map_err(|_other_form| InvalidLogPoint)
    }
}

/// In JSON a position may be a number too.
impl<'de> Deserialize<'de> for LogPoint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LogPointVisitor)
    }
}

struct LogPointVisitor;

impl Visitor<'_> for LogPointVisitor {
    type Value = LogPoint;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position, or an RFC 3339 time such as 2026-04-24T15:30:00Z")
    }

    fn visit_u64<E>(self, position: u64) -> Result<LogPoint, E> {
        Ok(LogPoint::Position(position))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<LogPoint, E> {
        text.parse().map_err(E::custom)
    }
}

/// A point in a log, once it is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// Of the last event that counts; `None` before the first.
    pub position: Option<u64>,
    /// The instant as of which statuses are shown.
    pub at: Timestamp,
}

impl Moment {
    /// How many events have happened by then.
    #[must_use]
    pub fn events(self) -> u64 {
        self.position.map_or(0, |position| position + 1)
    }
}
