//! An auditor who has nothing of ours: a client of C2SP tlog-tiles and `tlog-proof` by other
//! makers, in Go, checks what the real server publishes. `tests/run` builds it and says where it
//! is; this target is run by name alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what it prints is shown with that"
)]

#[path = "../it/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::{Api, Server, init, text};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where the auditor is.
#[allow(
    clippy::disallowed_methods,
    reason = "a test is told by the environment where the program of another language is"
)]
fn auditor() -> String {
    std::env::var("KEYLEDGER_AUDITOR").expect("tests/run builds it and says where it is")
}

/// Changes of one key after another, until the ledger has so many events.
async fn grow(api: &Api, key: &str, events: u64) {
    for number in 0.. {
        let name = json!({"name": format!("name {number}")});
        let reply = harness::send(api.request(Method::PATCH, key).json(&name)).await;
        let reply = reply.unwrap();
        let position: u64 = reply.headers["ledger-position"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        if position + 1 >= events {
            return;
        }
    }
}

/// The newest checkpoint, once it covers so many events.
async fn checkpoint(api: &Api, covered: &str) -> String {
    // A receipt waits until its event is covered.
    let receipt = api
        .get(&format!("/v1/events/{covered}/proof"))
        .await
        .unwrap();
    assert_eq!(receipt.status, 200, "{}", receipt.text);
    let reply = harness::send(api.bare(Method::GET, "/ledger/checkpoint")).await;
    reply.unwrap().text
}

async fn payloads(api: &Api) -> Vec<String> {
    let all = api.get("/v1/ledger/events").await.unwrap();
    assert_eq!(all.status, 200, "{}", all.text);
    all.text.lines().map(str::to_owned).collect()
}

fn id(payload: &str) -> String {
    let event: Value = serde_json::from_str(payload).unwrap();
    text(&event, "id").to_owned()
}

fn size(checkpoint: &str) -> u64 {
    checkpoint.lines().nth(1).unwrap().parse().unwrap()
}

/// Writes what the auditor is given beside what it fetches.
async fn hand_over(api: &Api, folder: &Path, all: &[String], old: &str) {
    for payload in all.iter().step_by(61).chain(all.last()) {
        let id = id(payload);
        let receipt = api.get(&format!("/v1/events/{id}/proof")).await.unwrap();
        let file = |kind: &str| folder.join(format!("{id}.{kind}"));
        put(&file("tlog-proof"), &receipt.text);
        put(&file("payload"), payload);
    }
    put(&folder.join("old.checkpoint"), old);
    let newest = harness::send(api.bare(Method::GET, "/ledger/checkpoint")).await;
    let newest = size(&newest.unwrap().text);
    let path = format!("/v1/ledger/consistency?from={}&to={newest}", size(old));
    let proof = api.get(&path).await.unwrap().expect(200);
    let hashes = proof["hashes"].as_array().unwrap().iter();
    let lines: Vec<&str> = hashes.map(|hash| hash.as_str().unwrap()).collect();
    put(&folder.join("consistency"), &lines.join("\n"));
}

#[allow(
    clippy::disallowed_methods,
    reason = "files of a test, which need not survive it"
)]
fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn an_auditor_with_other_makers_tools_finds_the_history_whole() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let server = Server::start(&data, &["--segment-mib", "1"]);
    let api = server.api(text(&made, "raw_key"));
    let organization = text(&made, "organization_id");
    let keys = format!("/platform/organizations/{organization}/api-keys");
    let body = json!({"name": "CI", "scopes": ["cases:read"]});
    let key = api.post(&keys, &body).await.unwrap().expect(201);
    let key = format!("{keys}/{}", text(&key["key"], "id"));

    grow(&api, &key, 300).await;
    let first = payloads(&api).await;
    let old = checkpoint(&api, &id(first.last().unwrap())).await;
    // Two full tiles, and a partial one behind them.
    grow(&api, &key, 700).await;
    let all = payloads(&api).await;
    checkpoint(&api, &id(all.last().unwrap())).await;
    let folder = root.path().join("handed-over");
    fs::create_dir(&folder).unwrap();
    hand_over(&api, &folder, &all, &old).await;

    let vkey = harness::send(api.bare(Method::GET, "/ledger/vkey"))
        .await
        .unwrap();
    let prefix = format!("http://{}/ledger", server.address());
    let audit = |vkey: &str| {
        let mut command = Command::new(auditor());
        command.args([&prefix, vkey]).arg(&folder);
        command.output().unwrap()
    };
    let output = audit(vkey.text.trim());
    let said = String::from_utf8(output.stdout).unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{wrong}");
    let mut lines = said.lines();
    let seen: usize = lines.next().unwrap().parse().unwrap();
    let entries: Vec<&str> = lines.collect();
    assert_eq!(entries.len(), seen);
    assert!(seen >= 700);
    for (entry, payload) in entries.iter().zip(&all) {
        assert_eq!(*entry, hex::encode(Sha256::digest(payload)));
    }
    // Another log's key does not do.
    let other = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let refused = audit(other);
    assert!(!refused.status.success());
    server.stop();
}
