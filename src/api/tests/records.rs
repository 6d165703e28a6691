//! Organizations, projects, members and service accounts.

use std::slice::from_ref;

use serde_json::{Value, json};

use crate::api::tests::{START, World, ask, ids, text, with};
use crate::domain::kind::Kind;

#[test]
fn an_organization_is_made_with_its_owner_and_key() {
    let world = World::new();
    let body = json!({"name": "Initech", "owner_email": "bill@initech.example"});
    let reply = world.post(&world.platform, "/platform/organizations", &body);
    let made = reply.expect(201);
    let id = text(&made["organization"]["id"]);
    let owner = text(&made["owner"]["id"]);
    let raw = text(&made["raw_key"]);
    let by = &made["organization"]["created_by"];
    let organization = json!({
        "id": id, "name": "Initech", "token_prefix": "rfk", "version": 1, "created_by": by,
        "created_at": START, "updated_at": START,
    });
    assert_eq!(made["organization"], organization);
    assert_eq!(
        made["owner"],
        json!({
            "id": owner, "organization_id": id, "email": "bill@initech.example", "name": null,
            "role": "owner", "status": "active", "erased_at": null,
            "sign_in_url": made["owner"]["sign_in_url"],
            "version": 2,
            "created_by": by, "created_at": START, "updated_at": START,
        })
    );
    assert_eq!(made["key"]["scopes"], json!(["admin:*"]));
    assert_eq!(made["key"]["created_by"], owner.as_str());
    assert_eq!(made.as_object().unwrap().len(), 4);

    let path = format!("/platform/organizations/{id}");
    let shown = world.get(&raw, &path);
    assert_eq!(shown.expect(200), organization);
    assert_eq!(shown.header("etag"), Some("\"1\""));
    let patch = json!({"name": "Initech Inc", "token_prefix": "ini"});
    let patched = world.patch(&raw, &path, &patch).expect(200);
    assert_eq!(patched, with(&organization, &with_version(&patch, 2)));
    let key = json!({"name": "k", "scopes": ["cases:read"]});
    let key = world
        .post(&raw, &format!("{path}/api-keys"), &key)
        .expect(201);
    assert!(text(&key["raw_key"]).starts_with("ini_"));
    let wrong = world.patch(&raw, &path, &json!({"token_prefix": "A"}));
    assert_eq!(wrong.refused(422), "token_prefix_invalid");

    let all = world
        .get(&world.platform, "/platform/organizations")
        .expect(200);
    assert_eq!(all.as_array().unwrap().len(), 4);
    let first = world.get(&world.platform, "/platform/organizations?limit=1");
    assert_eq!(ids(&first.expect(200)), [id]);
    assert!(first.header("link").is_some());
}

fn with_version(patch: &Value, version: u32) -> Value {
    let mut patch = patch.clone();
    patch["version"] = json!(version);
    patch
}

#[test]
fn a_project_is_renamed_and_put_away() {
    let world = World::new();
    let path = format!("{}/projects", world.acme.path);
    let reply = world.post(&world.acme.admin, &path, &json!({"name": "Shop"}));
    let id = reply.created();
    let project = json!({
        "id": id, "organization_id": world.acme.id, "name": "Shop", "archived": false,
        "version": 1, "created_by": world.acme.key, "created_at": START, "updated_at": START,
    });
    assert_eq!(reply.json(), project);
    let one = format!("{path}/{id}");
    assert_eq!(world.get(&world.acme.admin, &one).expect(200), project);
    let patch = json!({"name": "Store", "archived": true});
    let reply = world.patch(&world.acme.admin, &one, &patch);
    assert_eq!(reply.expect(200), with(&project, &with_version(&patch, 3)));
    let list = world.get(&world.acme.admin, &path).expect(200);
    assert_eq!(ids(&list), [id.clone(), world.acme.project.clone()]);
    // No key for what is put away.
    let key = json!({"name": "k", "scopes": ["cases:read"], "project_id": id});
    let key = world.post(
        &world.acme.admin,
        &format!("{}/api-keys", world.acme.path),
        &key,
    );
    assert_eq!(key.refused(409), "project_archived");
    assert_eq!(
        world
            .post(&world.acme.admin, &path, &json!({}))
            .refused(422),
        "field_missing"
    );
}

#[test]
fn members_come_change_and_go() {
    let world = World::new();
    let path = format!("{}/members", world.acme.path);
    let body = json!({"email": "joe@acme.example", "name": "Joe", "role": "tenant_admin"});
    let reply = world.post(&world.acme.admin, &path, &body);
    let id = reply.created();
    let member = json!({
        "id": id, "organization_id": world.acme.id, "email": "joe@acme.example", "name": "Joe",
        "role": "administrator", "status": "active", "erased_at": null, "sign_in_url": null,
        "version": 1,
        "created_by": world.acme.key, "created_at": START, "updated_at": START,
    });
    assert_eq!(reply.json(), member);
    let again = world.post(&world.acme.admin, &path, &body);
    assert_eq!(again.refused(409), "email_taken");
    let one = format!("{path}/{id}");
    assert_eq!(world.get(&world.acme.admin, &one).expect(200), member);
    let role = json!({"role": "viewer"});
    let patched = world.patch(&world.acme.admin, &one, &role).expect(200);
    assert_eq!(patched, with(&member, &with_version(&role, 2)));

    let (key, token) = world.issue(Kind::Personal, &id, &["cases:read"]);
    let gone = world.send(ask("DELETE", &one).by(&world.acme.admin));
    let removed = with(
        &member,
        &json!({"role": "viewer", "status": "removed", "version": 3}),
    );
    assert_eq!(gone.expect(200), removed);
    let position = world.next_position();
    let again = world.send(ask("DELETE", &one).by(&world.acme.admin));
    assert_eq!(again.expect(200), removed);
    assert_eq!(world.next_position(), position);
    assert_eq!(
        world.get(&token, &one).refused(401),
        "credential_not_accepted"
    );
    let key = format!("{}/credentials/{key}", world.acme.path);
    assert_eq!(
        world.get(&world.acme.admin, &key).expect(200)["status"],
        "revoked"
    );
    assert_eq!(
        world.patch(&world.acme.admin, &one, &role).refused(409),
        "member_removed"
    );

    let list = |query: &str| world.get(&world.acme.admin, &format!("{path}{query}"));
    let owner = &world.acme.owner;
    assert_eq!(ids(&list("").expect(200)), [id.clone(), owner.clone()]);
    assert_eq!(ids(&list("?status=active").expect(200)), from_ref(owner));
    assert_eq!(ids(&list("?status=removed").expect(200)), [id]);
    assert_eq!(list("?status=deleted").refused(400), "query_invalid");
    for (body, field) in [
        (json!({"email": "joe", "role": "viewer"}), "email"),
        (json!({"email": "j@x", "role": "king"}), "role"),
        (json!({"email": "j@x"}), "role"),
    ] {
        let reply = world.post(&world.acme.admin, &path, &body).expect(422);
        assert_eq!(reply["errors"][0]["field"], field);
    }
}

#[test]
fn owners_are_beyond_an_administrator() {
    let world = World::new();
    let path = format!("{}/members", world.acme.path);
    let (_, owner) = world.issue(Kind::Personal, &world.acme.owner, &["*"]);
    let body = json!({"email": "zoe@acme.example", "role": "owner"});
    let refused = world.post(&world.acme.admin, &path, &body);
    assert_eq!(refused.refused(403), "beyond_your_authority");
    let ann = format!("{path}/{}", world.acme.owner);
    let last = world.send(ask("DELETE", &ann).by(&owner));
    assert_eq!(last.refused(409), "last_owner");
    let demoted = world.patch(&owner, &ann, &json!({"role": "viewer"}));
    assert_eq!(demoted.refused(409), "last_owner");
    world.post(&owner, &path, &body).expect(201);
    assert_eq!(
        world.send(ask("DELETE", &ann).by(&owner)).expect(200)["status"],
        "removed"
    );
}

#[test]
fn a_service_account_has_a_slug_and_a_role() {
    let world = World::new();
    let path = format!("{}/service-accounts", world.acme.path);
    let body = json!({
        "name": "Deploy Bot", "description": "Robot that publishes versions from Git",
        "role": "engineer",
    });
    let reply = world.post(&world.acme.admin, &path, &body);
    let id = reply.created();
    let account = json!({
        "id": id, "organization_id": world.acme.id, "name": "Deploy Bot", "slug": "deploy-bot",
        "description": "Robot that publishes versions from Git", "role": "engineer",
        "scopes": null, "status": "active", "is_active": true, "version": 1,
        "created_by": world.acme.key, "created_at": START, "updated_at": START,
    });
    assert_eq!(reply.json(), account);
    let same = world.post(
        &world.acme.admin,
        &path,
        &with(&body, &json!({"name": "deploy BOT"})),
    );
    assert_eq!(same.refused(409), "name_taken");
    let one = format!("{path}/{id}");
    assert_eq!(world.get(&world.acme.admin, &one).expect(200), account);

    let patch = |body: &Value| world.patch(&world.acme.admin, &one, body);
    let changes = json!({"name": "Bot", "description": null, "role": "viewer", "is_active": false});
    let changed = with(
        &account,
        &json!({
            "name": "Bot", "description": "", "role": "viewer", "is_active": false,
            "status": "disabled", "version": 3,
        }),
    );
    assert_eq!(patch(&changes).expect(200), changed);
    assert_eq!(patch(&json!({"slug": "x"})).refused(422), "field_unknown");
    assert_eq!(patch(&json!({"role": "king"})).refused(422), "unknown_role");
    let active = json!({"is_active": true, "status": "active", "version": 4});
    assert_eq!(
        patch(&json!({"is_active": true})).expect(200),
        with(&changed, &active)
    );

    let (_, token) = world.issue(Kind::ServiceAccount, &id, &["cases:read"]);
    assert_eq!(world.get(&token, &one).refused(403), "forbidden");
    let gone = world
        .send(ask("DELETE", &one).by(&world.acme.admin))
        .expect(200);
    assert_eq!(gone["status"], "deleted");
    assert_eq!(gone["is_active"], false);
    assert_eq!(
        world.get(&token, &one).refused(401),
        "credential_not_accepted"
    );
    assert_eq!(
        patch(&json!({"name": "x"})).refused(409),
        "service_account_deleted"
    );

    let list = |query: &str| {
        world
            .get(&world.acme.admin, &format!("{path}{query}"))
            .expect(200)
    };
    assert_eq!(ids(&list("")), [id.clone(), world.acme.account.clone()]);
    assert_eq!(ids(&list("?status=deleted")), [id]);
    assert_eq!(
        ids(&list("?status=active&limit=1")),
        from_ref(&world.acme.account)
    );
}

#[test]
fn oversight_ends_a_credential_of_any_kind() {
    let world = World::new();
    let (key, token) = world.issue(Kind::Personal, &world.acme.owner, &["*"]);
    let path = format!("{}/credentials/{key}", world.acme.path);
    let shown = world.get(&world.acme.admin, &path).expect(200);
    assert_eq!(shown["kind"], "personal");
    assert_eq!(
        shown["owner"],
        json!({"type": "user", "id": world.acme.owner})
    );
    assert_eq!(shown["created_by"], Value::Null);
    // Another kind is not found on the surface of API keys.
    let foreign = format!("{}/api-keys/{key}", world.acme.path);
    assert_eq!(
        world.get(&world.acme.admin, &foreign).refused(404),
        "not_found"
    );
    let revoke = world.post(
        &world.acme.admin,
        &format!("{path}/revoke"),
        &json!({"reason": "x"}),
    );
    assert_eq!(revoke.expect(200)["ended"]["reason"], "x");
    assert_eq!(
        world.get(&token, &path).refused(401),
        "credential_not_accepted"
    );
}
