//! A suspect clock as a degraded part.

use crate::clock::ClockSuspicion;
use crate::degraded::{DegradedParts, Part};
use crate::domain::time::Timestamp;

const ENDS_ALONE: &str = "only revoke, disable and delete are accepted. Set the clock right and \
    restart, or confirm it with --accept-clock";
/// The same of a clock that may be right now and was ahead before.
const ENDS_ALONE_UNTIL_THEN: &str = "only revoke, disable and delete are accepted until the clock \
    has caught up. If the clock is wrong, set it right and restart. If it is right, and was ahead \
    when that event was written, restart with --accept-clock, at every start until then: the \
    ledger's time passes at half speed from that event on, so grace periods and expiries take up \
    to twice as long";

/// Reports what the newest look at the clock has found.
pub(super) fn report_clock(degraded: &DegradedParts, suspicion: Option<&ClockSuspicion>) {
    match suspicion {
        None => degraded.end(Part::Clock),
        Some(why) => degraded.begin(Part::Clock, steady_reason(why), remedy(why)),
    }
}

fn remedy(why: &ClockSuspicion) -> &'static str {
    match why {
        ClockSuspicion::BehindLastEvent { .. } => ENDS_ALONE_UNTIL_THEN,
        ClockSuspicion::FarPastLastEvent { .. } | ClockSuspicion::Stepped { .. } => ENDS_ALONE,
    }
}

/// The same text as long as the trouble is the same, so that it is logged once.
fn steady_reason(why: &ClockSuspicion) -> String {
    match *why {
        ClockSuspicion::FarPastLastEvent { wall_ms, last_ms } => format!(
            "the clock was at {} at the start, far past the last event of the log, of {}",
            Timestamp(wall_ms),
            Timestamp(last_ms)
        ),
        ClockSuspicion::BehindLastEvent { last_ms, .. } => format!(
            "the clock is behind the last event of the log, of {}",
            Timestamp(last_ms)
        ),
        ClockSuspicion::Stepped { .. } => "the clock was set while the service ran".to_owned(),
    }
}
