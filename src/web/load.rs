//! What the service takes on at once: beyond it, requests are refused before they cost anything.
//!
//! Owns places for requests, by class, and the delay with which the runtime gets to its work. Who
//! finds no place, or comes when the delay is long, is answered 503 with `Retry-After` at once, so
//! that those who are let in are answered in time. What ends or disables a credential waits for its
//! place in the ledger's lanes and for nothing else; probes are always answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::web::connection_limits::CONNECTIONS_EACH_MAX;
use crate::web::problem::Problem;

/// Verifications at once: at 25 microseconds each on a core, 100 milliseconds of work.
const VERIFICATIONS_MAX: usize = 4_096;
/// Readings of files or of the past at once: so many that one address with all its connections
/// leaves some. What they hold has bounds of its own, with a share for each organization: `turns`
/// lets 1,024 wait and 64 read, with 168 MiB at most, and 2,048 wait for a checkpoint, with 80 MiB.
const READINGS_MAX: usize = 4_096;
const _: () = assert!(CONNECTIONS_EACH_MAX < READINGS_MAX);
/// All other requests at once: with their longest bodies, 256 MiB. Some read a body before they
/// know whose it is: one address with all its connections must not take every place.
const OTHERS_MAX: usize = 4_096;
const _: () = assert!(CONNECTIONS_EACH_MAX < OTHERS_MAX);
/// Beyond these delays readings, other requests and verifications are refused.
const READINGS_DELAY: Duration = Duration::from_millis(500);
const OTHERS_DELAY: Duration = Duration::from_secs(1);
const VERIFICATIONS_DELAY: Duration = Duration::from_secs(2);
/// How often the delay is measured, and how much of the mean a new measure makes: one long delay
/// among twenty changes little.
const MEASURED_EVERY: Duration = Duration::from_millis(25);
const MEASURES_IN_MEAN: u64 = 20;

/// What a request costs, and how much it matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    /// Probes, metrics, streams and long polls, which have a bound of their own.
    Free,
    /// What gateways wait for.
    Verification,
    /// What reads files or the past.
    Reading,
    /// What ends or disables.
    Ending,
    /// All else.
    Other,
}

impl Class {
    /// The name in the metrics of a refusal.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Verification => "verification",
            Self::Reading => "reading",
            Self::Ending => "ending",
            Self::Other => "other",
        }
    }
}

/// A place; it is free again when this is dropped.
pub(crate) type Place = Option<OwnedSemaphorePermit>;

/// The places, and the delay.
pub(crate) struct Load {
    verifications: Arc<Semaphore>,
    readings: Arc<Semaphore>,
    others: Arc<Semaphore>,
    delay_us: AtomicU64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            verifications: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
            readings: Arc::new(Semaphore::new(READINGS_MAX)),
            others: Arc::new(Semaphore::new(OTHERS_MAX)),
            delay_us: AtomicU64::new(0),
        }
    }
}

impl Load {
    /// A place for a request of `class`, or why there is none.
    pub(crate) fn admit(&self, class: Class) -> Result<Place, Problem> {
        let (places, delay) = match class {
            Class::Free | Class::Ending => return Ok(None),
            Class::Verification => (&self.verifications, VERIFICATIONS_DELAY),
            Class::Reading => (&self.readings, READINGS_DELAY),
            Class::Other => (&self.others, OTHERS_DELAY),
        };
        if Duration::from_micros(self.delay_us.load(Ordering::Relaxed)) > delay {
            return Err(overloaded());
        }
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => Ok(Some(place)),
            Err(_none) => Err(overloaded()),
        }
    }

    /// Measures the delay for as long as it is polled.
    pub(crate) async fn watch(&self) {
        loop {
            let due = Instant::now() + MEASURED_EVERY;
            tokio::time::sleep_until(due).await;
            self.measured(due.elapsed());
        }
    }

    fn measured(&self, delay: Duration) {
        let new = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX / MEASURES_IN_MEAN);
        let mean = self.delay_us.load(Ordering::Relaxed);
        let sum = mean
            .saturating_mul(MEASURES_IN_MEAN - 1)
            .saturating_add(new);
        self.delay_us
            .store(sum / MEASURES_IN_MEAN, Ordering::Relaxed);
    }

    /// Takes all places but `left` of a class, until the answer is dropped.
    #[cfg(test)]
    pub(crate) fn taken_but(&self, class: Class, left: u32) -> Place {
        let places = match class {
            Class::Verification => &self.verifications,
            Class::Reading => &self.readings,
            Class::Free | Class::Ending | Class::Other => &self.others,
        };
        let all = u32::try_from(places.available_permits()).unwrap();
        Arc::clone(places).try_acquire_many_owned(all - left).ok()
    }
}

fn overloaded() -> Problem {
    Problem::unavailable(
        "overloaded",
        "the service has as much to do as it can answer in time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_that_is_full_leaves_the_others_theirs() {
        let load = Load::default();
        let taken = load.taken_but(Class::Reading, 1);
        let last = load.admit(Class::Reading);
        assert!(last.is_ok());
        assert!(load.admit(Class::Reading).is_err());
        for class in [
            Class::Verification,
            Class::Other,
            Class::Ending,
            Class::Free,
        ] {
            assert!(load.admit(class).is_ok(), "{class:?}");
        }
        drop((last, taken));
        assert!(load.admit(Class::Reading).is_ok());
    }

    #[test]
    fn a_long_delay_refuses_readings_first_and_endings_never() {
        let load = Load::default();
        // One long delay is no overload.
        load.measured(Duration::from_secs(5));
        assert!(load.admit(Class::Reading).is_ok());
        let check = |delay_ms, expected: [bool; 4]| {
            for _ in 0..200 {
                load.measured(Duration::from_millis(delay_ms));
            }
            let classes = [
                Class::Reading,
                Class::Other,
                Class::Verification,
                Class::Ending,
            ];
            let admitted = classes.map(|class| load.admit(class).is_ok());
            assert_eq!(admitted, expected, "{delay_ms}");
        };
        check(100, [true, true, true, true]);
        check(700, [false, true, true, true]);
        check(1_500, [false, false, true, true]);
        check(3_000, [false, false, false, true]);
        check(0, [true, true, true, true]);
    }
}
