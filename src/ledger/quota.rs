//! How fast the clients of one organization may write: two buckets that fill at a steady rate, of
//! creations and of appended bytes.
//!
//! One organization cannot fill the log or the disk for the others. The buckets are looked at when
//! a command has been decided: what is refused, what changes nothing and a repeated answer cost
//! nothing. What ends or narrows something is counted and never refused, and so is signing in,
//! without which no one could end anything, and what the program notes by itself. Lives in the
//! writer's thread, in RAM alone: after a restart every bucket is full.

use super::SubmitError;
use crate::domain::command::Command;
use crate::domain::ids::OrganizationId;
use crate::token_bucket::{Rate, TokenBuckets};

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

#[derive(Debug)]
pub(crate) struct Quotas {
    creations: TokenBuckets<OrganizationId>,
    bytes: TokenBuckets<OrganizationId>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            creations: TokenBuckets::new(Rate {
                per_second: CREATIONS_PER_SECOND,
                at_once: CREATIONS_AT_ONCE,
            }),
            bytes: TokenBuckets::new(Rate {
                per_second: BYTES_PER_SECOND,
                at_once: BYTES_AT_ONCE,
            }),
        }
    }
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
        if command.creates() {
            let left = self.creations.check(organization, now_ms);
            left.map_err(SubmitError::TooManyCreations)?;
        }
        let left = self.bytes.check(organization, now_ms);
        left.map_err(SubmitError::TooManyBytes)
    }

    /// Counts a creation of an organization.
    pub(crate) fn count_creation(&mut self, organization: OrganizationId, now_ms: i64) {
        self.creations.take(organization, 1, now_ms);
    }

    /// Counts an appended payload of an organization. What cannot be refused may go below nothing,
    /// by a full bucket at most: then clients wait 16 seconds.
    pub(crate) fn count_bytes(
        &mut self,
        organization: OrganizationId,
        payload: usize,
        now_ms: i64,
    ) {
        self.bytes.take(organization, payload + FRAME_BYTES, now_ms);
    }
}
