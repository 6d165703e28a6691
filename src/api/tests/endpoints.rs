//! Webhook endpoints over HTTP.

use serde_json::{Value, json};

use crate::api::tests::{START, World, ask, ids, text, with};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const URL: &str = "https://hooks.example/keys";

fn path(world: &World) -> String {
    format!("{}/webhook-endpoints", world.acme.path)
}

fn sample() -> Value {
    json!({"url": URL, "event_types": ["api_key.*"]})
}

/// A new endpoint of Acme: its path, its record and its secret.
fn made(world: &World, body: &Value) -> (String, Value, Value) {
    let made = world.post(&world.acme.admin, &path(world), body);
    let made = made.expect(201);
    let one = format!("{}/{}", path(world), text(&made["endpoint"]["id"]));
    (one, made["endpoint"].clone(), made["secret"].clone())
}

#[test]
fn an_endpoint_is_made_with_a_secret_and_shown_without_it() {
    let world = World::new();
    let body = json!({
        "url": URL, "event_types": ["api_key.*", "member.added"], "description": "Chat",
        "project_id": world.acme.project, "ordered": true, "signature": "v1",
    });
    let (one, record, secret) = made(&world, &body);
    assert!(text(&secret).starts_with("whsec_"));
    let expected = json!({
        "id": record["id"],
        "organization_id": world.acme.id,
        "project_id": world.acme.project,
        "url": URL,
        "description": "Chat",
        "event_types": ["api_key.*", "member.added"],
        "ordered": true,
        "signature": "v1",
        "public_key": null,
        "status": "active",
        "is_active": true,
        "disabled_because": null,
        "failing": null,
        "secrets": [{
            "id": record["secrets"][0]["id"],
            "created_at": START,
            "valid_until": null,
            "usable": true,
        }],
        "version": 1,
        "created_by": world.acme.key,
        "created_at": START,
        "updated_at": START,
    });
    assert_eq!(record, expected);
    let shown = world.get(&world.acme.admin, &one);
    assert_eq!(shown.expect(200), expected);
    assert_eq!(shown.header("etag"), Some("\"1\""));
    let listed = world.get(&world.acme.admin, &path(&world)).expect(200);
    assert_eq!(listed[0], expected);
}

#[test]
fn a_key_pair_shows_its_public_half_and_a_given_secret_comes_back() {
    let world = World::new();
    let body = json!({"url": URL, "event_types": ["*"], "signature": "v1a"});
    let (_, record, secret) = made(&world, &body);
    assert_eq!(secret, Value::Null);
    assert!(text(&record["public_key"]).starts_with("whpk_"));
    assert_eq!(record["signature"], "v1a");
    let given = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let body = json!({"url": URL, "event_types": ["*"], "secret": given});
    assert_eq!(made(&world, &body).2, given);
}

#[test]
fn lists_are_newest_first_and_by_status() {
    let world = World::new();
    let admin = &world.acme.admin;
    let first = world.acme.endpoint.clone();
    let (disabled, record, _) = made(&world, &sample());
    let second = text(&record["id"]);
    let (deleted, record, _) = made(&world, &sample());
    let third = text(&record["id"]);
    let off = format!("{disabled}/disable");
    world.post(admin, &off, &json!({})).expect(200);
    world.send(ask("DELETE", &deleted).by(admin)).expect(200);
    let list = |query: &str| {
        let reply = world.get(admin, &format!("{}{query}", path(&world)));
        ids(&reply.expect(200))
    };
    assert_eq!(list(""), [&third, &second, &first].map(Clone::clone));
    assert_eq!(list("?status=active"), [first.as_str()]);
    assert_eq!(list("?status=disabled"), [second.as_str()]);
    assert_eq!(list("?status=deleted"), [third.as_str()]);
    assert_eq!(list("?limit=1"), [third.as_str()]);
    let wrong = format!("{}?status=gone", path(&world));
    assert_eq!(world.get(admin, &wrong).refused(400), "query_invalid");
}

#[test]
fn an_edit_answers_a_secret_where_the_host_is_another_and_null_else() {
    let world = World::new();
    let (one, record, secret) = made(&world, &sample());
    let patch = |body: &Value| world.patch(&world.acme.admin, &one, body).expect(200);
    let changed = json!({"url": "https://hooks.example/b", "description": "x", "version": 2});
    let edit = json!({"url": "https://hooks.example/b", "description": "x"});
    let expected = with(&record, &changed);
    let answer = json!({"endpoint": expected, "secret": null});
    assert_eq!(patch(&edit), answer);
    assert_eq!(patch(&edit), answer, "nothing changed");
    let moved = patch(&json!({"url": "https://other.example/b"}));
    assert!(text(&moved["secret"]).starts_with("whsec_"));
    assert_ne!(moved["secret"], secret);
    let secrets = moved["endpoint"]["secrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 1);
    assert_ne!(secrets[0]["id"], record["secrets"][0]["id"]);
    let cleared = patch(&json!({"description": null}));
    assert_eq!(cleared["endpoint"]["description"], "");
    for (body, field) in [
        (json!({"url": null}), "url"),
        (json!({"event_types": null}), "event_types"),
        (json!({"signature": "v1a"}), "signature"),
        (json!({"project_id": null}), "project_id"),
        (json!({"secret": "x"}), "secret"),
    ] {
        let reply = world.patch(&world.acme.admin, &one, &body);
        assert_eq!(reply.expect(422)["errors"][0]["field"], field);
    }
}

#[test]
fn a_rotation_overlaps_for_a_day_unless_it_is_said() {
    let world = World::new();
    let (one, record, secret) = made(&world, &sample());
    let rotate =
        |body: &Value| world.post(&world.acme.admin, &format!("{one}/rotate-secret"), body);
    let first = &record["secrets"][0]["id"];
    let until =
        |ms: i64| crate::domain::time::Timestamp(crate::api::tests::START_MS + ms).to_string();
    for (body, valid_until) in [
        (json!({"overlap_seconds": 60}), vec![until(60_000)]),
        // The answer of the first may have been lost: what was there before signs its minute.
        (
            json!({"overlap_seconds": 2_592_000}),
            vec![until(30 * DAY_MS), until(60_000)],
        ),
    ] {
        let rotated = rotate(&body).expect(200);
        assert!(text(&rotated["secret"]).starts_with("whsec_"));
        assert_ne!(rotated["secret"], secret);
        let secrets = &rotated["endpoint"]["secrets"];
        assert_eq!(secrets[0]["valid_until"], Value::Null);
        let earlier = secrets.as_array().unwrap().iter().skip(1);
        let ends: Vec<_> = earlier.map(|secret| text(&secret["valid_until"])).collect();
        assert_eq!(ends, valid_until);
    }
    let path = format!("{one}/rotate-secret");
    let bare = world.send(ask("POST", &path).by(&world.acme.admin));
    let secrets = bare.expect(200)["endpoint"]["secrets"].clone();
    assert_eq!(secrets[1]["valid_until"], until(DAY_MS));
    assert_ne!(secrets[1]["id"], *first);
    let none = rotate(&json!({"overlap_seconds": 0})).expect(200);
    assert_eq!(none["endpoint"]["secrets"].as_array().unwrap().len(), 1);
    for (body, code, field) in [
        (
            json!({"overlap_seconds": 2_592_001}),
            "overlap_too_long",
            "overlap_seconds",
        ),
        (
            json!({"overlap_seconds": -1}),
            "field_invalid",
            "overlap_seconds",
        ),
        (
            json!({"secret": "whsec_"}),
            "signing_secret_invalid",
            "secret",
        ),
    ] {
        let reply = rotate(&body);
        assert_eq!(reply.refused(422), code);
        assert_eq!(reply.json()["errors"][0]["field"], field);
    }
}

#[test]
fn disable_enable_and_delete_may_be_repeated() {
    let world = World::new();
    let (one, record, _) = made(&world, &sample());
    let admin = &world.acme.admin;
    let post = |verb: &str, body: &Value| world.post(admin, &format!("{one}/{verb}"), body);
    let off = json!({
        "status": "disabled", "is_active": false, "disabled_because": "requested", "version": 2,
    });
    let off = with(&record, &off);
    let on = with(&record, &json!({"version": 3}));
    for _ in 0..2 {
        assert_eq!(post("disable", &json!({})).expect(200), off);
    }
    for from in ["where_it_stopped", "now"] {
        assert_eq!(post("enable", &json!({"from": from})).expect(200), on);
    }
    let wrong = post("enable", &json!({"from": "yesterday"}));
    assert_eq!(wrong.expect(422)["errors"][0]["field"], "from");
    let gone = with(
        &on,
        &json!({"status": "deleted", "is_active": false, "version": 4}),
    );
    let position = world.next_position();
    for _ in 0..2 {
        let deleted = world.send(ask("DELETE", &one).by(admin));
        assert_eq!(deleted.expect(200), gone);
        assert_eq!(world.next_position(), position + 1);
    }
    assert_eq!(world.get(admin, &one).expect(200), gone);
    for reply in [
        post("disable", &json!({})),
        post("enable", &json!({})),
        post("rotate-secret", &json!({})),
        world.patch(admin, &one, &json!({"ordered": true})),
    ] {
        assert_eq!(reply.refused(409), "webhook_endpoint_deleted");
    }
}

#[test]
fn an_address_where_nothing_is_delivered_is_refused_with_the_reason() {
    let world = World::new();
    for (url, message) in [
        (
            "",
            "it is not an https URL with a host, like https://example.com/hooks",
        ),
        (
            "hooks.example",
            "it is not an https URL with a host, like https://example.com/hooks",
        ),
        ("http://hooks.example/", "the URL begins with https://"),
        (
            "https://10.0.0.1/",
            "10.0.0.1 is a private address, where no delivery goes",
        ),
        (
            "https://[::ffff:127.0.0.1]/",
            "127.0.0.1 is a loopback address, where no delivery goes",
        ),
        (
            "https://169.254.169.254/",
            "169.254.169.254 is a link-local address, where no delivery goes",
        ),
        (
            "https://a:b@hooks.example/",
            "the URL has no user name and no password: deliveries are signed instead",
        ),
        (
            "https://hooks.example:22/",
            "port 22 is not delivered to, only 80, 443 and 1024 to 65535",
        ),
        (
            &format!("https://hooks.example/{}", "x".repeat(2_000)),
            "the URL is longer than 2000 bytes",
        ),
    ] {
        let body = json!({"url": url, "event_types": ["api_key.*"]});
        let one = format!("{}/{}", path(&world), world.acme.endpoint);
        for reply in [
            world.post(&world.acme.admin, &path(&world), &body),
            world.patch(&world.acme.admin, &one, &json!({"url": url})),
        ] {
            assert_eq!(reply.refused(422), "url_refused", "{url}");
            let error = json!([{"field": "url", "message": message}]);
            assert_eq!(reply.json()["errors"], error, "{url}");
        }
    }
}

#[test]
fn a_field_that_is_wrong_is_named() {
    let world = World::new();
    let good = json!({
        "url": URL, "event_types": ["api_key.*"], "description": null, "project_id": null,
        "ordered": false, "signature": "v1", "secret": null,
    });
    let position = world.next_position();
    for (change, code, field) in [
        (json!({"url": 7}), "field_invalid", "url"),
        (json!({"event_types": []}), "field_empty", "event_types"),
        (
            json!({"event_types": ["api_key.x"]}),
            "event_type_not_delivered",
            "event_types",
        ),
        (
            json!({"event_types": vec!["*"; 51]}),
            "field_too_long",
            "event_types",
        ),
        (
            json!({"event_types": ["*", 7]}),
            "field_invalid",
            "event_types[1]",
        ),
        (
            json!({"description": "x".repeat(2_001)}),
            "field_too_long",
            "description",
        ),
        (
            json!({"project_id": world.globex.project}),
            "unknown_project",
            "project_id",
        ),
        (json!({"project_id": "x"}), "unknown_project", "project_id"),
        (json!({"ordered": "yes"}), "field_invalid", "ordered"),
        (json!({"signature": "v2"}), "field_invalid", "signature"),
        (
            json!({"secret": "whsec_c2hvcnQ="}),
            "signing_secret_invalid",
            "secret",
        ),
    ] {
        let reply = world.post(&world.acme.admin, &path(&world), &with(&good, &change));
        assert_eq!(reply.refused(422), code, "{change}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{change}");
    }
    let entry = json!({"event_types": ["*", "usage.sealed"]});
    let reply = world.post(&world.acme.admin, &path(&world), &with(&good, &entry));
    let message =
        "the event type \"usage.sealed\" belongs to no organization and is never delivered";
    assert_eq!(reply.json()["errors"][0]["message"], message);
    assert_eq!(world.next_position(), position);
}

#[test]
fn the_fifty_first_endpoint_is_refused() {
    let world = World::new();
    for _ in 1..50 {
        made(&world, &sample());
    }
    let reply = world.post(&world.acme.admin, &path(&world), &sample());
    assert_eq!(reply.refused(422), "too_many_endpoints");
    let first = format!("{}/{}", path(&world), world.acme.endpoint);
    world
        .send(ask("DELETE", &first).by(&world.acme.admin))
        .expect(200);
    made(&world, &sample());
}

#[test]
fn a_filter_beyond_credentials_needs_leave_to_read_the_ledger() {
    let world = World::new();
    let writer = world.holder(&["webhooks:write"]);
    let all = json!({"url": URL, "event_types": ["*"]});
    let reply = world.post(&writer, &path(&world), &all);
    assert_eq!(reply.refused(403), "forbidden");
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.ends_with("scope=\"ledger:read\""), "{challenge}");
    let one = world.post(&writer, &path(&world), &sample()).expect(201);
    let one = format!("{}/{}", path(&world), text(&one["endpoint"]["id"]));
    let types = json!({"event_types": ["member.*"]});
    assert_eq!(world.patch(&writer, &one, &types).refused(403), "forbidden");
    let reader = world.holder(&["webhooks:write", "ledger:read"]);
    world.patch(&reader, &one, &types).expect(200);
}

#[test]
fn whoever_is_bound_to_a_project_sees_its_endpoints_alone() {
    let world = World::new();
    let acme = &world.acme;
    let grant = Grant {
        scopes: vec!["admin:*".to_owned()],
        ..Grant::default()
    };
    let project = Some(acme.project.parse().unwrap());
    let (_, bound) = world.issued(&acme.id, (Kind::Organization, &acme.id, project), grant);
    let refused = world.post(&bound, &path(&world), &sample());
    assert_eq!(refused.refused(403), "beyond_your_authority");
    let body = json!({"url": URL, "event_types": ["*"], "project_id": acme.project});
    let own = world.post(&bound, &path(&world), &body).expect(201);
    let own = text(&own["endpoint"]["id"]);
    let listed = world.get(&bound, &path(&world)).expect(200);
    assert_eq!(ids(&listed), [own.as_str()]);
    world
        .get(&bound, &format!("{}/{own}", path(&world)))
        .expect(200);
    let other = format!("{}/{}", path(&world), acme.endpoint);
    for request in [
        ask("GET", &other),
        ask("GET", &format!("{other}/events")),
        ask("DELETE", &other),
        ask("PATCH", &other).json(&json!({"ordered": true})),
        ask("POST", &format!("{other}/rotate-secret")).json(&json!({})),
    ] {
        let reply = world.send(request.by(&bound));
        assert_eq!(reply.refused(404), "not_found");
    }
}

#[test]
fn a_history_tells_what_happened_and_no_secret_in_any_form() {
    let world = World::new();
    let (one, record, _) = made(&world, &sample());
    let rotate = format!("{one}/rotate-secret");
    world
        .post(&world.acme.admin, &rotate, &json!({}))
        .expect(200);
    let events = world.get(&world.acme.admin, &format!("{one}/events"));
    assert!(!events.text.contains("sealed"), "{}", events.text);
    let events = events.expect(200);
    let types = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["type"]);
    let types: Vec<_> = types.collect();
    assert_eq!(
        types,
        [
            "webhook_endpoint.secret_rotated",
            "webhook_endpoint.created"
        ]
    );
    let secret = json!({"id": record["secrets"][0]["id"], "public_key": null});
    assert_eq!(events[1]["data"]["secret"], secret);
    assert_eq!(events[1]["data"]["url"], URL);
}
