//! What is known of the use of every credential, in RAM.
//!
//! Owns one entry a credential that was ever used: the address of its newest record, when it was
//! last used, how often. Read without a lock that the writing thread holds for longer than one
//! entry's change; changed by that one thread. An entry takes about 320 bytes, and 24 for each
//! secret beyond the first.

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use papaya::{HashMap as LockFreeMap, HashMapRef, LocalGuard};

use super::call_record::{CallRecord, NO_ADDRESS};
use super::collapsed_calls::{CollapsedCalls, add_collapsed};
use super::hour_tally::{HourTally, hour_of};
use super::retention_shares::{CallPlacement, OrganizationCharges, RetentionShares, ShareCharge};
use super::{CredentialUsage, VerificationCode};
use crate::domain::ids::{CredentialId, SecretId};
use crate::domain::time::Timestamp;

/// Before any instant.
const NEVER: i64 = i64::MIN;
/// Names of scopes that are remembered: a catalogue has fewer.
const SCOPE_NAMES_MAX: usize = 1_024;

/// One credential, in the order in which a call touches what is known of it: counting one waits for
/// two lines of the cache rather than four.
#[derive(Debug)]
#[repr(C)]
pub(super) struct UsageEntry {
    pub(super) newest: AtomicU64,
    pub(super) newest_overflow: AtomicU64,
    pub(super) last_used: AtomicI64,
    pub(super) accepted: AtomicU64,
    rest: Mutex<LockedUsage>,
    pub(super) last_reported: AtomicI64,
    pub(super) reported: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) newest_roll_up: AtomicU64,
    pub(super) newest_roll_up_overflow: AtomicU64,
}

/// What is changed together, in the same order.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LockedUsage {
    /// What it has taken of its share.
    pub(super) charge: ShareCharge,
    /// When the secret was last used that was presented first; most credentials have no other.
    pub(super) secret: Option<(SecretId, Timestamp)>,
    /// The hour that is being counted.
    pub(super) tally: Option<Box<HourTally>>,
    /// When all other secrets were last used.
    pub(super) secrets: Vec<(SecretId, Timestamp)>,
    /// Numbers of the scopes that accepted calls have exercised, in order.
    pub(super) scopes: Vec<u16>,
    /// Its calls whose detail is not kept.
    pub(super) collapsed: Vec<CollapsedCalls>,
    /// What its roll-ups have taken of their share.
    pub(super) roll_up_charge: ShareCharge,
}

impl Default for UsageEntry {
    fn default() -> Self {
        Self {
            newest: AtomicU64::new(NO_ADDRESS),
            newest_overflow: AtomicU64::new(NO_ADDRESS),
            newest_roll_up: AtomicU64::new(NO_ADDRESS),
            newest_roll_up_overflow: AtomicU64::new(NO_ADDRESS),
            last_used: AtomicI64::new(NEVER),
            last_reported: AtomicI64::new(NEVER),
            accepted: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            rest: Mutex::default(),
        }
    }
}

impl UsageEntry {
    pub(super) fn lock_usage(&self) -> MutexGuard<'_, LockedUsage> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a record of the credential shows.
    pub(super) fn credential_usage(&self) -> CredentialUsage {
        let instant = |at: &AtomicI64| {
            let at = at.load(Ordering::Acquire);
            (at != NEVER).then_some(Timestamp(at))
        };
        CredentialUsage {
            last_used_at: instant(&self.last_used),
            last_reported_at: instant(&self.last_reported),
            accepted: self.accepted.load(Ordering::Acquire),
            denied: self.denied.load(Ordering::Acquire),
            reported: self.reported.load(Ordering::Acquire),
        }
    }
}

/// Entries that can be looked up.
pub(super) type PinnedEntries<'a> =
    HashMapRef<'a, CredentialId, Arc<UsageEntry>, RandomState, LocalGuard<'a>>;

/// All credentials that were ever used.
#[derive(Debug, Default)]
pub(super) struct UsageTable {
    map: LockFreeMap<CredentialId, Arc<UsageEntry>>,
    scopes: Mutex<ScopeNames>,
}

/// Names of scopes, by number and by name.
#[derive(Clone, Debug, Default)]
pub(super) struct ScopeNames {
    pub(super) names: Vec<String>,
    numbers: BTreeMap<String, u16>,
}

impl ScopeNames {
    pub(super) fn number_for(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.names.len() >= SCOPE_NAMES_MAX {
            return None;
        }
        let number = u16::try_from(self.names.len()).ok()?;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Some(number)
    }
}

/// A tally whose hour is over, to be written.
pub(super) type ClosedTally = (CredentialId, Box<HourTally>);

/// What counting a record leads to.
#[derive(Debug)]
pub(super) struct CountingState {
    /// Who may take how much of the kept stream.
    pub(super) shares: RetentionShares,
    /// The same of the kept roll-ups.
    pub(super) roll_up_shares: RetentionShares,
    /// Tallies that have to be written.
    pub(super) closed_tallies: Vec<ClosedTally>,
    /// Credentials with a tally that is open.
    pub(super) open_tallies: Vec<CredentialId>,
    /// Bytes of the open tallies, about.
    pub(super) open_bytes: usize,
}

impl CountingState {
    /// Shares of so many bytes that drain over this time, with what has been taken of them.
    pub(super) fn new(
        bytes: u64,
        drain_ms: u64,
        now: Timestamp,
        [calls, roll_ups]: [OrganizationCharges; 2],
    ) -> Self {
        let shares = |organizations| {
            let mut shares = RetentionShares::new(bytes, drain_ms);
            shares.organizations = organizations;
            shares.set_now(now.0);
            shares
        };
        Self {
            shares: shares(calls),
            roll_up_shares: shares(roll_ups),
            closed_tallies: Vec::new(),
            open_tallies: Vec::new(),
            open_bytes: 0,
        }
    }

    /// The time is now.
    pub(super) fn set_now(&mut self, now_ms: i64) {
        self.shares.set_now(now_ms);
        self.roll_up_shares.set_now(now_ms);
    }
}

impl UsageTable {
    /// A credential, if it was ever used.
    pub(super) fn get(&self, id: CredentialId) -> Option<Arc<UsageEntry>> {
        self.map.pin().get(&id).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// A credential's entry, made where there is none. By the writing thread alone.
    pub(super) fn get_or_insert(&self, id: CredentialId) -> Arc<UsageEntry> {
        let map = self.map.pin();
        match map.get(&id) {
            Some(key) => Arc::clone(key),
            None => Arc::clone(map.get_or_insert_with(id, Arc::default)),
        }
    }

    /// Every credential, in no order.
    pub(super) fn for_each(&self, mut visit: impl FnMut(CredentialId, &UsageEntry)) {
        for (id, key) in &self.map.pin() {
            visit(*id, key);
        }
    }

    pub(super) fn lock_scope_names(&self) -> MutexGuard<'_, ScopeNames> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries, to look up several: what it lends lives as long as it does.
    pub(super) fn pin(&self) -> PinnedEntries<'_> {
        self.map.pin()
    }

    /// Counts a record of a credential, which goes where `lane` says by its charge. By the writing
    /// thread alone: no other changes a number, so that what was read is what is there when the
    /// sum is stored.
    pub(super) fn count_record(
        &self,
        key: &UsageEntry,
        counted: &CallRecord<'_>,
        counting: &mut CountingState,
        lane: impl FnOnce(&mut RetentionShares, &mut ShareCharge) -> CallPlacement,
    ) -> CallPlacement {
        let calls = u64::from(counted.calls);
        let accepted = counted.outcome == VerificationCode::Valid && !counted.reported;
        let mut rest = key.lock_usage();
        let lane = lane(&mut counting.shares, &mut rest.charge);
        if counted.reported {
            raise(&key.reported, calls);
            move_to(&key.last_reported, counted.at);
        } else if accepted {
            raise(&key.accepted, calls);
            move_to(&key.last_used, counted.at);
            if let Some(detail) = &counted.detail {
                for scope in detail.scopes() {
                    self.exercise(&mut rest.scopes, scope);
                }
            }
        } else {
            raise(&key.denied, calls);
        }
        if let Some(secret) = counted.secret {
            // A secret that was only refused, or reported by others, was presented all the same.
            let used = if accepted { counted.at.0 } else { NEVER };
            rest.note_secret_use(secret, Timestamp(used));
        }
        if lane == CallPlacement::Collapsed {
            add_collapsed(&mut rest.collapsed, counted);
        }
        add_to_tally(&mut rest, counted, counting, lane);
        lane
    }

    fn exercise(&self, scopes: &mut Vec<u16>, name: &str) {
        if let Some(number) = self.lock_scope_names().number_for(name)
            && let Err(place) = scopes.binary_search(&number)
        {
            scopes.insert(place, number);
        }
    }
}

fn raise(count: &AtomicU64, by: u64) {
    let sum = count.load(Ordering::Relaxed).wrapping_add(by);
    count.store(sum, Ordering::Release);
}

/// Instants move forward alone.
fn move_to(at: &AtomicI64, to: Timestamp) {
    if at.load(Ordering::Relaxed) < to.0 {
        at.store(to.0, Ordering::Release);
    }
}

impl LockedUsage {
    /// When a secret was last used.
    pub(super) fn secret_last_used_at(&self, secret: SecretId) -> Option<Timestamp> {
        let known = self.presented_secrets().find(|(known, _)| *known == secret);
        known.map(|(_, at)| *at).filter(|at| at.0 != NEVER)
    }

    /// Each secret that was presented, with when it was last used.
    pub(super) fn presented_secrets(&self) -> impl Iterator<Item = &(SecretId, Timestamp)> {
        self.secret.iter().chain(&self.secrets)
    }

    pub(super) fn note_secret_use(&mut self, secret: SecretId, at: Timestamp) {
        let mut known = self.secret.iter_mut().chain(&mut self.secrets);
        if let Some((_, last)) = known.find(|(known, _)| *known == secret) {
            *last = at.max(*last);
        } else if self.secret.is_none() {
            self.secret = Some((secret, at));
        } else {
            self.secrets.reserve_exact(1);
            self.secrets.push((secret, at));
        }
    }
}

fn add_to_tally(
    rest: &mut LockedUsage,
    counted: &CallRecord<'_>,
    counting: &mut CountingState,
    lane: CallPlacement,
) {
    let hour = hour_of(counted.at);
    if let Some(other) = rest.tally.take_if(|open| open.hour != hour) {
        counting.closed_tallies.push((counted.credential, other));
        rest.tally = Some(Box::new(HourTally::new(hour, counted.organization)));
    }
    let tally = rest.tally.get_or_insert_with(|| {
        counting.open_tallies.push(counted.credential);
        counting.open_bytes += size_of::<HourTally>();
        Box::new(HourTally::new(hour, counted.organization))
    });
    counting.open_bytes += tally.add_record(counted, lane);
}
