//! Spans of requests at a collector, in the trace that the client names.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Server, code, init, run, send, stderr, text};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// How long the last spans may take at a stop, on a busy machine.
const ARRIVES: Duration = Duration::from_secs(30);

/// A collector that keeps what it is sent: path and body.
fn collector() -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sent, received) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let sent = sent.clone();
            thread::spawn(move || take(stream, &sent));
        }
    });
    (address, received)
}

fn take(stream: TcpStream, sent: &Sender<(String, Vec<u8>)>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut first, mut length) = (String::new(), 0);
        lines.read_line(&mut first).ok().filter(|read| *read > 0)?;
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).ok()?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
            content-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).ok()?;
        sent.send((first, body)).ok()?;
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_request_is_a_span_in_the_trace_that_its_client_names() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let token = text(&made, "raw_key");
    let (address, received) = collector();
    let url = format!("http://{address}");
    let flags = [
        "--segment-mib",
        "1",
        "--otlp-endpoint",
        &url,
        "--public-url",
        "https://keys.acme.example",
        "--log-format",
        "json",
    ];
    let server = Server::start(&data, &[&flags[..], &["--log-level", "debug"]].concat());
    let api = server.api(token);
    let request = api.bare(Method::POST, "/v1/verify?token=secret-query");
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = request
        .bearer_auth(token)
        .header("traceparent", traceparent);
    let reply = send(request.json(&json!({"key": token}))).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let trace = hex(TRACE);
    let (first, body) = loop {
        let (first, body) = received.recv_timeout(ARRIVES).unwrap();
        if contains(&body, &trace) {
            break (first, body);
        }
    };
    assert_eq!(first.trim(), "POST /v1/traces HTTP/1.1");
    for said in [
        "POST /v1/verify",
        "keyledger",
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "url.scheme",
        "server.address",
        "keys.acme.example",
    ] {
        assert!(contains(&body, said.as_bytes()), "{said}");
    }
    for secret in [token, "secret-query", "127.0.0.1"] {
        assert!(!contains(&body, secret.as_bytes()), "{secret}");
    }
    assert!(contains(&body, &hex("00f067aa0ba902b7")), "its parent");
    // Log lines name the trace, too.
    let line = ended.log.lines().find(|line| line.contains(TRACE));
    assert!(
        line.is_some_and(|line| line.contains("/v1/verify")),
        "{}",
        ended.log
    );
}

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

#[test]
fn an_address_that_is_no_collectors_is_refused() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    init(&data, &["--segment-mib", "1"]);
    let data = data.to_str().unwrap();
    for wrong in ["nonsense", "ftp://127.0.0.1/", "unix:/run/x"] {
        let output = run(["serve", "--data-dir", data, "--otlp-endpoint", wrong]);
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        assert!(
            stderr(&output).contains("otlp-endpoint"),
            "{}",
            stderr(&output)
        );
    }
}

/// A collector that is away, refuses, or never answers costs its spans, a warning and a count, and
/// nothing else.
#[tokio::test]
async fn a_collector_that_takes_nothing_is_warned_of_and_stops_nothing() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing_at = refusing.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = refusing.accept() {
            let mut request = [0; 65_536];
            drop(stream.read(&mut request));
            let answer =
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    for (address, said) in [
        (nobody.unwrap(), "refused"),
        (refusing_at, "401"),
        (silent.local_addr().unwrap(), "timed out"),
    ] {
        let root = tempdir().unwrap();
        let data = root.path().join("data");
        let made = init(&data, &["--segment-mib", "1"]);
        let token = text(&made, "raw_key");
        let url = format!("http://user:secret@{address}");
        let server = Server::start(&data, &["--segment-mib", "1", "--otlp-endpoint", &url]);
        let api = server.api(token);
        let lost = |metrics: &str| {
            let line = "keyledger_otlp_spans_total{outcome=\"failed\"} ";
            let count = metrics.lines().find_map(|all| all.strip_prefix(line));
            count.is_some_and(|count| count != "0")
        };
        // Requests are answered all the while.
        let deadline = tokio::time::Instant::now() + ARRIVES;
        loop {
            assert_eq!(api.verdict(token).await, "valid");
            let metrics = api.get("/metrics").await.unwrap();
            if lost(&metrics.text) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{}", metrics.text);
        }
        let ended = server.stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        let warned = |line: &&str| line.contains("WARN") && line.contains("--otlp-endpoint");
        let warnings: Vec<_> = ended.log.lines().filter(warned).collect();
        assert_eq!(warnings.len(), 1, "{}", ended.log);
        assert!(warnings[0].contains(said), "{said}: {}", warnings[0]);
        assert!(!ended.log.contains("secret"), "{}", ended.log);
    }
}
