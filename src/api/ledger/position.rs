//! Points in the log, from which and up to which clients ask for events.

use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Schema, Type};

use crate::api::ledger::moment::off_thread;
use crate::domain::event::ledger::LedgerRestored;
use crate::domain::log_point::LogPoint;
use crate::domain::time::Timestamp;
use crate::ledger::PositionError;
use crate::web::call::Call;
use crate::web::problem::Problem;

/// What a text of a point looks like: digits, or a date and a time.
const TEXT: &str = "^([0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$";

/// How a point is written.
pub(crate) fn schema() -> Schema {
    let of = |kind| ObjectBuilder::new().schema_type(kind);
    let written = OneOfBuilder::new().description(Some("A position, or an instant of RFC 3339."));
    let written = written.item(of(Type::Integer).minimum(Some(0)));
    let text = of(Type::String).pattern(Some(TEXT));
    Schema::OneOf(written.item(text).build())
}

/// The position of the first event that does not lie before a point; the end of the log if there is
/// none yet.
pub(crate) async fn first_position_from(point: LogPoint, call: &Call) -> Result<u64, Problem> {
    let end = call.app.ledger.reader().next_position();
    match point {
        // Before this position: everything after the one ahead of it may be lost.
        LogPoint::Position(position) if position == end => Ok(position),
        LogPoint::Position(position) => match call.app.ledger.check_position(position) {
            Err(PositionError::Lost(restore)) if restore.size == position => Ok(position),
            checked => Ok(checked.map(|()| position)?),
        },
        LogPoint::Instant(instant) => {
            let before = Timestamp(instant.0.saturating_sub(1));
            let found = off_thread(call, move |ledger| ledger.position_at(before)).await??;
            Ok(found.map_or(0, |last| last + 1).min(end))
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
