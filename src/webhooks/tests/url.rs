//! The URLs that an endpoint may have, and every spelling of an address in one.

use super::address::{ACME, OTHER, guard};
use crate::webhooks::address_guard::*;

#[test]
fn an_endpoint_has_an_https_url_to_a_public_host() {
    let guard = guard(&[], &["127.0.0.1:8443"]);
    let long = |bytes: usize| {
        let start = "https://example.com/";
        format!("{start}{}", "a".repeat(bytes - start.len()))
    };
    for (text, expected) in [
        ("https://example.com", "https://example.com/"),
        (
            "HTTPS://EXAMPLE.com:443/Hooks?a=b",
            "https://example.com/Hooks?a=b",
        ),
        ("https://example.com:80/", "https://example.com:80/"),
        ("https://example.com:1024/", "https://example.com:1024/"),
        ("https://example.com:65535/", "https://example.com:65535/"),
        (
            "https://b\u{fc}cher.example/\u{e9}",
            "https://xn--bcher-kva.example/%C3%A9",
        ),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        (
            "https://[2606:4700::1111]:8443/",
            "https://[2606:4700::1111]:8443/",
        ),
        // Names are judged when they are resolved.
        ("https://localhost:8443/", "https://localhost:8443/"),
        (
            "https://169.254.169.254.example.com/",
            "https://169.254.169.254.example.com/",
        ),
        (&long(2_000), &long(2_000)),
    ] {
        let url = guard.check_url(ACME, text);
        assert_eq!(url.as_ref().map(|url| url.as_str()), Ok(expected), "{text}");
    }
    let wide = format!("https://example.com/{}", "\u{e9}".repeat(600));
    for (text, expected) in [
        (long(2_001).as_str(), UrlRefused::TooLong),
        (&wide, UrlRefused::TooLong),
        ("", UrlRefused::NotAUrl),
        ("example.com", UrlRefused::NotAUrl),
        ("https://", UrlRefused::NotAUrl),
        ("https://exa mple.com/", UrlRefused::NotAUrl),
        (" https://example.com/", UrlRefused::NotAUrl),
        ("https://exam\nple.com/", UrlRefused::NotAUrl),
        ("https://example.com:99999/", UrlRefused::NotAUrl),
        ("https://1.2.3.4.5/", UrlRefused::NotAUrl),
        ("https://[fe80::1%25eth0]/", UrlRefused::NotAUrl),
        ("http://example.com/", UrlRefused::UrlScheme),
        ("ftp://example.com/", UrlRefused::UrlScheme),
        ("file:///etc/passwd", UrlRefused::UrlScheme),
        ("data:text/plain,x", UrlRefused::UrlScheme),
        ("https://user@example.com/", UrlRefused::Userinfo),
        ("https://user:pass@example.com/", UrlRefused::Userinfo),
        ("https://:pass@example.com/", UrlRefused::Userinfo),
        ("https://example.com/#", UrlRefused::Fragment),
        ("https://example.com/#part", UrlRefused::Fragment),
        ("https://example.com:0/", UrlRefused::Port(0)),
        ("https://example.com:22/", UrlRefused::Port(22)),
        ("https://example.com:79/", UrlRefused::Port(79)),
        ("https://example.com:81/", UrlRefused::Port(81)),
        ("https://example.com:442/", UrlRefused::Port(442)),
        ("https://example.com:444/", UrlRefused::Port(444)),
        ("https://example.com:1023/", UrlRefused::Port(1_023)),
    ] {
        assert_eq!(guard.check_url(ACME, text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn an_address_is_known_by_every_spelling() {
    let guard = guard(&[], &["127.0.0.1:8443"]);
    let loopback = "127.0.0.1 is a loopback address, where no delivery goes";
    let metadata = "169.254.169.254 is a link-local address, where no delivery goes";
    for (host, expected) in [
        ("127.0.0.1", loopback),
        ("127.1", loopback),
        ("127.0.0.1.", loopback),
        ("2130706433", loopback),
        ("0x7f000001", loopback),
        ("0x7F.1", loopback),
        ("0177.0.0.1", loopback),
        ("017700000001", loopback),
        ("%31%32%37.0.0.1", loopback),
        ("\u{ff11}\u{ff12}\u{ff17}.0.0.1", loopback),
        ("127\u{3002}0\u{3002}0\u{3002}1", loopback),
        ("[::ffff:127.0.0.1]", loopback),
        ("[::ffff:7f00:1]", loopback),
        ("[0:0:0:0:0:ffff:7f00:1]", loopback),
        ("169.254.169.254", metadata),
        ("2852039166", metadata),
        ("0xa9.0xfe.0xa9.0xfe", metadata),
        ("0251.0376.0251.0376", metadata),
        ("[::ffff:169.254.169.254]", metadata),
        ("0", "0.0.0.0 is this network, where no delivery goes"),
        (
            "[::]",
            ":: is the unspecified address, where no delivery goes",
        ),
        ("[::1]", "::1 is a loopback address, where no delivery goes"),
        (
            "[::127.0.0.1]",
            "::7f00:1 is an IPv4 address written as IPv6, where no delivery goes",
        ),
        (
            "[64:ff9b::7f00:1]",
            "64:ff9b::7f00:1 is a NAT64 address, where no delivery goes",
        ),
        ("127.0.0.1:8443", "127.0.0.1:8443 is this service itself"),
        ("2130706433:8443", "127.0.0.1:8443 is this service itself"),
    ] {
        let url = format!("https://{host}/");
        let refused = guard.check_url(ACME, &url).unwrap_err();
        assert_eq!(refused.to_string(), expected, "{url}");
    }
}

#[test]
fn plain_http_goes_inside_alone() {
    let of_acme = format!("{ACME}=10.1.0.0/16");
    let inside = guard(&[&of_acme], &[]);
    let public = "8.8.8.8 is not in a network that is delivered to by plain HTTP, only by https";
    for (organization, text, expected) in [
        (ACME, "http://10.1.2.3:8080/", Ok(())),
        (ACME, "https://10.1.2.3:8080/", Ok(())),
        // A name is judged when it is resolved.
        (ACME, "http://hooks.internal/", Ok(())),
        (ACME, "http://8.8.8.8/", Err(public)),
        (
            ACME,
            "http://10.2.0.1/",
            Err("10.2.0.1 is a private address, where no delivery goes"),
        ),
        (
            OTHER,
            "http://hooks.internal/",
            Err("the URL begins with https://"),
        ),
        (OTHER, "http://8.8.8.8/", Err(public)),
        (OTHER, "https://hooks.internal/", Ok(())),
    ] {
        let checked = inside.check_url(organization, text);
        let checked = checked.map(drop).map_err(|refused| refused.to_string());
        assert_eq!(
            checked.as_ref().map_err(|text| &**text).copied(),
            expected,
            "{text}"
        );
    }
}
