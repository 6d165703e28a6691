//! How fast one organization may report: a bucket of bytes that fills at a steady rate.
//!
//! Looked at before a report is read, and charged before its lines are parsed, so that one that is
//! refused costs as much as one that is taken. In RAM alone: after a restart every bucket is full.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::ledger::turns::Tenant;
use crate::token_bucket::{Rate, TokenBuckets};

/// Bytes of reports of one organization in a second, in the long run: 4 MiB, some 6,000 calls of
/// 650 bytes. To parse and check them takes a fifth of a core.
const BYTES_PER_SECOND: i64 = 4 * 1_024 * 1_024;
/// Bytes at once: 40 MiB, five of the longest reports.
const BYTES_AT_ONCE: i64 = 40 * 1_024 * 1_024;

/// The buckets, by organization.
#[derive(Debug)]
pub(crate) struct ReportQuotas(Mutex<TokenBuckets<Tenant>>);

impl Default for ReportQuotas {
    fn default() -> Self {
        Self(Mutex::new(TokenBuckets::new(Rate {
            per_second: BYTES_PER_SECOND,
            at_once: BYTES_AT_ONCE,
        })))
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
        buckets.check(of, now_ms)?;
        buckets.take(of, bytes, now_ms);
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
