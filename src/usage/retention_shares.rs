//! Who may take how much of the calls that are kept for certain.
//!
//! Owns the arithmetic, and what each organization has taken. A call is charged in bytes to its
//! credential and to its organization; a charge drains away evenly over the retention time. So in
//! any time as long as the retention, each gets its share twice at most: what it may take at once,
//! and what drains meanwhile. Shares are half as large as they add up to, so that the stream never
//! has to drop a call before its time because others came. Pure: the time is given.

use std::collections::BTreeMap;

use super::VerificationCode;
use super::call_record::CallRecord;
use crate::domain::ids::OrganizationId;

/// Organizations among which the stream is shared, at least: with 10 GiB, of which half are kept
/// for certain, an organization's share is 160 MiB. Of more organizations each has less.
const ORGANIZATIONS_MIN: u64 = 16;
/// Credentials that take all of their organization's share: each has 10 MiB then, some 50,000
/// calls at once and 600 a day.
const CREDENTIALS_PER_ORGANIZATION: u64 = 16;
/// What a share is taken twice in a retention time: at once, and again as it drains.
const TIMES_TAKEN: u64 = 2;
/// Refused calls fill half of a share, so that with an ended secret no one takes the room of the
/// calls that are accepted.
const REFUSED_PART: u64 = 2;

/// What has been taken of a share and has not drained away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct ShareCharge {
    pub(super) bytes: u64,
    pub(super) at_ms: i64,
}

/// Where a call is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CallPlacement {
    /// With what is kept for certain, as long as anything.
    Kept,
    /// With what is kept as long as there is room.
    Overflow,
    /// Its detail is not: it is counted.
    Collapsed,
}

/// What organizations have taken.
pub(super) type OrganizationCharges = BTreeMap<OrganizationId, ShareCharge>;

/// The shares of a stream that is kept for certain.
#[derive(Clone, Debug)]
pub(super) struct RetentionShares {
    /// Bytes that are shared, and the time over which a charge drains.
    bytes: u64,
    drain_ms: u64,
    now_ms: i64,
    pub(super) organizations: OrganizationCharges,
}

impl RetentionShares {
    pub(super) fn new(bytes: u64, drain_ms: u64) -> Self {
        Self {
            bytes,
            drain_ms: drain_ms.max(1),
            now_ms: 0,
            organizations: BTreeMap::new(),
        }
    }

    /// The time is now.
    pub(super) fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    fn organization_share(&self) -> u64 {
        let organizations = self.organizations.len() as u64;
        self.bytes / TIMES_TAKEN / organizations.max(ORGANIZATIONS_MIN)
    }

    /// Where a call of so many bytes goes, which is charged where it is kept for certain.
    pub(super) fn place_and_charge(
        &mut self,
        own: &mut ShareCharge,
        call: &CallRecord<'_>,
        bytes: u64,
    ) -> CallPlacement {
        let refused = call.outcome != VerificationCode::Valid && !call.reported;
        let part = if refused { REFUSED_PART } else { 1 };
        match (
            self.try_charge(own, call.organization, bytes, part),
            refused,
        ) {
            (true, _) => CallPlacement::Kept,
            (false, true) => CallPlacement::Collapsed,
            (false, false) => CallPlacement::Overflow,
        }
    }

    /// Charges so many bytes to a credential and its organization, if they fit into this part of
    /// either's share.
    pub(super) fn try_charge(
        &mut self,
        own: &mut ShareCharge,
        organization: OrganizationId,
        bytes: u64,
        part: u64,
    ) -> bool {
        let all = self.organizations.entry(organization).or_default();
        let mut whole = *all;
        let share = self.organization_share();
        let own_share = share / CREDENTIALS_PER_ORGANIZATION;
        whole.drain_to(share, self.drain_ms, self.now_ms);
        own.drain_to(own_share, self.drain_ms, self.now_ms);
        let fits = own.bytes + bytes <= own_share / part && whole.bytes + bytes <= share / part;
        if fits {
            own.bytes += bytes;
            whole.bytes += bytes;
        }
        self.organizations.insert(organization, whole);
        fits
    }

    /// Gives back what was taken for what could not be written.
    pub(super) fn refund(
        &mut self,
        own: &mut ShareCharge,
        organization: OrganizationId,
        bytes: u64,
    ) {
        let whole = self.organizations.entry(organization).or_default();
        for charge in [own, whole] {
            charge.bytes = charge.bytes.saturating_sub(bytes);
        }
    }

    /// Charges a call that was kept before, as when the stream is counted again.
    pub(super) fn charge_recounted(
        &mut self,
        own: &mut ShareCharge,
        call: &CallRecord<'_>,
        bytes: u64,
    ) {
        let whole = self.organizations.entry(call.organization).or_default();
        for charge in [own, whole] {
            charge.bytes = charge.bytes.saturating_add(bytes);
            charge.at_ms = charge.at_ms.max(call.at.0.min(self.now_ms));
        }
    }
}

impl ShareCharge {
    /// Lets drain away what has by now. A clock that was set back drains nothing.
    fn drain_to(&mut self, share: u64, drain_ms: u64, now_ms: i64) {
        let elapsed = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        if self.bytes == 0 || now_ms < self.at_ms {
            self.at_ms = now_ms;
            return;
        }
        if elapsed == 0 {
            return;
        }
        let drained = elapsed.saturating_mul(share) / drain_ms;
        if drained >= self.bytes {
            *self = Self {
                bytes: 0,
                at_ms: now_ms,
            };
        } else if drained > 0 {
            self.bytes -= drained;
            // What is less than a byte stays in the time.
            let taken_ms = drained.saturating_mul(drain_ms).div_ceil(share.max(1));
            let taken_ms = i64::try_from(taken_ms).unwrap_or(i64::MAX);
            self.at_ms = self.at_ms.saturating_add(taken_ms).min(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::CredentialId;
    use crate::domain::time::Timestamp;

    const DRAIN_MS: i64 = 1_000;
    /// 16 organizations with 4,096 bytes at once, each of whose credentials has 256.
    const BYTES: u64 = 2 * 16 * 4_096;

    fn call(organization: u128, outcome: VerificationCode, reported: bool) -> CallRecord<'static> {
        CallRecord {
            organization: OrganizationId(Ulid(organization)),
            credential: CredentialId(Ulid(1)),
            secret: None,
            outcome,
            reported,
            at: Timestamp(0),
            calls: 1,
            detail: None,
        }
    }

    fn shares() -> RetentionShares {
        RetentionShares::new(BYTES, DRAIN_MS.unsigned_abs())
    }

    #[test]
    fn what_is_beyond_a_share_overflows_and_refused_calls_collapse() {
        let (valid, ended) = (
            call(1, VerificationCode::Valid, false),
            call(1, VerificationCode::Revoked, false),
        );
        let reported = call(1, VerificationCode::Revoked, true);
        let mut shares = shares();
        let (mut own, mut other) = (ShareCharge::default(), ShareCharge::default());
        for (call, bytes, lane) in [
            (&ended, 128, CallPlacement::Kept),
            (&ended, 1, CallPlacement::Collapsed),
            (&valid, 100, CallPlacement::Kept),
            (&reported, 28, CallPlacement::Kept),
            (&reported, 1, CallPlacement::Overflow),
            (&valid, 1, CallPlacement::Overflow),
        ] {
            assert_eq!(
                shares.place_and_charge(&mut own, call, bytes),
                lane,
                "{call:?}"
            );
        }
        // Neither another credential nor another organization is worse off.
        assert_eq!(
            shares.place_and_charge(&mut other, &ended, 100),
            CallPlacement::Kept
        );
        assert_eq!(
            shares.place_and_charge(
                &mut ShareCharge::default(),
                &call(2, VerificationCode::Valid, false),
                256
            ),
            CallPlacement::Kept
        );
        shares.set_now(DRAIN_MS / 2);
        assert_eq!(
            shares.place_and_charge(&mut own, &valid, 128),
            CallPlacement::Kept
        );
        assert_eq!(
            shares.place_and_charge(&mut own, &valid, 1),
            CallPlacement::Overflow
        );
        // A clock that is set back neither gives nor takes.
        shares.set_now(0);
        assert_eq!(
            shares.place_and_charge(&mut own, &valid, 1),
            CallPlacement::Overflow
        );
    }

    #[test]
    fn many_organizations_share_what_there_is() {
        let mut shares = shares();
        let taken: u64 = (0..200)
            .map(|organization| {
                let valid = call(organization, VerificationCode::Valid, false);
                let mut taken = 0;
                for _ in 0..100 {
                    let mut own = ShareCharge::default();
                    while shares.place_and_charge(&mut own, &valid, 16) == CallPlacement::Kept {
                        taken += 16;
                    }
                }
                taken
            })
            .sum();
        // Those who came first had more; with all of them it is twice what it is with 16 at most.
        assert!(taken > BYTES / 4 && taken < BYTES * 2, "{taken}");
    }

    proptest! {
        #[test]
        fn in_any_retention_time_a_share_is_taken_twice_at_most(
            calls in prop::collection::vec((0..40_i64, 1..100_u64, any::<bool>()), 1..400),
        ) {
            let mut shares = shares();
            let mut own = ShareCharge::default();
            let (mut now, mut taken) = (0, Vec::new());
            for (pause, bytes, is_valid) in calls {
                now += pause;
                shares.set_now(now);
                let outcome = match is_valid {
                    true => VerificationCode::Valid,
                    false => VerificationCode::Expired,
                };
                let call = call(1, outcome, false);
                if shares.place_and_charge(&mut own, &call, bytes) == CallPlacement::Kept {
                    taken.push((now, bytes));
                }
                let since = now - DRAIN_MS;
                let within = taken.iter().filter(|(at, _)| *at >= since);
                let within: u64 = within.map(|(_, bytes)| bytes).sum();
                prop_assert!(within <= 2 * 256, "{within}");
            }
        }
    }
}
