//! Token buckets: how much each of many may take, at a steady rate and so much at once.
//!
//! A bucket that was never touched is full. While anything is left, one more amount of any size may
//! be taken, and the bucket goes below nothing; so what cannot be cut into pieces can still be
//! counted. Pure: the time is given, by a monotonic clock, and one that goes back gives nothing.

use std::collections::BTreeMap;
use std::time::Duration;

/// Keys that are remembered before full buckets are forgotten.
const BUCKETS_MAX: usize = 100_000;
/// Levels are kept in thousandths, so that a millisecond fills by the rate of a second.
const SCALE: i64 = 1_000;

/// How fast buckets fill, and how much they hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: i64,
    pub(crate) at_once: i64,
}

/// The buckets of one rate, by key.
#[derive(Debug)]
pub(crate) struct TokenBuckets<K> {
    rate: Rate,
    by_key: BTreeMap<K, Bucket>,
}

/// A level in thousandths, as of an instant.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: i64,
    at_ms: i64,
}

impl Rate {
    const fn full(self) -> i64 {
        self.at_once * SCALE
    }

    /// The level of a bucket at `now_ms`.
    fn level(self, bucket: Bucket, now_ms: i64) -> i64 {
        let passed = now_ms.saturating_sub(bucket.at_ms).max(0);
        let more = passed.saturating_mul(self.per_second);
        bucket.level.saturating_add(more).min(self.full())
    }
}

impl<K: Copy + Ord> TokenBuckets<K> {
    pub(crate) const fn new(rate: Rate) -> Self {
        Self {
            rate,
            by_key: BTreeMap::new(),
        }
    }

    /// Whether anything is left.
    ///
    /// # Errors
    /// With the time until something is left again.
    pub(crate) fn check(&self, key: K, now_ms: i64) -> Result<(), Duration> {
        let Some(bucket) = self.by_key.get(&key) else {
            return Ok(());
        };
        let missing = SCALE - self.rate.level(*bucket, now_ms);
        if missing <= 0 {
            return Ok(());
        }
        let wait_ms = missing / self.rate.per_second + 1;
        Err(Duration::from_millis(wait_ms.unsigned_abs()))
    }

    /// Takes an amount, whatever is left; the bucket goes below nothing by what it holds at most.
    pub(crate) fn take(&mut self, key: K, amount: usize, now_ms: i64) {
        let rate = self.rate;
        if self.by_key.len() >= BUCKETS_MAX && !self.by_key.contains_key(&key) {
            self.by_key
                .retain(|_, bucket| rate.level(*bucket, now_ms) < rate.full());
        }
        let full = Bucket {
            level: rate.full(),
            at_ms: now_ms,
        };
        let bucket = self.by_key.entry(key).or_insert(full);
        let amount = i64::try_from(amount)
            .unwrap_or(i64::MAX)
            .saturating_mul(SCALE);
        let level = rate.level(*bucket, now_ms).saturating_sub(amount);
        *bucket = Bucket {
            level: level.max(-rate.full()),
            at_ms: now_ms,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 100,
        at_once: 1_000,
    };

    #[test]
    fn a_bucket_fills_at_its_rate_up_to_what_it_holds() {
        let mut buckets = TokenBuckets::new(RATE);
        for (amount, now_ms, wait_ms) in [
            (999, 0, None),
            // While one is left, more than that may be taken.
            (500, 0, Some(5_001)),
            (0, 1_000, Some(4_001)),
            (0, 4_999, Some(2)),
            (0, 5_010, None),
            // A clock that goes back gives nothing.
            (2, 5_000, Some(11)),
            (1_000, 1_000_000, Some(11)),
            // Nor does it fall below what it holds.
            (usize::MAX, 1_000_000, Some(10_011)),
            (usize::MAX, 1_000_000, Some(10_011)),
        ] {
            buckets.take("acme", amount, now_ms);
            let wait = wait_ms.map_or(Ok(()), |ms| Err(Duration::from_millis(ms)));
            assert_eq!(buckets.check("acme", now_ms), wait, "{amount} {now_ms}");
            assert_eq!(buckets.check("globex", now_ms), Ok(()));
        }
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let mut buckets = TokenBuckets::new(RATE);
        for key in 0..BUCKETS_MAX {
            buckets.take(key, 1, 0);
        }
        buckets.take(BUCKETS_MAX, 1, 10);
        assert_eq!(buckets.by_key.len(), 1);
    }
}
