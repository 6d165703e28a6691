//! "Service accounts: workspace-level machine principals with their own identity and tokens."

use serde_json::json;

use super::{Company, issued, refusal};
use crate::harness::text;

const ACCOUNTS: &str = "/v1/service-accounts";

#[tokio::test]
async fn names_must_be_unique_within_the_workspace_whatever_the_case() {
    let company = Company::open();
    let tess = company.member("tenant_admin").await;
    let named = |name: &str| json!({"name": name, "scopes": ["issues:read"]});
    tess.post(ACCOUNTS, named("Stra\u{df}e")).await.expect(201);
    let same = tess.post(ACCOUNTS, named("STRASSE")).await;
    assert_eq!(refusal(&same, 409), "name_taken");
}

#[tokio::test]
async fn creating_and_managing_service_accounts_requires_the_workspace_admin_scope() {
    let company = Company::open();
    let body = json!({"name": "ci", "scopes": ["issues:read"]});
    for role in ["viewer", "engineer", "workspace_manager"] {
        let person = company.member(role).await;
        let refused = person.post(ACCOUNTS, body.clone()).await;
        assert_eq!(refusal(&refused, 403), "forbidden", "{role}");
        assert_eq!(person.get(ACCOUNTS).await.status, 403, "{role}");
    }
    let tess = company.member("tenant_admin").await;
    tess.post(ACCOUNTS, body).await.expect(201);
}

#[tokio::test]
async fn the_service_account_starts_with_no_tokens_and_tokens_carry_its_scopes_at_issuance() {
    let company = Company::open();
    let tess = company.member("tenant_admin").await;
    let scopes = json!(["issues:read", "patterns:read"]);
    let body = json!({"name": "ci", "description": "Pipelines", "scopes": scopes});
    let account = tess.post(ACCOUNTS, body).await.expect(201);
    let path = format!("{ACCOUNTS}/{}", text(&account, "id"));
    let tokens = format!("{path}/tokens");
    assert_eq!(tess.get(&tokens).await.expect(200), json!([]));
    let (id, _) = issued(&tess.post(&tokens, json!({"name": "deploy"})).await, 201);
    // "Changing the service account's scopes does not update already-issued tokens."
    tess.patch(&path, json!({"scopes": ["issues:write"]}))
        .await
        .expect(200);
    let token = tess.get(&format!("{tokens}/{id}")).await.expect(200);
    assert_eq!(token["scopes"], scopes);
    let late = tess
        .post(&tokens, json!({"name": "late"}))
        .await
        .expect(201);
    assert_eq!(late["key"]["scopes"], json!(["issues:write"]));
}

#[tokio::test]
async fn they_remain_active_even_if_the_user_who_created_them_leaves() {
    let company = Company::open();
    let tess = company.member("tenant_admin").await;
    let body = json!({"name": "ci", "scopes": ["issues:read"]});
    let account = tess.post(ACCOUNTS, body).await.expect(201);
    let tokens = format!("{ACCOUNTS}/{}/tokens", text(&account, "id"));
    let (_, secret) = issued(&tess.post(&tokens, json!({"name": "deploy"})).await, 201);
    let member = company.path(&format!("members/{}", tess.id));
    let request = company.admin.request(reqwest::Method::DELETE, &member);
    crate::harness::send(request).await.unwrap().expect(200);
    assert_eq!(company.admin.verdict(&secret).await, "valid");
}

#[tokio::test]
async fn deleting_an_account_revokes_all_its_tokens_immediately() {
    let company = Company::open();
    let tess = company.member("tenant_admin").await;
    let body = json!({"name": "ci", "scopes": ["issues:read"]});
    let account = tess.post(ACCOUNTS, body).await.expect(201);
    let path = format!("{ACCOUNTS}/{}", text(&account, "id"));
    let tokens = format!("{path}/tokens");
    let mut secrets = Vec::new();
    for name in ["a", "b", "c"] {
        secrets.push(issued(
            &tess.post(&tokens, json!({"name": name})).await,
            201,
        ));
    }
    // "Click Revoke on an individual token entry: the token is invalidated immediately."
    tess.delete(&format!("{tokens}/{}", secrets[0].0))
        .await
        .expect(200);
    assert_eq!(company.admin.verdict(&secrets[0].1).await, "revoked");
    assert_eq!(company.admin.verdict(&secrets[1].1).await, "valid");
    tess.delete(&path).await.expect(200);
    for (_, secret) in &secrets {
        assert_eq!(company.admin.verdict(secret).await, "revoked");
    }
}
