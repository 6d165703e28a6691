//! What a receiver is sent, what its answer means, and what is kept of it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::io::AsyncWriteExt;

use super::receivers::*;
use crate::clock::Clock;
use crate::webhooks::http_sender::{InvalidSenderSettings, WebhookSender};

const LOOPBACK: &[&str] = &["127.0.0.0/8"];

#[tokio::test]
async fn a_delivery_has_the_headers_of_the_standard_and_the_very_bytes() {
    let seen = Arc::new(Mutex::new(String::new()));
    let saw = Arc::clone(&seen);
    let receiver = Receiver::start(move |mut stream| {
        let saw = Arc::clone(&saw);
        async move {
            *saw.lock().unwrap() = read_request(&mut stream).await.unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\nset-cookie: a=b\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let sender = WebhookSender::new(settings(LOOPBACK, &[])).unwrap();
    let mut delivery = request(&receiver.url());
    let mark = HeaderName::from_static("keyledger-replay");
    delivery
        .extra_headers
        .push((mark, HeaderValue::from_static("true")));
    let attempt = send(&sender, &delivery).await;
    assert_eq!(told(&attempt), (Some(204), None, ""));
    let expected = format!(
        "POST /hooks HTTP/1.1\r\n\
        keyledger-replay: true\r\n\
        content-type: application/json\r\n\
        webhook-id: evt_00000000000000000000000005\r\n\
        webhook-timestamp: 1700000000\r\n\
        webhook-signature: v1,c2lnbmVk\r\n\
        accept: */*\r\n\
        user-agent: keyledger-webhooks/{}\r\n\
        host: {}\r\n\
        content-length: 10\r\n\r\n\
        {{\"id\":\"x\"}}",
        env!("CARGO_PKG_VERSION"),
        receiver.address
    );
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn only_a_2xx_is_a_success() {
    let sender = WebhookSender::new(settings(LOOPBACK, &[])).unwrap();
    for (answer, expected, retry_after_ms) in [
        (
            "200 OK\r\ncontent-length: 2\r\n\r\nok",
            (Some(200), None, ""),
            None,
        ),
        (
            "202 Accepted\r\ncontent-length: 0\r\n\r\n",
            (Some(202), None, ""),
            None,
        ),
        ("204 No Content\r\n\r\n", (Some(204), None, ""), None),
        (
            "304 Not Modified\r\n\r\n",
            (Some(304), Some("redirect"), ""),
            None,
        ),
        (
            "400 Bad\r\ncontent-length: 0\r\n\r\n",
            (Some(400), Some("status"), ""),
            None,
        ),
        (
            "407 No\r\ncontent-length: 0\r\n\r\n",
            (Some(407), Some("status"), ""),
            None,
        ),
        (
            "410 Gone\r\ncontent-length: 0\r\n\r\n",
            (Some(410), Some("status"), ""),
            None,
        ),
        (
            "429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            (Some(429), Some("status"), ""),
            Some(7_000),
        ),
        (
            "500 No\r\ncontent-length: 4\r\n\r\noops",
            (Some(500), Some("status"), ""),
            None,
        ),
        (
            "999 What\r\ncontent-length: 0\r\n\r\n",
            (Some(999), Some("status"), ""),
            None,
        ),
    ] {
        let answer: &'static str = format!("HTTP/1.1 {answer}").leak();
        let receiver = Receiver::answering(answer).await;
        let attempt = send(&sender, &request(&receiver.url())).await;
        assert_eq!(told(&attempt), expected, "{answer}");
        assert_eq!(attempt.retry_after_ms, retry_after_ms, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let sender =
        WebhookSender::new(settings(LOOPBACK, &[("hooks.test", &[&["127.0.0.1"]])])).unwrap();
    for url in [receiver.url(), receiver.url_at("http", "hooks.test")] {
        for _ in 0..5 {
            let attempt = send(&sender, &request(&url)).await;
            assert_eq!(told(&attempt), (Some(200), None, ""));
        }
    }
    assert_eq!(receiver.connections(), 2, "one for each host");
}

#[tokio::test]
async fn how_long_it_took_is_told_by_the_clock() {
    let (clock, hands) = Clock::manual(0);
    let receiver = Receiver::start(move |mut stream| {
        let hands = Arc::clone(&hands);
        async move {
            read_request(&mut stream).await.unwrap();
            hands.advance_ms(123);
            let answer = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\
                retry-after: Thu, 01 Jan 1970 00:00:10 GMT\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let mut settings = settings(LOOPBACK, &[]);
    settings.clock = clock;
    let attempt = send(
        &WebhookSender::new(settings).unwrap(),
        &request(&receiver.url()),
    )
    .await;
    assert_eq!(attempt.duration_ms, 123);
    assert_eq!(attempt.retry_after_ms, Some(9_877));
}

#[tokio::test]
async fn a_proxy_is_found_inside_and_the_answer_is_kept_to_its_bound() {
    let identity = identity("hooks.example.com", 4_000);
    let long = "x".repeat(10_000);
    let router = Router::new().route("/hooks", post(move || async move { long }));
    let (proxy, asked) = proxy(serve_tls(&identity, router)).await;
    let proxied = |nets: &[&str]| {
        // The receivers' names are the proxy's business, its own is resolved here.
        let mut settings = settings(nets, &[("proxy.test", &[&["127.0.0.1"]])]);
        settings.proxy = Some(proxy.url_at("http", "proxy.test").parse().unwrap());
        settings.roots_pem.push(identity.pem.clone());
        WebhookSender::new(settings).unwrap()
    };
    let kept = "x".repeat(4_096);
    let attempt = send(&proxied(&[]), &request("https://hooks.example.com/hooks")).await;
    assert_eq!(told(&attempt), (Some(200), None, kept.as_str()));
    // Who has networks inside may have been answered from there.
    let attempt = send(
        &proxied(&["10.0.0.0/8"]),
        &request("https://hooks.example.com/hooks"),
    )
    .await;
    assert_eq!(told(&attempt), (Some(200), None, ""));
    let connects = ["CONNECT hooks.example.com:443 HTTP/1.1"; 2];
    assert_eq!(*asked.lock().unwrap(), connects);
    // Addresses are still judged, and plain HTTP goes to no name.
    for url in [
        "https://169.254.169.254/",
        "http://10.1.1.1.example/",
        "http://hooks.test/",
    ] {
        let attempt = send(&proxied(&["10.0.0.0/8"]), &request(url)).await;
        assert_eq!(told(&attempt), (None, Some("address_refused"), ""), "{url}");
    }
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_proxy_that_makes_no_connection_is_not_the_receivers_failure() {
    let gone = Receiver::answering("HTTP/1.1 200 OK\r\n\r\n").await.address;
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let refusing = Receiver::answering("HTTP/1.1 403 Forbidden\r\n\r\n").await;
    let asking = Receiver::answering("HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n").await;
    let (open, _) = proxy(gone).await;
    for (proxy, url, expected) in [
        (
            nobody,
            "https://hooks.example.com/",
            (None, Some("proxy"), ""),
        ),
        (
            "http://unknown.test/".to_owned(),
            "https://a.example/",
            (None, Some("proxy"), ""),
        ),
        (
            refusing.url(),
            "https://hooks.example.com/",
            (None, Some("proxy"), ""),
        ),
        (
            asking.url(),
            "https://hooks.example.com/",
            (None, Some("proxy"), ""),
        ),
        (
            asking.url(),
            "http://10.0.0.1/",
            (Some(407), Some("proxy"), ""),
        ),
        // Connected, but no TLS behind it.
        (
            open.url(),
            "https://hooks.example.com/",
            (None, Some("tls"), ""),
        ),
    ] {
        let mut settings = settings(&["10.0.0.0/8"], &[]);
        settings.proxy = Some(proxy.parse().unwrap());
        let attempt = send(&WebhookSender::new(settings).unwrap(), &request(url)).await;
        assert_eq!(told(&attempt), expected, "{proxy} {url}");
    }
}

#[test]
fn settings_that_nothing_can_be_sent_with_are_refused() {
    let with = |proxy: Option<&str>, roots: &[&str]| {
        let mut settings = settings(&[], &[]);
        settings.proxy = proxy.map(|url| url.parse().unwrap());
        settings.roots_pem = roots.iter().map(|pem| pem.as_bytes().to_vec()).collect();
        WebhookSender::new(settings).unwrap_err()
    };
    for proxy in [
        "socks5://proxy.internal:1080",
        "ftp://proxy.internal",
        "mailto:a@b",
    ] {
        let refused = with(Some(proxy), &[]);
        assert!(
            matches!(refused, InvalidSenderSettings::Proxy),
            "{proxy} {refused:?}"
        );
    }
    let no_pem = with(None, &["no certificate"]);
    assert!(
        matches!(no_pem, InvalidSenderSettings::Pem(_)),
        "{no_pem:?}"
    );
    let begin = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let unusable = with(None, &[begin]);
    assert!(
        matches!(unusable, InvalidSenderSettings::Tls(_)),
        "{unusable:?}"
    );
}
