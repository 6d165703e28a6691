//! Networks of clients: what a limit by address counts.
//!
//! An IPv4 client is its address. An IPv6 client has at least a /64 to choose from and often a /56
//! or a /48, so it counts in all three, whose limits are wider in turn.

use std::net::{IpAddr, Ipv6Addr};

/// One network in which a client counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ClientNetwork {
    bits: u128,
    pub(crate) width: NetworkWidth,
}

/// How many clients share a network's limit.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum NetworkWidth {
    /// An IPv4 address, or an IPv6 /64.
    One,
    /// An IPv6 /56: a household or an office.
    Site,
    /// An IPv6 /48: a large site, or many small ones.
    Provider,
}

impl NetworkWidth {
    /// The limit of a network this wide, where one client's is `one`.
    pub(crate) const fn limit(self, one: usize) -> usize {
        match self {
            Self::One => one,
            Self::Site => one + one / 2,
            Self::Provider => 2 * one,
        }
    }
}

impl ClientNetwork {
    /// The narrowest network of a client: its own. Clients without an address share one.
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Self {
                bits: address.to_ipv6_mapped().to_bits(),
                width: NetworkWidth::One,
            },
            Some(IpAddr::V6(address)) => Self::wide(address, 64, NetworkWidth::One),
            None => Self {
                bits: 0,
                width: NetworkWidth::One,
            },
        }
    }

    /// All networks in which a client counts, the narrowest first.
    pub(crate) fn all_of(address: Option<IpAddr>) -> impl Iterator<Item = Self> {
        let wider = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => Some([
                Self::wide(address, 56, NetworkWidth::Site),
                Self::wide(address, 48, NetworkWidth::Provider),
            ]),
            Some(IpAddr::V4(_)) | None => None,
        };
        std::iter::once(Self::of(address)).chain(wider.into_iter().flatten())
    }

    /// The network in bytes, as no other network has them.
    pub(crate) fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[0] = self.width as u8;
        bytes[1..].copy_from_slice(&self.bits.to_be_bytes());
        bytes
    }

    fn wide(address: Ipv6Addr, prefix: u32, width: NetworkWidth) -> Self {
        let free = u128::BITS - prefix;
        Self {
            bits: address.to_bits() >> free << free,
            width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Vec<ClientNetwork> {
        ClientNetwork::all_of(Some(address.parse().unwrap())).collect()
    }

    #[test]
    fn clients_share_networks_as_far_as_their_addresses_agree() {
        for (address, other, shared) in [
            ("192.0.2.1", "192.0.2.1", 1),
            ("192.0.2.1", "192.0.2.2", 0),
            ("192.0.2.1", "::ffff:192.0.2.1", 1),
            ("2001:db8::1", "2001:db8::ffff:0:0:2", 3),
            ("2001:db8::1", "2001:db8:0:1::1", 2),
            ("2001:db8::1", "2001:db8:0:100::1", 1),
            ("2001:db8::1", "2001:db8:1::1", 0),
            ("2001:db8::1", "192.0.2.1", 0),
        ] {
            let (networks, others) = (of(address), of(other));
            let same = networks.iter().filter(|network| others.contains(network));
            assert_eq!(same.count(), shared, "{address} {other}");
        }
        assert_eq!(ClientNetwork::all_of(None).count(), 1);
    }

    #[test]
    fn a_wider_network_has_a_wider_limit() {
        let limits = of("2001:db8::1").into_iter();
        let limits = limits.map(|network| network.width.limit(100));
        assert_eq!(limits.collect::<Vec<_>>(), [100, 150, 200]);
    }
}
