//! The surfaces of the caller's own organization, one a kind: their fields, statuses and refusals.

mod access;
mod accounts;
mod admin;
mod conventions;
mod project;

use serde_json::{Value, json};

use crate::api::tests::{Reply, World, ask, ids, text};
use crate::domain::kind::Kind;

/// A member with a role, by a personal token that stands for all of it.
fn member(world: &World, role: &str) -> (String, String) {
    let id = crate::api::tests::permissions::member(world, role);
    let (_, token) = world.issue(Kind::Personal, &id, &["*"]);
    (id, token)
}

/// The record and the secret of an answer that makes a credential.
#[track_caller]
fn issued(reply: &Reply, status: u16) -> (Value, String) {
    let body = reply.expect(status);
    (body["key"].clone(), text(&body["raw_key"]))
}

/// What verification says of a token.
fn code(world: &World, token: &str) -> String {
    let body = json!({"key": token, "any_project": true});
    let verdict = world.post(&world.acme.admin, "/v1/verify", &body);
    text(&verdict.expect(200)["code"])
}

fn delete(world: &World, by: &str, path: &str) -> Reply {
    world.send(ask("DELETE", path).by(by))
}

#[test]
fn personal_tokens_are_a_members_own() {
    let world = World::new();
    let (carl, by_carl) = member(&world, "viewer");
    let (_, by_dora) = member(&world, "administrator");
    let base = "/v1/api-tokens";
    let body = json!({"name": "local-dev", "scopes": ["issues:read"]});
    let (key, raw) = issued(&world.post(&by_carl, base, &body), 201);
    assert_eq!(key["owner"], json!({"type": "user", "id": carl}));
    assert_eq!(
        (&key["kind"], &key["created_by"]),
        (&json!("personal"), &json!(carl))
    );
    assert_eq!(
        (&key["expires_at"], &key["role"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(world.post(&by_carl, base, &body).refused(409), "name_taken");
    let other = json!({"name": "Local-dev", "scopes": ["issues:read"]});
    issued(&world.post(&by_carl, base, &other), 201);
    issued(&world.post(&by_dora, base, &body), 201);
    let beyond = json!({"name": "more", "scopes": ["issues:write"]});
    let refused = world.post(&by_carl, base, &beyond);
    assert_eq!(refused.refused(403), "beyond_your_authority");
    // The token itself reads and does not write; it lists its owner's alone.
    let list = world.get(&raw, base).expect(200);
    assert_eq!(ids(&list).len(), 3);
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .all(|key| key["owner"]["id"] == *carl)
    );
    assert_eq!(world.post(&raw, base, &body).refused(403), "forbidden");
    // Nobody else finds it, not even an administrator.
    let path = format!("{base}/{}", text(&key["id"]));
    assert_eq!(world.get(&by_dora, &path).refused(404), "not_found");
    assert_eq!(
        world.get(&world.acme.admin, &path).refused(403),
        "forbidden"
    );

    let roll = |by: &str| world.send(ask("POST", &format!("{path}/roll")).by(by));
    let (rolled, second) = issued(&roll(&by_carl), 200);
    assert_eq!((&rolled["id"], &rolled["version"]), (&key["id"], &json!(2)));
    assert_eq!(
        [code(&world, &raw), code(&world, &second)],
        ["rotated", "valid"]
    );
    // What a record tells of its use comes a moment later.
    world.usage.wait_until_settled();
    let ended = delete(&world, &by_carl, &path).expect(200);
    assert_eq!(ended["status"], "revoked");
    assert_eq!(delete(&world, &by_carl, &path).expect(200), ended);
    assert_eq!(
        world.get(&second, base).refused(401),
        "credential_not_accepted"
    );
    assert_eq!(roll(&by_carl).refused(409), "credential_ended");
    let patch = world.patch(&by_carl, &path, &json!({"name": "x"}));
    assert_eq!(patch.refused(405), "method_not_allowed");
    // A revoked one leaves its name free.
    issued(&world.post(&by_carl, base, &body), 201);
    let events = world.get(&by_carl, &format!("{path}/events")).expect(200);
    let types = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(&event["type"]));
    let types: Vec<String> = types.collect();
    assert_eq!(
        types,
        ["api_key.revoked", "api_key.rotated", "api_key.created"]
    );
}

#[test]
fn a_personal_token_with_everything_follows_its_member_and_never_exceeds_its_beginning() {
    let world = World::new();
    let (carl, by_carl) = member(&world, "viewer");
    let body = json!({"name": "all", "scopes": ["*"]});
    let (key, raw) = issued(&world.post(&by_carl, "/v1/api-tokens", &body), 201);
    assert_eq!(
        (&key["scopes"], &key["role"]),
        (&json!(["*"]), &json!("viewer"))
    );
    let list = format!("{}/credentials", world.acme.path);
    assert_eq!(world.get(&raw, &list).refused(403), "forbidden");
    let path = format!("{}/members/{carl}", world.acme.path);
    let role = |role: &str| world.patch(&world.acme.admin, &path, &json!({"role": role}));
    role("administrator").expect(200);
    assert_eq!(world.get(&raw, &list).refused(403), "forbidden");
    delete(&world, &world.acme.admin, &path).expect(200);
    assert_eq!(code(&world, &raw), "revoked");
}

#[test]
fn null_is_refused_where_a_field_cannot_be_taken_away() {
    let world = World::new();
    let admin = &world.acme.admin;
    let [_, _, access, admin_token, _] = &world.acme.tokens;
    let access = format!("/v1/workspaces/{}/access-tokens/{access}", world.acme.id);
    let admin_token = format!("/v1/admin/api-tokens/{admin_token}");
    let key = format!("{}/api-keys/{}", world.acme.path, world.acme.key);
    let position = world.next_position();
    for (path, field) in [
        (&access, "label"),
        (&access, "role"),
        (&access, "metadata"),
        (&admin_token, "name"),
        (&admin_token, "scopes"),
        (&key, "name"),
        (&key, "scopes"),
    ] {
        let reply = world.patch(admin, path, &json!({field: null}));
        assert_eq!(reply.refused(422), "field_invalid", "{path} {field}");
        assert_eq!(reply.json()["errors"][0]["field"], field);
    }
    assert_eq!(world.next_position(), position);
    let account = format!(
        "{}/service-accounts/{}",
        world.acme.path, world.acme.account
    );
    let changed = world.patch(admin, &account, &json!({"role": null}));
    assert_eq!(changed.expect(200)["role"], Value::Null);
}

#[test]
fn where_people_called_from_is_for_auditors_and_themselves() {
    let world = World::new();
    let (_, by_carl) = member(&world, "viewer");
    let (_, by_dora) = member(&world, "administrator");
    let base = format!("/v1/workspaces/{}/access-tokens", world.acme.id);
    let body = json!({"label": "CI Runner", "role": "viewer"});
    let (key, _) = issued(&world.post(&by_dora, &base, &body), 201);
    let path = format!("{base}/{}/events", text(&key["id"]));
    let from = |by: &str| world.get(by, &path).expect(200)[0]["actor"]["network"].clone();
    assert_eq!(from(&by_carl), Value::Null);
    assert_eq!(from(&by_dora)["ip"], "203.0.113.10");
    assert_eq!(
        from(&world.holder(&["access_tokens:read", "ledger:read"]))["ip"],
        "203.0.113.10"
    );
    let own = json!({"name": "mine", "scopes": ["issues:read"]});
    let (own, _) = issued(&world.post(&by_carl, "/v1/api-tokens", &own), 201);
    let own = format!("/v1/api-tokens/{}/events", text(&own["id"]));
    assert_eq!(
        world.get(&by_carl, &own).expect(200)[0]["actor"]["network"]["ip"],
        "203.0.113.10"
    );
}
