//! A rotation whose answer was lost, on every surface with grace periods: the client rotates again,
//! and the secret that it still uses keeps the grace that it was promised.

use serde_json::{Value, json};

use crate::api::tests::calls::ask;
use crate::api::tests::{World, text};

/// A surface with a new credential: the path of the credential, and its token.
fn made(world: &World, base: &str, body: &Value) -> (String, String) {
    let made = world.post(&world.acme.admin, base, body).expect(201);
    let path = format!("{base}/{}", text(&made["key"]["id"]));
    (path, text(&made["raw_key"]))
}

fn surfaces(world: &World) -> [(String, String); 3] {
    let keys = format!("{}/api-keys", world.acme.path);
    let account = format!("/v1/service-accounts/{}/tokens", world.acme.account);
    let access = format!("/v1/workspaces/{}/access-tokens", world.acme.id);
    let scopes = json!({"name": "Deploy", "scopes": ["cases:read"]});
    let role = json!({"label": "Deploy", "role": "viewer"});
    [
        made(world, &keys, &scopes),
        made(world, &account, &scopes),
        made(world, &access, &role),
    ]
}

fn code(world: &World, key: &str) -> String {
    let ask = json!({"key": key});
    text(
        &world
            .post(&world.acme.admin, "/v1/verify", &ask)
            .expect(200)["code"],
    )
}

fn rotate(world: &World, path: &str, idempotency: &str) -> Value {
    let request = ask("POST", &format!("{path}/rotate"))
        .by(&world.acme.admin)
        .with("idempotency-key", idempotency)
        .json(&json!({"grace_period_seconds": 3_600}));
    world.send(request).expect(200)
}

#[test]
fn a_second_rotation_after_a_lost_answer_keeps_the_promised_grace() {
    let world = World::new();
    for (path, deployed) in surfaces(&world) {
        let lost = rotate(&world, &path, "first");
        let promised = &lost["key"]["secrets"][1];
        // The repeated call has the same answer, without the secret.
        assert_eq!(rotate(&world, &path, "first")["raw_key"], Value::Null);
        world.clock.advance_ms(1_000);

        let again = rotate(&world, &path, "second");
        let secrets = again["key"]["secrets"].as_array().unwrap();
        assert_eq!(secrets.len(), 3);
        assert_eq!(secrets[2]["id"], promised["id"]);
        assert_eq!(secrets[2]["valid_until"], promised["valid_until"]);
        assert_eq!(secrets[1]["valid_until"], again["key"]["updated_at"]);
        let codes = [&deployed, &text(&lost["raw_key"]), &text(&again["raw_key"])];
        let codes = codes.map(|key| code(&world, key));
        assert_eq!(codes, ["valid", "rotated", "valid"], "{path}");
        let repeated = rotate(&world, &path, "second");
        assert_eq!(repeated["raw_key"], Value::Null);
        assert_eq!(repeated["key"]["version"], again["key"]["version"]);
    }
}

#[test]
fn a_secret_that_was_presented_is_the_one_in_use() {
    let world = World::new();
    for (path, first) in surfaces(&world) {
        let second = text(&rotate(&world, &path, "first")["raw_key"]);
        // That it is refused makes no difference: it has arrived.
        let ask = json!({"key": second, "required_scopes": ["projects:write"]});
        let reply = world
            .post(&world.acme.admin, "/v1/verify", &ask)
            .expect(200);
        assert_eq!(reply["code"], "insufficient_scope");
        let third = text(&rotate(&world, &path, "second")["raw_key"]);
        let codes = [&first, &second, &third].map(|key| code(&world, key));
        assert_eq!(codes, ["rotated", "valid", "valid"], "{path}");
    }
}
