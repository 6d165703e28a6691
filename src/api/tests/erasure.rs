//! Erasing a person, and what is shown where that person stood.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::api::tests::usage::each;
use crate::api::tests::{START, World, ask, text};
use crate::domain::kind::Kind;

/// Joe, a member of Acme's who has a token.
fn joe(world: &World) -> (String, String, String) {
    let body = json!({"email": "joe@acme.example", "name": "Joe", "role": "administrator"});
    let path = format!("{}/members", world.acme.path);
    let id = world.post(&world.acme.admin, &path, &body).created();
    let (key, token) = world.issue(Kind::Personal, &id, &["*"]);
    (id, key, token)
}

#[test]
fn a_member_is_erased_once_and_the_record_says_when() {
    let world = World::new();
    let (id, _, token) = joe(&world);
    let one = format!("{}/members/{id}", world.acme.path);
    let path = format!("{one}/erase");
    for (body, code) in [
        (json!({}), "field_missing"),
        (json!({"reason": " "}), "field_empty"),
        (json!({"reason": "x".repeat(501)}), "field_too_long"),
        (json!({"reason": "x", "name": "Joe"}), "field_unknown"),
    ] {
        let refused = world.post(&world.acme.admin, &path, &body);
        assert_eq!(refused.refused(422), code);
    }
    let body = json!({"reason": "Request 17\nof 2026"});
    let erased = world.post(&world.acme.admin, &path, &body).expect(200);
    assert_eq!(
        erased,
        json!({
            "id": id, "organization_id": world.acme.id, "email": null, "name": null,
            "role": "administrator", "status": "removed", "erased_at": START,
            "sign_in_url": null, "version": 3, "created_by": world.acme.key,
            "created_at": START, "updated_at": START,
        })
    );
    let again = world.post(&world.acme.admin, &path, &body);
    assert_eq!(again.expect(200), erased);
    assert_eq!(world.get(&world.acme.admin, &one).expect(200), erased);
    assert_eq!(world.get(&token, &one).status, 401);
    let list = format!("{}/members?status=removed", world.acme.path);
    assert_eq!(
        world.get(&world.acme.admin, &list).expect(200),
        json!([erased])
    );
    // The address is free again.
    let (anew, ..) = joe(&world);
    assert_ne!(anew, id);
}

#[test]
fn the_last_owner_is_not_erased_and_another_tenants_member_is_not_found() {
    let world = World::new();
    let body = json!({"reason": "x"});
    let path = |of: &crate::api::tests::Tenant, id| format!("{}/members/{id}/erase", of.path);
    let last = path(&world.acme, &world.acme.owner);
    let refused = world.post(&world.acme.admin, &last, &body);
    assert_eq!(refused.refused(403), "beyond_your_authority");
    let refused = world.post(&world.platform, &last, &body);
    assert_eq!(refused.refused(409), "last_owner");
    let elsewhere = path(&world.acme, &world.globex.owner);
    let refused = world.post(&world.acme.admin, &elsewhere, &body);
    assert_eq!(refused.refused(404), "not_found");
    let mut old = ask("POST", &last).by(&world.platform).json(&body);
    old = old.with("if-match", "\"9\"");
    assert_eq!(world.send(old).refused(412), "version_mismatch");
}

#[test]
fn histories_say_erased_where_the_person_stood() {
    let world = World::new();
    let (id, _, token) = joe(&world);
    let key = json!({"name": "by Joe", "scopes": ["cases:read"]});
    let keys = format!("{}/api-keys", world.acme.path);
    let key = world.post(&token, &keys, &key).expect(201);
    let events = format!("{keys}/{}/events", text(&key["key"]["id"]));
    let seen = |token: &str| {
        let events = world.get(token, &events).expect(200);
        events[0]["actor"].clone()
    };
    let actor = seen(&world.acme.admin);
    assert_eq!(actor["network"]["ip"], "203.0.113.10");
    let erase = format!("{}/members/{id}/erase", world.acme.path);
    world
        .post(&world.acme.admin, &erase, &json!({"reason": "x"}))
        .expect(200);
    let actor = seen(&world.acme.admin);
    assert_eq!(
        (&actor["id"], &actor["network"]),
        (&json!(id), &json!("erased"))
    );
    // Who may not see addresses does not see that there was one.
    let reader = world.holder(&["keys:read"]);
    assert_eq!(seen(&reader)["network"], Value::Null);
}

#[test]
fn calls_of_an_erased_persons_tokens_no_longer_say_where_from() {
    let world = World::new();
    let (id, key, token) = joe(&world);
    let verify = json!({"key": token, "request": {
        "endpoint": "/a", "ip_address": "198.51.100.9", "user_agent": "curl/8.4",
    }});
    world
        .post(&world.acme.admin, "/v1/verify", &verify)
        .expect(200);
    let usage = format!("{}/credentials/{key}/usage", world.acme.path);
    let seen = || {
        let calls = world.get(&world.acme.admin, &usage).expect(200);
        let calls = calls.as_array().unwrap().clone();
        let summary = world.get(&world.acme.admin, &format!("{usage}/summary"));
        let addresses = summary.expect(200)["buckets"][0]["addresses"].clone();
        let fields = ["endpoint", "ip_address", "user_agent"];
        (
            fields.map(|field| each(&calls, field)[0].clone()),
            addresses,
        )
    };
    let (call, addresses) = seen();
    assert_eq!(
        call,
        [json!("/a"), json!("198.51.100.9"), json!("curl/8.4")]
    );
    assert_eq!(addresses, json!([{"value": "198.51.100.9", "calls": 1}]));
    let erase = format!("{}/members/{id}/erase", world.acme.path);
    world
        .post(&world.acme.admin, &erase, &json!({"reason": "x"}))
        .expect(200);
    let (call, addresses) = seen();
    assert_eq!(call, [json!(""), Value::Null, Value::Null]);
    assert_eq!(addresses, json!([]));
}

/// However a person's token is used, alive or ended: by a verification, for the person's own call,
/// in a gateway's report.
#[test]
fn no_file_of_the_usage_history_says_where_an_erased_person_was() {
    let world = World::new();
    let (id, key, token) = joe(&world);
    let reporter = world.holder(&["usage:write"]);
    let use_token = || {
        let verify = json!({"key": token, "request": {
            "endpoint": "/joes/verified", "ip_address": "198.51.100.9", "user_agent": "JoesPhone",
        }});
        world
            .post(&world.acme.admin, "/v1/verify", &verify)
            .expect(200);
        let own = ask("GET", &format!("{}/api-keys", world.acme.path)).by(&token);
        world.send(own.with("user-agent", "JoesLaptop"));
        let line = json!({
            "key_id": key, "endpoint": "/joes/reported", "method": "GET", "status_code": 200,
            "duration_ms": 1, "ip_address": "2001:db8::99", "user_agent": "JoesTablet",
        });
        let report = ask("POST", "/v1/usage").by(&reporter);
        let report = report.with("content-type", "application/x-ndjson");
        world.send(report.body(line.to_string())).expect(201);
    };
    use_token();
    let revoke = format!("{}/credentials/{key}/revoke", world.acme.path);
    world
        .post(&world.acme.admin, &revoke, &json!({}))
        .expect(200);
    use_token();
    let erase = format!("{}/members/{id}/erase", world.acme.path);
    world
        .post(&world.acme.admin, &erase, &json!({"reason": "x"}))
        .expect(200);
    use_token();
    assert_eq!(world.usage.usage_of(key.parse().unwrap()).denied, 2 + 2);
    world.usage.write_and_stop();
    let usage = world.folder.path().join("data/usage");
    for text in ["joes", "Joes", "198.51.100.9", "2001:db8::99"] {
        assert_eq!(holding(&usage, text.as_bytes()), [""; 0], "{text}");
    }
    assert_eq!(holding(&usage, &[198, 51, 100, 9]), [""; 0]);
    // The administrator's calls are there.
    assert!(!holding(&usage, b"/v1/verify").is_empty());
}

/// Files in a folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if fs::read(&path)
            .unwrap()
            .windows(bytes.len())
            .any(|window| window == bytes)
        {
            found.push(path.display().to_string());
        }
    }
    found
}
