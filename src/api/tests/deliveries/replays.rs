//! A part of the log, counted and delivered once more.

use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::api::tests::Reply;
use crate::api::tests::deliveries::*;
use crate::domain::time::Timestamp;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::{Interrupted, Turn};
use crate::webhooks::matching;
use crate::webhooks::queue::UnreadRange;

const HOUR_MS: i64 = 3_600_000;

fn replay(world: &World, endpoint: &str, body: &Value) -> Reply {
    world.post(&world.acme.admin, &format!("{endpoint}/replay"), body)
}

/// How many events of Acme's a dry run counts.
#[track_caller]
fn counted(world: &World, endpoint: &str, body: &Value) -> u64 {
    let mut body = body.clone();
    body["dry_run"] = json!(true);
    let answer = replay(world, endpoint, &body).expect(200);
    assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");
    answer["count"].as_u64().unwrap()
}

/// Two keys an hour apart, the first of them revoked yet an hour later: their positions.
fn history(world: &World) -> [u64; 3] {
    let (id, first) = key(world, "first");
    world.clock.advance_ms(HOUR_MS);
    let (_, second) = key(world, "second");
    world.clock.advance_ms(HOUR_MS);
    let revoke = format!("{}/api-keys/{id}/revoke", world.acme.path);
    world
        .post(&world.acme.admin, &revoke, &json!({}))
        .expect(200);
    [first, second, world.next_position() - 1]
}

/// Takes all slices of the turns: nothing of the past is read until the answer is dropped.
fn standstill(world: &World) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel();
    let held = Arc::new(Mutex::new(held));
    for of in [None, Some(world.acme.id.parse().unwrap())] {
        let (begins, begun) = oneshot::channel();
        let (held, turns) = (Arc::clone(&held), world.ledger.turns().clone());
        let hold = move |_: &mut Turn| {
            begins.send(()).unwrap();
            assert!(held.lock().unwrap().recv().is_err());
        };
        let holding = async move { turns.run_bounded(of, hold).await.unwrap() };
        drop(world.runtime.spawn(holding));
        world.runtime.block_on(begun).unwrap();
    }
    release
}

fn instant(hours: i64) -> Value {
    json!(Timestamp(START_MS + hours * HOUR_MS).to_string())
}

#[test]
fn what_a_dry_run_counts_is_what_a_replay_delivers() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    let [first, second, third] = history(&world);
    assert_eq!(receiver.sequences(&world), [first, second, third]);
    let end = world.next_position();
    let all = [first, second, third];
    for (body, expected) in [
        (json!({"from": first}), &all[..]),
        (json!({"from": first, "to": end}), &all),
        (json!({"from": first.to_string()}), &all),
        (json!({"from": first, "to": third}), &all[..2]),
        (json!({"from": first + 1, "to": third}), &all[1..2]),
        (json!({"from": first, "to": first}), &[]),
        (json!({"from": end}), &[]),
        (json!({"from": instant(1)}), &all[1..]),
        (json!({"from": instant(1), "to": instant(2)}), &all[1..2]),
        (json!({"from": instant(1), "to": instant(9)}), &all[1..]),
        (json!({"from": instant(3)}), &[]),
        (
            json!({"from": first, "types": ["api_key.revoked"]}),
            &all[2..],
        ),
        (json!({"from": first, "types": ["api_key.*"]}), &all),
        (
            json!({"from": first, "types": ["member.*", "api_key.created"]}),
            &all[..2],
        ),
        // It never gets more than its own filter lets through.
        (json!({"from": first, "types": ["service_account.*"]}), &[]),
    ] {
        let count = u64::try_from(expected.len()).unwrap();
        assert_eq!(counted(&world, &endpoint, &body), count, "{body}");
        assert!(receiver.all(&world).is_empty(), "{body}");
        let answer = replay(&world, &endpoint, &body).expect(202);
        assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
        assert_eq!(receiver.sequences(&world), expected, "{body}");
    }
    let body = json!({"from": instant(1), "to": instant(2), "dry_run": true});
    assert_eq!(
        replay(&world, &endpoint, &body).expect(200),
        json!({"count": 1, "from": first + 1, "to": third})
    );
    // The same event under the same id, however often.
    let ids = shown(
        &world,
        &format!("{endpoint}/deliveries?type=api_key.revoked"),
    );
    let ids = ids.as_array().unwrap().iter();
    let ids: std::collections::BTreeSet<_> = ids.map(|one| text(&one["id"])).collect();
    assert_eq!(ids.len(), 1);
}

#[test]
fn an_endpoint_of_a_project_counts_what_is_of_its_project() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let body = json!({
        "url": receiver.url(), "event_types": ["*"], "project_id": world.acme.project,
    });
    let (of_project, _) = endpoint_for(&world, &body);
    let everything = json!({"url": receiver.url(), "event_types": ["*"]});
    let (everything, _) = endpoint_for(&world, &everything);
    let from = json!({"from": world.next_position()});
    history(&world);
    let own = json!({
        "name": "own", "scopes": ["cases:read"], "project_id": world.acme.project,
    });
    world.key(&own);
    let rename = json!({"name": "Site"});
    let project = format!("{}/projects/{}", world.acme.path, world.acme.project);
    world
        .patch(&world.acme.admin, &project, &rename)
        .expect(200);
    assert_eq!(counted(&world, &of_project, &from), 2);
    assert_eq!(counted(&world, &everything, &from), 5);
    // Another tenant's events are not among them.
    let theirs = format!("{}/projects", world.globex.path);
    let body = json!({"name": "theirs"});
    world.post(&world.globex.admin, &theirs, &body).created();
    assert_eq!(counted(&world, &everything, &from), 5);
}

/// Bodies that are wrong, with the code, the field and the message that are answered.
fn wrong() -> Vec<(Value, &'static str, &'static str, &'static str)> {
    let place = "must be a position, or an RFC 3339 time such as 2026-04-24T15:30:00Z";
    vec![
        (json!({}), "field_missing", "from", "is missing"),
        (json!({"from": "soon"}), "field_invalid", "from", place),
        (json!({"from": ""}), "field_invalid", "from", place),
        (json!({"from": "-1"}), "field_invalid", "from", place),
        (
            json!({"from": 0, "to": "2026-04"}),
            "field_invalid",
            "to",
            place,
        ),
        (
            json!({"from": -1}),
            "field_invalid",
            "from",
            "must be a position, or an RFC 3339 time such as 2026-04-24T15:30:00Z",
        ),
        (
            json!({"from": null}),
            "field_invalid",
            "from",
            "must be a position, or an RFC 3339 time such as 2026-04-24T15:30:00Z",
        ),
        (
            json!({"from": 3, "to": 2}),
            "field_invalid",
            "to",
            "must not lie before from",
        ),
        (
            json!({"from": 0, "types": []}),
            "field_empty",
            "types",
            "must not be empty",
        ),
        (
            json!({"from": 0, "types": ["nonsense"]}),
            "event_type_not_delivered",
            "types",
            "the event type \"nonsense\" is unknown",
        ),
        (
            json!({"from": 0, "types": ["*", 7]}),
            "field_invalid",
            "types[1]",
            "must be a string",
        ),
        (
            json!({"from": 0, "dry_run": "yes"}),
            "field_invalid",
            "dry_run",
            "must be true or false",
        ),
        (
            json!({"from": 0, "until": 1}),
            "field_unknown",
            "until",
            "is unknown; known are from, to, types, dry_run",
        ),
    ]
}

#[test]
fn a_range_that_is_none_is_refused_with_its_field() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    let end = world.next_position();
    for (body, code, field, message) in wrong() {
        let reply = replay(&world, &endpoint, &body);
        assert_eq!(reply.refused(422), code, "{body}");
        let error = json!([{"field": field, "message": message}]);
        assert_eq!(reply.json()["errors"], error, "{body}");
    }
    for body in [
        json!({"from": end + 1}),
        json!({"from": 0, "to": end + 1}),
        json!({"from": "9".repeat(30)}),
    ] {
        let reply = replay(&world, &endpoint, &body);
        assert_eq!(reply.refused(422), "position_unknown", "{body}");
    }
}

#[test]
fn one_replay_at_a_time_and_none_to_a_disabled_endpoint() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    let (_, position) = key(&world, "CI");
    receiver.all(&world);
    let release = standstill(&world);
    let body = json!({"from": position});
    replay(&world, &endpoint, &body).expect(202);
    let second = replay(&world, &endpoint, &body);
    assert_eq!(second.refused(409), "replay_running");
    drop(release);
    assert_eq!(receiver.sequences(&world), [position]);
    replay(&world, &endpoint, &body).expect(202);
    assert_eq!(receiver.sequences(&world), [position]);

    let off = format!("{endpoint}/disable");
    world.post(&world.acme.admin, &off, &json!({})).expect(200);
    let disabled = replay(&world, &endpoint, &body);
    assert_eq!(disabled.refused(409), "webhook_endpoint_disabled");
    assert_eq!(counted(&world, &endpoint, &body), 1);
}

#[test]
fn as_many_counts_run_at_once_as_there_are_places() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    world.settled();
    let release = standstill(&world);
    let body = json!({"from": 0, "dry_run": true});
    let path = format!("{endpoint}/replay");
    let count = || world.reply(ask("POST", &path).by(&world.acme.admin).json(&body));
    let (first, second, third) = world.runtime.block_on(async {
        tokio::join!(count(), count(), async {
            let third = count().await;
            drop(release);
            third
        })
    });
    assert_eq!(third.refused(503), "past_busy");
    assert_eq!(third.header("retry-after"), Some("1"));
    assert_eq!(first.expect(200), second.expect(200));
}

#[test]
fn a_count_that_takes_too_long_is_given_up() {
    let world = World::new();
    let (organization, endpoint) = (&world.acme.id, &world.acme.endpoint);
    let directory = &world.ledger.views().directory;
    let endpoint =
        directory.webhook_endpoint(organization.parse().unwrap(), endpoint.parse().unwrap());
    let endpoint = endpoint.unwrap();
    let count = |mut turn| {
        let all = UnreadRange::since(0);
        matching::count_matching_events(&world.ledger, &endpoint, &all, &mut turn)
    };
    // What the tenant was set up with: a key before the endpoint, and five tokens after it.
    assert_eq!(count(Turn::alone()).unwrap(), 6);
    let interrupted = count(Turn::of_steps(0)).unwrap_err();
    let too_long = HistoryError::Interrupted(Interrupted::TooLong);
    assert_eq!(interrupted.to_string(), too_long.to_string());
}

#[test]
fn more_than_the_endpoint_could_have_had_needs_leave_to_read_the_ledger() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let before = world.next_position() - 1;
    let (narrow, _) = endpoint(&world, &receiver.url());
    let made = world.next_position() - 1;
    let wide = json!({"url": receiver.url(), "event_types": ["api_key.*", "member.*"]});
    let (wide, _) = endpoint_for(&world, &wide);
    let since = world.next_position();
    let writer = world.holder(&["webhooks:write"]);
    let reader = world.holder(&["webhooks:write", "ledger:read"]);
    world.settled();
    for (endpoint, from, dry_run, allowed) in [
        (&narrow, json!(made), true, true),
        (&narrow, json!(since), false, true),
        (&narrow, json!(before), true, false),
        (&narrow, json!(before), false, false),
        (&narrow, json!("2020-01-01T00:00:00Z"), false, false),
        (&wide, json!(since), true, false),
        (&wide, json!(since), false, false),
    ] {
        let body = json!({"from": from, "dry_run": dry_run});
        let path = format!("{endpoint}/replay");
        let reply = world.post(&writer, &path, &body);
        world.settled();
        if allowed {
            assert!(matches!(reply.status, 200 | 202), "{body}: {reply:?}");
        } else {
            assert_eq!(reply.refused(403), "forbidden", "{body}");
            let challenge = reply.header("www-authenticate").unwrap();
            assert!(challenge.ends_with("scope=\"ledger:read\""), "{challenge}");
        }
        let reply = world.post(&reader, &path, &body);
        assert!(matches!(reply.status, 200 | 202), "{body}: {reply:?}");
        world.settled();
    }
}
