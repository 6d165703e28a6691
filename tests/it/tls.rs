//! TLS without a proxy: a certificate of one's own, and what is refused.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use rcgen::generate_simple_self_signed;
use reqwest::header::SET_COOKIE;
use reqwest::{Certificate, Client};
use rustix::process::Signal;
use serde_json::json;
use tempfile::tempdir;
use tokio::time::Instant;

use crate::harness::{Server, code, init, run, send, stderr, text};

const REFUSED: i32 = 2;
/// The limit of every wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (root.path().join("cert.pem"), root.path().join("key.pem"));
    fs::write(&cert, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let server = Server::start(
        &data,
        &["--segment-mib", "1", "--tls-cert", cert, "--tls-key", key],
    );
    let trusted = Certificate::from_pem(own.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().add_root_certificate(trusted).no_proxy();
    let client = client.build().unwrap();
    let url = |path: &str| format!("https://{}{path}", server.address());
    let token = text(&made, "raw_key");
    let verify = client.post(url("/v1/verify")).bearer_auth(token);
    let verdict = send(verify.json(&json!({"key": token}))).await.unwrap();
    assert_eq!(verdict.expect(200)["code"], "valid");
    // Its cookies are for TLS alone.
    let link = text(&made, "sign_in_url").rsplit('/').next().unwrap();
    let session = client.post(url("/v1/sessions"));
    let session = send(session.json(&json!({"sign_in_token": link})))
        .await
        .unwrap();
    session.expect(201);
    let cookie = session.headers[SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-keyledger=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    let plain = client.get(format!("http://{}/livez", server.address()));
    assert!(send(plain).await.is_err());
    assert_eq!(server.stop().status.code(), Some(0));
}

/// Writes a new certificate and key, and gives a client that trusts no other.
fn renew(folder: &Path) -> Client {
    let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), own.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), own.signing_key.serialize_pem()).unwrap();
    let trusted = Certificate::from_pem(own.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().add_root_certificate(trusted).no_proxy();
    // Each request shows what a new connection gets.
    client.pool_max_idle_per_host(0).build().unwrap()
}

/// Asks until a client is answered.
async fn is_trusted(client: &Client, server: &Server) {
    let url = format!("https://{}/livez", server.address());
    let deadline = Instant::now() + PATIENCE;
    while send(client.get(&url)).await.is_err() {
        assert!(
            Instant::now() < deadline,
            "the certificate is in use in time"
        );
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let token = text(&made, "raw_key");
    let first = renew(root.path());
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let flags = ["--segment-mib", "1", "--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start(&data, &flags);
    is_trusted(&first, &server).await;
    // By itself, and at once on SIGHUP.
    let second = renew(root.path());
    is_trusted(&second, &server).await;
    let url = format!("https://{}/livez", server.address());
    assert!(send(first.get(&url)).await.is_err());
    let third = renew(root.path());
    server.signal(Signal::HUP);
    is_trusted(&third, &server).await;
    // What cannot be used is named in the metrics, and changes nothing.
    fs::write(&cert, "half a certificate").unwrap();
    let metrics = format!("https://{}/metrics", server.address());
    let degraded = "keyledger_degraded{part=\"tls_certificate\"} 1";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = send(third.get(&metrics).bearer_auth(token)).await.unwrap();
        if reply.text.contains(degraded) {
            break;
        }
        assert!(Instant::now() < deadline, "{}", reply.text);
    }
    server.signal(Signal::HUP);
    is_trusted(&third, &server).await;
    let fourth = renew(root.path());
    is_trusted(&fourth, &server).await;
    let reply = send(fourth.get(&metrics).bearer_auth(token)).await.unwrap();
    assert!(!reply.text.contains(degraded), "{}", reply.text);
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("cert.pem"), "{}", ended.log);
}

#[tokio::test]
async fn an_unfinished_handshake_does_not_hold_a_stop() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    init(&data, &["--segment-mib", "1"]);
    let client = renew(root.path());
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let flags = ["--segment-mib", "1", "--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start(&data, &flags);
    let silent = TcpStream::connect(server.address()).unwrap();
    let mut begun = TcpStream::connect(server.address()).unwrap();
    // The head of a record of 512 bytes that never comes.
    begun.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    is_trusted(&client, &server).await;
    let ended = server.stop_within(Duration::from_secs(8));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    drop((silent, begun));
}

#[test]
fn a_certificate_that_is_none_is_refused_before_anything_is_opened() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    init(&data, &["--segment-mib", "1"]);
    let wrong = root.path().join("wrong.pem");
    fs::write(&wrong, "no certificate").unwrap();
    let (data, wrong) = (data.to_str().unwrap(), wrong.to_str().unwrap());
    for (files, said) in [
        (vec!["--tls-cert", wrong, "--tls-key", wrong], "wrong.pem"),
        (
            vec!["--tls-cert", "/nowhere.pem", "--tls-key", wrong],
            "/nowhere.pem",
        ),
        (vec!["--tls-cert", wrong], "--tls-key"),
        (
            vec!["--tls-cert", wrong, "--tls-key", wrong, "--behind-proxy"],
            "--behind-proxy",
        ),
    ] {
        let output = run([vec!["serve", "--data-dir", data], files].concat());
        assert_eq!(code(&output), REFUSED, "{}", stderr(&output));
        assert!(
            stderr(&output).contains(said),
            "{said}: {}",
            stderr(&output)
        );
    }
}
