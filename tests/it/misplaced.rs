//! Requests with a secret in every place where none belongs: ids, filters, headers, bodies.

use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, HeaderName, IF_MATCH};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::harness::Api;

/// Requests with the secret where an id, a filter or a header's value should stand.
pub(crate) fn misplaced(
    api: &Api,
    method: &Method,
    template: &str,
    path: &str,
    secret: &str,
) -> Vec<(&'static str, RequestBuilder)> {
    let request = |path: &str| api.request(method.clone(), path);
    let header = |name: &'static str| request(path).header(HeaderName::from_static(name), secret);
    let mut ids = BTreeMap::new();
    for id in [
        "organization_id",
        "key_id",
        "member_id",
        "project_id",
        "sa_id",
        "session_id",
        "token",
        "workspace_id",
        "home_project",
        "account",
        "tok_id",
        "personal",
        "access",
        "admin",
        "of_project",
        "endpoint_id",
        "delivery_id",
        "event_id",
        "tile",
    ] {
        ids.insert(id, secret.to_owned());
    }
    vec![
        ("ids", request(&filled(template, &ids))),
        ("filter", request(&format!("{path}?q={secret}"))),
        ("cursor", request(&format!("{path}?cursor={secret}"))),
        ("limit", request(&format!("{path}?limit={secret}"))),
        ("types", request(&format!("{path}?types={secret}"))),
        ("status", request(&format!("{path}?status={secret}"))),
        ("type", request(&format!("{path}?type={secret}"))),
        ("outcome", request(&format!("{path}?outcome={secret}"))),
        ("subject", request(&format!("{path}?subject={secret}"))),
        ("actor", request(&format!("{path}?actor={secret}"))),
        ("scope", request(&format!("{path}?scope={secret}"))),
        ("moment", request(&format!("{path}?as_of={secret}"))),
        (
            "span",
            request(&format!("{path}?from={secret}&to={secret}")),
        ),
        ("size", request(&format!("{path}?size={secret}"))),
        ("proofs", request(&format!("{path}?with_proofs={secret}"))),
        (
            "tenant",
            request(&format!(
                "{path}?organization_id={secret}&project_id={secret}"
            )),
        ),
        (
            "unknown filter",
            request(&format!("{path}?{secret}={secret}")),
        ),
        ("version", request(path).header(IF_MATCH, secret)),
        ("request id", header("x-request-id")),
        ("command", header("idempotency-key")),
        ("position", header("ledger-min-position")),
        (
            "media type",
            request(path).header(CONTENT_TYPE, secret).body("{}"),
        ),
        ("another page", request(&format!("/{secret}"))),
    ]
}

/// Bodies with the secret where it does not belong.
pub(crate) fn wrong_bodies(secret: &str) -> Vec<String> {
    let mut bodies = vec![
        String::new(),
        "{}".to_owned(),
        secret.to_owned(),
        format!("{{\"key\": \"{secret}"),
        json!(secret).to_string(),
        json!([secret]).to_string(),
        json!({secret: 1}).to_string(),
    ];
    for field in [
        "key",
        "keys",
        "name",
        "scopes",
        "role",
        "email",
        "reason",
        "project_id",
        "url",
        "event_types",
        "secret",
        "type",
        "types",
        "from",
    ] {
        bodies.push(json!({field: [secret]}).to_string());
        bodies.push(json!({field: {secret: secret}}).to_string());
    }
    for field in [
        "keys",
        "scopes",
        "required_scopes",
        "metadata",
        "is_active",
        "archived",
        "ordered",
        "event_types",
        "overlap_seconds",
    ] {
        bodies.push(json!({"name": "x", "key": "x", field: secret}).to_string());
    }
    for field in [
        "role",
        "project_id",
        "expires_at",
        "expires_in_days",
        "token_prefix",
    ] {
        let scopes = ["projects:read"];
        bodies.push(json!({"name": "x", "scopes": scopes, field: secret}).to_string());
        bodies.push(json!({"name": "x", field: secret}).to_string());
        bodies.push(json!({"email": "x@example.com", field: secret}).to_string());
        bodies.push(json!({field: secret}).to_string());
    }
    bodies.push(json!({"name": "x", "scopes": [secret]}).to_string());
    bodies.push(json!({"scopes": [secret]}).to_string());
    for field in ["type", "from", "to", "dry_run"] {
        bodies.push(json!({"from": 0, field: secret}).to_string());
        bodies.push(json!({field: secret}).to_string());
    }
    bodies.push(json!({"from": 0, "types": [secret]}).to_string());
    bodies.push(json!({"grace_period_seconds": secret}).to_string());
    bodies
}

/// A path of the document with ids in its places.
pub(crate) fn filled(template: &str, ids: &BTreeMap<&str, String>) -> String {
    let surfaces = [
        ("/v1/api-tokens", "personal"),
        ("/v1/service-accounts", "account"),
        ("/v1/workspaces", "access"),
        ("/v1/admin", "admin"),
        ("/v1/projects", "of_project"),
    ];
    let mut path = template.replace("/v1/projects/{project_id}", "/v1/projects/{home_project}");
    for (surface, id) in surfaces {
        if template.starts_with(surface) {
            path = path.replace("{id}", &format!("{{{id}}}"));
        }
    }
    for (name, id) in ids {
        path = path.replace(&format!("{{{name}}}"), id);
    }
    assert!(!path.contains('{'), "{path}");
    path
}
