//! Fair shares of something that clients hold: connections, bytes, streams, places for hashes.
//!
//! A holder is a network of clients or an organization. Each may hold up to a limit of its own, and
//! no more than a third of what all have left: however many take all they can, there is room for
//! one more. Must never make anyone wait: what is over a share is refused at once, and what is
//! given comes back on drop.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ledger::turns::Tenant;
use crate::web::network::ClientNetwork;

/// What part of all that is free one holder may hold at most.
const FREE_PART: usize = 3;

/// Whose a share is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Holder {
    Network(ClientNetwork),
    Tenant(Tenant),
}

impl Holder {
    /// The networks of a client.
    pub(crate) fn of_address(address: Option<IpAddr>) -> Vec<Self> {
        ClientNetwork::all_of(address).map(Self::Network).collect()
    }
}

/// How much there is, and how much of it one holder may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ShareLimits {
    pub(crate) all: usize,
    /// Of one IPv4 address, one IPv6 /64, one organization.
    pub(crate) each: usize,
}

impl ShareLimits {
    fn of(self, holder: Holder) -> usize {
        match holder {
            Holder::Network(network) => network.width.limit(self.each),
            Holder::Tenant(_) => self.each,
        }
    }
}

#[derive(Debug, Default)]
struct InUse {
    all: usize,
    by_holder: BTreeMap<Holder, usize>,
}

/// The shares, and what is in use of them.
#[derive(Clone, Debug)]
pub(crate) struct FairShares {
    limits: ShareLimits,
    in_use: Arc<Mutex<InUse>>,
}

impl FairShares {
    pub(crate) fn new(limits: ShareLimits) -> Self {
        Self {
            limits,
            in_use: Arc::default(),
        }
    }

    /// Gives `amount`, unless that is over the share of a holder or over what is left. Without a
    /// holder only the latter counts: so a proxy takes, which speaks for many clients.
    pub(crate) fn take(
        &self,
        holders: impl IntoIterator<Item = Holder>,
        amount: usize,
    ) -> Option<Share> {
        let mut share = self.empty(holders);
        share.grow(amount).then_some(share)
    }

    /// The same whatever is left: for what must not be refused any more.
    pub(crate) fn take_anyway(
        &self,
        holders: impl IntoIterator<Item = Holder>,
        amount: usize,
    ) -> Share {
        let mut share = self.empty(holders);
        self.lock().add(&mut share, amount);
        share
    }

    /// A share of nothing, which may grow.
    pub(crate) fn empty(&self, holders: impl IntoIterator<Item = Holder>) -> Share {
        Share {
            shares: self.clone(),
            holders: holders.into_iter().collect(),
            amount: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.lock().all
    }
}

impl InUse {
    fn has_room(&self, limits: ShareLimits, share: &Share, amount: usize) -> bool {
        let free = limits.all.saturating_sub(self.all);
        let part = (free / FREE_PART).max(1);
        amount <= free
            && share.holders.iter().all(|holder| {
                let own = self.by_holder.get(holder).copied().unwrap_or(0);
                own.saturating_add(amount) <= limits.of(*holder).min(part)
            })
    }

    fn add(&mut self, share: &mut Share, amount: usize) {
        self.all += amount;
        share.amount += amount;
        for holder in &share.holders {
            *self.by_holder.entry(*holder).or_default() += amount;
        }
    }
}

/// What is held; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: FairShares,
    holders: Vec<Holder>,
    amount: usize,
}

impl Share {
    /// Takes `amount` more if that fits; otherwise takes nothing and returns false.
    pub(crate) fn grow(&mut self, amount: usize) -> bool {
        let shares = self.shares.clone();
        let mut in_use = shares.lock();
        let fits = in_use.has_room(shares.limits, self, amount);
        if fits {
            in_use.add(self, amount);
        }
        fits
    }

    /// How much it is.
    pub(crate) const fn amount(&self) -> usize {
        self.amount
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut in_use = self.shares.lock();
        in_use.all -= self.amount;
        for holder in &self.holders {
            if let Some(own) = in_use.by_holder.get_mut(holder) {
                *own -= self.amount;
                if *own == 0 {
                    in_use.by_holder.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::OrganizationId;

    fn tenant(n: u128) -> Holder {
        Holder::Tenant(Some(OrganizationId(Ulid(n))))
    }

    fn at(address: &str) -> Vec<Holder> {
        Holder::of_address(Some(address.parse().unwrap()))
    }

    #[test]
    fn each_client_has_its_share_and_no_more() {
        let of_acme = |address| [at(address), vec![tenant(1)]].concat();
        for (first, second, fits) in [
            (at("192.0.2.1"), at("192.0.2.1"), 0),
            (at("192.0.2.1"), at("192.0.2.2"), 100),
            (at("2001:db8::1"), at("2001:db8::2"), 0),
            (at("2001:db8::1"), at("2001:db8:0:1::1"), 50),
            (at("2001:db8::1"), at("2001:db8:0:100::1"), 100),
            (at("2001:db8::1"), at("2001:db8:1::1"), 100),
            (of_acme("192.0.2.1"), of_acme("192.0.2.2"), 0),
        ] {
            let limits = ShareLimits {
                all: 1_000,
                each: 100,
            };
            let shares = FairShares::new(limits);
            let take = |holders: &Vec<Holder>, amount| shares.take(holders.clone(), amount);
            let taken = take(&first, 100).unwrap();
            assert!(take(&first, 1).is_none());
            let more: Vec<_> = (0..200).map_while(|_| take(&second, 1)).collect();
            assert_eq!(more.len(), fits, "{first:?} {second:?}");
            drop((taken, more));
            assert!(take(&first, 100).is_some());
            assert!(shares.lock().by_holder.is_empty());
        }
    }

    #[test]
    fn however_many_take_all_they_can_there_is_room_for_one_more() {
        let check = |all, each, expected: &[usize]| {
            let shares = FairShares::new(ShareLimits { all, each });
            let mut held = Vec::new();
            for (n, expected) in (0..).zip(expected) {
                let before = held.len();
                held.extend(std::iter::from_fn(|| shares.take([tenant(n)], 1)));
                assert_eq!(held.len() - before, *expected, "{all} {each}: {n}");
            }
            let last = held.pop();
            drop(last);
            let operator = Holder::Tenant(None);
            assert!(
                shares.take([operator], 1).is_some(),
                "what is given back is free"
            );
            drop(held);
            assert_eq!(shares.in_use(), 0);
        };
        check(256, 64, &[64, 48, 36, 27, 20, 15, 11, 9, 6, 5]);
        check(12, 2, &[2, 2, 2, 1, 1, 1, 1, 1, 1, 0]);
        check(1, 5, &[1, 0]);
    }

    #[test]
    fn what_must_not_be_refused_counts_all_the_same() {
        let limits = ShareLimits {
            all: 400,
            each: 100,
        };
        let shares = FairShares::new(limits);
        let anyway = shares.take_anyway(at("192.0.2.1"), 500);
        assert!(shares.take(at("192.0.2.2"), 1).is_none());
        assert!(shares.take([], 1).is_none());
        drop(anyway);
        assert!(shares.take([], 400).is_some());
    }
}
