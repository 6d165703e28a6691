//! How fast the clients of one organization may write: two buckets that fill at a steady rate, of
//! creations and of appended bytes.
//!
//! One organization cannot fill the log or the disk for the others. The buckets are looked at when
//! a command has been decided: what is refused, what changes nothing and a repeated answer cost
//! nothing. What ends or narrows something is counted and never refused, and so is signing in,
//! without which no one could end anything, and what the program notes by itself. Lives in the
//! writer's thread, in RAM alone: after a restart every bucket is full.

use std::collections::BTreeMap;
use std::time::Duration;

use super::SubmitError;
use crate::domain::command::Command;
use crate::domain::ids::OrganizationId;

/// Creations of one organization in a second, in the long run: a million in a quarter of an hour.
pub const CREATIONS_PER_SECOND: i64 = 1_000;
/// Creations at once: ten seconds' worth, for who brings many.
pub const CREATIONS_AT_ONCE: i64 = 10_000;
/// Bytes of one organization in a second, in the long run: 1 MiB, a thousand creations with all
/// that the log holds of each.
pub const BYTES_PER_SECOND: i64 = 1_024 * 1_024;
/// Bytes at once: 16 MiB, ten thousand creations at up to 1,600 bytes each.
pub const BYTES_AT_ONCE: i64 = 16 * 1_024 * 1_024;
/// Bytes that an event takes in the log beside its payload: the head of its frame.
const FRAME_BYTES: usize = 64;
/// Organizations that are remembered: full buckets are forgotten.
const BUCKETS_MAX: usize = 100_000;
const MS: i64 = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Quotas(BTreeMap<OrganizationId, Buckets>);

/// What is left of both, in thousandths, as of an instant of the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Buckets {
    creations: i64,
    bytes: i64,
    at_ms: i64,
}

const FULL: Buckets = Buckets {
    creations: CREATIONS_AT_ONCE * MS,
    bytes: BYTES_AT_ONCE * MS,
    at_ms: 0,
};

impl Buckets {
    /// What is left at `now_ms`.
    fn filled(self, now_ms: i64) -> Self {
        let passed = now_ms.saturating_sub(self.at_ms).max(0);
        let fill = |left: i64, rate: i64, full: i64| {
            left.saturating_add(passed.saturating_mul(rate)).min(full)
        };
        Self {
            creations: fill(self.creations, CREATIONS_PER_SECOND, FULL.creations),
            bytes: fill(self.bytes, BYTES_PER_SECOND, FULL.bytes),
            at_ms: now_ms,
        }
    }

    fn is_full(self) -> bool {
        self.creations >= FULL.creations && self.bytes >= FULL.bytes
    }
}

/// How long until `missing` thousandths have come back at `rate` a second.
fn wait(missing: i64, rate: i64) -> Duration {
    Duration::from_millis(u64::try_from(missing.div_euclid(rate) + 1).unwrap_or(1))
}

impl Quotas {
    /// Whether a client of an organization may append now, and create if the command does. While
    /// anything is left, one more command of any size is taken.
    pub(crate) fn check(
        &self,
        organization: OrganizationId,
        command: &Command,
        now_ms: i64,
    ) -> Result<(), SubmitError> {
        let Some(left) = self.0.get(&organization) else {
            return Ok(());
        };
        let left = left.filled(now_ms);
        if command.creates() && left.creations < MS {
            let wait = wait(MS - left.creations, CREATIONS_PER_SECOND);
            return Err(SubmitError::TooManyCreations(wait));
        }
        if left.bytes < MS {
            return Err(SubmitError::TooManyBytes(wait(
                MS - left.bytes,
                BYTES_PER_SECOND,
            )));
        }
        Ok(())
    }

    /// Counts a creation of an organization.
    pub(crate) fn count_creation(&mut self, organization: OrganizationId, now_ms: i64) {
        self.change(organization, now_ms, |left| left.creations -= MS);
    }

    /// Counts an appended payload of an organization. What cannot be refused may go below nothing,
    /// by a full bucket at most: then clients wait 16 seconds.
    pub(crate) fn count_bytes(
        &mut self,
        organization: OrganizationId,
        payload: usize,
        now_ms: i64,
    ) {
        let bytes = i64::try_from(payload + FRAME_BYTES).unwrap_or(i64::MAX / MS);
        self.change(organization, now_ms, |left| {
            left.bytes = (left.bytes - bytes * MS).max(-FULL.bytes);
        });
    }

    fn change(
        &mut self,
        organization: OrganizationId,
        now_ms: i64,
        change: impl FnOnce(&mut Buckets),
    ) {
        if self.0.len() >= BUCKETS_MAX && !self.0.contains_key(&organization) {
            self.0.retain(|_, left| !left.filled(now_ms).is_full());
        }
        let left = self.0.entry(organization).or_insert(FULL);
        *left = left.filled(now_ms);
        change(left);
    }
}
