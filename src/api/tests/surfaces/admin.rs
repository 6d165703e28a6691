//! Admin tokens: replaced beside the old one, and reviewed.

use serde_json::{Value, json};

use crate::api::tests::surfaces::{code, delete, issued, member};
use crate::api::tests::{World, ask, text};

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
    // Another caller, who does not know of the first.
    let again = world.send(ask("POST", &format!("{path}/replace")).by(&by_dora));
    assert_eq!(again.refused(409), "already_replaced");
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
fn a_review_of_admin_tokens_finds_what_nobody_uses() {
    let world = World::new();
    let base = "/v1/admin/api-tokens";
    let dated = json!({"name": "dated", "scopes": ["cases:read"], "expires_in_days": 9});
    let (dated, raw) = issued(&world.post(&world.acme.admin, base, &dated), 201);
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
    let seen = |review: &Value| {
        let seen = review.as_array().unwrap().iter();
        let seen = seen.map(|one| (one["key"]["id"].clone(), one["findings"].clone()));
        seen.collect::<Vec<_>>()
    };
    let findings = |states: [&str; 4], scopes: &[&str]| {
        let mut last = json!({"finding": "scopes_never_exercised", "state": states[3]});
        if !scopes.is_empty() {
            last["scopes"] = json!(scopes);
        }
        json!([
            {"finding": "without_expiry", "state": states[0]},
            {"finding": "never_used", "state": states[1]},
            {"finding": "not_used_for_days", "state": states[2]},
            last,
        ])
    };
    let (yes, no) = ("found", "not_found");
    let lasting = world.get(
        &world.acme.admin,
        &format!("{base}/{}", world.acme.tokens[3]),
    );
    let lasting = lasting.expect(200);
    let own = lasting["scopes"].as_array().unwrap().iter();
    let own: Vec<&str> = own.map(|scope| scope.as_str().unwrap()).collect();
    let expected = [
        (
            dated["id"].clone(),
            findings([no, yes, no, yes], &["cases:read"]),
        ),
        (lasting["id"].clone(), findings([yes, yes, no, yes], &own)),
    ];
    assert_eq!(seen(&review), expected);
    // The one is used by a gateway's client, the other one by nobody for a month.
    let verify = json!({"key": raw, "required_scopes": ["cases:read"]});
    world
        .post(&world.acme.admin, "/v1/verify", &verify)
        .expect(200);
    world.clock.advance_ms(8 * 24 * 60 * 60 * 1_000);
    world.usage.wait_until_settled();
    let review = world.get(&world.acme.admin, &format!("{base}/review?unused_days=7"));
    let expected = [
        (dated["id"].clone(), findings([no, no, yes, no], &[])),
        (lasting["id"].clone(), findings([yes, yes, yes, yes], &own)),
    ];
    assert_eq!(seen(&review.expect(200)), expected);
    let wrong = world.get(&world.acme.admin, &format!("{base}/review?unused_days=0"));
    assert_eq!(wrong.refused(400), "query_invalid");
}
