//! The history that gateways leave: of the credentials that they ask about, and of their own.

use serde_json::{Value, json};

use crate::api::router;
use crate::api::tests::usage;
use crate::api::tests::usage::{calls, each, path, record};
use crate::api::tests::{PEER, START, World, answered, ask};
use crate::web::http_settings::HttpSettings;

#[test]
fn gateways_and_introspection_leave_a_history() {
    let world = World::new();
    let (key, raw) = usage::key(&world, &["cases:read"]);
    let (_, gateway) = usage::key(&world, &["keys:verify"]);
    let asks = |path: &str| {
        let request = ask("GET", path)
            .by(&raw)
            .with("x-keyledger-gateway", &gateway);
        request
            .with("user-agent", "curl/8.4")
            .with("x-request-id", "seen-1")
    };
    let caddy = asks("/v1/forward-auth?q=1")
        .with("x-forwarded-uri", &format!("/orders/{raw}?api_key={raw}"))
        .with("x-forwarded-method", "PATCH");
    assert_eq!(world.send(caddy).status, 200);
    let nginx = asks("/v1/forward-auth/nginx")
        .with("x-original-uri", "/orders?q=1")
        .with("x-original-method", "PUT")
        .with("x-keyledger-require-scopes", "cases:write");
    assert_eq!(world.send(nginx).status, 403);
    assert_eq!(
        world
            .send(asks("/v1/forward-auth/envoy/orders/7?q=1"))
            .status,
        200
    );
    let introspect = ask("POST", "/oauth2/introspect").by(&gateway);
    let introspect = introspect.body(format!("token={raw}"));
    let form = "application/x-www-form-urlencoded";
    assert_eq!(
        world.send(introspect.with("content-type", form)).status,
        200
    );
    let seen = calls(&world, &key, "");
    let endpoints = [
        "/oauth2/introspect",
        "/orders/7",
        "/orders",
        "/orders/[secret]",
    ];
    assert_eq!(each(&seen, "endpoint"), endpoints);
    assert_eq!(each(&seen, "method"), ["POST", "GET", "PUT", "PATCH"]);
    assert_eq!(each(&seen, "status_code"), [200, 200, 403, 200]);
    let address = PEER.ip().to_string();
    let nobody = Value::Null;
    assert_eq!(
        each(&seen, "ip_address"),
        [nobody, json!(address), json!(address), json!(address)]
    );
    assert_eq!(seen[1]["user_agent"], "curl/8.4");
    assert_eq!(seen[1]["request_id"], "seen-1");
}

/// One byte that a client may not send does not blank what is known of its call.
#[test]
fn what_is_recorded_survives_bytes_that_are_no_text() {
    let world = World::new();
    let (key, raw) = usage::key(&world, &["cases:read"]);
    let asks = |path: &str| {
        let request = ask("GET", path).by(&raw);
        let request = request.with("x-keyledger-gateway", &world.acme.admin);
        request.with_bytes("user-agent", b"caf\xe9/1.0")
    };
    for (path, uri, method) in [
        ("", "x-forwarded-uri", "x-forwarded-method"),
        ("/nginx", "x-original-uri", "x-original-method"),
    ] {
        let request = asks(&format!("/v1/forward-auth{path}"))
            .with_bytes(uri, b"/caf\xe9/\xc3\xa9?q=\xff")
            .with_bytes(method, b"GET");
        assert_eq!(world.send(request).status, 200);
    }
    let envoy = asks("/v1/forward-auth/envoy/caf%E9?q=1");
    assert_eq!(world.send(envoy).status, 200);
    let seen = calls(&world, &key, "");
    let escaped = "/caf%E9/%C3%A9";
    assert_eq!(each(&seen, "endpoint"), ["/caf%E9", escaped, escaped]);
    assert_eq!(each(&seen, "user_agent"), ["caf\u{fffd}/1.0"; 3]);
    // The same of calls to this server.
    let own = ask("GET", "/v1/me")
        .by(&raw)
        .with_bytes("user-agent", b"caf\xe9");
    world.send(own);
    let seen = calls(&world, &key, "?limit=1");
    assert_eq!(each(&seen, "user_agent"), ["caf\u{fffd}"]);
}

#[test]
fn an_ended_token_that_comes_by_basic_is_a_denied_attempt() {
    let world = World::new();
    let (key, raw) = usage::key(&world, &["cases:read"]);
    world.post(
        &world.acme.admin,
        &format!("{}/revoke", path(&world, &key)),
        &json!({}),
    );
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("{key}:{raw}"))
    };
    let refused =
        ask("POST", "/oauth2/introspect").with("authorization", &format!("Basic {basic}"));
    assert_eq!(
        world
            .send(
                refused
                    .with("content-type", "application/x-www-form-urlencoded")
                    .body("token=x")
            )
            .status,
        401
    );
    let seen = calls(&world, &key, "?limit=1");
    assert_eq!(
        (&seen[0]["outcome"], &seen[0]["status_code"]),
        (&json!("revoked"), &json!(401))
    );
}

#[test]
fn a_gateway_that_asks_has_a_history_of_its_own() {
    let world = World::new();
    let (_, raw) = usage::key(&world, &["cases:read"]);
    let (gateway, token) = usage::key(&world, &["keys:verify"]);
    let asks = |path: &str| {
        let request = ask("GET", path).by(&raw).with("user-agent", "its client's");
        request.with("x-keyledger-gateway", &token)
    };
    let envoy = "/v1/forward-auth/envoy";
    let badge = format!("{envoy}/badge/x?q=1");
    assert_eq!(world.send(asks(&badge)).status, 200);
    let lacking = asks("/v1/forward-auth/nginx").with("x-original-uri", "/badge");
    let lacking = lacking.with("x-keyledger-require-scopes", "cases:write");
    assert_eq!(world.send(lacking).status, 403);
    let change = |scope: &str| {
        let scopes = json!({"scopes": [scope]});
        world.patch(&world.acme.admin, &path(&world, &gateway), &scopes);
    };
    change("cases:read");
    assert_eq!(world.send(asks("/v1/forward-auth")).status, 401);
    change("keys:verify");
    let disable = format!("{}/disable", path(&world, &gateway));
    world.post(&world.acme.admin, &disable, &json!({}));
    assert_eq!(world.send(asks("/v1/forward-auth")).status, 401);
    let seen = calls(&world, &gateway, "");
    let (root, nginx) = ("/v1/forward-auth", "/v1/forward-auth/nginx");
    assert_eq!(each(&seen, "endpoint"), [root, root, nginx, envoy]);
    let outcomes = ["disabled", "insufficient_scope", "valid", "valid"];
    assert_eq!(each(&seen, "outcome"), outcomes);
    assert_eq!(each(&seen, "status_code"), [401, 401, 403, 200]);
    assert_eq!(each(&seen, "user_agent"), vec![Value::Null; 4]);
    assert_eq!(each(&seen, "ip_address"), vec![PEER.ip().to_string(); 4]);
    assert_eq!(record(&world, &gateway)["last_used_at"], START);
    let exercised = world.usage.exercised_scopes(gateway.parse().unwrap());
    assert_eq!(exercised, ["keys:verify"]);
}

#[test]
fn the_call_that_ends_a_token_is_its_last() {
    let world = World::new();
    let form = "application/x-www-form-urlencoded";
    for by_header in [false, true] {
        let (key, raw) = usage::key(&world, &["cases:read"]);
        for _ in 0..2 {
            let revoke = ask("POST", "/oauth2/revoke").with("content-type", form);
            let revoke = revoke.body(format!("token={raw}"));
            let revoke = if by_header { revoke.by(&raw) } else { revoke };
            assert_eq!(world.send(revoke).status, 200);
        }
        let seen = calls(&world, &key, "?outcome=valid");
        assert_eq!(each(&seen, "endpoint"), ["/oauth2/revoke"], "{by_header}");
        assert_eq!(each(&seen, "status_code"), [200]);
    }
}

#[test]
fn the_clients_address_is_what_a_trusted_gateway_says() {
    let world = World::new();
    let (key, raw) = usage::key(&world, &["cases:read"]);
    let asks = |trusted: &[&str], forwarded: &str| {
        let settings = HttpSettings {
            trusted: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            usage: Some(world.usage.clone()),
            ..HttpSettings::default()
        };
        let request = ask("GET", "/v1/forward-auth").by(&raw);
        let request = request.with("x-keyledger-gateway", &world.acme.admin);
        let request = request.with("x-forwarded-for", forwarded);
        let router = router(world.ledger.clone(), settings);
        let reply = world.runtime.block_on(answered(router, request));
        assert_eq!(reply.status, 200);
        calls(&world, &key, "?limit=1")[0]["ip_address"].clone()
    };
    let (peer, client) = (PEER.ip().to_string(), "198.51.100.7");
    let spoofed = format!("6.6.6.6, {client}");
    let with_ports = format!("{client}:51008, 203.0.113.11:80");
    for (trusted, forwarded, recorded) in [
        (&[][..], client, peer.as_str()),
        (&["203.0.113.0/24"], client, client),
        (&["203.0.113.0/24"], &with_ports, client),
        (&["203.0.113.0/24"], "[2001:db8::1]:443", "2001:db8::1"),
        (&["203.0.113.0/24"], &spoofed, client),
        (&["10.0.0.0/8"], client, &peer),
    ] {
        assert_eq!(
            asks(trusted, forwarded),
            recorded,
            "{trusted:?} {forwarded}"
        );
    }
}
