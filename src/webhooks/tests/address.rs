//! Addresses by tables: every special range with its neighbors.

use std::net::{IpAddr, SocketAddr};

use ulid::Ulid;

use crate::domain::ids::OrganizationId;
use crate::webhooks::address_guard::*;

pub(super) const ACME: OrganizationId = OrganizationId(Ulid(1));
pub(super) const OTHER: OrganizationId = OrganizationId(Ulid(2));

pub(super) fn guard(nets: &[&str], own: &[&str]) -> AddressGuard {
    let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
    let own = own.iter().map(|own| own.parse().unwrap()).collect();
    AddressGuard::new(nets, own)
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// `public`, `allowed` or the reason.
fn verdict(guard: &AddressGuard, organization: OrganizationId, ip: &str) -> String {
    match guard.check_address(organization, at(ip, 443)) {
        Ok(AddressClass::Public) => "public".to_owned(),
        Ok(AddressClass::Allowed) => "allowed".to_owned(),
        Err(refused) => refused.to_string(),
    }
}

/// The last address before a range, its first, its last, the first one after it = what it is. A
/// neighbor that is special itself is left out.
const RANGES: &str = "
- 0.0.0.0 0.255.255.255 1.0.0.0 = this network
9.255.255.255 10.0.0.0 10.255.255.255 11.0.0.0 = a private address
100.63.255.255 100.64.0.0 100.127.255.255 100.128.0.0 = an address shared by a provider's customers
126.255.255.255 127.0.0.0 127.255.255.255 128.0.0.0 = a loopback address
168.63.129.15 168.63.129.16 168.63.129.16 168.63.129.17 = a cloud platform's own address
169.253.255.255 169.254.0.0 169.254.255.255 169.255.0.0 = a link-local address
172.15.255.255 172.16.0.0 172.31.255.255 172.32.0.0 = a private address
191.255.255.255 192.0.0.0 192.0.0.255 192.0.1.0 = an address of protocols
192.0.1.255 192.0.2.0 192.0.2.255 192.0.3.0 = a documentation address
192.88.98.255 192.88.99.0 192.88.99.255 192.88.100.0 = a 6to4 relay address
192.167.255.255 192.168.0.0 192.168.255.255 192.169.0.0 = a private address
198.17.255.255 198.18.0.0 198.19.255.255 198.20.0.0 = a benchmarking address
198.51.99.255 198.51.100.0 198.51.100.255 198.51.101.0 = a documentation address
203.0.112.255 203.0.113.0 203.0.113.255 203.0.114.0 = a documentation address
223.255.255.255 224.0.0.0 239.255.255.255 - = a multicast address
- 240.0.0.0 255.255.255.255 - = a reserved or broadcast address
- :: :: - = the unspecified address
- ::1 ::1 - = a loopback address
- ::2 ::ffff:ffff - = an IPv4 address written as IPv6
- ::1:0:0 ::fffe:ffff:ffff - = no public address
- 64:ff9b:: 64:ff9b::ffff:ffff - = a NAT64 address
- 64:ff9b:1:: 64:ff9b:1:ffff:ffff:ffff:ffff:ffff - = a local NAT64 address
- 64:ff9b:2:: ff:ffff:: - = no public address
- 100:: 100::ffff:ffff:ffff:ffff - = a discard address
- 100:0:0:1:: 1fff:ffff:ffff:ffff:: - = no public address
- 2001:: 2001:0:ffff:ffff:ffff:ffff:ffff:ffff - = a Teredo address
- 2001:1:: 2001:1ff:ffff:: 2001:200:: = an address of protocols
2001:db7:ffff:: 2001:db8:: 2001:db8:ffff:ffff:ffff:: 2001:db9:: = a documentation address
2001:ffff:: 2002:: 2002:ffff:ffff:: 2003:: = a 6to4 address
3ffe:ffff:: 3fff:: 3fff:fff:ffff:: 3fff:1000:: = a documentation address
3fff:ffff:: 4000:: 5eff:ffff:: - = no public address
- 5f00:: 5f00:ffff:: - = a segment routing address
- 5f01:: fbff:ffff:: - = no public address
- fc00:: fdff:ffff:ffff:: - = a private address
- fe00:: fe7f:ffff:: - = no public address
- fe80:: febf:ffff:: - = a link-local address
- fec0:: feff:ffff:: - = no public address
- ff00:: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff - = a multicast address
";

#[test]
fn special_ranges_are_refused_from_their_first_address_to_their_last() {
    let guard = guard(&[], &[]);
    let ranges = RANGES.lines().filter_map(|line| line.split_once(" = "));
    assert_eq!(ranges.clone().count(), 38);
    for (addresses, what) in ranges {
        let addresses: Vec<_> = addresses.split_whitespace().collect();
        let [before, first, last, after] = addresses.try_into().unwrap();
        for ip in [before, after].into_iter().filter(|ip| *ip != "-") {
            assert_eq!(verdict(&guard, ACME, ip), "public", "{ip}");
        }
        for ip in [first, last] {
            let address: IpAddr = ip.parse().unwrap();
            let expected = format!("{address} is {what}, where no delivery goes");
            assert_eq!(verdict(&guard, ACME, ip), expected);
        }
    }
    for ip in [
        "1.1.1.1",
        "93.184.215.14",
        "2606:4700::1111",
        "2a00:1450:4001:82a::200e",
    ] {
        assert_eq!(verdict(&guard, ACME, ip), "public", "{ip}");
    }
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_what_it_is() {
    let guard = guard(&["10.1.0.0/16"], &[]);
    for (ip, expected) in [
        ("::ffff:1.1.1.1", "public"),
        ("::ffff:10.1.2.3", "allowed"),
        (
            "::ffff:127.0.0.1",
            "127.0.0.1 is a loopback address, where no delivery goes",
        ),
        (
            "::ffff:169.254.169.254",
            "169.254.169.254 is a link-local address, where no delivery goes",
        ),
        (
            "::ffff:0:10.1.2.3",
            "::ffff:0:a01:203 is no public address, where no delivery goes",
        ),
        (
            "::10.1.2.3",
            "::a01:203 is an IPv4 address written as IPv6, where no delivery goes",
        ),
        (
            "64:ff9b::10.1.2.3",
            "64:ff9b::a01:203 is a NAT64 address, where no delivery goes",
        ),
    ] {
        assert_eq!(verdict(&guard, ACME, ip), expected, "{ip}");
    }
}

#[test]
fn an_allowed_network_is_open_to_whom_it_was_opened_for() {
    let of_acme = format!("{ACME}=192.168.0.0/16");
    let guard = guard(&["10.1.0.0/16", &of_acme, "fd00::5", "8.8.8.0/24"], &[]);
    let private = |ip: &str| format!("{ip} is a private address, where no delivery goes");
    for (ip, acme, other) in [
        ("10.1.0.0", "allowed".to_owned(), "allowed".to_owned()),
        ("10.1.255.255", "allowed".to_owned(), "allowed".to_owned()),
        (
            "10.0.255.255",
            private("10.0.255.255"),
            private("10.0.255.255"),
        ),
        ("10.2.0.0", private("10.2.0.0"), private("10.2.0.0")),
        ("192.168.7.7", "allowed".to_owned(), private("192.168.7.7")),
        ("fd00::5", "allowed".to_owned(), "allowed".to_owned()),
        ("fd00::6", private("fd00::6"), private("fd00::6")),
        ("8.8.8.8", "allowed".to_owned(), "allowed".to_owned()),
        ("8.8.9.8", "public".to_owned(), "public".to_owned()),
    ] {
        assert_eq!(verdict(&guard, ACME, ip), acme, "{ip}");
        assert_eq!(verdict(&guard, OTHER, ip), other, "{ip}");
    }
}

/// They lie among the IPv4 addresses that are written as IPv6, and are none.
#[test]
fn the_loopback_of_ipv6_is_allowed_by_itself() {
    let nowhere = |ip: &str, what: &str| format!("{ip} is {what}, where no delivery goes");
    for net in ["::1/128", "::1"] {
        let guard = guard(&[net], &[]);
        assert_eq!(verdict(&guard, ACME, "::1"), "allowed", "{net}");
        for (ip, what) in [
            ("::", "the unspecified address"),
            ("::2", "an IPv4 address written as IPv6"),
            ("127.0.0.1", "a loopback address"),
            ("0.0.0.1", "this network"),
        ] {
            assert_eq!(verdict(&guard, ACME, ip), nowhere(ip, what), "{net}");
        }
    }
    let own = guard(&["::1/128"], &["[::1]:443"]);
    assert_eq!(
        verdict(&own, ACME, "::1"),
        "[::1]:443 is this service itself"
    );
    let url = |guard: &AddressGuard, url: &str| guard.check_url(ACME, url).map(|_| ());
    let inside = guard(&["::1/128"], &[]);
    assert_eq!(url(&inside, "http://[::1]:9000/hooks"), Ok(()));
    let outside = url(&inside, "http://[2606:4700::1111]/")
        .unwrap_err()
        .to_string();
    assert!(outside.contains("only by https"), "{outside}");
}

#[test]
fn an_allowed_translation_leads_to_public_addresses_alone() {
    let translations = [
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "::/96",
    ];
    let with_private = [&translations[..], &["10.1.0.0/16"]].concat();
    // 8.8.8.8, 10.1.2.3 and 169.254.169.254 in each form.
    for (public, private, metadata) in [
        (
            "64:ff9b::8.8.8.8",
            "64:ff9b::10.1.2.3",
            "64:ff9b::169.254.169.254",
        ),
        (
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1::10.1.2.3",
            "64:ff9b:1:2:3:4:a9fe:a9fe",
        ),
        ("2002:808:808::1", "2002:a01:203::1", "2002:a9fe:a9fe::1"),
        // The client's bits are inverted.
        (
            "2001:0:808:808::f7f7:f7f7",
            "2001:0:808:808::f5fe:fdfc",
            "2001:0:808:808::5601:5601",
        ),
        (
            "2001:0:808:404::f7f7:f7f7",
            "2001:0:a01:203::f7f7:f7f7",
            "2001:0:a9fe:a9fe::f7f7:f7f7",
        ),
        ("::8.8.8.8", "::10.1.2.3", "::169.254.169.254"),
    ] {
        let refused = |ip: &str, what: &str| format!("{ip} is {what}, where no delivery goes");
        for (nets, private_allowed) in [(&translations[..], false), (&with_private, true)] {
            let guard = guard(nets, &[]);
            assert_eq!(verdict(&guard, ACME, public), "allowed", "{public}");
            let expected = match private_allowed {
                true => "allowed".to_owned(),
                false => refused("10.1.2.3", "a private address"),
            };
            assert_eq!(verdict(&guard, ACME, private), expected, "{private}");
            let expected = refused("169.254.169.254", "a link-local address");
            assert_eq!(verdict(&guard, ACME, metadata), expected, "{metadata}");
        }
    }
}

#[test]
fn a_network_has_one_spelling() {
    for (text, expected) in [
        ("10.0.0.0/8", Ok("10.0.0.0/8")),
        ("10.0.0.5", Ok("10.0.0.5/32")),
        ("fd00::/8", Ok("fd00::/8")),
        ("0.0.0.0/0", Ok("0.0.0.0/0")),
        (
            "10.0.0.5/8",
            Err("the network of this address is written 10.0.0.0/8"),
        ),
        (
            "::ffff:10.0.0.0/104",
            Err("a network of IPv4 addresses is written as such"),
        ),
        (
            "::ffff:10.0.0.1",
            Err("a network of IPv4 addresses is written as such"),
        ),
        (
            "10.0.0.0/33",
            Err("a network is written like 10.0.0.0/8 or fd00::/8"),
        ),
        (
            "localhost",
            Err("a network is written like 10.0.0.0/8 or fd00::/8"),
        ),
        ("", Err("a network is written like 10.0.0.0/8 or fd00::/8")),
        (
            "=10.0.0.0/8",
            Err("before = stands the id of an organization, org_..., or nothing"),
        ),
        (
            "acme=10.0.0.0/8",
            Err("before = stands the id of an organization, org_..., or nothing"),
        ),
    ] {
        let parsed = text.parse::<AllowedNetwork>().map(|allow| {
            assert_eq!(allow.organization, None);
            allow.network.to_string()
        });
        let parsed = parsed.map_err(|wrong| wrong.to_string());
        assert_eq!(
            parsed.as_deref().map_err(String::as_str),
            expected,
            "{text}"
        );
    }
    let of_acme: AllowedNetwork = format!("{ACME}=10.0.0.0/8").parse().unwrap();
    assert_eq!(of_acme.organization, Some(ACME));
}

#[test]
fn our_own_listeners_are_refused_even_inside_allowed_networks() {
    let everything = ["0.0.0.0/0", "::/0"];
    let case = |own: &str, ip: &str, port: u16| {
        let refused = guard(&everything, &[own]).check_address(ACME, at(ip, port));
        match refused {
            Ok(AddressClass::Allowed) => false,
            Err(RefusedAddress::OwnListener(_)) => true,
            Ok(AddressClass::Public) | Err(_) => panic!("{own} {ip} {port}: {refused:?}"),
        }
    };
    for (own, ip, port, expected) in [
        ("127.0.0.1:8080", "127.0.0.1", 8_080, true),
        ("127.0.0.1:8080", "127.0.0.1", 8_081, false),
        ("127.0.0.1:8080", "127.7.7.7", 8_080, true),
        ("127.0.0.1:8080", "0.0.0.0", 8_080, true),
        ("127.0.0.1:8080", "::1", 8_080, true),
        ("127.0.0.1:8080", "::", 8_080, true),
        ("127.0.0.1:8080", "::ffff:127.0.0.1", 8_080, true),
        ("127.0.0.1:8080", "64:ff9b::127.0.0.1", 8_080, true),
        ("127.0.0.1:8080", "10.0.0.1", 8_080, false),
        ("10.0.0.1:8080", "10.0.0.1", 8_080, true),
        ("10.0.0.1:8080", "64:ff9b::10.0.0.1", 8_080, true),
        ("10.0.0.1:8080", "10.0.0.2", 8_080, false),
        ("10.0.0.1:8080", "127.0.0.1", 8_080, false),
        ("0.0.0.0:8080", "127.0.0.1", 8_080, true),
        ("0.0.0.0:8080", "::1", 8_080, true),
        ("[::]:8080", "127.0.0.1", 8_080, true),
        ("[::]:8080", "0.0.0.0", 8_080, true),
        ("[::]:8080", "0.0.0.0", 80, false),
        ("[::]:8080", "8.8.8.8", 8_080, false),
    ] {
        assert_eq!(case(own, ip, port), expected, "{own} {ip} {port}");
    }
    // Whatever addresses this machine has.
    for interface in if_addrs::get_if_addrs().unwrap() {
        let ip = interface.ip().to_string();
        assert!(case("0.0.0.0:8080", &ip, 8_080), "{ip}");
    }
}
