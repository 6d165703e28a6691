//! The surfaces of the caller's own organization, one a kind: their fields, statuses and refusals.

use serde_json::{Value, json};

use super::{Reply, World, ask, ids, text};
use crate::domain::kind::Kind;

/// A member with a role, by a personal token that stands for all of it.
fn member(world: &World, role: &str) -> (String, String) {
    let id = super::permissions::member(world, role);
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
fn a_service_account_and_its_tokens() {
    let world = World::new();
    let (_, by_dora) = member(&world, "administrator");
    let base = "/v1/service-accounts";
    let scopes = json!(["issues:read", "issues:write"]);
    let body = json!({"name": "Grafana", "description": "Dashboards", "scopes": scopes});
    let account = world.post(&by_dora, base, &body).expect(201);
    assert_eq!(
        (&account["scopes"], &account["role"]),
        (&scopes, &Value::Null)
    );
    assert_eq!(
        (&account["slug"], &account["is_active"]),
        (&json!("grafana"), &json!(true))
    );
    let again = json!({"name": "GRAFANA", "scopes": ["issues:read"]});
    assert_eq!(
        world.post(&by_dora, base, &again).refused(409),
        "name_taken"
    );
    let path = format!("{base}/{}", text(&account["id"]));
    let tokens = format!("{path}/tokens");
    assert_eq!(world.get(&by_dora, &tokens).expect(200), json!([]));

    let (all, raw) = issued(&world.post(&by_dora, &tokens, &json!({"name": "all"})), 201);
    assert_eq!(all["scopes"], scopes);
    let some = json!({"name": "some", "scopes": ["issues:read"]});
    let (some, _) = issued(&world.post(&by_dora, &tokens, &some), 201);
    assert_eq!(some["scopes"], json!(["issues:read"]));
    let more = json!({"name": "more", "scopes": ["patterns:read"]});
    assert_eq!(
        world.post(&by_dora, &tokens, &more).refused(422),
        "scope_beyond_account"
    );

    // Later changes do not touch what was issued.
    let narrowed = json!({"scopes": ["patterns:read"], "description": null});
    let changed = world.patch(&by_dora, &path, &narrowed).expect(200);
    assert_eq!(changed["scopes"], json!(["patterns:read"]));
    let token = format!("{tokens}/{}", text(&all["id"]));
    assert_eq!(world.get(&by_dora, &token).expect(200)["scopes"], scopes);
    let asks = json!({"key": raw, "required_scopes": ["issues:write"]});
    let verdict = world.post(&by_dora, "/v1/verify", &asks).expect(200);
    assert_eq!(verdict["code"], "valid");

    let rotate = format!("{token}/rotate");
    let grace = json!({"grace_period_seconds": 60});
    let (_, second) = issued(&world.post(&by_dora, &rotate, &grace), 200);
    assert_eq!(
        [code(&world, &raw), code(&world, &second)],
        ["valid", "valid"]
    );
    delete(&world, &by_dora, &format!("{tokens}/{}", text(&some["id"]))).expect(200);
    let position = world.next_position();
    let deleted = delete(&world, &by_dora, &path).expect(200);
    assert_eq!(deleted["status"], "deleted");
    assert_eq!(
        world.next_position(),
        position + 2,
        "the account and its live token"
    );
    assert_eq!(
        [code(&world, &raw), code(&world, &second)],
        ["revoked", "revoked"]
    );
    let late = world.post(&by_dora, &tokens, &json!({"name": "late"}));
    assert_eq!(late.refused(409), "service_account_deleted");
}

#[test]
fn an_account_with_a_role_and_no_scopes_gives_its_tokens_the_scopes_of_the_role() {
    let world = World::new();
    let tokens = format!("/v1/service-accounts/{}/tokens", world.acme.account);
    let (key, _) = issued(
        &world.post(&world.acme.admin, &tokens, &json!({"name": "ci"})),
        201,
    );
    let catalogue = world.ledger.views().index.catalogue();
    let engineer = &catalogue.role("engineer").unwrap().scopes;
    assert_eq!(key["scopes"], json!(engineer));
}

#[test]
fn access_tokens_by_the_callers_role() {
    // The seed's table: who may list, create, edit, rotate, disable, enable, delete.
    const EXPECTED: [(&str, &str); 5] = [
        ("owner", "+++++++"),
        ("administrator", "+++++++"),
        ("workspace_manager", "++++---"),
        ("team_member", "+------"),
        ("viewer", "+------"),
    ];
    let world = World::new();
    let base = format!("/v1/workspaces/{}/access-tokens", world.acme.id);
    for (role, expected) in EXPECTED {
        let (_, by) = member(&world, role);
        let body = json!({"label": "CI Runner", "role": "viewer"});
        let (key, _) = issued(&world.post(&world.acme.admin, &base, &body), 201);
        let path = format!("{base}/{}", text(&key["id"]));
        let done = |action: &str| world.send(ask("POST", &format!("{path}/{action}")).by(&by));
        let replies = [
            world.get(&by, &base),
            world.post(&by, &base, &body),
            world.patch(&by, &path, &json!({"label": "Zapier Sync"})),
            done("rotate"),
            done("disable"),
            done("enable"),
            delete(&world, &by, &path),
        ];
        let seen = replies.iter().map(|reply| match reply.status {
            200 | 201 => '+',
            _ if reply.refused(403) == "forbidden" => '-',
            _ => '?',
        });
        assert_eq!(seen.collect::<String>(), expected, "{role}");
    }
}

#[test]
fn an_access_token_has_one_role_a_label_and_an_id_with_the_address_behind_it() {
    let world = World::new();
    let (_, by_wim) = member(&world, "workspace_manager");
    let base = format!("/v1/workspaces/{}/access-tokens", world.acme.id);
    let body = json!({"label": "CI Runner", "role": "team_member", "expires_in_days": 30});
    let (key, raw) = issued(&world.post(&by_wim, &base, &body), 201);
    let ulid = text(&key["id"]).split_once('_').unwrap().1.to_owned();
    assert_eq!(
        key["token_id"],
        format!("workspace_manager@acme.example_{ulid}")
    );
    assert_eq!(key["token"], format!("{}..........", &raw[..10]));
    assert_eq!(
        (&key["label"], &key["name"]),
        (&json!("CI Runner"), &json!("CI Runner"))
    );
    assert_eq!(key["role"], "team_member");
    let stronger = json!({"label": "x", "role": "administrator"});
    assert_eq!(
        world.post(&by_wim, &base, &stronger).refused(403),
        "beyond_your_authority"
    );

    let path = format!("{base}/{}", text(&key["id"]));
    let patch = json!({"label": "Nightly", "role": "viewer", "expires_at": null});
    let changed = world.patch(&by_wim, &path, &patch).expect(200);
    assert_eq!(
        (&changed["label"], &changed["role"]),
        (&json!("Nightly"), &json!("viewer"))
    );
    assert_eq!(changed["expires_at"], Value::Null);
    let events = world.get(&by_wim, &format!("{path}/events")).expect(200);
    assert_eq!(
        events[0]["data"]["changed"],
        json!(["label", "role", "expiry"])
    );
    let past = json!({"expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(
        world.patch(&by_wim, &path, &past).refused(422),
        "expiry_in_past"
    );
    let both = json!({"expires_at": null, "expires_in_days": 3});
    assert_eq!(
        world.patch(&by_wim, &path, &both).refused(422),
        "expiry_invalid"
    );
    let empty = world.patch(&by_wim, &path, &json!({"label": " "}));
    assert_eq!(empty.refused(422), "field_empty");
    assert_eq!(empty.json()["errors"][0]["field"], "label");

    let done = |action: &str| {
        let path = format!("{path}/{action}");
        world
            .send(ask("POST", &path).by(&world.acme.admin))
            .expect(200)
    };
    assert_eq!(done("disable")["status"], "disabled");
    assert_eq!(code(&world, &raw), "disabled");
    assert_eq!(done("enable")["status"], "active");
    assert_eq!(code(&world, &raw), "valid");
    let roles = format!("/v1/workspaces/{}/roles", world.acme.id);
    let roles = world.get(&by_wim, &roles).expect(200);
    let manager = roles
        .as_array()
        .unwrap()
        .iter()
        .find(|role| role["name"] == "workspace_manager");
    let permissions = &manager.unwrap()["permissions"];
    assert_eq!(permissions, &json!(["view", "create", "edit", "rotate"]));
}

#[test]
fn an_admin_token_is_replaced_by_a_new_one_beside_it() {
    let world = World::new();
    let (_, by_dora) = member(&world, "administrator");
    let base = "/v1/admin/api-tokens";
    let body = json!({"name": "Returns app", "scopes": ["cases:read"], "expires_in_days": 90});
    let (old, first) = issued(&world.post(&by_dora, base, &body), 201);
    let path = format!("{base}/{}", text(&old["id"]));
    let patch = json!({"scopes": ["cases:read", "cases:write"], "name": "Returns"});
    world.patch(&by_dora, &path, &patch).expect(200);
    let replace = ask("POST", &format!("{path}/replace")).by(&by_dora);
    let (new, second) = issued(&world.send(replace), 201);
    assert_eq!(
        (&new["name"], &new["scopes"]),
        (&json!("Returns"), &patch["scopes"])
    );
    assert_eq!(
        (&new["replaces"], &new["expires_at"]),
        (&old["id"], &old["expires_at"])
    );
    let shown = world.get(&by_dora, &path).expect(200);
    assert_eq!(
        (&shown["replaced_by"], &shown["status"]),
        (&new["id"], &json!("active"))
    );
    assert_eq!(
        [code(&world, &first), code(&world, &second)],
        ["valid", "valid"]
    );
    delete(&world, &by_dora, &path).expect(200);
    assert_eq!(
        [code(&world, &first), code(&world, &second)],
        ["revoked", "valid"]
    );
    let late = world.send(ask("POST", &format!("{path}/replace")).by(&by_dora));
    assert_eq!(late.refused(409), "credential_ended");
    let rotate = world.send(ask("POST", &format!("{path}/rotate")).by(&by_dora));
    assert_eq!(rotate.refused(404), "not_found");
}

#[test]
fn a_review_of_admin_tokens_says_what_is_known_and_what_is_not() {
    let world = World::new();
    let base = "/v1/admin/api-tokens";
    let dated = json!({"name": "dated", "scopes": ["cases:read"], "expires_in_days": 9});
    let (dated, _) = issued(&world.post(&world.acme.admin, base, &dated), 201);
    let gone = json!({"name": "gone", "scopes": ["cases:read"]});
    let (gone, _) = issued(&world.post(&world.acme.admin, base, &gone), 201);
    delete(
        &world,
        &world.acme.admin,
        &format!("{base}/{}", text(&gone["id"])),
    )
    .expect(200);
    let path = format!("{base}/review?unused_days=30");
    let review = world.get(&world.acme.admin, &path).expect(200);
    let expiry = |state: &str| {
        json!([
            {"finding": "without_expiry", "state": state},
            {"finding": "never_used", "state": "not_tracked"},
            {"finding": "not_used_for_days", "state": "not_tracked"},
            {"finding": "scopes_never_exercised", "state": "not_tracked"},
        ])
    };
    let seen = review.as_array().unwrap().iter();
    let seen: Vec<_> = seen
        .map(|one| (&one["key"]["id"], &one["findings"]))
        .collect();
    let (found, none) = (expiry("found"), expiry("not_found"));
    let lasting = json!(world.acme.tokens[3]);
    assert_eq!(seen, [(&dated["id"], &none), (&lasting, &found)]);
    let wrong = world.get(&world.acme.admin, &format!("{base}/review?unused_days=0"));
    assert_eq!(wrong.refused(400), "query_invalid");
}

#[test]
fn a_project_token_is_never_edited_and_works_on_its_project_alone() {
    let world = World::new();
    let base = format!("/v1/projects/{}/api-tokens", world.acme.project);
    let admin = &world.acme.admin;
    let body = json!({"label": "badge", "scope": "admin"});
    let (key, raw) = issued(&world.post(admin, &base, &body), 201);
    assert_eq!(
        (&key["scope"], &key["label"]),
        (&json!("admin"), &json!("badge"))
    );
    assert_eq!(key["project_id"], world.acme.project);
    let wrong = world.post(admin, &base, &json!({"label": "x", "scope": "write"}));
    assert_eq!(wrong.refused(422), "unknown_preset");
    assert_eq!(wrong.json()["errors"][0]["field"], "scope");
    let path = format!("{base}/{}", text(&key["id"]));
    let patch = world.patch(admin, &path, &json!({"label": "y"}));
    assert_eq!(patch.refused(405), "method_not_allowed");
    assert_eq!(patch.header("allow"), Some("GET,HEAD,DELETE"));
    assert!(
        text(&patch.json()["detail"]).contains("/replace"),
        "{patch:?}"
    );

    let verdict = |project: &str| {
        let body = json!({"key": raw, "project_id": project});
        text(&world.post(admin, "/v1/verify", &body).expect(200)["code"])
    };
    let other = format!("{}/projects", world.acme.path);
    let other = world
        .post(admin, &other, &json!({"name": "Shop"}))
        .created();
    assert_eq!(
        [verdict(&world.acme.project), verdict(&other)],
        ["valid", "wrong_project"]
    );
    // It manages the tokens of its own project, and those of no other.
    world.get(&raw, &base).expect(200);
    let elsewhere = format!("/v1/projects/{other}/api-tokens");
    assert_eq!(world.get(&raw, &elsewhere).refused(403), "wrong_project");
    assert_eq!(
        world.post(&raw, &elsewhere, &body).refused(403),
        "wrong_project"
    );

    let position = world.next_position();
    let replaced = world.send(ask("POST", &format!("{path}/replace")).by(admin));
    let (new, second) = issued(&replaced, 201);
    assert_eq!(world.next_position(), position + 3, "one batch");
    assert_eq!(
        (&new["label"], &new["scope"]),
        (&key["label"], &key["scope"])
    );
    let old = world.get(admin, &path).expect(200);
    assert_eq!(
        (&old["status"], &old["replaced_by"]),
        (&json!("revoked"), &new["id"])
    );
    assert_eq!(
        [code(&world, &raw), code(&world, &second)],
        ["revoked", "valid"]
    );
}
