//! The address of a client behind proxies: `X-Forwarded-For`, and `Forwarded` of RFC 7239.
//!
//! The peer's address counts, unless the peer is a trusted proxy. Then it is the first address from
//! the right that is not a trusted proxy's own. Both headers are read from the right: what a client
//! sent stands to the left of what proxies added, and must not make that unreadable. Parsers that
//! begin on the left refuse the whole header.
//!
//! `Forwarded` counts only where there is no `X-Forwarded-For`: most proxies add to the latter and
//! pass on the former as the client sent it.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address. An IPv4 address that a socket for both families shows as an IPv6 one
/// counts as IPv4.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return peer;
    }
    if headers.contains_key(&X_FORWARDED_FOR) {
        let lines = headers.get_all(&X_FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        behind(peer, hops, node, is_trusted)
    } else {
        let lines = headers.get_all(header::FORWARDED).iter().rev();
        let hops = lines.flat_map(|line| FromRight::new(line.as_bytes(), b','));
        behind(peer, hops, forwarded_for, is_trusted)
    }
}

/// Follows `hops` from the nearest one on, for as long as they are trusted and can be read.
fn behind<'a>(
    peer: IpAddr,
    hops: impl Iterator<Item = &'a [u8]>,
    read: impl Fn(&'a [u8]) -> Option<IpAddr>,
    is_trusted: impl Fn(&IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    // Empty elements of a list count for nothing (RFC 9110, 5.6.1).
    for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
        let Some(ip) = read(hop) else { break };
        client = ip;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// An address, with or without brackets, quotes, a port or a zone.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let text = unquoted(text)?;
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        is_good.then_some(address)?
    } else {
        match text.split_once(':') {
            // More than one colon: an IPv6 address.
            Some((_, rest)) if rest.contains(':') => text,
            Some((address, port)) => is_port(port).then_some(address)?,
            None => text,
        }
    };
    let (address, _zone) = address.split_once('%').unwrap_or((address, ""));
    let address: IpAddr = address.parse().ok()?;
    Some(address.to_canonical())
}

/// A port, or what hides one (RFC 7239, 6.2).
fn is_port(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(is_plain)
}

/// The text within quotes, if it has any. An address needs no escapes.
fn unquoted(text: &str) -> Option<&str> {
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|text| !text.contains('\\')),
        None => Some(text),
    }
}

/// The address that an element of `Forwarded` names by `for`, which it may hold once.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in FromRight::new(element, b';') {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = pair.split_at_checked(equals.unwrap_or(pair.len()))?;
        if name.trim_ascii().eq_ignore_ascii_case(b"for") {
            if found.is_some() {
                return None;
            }
            found = Some(node(value.get(1..)?.trim_ascii())?);
        }
    }
    found
}

/// The parts of a text between separators that do not stand in quotes, from the right.
struct FromRight<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> FromRight<'a> {
    const fn new(text: &'a [u8], separator: u8) -> Self {
        Self {
            rest: Some(text),
            separator,
        }
    }
}

impl<'a> Iterator for FromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.take()?;
        let mut is_quoted = false;
        for (at, byte) in text.iter().enumerate().rev() {
            let (before, from) = text.split_at(at);
            let escapes = before.iter().rev().take_while(|byte| **byte == b'\\');
            if *byte == b'"' && escapes.count() % 2 == 0 {
                is_quoted = !is_quoted;
            } else if *byte == self.separator && !is_quoted {
                self.rest = Some(before);
                return from.get(1..);
            }
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of a client whose request comes from `peer` with these lines of a header.
    fn client(peer: &str, lines: &[(&HeaderName, &[u8])]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(*name, axum::http::HeaderValue::from_bytes(line).unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_sets_the_address() {
        let check = |peer: &str, forwarded: &str, expected: &str| {
            let lines = [(&X_FORWARDED_FOR, forwarded.as_bytes())];
            assert_eq!(client(peer, &lines), expected, "{peer} {forwarded}");
        };
        check("203.0.113.9", "198.51.100.1", "203.0.113.9");
        check("10.0.0.1", "198.51.100.1", "198.51.100.1");
        let spoofed = "6.6.6.6, 198.51.100.1, 10.0.0.2";
        check("10.0.0.1", spoofed, "198.51.100.1");
        check("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3");
        check("10.0.0.1", "nonsense", "10.0.0.1");
        check("10.0.0.1", "", "10.0.0.1");
        check("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1");
        check("::ffff:203.0.113.9", "198.51.100.1", "203.0.113.9");
        let mapped = "::ffff:198.51.100.1, ::ffff:10.0.0.2";
        check("10.0.0.1", mapped, "198.51.100.1");
        check("fd00::1", "2001:db8::7", "2001:db8::7");
    }

    #[test]
    fn an_address_may_have_brackets_a_port_and_a_zone() {
        for (forwarded, expected) in [
            ("203.0.113.7:51008", "203.0.113.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
            ("fe80::1%eth0", "fe80::1"),
            ("203.0.113.7:51008, 10.0.0.2:80", "203.0.113.7"),
            ("[2001:db8::1]:5, [fd00::2]:80", "2001:db8::1"),
            ("6.6.6.6:1, 203.0.113.7:51008,10.0.0.2:80", "203.0.113.7"),
            ("203.0.113.7, , ", "203.0.113.7"),
            ("6.6.6.6, unknown", "10.0.0.1"),
            ("6.6.6.6, 203.0.113.7:", "10.0.0.1"),
            ("6.6.6.6, [2001:db8::1", "10.0.0.1"),
            ("6.6.6.6, [2001:db8::1]443", "10.0.0.1"),
            ("6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        ] {
            let lines = [(&X_FORWARDED_FOR, forwarded.as_bytes())];
            assert_eq!(client("10.0.0.1", &lines), expected, "{forwarded}");
        }
    }

    #[test]
    fn what_a_client_sent_does_not_hide_what_proxies_added() {
        let x = &X_FORWARDED_FOR;
        let good: &[u8] = b"203.0.113.7";
        assert_eq!(
            client("10.0.0.1", &[(x, b"\xff, 203.0.113.7")]),
            "203.0.113.7"
        );
        assert_eq!(
            client("10.0.0.1", &[(x, b"\xff"), (x, good)]),
            "203.0.113.7"
        );
        assert_eq!(
            client("10.0.0.1", &[(x, good), (x, b"10.0.0.2")]),
            "203.0.113.7"
        );
        let forwarded = &header::FORWARDED;
        for line in [
            "for=\"6.6.6.6, for=203.0.113.7",
            "for=6.6.6.6\", for=203.0.113.7",
            "for=\"\\\", for=203.0.113.7",
            "\", for=203.0.113.7;proto=https",
        ] {
            let found = client("10.0.0.1", &[(forwarded, line.as_bytes())]);
            assert_eq!(found, "203.0.113.7", "{line}");
        }
        // The client's own header, which the proxy passes on.
        let both: [(_, &[u8]); 2] = [(forwarded, b"for=6.6.6.6"), (x, good)];
        assert_eq!(client("10.0.0.1", &both), "203.0.113.7");
    }

    #[test]
    fn the_standard_header_is_read_too() {
        for (line, expected) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("For=203.0.113.7", "203.0.113.7"),
            ("for=\"203.0.113.7:47011\"", "203.0.113.7"),
            ("for=203.0.113.7;proto=http;by=10.0.0.1", "203.0.113.7"),
            ("proto=http; by=10.0.0.1 ;for = 203.0.113.7", "203.0.113.7"),
            ("for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=\"[2001:db8::1]\"", "2001:db8::1"),
            ("for=\"[2001:db8::1]:_port\"", "2001:db8::1"),
            ("for=6.6.6.6, for=203.0.113.7, for=10.0.0.2", "203.0.113.7"),
            ("for=203.0.113.7;ext=\"a,b;for=6.6.6.6\"", "203.0.113.7"),
            ("for=203.0.113.7;ext=\"a\\\"\\\\\"", "203.0.113.7"),
            ("for=203.0.113.7,", "203.0.113.7"),
            ("for=unknown", "10.0.0.1"),
            ("for=_hidden", "10.0.0.1"),
            ("for=6.6.6.6;for=203.0.113.7", "10.0.0.1"),
            ("for=6.6.6.6, proto=https", "10.0.0.1"),
            ("for=6.6.6.6, for", "10.0.0.1"),
            ("203.0.113.7", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            let lines = [(&header::FORWARDED, line.as_bytes())];
            assert_eq!(client("10.0.0.1", &lines), expected, "{line}");
            assert_eq!(client("203.0.113.9", &lines), "203.0.113.9", "{line}");
        }
    }
}
