//! Time and randomness.
//!
//! The only place that reads the wall clock, the monotonic clock or the operating system's random
//! source; everyone else is handed values. It must never decide what a suspicious clock means
//! for a command: it says what is suspicious, and the write path refuses. Readings flow out of
//! [`Clock`] and [`Entropy`] into facts; nothing flows back in.

#![allow(
    clippy::disallowed_methods,
    reason = "this module is the one reader of the clocks"
)]

mod entropy;
mod ledger_time;

pub use entropy::Entropy;
pub use ledger_time::LedgerTime;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;

/// How far the wall clock may be from where the monotonic clock puts it: 5 minutes. Time
/// daemons slew smaller errors; a larger one is a step that someone should look at.
pub const DRIFT_MS_MAX: i64 = 5 * 60 * 1_000;

/// How far past the last event the wall clock may be at start: 400 days, a year of idleness
/// and a month to notice.
pub const IDLE_MS_MAX: i64 = 400 * 24 * 60 * 60 * 1_000;

/// Where time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clocks; the instant is the origin of the monotonic one.
    System(Instant),
    /// A clock that tests set by hand.
    Manual(Arc<ManualClock>),
}

impl Clock {
    /// The machine's clocks, with the monotonic one starting at zero now.
    pub fn system() -> Self {
        Self::System(Instant::now())
    }

    /// A clock that shows `wall_ms` until its other handle moves it.
    pub fn manual(wall_ms: i64) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock {
            wall_ms: AtomicI64::new(wall_ms),
            monotonic_ms: AtomicI64::new(0),
        });
        (Self::Manual(Arc::clone(&clock)), clock)
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        match self {
            Self::System(_) => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => whole_ms(since),
                Err(before) => -whole_ms(before.duration()),
            },
            Self::Manual(clock) => clock.wall_ms.load(Ordering::Acquire),
        }
    }

    /// Milliseconds of a clock that no one can set. Where the system's does not count the time
    /// that the machine sleeps, waking looks like a step of the wall clock.
    pub fn monotonic_ms(&self) -> i64 {
        match self {
            Self::System(origin) => whole_ms(Instant::now().duration_since(*origin)),
            Self::Manual(clock) => clock.monotonic_ms.load(Ordering::Acquire),
        }
    }

    /// The same clock as fine as it goes, for how long something takes.
    pub fn monotonic_duration(&self) -> Duration {
        match self {
            Self::System(origin) => Instant::now().duration_since(*origin),
            Self::Manual(clock) => {
                let ms = clock.monotonic_ms.load(Ordering::Acquire);
                Duration::from_millis(u64::try_from(ms).unwrap_or(0))
            }
        }
    }

    /// How long it is since it showed `began`.
    pub fn elapsed_since(&self, began: Duration) -> Duration {
        self.monotonic_duration().saturating_sub(began)
    }

    /// Microseconds of the same clock.
    pub fn monotonic_us(&self) -> u64 {
        u64::try_from(self.monotonic_duration().as_micros()).unwrap_or(u64::MAX)
    }

    /// Both clocks, read one after the other.
    pub fn read_both_clocks(&self) -> ClockReading {
        ClockReading {
            wall_ms: self.now_ms(),
            monotonic_ms: self.monotonic_ms(),
        }
    }
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that does not move until it is set.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicI64,
}

impl ManualClock {
    /// Steps the wall clock alone, as a wrong time daemon would.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::Release);
    }

    /// Sets the monotonic clock alone.
    pub fn set_monotonic_ms(&self, monotonic_ms: i64) {
        self.monotonic_ms.store(monotonic_ms, Ordering::Release);
    }

    /// Lets time pass: both clocks move together.
    pub fn advance_ms(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::AcqRel);
        self.monotonic_ms.fetch_add(by_ms, Ordering::AcqRel);
    }
}

/// What the two clocks said at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClockReading {
    /// The wall clock, milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// The monotonic clock, milliseconds since its own origin.
    pub monotonic_ms: i64,
}

/// Why a clock is not believed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ClockSuspicion {
    /// The wall clock is more than [`DRIFT_MS_MAX`] from where the monotonic clock puts it.
    #[error("the clock says {wall_ms} ms, the monotonic clock puts it at {expected_ms} ms")]
    Stepped {
        /// What the wall clock says.
        wall_ms: i64,
        /// What it should say.
        expected_ms: i64,
    },
    /// At start the wall clock was more than [`IDLE_MS_MAX`] past the last event.
    #[error("the clock said {wall_ms} ms at start, the last event is of {last_ms} ms")]
    FarPastLastEvent {
        /// What the wall clock said at start.
        wall_ms: i64,
        /// When the last event was.
        last_ms: i64,
    },
    /// The last event at start is more than [`DRIFT_MS_MAX`] ahead of the wall clock: the clock is
    /// wrong now, or was wrong when the event was written.
    #[error("the clock says {wall_ms} ms, the last event at start is ahead of it, at {last_ms} ms")]
    BehindLastEvent {
        /// What the wall clock says.
        wall_ms: i64,
        /// When the last event at start was.
        last_ms: i64,
    },
}

/// Judges readings against the first one. Pure: it is fed readings and reads nothing itself.
#[derive(Clone, Copy, Debug)]
pub struct ClockGuard {
    anchor: ClockReading,
    /// The last event's time, when the clock at start was too far past it.
    far_past_ms: Option<i64>,
    /// The last event's time, when the clock at start was too far behind it.
    ahead_ms: Option<i64>,
}

impl ClockGuard {
    /// Anchors the guard at start, with the time of the log's last event if there is one.
    pub fn anchor_at_start(at: ClockReading, last_ms: Option<i64>) -> Self {
        let since = |last: i64| at.wall_ms.saturating_sub(last);
        Self {
            anchor: at,
            far_past_ms: last_ms.filter(|last| since(*last) > IDLE_MS_MAX),
            ahead_ms: last_ms.filter(|last| since(*last) < -DRIFT_MS_MAX),
        }
    }

    /// Why writes other than revocations must wait for the operator, if they must.
    pub fn suspicion_at(&self, at: ClockReading) -> Option<ClockSuspicion> {
        if let Some(last_ms) = self.far_past_ms {
            return Some(ClockSuspicion::FarPastLastEvent {
                wall_ms: self.anchor.wall_ms,
                last_ms,
            });
        }
        // A clock that has caught up with the log, or was set right, is no longer behind it.
        if let Some(last_ms) = self.ahead_ms
            && last_ms.saturating_sub(at.wall_ms) > DRIFT_MS_MAX
        {
            return Some(ClockSuspicion::BehindLastEvent {
                wall_ms: at.wall_ms,
                last_ms,
            });
        }
        let expected_ms = self.anchor.wall_ms.saturating_add(self.elapsed_ms(at));
        let stepped = at.wall_ms.abs_diff(expected_ms) > DRIFT_MS_MAX.unsigned_abs();
        stepped.then_some(ClockSuspicion::Stepped {
            wall_ms: at.wall_ms,
            expected_ms,
        })
    }

    /// The operator vouches for the clock as it is now: it becomes the new anchor.
    pub fn accept_reading(&mut self, at: ClockReading) {
        *self = Self {
            anchor: at,
            far_past_ms: None,
            ahead_ms: None,
        };
    }

    /// The time of an event written now: never before the last event's.
    ///
    /// While the clock is suspect only revocations are written. They take the time that the
    /// monotonic clock vouches for, because one revocation dated by a clock set years ahead
    /// would drag every later event there, and each expiry before it would be past for ever.
    pub fn event_time_ms(&self, at: ClockReading, last_ms: i64) -> i64 {
        let believed_ms = match self.suspicion_at(at) {
            None | Some(ClockSuspicion::BehindLastEvent { .. }) => at.wall_ms,
            Some(ClockSuspicion::Stepped { expected_ms, .. }) => expected_ms,
            Some(ClockSuspicion::FarPastLastEvent { last_ms, .. }) => {
                last_ms.saturating_add(self.elapsed_ms(at))
            }
        };
        believed_ms.max(last_ms)
    }

    fn elapsed_ms(&self, at: ClockReading) -> i64 {
        at.monotonic_ms.saturating_sub(self.anchor.monotonic_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    fn reading(wall_ms: i64, monotonic_ms: i64) -> ClockReading {
        ClockReading {
            wall_ms,
            monotonic_ms,
        }
    }

    #[test]
    fn a_step_of_more_than_five_minutes_is_suspect_and_dates_nothing() {
        let guard = ClockGuard::anchor_at_start(reading(START_MS, 1_000), Some(START_MS - 5));
        let (hour, max) = (3_600_000, DRIFT_MS_MAX);
        // Wall clock and monotonic clock as offsets from the start; whether it is suspect; what
        // an event right after the start's last one is dated, as an offset.
        let cases = [
            (0, 0, false, 0),
            (hour, hour, false, hour),
            (hour + max, hour, false, hour + max),
            (hour + max + 1, hour, true, hour),
            (hour - max, hour, false, hour - max),
            (hour - max - 1, hour, true, hour),
            (-1_000, 10, false, -5),
            (10 * 365 * 24 * hour, 7, true, 7),
        ];
        for (wall, monotonic, suspect, dated) in cases {
            let at = reading(START_MS + wall, 1_000 + monotonic);
            assert_eq!(
                guard.suspicion_at(at).is_some(),
                suspect,
                "{wall} {monotonic}"
            );
            let dated_ms = guard.event_time_ms(at, START_MS - 5);
            assert_eq!(dated_ms, START_MS + dated, "{wall} {monotonic}");
        }
    }

    #[test]
    fn a_start_far_past_the_last_event_is_suspect_until_accepted() {
        for (last_ms, suspect) in [
            (None, false),
            (Some(START_MS + 1), false),
            (Some(START_MS - IDLE_MS_MAX), false),
            (Some(START_MS - IDLE_MS_MAX - 1), true),
        ] {
            let guard = ClockGuard::anchor_at_start(reading(START_MS, 0), last_ms);
            let found = guard.suspicion_at(reading(START_MS, 0)).is_some();
            assert_eq!(found, suspect, "{last_ms:?}");
        }

        let last_ms = START_MS - IDLE_MS_MAX - 1;
        let mut guard = ClockGuard::anchor_at_start(reading(START_MS, 0), Some(last_ms));
        let later = reading(START_MS + 50, 50);
        assert_eq!(guard.event_time_ms(later, last_ms), last_ms + 50);
        guard.accept_reading(later);
        assert_eq!(guard.suspicion_at(later), None);
        assert_eq!(guard.event_time_ms(later, last_ms), START_MS + 50);
    }

    #[test]
    fn a_start_behind_the_last_event_is_suspect_until_it_catches_up_or_is_accepted() {
        let year = 365 * 24 * 3_600_000;
        for (last_ms, suspect) in [
            (START_MS + DRIFT_MS_MAX, false),
            (START_MS + DRIFT_MS_MAX + 1, true),
            (START_MS + 2 * year, true),
        ] {
            let mut guard = ClockGuard::anchor_at_start(reading(START_MS, 0), Some(last_ms));
            assert_eq!(guard.suspicion_at(reading(START_MS, 0)).is_some(), suspect);
            // Nothing is dated before the last event, whether the clock is believed or not.
            assert_eq!(guard.event_time_ms(reading(START_MS, 0), last_ms), last_ms);
            let caught_up = last_ms - START_MS - DRIFT_MS_MAX;
            let later = reading(START_MS + caught_up, caught_up);
            assert_eq!(guard.suspicion_at(later), None);
            guard.accept_reading(reading(START_MS, 0));
            assert_eq!(guard.suspicion_at(reading(START_MS, 0)), None);
        }
    }

    #[test]
    fn accepting_a_step_makes_it_the_anchor() {
        let (clock, hands) = Clock::manual(START_MS);
        let mut guard = ClockGuard::anchor_at_start(clock.read_both_clocks(), None);
        hands.advance_ms(1_000);
        hands.set_wall_ms(START_MS - 86_400_000);
        let suspicion = guard.suspicion_at(clock.read_both_clocks()).unwrap();
        assert_eq!(
            suspicion.to_string(),
            "the clock says 1699913600000 ms, the monotonic clock puts it at 1700000001000 ms"
        );
        guard.accept_reading(clock.read_both_clocks());
        hands.advance_ms(1_000);
        assert_eq!(guard.suspicion_at(clock.read_both_clocks()), None);
        // Nothing that has expired revives: the last event's time still holds.
        assert_eq!(
            guard.event_time_ms(clock.read_both_clocks(), START_MS),
            START_MS
        );
    }

    #[test]
    fn the_system_clock_goes_on() {
        let clock = Clock::system();
        let first = clock.read_both_clocks();
        assert!(first.wall_ms > START_MS && first.monotonic_ms >= 0);
        assert!(clock.monotonic_ms() >= first.monotonic_ms);
    }
}
