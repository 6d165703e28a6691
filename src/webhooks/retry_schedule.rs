//! When a delivery is tried again, how a slow endpoint is spared, when a dead one is given up.
//!
//! Owns the arithmetic and nothing else: pure, in whole milliseconds; the random spread is handed
//! in. Must never let a receiver put its next attempt off beyond twice what the schedule says,
//! nor bring it forward.

/// How long after each failed attempt the next one comes: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h,
/// 14 h, 20 h, 24 h. With the first attempt ten in all, over 75 h 35 min 5 s.
pub const RETRY_DELAYS_MS: [i64; 9] = [
    5_000,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
];

/// The least time to leave an endpoint alone that was overloaded or did not answer in time.
pub const OVERLOADED_DELAY_MS_MIN: i64 = MINUTE_MS;

/// An endpoint where nothing but failures have been seen for so long is disabled: 5 days, a long
/// week-end and a day to notice.
pub const DISABLE_FAILING_AFTER_MS: i64 = 120 * HOUR_MS;

/// The first gap between attempts at an endpoint that says it is overloaded.
pub const ATTEMPT_GAP_MS_MIN: i64 = 1_000;
/// The longest of these gaps, reached with the tenth overload in a row.
pub const ATTEMPT_GAP_MS_MAX: i64 = 5 * MINUTE_MS;

/// The shares of [`DISABLE_FAILING_AFTER_MS`] at which the owner is told, in percent.
const FAILING_NOTICES_PERCENT: [u8; 3] = [90, 70, 50];

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// How long to wait after `attempts_made` failed attempts of a delivery; `None` when there are no
/// more.
///
/// The schedule's step is spread by 20 % either way, evenly over the whole range of `jitter`, a
/// random number. `slow` says that the last attempt met an overload or a timeout: a step shorter
/// than a minute is then a minute, spread upwards alone. Where the receiver sent `Retry-After`, the
/// wait is from once to twice the step, and within that no shorter than what was asked for.
#[must_use]
pub fn retry_delay_ms(
    attempts_made: u8,
    jitter: u32,
    retry_after_ms: Option<i64>,
    slow: bool,
) -> Option<i64> {
    let Some(failed) = usize::from(attempts_made).checked_sub(1) else {
        return Some(0);
    };
    let scheduled = *RETRY_DELAYS_MS.get(failed)?;
    let (step, least) = if slow && scheduled < OVERLOADED_DELAY_MS_MIN {
        (OVERLOADED_DELAY_MS_MIN, OVERLOADED_DELAY_MS_MIN)
    } else {
        (scheduled, scheduled - scheduled / 5)
    };
    let most = step + step / 5;
    // At most 2^32 times the 9.6 h by which the longest step is spread: 1.5e17, far from the end.
    let spread = (i64::from(jitter) * (most - least + 1)) >> u32::BITS;
    let asked = retry_after_ms.map_or(0, |asked| asked.clamp(step, 2 * step));
    Some((least + spread).max(asked))
}

/// The notice that is due of an endpoint that has failed for so long: 50, 70 or 90 percent of
/// [`DISABLE_FAILING_AFTER_MS`] have passed.
#[must_use]
pub fn failing_notice_percent(failing_for_ms: i64) -> Option<u8> {
    FAILING_NOTICES_PERCENT
        .into_iter()
        .find(|percent| failing_for_ms >= DISABLE_FAILING_AFTER_MS / 100 * i64::from(*percent))
}

/// The least time between two attempts at an endpoint, of whatever deliveries, after so many
/// answers in a row that it is overloaded: 1 s, doubled each time, at most 5 min.
#[must_use]
pub fn attempt_gap_ms(consecutive_overloads: u32) -> i64 {
    match consecutive_overloads {
        0 => 0,
        // 1 s << 9 is beyond the most already.
        overloads => (ATTEMPT_GAP_MS_MIN << (overloads - 1).min(9)).min(ATTEMPT_GAP_MS_MAX),
    }
}
