//! The usage history over ends of the process: in order, and without a warning.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use keyledger::clock::Clock;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::harness::{Api, Server, code, init, run, stderr, text};

const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];
const CLIENTS: usize = 4;
/// How long verifications run before the process ends.
const LOAD: Duration = Duration::from_secs(3);
/// What is older than this is on its way to the disk, many times over.
const WRITTEN_AFTER: Duration = Duration::from_millis(1_500);
/// How far behind the truth `last_used_at` may be after a kill.
const LAST_USED_WITHIN_MS: i64 = 5_000;

/// What the clients know.
#[derive(Debug, Default)]
struct Sent {
    /// Verifications that were sent.
    sent: AtomicU64,
    /// Those that were answered.
    answered: AtomicU64,
}

/// A key of the first organization: its path and its token.
async fn key(api: &Api, organization: &str) -> (String, String) {
    let keys = format!("/platform/organizations/{organization}/api-keys");
    let body = json!({"name": "CI", "scopes": ["cases:read"]});
    let made = api.post(&keys, &body).await.unwrap().expect(201);
    let id = text(&made["key"], "id").to_owned();
    (format!("{keys}/{id}"), text(&made, "raw_key").to_owned())
}

/// Verifies a key from several clients until told to end or the server is gone.
fn verify(api: &Api, raw: &str, stop: &Arc<AtomicBool>) -> (JoinSet<()>, Arc<Sent>) {
    let (mut clients, sent) = (JoinSet::new(), Arc::new(Sent::default()));
    for _ in 0..CLIENTS {
        let (api, raw) = (api.clone(), raw.to_owned());
        let (stop, sent) = (Arc::clone(stop), Arc::clone(&sent));
        clients.spawn(async move {
            let body = json!({"key": raw, "request": {"endpoint": "/orders"}});
            while !stop.load(Ordering::Acquire) {
                sent.sent.fetch_add(1, Ordering::AcqRel);
                match api.post("/v1/verify", &body).await {
                    Ok(reply) => assert_eq!(reply.expect(200)["valid"], true),
                    Err(_gone) => return,
                }
                sent.answered.fetch_add(1, Ordering::AcqRel);
            }
        });
    }
    (clients, sent)
}

async fn read(api: &Api, path: &str) -> Value {
    api.get(path).await.unwrap().expect(200)
}

fn instant_ms(value: &Value) -> i64 {
    let at = DateTime::parse_from_rfc3339(value.as_str().unwrap());
    at.unwrap().timestamp_millis()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_counts_are_a_lower_bound_and_the_gap_is_named() {
    let root = tempdir().unwrap();
    let made = init(root.path(), &SEGMENTS);
    let (bootstrap, organization) = (text(&made, "raw_key"), text(&made, "organization_id"));
    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(bootstrap);
    let (path, raw) = key(&api, organization).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (clients, sent) = verify(&api, &raw, &stop);
    tokio::time::sleep(LOAD - WRITTEN_AFTER).await;
    let written = sent.answered.load(Ordering::Acquire);
    tokio::time::sleep(WRITTEN_AFTER).await;
    let killed_ms = Clock::system().now_ms();
    drop(server.kill());
    clients.join_all().await;
    let truth = sent.sent.load(Ordering::Acquire);

    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(bootstrap);
    let summary = read(&api, &format!("{path}/usage/summary?bucket=hour")).await;
    let accepted = summary["calls"]["accepted"].as_u64().unwrap();
    assert!(accepted <= truth, "{accepted} of {truth} that were sent");
    assert!(accepted >= written, "{accepted}, {written} long before");
    let used = instant_ms(&read(&api, &path).await["last_used_at"]);
    let behind = killed_ms - used;
    assert!(
        (0..LAST_USED_WITHIN_MS).contains(&behind),
        "{behind} ms behind"
    );
    let gaps = summary["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "{summary}");
    assert!(instant_ms(&gaps[0]["from"]) <= killed_ms, "{summary}");
    assert!(instant_ms(&gaps[0]["to"]) >= killed_ms, "{summary}");
    let buckets = summary["buckets"].as_array().unwrap().iter();
    let counted: u64 = buckets
        .map(|bucket| bucket["calls"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, accepted, "the buckets say the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_in_order_every_call_is_counted() {
    let root = tempdir().unwrap();
    let made = init(root.path(), &SEGMENTS);
    let (bootstrap, organization) = (text(&made, "raw_key"), text(&made, "organization_id"));
    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(bootstrap);
    let (path, raw) = key(&api, organization).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (clients, sent) = verify(&api, &raw, &stop);
    tokio::time::sleep(LOAD / 3).await;
    stop.store(true, Ordering::Release);
    clients.join_all().await;
    let answered = sent.answered.load(Ordering::Acquire);
    assert_eq!(server.stop().status.code(), Some(0));

    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(bootstrap);
    let summary = read(&api, &format!("{path}/usage/summary")).await;
    assert_eq!(summary["calls"]["accepted"], answered);
    assert_eq!(summary["gaps"], json!([]));
    let last = read(&api, &format!("{path}/usage?limit=3")).await;
    assert_eq!(last[2]["endpoint"], "/orders", "{last}");
}

/// Where the next page of a list is.
async fn next_page(api: &Api, path: &str) -> String {
    let reply = api.get(path).await.unwrap();
    reply.expect(200);
    let link = reply.headers["link"].to_str().unwrap();
    let (_, link) = link.split_once('<').unwrap();
    link.split_once('>').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_cursor_of_calls_that_a_restore_has_lost_is_gone() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = init(&folder.path().join("data"), &SEGMENTS);
    let token = text(&made, "raw_key");
    let server = Server::start(&folder.path().join("data"), &[]);
    let api = server.api(token);
    let (key, raw) = key(&api, text(&made, "organization_id")).await;
    for _ in 0..3 {
        assert_eq!(api.verdict(&raw).await, "valid");
    }
    let first = format!("{key}/usage?limit=1");
    let next = next_page(&api, &first).await;
    api.get(&next).await.unwrap().expect(200);
    let (data, restored, backup) = (path("data"), path("restored"), path("backup"));
    let backed_up = run(["backup", "--data-dir", &data, "--out", &backup]);
    assert_eq!(code(&backed_up), 0, "{}", stderr(&backed_up));
    for _ in 0..3 {
        assert_eq!(api.verdict(&raw).await, "valid");
    }
    let lost = next_page(&api, &first).await;
    assert_eq!(server.stop().status.code(), Some(0));

    let done = run(["restore", "--in", &backup, "--data-dir", &restored]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    copy(&path("data/keys"), &path("restored/keys"));
    let server = Server::start(&folder.path().join("restored"), &[]);
    let api = server.api(token);
    // It would name a place in the middle of other calls before long.
    for _ in 0..10 {
        assert_eq!(api.verdict(&raw).await, "valid");
    }
    for cursor in [&lost, &next] {
        let gone = api.get(cursor).await.unwrap().expect(410);
        assert_eq!(gone["code"], "ledger_restored");
        assert!(text(&gone, "detail").contains("read the list"), "{gone}");
    }
    let made_up = format!("{first}&cursor=AAAA");
    let refused = api.get(&made_up).await.unwrap().expect(400);
    assert_eq!(refused["code"], "cursor_invalid");
    let next = next_page(&api, &first).await;
    api.get(&next).await.unwrap().expect(200);
    assert_eq!(server.stop().status.code(), Some(0));
}

/// Copies a folder of files.
fn copy(from: &str, to: &str) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        std::fs::copy(&path, std::path::Path::new(to).join(name)).unwrap();
    }
}
