//! Calls of a credential whose detail is not kept: how many, when, and with which outcome.
//!
//! Owns the bound on what is remembered of them; what is beyond it is summed up, never forgotten.

use super::VerificationCode;
use super::call_record::CallRecord;
use crate::domain::ids::SecretId;
use crate::domain::time::Timestamp;

/// Intervals that are remembered of one credential. There are 22 pairs of an outcome and whether
/// it was reported, so that among more than these two can always be summed up.
const COLLAPSED_MAX: usize = 32;
/// Calls that are further apart are not of one interval.
const APART_MS: i64 = 60 * 60 * 1_000;

/// Calls between two instants whose detail was not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CollapsedCalls {
    /// Whether they were accepted, and why not.
    pub outcome: VerificationCode,
    /// The secret, where it was one.
    pub secret: Option<SecretId>,
    /// Whether they were reported.
    pub reported: bool,
    /// How many.
    pub calls: u64,
    /// The first instant.
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

impl CollapsedCalls {
    fn is_alike(&self, other: &Self) -> bool {
        (self.outcome, self.reported) == (other.outcome, other.reported)
    }

    fn add(&mut self, other: &Self) {
        if self.secret != other.secret {
            self.secret = None;
        }
        self.calls = self.calls.saturating_add(other.calls);
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// Notes calls whose detail is not kept. The interval that ended last comes last.
pub(super) fn add_collapsed(known: &mut Vec<CollapsedCalls>, counted: &CallRecord<'_>) {
    let new = CollapsedCalls {
        outcome: counted.outcome,
        secret: counted.secret,
        reported: counted.reported,
        calls: u64::from(counted.calls),
        first_at: counted.at,
        last_at: counted.at,
    };
    let goes_on = |one: &&mut CollapsedCalls| {
        one.is_alike(&new)
            && one.secret == new.secret
            && new.last_at.0.saturating_sub(one.last_at.0) <= APART_MS
    };
    if let Some(one) = known.iter_mut().rev().find(goes_on) {
        one.add(&new);
        return;
    }
    known.push(new);
    if known.len() > COLLAPSED_MAX {
        sum_up(known);
    }
}

/// Makes one of the two oldest that are alike.
fn sum_up(known: &mut Vec<CollapsedCalls>) {
    let pair = known.iter().enumerate().find_map(|(at, one)| {
        let mut after = known.iter().enumerate().skip(at + 1);
        let (next, _) = after.find(|(_, other)| one.is_alike(other))?;
        Some((at, next))
    });
    if let Some((at, next)) = pair {
        let older = known.remove(at);
        if let Some(newer) = known.get_mut(next - 1) {
            newer.add(&older);
        }
    }
}
