//! A server tells by itself that keys are going to expire, and that they have.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use keyledger::clock::Clock;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{Api, Server, init, text};

const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];
/// Looks at a history, and the pause between two: half a minute.
const LOOKS_MAX: usize = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// A key that expires a moment after so many days, and the path of its history.
async fn key(api: &Api, keys: &str, days: i64) -> String {
    let now = DateTime::<Utc>::from_timestamp_millis(Clock::system().now_ms()).unwrap();
    let expires_at = now + TimeDelta::days(days) + TimeDelta::milliseconds(500);
    let expires_at = expires_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let body = json!({"name": "CI", "scopes": ["cases:read"], "expires_at": expires_at});
    let made = api.post(keys, &body).await.unwrap().expect(201);
    format!("{keys}/{}/events", text(&made["key"], "id"))
}

/// Waits until a history has two events, and gives the newest.
async fn told(api: &Api, events: &str) -> Value {
    for _ in 0..LOOKS_MAX {
        let found = api.get(events).await.unwrap().expect(200);
        if let [newest, _created] = &found.as_array().unwrap()[..] {
            return newest.clone();
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("nothing is told in {events}");
}

#[tokio::test]
async fn a_server_tells_of_expiries_by_itself() {
    let root = tempdir().unwrap();
    let made = init(root.path(), &SEGMENTS);
    let (bootstrap, organization) = (text(&made, "raw_key"), text(&made, "organization_id"));
    let keys = format!("/platform/organizations/{organization}/api-keys");
    let arguments = [&SEGMENTS[..], &["--expiry-notice-days", "3,1"]].concat();
    let server = Server::start(root.path(), &arguments);
    let api = server.api(bootstrap);
    for (days, name, expected) in [
        (3, "api_key.expiring", json!(3)),
        (1, "api_key.expiring", json!(1)),
        (0, "api_key.expired", Value::Null),
    ] {
        let events = key(&api, &keys, days).await;
        let event = told(&api, &events).await;
        assert_eq!(event["type"], name, "{event}");
        assert_eq!(event["data"]["days"], expected, "{event}");
        assert_eq!(event["actor"]["type"], "system", "{event}");
    }
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);

    // Told once: a restart has nothing to add.
    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(bootstrap);
    let events = key(&api, &keys, 0).await;
    assert_eq!(told(&api, &events).await["type"], "api_key.expired");
    let list = api.get(&keys).await.unwrap().expect(200);
    let list = list.as_array().unwrap();
    let versions = list.iter().map(|key| key["version"].as_u64());
    let versions: Vec<_> = versions.flatten().collect();
    assert_eq!(
        versions.iter().filter(|version| **version == 2).count(),
        4,
        "{versions:?}"
    );
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}
