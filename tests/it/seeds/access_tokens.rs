//! "Access Tokens allow secure programmatic access to the platform's APIs."

use serde_json::{Value, json};

use super::{Company, Person, issued, refusal};
use crate::harness::text;

fn tokens(company: &Company) -> String {
    format!("/v1/workspaces/{}/access-tokens", company.organization)
}

/// What a person gets for each thing there is to do, in order: view, create, edit, disable, enable,
/// delete.
async fn tries(company: &Company, person: &Person) -> String {
    let base = tokens(company);
    let body = json!({"label": "CI Runner", "role": "viewer"});
    let made = company.post(&base, body.clone()).await.expect(201);
    let path = format!("{base}/{}", text(&made["key"], "id"));
    let replies = [
        person.get(&path).await,
        person.post(&base, body).await,
        person.patch(&path, json!({"label": "Zapier Sync"})).await,
        person.post(&format!("{path}/disable"), json!({})).await,
        person.post(&format!("{path}/enable"), json!({})).await,
        person.delete(&path).await,
    ];
    let allowed = replies.iter().map(|reply| match reply.status {
        200 | 201 => '+',
        403 => '-',
        _ => '?',
    });
    allowed.collect()
}

#[tokio::test]
async fn access_to_access_token_management_features_depends_on_your_role() {
    let company = Company::open();
    for (role, expected) in [
        // "Workspace Owner: Full access to all features"
        ("owner", "++++++"),
        // "Administrator: Can create, edit, disable, enable, and delete tokens"
        ("administrator", "++++++"),
        // "Workspace Manager: Can create and edit tokens"
        ("workspace_manager", "+++---"),
        // "Team Member: Can view tokens (read-only)"
        ("team_member", "+-----"),
        // "Viewer: Read-only access"
        ("viewer", "+-----"),
    ] {
        let person = company.member(role).await;
        assert_eq!(tries(&company, &person).await, expected, "{role}");
    }
}

#[tokio::test]
async fn each_token_has_the_properties_of_the_page() {
    let company = Company::open();
    let wim = company.member("workspace_manager").await;
    let body = json!({"label": "Zapier Sync", "role": "team_member"});
    let made = wim.post(&tokens(&company), body).await.expect(201);
    let (key, raw) = (&made["key"], text(&made, "raw_key"));
    // "Token ID: Unique identifier (email_id format)"
    let ulid = text(key, "id").strip_prefix("key_").unwrap();
    assert_eq!(
        key["token_id"],
        format!("workspace_manager@acme.example_{ulid}")
    );
    // "Tokens are partially masked for security (only first 10 characters shown)"
    assert_eq!(key["token"], format!("{}..........", &raw[..10]));
    // "Expires: when the token expires (or "Not specified" if no expiry)"
    assert_eq!(key["expires_at"], Value::Null);
    assert_eq!(
        (&key["label"], &key["role"]),
        (&json!("Zapier Sync"), &json!("team_member"))
    );
    assert_eq!(
        (&key["status"], &key["last_used_at"]),
        (&json!("active"), &Value::Null)
    );
    assert!(key["created_at"].is_string());
}

#[tokio::test]
async fn access_tokens_do_not_grant_access_to_the_ui() {
    let company = Company::open();
    let body = json!({"label": "CI Runner", "role": "owner"});
    let owner = company.member("owner").await;
    let (_, secret) = issued(&owner.post(&tokens(&company), body).await, 201);
    let by_token = company.admin.with_key(&secret);
    // It reads the API, and is no member in person.
    by_token
        .get(&company.path("members"))
        .await
        .unwrap()
        .expect(200);
    let me = by_token.get("/v1/me").await.unwrap();
    assert!(me.expect(200)["session"].is_null());
    let refused = by_token.get("/v1/me/sessions").await.unwrap();
    assert_eq!(refusal(&refused, 403), "session_required");
    let signed_in = by_token.bare(reqwest::Method::POST, "/v1/sessions");
    let signed_in = signed_in.json(&json!({"sign_in_token": secret}));
    let refused = crate::harness::send(signed_in).await.unwrap();
    assert_eq!(refusal(&refused, 401), "sign_in_refused");
}

#[tokio::test]
async fn each_access_token_is_assigned_a_scope_that_determines_its_permissions() {
    let company = Company::open();
    let base = tokens(&company);
    let write = company.path("projects");
    for (role, allowed) in [("viewer", false), ("administrator", true)] {
        let body = json!({"label": role, "role": role});
        let (_, secret) = issued(&company.post(&base, body).await, 201);
        let by_token = company.admin.with_key(&secret);
        by_token.get(&write).await.unwrap().expect(200);
        let made = by_token.post(&write, &json!({"name": "x"})).await.unwrap();
        assert_eq!(made.status == 201, allowed, "{role}: {}", made.text);
    }
}
