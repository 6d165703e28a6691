//! A request that is wrong in several ways is refused for the first of them, and leaves no trace.

use serde_json::{Value, json};

use crate::api::tests::{Ask, World, ask};

const TOO_LONG: usize = 64 * 1024 + 1;

/// Sends requests of which each is right where the one before was refused.
fn refused_in_turn(world: &World, requests: Vec<(Ask, u16, &str)>) {
    let position = world.next_position();
    for (request, status, code) in requests {
        let line = format!("{:?}", request.0);
        let reply = world.send(request);
        assert_eq!(reply.status, status, "{line}: {reply:?}");
        assert_eq!(reply.refused(status), code, "{line}: {reply:?}");
        assert_eq!(world.next_position(), position, "{line}");
    }
}

fn bad_headers(request: Ask) -> Ask {
    request.with("idempotency-key", "").with("if-match", "x")
}

#[test]
fn a_creation_is_checked_in_order() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    let reader = world.holder(&["keys:read"]);
    let nothing = world.holder(&["cases:read"]);
    let manager = world.holder(&["member:manage"]);
    let post = || ask("POST", &path);
    let long = |request: Ask| {
        bad_headers(request.with("content-type", "text/plain")).body("{".repeat(TOO_LONG))
    };
    let json_type = |request: Ask| request.with("content-type", "application/json");
    let no_utf8 = b"{\"name\":\"\xff\"}".to_vec();
    refused_in_turn(
        &world,
        vec![
            (long(ask("PUT", &path)), 401, "credential_missing"),
            (
                long(ask("PUT", &path).by("x")),
                401,
                "credential_not_accepted",
            ),
            (
                long(ask("PUT", &path).by(&world.globex.admin)),
                404,
                "not_found",
            ),
            (long(post().by(&world.globex.admin)), 404, "not_found"),
            (long(ask("PUT", &path).by(&nothing)), 403, "forbidden"),
            (long(post().by(&reader)), 403, "forbidden"),
            (
                long(ask("PUT", &path).by(&manager)),
                405,
                "method_not_allowed",
            ),
            (long(post().by(&manager)), 413, "body_too_large"),
            (
                bad_headers(post().by(&manager)).body("{"),
                415,
                "media_type_not_json",
            ),
            (
                bad_headers(json_type(post().by(&manager))).body("{"),
                400,
                "if_match_invalid",
            ),
            (
                json_type(post().by(&manager))
                    .with("idempotency-key", "")
                    .body("[]"),
                400,
                "idempotency_key_invalid",
            ),
            (
                json_type(json_type(post().by(&manager))).body("{"),
                400,
                "header_twice",
            ),
            (json_type(post().by(&manager)).body("{"), 400, "not_json"),
            (
                json_type(post().by(&manager)).body(no_utf8),
                400,
                "not_json",
            ),
            (json_type(post().by(&manager)), 400, "not_json"),
        ],
    );
}

#[test]
fn the_content_of_a_creation_is_checked_in_order() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    let manager = world.holder(&["member:manage"]);
    let (foreign, past) = (&world.globex.project, "2020-01-01T00:00:00Z");
    let body = |body: Value| ask("POST", &path).by(&manager).json(&body);
    refused_in_turn(
        &world,
        vec![
            (
                body(json!({"name": "", "scopes": ["x"], "y": 1})),
                422,
                "field_unknown",
            ),
            (
                body(json!({"name": "", "scopes": ["admin:*"]})),
                422,
                "field_empty",
            ),
            (
                body(json!({"name": "n", "scopes": ["admin:*", "x"]})),
                422,
                "unknown_scope",
            ),
            (
                body(json!({"name": "n", "scopes": ["admin:*"], "project_id": foreign})),
                422,
                "unknown_project",
            ),
            (
                body(json!({"name": "n", "scopes": ["admin:*"], "expires_at": past})),
                422,
                "expiry_in_past",
            ),
            (
                body(json!({"name": "n", "scopes": ["admin:*"]})),
                403,
                "beyond_your_authority",
            ),
        ],
    );
}

#[test]
fn a_change_is_checked_in_order() {
    let world = World::new();
    let key = json!({"name": "n", "scopes": ["cases:read"]});
    let path = format!("{}/api-keys/{}", world.acme.path, world.key(&key).0);
    let revoke = format!("{path}/revoke");
    world
        .post(&world.acme.admin, &revoke, &json!({}))
        .expect(200);
    let manager = world.holder(&["member:manage"]);
    let unknown = format!("{}/api-keys/{}", world.acme.path, world.globex.key);
    let patch = |by: &str, tag: &str, body: Value| {
        ask("PATCH", &path).by(by).with("if-match", tag).json(&body)
    };
    let admin = &world.acme.admin;
    let (stale, fresh) = ("\"1\"", "\"2\"");
    refused_in_turn(
        &world,
        vec![
            (ask("PATCH", &unknown).by(admin).body("{"), 404, "not_found"),
            (
                ask("PATCH", &path).by(admin).body("{"),
                415,
                "media_type_not_json",
            ),
            (
                patch(&manager, stale, json!({"scopes": ["x"]})),
                422,
                "unknown_scope",
            ),
            (
                patch(&manager, stale, json!({"name": "m"})),
                403,
                "beyond_your_authority",
            ),
            (
                patch(admin, stale, json!({"name": "m"})),
                412,
                "version_mismatch",
            ),
            (
                patch(admin, fresh, json!({"name": "m"})),
                409,
                "credential_ended",
            ),
        ],
    );
    let rotate = |by: &str, tag: &str, seconds: u32| {
        let request = ask("POST", &format!("{path}/rotate"))
            .by(by)
            .with("if-match", tag);
        request.json(&json!({"grace_period_seconds": seconds}))
    };
    refused_in_turn(
        &world,
        vec![
            (rotate(&manager, stale, 9_999_999), 422, "grace_too_long"),
            (rotate(&manager, stale, 0), 403, "beyond_your_authority"),
            (rotate(admin, stale, 0), 412, "version_mismatch"),
            (rotate(admin, fresh, 0), 409, "credential_ended"),
        ],
    );
}

#[test]
fn a_read_is_checked_in_order() {
    let world = World::new();
    let wrong = "?limit=0&x=1";
    let path = format!("{}/api-keys{wrong}", world.acme.path);
    let nothing = world.holder(&["cases:read"]);
    let get = || ask("GET", &path).with("ledger-min-position", "x");
    refused_in_turn(
        &world,
        vec![
            (get(), 401, "credential_missing"),
            (get().by(&world.globex.admin), 404, "not_found"),
            (get().by(&nothing), 403, "forbidden"),
            (get().by(&world.acme.admin), 400, "position_invalid"),
            (
                ask("GET", &path).by(&world.acme.admin),
                400,
                "query_invalid",
            ),
        ],
    );
    let list = format!("/platform/organizations{wrong}");
    let events = format!(
        "{}/api-keys/{}/events{wrong}",
        world.acme.path, world.acme.key
    );
    refused_in_turn(
        &world,
        vec![
            (ask("GET", &list).by(&world.acme.admin), 403, "forbidden"),
            (ask("GET", &list).by(&world.platform), 400, "query_invalid"),
            (ask("GET", &events).by(&nothing), 403, "forbidden"),
            (
                ask("GET", &events).by(&world.acme.admin),
                400,
                "query_invalid",
            ),
        ],
    );
}

#[test]
fn a_verification_is_checked_in_order() {
    let world = World::new();
    let verifier = world.holder(&["keys:verify"]);
    for (path, longest) in [
        ("/v1/verify", TOO_LONG),
        ("/v1/verify/batch", 2 * 1024 * 1024 + 1),
    ] {
        let post = || ask("POST", path);
        let unread = |request: Ask| request.with("ledger-min-position", "x");
        let long = |request: Ask| unread(request.body("{".repeat(longest)));
        let typed = |request: Ask| request.with("content-type", "application/json");
        let beyond = |request: Ask| typed(request).with("ledger-min-position", "999999");
        let empty = typed(post().by(&verifier)).body("{}");
        refused_in_turn(
            &world,
            vec![
                (long(ask("GET", path)), 401, "credential_missing"),
                (
                    long(ask("GET", path).by(&world.holder(&["keys:read"]))),
                    403,
                    "forbidden",
                ),
                (
                    long(ask("GET", path).by(&verifier)),
                    405,
                    "method_not_allowed",
                ),
                (long(post().by(&verifier)), 413, "body_too_large"),
                (
                    unread(post().by(&verifier).body("{")),
                    415,
                    "media_type_not_json",
                ),
                (
                    unread(typed(post().by(&verifier)).body("{")),
                    400,
                    "position_invalid",
                ),
                (beyond(post().by(&verifier)).body("{"), 400, "not_json"),
                (empty, 422, "field_missing"),
            ],
        );
    }
}

#[test]
fn a_method_that_is_not_there_is_named_to_those_who_may_know() {
    let world = World::new();
    let acme = &world.acme;
    let key = format!("{}/api-keys/{}", acme.path, acme.key);
    for (method, path, allow) in [
        (
            "DELETE",
            "/platform/organizations".to_owned(),
            "POST,GET,HEAD",
        ),
        ("DELETE", acme.path.clone(), "GET,HEAD,PATCH"),
        ("DELETE", key.clone(), "GET,HEAD,PATCH"),
        ("GET", format!("{key}/revoke"), "POST"),
        ("POST", format!("{key}/events"), "GET,HEAD"),
        (
            "PUT",
            format!("{}/members/{}", acme.path, acme.owner),
            "GET,HEAD,PATCH,DELETE",
        ),
        ("BREW", "/v1/verify".to_owned(), "POST"),
    ] {
        let reply = world.send(ask(method, &path).by(&world.platform));
        assert_eq!(reply.refused(405), "method_not_allowed", "{method} {path}");
        let mut named: Vec<&str> = reply.header("allow").unwrap().split(',').collect();
        let mut expected: Vec<&str> = allow.split(',').collect();
        named.sort_unstable();
        expected.sort_unstable();
        assert_eq!(named, expected, "{method} {path}");
        let nobody = world.send(ask(method, &path));
        assert_eq!(nobody.refused(401), "credential_missing", "{method} {path}");
    }
    let open = world.send(ask("POST", "/livez"));
    assert_eq!(open.refused(405), "method_not_allowed");
    assert!(open.header("allow").is_some());
    let foreign = format!("{}/api-keys/%ff", world.globex.path);
    assert_eq!(
        world
            .send(ask("PUT", &foreign).by(&acme.admin))
            .refused(404),
        "not_found"
    );
    let nothing = world.holder(&["cases:read"]);
    assert_eq!(
        world.send(ask("PUT", &key).by(&nothing)).refused(403),
        "forbidden"
    );
    let reader = world.holder(&["keys:read"]);
    assert_eq!(
        world.send(ask("PUT", &key).by(&reader)).refused(405),
        "method_not_allowed"
    );
    let oversight = format!("{}/credentials", acme.path);
    assert_eq!(
        world.send(ask("PUT", &oversight).by(&reader)).refused(403),
        "forbidden"
    );
}

/// Bodies are not decompressed, on no route, and the answer says which coding to use.
#[test]
fn a_compressed_body_is_refused_with_the_codings_that_are_taken() {
    let world = World::new();
    let admin = &world.acme.admin;
    let (json, lines) = ("application/json", "application/x-ndjson");
    let form = "application/x-www-form-urlencoded";
    let keys = format!("{}/api-keys", world.acme.path);
    let revoke = format!("{keys}/{}/revoke", world.acme.key);
    for (path, kind) in [
        ("/v1/verify", json),
        ("/v1/verify/batch", json),
        ("/v1/usage", lines),
        ("/oauth2/introspect", form),
        ("/oauth2/revoke", form),
        (keys.as_str(), json),
        (&revoke, json),
        ("/v1/sessions", json),
    ] {
        for coding in ["gzip", "GZIP", "br", "identity, gzip", "x-unknown"] {
            let asked = ask("POST", path).by(admin).with("content-type", kind);
            let asked = asked.with("content-encoding", coding);
            let reply = world.send(asked.body(b"\x1f\x8b\x08".to_vec()));
            let code = reply.refused(415);
            assert_eq!(code, "content_encoding_unsupported", "{path} {coding}");
            assert_eq!(reply.header("accept-encoding"), Some("identity"));
        }
    }
    let plain = ask("POST", "/v1/verify")
        .by(admin)
        .json(&json!({"key": "x"}));
    let plain = plain.with("content-encoding", "identity");
    assert_eq!(world.send(plain).status, 200);
    // Where a body may be missing, a coding of nothing is none.
    let nothing = ask("POST", &revoke)
        .by(admin)
        .with("content-encoding", "gzip");
    assert_eq!(world.send(nothing).status, 200);
}
