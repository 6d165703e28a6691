//! Verification: every code with its whole answer, and what a wrong body gets.

use serde_json::{Value, json};
use ulid::Ulid;

use crate::api::tests::{World, text, with};
use crate::domain::ids::SecretId;
use crate::domain::kind::Kind;
use crate::domain::secret::Token;

/// The answer of a verification that Acme's verifier asks for.
fn verify(world: &World, body: &Value) -> Value {
    let reply = world.post(&world.acme.admin, "/v1/verify", body);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.expect(200)
}

/// The whole answer about a key that is no good for a reason that leaves nothing to tell.
fn unknown(world: &World, code: &str) -> Value {
    json!({
        "valid": false, "code": code, "position": world.next_position() - 1, "valid_until": null,
        "key": null,
    })
}

/// A key with everything set, and what verification tells of it.
fn sample(world: &World) -> (String, String, Value) {
    let body = json!({
        "name": "CI", "scopes": ["cases:read", "analysis:run"], "expires_in_days": 1,
        "metadata": {"team": "SOC"},
    });
    let path = format!("{}/api-keys", world.acme.path);
    let made = world.post(&world.acme.admin, &path, &body).expect(201);
    let id = text(&made["key"]["id"]);
    let shown = json!({
        "id": id, "kind": "organization", "organization_id": world.acme.id, "project_id": null,
        "name": "CI", "scopes": ["cases:read", "analysis:run"], "role": null,
        "owner": {"type": "organization", "id": world.acme.id},
        "secret_id": made["key"]["secrets"][0]["id"], "expires_at": "2026-04-25T15:30:00.000Z",
        "metadata": {"team": "SOC"},
    });
    (id, text(&made["raw_key"]), shown)
}

/// What is told of a credential that has ended: which it was.
fn ended(shown: &Value) -> Value {
    let gone = json!({
        "name": null, "scopes": null, "role": null, "owner": null, "expires_at": null,
        "metadata": null, "project_id": null,
    });
    with(shown, &gone)
}

fn answer(world: &World, code: &str, key: &Value) -> Value {
    let until = match code {
        "revoked" | "rotated" | "expired" => &Value::Null,
        _ => &key["expires_at"],
    };
    json!({
        "valid": code == "valid", "code": code, "position": world.next_position() - 1,
        "valid_until": until, "key": key,
    })
}

#[test]
fn a_text_that_is_no_key_is_malformed_and_one_of_ours_is_not_found() {
    let world = World::new();
    let admin = &world.acme.admin;
    let mut typo = admin.clone();
    typo.replace_range(
        admin.len() - 1..,
        if admin.ends_with('0') { "1" } else { "0" },
    );
    let long = "x".repeat(2_000);
    for key in ["", "x", "sk_live_abc", &typo, &long, "\u{1f511}"] {
        let answer = verify(&world, &json!({"key": key}));
        assert_eq!(answer, unknown(&world, "malformed"), "{key}");
    }
    let absent = Token::compose("rfk", SecretId(Ulid(7)), &[1; 32]);
    for key in [absent.reveal(), &world.globex.admin] {
        let answer = verify(&world, &json!({"key": key}));
        assert_eq!(answer, unknown(&world, "not_found"), "{key}");
        // Who is not the platform learns no more by naming the organization.
        let named = json!({"key": key, "organization_id": world.globex.id});
        assert_eq!(verify(&world, &named), unknown(&world, "not_found"));
    }
}

#[test]
fn a_good_key_is_told_of_whole() {
    let world = World::new();
    let (_, raw, shown) = sample(&world);
    let valid = answer(&world, "valid", &shown);
    for more in [
        json!({}),
        json!({"required_scopes": ["cases:read", "analysis:run"]}),
        json!({"project_id": world.acme.project}),
        json!({"organization_id": world.acme.id}),
        json!({"any_project": true, "request": {
            "endpoint": "/api/v1/analysis/validate", "method": "POST",
            "ip_address": "203.0.113.10", "user_agent": "curl/8.4", "request_id": "r",
        }}),
    ] {
        let mut body = more.clone();
        body["key"] = json!(raw);
        assert_eq!(verify(&world, &body), valid, "{more}");
    }
    // The platform verifies everybody's.
    let reply = world.post(&world.platform, "/v1/verify", &json!({"key": raw}));
    assert_eq!(reply.expect(200), valid);
    let unknown = unknown(&world, "not_found");
    let stranger = world.post(&world.globex.admin, "/v1/verify", &json!({"key": raw}));
    assert_eq!(stranger.expect(200), unknown);
}

#[test]
fn ended_keys_tell_which_they_were_and_no_more() {
    let world = World::new();
    let (id, first, shown) = sample(&world);
    let path = format!("{}/api-keys/{id}", world.acme.path);
    let post = |verb: &str, body: Value| {
        world
            .post(&world.acme.admin, &format!("{path}/{verb}"), &body)
            .expect(200)
    };
    let check = |raw: &str| verify(&world, &json!({"key": raw, "required_scopes": ["x"]}));

    let rotated = post("rotate", json!({"grace_period_seconds": 60}));
    let second = text(&rotated["raw_key"]);
    let renewed = with(
        &shown,
        &json!({"secret_id": rotated["key"]["secrets"][0]["id"]}),
    );
    let until = json!({"valid_until": "2026-04-24T15:31:00.000Z"});
    let grace = with(&answer(&world, "valid", &shown), &until);
    assert_eq!(verify(&world, &json!({"key": first})), grace);
    assert_eq!(
        verify(&world, &json!({"key": second})),
        answer(&world, "valid", &renewed)
    );
    world.clock.advance_ms(59_999);
    assert_eq!(verify(&world, &json!({"key": first})), grace);
    world.clock.advance_ms(1);
    assert_eq!(check(&first), answer(&world, "rotated", &ended(&shown)));

    post("disable", json!({}));
    assert_eq!(check(&second), answer(&world, "disabled", &renewed));
    world.clock.advance_ms(24 * 60 * 60 * 1_000);
    assert_eq!(check(&second), answer(&world, "expired", &ended(&renewed)));
    assert_eq!(check(&first), answer(&world, "rotated", &ended(&shown)));
    post("revoke", json!({}));
    assert_eq!(check(&second), answer(&world, "revoked", &ended(&renewed)));
    assert_eq!(check(&first), answer(&world, "revoked", &ended(&shown)));
}

#[test]
fn a_key_is_good_only_where_it_belongs() {
    let world = World::new();
    let (_, raw, shown) = sample(&world);
    for scopes in [
        json!(["cases:write"]),
        json!(["cases:read", "nonsense"]),
        json!(["admin:*"]),
    ] {
        let body = json!({"key": raw, "required_scopes": scopes});
        let refused = answer(&world, "insufficient_scope", &shown);
        assert_eq!(verify(&world, &body), refused, "{scopes}");
    }
    for project in [&world.globex.project, "prj_01KQ01SD60AADFP7C33DS9A67N"] {
        let body = json!({"key": raw, "project_id": project, "required_scopes": ["x"]});
        assert_eq!(
            verify(&world, &body),
            answer(&world, "wrong_project", &shown)
        );
    }
    let wrong =
        json!({"key": raw, "organization_id": world.globex.id, "project_id": world.globex.project});
    let told = world
        .post(&world.platform, "/v1/verify", &wrong)
        .expect(200);
    assert_eq!(told, answer(&world, "wrong_organization", &shown));
    assert_eq!(verify(&world, &wrong), unknown(&world, "not_found"));

    let bound = json!({"name": "b", "scopes": ["cases:read"], "project_id": world.acme.project});
    let (_, bound) = world.key(&bound);
    let code = |more: Value| {
        let mut body = more;
        body["key"] = json!(bound);
        let answer = verify(&world, &body);
        assert_eq!(answer["key"]["project_id"], world.acme.project.as_str());
        text(&answer["code"])
    };
    let other = format!("{}/projects", world.acme.path);
    let other = world
        .post(&world.acme.admin, &other, &json!({"name": "Other"}))
        .created();
    assert_eq!(code(json!({})), "wrong_project");
    assert_eq!(code(json!({"any_project": true})), "valid");
    assert_eq!(code(json!({"project_id": world.acme.project})), "valid");
    assert_eq!(code(json!({"project_id": other})), "wrong_project");
    assert_eq!(
        code(json!({"project_id": other, "any_project": true})),
        "wrong_project"
    );
}

#[test]
fn a_token_is_as_good_as_its_owner() {
    let world = World::new();
    let account = format!(
        "{}/service-accounts/{}",
        world.acme.path, world.acme.account
    );
    let (id, token) = world.issue(Kind::ServiceAccount, &world.acme.account, &["cases:read"]);
    let told = verify(&world, &json!({"key": token}));
    let shown = json!({
        "id": id, "kind": "service_account", "organization_id": world.acme.id, "project_id": null,
        "name": told["key"]["name"], "scopes": ["cases:read"], "role": null,
        "owner": {"type": "service_account", "id": world.acme.account},
        "secret_id": told["key"]["secret_id"], "expires_at": null, "metadata": {},
    });
    assert_eq!(told, answer(&world, "valid", &shown));
    let off = json!({"is_active": false});
    world.patch(&world.acme.admin, &account, &off).expect(200);
    let body = json!({"key": token, "required_scopes": ["x"]});
    assert_eq!(
        verify(&world, &body),
        answer(&world, "owner_inactive", &shown)
    );

    let (_, all) = world.issue(Kind::Personal, &world.acme.owner, &["*"]);
    let body = json!({"key": all, "required_scopes": ["ledger:read", "cases:write"]});
    let told = verify(&world, &body);
    assert_eq!(told["code"], "valid");
    assert_eq!(
        told["key"]["owner"],
        json!({"type": "user", "id": world.acme.owner})
    );
    assert_eq!(told["key"]["role"], "owner");
}

#[test]
fn a_batch_answers_in_the_order_of_its_keys() {
    let world = World::new();
    let (_, raw, shown) = sample(&world);
    let body = json!({"keys": [
        {"key": "x"},
        {"key": raw},
        {"key": world.globex.admin},
        {"key": raw, "required_scopes": ["cases:write"]},
    ]});
    let reply = world
        .post(&world.acme.admin, "/v1/verify/batch", &body)
        .expect(200);
    assert_eq!(
        reply,
        json!({
            "position": world.next_position() - 1,
            "results": [
                unknown(&world, "malformed"),
                answer(&world, "valid", &shown),
                unknown(&world, "not_found"),
                answer(&world, "insufficient_scope", &shown),
            ],
        })
    );
    let batch = |keys: &[Value]| {
        world.post(
            &world.acme.admin,
            "/v1/verify/batch",
            &json!({"keys": keys}),
        )
    };
    assert_eq!(batch(&[]).expect(200)["results"], json!([]));
    let key = json!({"key": raw});
    let many = batch(&vec![key.clone(); 1_000]).expect(200);
    assert_eq!(many["results"].as_array().unwrap().len(), 1_000);
    let too_many = batch(&vec![key.clone(); 1_001]);
    assert_eq!(too_many.refused(422), "field_too_long");
    for (wrong, field) in [
        (json!({"key": raw, "project_id": "x"}), "keys[1].project_id"),
        (
            json!({"key": raw, "organization_id": "x"}),
            "keys[1].organization_id",
        ),
        (json!({"key": 1}), "keys[1].key"),
        (json!({}), "keys[1].key"),
        (json!({"key": raw, "x": 1}), "keys[1].x"),
        (json!("x"), "keys[1]"),
    ] {
        let reply = batch(&[key.clone(), wrong]).expect(422);
        assert_eq!(reply["errors"][0]["field"], field);
    }
}

#[test]
fn a_wrong_body_names_its_field() {
    let world = World::new();
    let position = world.next_position();
    for (body, code, field) in [
        (json!({}), "field_missing", "key"),
        (json!([]), "field_invalid", "body"),
        (json!({"key": null}), "field_invalid", "key"),
        (json!({"key": "x", "scopes": []}), "field_unknown", "scopes"),
        (
            json!({"key": "x", "required_scopes": "cases:read"}),
            "field_invalid",
            "required_scopes",
        ),
        (
            json!({"key": "x", "required_scopes": [1]}),
            "field_invalid",
            "required_scopes[0]",
        ),
        (
            json!({"key": "x", "project_id": "org_x"}),
            "field_invalid",
            "project_id",
        ),
        (
            json!({"key": "x", "organization_id": ""}),
            "field_invalid",
            "organization_id",
        ),
        (
            json!({"key": "x", "any_project": "yes"}),
            "field_invalid",
            "any_project",
        ),
        (
            json!({"key": "x", "request": {"path": "/"}}),
            "field_unknown",
            "request.path",
        ),
        (
            json!({"key": "x", "request": []}),
            "field_invalid",
            "request",
        ),
    ] {
        let reply = world.post(&world.acme.admin, "/v1/verify", &body);
        assert_eq!(reply.refused(422), code, "{body}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{body}");
    }
    let sent = |text: &str| {
        let request = crate::api::tests::ask("POST", "/v1/verify").by(&world.acme.admin);
        world.send(request.with("content-type", "application/json").body(text))
    };
    assert_eq!(sent("{").refused(400), "not_json");
    assert_eq!(
        sent(r#"{"key":"a","key":"b"}"#).refused(422),
        "field_invalid"
    );
    let nulls = r#"{"key":"a","project_id":null,"organization_id":null,"request":null}"#;
    sent(nulls).expect(200);
    assert_eq!(
        world.next_position(),
        position,
        "a verification is no event"
    );
}
