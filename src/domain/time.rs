//! Instants as the ledger keeps them: whole milliseconds since the Unix epoch, UTC.
//!
//! In JSON: RFC 3339 with exactly three fractional digits. Instants come in as facts; nothing here
//! reads a clock.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub i64);

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The latest instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
const LATEST_MS: i64 = 253_402_300_799_999;

/// A text that is no instant of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an RFC 3339 time between 1970 and 9999")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// Reads any RFC 3339 time; what is finer than a millisecond is cut off.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        match DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()) {
            Ok(ms @ 0..=LATEST_MS) => Ok(Self(ms)),
            Ok(_) | Err(_) => Err(InvalidTimestamp),
        }
    }

    /// This instant and `ms` milliseconds, never beyond the year 9999.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms).clamp(0, LATEST_MS))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_millis(self.0.clamp(0, LATEST_MS));
        let time = time.unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            self.0.serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
            Self::parse(&text).map_err(D::Error::custom)
        } else {
            i64::deserialize(from).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_fractional_digits_always() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_777_044_600_000, "2026-04-24T15:30:00.000Z"),
            (1_777_044_600_007, "2026-04-24T15:30:00.007Z"),
            (LATEST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
            assert_eq!(Timestamp::parse(text), Ok(Timestamp(ms)));
        }
    }

    #[test]
    fn other_zones_are_read_and_nonsense_is_refused() {
        assert_eq!(
            Timestamp::parse("2026-04-24T17:30:00+02:00"),
            Ok(Timestamp(1_777_044_600_000))
        );
        for wrong in [
            "",
            "2026-04-24",
            "2026-04-24T15:30:00",
            "1969-12-31T23:59:59Z",
            "now",
        ] {
            assert_eq!(Timestamp::parse(wrong), Err(InvalidTimestamp), "{wrong}");
        }
    }
}
