//! The guard at the moment of connecting: rebinding names, our own listeners, plain HTTP, and
//! connections that one organization must not use of another.

use std::sync::Arc;

use super::address::{ACME, OTHER, guard};
use super::receivers::*;
use crate::webhooks::address_guard::UrlScheme;
use crate::webhooks::http_sender::WebhookSender;
use crate::webhooks::resolver::{ClientKind, FixedDnsAnswers, GuardedResolver, NameLookup};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ninside";
/// Ends the connection, so that the next delivery makes a new one.
const OK_AND_CLOSE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_name_is_judged_by_the_answer_that_is_connected_to() {
    let name: &[(&str, &[&[&str]])] = &[("hooks.test", &[&["127.0.0.1"], &["127.0.0.2"]])];
    let receiver = Receiver::answering(OK_AND_CLOSE).await;
    let sender = WebhookSender::new(settings(&["127.0.0.1"], name)).unwrap();
    let delivery = request(&receiver.url_at("http", "hooks.test"));
    assert_eq!(told(&send(&sender, &delivery).await), (Some(200), None, ""));
    // Every further answer leads elsewhere on this machine.
    for _ in 0..3 {
        let attempt = send(&sender, &delivery).await;
        assert_eq!(told(&attempt), (None, Some("address_refused"), ""));
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn of_a_names_addresses_only_those_are_tried_that_may_be() {
    let answers = [
        (&["8.8.8.8"][..], Ok("8.8.8.8:0")),
        (
            &["10.0.0.1"],
            Err("10.0.0.1 is a private address, where no delivery goes"),
        ),
        (
            &["10.0.0.1", "::1", "1.1.1.1", "2606:4700::1"],
            Ok("1.1.1.1:0 [2606:4700::1]:0"),
        ),
        (
            &["::ffff:127.0.0.1"],
            Err("127.0.0.1 is a loopback address, where no delivery goes"),
        ),
        (
            &["64:ff9b::808:808"],
            Err("64:ff9b::808:808 is a NAT64 address, where no delivery goes"),
        ),
        (&[], Err("the name has no address")),
    ];
    let given = answers.map(|(ips, _)| ips.iter().map(|ip| ip.parse().unwrap()).collect());
    let names = FixedDnsAnswers::new([("hooks.test".to_owned(), given.into())]);
    let guard = Arc::new(guard(&[], &[]));
    let for_client = ClientKind {
        organization: None,
        scheme: UrlScheme::Https,
        own_port: None,
    };
    let lookup = NameLookup::Fixed(Arc::new(names));
    let resolver = GuardedResolver::Guarded {
        guard,
        lookup,
        for_client,
    };
    for (ips, expected) in answers {
        let found = resolver.clone().resolve_checked("hooks.test").await;
        let found = found.map(|found| {
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            found.join(" ")
        });
        let found = found.map_err(|refused| refused.to_string());
        assert_eq!(
            found.as_deref().map_err(String::as_str),
            expected,
            "{ips:?}"
        );
    }
}

#[tokio::test]
async fn our_own_listener_is_refused_by_every_name() {
    let own = Receiver::answering(OK).await;
    let other = Receiver::answering(OK).await;
    let port = own.address.port();
    for bound in [
        format!("127.0.0.1:{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::]:{port}"),
    ] {
        let mut settings = settings(
            &["127.0.0.0/8", "::1", "0.0.0.0/32"],
            &[
                ("hooks.test", &[&["127.0.0.1"]]),
                ("any.test", &[&["0.0.0.0"]]),
            ],
        );
        settings.guard = guard(&["127.0.0.0/8", "::1", "0.0.0.0/32"], &[&bound]);
        let sender = WebhookSender::new(settings).unwrap();
        let hosts = [
            "127.0.0.1",
            "127.0.0.2",
            "0.0.0.0",
            "[::1]",
            "hooks.test",
            "any.test",
        ];
        for host in hosts {
            let attempt = send(&sender, &request(&own.url_at("http", host))).await;
            assert_eq!(
                told(&attempt),
                (None, Some("address_refused"), ""),
                "{bound} {host}"
            );
        }
        // By TLS too, and with the ports of others open.
        let attempt = send(&sender, &request(&own.url_at("https", "hooks.test"))).await;
        assert_eq!(
            told(&attempt),
            (None, Some("address_refused"), ""),
            "{bound}"
        );
        let attempt = send(&sender, &request(&other.url_at("http", "hooks.test"))).await;
        assert_eq!(told(&attempt), (Some(200), None, ""), "{bound}");
    }
    // By what the system itself calls this machine.
    let mut settings = settings(&[], &[]);
    settings.guard = guard(&["127.0.0.0/8", "::1"], &[&own.address.to_string()]);
    settings.lookup = NameLookup::System;
    let sender = WebhookSender::new(settings).unwrap();
    let attempt = send(&sender, &request(&own.url_at("http", "localhost"))).await;
    assert_eq!(told(&attempt), (None, Some("address_refused"), ""));
    let attempt = send(&sender, &request(&other.url_at("http", "localhost"))).await;
    assert_eq!(told(&attempt), (Some(200), None, ""));
    assert_eq!(own.connections(), 0);
}

#[tokio::test]
async fn plain_http_is_refused_when_the_name_turns_out_to_be_public() {
    let names: &[(&str, &[&[&str]])] = &[("hooks.test", &[&["8.8.8.8"]])];
    let sender = WebhookSender::new(settings(&["127.0.0.0/8"], names)).unwrap();
    for url in ["http://hooks.test/", "http://8.8.8.8/"] {
        let attempt = send(&sender, &request(url)).await;
        assert_eq!(told(&attempt), (None, Some("address_refused"), ""), "{url}");
    }
    // With no network inside there is none that it could turn out to be in.
    let sender = WebhookSender::new(settings(&[], names)).unwrap();
    let attempt = send(&sender, &request("http://hooks.test/")).await;
    assert_eq!(told(&attempt), (None, Some("url_refused"), ""));
}

#[tokio::test]
async fn a_connection_inside_is_not_open_to_others() {
    let receiver = Receiver::answering(OK).await;
    let names: &[(&str, &[&[&str]])] = &[("hooks.test", &[&["127.0.0.1"]])];
    let of_acme = format!("{ACME}=127.0.0.0/8");
    // The other organization may send by plain HTTP, but elsewhere.
    let sender = WebhookSender::new(settings(&[&of_acme, "10.0.0.0/8"], names)).unwrap();
    for host in ["hooks.test", "127.0.0.1"] {
        let mut delivery = request(&receiver.url_at("http", host));
        assert_eq!(told(&send(&sender, &delivery).await), (Some(200), None, ""));
        delivery.organization = OTHER;
        let attempt = send(&sender, &delivery).await;
        assert_eq!(
            told(&attempt),
            (None, Some("address_refused"), ""),
            "{host}"
        );
    }
    assert_eq!(receiver.connections(), 2);
}
