//! More time, or less, for credentials of the kinds that can be edited.

use serde_json::{Value, json};

use crate::api::tests::{World, text};

const IN_30_DAYS: &str = "2026-05-24T15:30:00.000Z";
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Each surface whose kind allows edits, with a body that makes a credential of a day there.
fn surfaces(world: &World) -> [(String, Value); 3] {
    let acme = &world.acme;
    [
        (
            format!("{}/api-keys", acme.path),
            json!({"name": "k", "scopes": ["cases:read"], "expires_in_days": 1}),
        ),
        (
            format!("/v1/workspaces/{}/access-tokens", acme.id),
            json!({"label": "k", "role": "viewer", "expires_in_days": 1}),
        ),
        (
            "/v1/admin/api-tokens".to_owned(),
            json!({"name": "k", "scopes": ["cases:read"], "expires_in_days": 1}),
        ),
    ]
}

/// Bodies that ask for no expiry that there can be, with the code and the field that are answered.
fn wrong_expiries() -> [(Value, &'static str, &'static str); 7] {
    [
        (
            json!({"expires_in_days": 0}),
            "expiry_days_out_of_range",
            "expires_in_days",
        ),
        (
            json!({"expires_in_days": 3_651}),
            "expiry_days_out_of_range",
            "expires_in_days",
        ),
        (
            json!({"expires_in_days": "30"}),
            "field_invalid",
            "expires_in_days",
        ),
        (
            json!({"expires_at": "2026-04-24T15:30:00Z"}),
            "expiry_in_past",
            "expires_at",
        ),
        (
            json!({"expires_at": "soon"}),
            "expiry_invalid",
            "expires_at",
        ),
        (
            json!({"expires_at": null, "expires_in_days": 3}),
            "expiry_invalid",
            "expires_at",
        ),
        (
            json!({"expires_at": null, "expires_in_days": null}),
            "expiry_invalid",
            "expires_at",
        ),
    ]
}

#[test]
fn an_expiry_is_renewed_where_the_kind_allows_edits() {
    let world = World::new();
    let admin = &world.acme.admin;
    for (surface, body) in surfaces(&world) {
        let made = world.post(admin, &surface, &body).expect(201);
        let (id, token) = (text(&made["key"]["id"]), text(&made["raw_key"]));
        let path = format!("{surface}/{id}");
        let patched = |body: Value| world.patch(admin, &path, &body);
        for (body, expires_at) in [
            (json!({"expires_in_days": 30}), json!(IN_30_DAYS)),
            (
                json!({"expires_at": "2026-05-01T00:00:00+02:00"}),
                json!("2026-04-30T22:00:00.000Z"),
            ),
            (json!({"expires_at": null}), Value::Null),
            (json!({"expires_in_days": 30}), json!(IN_30_DAYS)),
            (json!({"expires_in_days": null}), Value::Null),
            (
                json!({"expires_in_days": 1}),
                json!("2026-04-25T15:30:00.000Z"),
            ),
            (json!({"expires_at": IN_30_DAYS}), json!(IN_30_DAYS)),
        ] {
            let version = world.get(admin, &path).expect(200)["version"].as_u64();
            let changed = patched(body.clone()).expect(200);
            assert_eq!(changed["expires_at"], expires_at, "{path} {body}");
            assert_eq!(
                changed["version"].as_u64(),
                version.map(|version| version + 1)
            );
        }
        let position = world.next_position();
        patched(json!({"expires_in_days": 30})).expect(200);
        for (body, code, field) in wrong_expiries() {
            let refused = patched(body.clone());
            assert_eq!(refused.refused(422), code, "{path} {body}");
            assert_eq!(refused.json()["errors"][0]["field"], field, "{path} {body}");
        }
        assert_eq!(
            world.next_position(),
            position,
            "all is as asked, or refused"
        );
        let events = world.get(admin, &format!("{path}/events")).expect(200);
        assert_eq!(events[0]["type"], "api_key.updated");
        assert_eq!(events[0]["data"]["changed"], json!(["expiry"]));
        let verified = world.post(admin, "/v1/verify", &json!({"key": token}));
        assert_eq!(verified.expect(200)["valid_until"], IN_30_DAYS);
    }
}

#[test]
fn an_expired_credential_stays_so_and_none_is_made_to_outlive_who_edits_it() {
    let world = World::new();
    let admin = &world.acme.admin;
    let (_, short) = world.key(&json!({
        "name": "short", "scopes": ["admin:*"], "expires_in_days": 10,
    }));
    for (surface, body) in surfaces(&world) {
        let made = world.post(admin, &surface, &body).expect(201);
        let path = format!("{surface}/{}", text(&made["key"]["id"]));
        for (body, status) in [
            (json!({"expires_in_days": 10}), 200),
            (json!({"expires_in_days": 11}), 403),
            (json!({"expires_at": null}), 403),
        ] {
            let reply = world.patch(&short, &path, &body);
            assert_eq!(reply.status, status, "{path} {body} {}", reply.text);
        }
        let viewer = world.holder(&["cases:read"]);
        let reply = world.patch(&viewer, &path, &json!({"expires_in_days": 5}));
        assert_eq!(reply.refused(403), "forbidden");
        world
            .patch(admin, &path, &json!({"expires_in_days": 1}))
            .expect(200);
        let stale = crate::api::tests::ask("PATCH", &path)
            .by(admin)
            .with("if-match", "\"1\"");
        let stale = world.send(stale.json(&json!({"expires_in_days": 2})));
        assert_eq!(stale.refused(412), "version_mismatch");
    }
    let (id, _) = world.key(&json!({"name": "k", "scopes": ["cases:read"], "expires_in_days": 1}));
    let path = format!("{}/api-keys/{id}", world.acme.path);
    world.clock.advance_ms(DAY_MS);
    let late = world.patch(admin, &path, &json!({"expires_in_days": 1}));
    assert_eq!(late.refused(409), "credential_ended");
}
