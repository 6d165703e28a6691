//! The ledger's own time: what events are dated by, and what expiries are judged by.

use std::sync::atomic::{AtomicI64, Ordering};

use super::{Clock, ClockReading};

/// In place of an offset, while the log is not ahead of the clock.
const NOT_AHEAD: i64 = i64::MIN;

/// Never goes back while the process runs: the later of the wall clock and the newest event, so
/// that a clock set back revives nothing.
///
/// Where the log is ahead of the clock, since the clock was once, that event would stop time until
/// the clock has caught up, and with it every grace period and expiry. So time passes from there at
/// half the speed of the monotonic clock: slowly enough that the clock catches up.
#[derive(Debug)]
pub struct LedgerTime {
    last_ms: AtomicI64,
    /// What half of the monotonic clock is added to.
    ahead: AtomicI64,
}

impl LedgerTime {
    /// With the time that was reached before, if there is one.
    pub fn start(at: ClockReading, last_ms: Option<i64>) -> Self {
        let time = Self {
            last_ms: AtomicI64::new(last_ms.unwrap_or(NOT_AHEAD)),
            ahead: AtomicI64::new(NOT_AHEAD),
        };
        time.anchor(at);
        time
    }

    /// Looks whether the log is ahead of the clock: at start, and when the clock was accepted as
    /// it is.
    pub fn anchor(&self, at: ClockReading) {
        let newest = self.last_ms.load(Ordering::Acquire).max(self.floor(at));
        let ahead = match newest > at.wall_ms {
            true => newest - at.monotonic_ms / 2,
            false => NOT_AHEAD,
        };
        self.ahead.store(ahead, Ordering::Release);
    }

    /// A newer event is in the log.
    pub fn advance(&self, last_ms: i64) {
        self.last_ms.fetch_max(last_ms, Ordering::AcqRel);
    }

    /// The earliest that it can be, whatever the wall clock says.
    pub fn floor(&self, at: ClockReading) -> i64 {
        match self.ahead.load(Ordering::Acquire) {
            NOT_AHEAD => NOT_AHEAD,
            ahead => ahead.saturating_add(at.monotonic_ms / 2),
        }
    }

    /// The time that was reached while it is ahead of the wall clock.
    pub fn ahead_ms(&self, at: ClockReading) -> Option<i64> {
        Some(self.floor(at)).filter(|floor| *floor > at.wall_ms)
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self, clock: &Clock) -> i64 {
        let last_ms = self.last_ms.load(Ordering::Acquire);
        match self.ahead.load(Ordering::Acquire) {
            NOT_AHEAD => clock.now_ms().max(last_ms),
            _ => {
                let at = clock.read_both_clocks();
                at.wall_ms.max(last_ms).max(self.floor(at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    #[test]
    fn time_passes_at_half_speed_until_the_clock_has_caught_up() {
        let check = |last_ms: Option<i64>, after: &[(i64, i64)]| {
            let (clock, hands) = Clock::manual(START_MS);
            hands.set_monotonic_ms(77);
            let time = LedgerTime::start(clock.read_both_clocks(), last_ms);
            for (passed, expected) in after {
                hands.set_wall_ms(START_MS + passed);
                hands.set_monotonic_ms(77 + passed);
                assert_eq!(
                    time.now_ms(&clock),
                    START_MS + expected,
                    "{last_ms:?} {passed}"
                );
            }
        };
        check(None, &[(0, 0), (10, 10)]);
        check(Some(START_MS - 5), &[(0, 0), (10, 10), (-10, -5)]);
        let ahead = &[
            (0, 1_000),
            (10, 1_005),
            (1_000, 1_500),
            (2_000, 2_000),
            (2_010, 2_010),
        ];
        check(Some(START_MS + 1_000), ahead);
    }

    #[test]
    fn a_clock_that_is_accepted_behind_the_log_begins_there() {
        let (clock, hands) = Clock::manual(START_MS);
        let time = LedgerTime::start(clock.read_both_clocks(), None);
        time.advance(START_MS + 4_000);
        hands.advance_ms(1_000);
        assert_eq!(time.now_ms(&clock), START_MS + 4_000);
        time.anchor(clock.read_both_clocks());
        hands.advance_ms(1_000);
        assert_eq!(time.now_ms(&clock), START_MS + 4_500);
        // Accepted once more: nothing is lost of what has passed.
        time.anchor(clock.read_both_clocks());
        assert_eq!(time.now_ms(&clock), START_MS + 4_500);
        hands.advance_ms(20_000);
        assert_eq!(time.now_ms(&clock), START_MS + 22_000);
    }
}
