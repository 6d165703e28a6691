//! Service accounts of the workspace, and their tokens.

use serde_json::{Value, json};

use crate::api::tests::surfaces::{code, delete, issued, member};
use crate::api::tests::{World, text};

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
