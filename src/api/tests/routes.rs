//! Every route of the OpenAPI document, with paths and bodies that are right.

use serde_json::{Value, json};

use crate::api::tests::Tenant;

/// Methods and path templates, as documented.
pub(super) fn documented() -> Vec<(String, String)> {
    let document = serde_json::to_value(crate::api::document()).unwrap();
    let mut routes = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let known = ["get", "post", "patch", "put", "delete"];
            assert!(known.contains(&method.as_str()), "{method} {template}");
            routes.push((method.to_uppercase(), template.clone()));
        }
    }
    assert!(routes.len() > 25, "{routes:?}");
    routes
}

/// The path of a record of `rest` in the organization of `place`.
pub(super) fn filled(template: &str, place: &Tenant, rest: &Tenant) -> String {
    let [personal, of_account, access, admin, of_project] = &rest.tokens;
    let id = match template.get(..10) {
        Some("/v1/api-to") => personal,
        Some("/v1/worksp") => access,
        Some("/v1/admin/") => admin,
        Some("/v1/projec") => of_project,
        _ => &rest.account,
    };
    let path = template
        .replace("{organization_id}", &place.id)
        .replace("{workspace_id}", &place.id)
        .replace("{id}", id)
        .replace("{tok_id}", of_account)
        .replace("{key_id}", &rest.key)
        .replace("{sa_id}", &rest.account)
        .replace("{member_id}", &rest.owner)
        .replace("{session_id}", "ses_01KQ01SD60AADFP7C33DS9A67N")
        .replace("{token}", &"0".repeat(64))
        .replace("{project_id}", &rest.project)
        .replace("{endpoint_id}", &rest.endpoint)
        .replace("{event_id}", &rest.event)
        .replace("{tile}", "0/000.p/1")
        .replace("{delivery_id}", "dlv_01KQ01SD60AADFP7C33DS9A67N");
    assert!(!path.contains('{'), "{path}");
    path
}

/// The media type of its bodies.
pub(super) fn kind(template: &str) -> &'static str {
    match template {
        "/v1/usage" => "application/x-ndjson",
        _ => "application/json",
    }
}

/// A body that the route takes, where it takes one.
pub(super) fn body(method: &str, template: &str) -> Option<Value> {
    let last = template.rsplit('/').next().unwrap_or_default();
    match (method, last) {
        ("POST", "organizations") => Some(json!({"name": "n", "owner_email": "a@b.example"})),
        ("POST", "api-tokens") if template.starts_with("/v1/projects") => {
            Some(json!({"label": "n", "scope": "status"}))
        }
        ("POST", "access-tokens") => Some(json!({"label": "n", "role": "viewer"})),
        ("POST", "service-accounts") if template.starts_with("/v1") => {
            Some(json!({"name": "w", "scopes": ["cases:read"]}))
        }
        ("POST", "api-tokens") => Some(json!({"name": "n", "scopes": ["cases:read"]})),
        ("POST", "tokens") => Some(json!({"name": "n"})),
        ("POST", "api-keys") => Some(json!({"name": "n", "scopes": ["cases:read"]})),
        ("POST", "service-accounts") => Some(json!({"name": "n", "role": "viewer"})),
        ("POST", "members") => Some(json!({"email": "a@b.example", "role": "viewer"})),
        ("POST", "projects") => Some(json!({"name": "n"})),
        ("POST", "sessions") => Some(json!({"sign_in_token": "0"})),
        ("POST", "sign-in-link") => Some(json!({})),
        ("POST", "erase") => Some(json!({"reason": "n"})),
        ("PUT", "password") => Some(json!({"password": "correct horse"})),
        ("POST", "usage") => Some(json!({"key_id": "key_0", "endpoint": "/"})),
        // Forms, which these bodies are not: their own tests send them.
        ("POST", "introspect") => Some(json!({})),
        ("POST", "revoke") if template.starts_with("/oauth2") => Some(json!({})),
        ("POST", "verify") => Some(json!({"key": "x"})),
        ("POST", "batch") => Some(json!({"keys": [{"key": "x"}]})),
        ("POST", "webhook-endpoints") => {
            Some(json!({"url": "https://hooks.example/b", "event_types": ["api_key.*"]}))
        }
        ("POST", "rotate-secret") => Some(json!({"overlap_seconds": 60})),
        ("PATCH", "{endpoint_id}") => Some(json!({"ordered": true})),
        ("POST", "ping" | "redeliver" | "checkpoints") => Some(json!({})),
        ("POST", "example") => Some(json!({"type": "api_key.created"})),
        ("POST", "replay") => Some(json!({"from": 0, "dry_run": true})),
        ("POST", "revoke" | "rotate" | "roll" | "replace" | "disable" | "enable") => {
            Some(json!({}))
        }
        ("PATCH", "{id}") if template.starts_with("/v1/workspaces") => Some(json!({"label": "n"})),
        ("PATCH", "{id}") if template.starts_with("/v1/service-accounts") => {
            Some(json!({"description": "n"}))
        }
        ("PATCH", "{member_id}") => Some(json!({"role": "viewer"})),
        ("PATCH", _) => Some(json!({"name": "n"})),
        ("GET" | "DELETE", _) => None,
        _ => panic!("{method} {template}"),
    }
}
