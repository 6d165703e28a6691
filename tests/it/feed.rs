//! The revocation feed and its client against the real server.

use std::time::{Duration, Instant};

use keyledger::client::{Client, ClientOptions, VerificationRequest};
use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Server, init, text};

/// The limit of every wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn until(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect(what);
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a test may look at the clock")]
async fn a_revoked_key_is_refused_from_memory_too_and_a_lost_server_is_not_guessed() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let server = Server::start(&data, &["--segment-mib", "1"]);
    let api = server.api(text(&made, "raw_key"));
    let organization = json!({"name": "Acme", "owner_email": "ann@acme.example"});
    let made = api.post("/platform/organizations", &organization).await;
    let made = made.unwrap().expect(201);
    let id = text(&made["organization"], "id");
    let keys = format!("/platform/organizations/{id}/api-keys");
    let key = |name: &str, scope: &str| {
        let body = json!({"name": name, "scopes": [scope]});
        let (api, keys) = (api.clone(), keys.clone());
        async move { api.post(&keys, &body).await.unwrap().expect(201) }
    };
    let gateway = key("gateway", "keys:verify").await;
    let (one, other) = (
        key("one", "cases:read").await,
        key("other", "cases:read").await,
    );
    let url = format!("http://{}", server.address());
    let client = Client::new(&url, text(&gateway, "raw_key"), ClientOptions::default()).unwrap();
    until("the stream begins", || client.is_caching()).await;
    let asks = [&one, &other].map(|key| VerificationRequest::new(text(key, "raw_key")));
    for ask in &asks {
        let first = client.verify(ask).await.unwrap();
        assert!(first.valid && !first.from_cache, "{first:?}");
        let second = client.verify(ask).await.unwrap();
        assert!(second.valid && second.from_cache, "{second:?}");
    }
    let revoke = format!("{keys}/{}/revoke", text(&one["key"], "id"));
    api.post(&revoke, &json!({})).await.unwrap().expect(200);
    let answered = Instant::now();
    while client.verify(&asks[0]).await.unwrap().valid {
        assert!(
            answered.elapsed() < Duration::from_secs(1),
            "accepted for too long"
        );
    }
    assert!(client.verify(&asks[1]).await.unwrap().valid);
    // The server is gone without a word: what is remembered holds for a second and no longer.
    server.kill();
    let gone = Instant::now();
    while client
        .verify(&asks[1])
        .await
        .is_ok_and(|answer| answer.from_cache)
    {
        assert!(
            gone.elapsed() < Duration::from_millis(1_500),
            "believed for too long"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(client.verify(&asks[1]).await.is_err());
    assert_eq!(client.cached_len(), 0);
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a test may look at the clock")]
async fn an_open_stream_does_not_hold_up_the_end() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let server = Server::start(&data, &["--segment-mib", "1"]);
    let url = format!("http://{}", server.address());
    let client = Client::new(&url, text(&made, "raw_key"), ClientOptions::default()).unwrap();
    until("the stream begins", || client.is_caching()).await;
    let asked = Instant::now();
    let ended = tokio::task::spawn_blocking(move || server.stop())
        .await
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    until("the client sees it", || !client.is_caching()).await;
}
