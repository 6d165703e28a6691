//! The service in numbers: what they are called, who may read them, and what they never hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::extract::FromRef;
use serde_json::json;

use crate::api::router;
use crate::api::tests::deliveries::{Receiver, begun, endpoint, inside, key};
use crate::api::tests::{Ask, World, answered, ask};
use crate::web::http_settings::HttpSettings;

pub(super) fn from(address: &str, path: &str) -> Ask {
    let mut asked = ask("GET", path);
    let address: SocketAddr = address.parse().unwrap();
    asked.0.extensions_mut().insert(ConnectInfo(address));
    asked
}

/// The samples of a text of metrics, by name and labels; every line must be one or a comment.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    assert!(
        text.contains("# TYPE keyledger_key_verifications_total counter\n"),
        "{text}"
    );
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("keyledger_"), "{line}");
        assert_eq!(
            samples.insert(name.to_owned(), value.parse().unwrap()),
            None,
            "{line}"
        );
    }
    samples
}

#[test]
fn the_numbers_count_what_happened() {
    let world = World::new();
    let (_, raw) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    for body in [
        json!({"key": raw}),
        json!({"key": raw, "required_scopes": ["cases:write"]}),
        json!({"key": "x"}),
    ] {
        world
            .post(&world.acme.admin, "/v1/verify", &body)
            .expect(200);
    }
    let batch = json!({"keys": [{"key": raw}, {"key": raw}]});
    world
        .post(&world.acme.admin, "/v1/verify/batch", &batch)
        .expect(200);
    world.usage.wait_until_settled();
    let reply = world.send(from("127.0.0.1:9", "/metrics"));
    assert_eq!(reply.status, 200);
    let samples = samples(&reply.text);
    let events = world.next_position();
    let number = |name: &str| samples.get(&format!("keyledger_{name}")).copied();
    let made = number("events_appended_total{type=\"api_key.created\"}").unwrap();
    assert!(made > 10.0, "{made}");
    for (name, expected) in [
        ("key_verifications_total{outcome=\"valid\"}", 3.0),
        (
            "key_verifications_total{outcome=\"insufficient_scope\"}",
            1.0,
        ),
        ("key_verifications_total{outcome=\"malformed\"}", 1.0),
        ("key_verifications_total{outcome=\"revoked\"}", 0.0),
        ("verification_duration_seconds_count", 5.0),
        ("build_info{version=\"0.1.0\"}", 1.0),
        (
            "ledger_sequence",
            f64::from(u32::try_from(events).unwrap() - 1),
        ),
        ("projection_lag_events", 0.0),
        ("ledger_queue_depth{lane=\"ends\"}", 0.0),
        ("http_server_active_requests", 1.0),
        (
            "http_server_request_duration_seconds_count{http_request_method=\"POST\",\
             http_route=\"/v1/verify\",http_response_status_code=\"200\"}",
            3.0,
        ),
        ("usage_shed_total", 0.0),
        ("log_lines_dropped_total", 0.0),
    ] {
        assert_eq!(number(name), Some(expected), "{name}: {}", reply.text);
    }
    assert!(number("usage_recorded_total").unwrap() >= 8.0);
    for secret in [&raw, &world.acme.id, &world.acme.admin, &world.acme.key] {
        assert!(!reply.text.contains(secret.as_str()));
    }
}

#[test]
fn the_numbers_of_webhooks_count_attempts_and_name_no_endpoint() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    world.settled();
    let before = world.webhooks().metrics().attempts_by_outcome();
    let [_, ("failed", failed), ("dead", 0)] = before else {
        panic!("{before:?}");
    };
    // Those of the tenants, whose names nobody knows.
    assert!(failed > 0);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    key(&world, "CI");
    begun(&world, &format!("{endpoint}/ping"), &json!({}));
    let (off, _) = crate::api::tests::deliveries::endpoint(&world, &receiver.url());
    let disable = format!("{off}/disable");
    world
        .post(&world.acme.admin, &disable, &json!({}))
        .expect(200);
    world.settled();
    world.clock.advance_ms(2_500);
    world.settled();
    let reply = world.send(from("127.0.0.1:9", "/metrics"));
    let samples = samples(&reply.text);
    let of = |number: u64| f64::from(u32::try_from(number).unwrap());
    let attempts = world.webhooks().metrics().attempts_by_outcome();
    let failures = attempts[1].1;
    assert!(failures > failed, "the tenant's own endpoint has it too");
    for (name, expected) in [
        ("webhook_deliveries_total{outcome=\"delivered\"}", 2.0),
        ("webhook_deliveries_total{outcome=\"failed\"}", of(failures)),
        ("webhook_deliveries_total{outcome=\"dead\"}", 0.0),
        (
            "webhook_delivery_duration_seconds_count",
            of(failures) + 2.0,
        ),
        (
            "webhook_delivery_duration_seconds_bucket{le=\"0.001\"}",
            of(failures) + 2.0,
        ),
        ("webhook_pending", of(failures)),
        ("webhook_oldest_pending_seconds", 2.0),
        ("webhook_endpoints{state=\"active\"}", 1.0),
        ("webhook_endpoints{state=\"failing\"}", 2.0),
        ("webhook_endpoints{state=\"disabled\"}", 1.0),
    ] {
        let found = samples.get(&format!("keyledger_{name}"));
        assert_eq!(found, Some(&expected), "{name}: {}", reply.text);
    }
    let port = receiver.address.port().to_string();
    for secret in [&port, &"127.0.0.1".to_owned(), &"whe_".to_owned()] {
        assert!(!reply.text.contains(secret.as_str()), "{secret}");
    }
    // Who delivers nothing has no such numbers.
    let none = World::new().send(from("127.0.0.1:9", "/metrics"));
    assert!(!none.text.contains("keyledger_webhook"), "{}", none.text);
}

#[test]
fn a_client_of_this_machine_or_the_platform_reads_the_numbers() {
    let world = World::new();
    let local = || from("127.0.0.1:9", "/metrics");
    let mut settings = HttpSettings::default();
    let plain = router(world.ledger.clone(), settings.clone());
    settings.behind_proxy = true;
    let behind = router(world.ledger.clone(), settings);
    for (router, asked, status) in [
        (&plain, local(), 200),
        (&plain, from("[::1]:9", "/metrics"), 200),
        (&plain, from("[::ffff:127.0.0.1]:9", "/metrics"), 200),
        (&plain, local().with("x-forwarded-for", "203.0.113.1"), 401),
        (&plain, local().with("forwarded", "for=1"), 401),
        (&behind, local(), 401),
        (&behind, local().by(&world.platform), 200),
        (&plain, ask("GET", "/metrics"), 401),
        (&plain, ask("GET", "/metrics").by(&world.acme.admin), 403),
        (&plain, ask("GET", "/metrics").by(&world.platform), 200),
    ] {
        let line = format!("{:?}", asked.0);
        let reply = world.runtime.block_on(answered(router.clone(), asked));
        assert_eq!(reply.status, status, "{line}");
    }
}

#[test]
fn an_unknown_method_and_a_path_without_a_route_are_one_label_each() {
    let world = World::new();
    world.send(ask("BREW", "/v1/verify"));
    world.send(ask("GET", "/secret-path-of-somebody"));
    let text = world.send(from("127.0.0.1:9", "/metrics")).text;
    assert!(text.contains("http_request_method=\"_OTHER\""), "{text}");
    assert!(
        !text.contains("BREW") && !text.contains("secret-path"),
        "{text}"
    );
}

#[test]
fn a_busy_service_refuses_readings_and_still_verifies() {
    let world = World::new();
    let (router, state) = crate::api::app(world.ledger.clone(), HttpSettings::default());
    let app = crate::web::app::App::from_ref(&state);
    let taken = app.load.taken_but(crate::web::load::Class::Reading, 0);
    let send = |asked| world.runtime.block_on(answered(router.clone(), asked));
    let key = format!("{}/api-keys/{}", world.acme.path, world.acme.key);
    let refused = send(ask("GET", &format!("{key}/events")).by(&world.acme.admin));
    assert_eq!(refused.refused(503), "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let verify = ask("POST", "/v1/verify").by(&world.acme.admin);
    assert_eq!(send(verify.json(&json!({"key": "x"}))).status, 200);
    assert_eq!(send(ask("GET", &key).by(&world.acme.admin)).status, 200);
    let text = send(from("127.0.0.1:9", "/metrics")).text;
    assert_eq!(
        samples(&text).get("keyledger_http_server_refused_total{reason=\"reading\"}"),
        Some(&1.0)
    );
    drop(taken);
    assert_eq!(
        send(ask("GET", &format!("{key}/events")).by(&world.acme.admin)).status,
        200
    );
}
