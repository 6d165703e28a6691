//! The usage history: what is recorded, and who is told.

use serde_json::{Value, json};

use crate::api::tests::{PEER, START, World, ask, text};
use crate::workers::usage::UsageRecorder;

/// A key of Acme's and its token.
pub(super) fn key(world: &World, scopes: &[&str]) -> (String, String) {
    world.key(&json!({"name": "CI", "scopes": scopes}))
}

pub(super) fn path(world: &World, key: &str) -> String {
    format!("{}/api-keys/{key}", world.acme.path)
}

/// The last calls of a key of Acme's.
pub(super) fn calls(world: &World, key: &str, query: &str) -> Vec<Value> {
    let path = format!("{}/usage{query}", path(world, key));
    let reply = world.get(&world.acme.admin, &path).expect(200);
    reply.as_array().unwrap().clone()
}

pub(super) fn each(calls: &[Value], field: &str) -> Vec<Value> {
    calls.iter().map(|call| call[field].clone()).collect()
}

pub(super) fn record(world: &World, key: &str) -> Value {
    world.usage.wait_until_settled();
    world.get(&world.acme.admin, &path(world, key)).expect(200)
}

#[test]
fn a_verification_is_the_last_call_of_the_key_with_the_request_that_it_was_presented_with() {
    let world = World::new();
    let (key, raw) = key(&world, &["analysis:run"]);
    let verify = json!({"key": raw, "required_scopes": ["analysis:run"], "request": {
        "endpoint": "/api/v1/analysis/validate?token=1", "method": "POST",
        "ip_address": "203.0.113.10", "user_agent": "curl/8.4", "request_id": "req-7",
    }});
    world
        .post(&world.acme.admin, "/v1/verify", &verify)
        .expect(200);
    let calls = calls(&world, &key, "");
    let [call] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    let secret = text(&record(&world, &key)["secrets"][0]["id"]);
    assert!(text(&call["id"]).starts_with("usage_01KQ01SD60"), "{call}");
    let expected = json!({
        "id": call["id"], "key_id": key, "endpoint": "/api/v1/analysis/validate",
        "method": "POST", "status_code": 200, "duration_ms": 0.0, "request_id": "req-7",
        "ip_address": "203.0.113.10", "user_agent": "curl/8.4", "created_at": START,
        "outcome": "valid", "secret_id": secret, "reported": false, "reported_by": null,
    });
    assert_eq!(*call, expected);
    let shown = record(&world, &key);
    assert_eq!(shown["last_used_at"], START);
    assert_eq!(shown["secrets"][0]["last_used_at"], START);
    assert_eq!(shown["usage_status"], "used");
    assert_eq!(
        world.usage.exercised_scopes(key.parse().unwrap()),
        ["analysis:run"]
    );
}

#[test]
fn denied_attempts_are_history_too_and_no_use() {
    let world = World::new();
    let (key, raw) = key(&world, &["cases:read"]);
    let ask = |body: Value| {
        world
            .post(&world.acme.admin, "/v1/verify", &body)
            .expect(200)
    };
    ask(json!({"key": raw, "required_scopes": ["cases:write"]}));
    world.post(
        &world.acme.admin,
        &format!("{}/disable", path(&world, &key)),
        &json!({}),
    );
    ask(json!({"key": raw}));
    world.post(
        &world.acme.admin,
        &format!("{}/revoke", path(&world, &key)),
        &json!({}),
    );
    let batch = json!({"keys": [{"key": raw}, {"key": raw, "request": {"endpoint": "/b"}}]});
    world
        .post(&world.acme.admin, "/v1/verify/batch", &batch)
        .expect(200);
    // Another tenant's gateway learns nothing of the key, and tells nothing of itself.
    world
        .post(&world.globex.admin, "/v1/verify", &json!({"key": raw}))
        .expect(200);
    let seen = calls(&world, &key, "");
    let outcomes = ["revoked", "revoked", "disabled", "insufficient_scope"];
    assert_eq!(each(&seen, "outcome"), outcomes);
    assert_eq!(each(&seen, "status_code"), [401, 401, 401, 403]);
    assert_eq!(each(&seen, "endpoint"), ["/b", "", "", ""]);
    let shown = record(&world, &key);
    assert_eq!(
        (&shown["last_used_at"], &shown["usage_status"]),
        (&Value::Null, &json!("never_used"))
    );
    let one = calls(&world, &key, "?outcome=disabled");
    assert_eq!(one, [seen[2].clone()]);
}

#[test]
fn our_own_interface_is_used_with_credentials_too() {
    let world = World::new();
    let (key, raw) = key(&world, &["keys:read"]);
    let list = format!("{}/api-keys", world.acme.path);
    let request = ask("GET", &format!("{list}?limit=1")).by(&raw);
    let request = request
        .with("user-agent", "curl/8.4")
        .with("x-request-id", "own-1");
    world.send(request).expect(200);
    assert_eq!(
        world
            .post(&raw, &list, &json!({"name": "x", "scopes": []}))
            .status,
        403
    );
    world.post(
        &world.acme.admin,
        &format!("{}/disable", path(&world, &key)),
        &json!({}),
    );
    assert_eq!(world.get(&raw, &list).status, 401);
    let seen = calls(&world, &key, "");
    assert_eq!(
        each(&seen, "outcome"),
        ["disabled", "insufficient_scope", "valid"]
    );
    assert_eq!(each(&seen, "status_code"), [401, 403, 200]);
    assert_eq!(each(&seen, "method"), ["GET", "POST", "GET"]);
    assert_eq!(
        world.usage.exercised_scopes(key.parse().unwrap()),
        ["keys:read"]
    );
    let first = seen.last().unwrap();
    let shown = ["endpoint", "request_id", "user_agent", "ip_address"].map(|name| &first[name]);
    let address = PEER.ip().to_string();
    assert_eq!(
        shown,
        [
            &json!(list),
            &json!("own-1"),
            &json!("curl/8.4"),
            &json!(address)
        ]
    );
}

#[test]
fn no_secret_is_kept_in_a_history_wherever_it_stands() {
    let world = World::new();
    let (key, raw) = key(&world, &["keys:read"]);
    let sent = world.get(&raw, &format!("/v1/me/sessions/{raw}"));
    assert_eq!(sent.status, 403);
    let foreign = json!({"key": raw, "request": {
        "endpoint": format!("/badge/{raw}"), "user_agent": format!("agent {raw}"),
        "request_id": raw,
    }});
    world.post(&world.acme.admin, "/v1/verify", &foreign);
    let seen = calls(&world, &key, "");
    assert_eq!(seen.len(), 2);
    assert!(
        !Value::from(seen.clone()).to_string().contains(&raw),
        "{seen:?}"
    );
    assert_eq!(seen[0]["endpoint"], "/badge/[secret]");
}

#[test]
fn calls_are_filtered_and_paged() {
    let world = World::new();
    let (key, raw) = key(&world, &["cases:read"]);
    for number in 0..5 {
        let verify = json!({"key": raw, "request": {"endpoint": format!("/{number}")}});
        world.post(&world.acme.admin, "/v1/verify", &verify);
        world.clock.advance_ms(1_000);
    }
    let check = |query: &str, expected: &[&str]| {
        assert_eq!(
            each(&calls(&world, &key, query), "endpoint"),
            expected,
            "{query}"
        );
    };
    check("?limit=2", &["/4", "/3"]);
    check("?from=2026-04-24T15:30:03Z", &["/4", "/3"]);
    check("?to=2026-04-24T15:30:02Z", &["/1", "/0"]);
    check(
        "?from=2026-04-24T15:30:01Z&to=2026-04-24T15:30:02Z",
        &["/1"],
    );
    check("?outcome=revoked", &[]);
    let first = world.get(
        &world.acme.admin,
        &format!("{}/usage?limit=3", path(&world, &key)),
    );
    let link = first.header("link").unwrap();
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let second = world.get(&world.acme.admin, next).expect(200);
    assert_eq!(each(second.as_array().unwrap(), "endpoint"), ["/1", "/0"]);
    for query in [
        "limit=0",
        "limit=1001",
        "from=x",
        "to=1",
        "outcome=good",
        "cursor=x",
        "x=1",
    ] {
        let reply = world.get(
            &world.acme.admin,
            &format!("{}/usage?{query}", path(&world, &key)),
        );
        assert_eq!(reply.status, 400, "{query}");
    }
}

#[test]
fn every_surface_shows_the_usage_of_its_credentials() {
    let world = World::new();
    let acme = &world.acme;
    let [personal, of_account, access, admin, of_project] = &acme.tokens;
    let session = world.session(&acme.owner);
    for base in [
        format!("/v1/api-tokens/{personal}"),
        format!("/v1/service-accounts/{}/tokens/{of_account}", acme.account),
        format!("/v1/workspaces/{}/access-tokens/{access}", acme.id),
        format!("/v1/admin/api-tokens/{admin}"),
        format!("/v1/projects/{}/api-tokens/{of_project}", acme.project),
        path(&world, &acme.key),
        // Administrators see the use of every kind, members' own tokens too.
        format!("{}/credentials/{personal}", acme.path),
    ] {
        let read = |tail: &str| {
            let request = ask("GET", &format!("{base}{tail}")).in_session(&session);
            world.send(request).expect(200)
        };
        assert!(read("/usage").is_array(), "{base}");
        let summary = read("/usage/summary?bucket=day");
        assert_eq!(
            summary["key_id"],
            base.rsplit('/').next().unwrap(),
            "{base}"
        );
    }
}

#[test]
fn a_summary_counts_by_outcome_endpoint_and_address() {
    let world = World::new();
    let (key, raw) = key(&world, &["cases:read"]);
    for (endpoint, ip) in [
        ("/a", "203.0.113.1"),
        ("/a", "203.0.113.2"),
        ("/b", "203.0.113.1"),
    ] {
        let request = json!({"endpoint": endpoint, "ip_address": ip});
        let verify = json!({"key": raw, "request": request});
        world.post(&world.acme.admin, "/v1/verify", &verify);
    }
    world.clock.advance_ms(3_600_000);
    let verify = json!({"key": raw, "required_scopes": ["cases:write"]});
    world.post(&world.acme.admin, "/v1/verify", &verify);
    let read = |query: &str| {
        let path = format!("{}/usage/summary?{query}", path(&world, &key));
        world.get(&world.acme.admin, &path)
    };
    let count = |value: &str, calls: u64| json!({"value": value, "calls": calls});
    let expected = json!({
        "key_id": key, "bucket": "hour",
        "from": "2026-04-24T15:00:00.000Z", "to": "2026-04-24T17:00:00.000Z",
        "tracked_since": START, "last_used_at": START, "last_reported_at": null,
        "calls": {"accepted": 3, "denied": 1, "reported": 0}, "gaps": [], "collapsed": [],
        "buckets": [
            {"start": "2026-04-24T15:00:00.000Z", "calls": 3, "outcomes": [count("valid", 3)],
                "endpoints": [count("/a", 2), count("/b", 1)],
                "addresses": [count("203.0.113.1", 2), count("203.0.113.2", 1)],
                "detail_shed": 0},
            {"start": "2026-04-24T16:00:00.000Z", "calls": 1,
                "outcomes": [count("insufficient_scope", 1)], "endpoints": [count("", 1)],
                "addresses": [count("(unknown)", 1)], "detail_shed": 0},
        ],
    });
    let query = "bucket=hour&from=2026-04-24T15:00:00Z&to=2026-04-24T17:00:00Z";
    assert_eq!(read(query).expect(200), expected);
    let day = read("bucket=day").expect(200);
    assert_eq!(day["buckets"][0]["calls"], 4);
    assert_eq!(day["buckets"][0]["start"], "2026-04-24T00:00:00.000Z");
    for query in [
        "bucket=week",
        "bucket=hour&from=2026-01-01T00:00:00Z",
        "bucket=day&to=2026-01-01T00:00:00Z&from=2026-01-02T00:00:00Z",
    ] {
        assert_eq!(read(query).status, 400, "{query}");
    }
}

#[test]
fn never_used_is_not_the_same_as_not_tracked() {
    let world = World::new();
    let (key, _) = key(&world, &["cases:read"]);
    assert_eq!(record(&world, &key)["usage_status"], "never_used");
    let then = world.get(
        &world.acme.admin,
        &format!("{}?as_of={START}", path(&world, &key)),
    );
    assert_eq!(then.expect(200)["usage_status"], "not_tracked");
    let untold = crate::api::HttpSettings::default();
    let router = crate::api::router(world.ledger.clone(), untold);
    let request = ask("GET", &path(&world, &key)).by(&world.acme.admin);
    let reply = world
        .runtime
        .block_on(crate::api::tests::answered(router, request))
        .expect(200);
    assert_eq!(reply["usage_status"], "not_tracked");
}

#[test]
fn an_ended_secret_that_is_presented_is_an_event_once_an_hour_with_its_count() {
    let world = World::new();
    let (key, old) = key(&world, &["keys:read"]);
    let rotate = format!("{}/rotate", path(&world, &key));
    world
        .post(&world.acme.admin, &rotate, &json!({}))
        .expect(200);
    let mut recorder = UsageRecorder::new(world.ledger.clone(), world.usage.clone());
    let present = |times: u32| {
        for _ in 0..times {
            world.post(&world.acme.admin, "/v1/verify", &json!({"key": old}));
        }
        assert_eq!(world.get(&old, &world.acme.path).status, 401);
        world.usage.wait_until_settled();
    };
    let told = || {
        let events = format!("{}/events", path(&world, &key));
        let events = world.get(&world.acme.admin, &events).expect(200);
        let events = events.as_array().unwrap().clone();
        let told = events
            .into_iter()
            .filter(|event| event["type"] == "api_key.ended_secret_used");
        told.map(|event| {
            (
                event["actor"]["type"].clone(),
                event["data"]["uses"].clone(),
            )
        })
        .collect::<Vec<_>>()
    };
    let system = json!("system");
    present(2);
    recorder.record_due();
    assert_eq!(told(), [(system.clone(), json!(3))]);
    world.clock.advance_ms(3_599_000);
    present(0);
    recorder.record_due();
    // Nor does a process that begins anew tell it sooner.
    let mut recorder = UsageRecorder::new(world.ledger.clone(), world.usage.clone());
    recorder.record_due();
    assert_eq!(told(), [(system.clone(), json!(3))]);
    world.clock.advance_ms(60_000);
    present(4);
    recorder.record_due();
    assert_eq!(told(), [(system.clone(), json!(6)), (system, json!(3))]);
}
