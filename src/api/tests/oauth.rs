//! Introspection, revocation and metadata, as clients of OAuth 2 call them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::tests::{Ask, Reply, START_MS, World, ask, text};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;

/// `START` in whole seconds.
const START_S: i64 = START_MS / 1_000;

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn introspect(world: &World, by: &str, token: &str) -> Value {
    let request = ask("POST", "/oauth2/introspect").by(by);
    let reply = world.send(request.form(&format!("token={token}")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.expect(200)
}

fn revoke(world: &World, request: impl FnOnce(Ask) -> Ask, token: &str) -> Reply {
    world.send(request(ask("POST", "/oauth2/revoke")).form(&format!("token={token}")))
}

fn active(world: &World, token: &str) -> bool {
    introspect(world, &world.acme.admin, token)["active"] == json!(true)
}

#[test]
fn an_active_token_is_told_of_whole_and_any_other_not_at_all() {
    let world = World::new();
    let acme = &world.acme;
    let (id, token) = world.key(&json!({
        "name": "CI", "scopes": ["cases:read", "analysis:run"], "expires_in_days": 1,
    }));
    let whole = json!({
        "active": true, "scope": "cases:read analysis:run", "client_id": acme.id, "sub": id,
        "iss": "http://127.0.0.1:8080", "iat": START_S, "exp": START_S + 60,
        "token_type": "Bearer", "keyledger_expires_at": "2026-04-25T15:30:00.000Z",
        "keyledger_kind": "organization", "keyledger_organization_id": acme.id,
        "keyledger_position": world.next_position() - 1,
    });
    assert_eq!(introspect(&world, &acme.admin, &token), whole);
    assert_eq!(introspect(&world, &world.platform, &token), whole);
    let inactive = json!({"active": false});
    assert_eq!(introspect(&world, &world.globex.admin, &token), inactive);
    for unknown in ["x", "rfk_01KQ01SD60AADFP7C33DS9A67N_0", &world.globex.admin] {
        assert_eq!(introspect(&world, &acme.admin, unknown), inactive);
    }
    // The token's own end, where it is nearer than the time for which an answer may be kept.
    world.clock.advance_ms(24 * 60 * 60 * 1_000 - 30_000);
    let end = START_S + 24 * 60 * 60;
    assert_eq!(introspect(&world, &acme.admin, &token)["exp"], json!(end));
    world.clock.advance_ms(30_000);
    assert_eq!(introspect(&world, &acme.admin, &token), inactive);
}

#[test]
fn disabled_rotated_and_revoked_are_inactive_at_once() {
    let world = World::new();
    let (id, token) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let keys = format!("{}/api-keys/{id}", world.acme.path);
    let post = |deed: &str| world.post(&world.acme.admin, &format!("{keys}/{deed}"), &json!({}));
    for (deed, expect) in [("disable", false), ("enable", true)] {
        post(deed).expect(200);
        assert_eq!(active(&world, &token), expect, "{deed}");
    }
    let new = text(&post("rotate").expect(200)["raw_key"]);
    assert_eq!(
        (active(&world, &token), active(&world, &new)),
        (false, true)
    );
    post("revoke").expect(200);
    assert!(!active(&world, &new));
}

#[test]
fn the_callers_credential_says_how_long_answers_are_kept() {
    let world = World::new();
    let token = world.holder(&["cases:read"]);
    let check = |said: Option<&str>, expect: Option<i64>| {
        let metadata = said.map_or_else(
            || json!({}),
            |said| json!({"introspection_max_age_seconds": said}),
        );
        let body = json!({"name": "gw", "scopes": ["keys:verify"], "metadata": metadata});
        let (_, caller) = world.key(&body);
        let answer = introspect(&world, &caller, &token);
        let kept = answer.get("exp").map(|exp| exp.as_i64().unwrap() - START_S);
        assert_eq!(kept, expect, "{said:?}");
    };
    check(None, Some(60));
    check(Some("0"), None);
    check(Some("5"), Some(5));
    check(Some("86400"), Some(86_400));
    for wrong in ["86401", "-1", "", "1h", "99999999999999999999"] {
        check(Some(wrong), Some(60));
    }
}

#[test]
fn a_project_bound_caller_sees_what_fits_its_project() {
    let world = World::new();
    let acme = &world.acme;
    let projects = format!("{}/projects", acme.path);
    let other = world
        .post(&acme.admin, &projects, &json!({"name": "Other"}))
        .created();
    let bound = |project: &str, scope: &str| {
        let scopes = vec![scope.to_owned()];
        let grant = Grant {
            scopes,
            ..Grant::default()
        };
        let project = Some(project.parse().unwrap());
        world
            .issued(&acme.id, (Kind::Organization, &acme.id, project), grant)
            .1
    };
    let caller = bound(&acme.project, "keys:verify");
    let seen = |token: &str| introspect(&world, &caller, token)["active"] == json!(true);
    let (own, foreign) = (
        bound(&acme.project, "cases:read"),
        bound(&other, "cases:read"),
    );
    assert_eq!((seen(&own), seen(&foreign)), (true, false));
    // What is bound to no project is not the caller's to see.
    assert!(!seen(&world.holder(&["cases:read"])));
    assert_eq!(
        introspect(&world, &acme.admin, &foreign)["aud"],
        json!(other)
    );
}

#[test]
fn scopes_that_an_owner_has_lost_are_not_told() {
    let world = World::new();
    let member = crate::api::tests::permissions::member(&world, "administrator");
    let (_, token) = world.issue(Kind::Personal, &member, &["*"]);
    let scope = |token: &str| text(&introspect(&world, &world.acme.admin, token)["scope"]);
    let before = scope(&token);
    assert!(before.contains("member:manage"), "{before}");
    let path = format!("{}/members/{member}", world.acme.path);
    world
        .patch(&world.acme.admin, &path, &json!({"role": "viewer"}))
        .expect(200);
    let scopes = scope(&token);
    assert!(
        scopes.split(' ').any(|name| name == "cases:read"),
        "{scopes}"
    );
    for lost in ["member:manage", "cases:write", "*"] {
        assert!(!scopes.split(' ').any(|name| name == lost), "{scopes}");
    }
}

#[test]
fn a_client_shows_its_id_and_secret_in_either_spelling() {
    let world = World::new();
    let acme = &world.acme;
    let (id, secret) = (&acme.key, &acme.admin);
    let encoded = |text: &str| text.replace('_', "%5F");
    let (other, _) = world.issue(Kind::Organization, &acme.id, &["cases:read"]);
    let holder = world.issue(Kind::Organization, &acme.id, &["cases:read"]);
    for (value, expect) in [
        (basic(id, secret), 200),
        (basic(&encoded(id), &encoded(secret)), 200),
        (basic(&encoded(id), secret), 200),
        (format!("bearer {secret}"), 200),
        (basic(&other, secret), 401),
        (basic("", secret), 401),
        (basic(id, "x"), 401),
        ("Basic x".to_owned(), 401),
        ("Basic".to_owned(), 401),
        ("Digest x".to_owned(), 401),
        (basic(&holder.0, &holder.1), 403),
    ] {
        let request = ask("POST", "/oauth2/introspect").with("authorization", &value);
        let reply = world.send(request.form("token=x"));
        assert_eq!(reply.status, expect, "{value} {reply:?}");
        let error = match expect {
            401 => json!("invalid_client"),
            403 => json!("insufficient_scope"),
            _ => Value::Null,
        };
        assert_eq!(reply.json()["error"], error, "{value}");
        let ways = reply.header("www-authenticate").unwrap_or_default();
        assert_eq!(ways.starts_with("Basic realm="), expect == 401, "{ways}");
    }
}

#[test]
fn a_client_shows_its_id_and_secret_in_the_form() {
    let world = World::new();
    let acme = &world.acme;
    let (verifier, secret) = world.key(&json!({"name": "rs", "scopes": ["keys:verify"]}));
    let (holder, weak) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let (ended, dead) = world.key(&json!({"name": "old", "scopes": ["keys:verify"]}));
    let path = format!("{}/api-keys/{ended}/revoke", acme.path);
    world.post(&acme.admin, &path, &json!({})).expect(200);
    let form = |id: &str, secret: &str| format!("client_id={id}&client_secret={secret}&token=x");
    let check = |body: &str, expect: (u16, &str)| {
        for path in ["/oauth2/introspect", "/oauth2/revoke"] {
            let reply = world.send(ask("POST", path).form(body));
            // The holder of a token may end it without a permission to verify.
            let expect = match (path, expect) {
                ("/oauth2/revoke", (403, _)) => (200, ""),
                (_, expect) => expect,
            };
            assert_eq!(reply.status, expect.0, "{path} {body}: {reply:?}");
            if expect.0 >= 400 {
                assert_eq!(reply.json()["error"], expect.1, "{path} {body}");
            }
        }
    };
    check(&form(&verifier, &secret), (200, ""));
    check(&form(&verifier, &secret.replace('_', "%5F")), (200, ""));
    check(&form(&holder, &weak), (403, "insufficient_scope"));
    let refused = (401, "invalid_client");
    for (id, secret) in [(&verifier, &weak), (&holder, &secret), (&ended, &dead)] {
        check(&form(id, secret), refused);
    }
    check(&form(&verifier, "x"), refused);
    let invalid = (400, "invalid_request");
    check(&form("", &secret), invalid);
    check(&format!("client_secret={secret}&token=x"), invalid);
    check(
        &format!("{}&client_id={verifier}", form(&verifier, &secret)),
        invalid,
    );
    check(
        &format!("{}&client_secret={secret}", form(&verifier, &secret)),
        invalid,
    );
    check(
        &format!("client_id={verifier}&client_secret={secret}"),
        invalid,
    );
    // A secret without its client, or one beside another way to say who it is.
    let both = |request: Ask| {
        let reply = world.send(request.form(&form(&verifier, &secret)));
        assert_eq!(reply.refused(400), "credentials_twice");
        assert_eq!(reply.json()["error"], "invalid_request");
    };
    let session = world.session(&acme.owner);
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        both(ask("POST", path).by(&secret));
        both(ask("POST", path).with("authorization", &basic(&verifier, &secret)));
        both(ask("POST", path).in_session(&session));
    }
    // An id alone is a client without a secret: it may revoke, and not introspect.
    let alone = format!("client_id={verifier}&client_secret=&token=x");
    let send = |path: &str| world.send(ask("POST", path).form(&alone));
    assert_eq!(send("/oauth2/revoke").status, 200);
    assert_eq!(send("/oauth2/introspect").json()["error"], "invalid_client");
}

#[test]
fn a_client_that_its_form_names_introspects_and_revokes_as_itself() {
    let world = World::new();
    let acme = &world.acme;
    let (verifier, secret) = world.key(&json!({
        "name": "rs", "scopes": ["keys:verify"],
        "metadata": {"introspection_max_age_seconds": "5"},
    }));
    let (id, token) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let form = format!("token={token}&client_id={verifier}&client_secret={secret}");
    let reply = world.send(ask("POST", "/oauth2/introspect").form(&form));
    let answer = reply.expect(200);
    assert_eq!(
        (&answer["sub"], &answer["exp"]),
        (&json!(id), &json!(START_S + 5))
    );
    let form = format!(
        "token={token}&client_id={}&client_secret={}",
        acme.key, acme.admin
    );
    assert_eq!(
        world.send(ask("POST", "/oauth2/revoke").form(&form)).status,
        200
    );
    assert!(!active(&world, &token));
    let events = format!("{}/api-keys/{id}/events", acme.path);
    let events = world.get(&acme.admin, &events).expect(200);
    assert_eq!(events[0]["actor"]["id"], acme.key.as_str());
}

#[test]
fn a_token_that_is_nothing_is_revoked_for_whoever_asks() {
    let world = World::new();
    let (id, ended) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let path = format!("{}/api-keys/{id}/revoke", world.acme.path);
    world.post(&world.acme.admin, &path, &json!({})).expect(200);
    let weak = world.holder(&["cases:read"]);
    let position = world.next_position();
    let unknown = "rfk_01KQ01SD60AADFP7C33DS9A67N_0";
    let long = "x".repeat(10_000);
    for token in [
        "x",
        unknown,
        &ended,
        &world.globex.admin,
        &long,
        "%00",
        "%F0%9F%94%91",
    ] {
        for by in [&weak, &world.acme.admin] {
            let reply = revoke(&world, |asked| asked.by(by), token);
            assert_eq!((reply.status, reply.text.as_str()), (200, ""), "{token}");
        }
    }
    assert_eq!(world.next_position(), position);
}

#[test]
fn a_form_names_one_token() {
    let world = World::new();
    let form = "application/x-www-form-urlencoded";
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let check = |kind: &str, body: &str, expect: (u16, Option<&str>)| {
            let request = ask("POST", path).by(&world.acme.admin);
            let reply = world.send(request.with("content-type", kind).body(body));
            assert_eq!(reply.status, expect.0, "{path} {kind} {body}: {reply:?}");
            if let Some(code) = expect.1 {
                assert_eq!(reply.refused(expect.0), code, "{path} {body}");
                assert_eq!(reply.json()["error"], "invalid_request");
            }
        };
        check(form, "token=x", (200, None));
        check(
            "APPLICATION/X-WWW-FORM-URLENCODED; charset=utf-8",
            "token=x",
            (200, None),
        );
        check(
            form,
            "token=x&token_type_hint=nonsense&a=b&a=c",
            (200, None),
        );
        for body in ["", "token=", "tok=x", "token=x&token=x", "token"] {
            check(form, body, (400, Some("form_invalid")));
        }
        let hints = "token=x&token_type_hint=a&token_type_hint=b";
        check(form, hints, (400, Some("form_invalid")));
        let json = (415, Some("media_type_not_form"));
        check("application/json", "{\"token\":\"x\"}", json);
        let long = format!("token={}", "x".repeat(64 * 1024));
        check(form, &long, (413, Some("body_too_large")));
    }
}

#[test]
fn whoever_holds_a_token_ends_it() {
    let world = World::new();
    let issue = || world.issue(Kind::Organization, &world.acme.id, &["cases:read"]);
    let check = |request: &dyn Fn(Ask, &str, &str) -> Ask| {
        let (id, token) = issue();
        for _ in 0..2 {
            // The second time it is no good any more, and the answer is the same.
            let reply = revoke(&world, |asked| request(asked, &id, &token), &token);
            assert_eq!((reply.status, reply.text.as_str()), (200, ""), "{reply:?}");
            assert!(!active(&world, &token));
        }
        let events = format!("{}/api-keys/{id}/events", world.acme.path);
        let events = world.get(&world.acme.admin, &events).expect(200);
        let ended = &events.as_array().unwrap()[0];
        assert_eq!(ended["type"], "api_key.revoked");
        assert_eq!(ended["actor"]["id"], json!(id), "{ended}");
        assert_eq!(events.as_array().unwrap().len(), 2, "{events}");
    };
    check(&|asked, _, _| asked);
    check(&|asked, _, token| asked.by(token));
    check(&|asked, id, token| asked.with("authorization", &basic(id, token)));
    // The credential of an account or a member ends in the name of its owner.
    for (kind, owner) in [
        (Kind::ServiceAccount, &world.acme.account),
        (Kind::Personal, &world.acme.owner),
    ] {
        let (_, token) = world.issue(kind, owner, &["cases:read"]);
        assert!(active(&world, &token));
        assert_eq!(revoke(&world, |asked| asked, &token).status, 200);
        assert!(!active(&world, &token));
    }
}

#[test]
fn who_may_end_every_kind_ends_anothers_and_nobody_else_does() {
    let world = World::new();
    let (id, token) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let reply = |by: &str| revoke(&world, |asked| asked.by(by), &token);
    let position = world.next_position();
    // Another tenant's administrator has ended nothing, and is not told so.
    assert_eq!(reply(&world.globex.admin).status, 200);
    let holder = world.holder(&["keys:verify"]);
    assert_eq!(reply(&holder).refused(403), "forbidden");
    assert_eq!(reply("nonsense").json()["error"], "invalid_client");
    assert_eq!(
        world.next_position(),
        position + 1,
        "the holder alone was made"
    );
    assert!(active(&world, &token));
    let disable = format!("{}/api-keys/{id}/disable", world.acme.path);
    world
        .post(&world.acme.admin, &disable, &json!({}))
        .expect(200);
    // A disabled token is no proof; an administrator ends it all the same.
    let position = world.next_position();
    assert_eq!(revoke(&world, |asked| asked, &token).status, 200);
    assert_eq!(revoke(&world, |asked| asked.by(&token), &token).status, 200);
    assert_eq!(world.next_position(), position);
    assert_eq!(reply(&token.replace("rfk", "rfx")).status, 401);
    assert_eq!(reply(&world.acme.admin).status, 200);
    assert_eq!(world.next_position(), position + 1);
    assert_eq!(
        revoke(&world, |asked| asked.by(&world.acme.admin), "x").status,
        200
    );
}

#[test]
fn a_ledger_that_cannot_act_says_so() {
    let world = World::new();
    let token = world.holder(&["cases:read"]);
    world.ledger.stop();
    let reply = revoke(&world, |asked| asked, &token);
    assert_eq!(reply.refused(503), "stopping");
    assert_eq!(reply.header("retry-after"), Some("1"));
}

#[test]
fn the_metadata_name_the_endpoints() {
    let world = World::new();
    let reply = world.send(ask("GET", "/.well-known/oauth-authorization-server"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    let url = "http://127.0.0.1:8080";
    let expect = json!({
        "issuer": url,
        "introspection_endpoint": format!("{url}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post"],
        "revocation_endpoint": format!("{url}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "none"],
        "response_types_supported": [],
        "grant_types_supported": [],
        "service_documentation": format!("{url}/docs"),
    });
    assert_eq!(reply.expect(200), expect);
}

#[test]
fn a_token_that_asks_about_itself_is_used_once() {
    let world = World::new();
    let (id, token) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let (_, verifier) = world.key(&json!({"name": "API", "scopes": ["keys:verify"]}));
    let path = format!("{}/api-keys/{id}/usage", world.acme.path);
    let check = |expected: &[u64]| {
        let calls = world.get(&world.acme.admin, &path).expect(200);
        let calls = calls.as_array().unwrap().iter();
        let seen: Vec<_> = calls
            .map(|call| call["status_code"].as_u64().unwrap())
            .collect();
        assert_eq!(seen, expected);
    };
    assert_eq!(introspect(&world, &token, &token)["active"], json!(true));
    check(&[200]);
    let posted = format!("token={token}&client_id={id}&client_secret={token}");
    world
        .send(ask("POST", "/oauth2/introspect").form(&posted))
        .expect(200);
    check(&[200, 200]);
    // Another client's question is a use of the token, once.
    introspect(&world, &verifier, &token);
    check(&[200, 200, 200]);
}
