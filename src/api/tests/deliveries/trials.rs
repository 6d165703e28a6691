//! Pings, examples, and deliveries once more.

use crate::api::tests::deliveries::*;
use crate::webhooks::examples::ExampleEvent;

#[test]
fn a_ping_and_an_example_are_marked_as_tests() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, secret) = endpoint(&world, &receiver.url());
    let record = shown(&world, &endpoint);
    let origin = receiver.url().replace("/hooks", "");
    let pinged = begun(&world, &format!("{endpoint}/ping"), &json!({}));
    let sent = receiver.next(&world);
    let ping = json!({
        "id": sent.header("webhook-id"),
        "type": "ping",
        "timestamp": START,
        "sequence": null,
        "data": with(&record, &json!({"url": origin})),
        "test": true,
    });
    assert_eq!(sent.json(), ping);
    assert_eq!(sent.header("webhook-test"), Some("true"));
    let signature = sent.signed_by(&secret);
    assert_eq!(sent.header("webhook-signature"), Some(signature.as_str()));

    // Whatever the filter, and to a disabled endpoint too.
    let off = format!("{endpoint}/disable");
    world.post(&world.acme.admin, &off, &json!({})).expect(200);
    let example = json!({"type": "member.added"});
    let example = begun(&world, &format!("{endpoint}/example"), &example);
    let sent = receiver.next(&world);
    let body = sent.json();
    assert_eq!(sent.header("webhook-test"), Some("true"));
    assert_eq!(
        (&body["type"], &body["test"]),
        (&json!("member.added"), &json!(true))
    );
    let data = ExampleEvent::from_event_type("member.added").unwrap();
    let data = data.data_for(world.acme.id.parse().unwrap()).unwrap();
    assert_eq!(body["data"].to_string(), data.get());
    let disabled = world.send(ask("POST", &format!("{endpoint}/ping")).by(&world.acme.admin));
    let disabled = text(&disabled.expect(202)["id"]);
    receiver.next(&world);

    let listed = attempts(&world, &endpoint);
    let listed: Vec<_> = listed.as_array().unwrap().iter().collect();
    let told = listed.iter().map(|attempt| {
        let fields = ["id", "type", "sequence", "cause", "test", "outcome"];
        fields.map(|field| attempt[field].clone())
    });
    let expected = [
        (&disabled, "ping", "ping"),
        (&example, "member.added", "example"),
        (&pinged, "ping", "ping"),
    ];
    let expected = expected.map(|(id, kind, cause)| {
        [
            json!(id),
            json!(kind),
            Value::Null,
            json!(cause),
            json!(true),
            json!("delivered"),
        ]
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn ten_trials_of_a_kind_are_as_many_as_a_minute_has() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    key(&world, "CI");
    let first = attempts(&world, &endpoint);
    let redeliver = format!("/deliveries/{}/redeliver", text(&first[0]["id"]));
    let trials = [
        ("/ping", json!({})),
        ("/example", json!({"type": "api_key.created"})),
        (redeliver.as_str(), json!({})),
    ];
    for (path, body) in &trials {
        let path = format!("{endpoint}{path}");
        for _ in 0..10 {
            begun(&world, &path, body);
        }
        world.clock.advance_ms(1_000);
        let refused = world.post(&world.acme.admin, &path, body);
        assert_eq!(refused.refused(429), "too_many_trials", "{path}");
        assert_eq!(refused.header("retry-after"), Some("60"), "{path}");
    }
    assert_eq!(receiver.all(&world).len(), 31);
    // Another endpoint has its own.
    let (other, _) = crate::api::tests::deliveries::endpoint(&world, &receiver.url());
    begun(&world, &format!("{other}/ping"), &json!({}));
    world.clock.advance_ms(59_000);
    for (path, body) in &trials {
        begun(&world, &format!("{endpoint}{path}"), body);
    }
}

#[test]
fn a_delivery_goes_out_once_more_as_the_same_event() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    key(&world, "CI");
    let first = receiver.next(&world);
    let listed = attempts(&world, &endpoint);
    let delivery = text(&listed[0]["id"]);
    // To a disabled endpoint too.
    let redeliver = format!("{endpoint}/deliveries/{delivery}/redeliver");
    assert_eq!(begun(&world, &redeliver, &json!({})), delivery);
    let again = receiver.next(&world);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(again.header("webhook-redelivery"), Some("true"));
    assert_eq!(first.header("webhook-redelivery"), None);
    let off = format!("{endpoint}/disable");
    world.post(&world.acme.admin, &off, &json!({})).expect(200);
    receiver.answers(500);
    assert_eq!(begun(&world, &redeliver, &json!({})), delivery);
    receiver.next(&world);

    let listed = attempts(&world, &endpoint);
    let told = |attempt: &Value| {
        let fields = ["id", "cause", "outcome", "error", "next_attempt_at"];
        fields.map(|field| attempt[field].clone())
    };
    let listed = listed.as_array().unwrap().iter().map(told);
    let id = json!(delivery);
    let (again, nothing) = (json!("redelivery"), Value::Null);
    assert_eq!(
        listed.collect::<Vec<_>>(),
        [
            [
                id.clone(),
                again.clone(),
                json!("failed"),
                json!("status"),
                nothing.clone()
            ],
            [
                id.clone(),
                again,
                json!("delivered"),
                nothing.clone(),
                nothing.clone()
            ],
            [
                id,
                json!("event"),
                json!("delivered"),
                nothing.clone(),
                nothing
            ],
        ]
    );
    // What has arrived once has arrived.
    let one = shown(&world, &format!("{endpoint}/deliveries/{delivery}"));
    assert_eq!(one["status"], "delivered");
    assert_eq!(one["attempts"].as_array().unwrap().len(), 3);
}

#[test]
fn what_is_outstanding_anyway_is_tried_now_and_keeps_its_attempts() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    receiver.answers(500);
    key(&world, "CI");
    let delivery = text(&attempts(&world, &endpoint)[0]["id"]);
    let redeliver = format!("{endpoint}/deliveries/{delivery}/redeliver");
    receiver.all(&world);
    begun(&world, &redeliver, &json!({}));
    assert_eq!(receiver.next(&world).header("webhook-redelivery"), None);
    let listed = attempts(&world, &endpoint);
    assert_eq!(listed[0]["cause"], "event");
    assert_eq!(listed[0]["attempt"], 2);
    receiver.answers(200);
    begun(&world, &redeliver, &json!({}));
    world.settled();
    let one = shown(&world, &format!("{endpoint}/deliveries/{delivery}"));
    assert_eq!(one["status"], "delivered");
    // What waits for a disabled endpoint does not go by that: it is sent apart.
    receiver.answers(500);
    key(&world, "CD");
    let waiting = text(&attempts(&world, &endpoint)[0]["id"]);
    let off = format!("{endpoint}/disable");
    world.post(&world.acme.admin, &off, &json!({})).expect(200);
    receiver.all(&world);
    let redeliver = format!("{endpoint}/deliveries/{waiting}/redeliver");
    begun(&world, &redeliver, &json!({}));
    let apart = receiver.next(&world);
    assert_eq!(apart.header("webhook-redelivery"), Some("true"));
    world.settled();
    let one = shown(&world, &format!("{endpoint}/deliveries/{waiting}"));
    assert_eq!(one["status"], "pending");
}
