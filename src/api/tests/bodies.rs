//! A wrong body is refused with the name of its field.

use serde_json::{Value, json};

use crate::api::tests::{START, Tenant, World, ask, with};

type Case = (Value, &'static str, &'static str);

/// Changes of a right body, with the code and the field that are answered.
fn wrong_texts() -> Vec<Case> {
    let token = format!("ab9_01H2XA9CKEB7WZG8RMN2KPQV7D_{}", "0f".repeat(36));
    vec![
        (
            json!({"name": format!("of {token}, old")}),
            "field_holds_token",
            "name",
        ),
        (
            json!({"description": token.replace('_', "%5f")}),
            "field_holds_token",
            "description",
        ),
        (
            json!({"description": token.to_uppercase()}),
            "field_holds_token",
            "description",
        ),
        (json!({"name": " "}), "field_empty", "name"),
        (json!({"name": "x".repeat(201)}), "field_too_long", "name"),
        (
            json!({"name": "a\u{0}b"}),
            "field_control_characters",
            "name",
        ),
        (json!({"name": null}), "field_invalid", "name"),
        (
            json!({"description": "x".repeat(2_001)}),
            "field_too_long",
            "description",
        ),
        (json!({"scopes": []}), "field_empty", "scopes"),
        (json!({"scopes": ["nonsense"]}), "unknown_scope", "scopes"),
        (json!({"scopes": ["cases:*"]}), "unknown_scope", "scopes"),
        (json!({"scopes": ["*"]}), "scope_not_for_kind", "scopes"),
        (
            json!({"scopes": ["cases:read", "cases:read"]}),
            "scope_twice",
            "scopes",
        ),
        (json!({"scopes": "cases:read"}), "field_invalid", "scopes"),
        (
            json!({"scopes": ["cases:read", 7]}),
            "field_invalid",
            "scopes[1]",
        ),
    ]
}

fn wrong_values(globex: &Tenant) -> Vec<Case> {
    vec![
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
            json!({"expires_in_days": 1.5}),
            "field_invalid",
            "expires_in_days",
        ),
        (json!({"expires_at": START}), "expiry_in_past", "expires_at"),
        (
            json!({"expires_at": "tomorrow"}),
            "expiry_invalid",
            "expires_at",
        ),
        (
            json!({"expires_at": "2027-01-01T00:00:00Z", "expires_in_days": 1}),
            "expiry_invalid",
            "expires_at",
        ),
        (
            json!({"project_id": globex.project}),
            "unknown_project",
            "project_id",
        ),
        (
            json!({"project_id": "prj_x"}),
            "unknown_project",
            "project_id",
        ),
        (json!({"metadata": {"a": 1}}), "field_invalid", "metadata.a"),
        (
            json!({"metadata": {"a": "x".repeat(4_096)}}),
            "metadata_too_large",
            "metadata",
        ),
    ]
}

#[test]
fn a_field_that_is_wrong_is_named() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    let good = json!({
        "name": "n", "scopes": ["cases:read"], "expires_in_days": null, "expires_at": null,
        "project_id": null, "metadata": null, "description": null,
    });
    let position = world.next_position();
    let cases = wrong_texts().into_iter().chain(wrong_values(&world.globex));
    for (change, code, field) in cases {
        let reply = world.post(&world.acme.admin, &path, &with(&good, &change));
        assert_eq!(reply.refused(422), code, "{change}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{change}");
    }
    for (twice, field) in [
        (r#"{"name":"a","scopes":["cases:read"],"name":"b"}"#, "name"),
        (
            r#"{"name":"a","scopes":["cases:read"],"metadata":{"b":"1","b":"2"}}"#,
            "metadata.b",
        ),
    ] {
        let request = ask("POST", &path).by(&world.acme.admin).json(&good);
        let reply = world.send(request.body(twice));
        assert_eq!(reply.refused(422), "field_invalid");
        let error = json!([{"field": field, "message": "is given more than once"}]);
        assert_eq!(reply.json()["errors"], error);
    }
    assert_eq!(world.next_position(), position);
}
