//! Access tokens: one role each.

use serde_json::{Value, json};

use crate::api::tests::surfaces::{code, delete, issued, member};
use crate::api::tests::{World, ask, text};

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
