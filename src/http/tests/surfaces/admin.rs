//! Admin tokens: replaced beside the old one, and reviewed.

use serde_json::json;

use super::{code, delete, issued, member};
use crate::http::tests::{World, ask, text};

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
