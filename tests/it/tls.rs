//! TLS without a proxy: a certificate of one's own, and what is refused.

use std::fs;

use rcgen::generate_simple_self_signed;
use reqwest::header::SET_COOKIE;
use reqwest::{Certificate, Client};
use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Server, code, init, run, send, stderr, text};

const REFUSED: i32 = 2;

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
