//! "Personal API tokens: scoped tokens tied to your user account."

use serde_json::json;

use super::{Company, issued, refusal};

const TOKENS: &str = "/v1/api-tokens";

#[tokio::test]
async fn names_must_be_unique_within_your_account() {
    let company = Company::open();
    let (ada, ben) = (
        company.member("engineer").await,
        company.member("viewer").await,
    );
    let body = json!({"name": "local-dev", "scopes": ["issues:read"]});
    issued(&ada.post(TOKENS, body.clone()).await, 201);
    assert_eq!(
        refusal(&ada.post(TOKENS, body.clone()).await, 409),
        "name_taken"
    );
    issued(&ben.post(TOKENS, body).await, 201);
}

#[tokio::test]
async fn the_token_secret_is_shown_once_immediately_after_creation() {
    let company = Company::open();
    let ada = company.member("engineer").await;
    let body = json!({"name": "grafana-integration", "scopes": ["issues:read"]});
    let (id, secret) = issued(&ada.post(TOKENS, body).await, 201);
    for path in [
        TOKENS.to_owned(),
        format!("{TOKENS}/{id}"),
        format!("{TOKENS}/{id}/events"),
    ] {
        let shown = ada.get(&path).await;
        shown.expect(200);
        assert!(!shown.text.contains(&secret[secret.len() - 72..]), "{path}");
    }
}

#[tokio::test]
async fn tokens_are_long_lived_by_default() {
    let company = Company::open();
    let ada = company.member("engineer").await;
    let lasting = json!({"name": "a", "scopes": ["issues:read"]});
    let dated = json!({"name": "b", "scopes": ["issues:read"], "expires_in_days": 7});
    assert!(ada.post(TOKENS, lasting).await.expect(201)["key"]["expires_at"].is_null());
    assert!(ada.post(TOKENS, dated).await.expect(201)["key"]["expires_at"].is_string());
}

#[tokio::test]
async fn rotating_a_token_invalidates_the_old_secret_immediately() {
    let company = Company::open();
    let ada = company.member("engineer").await;
    let body = json!({"name": "ci", "scopes": ["issues:read"]});
    let (id, old) = issued(&ada.post(TOKENS, body).await, 201);
    let rolled = ada.post(&format!("{TOKENS}/{id}/roll"), json!({})).await;
    let (same, new) = issued(&rolled, 200);
    assert_eq!(same, id);
    assert_eq!(company.admin.verdict(&old).await, "rotated");
    assert_eq!(company.admin.verdict(&new).await, "valid");
}

#[tokio::test]
async fn a_revoked_token_is_invalid_immediately_and_cannot_be_re_activated() {
    let company = Company::open();
    let ada = company.member("engineer").await;
    let body = json!({"name": "ci", "scopes": ["issues:read"]});
    let (id, secret) = issued(&ada.post(TOKENS, body).await, 201);
    let by_token = company.admin.with_key(&secret);
    by_token.get(TOKENS).await.unwrap().expect(200);
    let path = format!("{TOKENS}/{id}");
    assert_eq!(ada.delete(&path).await.expect(200)["status"], "revoked");
    let later = by_token.get(TOKENS).await.unwrap();
    assert_eq!(refusal(&later, 401), "credential_not_accepted");
    let roll = ada.post(&format!("{path}/roll"), json!({})).await;
    assert_eq!(refusal(&roll, 409), "credential_ended");
    assert_eq!(ada.get(&path).await.expect(200)["status"], "revoked");
}

#[tokio::test]
async fn you_can_retrieve_the_current_scope_catalogue() {
    let company = Company::open();
    let ada = company.member("viewer").await;
    let scopes = ada.get("/v1/api-tokens/scopes").await.expect(200);
    for (name, description) in [
        ("issues:read", "Read issues and their analysis"),
        ("issues:write", "Create and update issues"),
        ("patterns:read", "Read patterns"),
        ("patterns:write", "Write patterns"),
        ("predictions:read", "Read predictions"),
        ("predictions:write", "Write predictions"),
        ("recommendations:read", "Read recommendations"),
        ("recommendations:write", "Write recommendations"),
    ] {
        let scope = json!({"name": name, "description": description});
        assert!(scopes.as_array().unwrap().contains(&scope), "{name}");
    }
}

#[tokio::test]
async fn personal_tokens_act_on_your_behalf_and_end_with_your_membership() {
    let company = Company::open();
    let ada = company.member("engineer").await;
    let body = json!({"name": "all of it", "scopes": ["*"]});
    let (_, secret) = issued(&ada.post(TOKENS, body).await, 201);
    assert_eq!(company.admin.verdict(&secret).await, "valid");
    let member = company.path(&format!("members/{}", ada.id));
    let request = company.admin.request(reqwest::Method::DELETE, &member);
    crate::harness::send(request).await.unwrap().expect(200);
    assert_eq!(company.admin.verdict(&secret).await, "revoked");
    assert_eq!(ada.get("/v1/me").await.status, 401);
}
