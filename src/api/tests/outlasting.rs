//! A credential that ends leaves no power behind that lasts longer.

use serde_json::{Value, json};

use crate::api::tests::{World, ask, text};

/// An administrator's key that ends tomorrow.
fn brief(world: &World) -> String {
    let body = json!({"name": "brief", "scopes": ["admin:*"], "expires_in_days": 1});
    world.key(&body).1
}

#[test]
fn what_lasts_is_beyond_a_credential_that_ends() {
    let world = World::new();
    let brief = brief(&world);
    let acme = &world.acme.path;
    let lasting = &world.acme.admin;
    let member = json!({"email": "carl@acme.example", "role": "viewer"});
    let member_path = format!("{acme}/members");
    let carl = text(&world.post(lasting, &member_path, &member).expect(201)["id"]);
    let carl = format!("{acme}/members/{carl}");
    let account = format!("{acme}/service-accounts/{}", world.acme.account);
    let endpoint = format!("{acme}/webhook-endpoints/{}", world.acme.endpoint);
    let off = json!({"is_active": false});
    world.patch(lasting, &account, &off).expect(200);
    let refused = |method: &str, path: &str, body: &Value| {
        let reply = world.send(ask(method, path).by(&brief).json(body));
        assert_eq!(
            reply.refused(403),
            "beyond_your_authority",
            "{method} {path} {body}"
        );
    };
    refused(
        "POST",
        &member_path,
        &json!({"email": "d@acme.example", "role": "viewer"}),
    );
    refused("PATCH", &carl, &json!({"role": "administrator"}));
    // Its token has no end.
    refused("PATCH", &account, &json!({"is_active": true}));
    refused("PATCH", &account, &json!({"role": "administrator"}));
    let new = json!({"url": "https://hooks.example/b", "event_types": ["api_key.*"]});
    refused("POST", &format!("{acme}/webhook-endpoints"), &new);
    refused(
        "PATCH",
        &endpoint,
        &json!({"url": "https://elsewhere.example"}),
    );
    refused("PATCH", &endpoint, &json!({"event_types": ["*"]}));
    refused("POST", &format!("{endpoint}/rotate-secret"), &json!({}));

    let allowed = |method: &str, path: &str, body: &Value| {
        world
            .send(ask(method, path).by(&brief).json(body))
            .expect(200);
    };
    // What narrows, describes or ends is for it to do.
    allowed(
        "PATCH",
        &endpoint,
        &json!({"event_types": ["api_key.revoked"]}),
    );
    allowed("POST", &format!("{endpoint}/disable"), &json!({}));
    refused("POST", &format!("{endpoint}/enable"), &json!({}));
    world
        .patch(lasting, &carl, &json!({"role": "administrator"}))
        .expect(200);
    allowed("PATCH", &carl, &json!({"role": "viewer"}));
    world
        .patch(lasting, &account, &json!({"is_active": true}))
        .expect(200);
    allowed("PATCH", &account, &off);
    allowed("DELETE", &account, &json!({}));
}
