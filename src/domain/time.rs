//! Instants as the ledger keeps them: whole milliseconds since the Unix epoch, UTC.
//!
//! In JSON: RFC 3339 with exactly three fractional digits. Instants come in as facts; nothing here
//! reads a clock.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::from_text;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub i64);

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Characters of an instant in text.
const TEXT_LEN: usize = 24;

/// The latest instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
const LATEST_MS: i64 = 253_402_300_799_999;

/// A text that is no instant of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an RFC 3339 time between 1970 and 9999, such as 2026-04-24T15:30:00Z")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// Reads any RFC 3339 time; what is finer than a millisecond is cut off.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        if let Some(known) = Self::parse_own(text) {
            return Ok(known);
        }
        match DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()) {
            Ok(ms @ 0..=LATEST_MS) => Ok(Self(ms)),
            Ok(_) | Err(_) => Err(InvalidTimestamp),
        }
    }

    /// The form in which this program writes, which every event has at least once: read at a third
    /// of the time that any other form takes.
    fn parse_own(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| -> Option<u32> {
            text.as_bytes()
                .get(from..to)?
                .iter()
                .try_fold(0, |sum, byte| {
                    byte.is_ascii_digit()
                        .then(|| sum * 10 + u32::from(byte - b'0'))
                })
        };
        let marks = [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'.'),
            (23, b'Z'),
        ];
        let marked = |(at, mark): (usize, u8)| text.as_bytes().get(at) == Some(&mark);
        if text.len() != 24 || !marks.into_iter().all(marked) {
            return None;
        }
        let year = i32::try_from(number(0, 4)?).ok()?;
        let date = NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?;
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let time = date.and_hms_milli_opt(hour, minute, second, number(20, 23)?)?;
        match time.and_utc().timestamp_millis() {
            ms @ 0..=LATEST_MS => Some(Self(ms)),
            _ => None,
        }
    }

    /// Writes the text in place: every event holds one at least.
    fn text(self, text: &mut [u8; TEXT_LEN]) -> &str {
        let time = DateTime::<Utc>::from_timestamp_millis(self.0.clamp(0, LATEST_MS));
        let time = time.unwrap_or_default();
        *text = *b"0000-00-00T00:00:00.000Z";
        let parts = [
            (3, time.year().unsigned_abs()),
            (6, time.month()),
            (9, time.day()),
            (12, time.hour()),
            (15, time.minute()),
            (18, time.second()),
            (22, time.timestamp_subsec_millis()),
        ];
        for (last, mut number) in parts {
            let mut digits = text.iter_mut().take(last + 1).rev();
            while let (1.., Some(digit)) = (number, digits.next()) {
                // Below ten, so that it fits.
                *digit += u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        }
        str::from_utf8(text).unwrap_or_default()
    }

    /// This instant and `ms` milliseconds, never beyond the year 9999.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms).clamp(0, LATEST_MS))
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        Self::parse(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_LEN]))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.serialize_str(self.text(&mut [0; TEXT_LEN]))
        } else {
            self.0.serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            from_text(from)
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
