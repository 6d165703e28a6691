//! What was, what changed, and who could have done it.

use std::collections::BTreeMap;
use std::slice::from_ref;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::tests::ledger::{parsed, payloads};
use crate::api::tests::{World, ask, ids, text};

#[test]
fn the_state_of_then_is_what_lists_showed_then() {
    let world = World::new();
    let admin = &world.acme.admin;
    let list = format!("{}/credentials", world.acme.path);
    let mut shown = BTreeMap::new();
    let remember = |shown: &mut BTreeMap<u64, Value>| {
        let position = world.next_position() - 1;
        shown.insert(position, world.get(admin, &list).expect(200));
    };
    remember(&mut shown);
    let (key, _) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    remember(&mut shown);
    world.clock.advance_ms(3_600_000);
    let path = format!("{}/api-keys/{key}", world.acme.path);
    world
        .send(ask("POST", &format!("{path}/revoke")).by(admin))
        .expect(200);
    remember(&mut shown);
    for (position, list) in shown {
        let reply = world.get(admin, &format!("/v1/ledger/state?as_of={position}"));
        let state = parsed(&payloads(&reply));
        let named = reply.header("ledger-position").unwrap().to_owned();
        assert_eq!(named, position.to_string());
        // A list is newest first, and tells of uses, which the ledger does not.
        let untold = |record: &Value| {
            let mut record = record.clone();
            record["last_used_at"] = Value::Null;
            record["usage_status"] = Value::Null;
            for secret in record["secrets"].as_array_mut().unwrap() {
                secret["last_used_at"] = Value::Null;
            }
            record
        };
        let list: Vec<Value> = list.as_array().unwrap().iter().rev().map(untold).collect();
        let state: Vec<Value> = state.iter().map(untold).collect();
        assert_eq!(state, list, "{position}");
        let root = STANDARD.encode(world.ledger.tiles().root_at(position + 1).unwrap());
        assert_eq!(reply.header("ledger-root"), Some(root.as_str()));
    }
}

#[test]
fn a_difference_says_what_changed_and_by_whom() {
    let world = World::new();
    let admin = &world.acme.admin;
    let from = world.next_position() - 1;
    let (key, _) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let path = format!("{}/api-keys/{key}", world.acme.path);
    world
        .patch(admin, &path, &json!({"name": "CD"}))
        .expect(200);
    let to = world.next_position() - 1;
    world
        .send(ask("POST", &format!("{path}/revoke")).by(admin))
        .expect(200);
    let diff = |query: &str| {
        let reply = world.get(admin, &format!("/v1/ledger/diff?{query}"));
        parsed(&payloads(&reply))
    };
    let [made] = diff(&format!("from={from}&to={to}")).try_into().unwrap();
    assert_eq!(made["id"], key.as_str());
    assert_eq!(made["before"], Value::Null);
    assert_eq!(made["after"]["name"], "CD");
    assert_eq!(made["after"]["status"], "active");
    let types: Vec<String> = made["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| text(&e["type"]))
        .collect();
    assert_eq!(types, ["api_key.created", "api_key.updated"]);
    let by = json!({"type": "credential", "id": world.acme.key, "via": world.acme.key});
    assert_eq!(made["events"][0]["actor"], by);
    let [ended] = diff(&format!("from={to}")).try_into().unwrap();
    assert_eq!(ended["before"]["status"], "active");
    assert_eq!(ended["after"]["status"], "revoked");
    assert!(diff(&format!("from={to}&to={to}")).is_empty());
    for (query, status, code) in [
        ("", 400, "query_invalid"),
        ("from=5&to=4", 400, "query_invalid"),
        ("from=99999", 422, "position_unknown"),
        ("from=x", 400, "query_invalid"),
    ] {
        let reply = world.get(admin, &format!("/v1/ledger/diff?{query}"));
        assert_eq!(reply.refused(status), code, "{query}");
    }
}

#[test]
fn who_could_have_done_it_is_what_a_verification_would_have_said() {
    let world = World::new();
    let admin = &world.acme.admin;
    let (writer, _) = world.key(&json!({"name": "writes", "scopes": ["cases:write"]}));
    let (gone, _) = world.key(&json!({"name": "gone", "scopes": ["cases:write"]}));
    let before = world.next_position() - 1;
    let path = format!("{}/api-keys/{gone}", world.acme.path);
    world
        .send(ask("POST", &format!("{path}/revoke")).by(admin))
        .expect(200);
    let who = |query: &str| {
        let reply = world.get(admin, &format!("/v1/ledger/who-could?{query}"));
        let lines = parsed(&payloads(&reply));
        let keys: Vec<Value> = lines.iter().map(|line| line["key"].clone()).collect();
        assert!(
            lines
                .iter()
                .all(|line| !line["secret_ids"].as_array().unwrap().is_empty())
        );
        ids(&json!(keys))
    };
    let writes = |query: &str| {
        let mut found = who(query);
        found.retain(|id| [&writer, &gone].contains(&id));
        found
    };
    assert_eq!(writes("scope=cases:write"), from_ref(&writer));
    let then = format!("scope=cases:write&as_of={before}");
    assert_eq!(writes(&then), [writer.clone(), gone.clone()]);
    // The administrator's own key covers everything.
    assert!(who("scope=cases:write").contains(&world.acme.key));
    assert!(writes("scope=cases:read,cases:write").is_empty());
    let elsewhere = format!("project_id={}", world.globex.project);
    assert!(who(&elsewhere).is_empty());
    let of_project = format!("project_id={}", world.acme.project);
    assert!(who(&of_project).contains(&world.acme.tokens[4]));
    for (query, status, code) in [
        ("scope=nonsense", 400, "query_invalid"),
        ("project_id=x", 400, "query_invalid"),
        ("as_of=99999", 422, "position_unknown"),
        ("organization_id=x", 404, "not_found"),
    ] {
        let reply = world.get(admin, &format!("/v1/ledger/who-could?{query}"));
        assert_eq!(reply.refused(status), code, "{query}");
    }
}
