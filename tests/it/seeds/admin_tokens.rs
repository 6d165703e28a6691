//! "API tokens are required to use APIs for security and authentication purposes."

use serde_json::json;

use super::{Company, issued, refusal};
use crate::harness::text;

const TOKENS: &str = "/v1/admin/api-tokens";

#[tokio::test]
async fn tokens_can_be_accessed_and_created_by_administrators() {
    let company = Company::open();
    let body = json!({"name": "Returns app", "scopes": ["cases:read"]});
    for (role, status) in [
        ("viewer", 403),
        ("workspace_manager", 403),
        ("administrator", 201),
    ] {
        let person = company.member(role).await;
        assert_eq!(
            person.post(TOKENS, body.clone()).await.status,
            status,
            "{role}"
        );
    }
}

#[tokio::test]
async fn only_the_required_scopes_are_assigned() {
    let company = Company::open();
    let dora = company.member("administrator").await;
    let body = json!({"name": "Returns app", "scopes": ["cases:read"]});
    let (id, secret) = issued(&dora.post(TOKENS, body).await, 201);
    let asks = |scope: &str| json!({"key": secret, "required_scopes": [scope]});
    let code = async |scope: &str| {
        let verdict = company.post("/v1/verify", asks(scope)).await.expect(200);
        text(&verdict, "code").to_owned()
    };
    assert_eq!(code("cases:read").await, "valid");
    assert_eq!(code("cases:write").await, "insufficient_scope");
    // "If you need to modify the token scope, click Edit and make the required changes."
    let path = format!("{TOKENS}/{id}");
    dora.patch(&path, json!({"scopes": ["cases:write"]}))
        .await
        .expect(200);
    assert_eq!(code("cases:write").await, "valid");
    assert_eq!(code("cases:read").await, "insufficient_scope");
}

#[tokio::test]
async fn generate_a_new_token_then_remove_the_old_token() {
    let company = Company::open();
    let dora = company.member("administrator").await;
    let body = json!({"name": "Returns app", "scopes": ["cases:read"]});
    let (old, first) = issued(&dora.post(TOKENS, body).await, 201);
    let replace = format!("{TOKENS}/{old}/replace");
    let (new, second) = issued(&dora.post(&replace, json!({})).await, 201);
    for secret in [&first, &second] {
        assert_eq!(company.admin.verdict(secret).await, "valid");
    }
    let before = dora.get(&format!("{TOKENS}/{old}")).await.expect(200);
    let after = dora.get(&format!("{TOKENS}/{new}")).await.expect(200);
    assert_eq!(
        (text(&before, "replaced_by"), text(&after, "replaces")),
        (&*new, &*old)
    );
    assert_eq!(
        (&before["name"], &before["scopes"]),
        (&after["name"], &after["scopes"])
    );
    assert!(before.get("last_used_at").is_some());
    // "If a token is accidentally shared, click Remove Token to revoke it."
    dora.delete(&format!("{TOKENS}/{old}")).await.expect(200);
    assert_eq!(company.admin.verdict(&first).await, "revoked");
    assert_eq!(company.admin.verdict(&second).await, "valid");
    assert_eq!(
        refusal(&dora.post(&replace, json!({})).await, 409),
        "credential_ended"
    );
}

#[tokio::test]
async fn audit_token_usage_regularly() {
    let company = Company::open();
    let dora = company.member("administrator").await;
    let body = json!({"name": "forgotten", "scopes": ["cases:read"]});
    let (id, _) = issued(&dora.post(TOKENS, body).await, 201);
    let review = format!("{TOKENS}/review?unused_days=90");
    let review = dora.get(&review).await.expect(200);
    assert_eq!(review[0]["key"]["id"], id);
    let states = review[0]["findings"].as_array().unwrap().iter();
    let states: Vec<_> = states
        .map(|one| (text(one, "finding"), text(one, "state")))
        .collect();
    assert_eq!(
        states,
        [
            ("without_expiry", "found"),
            ("never_used", "found"),
            ("not_used_for_days", "not_found"),
            ("scopes_never_exercised", "found"),
        ]
    );
}
