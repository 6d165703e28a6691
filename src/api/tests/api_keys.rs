//! API keys as the platform documents them: fields, statuses, and what happens to the secret.

use serde_json::{Value, json};

use crate::api::tests::{START, World, ask, text, with};
use crate::domain::ids::{CredentialId, SecretId};
use crate::web::list_cursor::bind;

/// A key of Acme with everything set, as the answer to its creation shows it.
fn made(world: &World) -> (Value, String) {
    let path = format!("{}/api-keys", world.acme.path);
    let body = json!({
        "name": "CI pipeline",
        "description": "SOC deploy pipeline",
        "scopes": ["analysis:run", "projects:read", "cases:write"],
        "expires_in_days": 365,
        "project_id": world.acme.project,
        "metadata": {"team": "SOC"},
    });
    let reply = world.post(&world.acme.admin, &path, &body);
    let answer = reply.expect(201);
    assert_eq!(reply.header("etag"), Some("\"1\""));
    assert_eq!(
        answer.as_object().unwrap().len(),
        2,
        "key and raw_key: {answer}"
    );
    (answer["key"].clone(), text(&answer["raw_key"]))
}

#[test]
fn a_new_key_is_shown_whole_and_its_secret_once() {
    let world = World::new();
    let (key, raw) = made(&world);
    let id: CredentialId = text(&key["id"]).parse().unwrap();
    let secret: SecretId = text(&key["secrets"][0]["id"]).parse().unwrap();
    assert_eq!(
        raw.split('_').nth(1),
        Some(secret.ulid().to_string().as_str())
    );
    let expected = json!({
        "id": id.to_string(),
        "kind": "organization",
        "status": "active",
        "is_active": true,
        "version": 1,
        "organization_id": world.acme.id,
        "project_id": world.acme.project,
        "owner": {"type": "organization", "id": world.acme.id},
        "name": "CI pipeline",
        "description": "SOC deploy pipeline",
        "scopes": ["analysis:run", "projects:read", "cases:write"],
        "role": null,
        "preset": null,
        "label": null,
        "scope": null,
        "token_id": null,
        "token": format!("{}..........", &raw[..10]),
        "replaces": null,
        "replaced_by": null,
        "key_prefix": raw[..12],
        "key_hint": raw[raw.len() - 4..],
        "metadata": {"team": "SOC"},
        "created_by": world.acme.key,
        "issued_via": world.acme.key,
        "created_at": START,
        "updated_at": START,
        "expires_at": "2027-04-24T15:30:00.000Z",
        "last_used_at": null,
        "last_reported_at": null,
        "usage_status": "never_used",
        "secrets": [{
            "id": secret.to_string(),
            "created_at": START,
            "valid_until": "2027-04-24T15:30:00.000Z",
            "last_used_at": null,
        }],
        "ended": null,
    });
    assert_eq!(key, expected);
    let path = format!("{}/api-keys/{id}", world.acme.path);
    let shown = world.get(&world.acme.admin, &path);
    assert_eq!(shown.expect(200), expected);
    assert_eq!(shown.header("etag"), Some("\"1\""));
    assert_eq!(shown.header("cache-control"), Some("no-store"));
}

#[test]
fn what_is_left_out_has_its_default() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    let body = json!({
        "name": "n", "scopes": ["projects:read"], "description": null, "expires_in_days": null,
        "expires_at": null, "project_id": null, "metadata": null,
    });
    let sparse = json!({"name": "n", "scopes": ["projects:read"]});
    for body in [body, sparse] {
        let key = world.post(&world.acme.admin, &path, &body).expect(201)["key"].clone();
        for (field, value) in [
            ("description", json!("")),
            ("expires_at", json!(null)),
            ("project_id", json!(null)),
            ("metadata", json!({})),
        ] {
            assert_eq!(key[field], value, "{field}");
        }
    }
    let at = "2026-05-01T00:00:00+02:00";
    let at = json!({"name": "n", "scopes": ["projects:read"], "expires_at": at});
    let key = world.post(&world.acme.admin, &path, &at).expect(201)["key"].clone();
    assert_eq!(key["expires_at"], "2026-04-30T22:00:00.000Z");
}

#[test]
fn a_patch_changes_what_the_kind_lets_be_edited() {
    let world = World::new();
    let (key, _) = made(&world);
    let path = format!("{}/api-keys/{}", world.acme.path, text(&key["id"]));
    world.clock.advance_ms(1_000);
    let patch = |body: &Value| world.patch(&world.acme.admin, &path, body);

    let reply = patch(&json!({"name": "CD", "description": null, "scopes": ["cases:read"]}));
    let changed = with(
        &key,
        &json!({
            "name": "CD", "description": "", "scopes": ["cases:read"], "version": 3,
            "updated_at": "2026-04-24T15:30:01.000Z",
        }),
    );
    assert_eq!(reply.expect(200), changed);
    assert_eq!(reply.header("etag"), Some("\"3\""));
    let position = world.next_position();
    assert_eq!(
        reply.header("ledger-position"),
        Some((position - 1).to_string().as_str())
    );

    // What changes nothing is no event.
    assert_eq!(patch(&json!({})).expect(200), changed);
    assert_eq!(patch(&json!({"name": "CD"})).expect(200), changed);
    assert_eq!(world.next_position(), position);
    for field in ["project_id", "is_active", "raw_key", "id"] {
        let reply = patch(&json!({field: "x"}));
        assert_eq!(reply.refused(422), "field_unknown", "{field}");
        assert_eq!(reply.json()["errors"][0]["field"], field);
    }
    assert_eq!(patch(&json!({"scopes": []})).refused(422), "field_empty");
    assert_eq!(
        patch(&json!({"scopes": ["cases:fly"]})).refused(422),
        "unknown_scope"
    );
    assert_eq!(world.next_position(), position);
}

#[test]
fn a_revoked_key_stays_revoked() {
    let world = World::new();
    let (key, raw) = made(&world);
    let path = format!("{}/api-keys/{}", world.acme.path, text(&key["id"]));
    world.clock.advance_ms(1_000);
    let now = "2026-04-24T15:30:01.000Z";
    let revoke = |body: &Value| world.post(&world.acme.admin, &format!("{path}/revoke"), body);

    let reply = revoke(&json!({"reason": "Manually rotated after leak"}));
    let answer = reply.expect(200);
    let event = text(&answer["ended"]["event_id"]);
    let mut secrets = key["secrets"].clone();
    secrets[0]["valid_until"] = json!(now);
    let revoked = with(
        &key,
        &json!({
            "status": "revoked", "is_active": false, "version": 2, "updated_at": now,
            "secrets": secrets,
            "ended": {"at": now, "event_id": event, "reason": "Manually rotated after leak"},
        }),
    );
    assert_eq!(answer, revoked);
    let position = world.next_position();
    // Once more: the same answer, no new event, and no other reason.
    assert_eq!(revoke(&json!({"reason": "again"})).expect(200), revoked);
    let bare = ask("POST", &format!("{path}/revoke")).by(&world.acme.admin);
    assert_eq!(world.send(bare).expect(200), revoked);
    assert_eq!(world.get(&world.acme.admin, &path).expect(200), revoked);

    let post = |verb: &str| world.post(&world.acme.admin, &format!("{path}/{verb}"), &json!({}));
    for verb in ["rotate", "enable", "disable"] {
        assert_eq!(post(verb).refused(409), "credential_ended", "{verb}");
    }
    let patched = world.patch(&world.acme.admin, &path, &json!({"name": "x"}));
    assert_eq!(patched.refused(409), "credential_ended");
    assert_eq!(
        world.get(&raw, &path).refused(401),
        "credential_not_accepted"
    );
    assert_eq!(world.next_position(), position);
    let long = json!({"reason": "x".repeat(501)});
    assert_eq!(revoke(&long).refused(422), "field_too_long");
}

#[test]
fn a_rotation_keeps_id_and_scopes() {
    let world = World::new();
    let (key, old) = made(&world);
    let path = format!("{}/api-keys/{}", world.acme.path, text(&key["id"]));
    world.clock.advance_ms(1_000);
    let rotate = |body: &Value| world.post(&world.acme.admin, &format!("{path}/rotate"), body);

    let reply = rotate(&json!({"grace_period_seconds": 60}));
    let answer = reply.expect(200);
    let new = text(&answer["raw_key"]);
    assert_ne!(new, old);
    let now = "2026-04-24T15:30:01.000Z";
    let first = with(
        &key["secrets"][0],
        &json!({"valid_until": "2026-04-24T15:31:01.000Z"}),
    );
    let second = json!({
        "id": answer["key"]["secrets"][0]["id"], "created_at": now,
        "valid_until": key["expires_at"], "last_used_at": null,
    });
    assert_ne!(second["id"], first["id"]);
    let rotated = with(
        &key,
        &json!({
            "key_prefix": new[..12], "key_hint": new[new.len() - 4..], "version": 2,
            "updated_at": now, "secrets": [second, first],
        }),
    );
    assert_eq!(answer, json!({"key": rotated, "raw_key": new}));
    assert_eq!(reply.header("etag"), Some("\"2\""));

    // Without a body the value in use ends at once, and with it what is left of older ones.
    let presented = json!({"key": new});
    world.post(&world.acme.admin, "/v1/verify", &presented);
    let bare = ask("POST", &format!("{path}/rotate")).by(&world.acme.admin);
    let answer = world.send(bare).expect(200);
    let secrets = answer["key"]["secrets"].as_array().unwrap().clone();
    assert_eq!(secrets.len(), 3);
    for secret in &secrets[1..] {
        assert_eq!(secret["valid_until"], now);
    }
    for (body, code) in [
        (json!({"grace_period_seconds": 2_592_001}), "grace_too_long"),
        (json!({"grace_period_seconds": -1}), "field_invalid"),
        (json!({"grace": 1}), "field_unknown"),
    ] {
        assert_eq!(rotate(&body).refused(422), code);
    }
}

#[test]
fn a_key_is_disabled_and_enabled() {
    let world = World::new();
    let (key, raw) = made(&world);
    let path = format!("{}/api-keys/{}", world.acme.path, text(&key["id"]));
    let post =
        |verb: &str, body: &Value| world.post(&world.acme.admin, &format!("{path}/{verb}"), body);
    let disabled = with(
        &key,
        &json!({"status": "disabled", "is_active": false, "version": 2}),
    );
    assert_eq!(post("disable", &json!({})).expect(200), disabled);
    assert_eq!(post("disable", &json!({})).expect(200), disabled);
    assert_eq!(
        world.get(&raw, &path).refused(401),
        "credential_not_accepted"
    );
    assert_eq!(
        post("enable", &json!({"x": 1})).refused(422),
        "field_unknown"
    );
    let bare = ask("POST", &format!("{path}/enable")).by(&world.acme.admin);
    assert_eq!(
        world.send(bare).expect(200),
        with(&key, &json!({"version": 3}))
    );
    assert_eq!(world.get(&raw, &path).refused(403), "forbidden");
}

#[test]
fn usage_is_a_list() {
    let world = World::new();
    let (key, _) = made(&world);
    let path = format!("{}/api-keys/{}/usage", world.acme.path, text(&key["id"]));
    let reply = world.get(&world.acme.admin, &path);
    assert_eq!(reply.expect(200), json!([]));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let wrong = world.get(&world.acme.admin, &format!("{path}?limit=0"));
    assert_eq!(wrong.refused(400), "query_invalid");
}

#[test]
fn the_history_of_a_key_has_no_hashes() {
    let world = World::new();
    let (key, _) = made(&world);
    let id = text(&key["id"]);
    let path = format!("{}/api-keys/{id}", world.acme.path);
    let rotate = ask("POST", &format!("{path}/rotate"))
        .by(&world.acme.admin)
        .with("x-request-id", "rotation-1")
        .with("user-agent", "curl/8.4");
    let rotated = world.send(rotate).expect(200)["key"].clone();

    let events = world
        .get(&world.acme.admin, &format!("{path}/events"))
        .expect(200);
    let actor = |agent: Value| {
        json!({
            "type": "credential", "id": world.acme.key, "via": world.acme.key,
            "network": {"ip": "203.0.113.10", "user_agent": agent},
        })
    };
    let event = |at: usize, changes: &Value| {
        let base = json!({
            "id": events[at]["id"], "position": world.next_position() - 1 - at as u64, "type": "",
            "version": 2, "occurred_at": START, "subject": id, "subject_version": 2 - at,
            "actor": actor(Value::Null), "request_id": events[at]["request_id"], "data": {},
        });
        with(&base, changes)
    };
    let created = json!({
        "kind": "organization",
        "owner": {"type": "organization", "id": world.acme.id},
        "project_id": world.acme.project,
        "name": "CI pipeline",
        "description": "SOC deploy pipeline",
        "grant": {
            "scopes": ["analysis:run", "projects:read", "cases:write"],
            "role": null, "preset": null,
        },
        "expires_at": "2027-04-24T15:30:00.000Z",
        "metadata": {"team": "SOC"},
        "created_by": world.acme.key,
        "issued_via": world.acme.key,
        "replaces": null,
        "secret": {"id": key["secrets"][0]["id"], "prefix": "rfk", "hint": key["key_hint"]},
    });
    let second = &rotated["secrets"][0]["id"];
    let renewed = json!({
        "secret": {"id": second, "prefix": "rfk", "hint": rotated["key_hint"]},
        "previous_valid_until": START,
        "earlier_kept": false,
    });
    assert_eq!(
        events,
        json!([
            event(
                0,
                &json!({
                    "type": "api_key.rotated", "data": renewed, "actor": actor(json!("curl/8.4")),
                    "request_id": "rotation-1",
                })
            ),
            event(1, &json!({"type": "api_key.created", "data": created})),
        ])
    );
}

#[test]
fn a_history_is_paged_from_its_newest_event() {
    let world = World::new();
    let (key, _) = made(&world);
    let path = format!("{}/api-keys/{}", world.acme.path, text(&key["id"]));
    for verb in ["disable", "enable"] {
        let path = format!("{path}/{verb}");
        world.post(&world.acme.admin, &path, &json!({})).expect(200);
    }
    let path = format!("{path}/events");
    for (query, versions, next) in [
        ("", vec![3, 2, 1], None),
        ("?limit=3", vec![3, 2, 1], None),
        ("?limit=2", vec![3, 2], Some(("limit=2", "2"))),
        ("?limit=2&cursor=2", vec![1], None),
        ("?limit=1&cursor=3", vec![2], Some(("limit=1", "2"))),
        ("?cursor=1", vec![], None),
        ("?cursor=0", vec![], None),
        ("?cursor=9", vec![3, 2, 1], None),
    ] {
        let query = match query.split_once("cursor=") {
            Some((before, inner)) => format!("{before}cursor={}", bind(&path, inner)),
            None => query.to_owned(),
        };
        let page = world.get(&world.acme.admin, &format!("{path}{query}"));
        let events = page.expect(200);
        let events = events.as_array().unwrap().iter();
        let shown: Vec<u64> = events
            .map(|event| event["subject_version"].as_u64().unwrap())
            .collect();
        assert_eq!(shown, versions, "{query}");
        let next = next.map(|(query, inner)| {
            let cursor = bind(&path, inner);
            format!("<{path}?{query}&cursor={cursor}>; rel=\"next\"")
        });
        assert_eq!(page.header("link"), next.as_deref(), "{query}");
    }
    for wrong in ["x", "2", &bind(&path, "x"), &bind(&path, "")] {
        let wrong = world.get(&world.acme.admin, &format!("{path}?cursor={wrong}"));
        assert_eq!(wrong.refused(400), "cursor_invalid");
    }
}
