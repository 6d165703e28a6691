//! A server on a disk that fills up. `tests/run` mounts the disk and names it; without it there is
//! nothing to test, so this target is run by name alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what it prints is shown with that"
)]

#[path = "../it/harness/mod.rs"]
mod harness;

use std::path::PathBuf;

use harness::{Api, Server, init, text};
use serde_json::{Value, json};

const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];

/// Refusals in a row after which the disk counts as full.
const REFUSALS: usize = 20;

/// Far more keys than fit.
const KEYS_MAX: usize = 100_000;

/// More rotations than the end of a segment holds after a creation did not fit.
const ROTATIONS_MAX: usize = 100;

/// One in so many keys is asked for after each restart.
const SAMPLE: usize = 25;

#[allow(clippy::disallowed_methods, reason = "a test's own setting")]
fn small_disk() -> PathBuf {
    let disk = std::env::var("KEYLEDGER_SMALL_DISK");
    PathBuf::from(disk.expect("tests/run mounts a small disk and names it in this variable"))
}

#[tokio::test]
async fn a_full_disk_takes_ends_and_loses_nothing() {
    let data = small_disk().join("data");
    let made = init(&data, &SEGMENTS);
    let bootstrap = text(&made, "raw_key").to_owned();
    let keys = format!(
        "/platform/organizations/{}/api-keys",
        text(&made, "organization_id")
    );
    let mut server = Server::start(&data, &SEGMENTS);
    let api = server.api(&bootstrap);

    let live = fill(&api, &keys).await;
    assert!(live.len() > SAMPLE, "only {} keys fitted", live.len());
    let mut ended = Vec::new();
    let mut live = live.into_iter();
    // After an orderly stop, and after a crash.
    for crash in [false, true] {
        let api = server.api(&bootstrap);
        let mut key = live.next().unwrap();
        // A rotation is smaller than a creation: some still fit into the segment in use.
        for rotation in 0.. {
            let path = format!("{keys}/{}/rotate", key.id);
            let reply = api.post(&path, &json!({})).await.unwrap();
            if reply.status == 507 {
                assert_eq!(reply.json()["code"], "disk_full");
                break;
            }
            assert!(rotation < ROTATIONS_MAX, "the disk never fills up");
            key.secret = text(&reply.expect(200), "raw_key").to_owned();
        }
        assert_eq!(api.verdict(&key.secret).await, "valid");
        let body = json!({"reason": "leaked"});
        let revoked = api.post(&format!("{keys}/{}/revoke", key.id), &body).await;
        assert_eq!(revoked.unwrap().expect(200)["status"], "revoked");
        assert_eq!(api.verdict(&key.secret).await, "revoked");
        ended.push(key);

        if crash {
            drop(server.kill());
        } else {
            let stopped = server.stop();
            assert_eq!(stopped.status.code(), Some(0), "{}", stopped.log);
        }
        server = Server::start(&data, &SEGMENTS);
        let api = server.api(&bootstrap);
        for key in live.as_slice().iter().step_by(SAMPLE) {
            assert_eq!(api.verdict(&key.secret).await, "valid", "{}", key.id);
        }
        for key in &ended {
            assert_eq!(api.verdict(&key.secret).await, "revoked", "{}", key.id);
        }
    }
}

struct Key {
    id: String,
    secret: String,
}

/// Makes keys, large ones and then small ones, until nothing fits any more.
async fn fill(api: &Api, keys: &str) -> Vec<Key> {
    let mut made = Vec::new();
    for description in ["x".repeat(2_000), String::new()] {
        let body = json!({
            "name": "Filler", "description": description, "scopes": ["projects:read"],
        });
        let mut refusals = 0;
        while refusals < REFUSALS && made.len() < KEYS_MAX {
            let reply = api.post(keys, &body).await.unwrap();
            if reply.status == 507 {
                let problem: Value = reply.json();
                assert_eq!(problem["code"], "disk_full", "{problem}");
                refusals += 1;
                continue;
            }
            let answer = reply.expect(201);
            refusals = 0;
            made.push(Key {
                id: text(&answer["key"], "id").to_owned(),
                secret: text(&answer, "raw_key").to_owned(),
            });
        }
    }
    made
}
