//! How fast one organization may report: a bucket of bytes that fills at a steady rate.
//!
//! Looked at before a report is read, and charged before its lines are parsed, so that one that is
//! refused costs as much as one that is taken. In RAM alone: after a restart every bucket is full.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::ledger::turns::Tenant;

/// Bytes of reports of one organization in a second, in the long run: 4 MiB, some 6,000 calls of
/// 650 bytes. To parse and check them takes a fifth of a core.
const BYTES_PER_SECOND: i64 = 4 * 1_024 * 1_024;
/// Bytes at once: 40 MiB, five of the longest reports.
const BYTES_AT_ONCE: i64 = 40 * 1_024 * 1_024;
/// Organizations that are remembered: full buckets are forgotten.
const BUCKETS_MAX: usize = 100_000;
const MS: i64 = 1_000;

/// The buckets, by organization.
#[derive(Debug, Default)]
pub(crate) struct ReportQuotas(Mutex<BTreeMap<Tenant, Bucket>>);

/// What is left, in thousandths of a byte, as of an instant of the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: i64,
    at_ms: i64,
}

impl Bucket {
    /// What is left at `now_ms`.
    fn filled(self, now_ms: i64) -> Self {
        let passed = now_ms.saturating_sub(self.at_ms).max(0);
        let more = passed.saturating_mul(BYTES_PER_SECOND);
        Self {
            left: self.left.saturating_add(more).min(BYTES_AT_ONCE * MS),
            at_ms: now_ms,
        }
    }
}

impl ReportQuotas {
    /// Takes so many bytes of an organization's. While anything is left, one more report of any
    /// size is taken.
    ///
    /// # Errors
    /// With the time until something is left again.
    pub(crate) fn take(&self, of: Tenant, bytes: usize, now_ms: i64) -> Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&of) {
            buckets.retain(|_, bucket| bucket.filled(now_ms).left < BYTES_AT_ONCE * MS);
        }
        let full = Bucket {
            left: BYTES_AT_ONCE * MS,
            at_ms: now_ms,
        };
        let bucket = buckets.entry(of).or_insert(full);
        *bucket = bucket.filled(now_ms);
        if bucket.left < MS {
            let missing_ms = (MS - bucket.left) / BYTES_PER_SECOND + 1;
            return Err(Duration::from_millis(missing_ms.unsigned_abs()));
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX / MS);
        bucket.left = bucket.left.saturating_sub(bytes.saturating_mul(MS));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::OrganizationId;

    #[test]
    fn an_organization_has_its_rate_and_what_it_may_bring_at_once() {
        let quotas = ReportQuotas::default();
        let (acme, globex) = (Some(OrganizationId(Ulid(1))), None);
        let longest = 8 * 1_024 * 1_024;
        for _ in 0..4 {
            assert_eq!(quotas.take(acme, longest, 0), Ok(()));
        }
        // Down to the last byte one more is taken, of any size.
        assert_eq!(quotas.take(acme, longest - 1, 0), Ok(()));
        assert_eq!(quotas.take(acme, longest, 0), Ok(()));
        let wait = quotas.take(acme, 0, 0).unwrap_err();
        assert_eq!(wait, Duration::from_millis(2_001));
        assert_eq!(quotas.take(globex, longest, 0), Ok(()));
        assert_eq!(
            quotas.take(acme, 0, 1_000),
            Err(wait - Duration::from_secs(1))
        );
        assert_eq!(quotas.take(acme, 1, 2_001), Ok(()));
        // A clock that goes back gives nothing, and takes nothing.
        assert_eq!(quotas.take(acme, longest, 2_000), Ok(()));
        assert!(quotas.take(acme, 0, 2_000).is_err());
        // In 10 seconds and what is missing it is full again, and not more than that.
        for _ in 0..5 {
            assert_eq!(quotas.take(acme, longest, 1_000_000), Ok(()));
        }
        assert!(quotas.take(acme, 0, 1_000_000).is_err());
    }
}
