//! Places in the log, as clients name them: a position, or an instant that is resolved to one.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Schema, Type};

use crate::api::ledger::moment::off_thread;
use crate::domain::event::ledger::LedgerRestored;
use crate::domain::time::Timestamp;
use crate::ledger::PositionError;
use crate::web::call::Call;
use crate::web::problem::Problem;

/// A place in the log, as it is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Before the event of this position.
    Position(u64),
    /// Before the first event that did not happen before it.
    Instant(Timestamp),
}

/// What a text of a place looks like: digits, or a date and a time.
const TEXT: &str = "^([0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$";

/// How a place is written.
pub(crate) fn schema() -> Schema {
    let of = |kind| ObjectBuilder::new().schema_type(kind);
    let written = OneOfBuilder::new().description(Some("A position, or an instant of RFC 3339."));
    let written = written.item(of(Type::Integer).minimum(Some(0)));
    let text = of(Type::String).pattern(Some(TEXT));
    Schema::OneOf(written.item(text).build())
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PlaceVisitor)
    }
}

struct PlaceVisitor;

impl Visitor<'_> for PlaceVisitor {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position or an instant of RFC 3339")
    }

    fn visit_u64<E>(self, position: u64) -> Result<Place, E> {
        Ok(Place::Position(position))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Place, E> {
        text.parse().map_err(E::custom)
    }
}

/// Not a place.
#[derive(Debug, thiserror::Error)]
#[error("must be a position or an instant of RFC 3339")]
pub(crate) struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than a number has lie beyond every end.
            return Ok(Self::Position(text.parse().unwrap_or(u64::MAX)));
        }
        let instant = Timestamp::parse(text).map(Self::Instant);
        instant.map_err(|_no_instant| NoPlace)
    }
}

impl Place {
    /// The position of the first event that does not lie before the place; the end of the log if
    /// there is none yet.
    pub(crate) async fn position(self, call: &Call) -> Result<u64, Problem> {
        let end = call.app.ledger.reader().next_position();
        match self {
            // Before this position: everything after the one ahead of it may be lost.
            Self::Position(position) if position == end => Ok(position),
            Self::Position(position) => match call.app.ledger.check_position(position) {
                Err(PositionError::Lost(restore)) if restore.size == position => Ok(position),
                checked => Ok(checked.map(|()| position)?),
            },
            Self::Instant(instant) => {
                let before = Timestamp(instant.0.saturating_sub(1));
                let found = off_thread(call, move |ledger| ledger.position_at(before)).await??;
                Ok(found.map_or(0, |last| last + 1).min(end))
            }
        }
    }
}

impl From<PositionError> for Problem {
    fn from(why: PositionError) -> Self {
        match why {
            PositionError::Unknown => Self::position_unknown(),
            PositionError::Lost(LedgerRestored { size, resumes_at }) => {
                let kept = size.saturating_sub(1);
                let detail = format!(
                    "this position is from before the ledger was restored from a backup: events \
                     after position {kept} were lost. Discard what you learned from later ones, \
                     cached verifications included, and go on from position {kept}; new events \
                     follow position {resumes_at}"
                );
                Self::gone("ledger_restored", detail)
            }
        }
    }
}
