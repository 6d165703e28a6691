//! Which credentials are live, by their owner and by their organization.
//!
//! Owns the indexes that limits and cascades are read from. A credential expires without an event,
//! so every question names an instant, and none walks over what has expired: the credentials of an
//! owner are ordered by their expiry, and those of an organization are counted by the hour of it.
//! What has expired is forgotten when the next credential is made, once each.

use super::ids::{CredentialId, OrganizationId, Owner};
use super::record::Credential;
use super::staged::Staged;
use super::time::Timestamp;

/// Milliseconds of an hour. An organization's quota of ten million is exact to the hour: ten years
/// of expiries, the longest there are, make at most 87,600 counts.
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// The expiry of what never expires.
const NEVER: Timestamp = Timestamp(i64::MAX);

type OwnedKey = (Owner, Timestamp, CredentialId);

/// The indexes of live credentials.
#[derive(Debug, Default)]
pub(super) struct LiveCredentials {
    /// Credentials that end with their owner, by owner and expiry.
    owned: Staged<OwnedKey, ()>,
    /// How many of an owner are in `owned`.
    owner_counts: Staged<Owner, u64>,
    /// How many of an organization have not ended, but for those of hours that are forgotten.
    organization_counts: Staged<OrganizationId, u64>,
    /// How many of them expire in an hour, by the number of the hour.
    expiring: Staged<(OrganizationId, i64), u64>,
}

/// Whether credentials of this owner end with it.
pub(super) fn ends_with_owner(owner: Owner) -> bool {
    match owner {
        Owner::Organization(_) => false,
        Owner::User(_) | Owner::ServiceAccount(_) => true,
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.0.div_euclid(HOUR_MS)
}

fn owned_key(record: &Credential) -> Option<OwnedKey> {
    let expires_at = record.expires_at().unwrap_or(NEVER);
    ends_with_owner(record.owner()).then_some((record.owner(), expires_at, record.id()))
}

impl LiveCredentials {
    /// Adds a credential that has not ended, unless it has expired by `now`.
    pub(super) fn add(&mut self, record: &Credential, now: Timestamp) {
        if let Some(key) = owned_key(record).filter(|(_, expires_at, _)| *expires_at > now) {
            self.owned.set(key, ());
            self.count_owner(key.0, |count| count + 1);
        }
        let hour = record.expires_at().map(hour_of);
        if hour.is_none_or(|hour| hour >= hour_of(now)) {
            self.count(record.organization(), hour, |count| count + 1);
        }
    }

    /// Removes a credential, if it is still counted.
    pub(super) fn remove(&mut self, record: &Credential) {
        if let Some(key) = owned_key(record).filter(|key| self.owned.contains(key)) {
            self.owned.remove(key);
            self.count_owner(key.0, |count| count.saturating_sub(1));
        }
        let organization = record.organization();
        let hour = record.expires_at().map(hour_of);
        let counted = |hour| self.expiring.contains(&(organization, hour));
        if hour.is_none_or(counted) {
            self.count(organization, hour, |count| count.saturating_sub(1));
        }
    }

    /// Forgets what of an owner and an organization has expired by `now`.
    pub(super) fn forget_expired(
        &mut self,
        owner: Owner,
        organization: OrganizationId,
        now: Timestamp,
    ) {
        let expired = self.expired_of(owner, now);
        if !expired.is_empty() {
            let gone = expired.len() as u64;
            self.count_owner(owner, |count| count.saturating_sub(gone));
        }
        for key in expired {
            self.owned.remove(key);
        }
        for (key, gone) in self.expired_hours(organization, now) {
            self.expiring.remove(key);
            let left = self.uncorrected(organization).saturating_sub(gone);
            self.organization_counts.set(organization, left);
        }
    }

    /// Those of an owner that are live at `now`, oldest first.
    pub(super) fn of_owner(&self, owner: Owner, now: Timestamp) -> Vec<CredentialId> {
        let first = (
            owner,
            Timestamp(now.0.saturating_add(1)),
            CredentialId(ulid::Ulid(0)),
        );
        let keys = self.owned.keys_from(&first, |(of, _, _)| *of == owner);
        let mut ids: Vec<CredentialId> = keys.into_iter().map(|(_, _, id)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// How many of an owner are live at `now`: only what has expired since its last creation is
    /// looked at.
    pub(super) fn count_of_owner(&self, owner: Owner, now: Timestamp) -> u64 {
        let counted = self.owner_counts.get(&owner).map_or(0, |count| **count);
        counted.saturating_sub(self.expired_of(owner, now).len() as u64)
    }

    /// How many of an organization are live at `now`, to the hour.
    pub(super) fn count_of_organization(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> u64 {
        let expired = self.expired_hours(organization, now);
        let expired: u64 = expired.iter().map(|(_, count)| count).sum();
        self.uncorrected(organization).saturating_sub(expired)
    }

    fn uncorrected(&self, organization: OrganizationId) -> u64 {
        let count = self.organization_counts.get(&organization);
        count.map_or(0, |count| **count)
    }

    fn expired_of(&self, owner: Owner, now: Timestamp) -> Vec<OwnedKey> {
        let first = (owner, Timestamp(i64::MIN), CredentialId(ulid::Ulid(0)));
        let expired = |(of, expires_at, _): &OwnedKey| *of == owner && *expires_at <= now;
        self.owned.keys_from(&first, expired)
    }

    fn expired_hours(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Vec<((OrganizationId, i64), u64)> {
        let over = |(of, hour): &(OrganizationId, i64)| *of == organization && *hour < hour_of(now);
        let keys = self.expiring.keys_from(&(organization, i64::MIN), over);
        let count = |key: &(OrganizationId, i64)| self.expiring.get(key).map_or(0, |n| **n);
        keys.into_iter().map(|key| (key, count(&key))).collect()
    }

    fn count_owner(&mut self, owner: Owner, change: impl FnOnce(u64) -> u64) {
        let count = self.owner_counts.get(&owner).map_or(0, |count| **count);
        match change(count) {
            0 => self.owner_counts.remove(owner),
            count => drop(self.owner_counts.set(owner, count)),
        }
    }

    fn count(
        &mut self,
        organization: OrganizationId,
        hour: Option<i64>,
        change: impl Fn(u64) -> u64,
    ) {
        let count = change(self.uncorrected(organization));
        self.organization_counts.set(organization, count);
        let Some(hour) = hour.map(|hour| (organization, hour)) else {
            return;
        };
        match change(self.expiring.get(&hour).map_or(0, |count| **count)) {
            0 => self.expiring.remove(hour),
            count => drop(self.expiring.set(hour, count)),
        }
    }

    pub(super) fn settle(&mut self) {
        self.owned.settle();
        self.owner_counts.settle();
        self.organization_counts.settle();
        self.expiring.settle();
    }

    pub(super) fn abandon(&mut self) {
        self.owned.abandon();
        self.owner_counts.abandon();
        self.organization_counts.abandon();
        self.expiring.abandon();
    }
}
