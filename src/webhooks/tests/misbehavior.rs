//! Receivers that misbehave: each gives its class, in bounded time, and nothing else happens.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::interval;

use super::receivers::*;
use crate::webhooks::http_sender::WebhookSender;

const LOOPBACK: &[&str] = &["127.0.0.0/8"];

fn sender(timeout_ms: u64) -> WebhookSender {
    let mut settings = settings(LOOPBACK, &[]);
    settings.timeout_ms = timeout_ms;
    WebhookSender::new(settings).unwrap()
}

/// Writes `start`, then one byte every 10 ms for ever.
async fn drip(mut stream: TcpStream, start: &'static str) {
    read_request(&mut stream).await;
    let mut ticks = interval(Duration::from_millis(10));
    let mut written = stream.write_all(start.as_bytes()).await;
    while written.is_ok() {
        ticks.tick().await;
        written = stream.write_all(b"x").await;
    }
}

#[tokio::test]
async fn one_that_does_not_come_to_an_end_is_given_up() {
    let silent = Receiver::start(|stream| async move {
        pending::<()>().await;
        drop(stream);
    })
    .await;
    let head = Receiver::start(|stream| drip(stream, "HTTP/1.1 200 OK\r\na: ")).await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;";
    let body = Receiver::start(|stream| {
        drip(stream, "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n")
    })
    .await;
    let chunk = Receiver::start(move |stream| drip(stream, chunked)).await;
    let failing = Receiver::start(|stream| {
        drip(stream, "HTTP/1.1 500 No\r\ncontent-length: 9999999\r\n\r\n")
    })
    .await;
    let continuing = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await;
        while stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let sender = sender(SHORT_MS);
    for (receiver, expected) in [
        (silent, (None, Some("timeout"), "")),
        (head, (None, Some("timeout"), "")),
        (body, (Some(200), Some("timeout"), "")),
        (chunk, (Some(200), Some("timeout"), "")),
        (failing, (Some(500), Some("status"), "")),
        (continuing, (None, Some("timeout"), "")),
    ] {
        let attempt = send(&sender, &request(&receiver.url())).await;
        assert_eq!(told(&attempt), expected);
        assert!(attempt.duration_ms >= SHORT_MS, "{attempt:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_to_an_end_is_given_up() {
    let silent = Receiver::start(|stream| async move {
        pending::<()>().await;
        drop(stream);
    })
    .await;
    let attempt = send(
        &sender(SHORT_MS),
        &request(&silent.url_at("https", "127.0.0.1")),
    )
    .await;
    assert_eq!(told(&attempt), (None, Some("timeout"), ""));
}

/// Writes `start` and then 100 MB, as far as they are taken; what was taken is counted.
async fn pour(mut stream: TcpStream, start: &'static str, taken: Arc<AtomicU64>) {
    read_request(&mut stream).await;
    let block = [b'x'; 16 * 1_024];
    let mut written = stream.write_all(start.as_bytes()).await;
    for _ in 0..6_400 {
        if written.is_err() {
            return;
        }
        taken.fetch_add(16 * 1_024, Ordering::AcqRel);
        written = stream.write_all(&block).await;
    }
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    for (start, expected) in [
        // The status was good and in time; the rest is not read.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n",
            (Some(200), None, ""),
        ),
        (
            "HTTP/1.1 500 No\r\ncontent-length: 104857600\r\n\r\n",
            (Some(500), Some("status"), ""),
        ),
        ("HTTP/1.1 200 OK\r\nendless: ", (None, Some("protocol"), "")),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            (Some(200), Some("body"), ""),
        ),
        ("", (None, Some("protocol"), "")),
    ] {
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&taken);
        let receiver =
            Receiver::start(move |stream| pour(stream, start, Arc::clone(&counted))).await;
        let attempt = send(&sender(PATIENT_MS), &request(&receiver.url())).await;
        assert_eq!(told(&attempt), expected, "{start}");
        // What the kernel has room for on either side, and no more.
        let taken = taken.load(Ordering::Acquire);
        assert!(taken < 32 * 1_024 * 1_024, "{start} {taken}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    for (answer, expected) in [
        ("", (None, Some("protocol"), "")),
        ("SSH-2.0-OpenSSH_9.9\r\n", (None, Some("protocol"), "")),
        ("HTTP/9.9 200 OK\r\n\r\n", (None, Some("protocol"), "")),
        (
            "HTTP/1.1 200 OK\r\ncontent-len",
            (None, Some("protocol"), ""),
        ),
        (
            "HTTP/1.1 200 OK\r\na\u{0}b: c\r\n\r\n",
            (None, Some("protocol"), ""),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            (Some(200), Some("body"), ""),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nha",
            (Some(200), Some("body"), ""),
        ),
        (
            "HTTP/1.1 503 No\r\ncontent-length: 10\r\n\r\nhalf",
            (Some(503), Some("status"), ""),
        ),
        // The end of the connection may be the end of the body.
        ("HTTP/1.1 200 OK\r\n\r\nwhole", (Some(200), None, "")),
    ] {
        let receiver = Receiver::start(move |mut stream| async move {
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let attempt = send(&sender(PATIENT_MS), &request(&receiver.url())).await;
        assert_eq!(told(&attempt), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for (status, location) in [
        (301, "http://169.254.169.254/latest/meta-data/".to_owned()),
        (302, other.url()),
        (303, other.url()),
        (307, other.url()),
        (308, "/elsewhere".to_owned()),
    ] {
        let answer =
            format!("HTTP/1.1 {status} Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::answering(answer.leak()).await;
        let attempt = send(&sender(PATIENT_MS), &request(&receiver.url())).await;
        assert_eq!(
            told(&attempt),
            (Some(status), Some("redirect"), ""),
            "{location}"
        );
        assert_eq!(receiver.connections(), 1);
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn one_that_is_not_there_has_its_class() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/", unused.local_addr().unwrap());
    drop(unused);
    for (url, class) in [
        (nobody.as_str(), "connect_refused"),
        ("http://unknown.test/", "dns"),
        ("http://empty.test/", "dns"),
        ("https://user@hooks.test/", "url_refused"),
        ("https://hooks.test:22/", "url_refused"),
        ("no url", "url_refused"),
        ("https://169.254.169.254/", "address_refused"),
    ] {
        let sender = WebhookSender::new(settings(LOOPBACK, &[("empty.test", &[&[]])])).unwrap();
        let attempt = send(&sender, &request(url)).await;
        assert_eq!(told(&attempt), (None, Some(class), ""), "{url}");
    }
    let mut unsendable = request("http://127.0.0.1:8080/");
    unsendable.signature = "v1,\r\nx: y".to_owned();
    let attempt = send(&sender(PATIENT_MS), &unsendable).await;
    assert_eq!(told(&attempt), (None, Some("url_refused"), ""));
}

#[tokio::test]
async fn a_certificate_must_be_trusted_current_and_for_the_host() {
    let good = identity("hooks.test", 4_000);
    let wrong = identity("other.test", 4_000);
    let expired = identity("hooks.test", 2_020);
    let untrusted = identity("hooks.test", 4_000);
    let mut settings = settings(LOOPBACK, &[("hooks.test", &[&["127.0.0.1"]])]);
    settings.roots_pem = [&good, &wrong, &expired]
        .map(|identity| identity.pem.clone())
        .into();
    let sender = WebhookSender::new(settings).unwrap();
    for (identity, host, expected) in [
        (&good, "hooks.test", (Some(404), Some("status"), "")),
        (&good, "127.0.0.1", (None, Some("tls"), "")),
        (&wrong, "hooks.test", (None, Some("tls"), "")),
        (&expired, "hooks.test", (None, Some("tls"), "")),
        (&untrusted, "hooks.test", (None, Some("tls"), "")),
    ] {
        let address = serve_tls(identity, Router::new());
        let url = format!("https://{host}:{}/", address.port());
        let attempt = send(&sender, &request(&url)).await;
        assert_eq!(told(&attempt), expected, "{host}");
    }
    // One that speaks no TLS at all, and one that hangs up in the middle.
    let plain = Receiver::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
        stream
            .read_to_end(&mut Vec::new())
            .await
            .map(drop)
            .unwrap_or_default();
    })
    .await;
    let rude = Receiver::start(|mut stream| async move {
        stream.read_exact(&mut [0; 5]).await.map(drop).unwrap();
        stream
            .read_buf(&mut Vec::with_capacity(65_536))
            .await
            .map(drop)
            .unwrap();
    })
    .await;
    for receiver in [plain, rude] {
        let attempt = send(&sender, &request(&receiver.url_at("https", "hooks.test"))).await;
        assert_eq!(told(&attempt), (None, Some("tls"), ""));
    }
}
