//! What refusals say: the rule, the allowed values, what may have been meant.

use serde_json::{Value, json};

use crate::api::tests::{World, ask, with};

#[test]
fn a_refused_body_says_the_rule_of_its_field() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    let good = json!({"name": "n", "scopes": ["cases:read"], "expires_in_days": null,
        "expires_at": null, "metadata": null, "description": null});
    let days = "must be a whole number from 1 to 3650";
    for (change, message) in [
        (json!({"expires_in_days": "x"}), days),
        (json!({"expires_in_days": -1}), days),
        (json!({"expires_in_days": 1.5}), days),
        (json!({"expires_in_days": 0}), days),
        (json!({"expires_in_days": 3_651}), days),
        (json!({"expires_in_days": true}), days),
        (
            json!({"scopes": "cases:read"}),
            "must be an array of strings",
        ),
        (json!({"name": 7}), "must be a string"),
        (json!({"name": ["n"]}), "must be a string"),
        (
            json!({"metadata": "x"}),
            "must be an object whose values are strings",
        ),
        (json!({"metadata": {"a": 1}}), "must be a string"),
        (json!({"expires_at": 7}), "must be a string"),
    ] {
        let reply = world.post(&world.acme.admin, &path, &with(&good, &change));
        assert_eq!(reply.status, 422, "{change}");
        assert_eq!(reply.json()["errors"][0]["message"], message, "{change}");
    }
    let reply = world.post(
        &world.acme.admin,
        &path,
        &json!({"nmae": "n", "scopes": []}),
    );
    let said = "nmae: is unknown; did you mean name?";
    assert!(reply.text.contains(said), "{}", reply.text);
}

#[test]
fn what_is_unknown_is_answered_with_what_is_known() {
    let world = World::new();
    let acme = &world.acme;
    let key = |scope: &str| {
        let body = json!({"name": "n", "scopes": [scope]});
        world.post(&acme.admin, &format!("{}/api-keys", acme.path), &body)
    };
    let detail =
        |reply: &crate::api::tests::Reply| reply.json()["detail"].as_str().unwrap().to_owned();
    let said = detail(&key("project:read"));
    assert!(said.contains("did you mean \"projects:read\"?"), "{said}");
    let said = detail(&key("nonsense"));
    assert!(!said.contains("did you mean"), "{said}");
    assert!(said.contains("/v1/api-tokens/scopes"), "{said}");
    let access = format!("/v1/workspaces/{}/access-tokens", acme.id);
    let said = detail(&world.post(
        &acme.admin,
        &access,
        &json!({"label": "l", "role": "reader"}),
    ));
    assert!(said.contains("one of: viewer, team_member"), "{said}");
    let project = format!("/v1/projects/{}/api-tokens", acme.project);
    let body = json!({"label": "l", "scope": "readonly"});
    let said = detail(&world.post(&acme.admin, &project, &body));
    assert!(said.contains("one of: status, read-only, admin"), "{said}");
    for (query, words) in [
        (
            "status=gone",
            "must be one of: active, disabled, expired, revoked",
        ),
        (
            "kind=x",
            "must be one of: organization, personal, service_account, access",
        ),
        ("limit=0", "must be a whole number from 1 to 200"),
        ("limit=x", "must be a whole number"),
        ("limit=1&limit=2", "limit: is given more than once"),
        ("stauts=active", "did you mean status?"),
        ("project_id=x", "must be an id of the form prj_"),
    ] {
        let reply = world.get(&acme.admin, &format!("{}/api-keys?{query}", acme.path));
        assert_eq!(reply.status, 400);
        let said = detail(&reply);
        assert!(said.contains(words), "{query}: {said}");
    }
}

#[test]
fn a_refused_caller_is_told_how_to_come() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    for value in [None, Some("Token abc"), Some("abc")] {
        let request = ask("GET", &path);
        let request = match value {
            Some(value) => request.with("authorization", value),
            None => request,
        };
        let reply = world.send(request);
        assert_eq!(reply.refused(401), "credential_missing");
        let said = reply.json()["detail"].clone();
        assert!(said.as_str().unwrap().contains("Bearer <token>"), "{said}");
    }
    let own = world.get(&world.acme.admin, "/v1/api-tokens");
    assert_eq!(own.refused(403), "forbidden");
    assert!(own.text.contains("that member's session"), "{}", own.text);
    let twice = ask("GET", &path)
        .by(&world.acme.admin)
        .by(&world.acme.admin);
    let twice = world.send(twice).json();
    assert_eq!(
        twice["detail"],
        "the header authorization is given more than once"
    );
    let broken = ask("POST", &path).by(&world.acme.admin).json(&Value::Null);
    let broken = world.send(broken.body("{\"name\": }"));
    assert_eq!(broken.refused(400), "not_json");
    let said = "the body is not valid JSON: expected value at line 1 column 10";
    assert_eq!(broken.json()["detail"], said);
}
