//! The addresses of the internet that are no one's public host.
//!
//! Owns the table of special ranges and what IPv4 addresses hide in IPv6 ones. Pure; it must never
//! know of what an operator allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// What is special among IPv4 addresses, by IANA's registry; and the one public address that a
/// large cloud answers to each of its machines as their own platform.
const SPECIAL_V4: [(Ipv4Net, &str); 16] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "a private address"),
    (
        v4(100, 64, 0, 0, 10),
        "an address shared by a provider's customers",
    ),
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    (v4(168, 63, 129, 16, 32), "a cloud platform's own address"),
    (v4(169, 254, 0, 0, 16), "a link-local address"),
    (v4(172, 16, 0, 0, 12), "a private address"),
    (v4(192, 0, 0, 0, 24), "an address of protocols"),
    (v4(192, 0, 2, 0, 24), "a documentation address"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay address"),
    (v4(192, 168, 0, 0, 16), "a private address"),
    (v4(198, 18, 0, 0, 15), "a benchmarking address"),
    (v4(198, 51, 100, 0, 24), "a documentation address"),
    (v4(203, 0, 113, 0, 24), "a documentation address"),
    (v4(224, 0, 0, 0, 4), "a multicast address"),
    (v4(240, 0, 0, 0, 4), "a reserved or broadcast address"),
];

/// Where public IPv6 hosts are; all else is special.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// What is special among IPv6 addresses, by the same registry: the narrower range first.
const SPECIAL_V6: [(Ipv6Net, &str); 15] = [
    (v6(0, 0, 0, 128), "the unspecified address"),
    (LOOPBACK_V6, "a loopback address"),
    (COMPATIBLE, "an IPv4 address written as IPv6"),
    (NAT64, "a NAT64 address"),
    (NAT64_LOCAL, "a local NAT64 address"),
    (v6(0x100, 0, 0, 64), "a discard address"),
    (TEREDO, "a Teredo address"),
    (v6(0x2001, 0, 0, 23), "an address of protocols"),
    (v6(0x2001, 0xdb8, 0, 32), "a documentation address"),
    (SIX_TO_FOUR, "a 6to4 address"),
    (v6(0x3fff, 0, 0, 20), "a documentation address"),
    (v6(0x5f00, 0, 0, 16), "a segment routing address"),
    (v6(0xfc00, 0, 0, 7), "a private address"),
    (v6(0xfe80, 0, 0, 10), "a link-local address"),
    (v6(0xff00, 0, 0, 8), "a multicast address"),
];

const LOOPBACK_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
const COMPATIBLE: Ipv6Net = v6(0, 0, 0, 96);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const NAT64_LOCAL: Ipv6Net = v6(0x64, 0xff9b, 1, 48);
const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);

/// What is special about an address in its canonical form; `None` for a public host's.
pub(super) fn special_range_name(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let range = SPECIAL_V4
                .iter()
                .find(|(range, _)| range.contains(&address));
            range.map(|(_, what)| *what)
        }
        IpAddr::V6(address) => {
            let range = SPECIAL_V6
                .iter()
                .find(|(range, _)| range.contains(&address));
            let unassigned = (!GLOBAL_V6.contains(&address)).then_some("no public address");
            range.map(|(_, what)| *what).or(unassigned)
        }
    }
}

/// The IPv4 addresses that something on the way may take an IPv6 address for: the one behind a
/// NAT64 or in a 6to4 address, the server and the client of Teredo. Within the local NAT64 range
/// the last four bytes are it, as with the common prefix of 96 bits. The loopback and the
/// unspecified address hold none, though they lie among the IPv4 addresses that are written as
/// IPv6 (RFC 4291, 2.5).
pub(super) fn embedded_addresses(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let found = match address {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(Ipv6Addr::LOCALHOST | Ipv6Addr::UNSPECIFIED) => [None, None],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let (first, last) = (v4_at(bits, 80), v4_at(bits, 0));
            if SIX_TO_FOUR.contains(&address) {
                [Some(first), None]
            } else if TEREDO.contains(&address) {
                [Some(v4_at(bits, 64)), Some(v4_at(!bits, 0))]
            } else if [COMPATIBLE, NAT64, NAT64_LOCAL]
                .iter()
                .any(|net| net.contains(&address))
            {
                [Some(last), None]
            } else {
                [None, None]
            }
        }
    };
    found.into_iter().flatten().map(IpAddr::V4)
}

/// The IPv4 address that ends `shift` bits before the end.
fn v4_at(bits: u128, shift: u32) -> Ipv4Addr {
    let [.., a, b, c, d] = (bits >> shift).to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}
