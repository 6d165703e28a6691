//! What holds on every route: problems, request ids, `ETag`s, positions, idempotency.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::tests::{Ask, World, ask, text};

fn keys(world: &World) -> String {
    format!("{}/api-keys", world.acme.path)
}

fn sample() -> Value {
    json!({"name": "n", "scopes": ["cases:read"]})
}

#[test]
fn a_problem_has_one_shape() {
    let world = World::new();
    let request = ask("POST", &keys(&world))
        .by(&world.acme.admin)
        .with("x-request-id", "r-1");
    let reply = world.send(request.json(&json!({"name": "n"})));
    assert_eq!(
        reply.expect(422),
        json!({
            "type": "about:blank",
            "title": "Unprocessable Entity",
            "status": 422,
            "detail": "scopes: is missing",
            "code": "field_missing",
            "request_id": "r-1",
            "errors": [{"field": "scopes", "message": "is missing"}],
        })
    );
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let nowhere = world.send(ask("GET", "/nowhere").with("x-request-id", "r-2"));
    assert_eq!(
        nowhere.expect(404),
        json!({
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "there is no such page here",
            "code": "not_found",
            "request_id": "r-2",
            "errors": [],
        })
    );
}

#[test]
fn a_refused_credential_is_challenged() {
    let world = World::new();
    let path = keys(&world);
    let missing = "Bearer realm=\"keyledger\"";
    let refused = "Bearer realm=\"keyledger\", error=\"invalid_token\"";
    for (value, code, challenge) in [
        (None, "credential_missing", missing),
        (Some("Basic YTpi"), "credential_not_accepted", refused),
        (Some("Basic YQ=="), "credential_not_accepted", refused),
        (Some("Token abc"), "credential_missing", missing),
        (Some("Bearer"), "credential_missing", missing),
        (Some("Bearer "), "credential_not_accepted", refused),
        (Some("Bearer nonsense"), "credential_not_accepted", refused),
        (Some("Bearer \u{e9}"), "credential_not_accepted", refused),
    ] {
        let request = ask("GET", &path);
        let request = match value {
            Some(value) => request.with("authorization", value),
            None => request,
        };
        let reply = world.send(request);
        assert_eq!(reply.refused(401), code, "{value:?}");
        assert_eq!(
            reply.header("www-authenticate"),
            Some(challenge),
            "{value:?}"
        );
    }
    let lower = format!("bearer {}", world.acme.admin);
    world
        .send(ask("GET", &path).with("authorization", &lower))
        .expect(200);
    // In the place of a password; the user name is not looked at.
    for user in ["", "owner@acme.example", "key_01H2XA9CKEB7WZG8RMN2KPQV7D"] {
        let pair = STANDARD.encode(format!("{user}:{}", world.acme.admin));
        let basic = ask("GET", &path).with("authorization", &format!("Basic {pair}"));
        world.send(basic).expect(200);
    }
    let other = ask("GET", &path).with("authorization", "Token abc");
    assert_eq!(
        world.send(other).json()["detail"],
        "the Authorization header must be Bearer <token>, or Basic with the token as the password"
    );
    let twice = ask("GET", &path)
        .by(&world.acme.admin)
        .by(&world.acme.admin);
    assert_eq!(world.send(twice).refused(400), "header_twice");
    let reader = world.holder(&["keys:read"]);
    let reply = world.post(&reader, &path, &sample());
    assert_eq!(reply.refused(403), "forbidden");
    assert_eq!(
        reply.header("www-authenticate"),
        Some("Bearer realm=\"keyledger\", error=\"insufficient_scope\", scope=\"member:manage\"")
    );
}

#[test]
fn request_ids_come_back() {
    let world = World::new();
    for (given, kept) in [
        ("a-B_1.2", true),
        ("a b", false),
        ("", false),
        ("\u{e9}", false),
        // What signs a member in is no name for a request.
        (&"0f".repeat(32), false),
        ("whsec_C2FVsBQIhrscChlQIMVb5sSYspob7oD", false),
    ] {
        let reply = world.send(ask("GET", "/livez").with("x-request-id", given));
        let id = reply.header("x-request-id").unwrap();
        assert_eq!(id == given, kept, "{given}");
        assert!(kept || id.starts_with("req_"), "{id}");
    }
    let reply = world.send(ask("GET", "/nowhere"));
    assert_eq!(
        reply.json()["request_id"],
        reply.header("x-request-id").unwrap()
    );
}

#[test]
fn if_match_names_the_version_that_is_changed() {
    let world = World::new();
    let (id, _) = world.key(&sample());
    let path = format!("{}/{id}", keys(&world));
    let patch = |tag: &str, name: &str| {
        let request = ask("PATCH", &path)
            .by(&world.acme.admin)
            .with("if-match", tag);
        world.send(request.json(&json!({"name": name})))
    };
    assert_eq!(patch("\"1\"", "a").expect(200)["version"], 2);
    assert_eq!(patch("*", "b").expect(200)["version"], 3);
    let position = world.next_position();
    for tag in [
        "\"1\"", "\"4\"", "W/\"3\"", "\"03\"", "\"+3\"", "\"abc\"", "\"\"",
    ] {
        assert_eq!(patch(tag, "c").refused(412), "version_mismatch", "{tag}");
    }
    for tag in ["3", "", "\"3", "\"1\", \"3\""] {
        assert_eq!(patch(tag, "c").refused(400), "if_match_invalid", "{tag}");
    }
    for verb in ["revoke", "rotate", "disable", "enable"] {
        let request = ask("POST", &format!("{path}/{verb}")).by(&world.acme.admin);
        let reply = world.send(request.with("if-match", "\"2\""));
        assert_eq!(reply.refused(412), "version_mismatch", "{verb}");
    }
    for path in [
        format!("{}/members/{}", world.acme.path, world.acme.owner),
        format!(
            "{}/service-accounts/{}",
            world.acme.path, world.acme.account
        ),
        format!(
            "{}/webhook-endpoints/{}",
            world.acme.path, world.acme.endpoint
        ),
    ] {
        let request = ask("DELETE", &path)
            .by(&world.platform)
            .with("if-match", "\"2\"");
        assert_eq!(
            world.send(request).refused(412),
            "version_mismatch",
            "{path}"
        );
    }
    assert_eq!(world.next_position(), position);
}

fn create(world: &World, key: &str, body: &Value) -> Ask {
    ask("POST", &keys(world))
        .by(&world.acme.admin)
        .with("idempotency-key", key)
        .json(body)
}

#[test]
fn a_repeated_command_is_answered_from_the_log() {
    let world = World::new();
    let first = world.send(create(&world, "k-1", &sample()));
    let answer = first.expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    assert!(answer["raw_key"].is_string());
    let position = world.next_position();

    let again = world.send(create(&world, "k-1", &sample()));
    assert_eq!(
        again.expect(201),
        json!({"key": answer["key"], "raw_key": null})
    );
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    for name in ["etag", "ledger-position"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    let other = json!({"name": "other", "scopes": ["cases:read"]});
    let reused = world.send(create(&world, "k-1", &other));
    assert_eq!(reused.refused(422), "idempotency_key_reused");
    assert_eq!(world.next_position(), position);

    // The same path in another spelling, with a query that means nothing, is the same command.
    for spelled in [
        keys(&world).replace("org_", "org%5F"),
        keys(&world).replace("/org_", "/%6frg%5f"),
        format!("{}?a=b", keys(&world)),
    ] {
        let again = ask("POST", &spelled)
            .by(&world.acme.admin)
            .with("idempotency-key", "k-1")
            .json(&sample());
        let reply = world.send(again);
        reply.expect(201);
        assert_eq!(reply.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(world.next_position(), position);

    // Another path, another actor and another key are other commands.
    let holder = world.holder(&["admin:*"]);
    for request in [
        create(&world, "k-2", &sample()),
        ask("POST", &keys(&world))
            .by(&holder)
            .with("idempotency-key", "k-1")
            .json(&sample()),
    ] {
        let reply = world.send(request);
        reply.expect(201);
        assert_eq!(reply.header("idempotency-replayed"), None);
    }
    for key in [String::new(), "x".repeat(256)] {
        let reply = world.send(create(&world, &key, &sample()));
        assert_eq!(reply.refused(400), "idempotency_key_invalid");
    }
    world
        .send(create(&world, &"x".repeat(255), &sample()))
        .expect(201);
    let twice = create(&world, "a", &sample()).with("idempotency-key", "b");
    assert_eq!(world.send(twice).refused(400), "header_twice");
}

#[test]
fn a_replay_shows_what_was_answered_then() {
    let world = World::new();
    let body = json!({"name": "n", "scopes": ["cases:read"], "expires_in_days": 1});
    let first = world.send(create(&world, "k-1", &body)).expect(201);
    let one = format!("{}/{}", keys(&world), text(&first["key"]["id"]));
    world
        .patch(&world.acme.admin, &one, &json!({"name": "m"}))
        .expect(200);
    let replayed = json!({"key": first["key"], "raw_key": null});
    assert_eq!(
        world.send(create(&world, "k-1", &body)).expect(201),
        replayed
    );
    world.clock.advance_ms(2 * 24 * 60 * 60 * 1_000);
    assert_eq!(
        world.get(&world.acme.admin, &one).expect(200)["status"],
        "expired"
    );
    assert_eq!(
        world.send(create(&world, "k-1", &body)).expect(201),
        replayed
    );
}

#[test]
fn every_post_that_appends_can_be_repeated() {
    let world = World::new();
    let (id, _) = world.key(&sample());
    let (platform, admin) = (&world.platform, &world.acme.admin);
    let acme = &world.acme.path;
    let key = format!("{acme}/api-keys/{id}");
    let endpoint = format!("{acme}/webhook-endpoints/{}", world.acme.endpoint);
    let member = json!({"email": "joe@acme.example", "role": "viewer"});
    let organization = json!({"name": "I", "owner_email": "bill@initech.example"});
    for (by, path, body, status) in [
        (
            platform,
            "/platform/organizations".to_owned(),
            organization,
            201,
        ),
        (admin, format!("{acme}/projects"), json!({"name": "p"}), 201),
        (admin, format!("{acme}/members"), member, 201),
        (
            admin,
            format!("{acme}/service-accounts"),
            json!({"name": "s", "role": "viewer"}),
            201,
        ),
        (admin, format!("{key}/disable"), json!({}), 200),
        (admin, format!("{key}/enable"), json!({}), 200),
        (
            admin,
            format!("{key}/rotate"),
            json!({"grace_period_seconds": 5}),
            200,
        ),
        (admin, format!("{key}/revoke"), json!({"reason": "r"}), 200),
        (
            admin,
            format!("{acme}/webhook-endpoints"),
            json!({"url": "https://hooks.example/b", "event_types": ["*"]}),
            201,
        ),
        (admin, format!("{endpoint}/rotate-secret"), json!({}), 200),
        (admin, format!("{endpoint}/disable"), json!({}), 200),
        (
            admin,
            format!("{endpoint}/enable"),
            json!({"from": "now"}),
            200,
        ),
    ] {
        let request = || {
            ask("POST", &path)
                .by(by)
                .with("idempotency-key", "same")
                .json(&body)
        };
        let mut first = world.send(request()).expect(status);
        let position = world.next_position();
        let again = world.send(request());
        for secret in ["raw_key", "secret"] {
            if let Some(raw) = first.get_mut(secret) {
                assert!(raw.is_string(), "{path}");
                *raw = Value::Null;
            }
        }
        if let Some(url) = first.pointer_mut("/owner/sign_in_url") {
            *url = Value::Null;
        }
        assert_eq!(again.expect(status), first, "{path}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{path}");
        assert_eq!(world.next_position(), position, "{path}");
    }
}

#[test]
fn a_command_that_is_still_running_is_not_started_again() {
    let world = World::new();
    let mut refused = 0;
    for round in 0..20 {
        let request = || world.reply(create(&world, &format!("two-{round}"), &sample()));
        let both = async { tokio::join!(request(), request()) };
        let (first, second) = world.runtime.block_on(both);
        first.expect(201);
        assert_eq!(first.header("idempotency-replayed"), None);
        // The second comes while the first is being written, or just after it.
        if second.status == 409 {
            assert_eq!(second.refused(409), "command_still_running");
            refused += 1;
        } else {
            second.expect(201);
            assert_eq!(second.header("idempotency-replayed"), Some("true"));
        }
    }
    assert!(
        refused > 0,
        "no second request came while the first was running"
    );
}

#[test]
fn reads_wait_for_a_position() {
    let world = World::new();
    let made = world.post(&world.acme.admin, &keys(&world), &sample());
    let position = made.header("ledger-position").unwrap().to_owned();
    assert_eq!(position, (world.next_position() - 1).to_string());
    let key = format!("{}/{}", keys(&world), text(&made.json()["key"]["id"]));
    let acme = &world.acme;
    let beyond = world.next_position().to_string();
    for path in [
        keys(&world),
        key.clone(),
        format!("{key}/usage"),
        format!("{key}/events"),
        format!("{}/credentials", acme.path),
        acme.path.clone(),
        format!("{}/members", acme.path),
        format!("{}/members/{}", acme.path, acme.owner),
        format!("{}/projects", acme.path),
        format!("{}/projects/{}", acme.path, acme.project),
        format!("{}/service-accounts", acme.path),
        format!("{}/service-accounts/{}", acme.path, acme.account),
        format!("{}/webhook-endpoints", acme.path),
        format!("{}/webhook-endpoints/{}", acme.path, acme.endpoint),
        format!("{}/webhook-endpoints/{}/events", acme.path, acme.endpoint),
    ] {
        let read = |at: &str| {
            world.send(
                ask("GET", &path)
                    .by(&acme.admin)
                    .with("ledger-min-position", at),
            )
        };
        read(&position).expect(200);
        assert_eq!(read(&beyond).refused(422), "position_unknown", "{path}");
        assert_eq!(read("-1").refused(400), "position_invalid", "{path}");
    }
    let verify = |at: &str| {
        let request = ask("POST", "/v1/verify")
            .by(&acme.admin)
            .with("ledger-min-position", at);
        world.send(request.json(&json!({"key": "x"})))
    };
    verify(&position).expect(200);
    assert_eq!(verify(&beyond).refused(422), "position_unknown");
    assert_eq!(verify("x").refused(400), "position_invalid");
}
