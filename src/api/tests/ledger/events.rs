//! Stored events, checkpoints that are told of, and notes of who reads.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api::tests::ledger::{commitment, keys, parsed, payloads};
use crate::api::tests::{World, answered, ask, text};
use crate::domain::event::Fact;
use crate::merkle::Checkpoint;

#[test]
fn a_tenants_auditor_sees_its_own_events_and_that_none_is_missing() {
    let world = World::new();
    let newest = world.next_position() - 1;
    let reply = world.get(&world.acme.admin, "/v1/ledger/events");
    let own = payloads(&reply);
    let mut previous = Value::Null;
    for (sequence, payload) in own.iter().enumerate() {
        let event: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(event["organization_id"], world.acme.id.as_str());
        assert_eq!(event["organization_sequence"], sequence);
        assert_eq!(event["organization_previous"], previous);
        previous = json!(hex::encode(commitment(payload)));
    }
    assert_eq!(
        reply.header("ledger-position"),
        Some(newest.to_string().as_str())
    );
    // All that is stored, in order, is the platform's alone.
    let all = payloads(&world.get(&world.platform, "/v1/ledger/events"));
    for (position, payload) in all.iter().enumerate() {
        let stored = world.ledger.reader().read_payload(position as u64).unwrap();
        assert_eq!(payload.as_bytes(), stored);
    }
    let of_acme = format!("/v1/ledger/events?organization_id={}", world.acme.id);
    assert_eq!(payloads(&world.get(&world.platform, &of_acme)), own);
    let foreign = world.get(&world.globex.admin, &of_acme);
    assert_eq!(foreign.refused(404), "not_found");
}

#[test]
fn stored_events_are_found_by_what_they_are() {
    let world = World::new();
    let admin = &world.acme.admin;
    let events = |query: &str| {
        let reply = world.get(admin, &format!("/v1/ledger/events?{query}"));
        parsed(&payloads(&reply))
    };
    let all = events("");
    let matching = |test: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        all.iter().filter(|event| test(event)).cloned().collect()
    };
    let position = |event: &Value| event["position"].as_u64().unwrap();
    let middle = position(&all[all.len() / 2]);
    let key = world.acme.key.as_str();
    let when = text(&all[0]["occurred_at"]);
    let is_of_keys = |event: &Value| text(&event["type"]).starts_with("api_key.");
    let is_of_the_key = |event: &Value| event["subject"] == key;
    let is_by_the_key = |event: &Value| event["actor"]["via"] == key;
    let cases: [(String, Vec<Value>); 9] = [
        (
            format!("after={middle}"),
            matching(&|e| position(e) > middle),
        ),
        (
            format!("from={middle}"),
            matching(&|e| position(e) >= middle),
        ),
        (format!("to={middle}"), matching(&|e| position(e) < middle)),
        (format!("from={when}"), all.clone()),
        (format!("to={when}"), Vec::new()),
        ("type=api_key.*".to_owned(), matching(&is_of_keys)),
        (format!("subject={key}"), matching(&is_of_the_key)),
        (format!("actor={key}"), matching(&is_by_the_key)),
        ("limit=2".to_owned(), all[..2].to_vec()),
    ];
    for (query, expected) in cases {
        assert_eq!(events(&query), expected, "{query}");
    }
    assert!(!matching(&is_by_the_key).is_empty());
    for (query, status, code) in [
        ("limit=0", 400, "query_invalid"),
        ("limit=1000001", 400, "query_invalid"),
        ("type=api_key", 400, "query_invalid"),
        ("type=*", 400, "query_invalid"),
        ("subject=x", 400, "query_invalid"),
        ("actor=org_01KQ01SD60AADFP7C33DS9A67N", 400, "query_invalid"),
        ("from=yesterday", 400, "query_invalid"),
        ("after=99999", 422, "position_unknown"),
        ("to=99999", 422, "position_unknown"),
        ("kind=x", 400, "query_invalid"),
        ("organization_id=x", 404, "not_found"),
    ] {
        let reply = world.get(admin, &format!("/v1/ledger/events?{query}"));
        assert_eq!(reply.refused(status), code, "{query}");
    }
}

#[test]
fn a_checkpoint_is_told_to_each_with_the_end_of_its_own_chain() {
    let world = World::new();
    let keys = keys(&world);
    let admin = &world.acme.admin;
    let path = "/v1/ledger/checkpoints";
    let told = world.send(ask("POST", path).by(admin));
    let told = told.expect(201);
    let note = text(&told["checkpoint"]);
    let checkpoint = Checkpoint::from_verified_note_of_any_log(&note, &keys).unwrap();
    assert_eq!(told["size"], checkpoint.size);
    assert_eq!(told["root"], hex::encode(checkpoint.root));
    for (tenant, auditor) in [(&world.acme, admin), (&world.globex, &world.globex.admin)] {
        let all = payloads(&world.get(auditor, "/v1/ledger/events"));
        let last = all.last().unwrap();
        let sequence = parsed(&all).last().unwrap()["organization_sequence"].clone();
        let pulled = world
            .get(auditor, "/v1/events?types=ledger.checkpointed")
            .expect(200);
        let expected = json!([{
            "id": pulled[0]["id"],
            "type": "ledger.checkpointed",
            "timestamp": "2026-04-24T15:30:00.000Z",
            "sequence": told["position"],
            "data": {
                "size": told["size"],
                "root": told["root"],
                "checkpoint": note,
                "organization_sequence": sequence,
                "organization_commitment": hex::encode(commitment(last)),
            },
        }]);
        assert_eq!(pulled, expected, "{}", tenant.id);
        let all = world.get(auditor, "/v1/events").expect(200);
        assert_eq!(all.as_array().unwrap().last(), expected.get(0));
    }
    // What happened later is not in it, however late it is asked for.
    let before = world.get(admin, "/v1/events?types=ledger.*").expect(200);
    world.key(&json!({"name": "later", "scopes": ["cases:read"]}));
    assert_eq!(
        world.get(admin, "/v1/events?types=ledger.*").expect(200),
        before
    );
    let hooks = world.holder(&["webhooks:write"]);
    let refused = world.get(&hooks, "/v1/events?types=ledger.checkpointed");
    assert_eq!(refused.refused(403), "forbidden");
    let body = ask("POST", path).by(admin).json(&json!({"size": 1}));
    assert_eq!(world.send(body).refused(422), "field_unknown");
}

/// A caller that comes while another is answered gets a checkpoint too, which covers what it has
/// seen: shared, since a checkpoint is announced once.
#[test]
fn checkpoints_that_are_asked_for_at_once_are_all_answered() {
    let world = World::new();
    let path = "/v1/ledger/checkpoints";
    let askers = [&world.acme.admin, &world.globex.admin, &world.platform];
    for round in 0..3 {
        let seen = world.next_position() - 1;
        let answers = world.runtime.block_on(async {
            let mut asking = JoinSet::new();
            for number in 0..30 {
                let ask = ask("POST", path).by(askers[number % askers.len()]);
                let router = world.router.clone();
                asking.spawn(async move { answered(router, ask).await });
            }
            asking.join_all().await
        });
        let mut positions = BTreeSet::new();
        for answer in answers {
            let told = answer.expect(201);
            let (position, size) = (told["position"].as_u64(), told["size"].as_u64());
            assert!(size > Some(seen), "round {round}: {told}");
            let event = world.ledger.event(position.unwrap()).unwrap().event;
            let Fact::LedgerCheckpointed(event) = event.fact else {
                panic!("{event:?}");
            };
            let stored = json!([event.size, hex::encode(event.root.0), event.checkpoint]);
            assert_eq!(stored, json!([size, told["root"], told["checkpoint"]]));
            positions.insert(position);
        }
        assert!(positions.len() < 10, "round {round}: {positions:?}");
    }
}

#[test]
fn who_reads_across_records_is_noted_once_a_minute_before_the_answer() {
    let world = World::new();
    let admin = &world.acme.admin;
    let noted = || {
        let types = "/v1/ledger/events?type=ledger.read";
        let all = parsed(&payloads(&world.get(&world.platform, types)));
        let by = |event: &Value| event["actor"]["via"] == world.acme.key.as_str();
        all.into_iter().filter(by).collect::<Vec<Value>>()
    };
    for path in [
        "state",
        "events",
        "who-could?scope=cases:read",
        "diff?from=1",
    ] {
        assert_eq!(world.get(admin, &format!("/v1/ledger/{path}")).status, 200);
    }
    let [event] = noted().try_into().unwrap();
    let data = json!({"organization_id": world.acme.id, "what": "state"});
    assert_eq!(event["data"], data);
    assert_eq!(event["organization_id"], Value::Null);
    world.clock.advance_ms(60_000);
    world.get(admin, "/v1/ledger/events");
    assert_eq!(noted().len(), 2);
    // One that is refused is not noted.
    world.clock.advance_ms(60_000);
    world.get(admin, "/v1/ledger/diff").refused(400);
    assert_eq!(noted().len(), 2);
}
