//! "Programmatic management of credentials": the platform's API keys and service accounts.

use serde_json::{Value, json};

use super::{Company, issued, refusal};
use crate::harness::text;

#[tokio::test]
async fn the_full_value_appears_only_once_in_this_response() {
    let company = Company::open();
    let project = company.project("SOC").await;
    let keys = company.path("api-keys");
    let body = json!({
        "name": "CI pipeline", "description": "SOC deploy pipeline",
        "scopes": ["analysis:run", "projects:read", "cases:write"],
        "expires_in_days": 365, "project_id": project,
    });
    let made = company.post(&keys, body).await.expect(201);
    let (key, raw) = (&made["key"], text(&made, "raw_key"));
    assert_eq!(text(key, "key_prefix"), &raw[..12]);
    for (field, value) in [
        ("name", json!("CI pipeline")),
        ("description", json!("SOC deploy pipeline")),
        ("organization_id", json!(company.organization)),
        ("project_id", json!(project)),
        (
            "scopes",
            json!(["analysis:run", "projects:read", "cases:write"]),
        ),
        ("is_active", json!(true)),
        ("last_used_at", Value::Null),
    ] {
        assert_eq!(key[field], value, "{field}");
    }
    for field in ["expires_at", "created_by", "created_at", "updated_at"] {
        assert!(key[field].is_string(), "{field}");
    }
    let list = company.admin.get(&keys).await.unwrap();
    assert!(list.expect(200).is_array() && !list.text.contains("raw_key"));
}

#[tokio::test]
async fn unknown_scopes_are_422() {
    let company = Company::open();
    let body = json!({"name": "x", "scopes": ["cases:read", "cases:fly"]});
    let refused = company.post(&company.path("api-keys"), body).await;
    assert_eq!(refusal(&refused, 422), "unknown_scope");
}

#[tokio::test]
async fn reading_takes_any_members_session_and_writing_member_manage() {
    let company = Company::open();
    let keys = company.path("api-keys");
    let body = json!({"name": "x", "scopes": ["cases:read"]});
    for (role, status) in [("viewer", 403), ("engineer", 403), ("administrator", 201)] {
        let person = company.member(role).await;
        person.get(&keys).await.expect(200);
        person
            .get(&company.path("service-accounts"))
            .await
            .expect(200);
        assert_eq!(
            person.post(&keys, body.clone()).await.status,
            status,
            "{role}"
        );
    }
}

#[tokio::test]
async fn revoking_is_immediate_and_irreversible() {
    let company = Company::open();
    let keys = company.path("api-keys");
    let body = json!({"name": "x", "scopes": ["cases:read"]});
    let (id, secret) = issued(&company.post(&keys, body).await, 201);
    let path = format!("{keys}/{id}");
    let reason = json!({"reason": "Manually rotated after leak"});
    let revoked = company
        .post(&format!("{path}/revoke"), reason)
        .await
        .expect(200);
    assert_eq!(revoked["is_active"], false);
    assert_eq!(company.admin.verdict(&secret).await, "revoked");
    for action in ["enable", "rotate"] {
        let refused = company.post(&format!("{path}/{action}"), json!({})).await;
        assert_eq!(refusal(&refused, 409), "credential_ended");
    }
}

#[tokio::test]
async fn rotating_keeps_id_and_scopes_and_gives_a_new_value() {
    let company = Company::open();
    let keys = company.path("api-keys");
    let body = json!({"name": "x", "scopes": ["cases:read"]});
    let (id, old) = issued(&company.post(&keys, body).await, 201);
    let rotated = company
        .post(&format!("{keys}/{id}/rotate"), json!({}))
        .await;
    let (same, new) = issued(&rotated, 200);
    assert_eq!(
        (same, rotated.json()["key"]["scopes"].clone()),
        (id, json!(["cases:read"]))
    );
    assert_eq!(company.admin.verdict(&old).await, "rotated");
    assert_eq!(company.admin.verdict(&new).await, "valid");
}

#[tokio::test]
async fn an_inactive_service_accounts_tokens_are_refused() {
    let company = Company::open();
    let accounts = company.path("service-accounts");
    let body = json!({"name": "Deploy Bot", "role": "engineer"});
    let account = company.post(&accounts, body).await.expect(201);
    assert_eq!(account["slug"], "deploy-bot");
    let id = text(&account, "id");
    let tokens = format!("/v1/service-accounts/{id}/tokens");
    let (_, secret) = issued(&company.post(&tokens, json!({"name": "t"})).await, 201);
    let path = format!("{accounts}/{id}");
    for (active, code) in [(false, "owner_inactive"), (true, "valid")] {
        let request = company.admin.request(reqwest::Method::PATCH, &path);
        let body = json!({"is_active": active, "name": "Renamed"});
        let changed = crate::harness::send(request.json(&body))
            .await
            .unwrap()
            .expect(200);
        assert_eq!(
            (&changed["is_active"], &changed["slug"]),
            (&json!(active), &json!("deploy-bot"))
        );
        assert_eq!(company.admin.verdict(&secret).await, code);
    }
}
