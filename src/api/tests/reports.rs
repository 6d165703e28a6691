//! Reports of calls that were made elsewhere: what is taken, and what is refused.

use serde_json::{Value, json};

use crate::api::tests::usage;
use crate::api::tests::usage::{calls, record};
use crate::api::tests::{Reply, World, ask};

fn report(world: &World, by: &str, lines: &[Value]) -> Reply {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let request = ask("POST", "/v1/usage").by(by).body(lines);
    world.send(request.with("content-type", "application/x-ndjson"))
}

#[test]
fn a_report_moves_last_reported_at_and_never_last_used_at() {
    let world = World::new();
    let (key, _) = usage::key(&world, &["cases:read"]);
    let (gateway, token) = usage::key(&world, &["usage:write"]);
    let line = |created_at: &str| {
        json!({"key_id": key, "endpoint": "/api?x=1", "method": "GET", "status_code": 200,
            "duration_ms": 142.7, "created_at": created_at, "ip_address": "2001:db8::1"})
    };
    let lines = [line("2026-04-24T14:00:00Z"), line("2026-04-24T15:31:00Z")];
    let reply = report(&world, &token, &lines);
    assert_eq!(reply.expect(201), json!({"recorded": 2}));
    let shown = record(&world, &key);
    assert_eq!(shown["last_used_at"], Value::Null);
    assert_eq!(shown["last_reported_at"], "2026-04-24T15:31:00.000Z");
    assert_eq!(shown["usage_status"], "used");
    let seen = calls(&world, &key, "");
    let expected = json!({
        "id": seen[1]["id"], "key_id": key, "endpoint": "/api", "method": "GET",
        "status_code": 200, "duration_ms": 142.7, "request_id": null,
        "ip_address": "2001:db8::1", "user_agent": null,
        "created_at": "2026-04-24T14:00:00.000Z", "outcome": "valid", "secret_id": null,
        "reported": true, "reported_by": gateway,
    });
    assert_eq!(seen[1], expected);
    assert_eq!(seen[0]["created_at"], "2026-04-24T15:31:00.000Z");
}

#[test]
fn a_report_is_taken_whole_or_refused_with_its_line_and_field() {
    let world = World::new();
    let (key, _) = usage::key(&world, &["cases:read"]);
    let (_, token) = usage::key(&world, &["usage:write"]);
    let good = json!({"key_id": key, "endpoint": "/", "method": "GET", "status_code": 200,
        "duration_ms": 1});
    let with = |field: &str, value: Value| {
        let mut line = good.clone();
        line[field] = value;
        line
    };
    for (field, value) in [
        ("key_id", json!("key_01KQ01SD60FRX45EC3N3VTP000")),
        ("key_id", json!(world.globex.key)),
        ("key_id", json!("nonsense")),
        ("endpoint", json!("/".repeat(2_049))),
        ("status_code", json!(99)),
        ("status_code", json!("200")),
        ("duration_ms", json!(-1)),
        ("ip_address", json!("1.2.3")),
        ("secret_id", json!("sec_01KQ01SD60FRX45EC3N3VTP3HB")),
        ("outcome", json!("fine")),
        ("created_at", json!("2026-04-23T15:29:59Z")),
        ("created_at", json!("2026-04-24T15:31:01Z")),
        ("colour", json!("red")),
    ] {
        let reply = report(&world, &token, &[good.clone(), with(field, value.clone())]);
        let problem = reply.expect(422);
        reply.refused(422);
        assert_eq!(
            problem["errors"][0]["field"],
            format!("[1].{field}"),
            "{value}"
        );
    }
    assert_eq!(calls(&world, &key, ""), [Value::Null; 0]);
    let many = vec![good.clone(); 10_001];
    let problem = report(&world, &token, &many).expect(422);
    assert_eq!(problem["errors"][0]["field"], "body");
    let text = ask("POST", "/v1/usage").by(&token).json(&good);
    assert_eq!(world.send(text).refused(415), "media_type_not_json");
    assert_eq!(
        report(&world, &usage::key(&world, &["cases:read"]).1, &[good]).refused(403),
        "forbidden"
    );
    let broken = ask("POST", "/v1/usage").by(&token).body("{\n");
    let broken = world.send(broken.with("content-type", "application/x-ndjson"));
    assert_eq!(broken.refused(400), "not_json");
}

#[test]
fn no_secret_is_kept_of_a_report_wherever_it_stands() {
    let world = World::new();
    let (key, _) = usage::key(&world, &["cases:read"]);
    let (_, token) = usage::key(&world, &["usage:write"]);
    let line = json!({"key_id": key, "endpoint": format!("/badge/{token}"), "method": "GET",
        "status_code": 200, "duration_ms": 1, "request_id": token,
        "user_agent": format!("agent {token}")});
    report(&world, &token, &[line]).expect(201);
    let seen = calls(&world, &key, "");
    let texts = ["endpoint", "request_id", "user_agent"].map(|field| &seen[0][field]);
    assert_eq!(
        texts,
        [
            &json!("/badge/[secret]"),
            &json!("[secret]"),
            &json!("agent [secret]")
        ]
    );
}

#[test]
fn reports_that_are_refused_count_towards_the_quota_of_their_organization() {
    let world = World::new();
    let (key, _) = usage::key(&world, &["cases:read"]);
    let (_, token) = usage::key(&world, &["usage:write"]);
    let good = json!({"key_id": key, "endpoint": "/", "method": "GET", "status_code": 200,
        "duration_ms": 1});
    let longest = " ".repeat(8 * 1_024 * 1_024 - 1) + "{";
    for _ in 0..5 {
        let request = ask("POST", "/v1/usage").by(&token).body(longest.clone());
        let reply = world.send(request.with("content-type", "application/x-ndjson"));
        let problem = reply.expect(422);
        assert_eq!(problem["errors"][0]["field"], "[0]");
        assert_eq!(
            problem["errors"][0]["message"],
            "must have at most 65536 bytes"
        );
    }
    let refused = report(&world, &token, std::slice::from_ref(&good));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.refused(429), "too_many_reports");
    // Another organization has its own.
    let other = ask("POST", "/v1/usage").by(&world.globex.admin).body("\n");
    let other = world.send(other.with("content-type", "application/x-ndjson"));
    assert_eq!(other.expect(201), json!({"recorded": 0}));
    world.clock.advance_ms(1_000);
    report(&world, &token, &[good]).expect(201);
}

#[test]
fn a_line_that_cannot_be_parsed_goes_before_one_that_says_something_wrong() {
    let world = World::new();
    let (_, token) = usage::key(&world, &["usage:write"]);
    let wrong = json!({"key_id": "nonsense", "endpoint": "/", "method": "GET",
        "status_code": 200, "duration_ms": 1});
    for (second, status, code) in [("{", 400, "not_json"), ("", 422, "field_invalid")] {
        let lines = format!("\n{wrong}\n{second}\n");
        let request = ask("POST", "/v1/usage").by(&token).body(lines);
        let reply = world.send(request.with("content-type", "application/x-ndjson"));
        assert_eq!(reply.refused(status), code);
    }
}
