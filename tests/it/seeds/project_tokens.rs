//! "Project tokens allow you to read/write information for specific projects."

use serde_json::json;

use super::{Company, issued, refusal};
use crate::harness::text;

#[tokio::test]
async fn project_tokens_have_three_scope_options() {
    let company = Company::open();
    let project = company.project("Website").await;
    let tokens = format!("/v1/projects/{project}/api-tokens");
    for (scope, can) in [
        // "Status tokens grant read access to the project's build statuses."
        ("status", [true, false, false]),
        // "Read Only tokens grant read only access to the project's API."
        ("read-only", [true, true, false]),
        // "Admin tokens grant read and write access for the project's API."
        ("admin", [true, true, true]),
    ] {
        let body = json!({"label": scope, "scope": scope});
        let (_, secret) = issued(&company.post(&tokens, body).await, 201);
        for (required, can) in ["projects:status", "projects:read", "projects:write"]
            .into_iter()
            .zip(can)
        {
            let asks = json!({"key": secret, "required_scopes": [required], "project_id": project});
            let verdict = company.post("/v1/verify", asks).await.expect(200);
            assert_eq!(verdict["valid"], can, "{scope} {required}");
        }
    }
    let other = json!({"label": "x", "scope": "write"});
    assert_eq!(
        refusal(&company.post(&tokens, other).await, 422),
        "unknown_preset"
    );
}

#[tokio::test]
async fn api_tokens_cannot_be_modified_after_they_have_been_created() {
    let company = Company::open();
    let project = company.project("Website").await;
    let tokens = format!("/v1/projects/{project}/api-tokens");
    let body = json!({"label": "badge", "scope": "status"});
    let (id, _) = issued(&company.post(&tokens, body).await, 201);
    let path = format!("{tokens}/{id}");
    let request = company.admin.request(reqwest::Method::PATCH, &path);
    let reply = crate::harness::send(request.json(&json!({"label": "y"})))
        .await
        .unwrap();
    assert_eq!(refusal(&reply, 405), "method_not_allowed");
    assert_eq!(reply.headers["allow"], "GET,HEAD,DELETE");
    let shown = company.admin.get(&path).await.unwrap().expect(200);
    assert_eq!(
        (&shown["version"], &shown["label"]),
        (&json!(1), &json!("badge"))
    );
}

#[tokio::test]
async fn token_rotation_occurs_when_an_old_token_is_replaced_with_a_new_one() {
    let company = Company::open();
    let project = company.project("Website").await;
    let tokens = format!("/v1/projects/{project}/api-tokens");
    let body = json!({"label": "badge", "scope": "status"});
    let (old, first) = issued(&company.post(&tokens, body).await, 201);
    let replaced = company
        .post(&format!("{tokens}/{old}/replace"), json!({}))
        .await;
    let (new, second) = issued(&replaced, 201);
    let shown = async |id: &str| {
        let path = format!("{tokens}/{id}");
        company.admin.get(&path).await.unwrap().expect(200)
    };
    let (before, after) = (shown(&old).await, shown(&new).await);
    // "Choose the same scope used for the old token. It can be the same name."
    assert_eq!(
        (&before["scope"], &before["label"]),
        (&after["scope"], &after["label"])
    );
    assert_eq!(
        (&before["status"], &after["status"]),
        (&json!("revoked"), &json!("active"))
    );
    let asks = |secret: &str| json!({"key": secret, "project_id": project});
    let code = async |secret: &str| {
        let verdict = company.post("/v1/verify", asks(secret)).await.expect(200);
        text(&verdict, "code").to_owned()
    };
    assert_eq!(
        (code(&first).await, code(&second).await),
        ("revoked".into(), "valid".into())
    );
}

#[tokio::test]
async fn a_project_token_works_on_no_other_project() {
    let company = Company::open();
    let (website, shop) = (
        company.project("Website").await,
        company.project("Shop").await,
    );
    let tokens = |project: &str| format!("/v1/projects/{project}/api-tokens");
    let body = json!({"label": "deploy", "scope": "admin"});
    let (_, secret) = issued(&company.post(&tokens(&website), body.clone()).await, 201);
    let asks = json!({"key": secret, "project_id": shop});
    let verdict = company.post("/v1/verify", asks).await.expect(200);
    assert_eq!(verdict["code"], "wrong_project");
    let by_token = company.admin.with_key(&secret);
    by_token.get(&tokens(&website)).await.unwrap().expect(200);
    let elsewhere = by_token.post(&tokens(&shop), &body).await.unwrap();
    assert_eq!(refusal(&elsewhere, 403), "wrong_project");
}

#[tokio::test]
async fn personal_tokens_grant_full_read_and_write_permissions() {
    let company = Company::open();
    let ada = company.member("engineer").await;
    let body = json!({"name": "all", "scopes": ["*"]});
    let (_, secret) = issued(&ada.post("/v1/api-tokens", body).await, 201);
    for (scope, code) in [
        ("projects:write", "valid"),
        ("member:manage", "insufficient_scope"),
    ] {
        let asks = json!({"key": secret, "required_scopes": [scope]});
        let verdict = company.post("/v1/verify", asks).await.expect(200);
        assert_eq!(verdict["code"], code, "{scope}");
    }
}
