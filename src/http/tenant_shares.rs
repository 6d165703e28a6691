//! Shares: how many of something that is held for long each organization may hold.
//!
//! Owns the counts. An organization may hold up to a limit of its own, and no more than a third of
//! what the others have left: however many take all they can, there is room for one more. Must
//! never make anyone wait: what has no place is refused at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::turns::Tenant;

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For all.
    pub(super) in_all: usize,
    /// For each organization.
    pub(super) each: usize,
}

/// What part of the free places one organization may hold at most.
const PART: usize = 3;

/// Places of one sort, and who holds them.
#[derive(Clone)]
pub(super) struct TenantShares {
    limits: Limits,
    held: Arc<Mutex<BTreeMap<Tenant, usize>>>,
}

/// One place; it is free again when this is dropped.
pub(super) struct TenantShare {
    shares: TenantShares,
    tenant: Tenant,
}

impl TenantShares {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            held: Arc::default(),
        }
    }

    /// A place, if there is one for this organization.
    pub(super) fn take(&self, tenant: Tenant) -> Option<TenantShare> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.get(&tenant).copied().unwrap_or(0);
        let free = self.limits.in_all.saturating_sub(held.values().sum());
        let most = self.limits.each.min((free / PART).max(1));
        if free == 0 || own >= most {
            return None;
        }
        held.insert(tenant, own + 1);
        let shares = self.clone();
        Some(TenantShare { shares, tenant })
    }
}

impl Drop for TenantShare {
    fn drop(&mut self) {
        let held = self.shares.held.lock();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::OrganizationId;

    #[test]
    fn however_many_take_all_they_can_there_is_room_for_one_more() {
        let check = |in_all, each, expected: &[usize]| {
            let shares = TenantShares::new(Limits { in_all, each });
            let mut held = Vec::new();
            for (n, expected) in (0_u128..).zip(expected) {
                let tenant = Some(OrganizationId(Ulid(n)));
                let before = held.len();
                held.extend(std::iter::from_fn(|| shares.take(tenant)));
                assert_eq!(held.len() - before, *expected, "{in_all} {each}: {n}");
            }
            let last = held.pop();
            drop(last);
            assert!(shares.take(None).is_some(), "what is given back is free");
            drop(held);
            assert!(shares.held.lock().unwrap().is_empty());
        };
        check(256, 64, &[64, 48, 36, 27, 20, 15, 11, 9, 6, 5]);
        check(12, 2, &[2, 2, 2, 1, 1, 1, 1, 1, 1, 0]);
        check(1, 5, &[1, 0]);
    }
}
