//! Fair shares of something that all clients use at once: connections, bytes, places for hashes.
//!
//! Each network and each organization has at most its share, and the last quarter of all is kept
//! for clients that use little, so that a few that take all they may leave room for the others.
//! Nothing waits here: what is over a share is refused, and what is given comes back on drop.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::network::ClientNetwork;
use crate::domain::ids::OrganizationId;

/// Part of all that is kept for clients that use little.
const KEPT_PART: usize = 4;
/// Part of one's own share up to which the use of it is little.
const LITTLE_PART: usize = 8;

/// A client as it is counted: by its networks, and by the organization it acts for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Client {
    pub(super) address: Option<IpAddr>,
    pub(super) organization: Option<OrganizationId>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Holder {
    Network(ClientNetwork),
    Organization(OrganizationId),
}

impl Client {
    fn holders(self) -> impl Iterator<Item = Holder> {
        let networks = ClientNetwork::all_of(self.address).map(Holder::Network);
        networks.chain(self.organization.map(Holder::Organization))
    }
}

/// How much there is, and how much of it one client may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ShareLimits {
    pub(super) all: usize,
    /// Of one IPv4 address, one IPv6 /64, one organization.
    pub(super) each: usize,
}

impl ShareLimits {
    fn of(self, holder: Holder) -> usize {
        match holder {
            Holder::Network(network) => network.width.limit(self.each),
            Holder::Organization(_) => self.each,
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
pub(super) struct FairShares {
    limits: ShareLimits,
    in_use: Arc<Mutex<InUse>>,
}

impl FairShares {
    pub(super) fn new(limits: ShareLimits) -> Self {
        Self {
            limits,
            in_use: Arc::default(),
        }
    }

    /// Gives `amount` to a client, unless that is over a share of its or over what is left.
    pub(super) fn take(&self, client: Client, amount: usize) -> Option<Share> {
        let mut share = self.empty(client);
        share.grow(amount).then_some(share)
    }

    /// The same whatever is left: for what must not be refused any more.
    pub(super) fn take_anyway(&self, client: Client, amount: usize) -> Share {
        let mut share = self.empty(client);
        self.lock().add(&mut share, amount);
        share
    }

    /// The same within the limit of all alone: for a proxy, which speaks for many clients.
    pub(super) fn take_for_many(&self, amount: usize) -> Option<Share> {
        let mut share = Share {
            shares: self.clone(),
            client: None,
            amount: 0,
        };
        let mut in_use = self.lock();
        if in_use.all + amount > self.limits.all {
            return None;
        }
        in_use.add(&mut share, amount);
        drop(in_use);
        Some(share)
    }

    /// A share of nothing, which may grow.
    pub(super) fn empty(&self, client: Client) -> Share {
        Share {
            shares: self.clone(),
            client: Some(client),
            amount: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.lock().all
    }
}

impl InUse {
    fn has_room(&self, limits: ShareLimits, client: Client, amount: usize) -> bool {
        let all = self.all.saturating_add(amount);
        if all > limits.all {
            return false;
        }
        let scarce = all > limits.all - limits.all / KEPT_PART;
        client.holders().all(|holder| {
            let own = self.by_holder.get(&holder).copied().unwrap_or(0);
            let limit = limits.of(holder);
            let limit = if scarce { limit / LITTLE_PART } else { limit };
            own.saturating_add(amount) <= limit
        })
    }

    fn add(&mut self, share: &mut Share, amount: usize) {
        self.all += amount;
        share.amount += amount;
        for holder in share.holders() {
            *self.by_holder.entry(holder).or_default() += amount;
        }
    }
}

/// What one client has; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: FairShares,
    /// The client that has it; `None` where it counts among all alone.
    client: Option<Client>,
    amount: usize,
}

impl Share {
    /// Takes `amount` more if that fits; otherwise takes nothing and returns false.
    pub(super) fn grow(&mut self, amount: usize) -> bool {
        let shares = self.shares.clone();
        let mut in_use = shares.lock();
        let fits = self
            .client
            .is_none_or(|client| in_use.has_room(shares.limits, client, amount));
        if fits {
            in_use.add(self, amount);
        }
        fits
    }

    /// How much it is.
    pub(super) const fn amount(&self) -> usize {
        self.amount
    }

    fn holders(&self) -> impl Iterator<Item = Holder> + use<> {
        self.client.into_iter().flat_map(Client::holders)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut in_use = self.shares.lock();
        in_use.all -= self.amount;
        for holder in self.holders() {
            if let Some(own) = in_use.by_holder.get_mut(&holder) {
                *own -= self.amount;
                if *own == 0 {
                    in_use.by_holder.remove(&holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    const LIMITS: ShareLimits = ShareLimits {
        all: 400,
        each: 100,
    };

    fn client(address: &str) -> Client {
        Client {
            address: Some(address.parse().unwrap()),
            organization: None,
        }
    }

    fn acme(address: &str) -> Client {
        Client {
            organization: Some(OrganizationId(Ulid(1))),
            ..client(address)
        }
    }

    #[test]
    fn each_client_has_its_share_and_no_more() {
        for (first, second, fits) in [
            (client("192.0.2.1"), client("192.0.2.1"), 0),
            (client("192.0.2.1"), client("192.0.2.2"), 100),
            (client("2001:db8::1"), client("2001:db8::2"), 0),
            (client("2001:db8::1"), client("2001:db8:0:1::1"), 50),
            (client("2001:db8::1"), client("2001:db8:0:100::1"), 100),
            (client("2001:db8::1"), client("2001:db8:1::1"), 100),
            (acme("192.0.2.1"), acme("192.0.2.2"), 0),
        ] {
            let shares = FairShares::new(LIMITS);
            let taken = shares.take(first, 100).unwrap();
            assert!(shares.take(first, 1).is_none());
            let more: Vec<_> = (0..200).map_while(|_| shares.take(second, 1)).collect();
            assert_eq!(more.len(), fits, "{first:?} {second:?}");
            drop((taken, more));
            assert!(shares.take(first, 100).is_some());
            assert!(shares.lock().by_holder.is_empty());
        }
    }

    #[test]
    fn the_last_quarter_is_kept_for_those_who_use_little() {
        let shares = FairShares::new(LIMITS);
        let flood = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        let flood = flood.map(|address| shares.take(client(address), 100).unwrap());
        assert!(shares.take(client("192.0.2.4"), 13).is_none());
        let little = shares.take(client("192.0.2.4"), 12).unwrap();
        assert!(shares.take(client("192.0.2.4"), 1).is_none());
        assert!(shares.take(client("192.0.2.5"), 12).is_some());
        drop((flood, little));
        assert_eq!(shares.in_use(), 0);
    }

    #[test]
    fn what_must_not_be_refused_counts_all_the_same() {
        let shares = FairShares::new(LIMITS);
        let anyway = shares.take_anyway(client("192.0.2.1"), 500);
        assert!(shares.take(client("192.0.2.2"), 1).is_none());
        assert!(shares.take_for_many(1).is_none());
        drop(anyway);
        assert!(shares.take_for_many(400).is_some());
    }
}
