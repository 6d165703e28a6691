//! Who is refused, and when there is nothing that delivers.

use crate::api::tests::deliveries::*;
use crate::api::tests::{Ask, Reply};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;

/// Every request about the deliveries of an endpoint: method, path below it, body.
fn requests() -> Vec<(&'static str, String, Option<Value>)> {
    let delivery = "/deliveries/dlv_01KQ01SD60AADFP7C33DS9A67N";
    vec![
        ("POST", "/ping".to_owned(), Some(json!({}))),
        (
            "POST",
            "/example".to_owned(),
            Some(json!({"type": "api_key.created"})),
        ),
        ("GET", "/deliveries".to_owned(), None),
        ("GET", delivery.to_owned(), None),
        ("POST", format!("{delivery}/redeliver"), Some(json!({}))),
        ("GET", "/status".to_owned(), None),
        ("POST", "/replay".to_owned(), Some(json!({"from": 0}))),
        (
            "POST",
            "/replay".to_owned(),
            Some(json!({"from": 0, "dry_run": true})),
        ),
    ]
}

fn send(
    world: &World,
    (by, endpoint): (&str, &str),
    request: &(&'static str, String, Option<Value>),
) -> Reply {
    let (method, path, body) = request;
    let asked: Ask = ask(method, &format!("{endpoint}{path}")).by(by);
    world.send(match body {
        Some(body) => asked.json(body),
        None => asked,
    })
}

#[test]
fn a_server_that_delivers_nothing_says_so() {
    let world = World::new();
    let endpoint = format!(
        "{}/webhook-endpoints/{}",
        world.acme.path, world.acme.endpoint
    );
    for request in requests() {
        let reply = send(&world, (&world.acme.admin, &endpoint), &request);
        assert_eq!(reply.refused(503), "webhooks_off", "{request:?}");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
}

#[test]
fn a_server_that_is_ending_begins_nothing_and_still_shows() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    key(&world, "CI");
    let delivery = text(&attempts(&world, &endpoint)[0]["id"]);
    world.runtime.block_on(world.webhooks().stop());
    let one = format!("{endpoint}/deliveries/{delivery}");
    let admin = &world.acme.admin;
    for (path, body) in [
        ("/ping".to_owned(), json!({})),
        ("/example".to_owned(), json!({"type": "api_key.created"})),
        (format!("/deliveries/{delivery}/redeliver"), json!({})),
        ("/replay".to_owned(), json!({"from": 0})),
    ] {
        let reply = world.post(admin, &format!("{endpoint}{path}"), &body);
        assert_eq!(reply.refused(503), "stopping", "{path}");
    }
    let status = world.get(admin, &format!("{endpoint}/status"));
    assert_eq!(status.refused(503), "stopping");
    assert_eq!(shown(&world, &one)["status"], "delivered");
    assert_eq!(
        shown(&world, &format!("{endpoint}/deliveries"))[0]["id"],
        delivery
    );
}

#[test]
fn a_deleted_endpoint_is_not_delivered_to_and_its_deliveries_stay_shown() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    key(&world, "CI");
    let delivery = text(&attempts(&world, &endpoint)[0]["id"]);
    receiver.all(&world);
    let admin = &world.acme.admin;
    world.send(ask("DELETE", &endpoint).by(admin)).expect(200);
    let one = format!("{endpoint}/deliveries/{delivery}");
    for (path, body) in [
        (format!("{endpoint}/ping"), json!({})),
        (
            format!("{endpoint}/example"),
            json!({"type": "api_key.created"}),
        ),
        (format!("{one}/redeliver"), json!({})),
        (format!("{endpoint}/replay"), json!({"from": 0})),
        (
            format!("{endpoint}/replay"),
            json!({"from": 0, "dry_run": true}),
        ),
    ] {
        let reply = world.post(admin, &path, &body);
        assert_eq!(reply.refused(409), "webhook_endpoint_deleted", "{path}");
    }
    assert!(receiver.all(&world).is_empty());
    assert_eq!(shown(&world, &one)["status"], "delivered");
}

#[test]
fn a_test_and_what_is_no_delivery_are_not_delivered_once_more() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    let (other, _) = crate::api::tests::deliveries::endpoint(&world, &receiver.url());
    let ping = begun(&world, &format!("{endpoint}/ping"), &json!({}));
    world.settled();
    receiver.all(&world);
    let admin = &world.acme.admin;
    let redeliver = |endpoint: &str, delivery: &str| {
        let path = format!("{endpoint}/deliveries/{delivery}/redeliver");
        world.post(admin, &path, &json!({}))
    };
    assert_eq!(redeliver(&endpoint, &ping).refused(409), "test_delivery");
    for (endpoint, delivery) in [
        (&other, ping.as_str()),
        (&endpoint, "dlv_01KQ01SD60AADFP7C33DS9A67N"),
        (&endpoint, "nonsense"),
        (&endpoint, world.acme.endpoint.as_str()),
    ] {
        let reply = redeliver(endpoint, delivery);
        assert_eq!(reply.refused(404), "not_found", "{delivery}");
        let path = format!("{endpoint}/deliveries/{delivery}");
        assert_eq!(world.get(admin, &path).refused(404), "not_found");
    }
    assert!(receiver.all(&world).is_empty());
}

#[test]
fn a_body_that_is_wrong_names_its_field() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    for (path, body, code, field) in [
        ("ping", json!({"type": "ping"}), "field_unknown", "type"),
        ("example", json!({}), "field_missing", "type"),
        ("example", json!({"type": 7}), "field_invalid", "type"),
        (
            "example",
            json!({"type": "api_key.x"}),
            "event_type_not_delivered",
            "type",
        ),
        (
            "example",
            json!({"type": "usage.sealed"}),
            "event_type_not_delivered",
            "type",
        ),
        (
            "example",
            json!({"type": "ping"}),
            "event_type_not_delivered",
            "type",
        ),
    ] {
        let path = format!("{endpoint}/{path}");
        let reply = world.post(&world.acme.admin, &path, &body);
        assert_eq!(reply.refused(422), code, "{body}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{body}");
    }
}

#[test]
fn whoever_is_bound_to_a_project_sees_the_deliveries_of_its_endpoints_alone() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let acme = &world.acme;
    let grant = Grant {
        scopes: vec!["admin:*".to_owned()],
        ..Grant::default()
    };
    let project = Some(acme.project.parse().unwrap());
    let (_, bound) = world.issued(&acme.id, (Kind::Organization, &acme.id, project), grant);
    let (other, _) = endpoint(&world, &receiver.url());
    for request in requests() {
        let reply = send(&world, (&bound, &other), &request);
        assert_eq!(reply.refused(404), "not_found", "{request:?}");
        assert!(reply.text.contains("webhook endpoint"), "{reply:?}");
    }
    let body = json!({
        "url": receiver.url(), "event_types": ["api_key.*"], "project_id": acme.project,
    });
    let (own, _) = endpoint_for(&world, &body);
    for request in requests() {
        let reply = send(&world, (&bound, &own), &request);
        let unknown = request.1.contains("dlv_");
        assert_eq!(reply.status == 404, unknown, "{request:?}: {reply:?}");
        assert!(unknown || reply.status < 300, "{request:?}: {reply:?}");
    }
}
