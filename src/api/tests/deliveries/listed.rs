//! Attempts that failed, lists with filters, and how a line stands.

use crate::api::tests::deliveries::*;
use crate::domain::time::Timestamp;

/// The attempts that a query finds: what each is of, and the link to the next page.
fn found(world: &World, path: &str) -> (Vec<(String, String)>, Option<String>) {
    let reply = world.get(&world.acme.admin, path);
    let link = reply.header("link").map(|link| {
        let target = link.split(['<', '>']).nth(1);
        target.unwrap().to_owned()
    });
    let list = reply.expect(200);
    let list = list.as_array().unwrap().iter();
    let list = list.map(|attempt| (text(&attempt["type"]), text(&attempt["outcome"])));
    (list.collect(), link)
}

#[test]
fn a_failure_shows_its_class_and_when_it_is_tried_again() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let gone = Receiver::start(&world);
    let nobody = gone.url();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    for (status, url, class) in [
        (500, receiver.url(), "status"),
        (404, receiver.url(), "status"),
        (302, receiver.url(), "redirect"),
        (204, refusing, "connect_refused"),
        (204, "https://unknown.example/".to_owned(), "dns"),
        (204, "https://127.0.0.1/".to_owned(), "connect_refused"),
        (204, nobody.replace("http:", "https:"), "tls"),
    ] {
        receiver.answers(status);
        let (endpoint, _) = endpoint(&world, &url);
        key(&world, "CI");
        let listed = attempts(&world, &endpoint);
        let attempt = &listed[0];
        let next_at = Timestamp::parse(&text(&attempt["next_attempt_at"])).unwrap();
        let delay_ms = next_at.0 - START_MS;
        assert!((4_000..=6_000).contains(&delay_ms), "{delay_ms}");
        let answered = matches!(class, "status" | "redirect");
        let expected = json!({
            "cause": "event",
            "attempt": 1,
            "outcome": "failed",
            "status_code": answered.then_some(status),
            "error": class,
            "response": "",
            "at": START,
        });
        assert_eq!(with(attempt, &expected), *attempt, "{url}");
        let one = format!("{endpoint}/deliveries/{}", text(&attempt["id"]));
        let one = shown(&world, &one);
        assert_eq!(one["status"], "pending");
        assert_eq!(one["next_attempt_at"], attempt["next_attempt_at"]);
        let off = ask("DELETE", &endpoint).by(&world.acme.admin);
        world.send(off).expect(200);
    }
    receiver.all(&world);
}

#[test]
fn retries_count_up_and_the_last_one_is_dead() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    // The other one fails as well, and notices of that would come here.
    let other = format!(
        "{}/webhook-endpoints/{}",
        world.acme.path, world.acme.endpoint
    );
    let delete = ask("DELETE", &other).by(&world.acme.admin);
    world.send(delete).expect(200);
    receiver.answers(500);
    key(&world, "CI");
    for attempt in 1..=10 {
        receiver.next(&world);
        let listed = attempts(&world, &endpoint);
        assert_eq!(listed[0]["attempt"], attempt);
        let outcome = if attempt < 10 { "failed" } else { "dead" };
        assert_eq!(listed[0]["outcome"], outcome);
        if let Some(next_at) = listed[0]["next_attempt_at"].as_str() {
            let next_at = Timestamp::parse(next_at).unwrap();
            world.clock.advance_ms(next_at.0 - world.ledger.now().0);
        }
    }
    let listed = attempts(&world, &endpoint);
    let one = format!("{endpoint}/deliveries/{}", text(&listed[0]["id"]));
    let dead = shown(&world, &one);
    assert_eq!(dead["status"], "dead");
    assert_eq!(dead["next_attempt_at"], Value::Null);
    assert_eq!(dead["attempts"].as_array().unwrap().len(), 10);
    // By hand it may still arrive.
    receiver.answers(204);
    begun(&world, &format!("{one}/redeliver"), &json!({}));
    world.settled();
    assert_eq!(shown(&world, &one)["status"], "delivered");
}

#[test]
fn attempts_are_listed_by_outcome_and_type_a_page_at_a_time() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    let (id, _) = key(&world, "CI");
    world.settled();
    receiver.answers(500);
    let key = format!("{}/api-keys/{id}", world.acme.path);
    let admin = &world.acme.admin;
    world
        .post(admin, &format!("{key}/disable"), &json!({}))
        .expect(200);
    world.settled();
    receiver.answers(204);
    begun(&world, &format!("{endpoint}/ping"), &json!({}));
    world.settled();
    let list = format!("{endpoint}/deliveries");
    let named = |kind: &str, outcome: &str| (kind.to_owned(), outcome.to_owned());
    let all = [
        named("ping", "delivered"),
        named("api_key.disabled", "failed"),
        named("api_key.created", "delivered"),
    ];
    for (query, expected) in [
        ("", &all[..]),
        ("?outcome=failed", &all[1..2]),
        ("?outcome=dead", &[]),
        ("?type=ping", &all[..1]),
        ("?type=api_key.created&outcome=delivered", &all[2..]),
        ("?type=api_key.created&outcome=failed", &[]),
        ("?type=api_key.revoked", &[]),
    ] {
        let (listed, link) = found(&world, &format!("{list}{query}"));
        assert_eq!((listed.as_slice(), link), (expected, None), "{query}");
    }
    let delivered = found(&world, &format!("{list}?outcome=delivered")).0;
    assert_eq!(delivered, [all[0].clone(), all[2].clone()]);
    let mut next = Some(format!("{list}?limit=1"));
    let mut pages = Vec::new();
    while let Some(path) = next {
        let page;
        (page, next) = found(&world, &path);
        pages.push(page);
    }
    let expected = all.map(|one| vec![one]);
    assert_eq!(pages, expected);
    for (query, code, field) in [
        ("outcome=sent", "query_invalid", "outcome"),
        ("type=nonsense", "query_invalid", "type"),
        ("type=api_key.*", "query_invalid", "type"),
        ("limit=0", "query_invalid", "limit"),
        ("limit=201", "query_invalid", "limit"),
        ("limit=x", "query_invalid", "limit"),
        ("status=dead", "query_invalid", "status"),
        ("cursor=x", "cursor_invalid", ""),
        ("cursor=1", "cursor_invalid", ""),
        ("cursor=000000000000000G", "cursor_invalid", ""),
        ("cursor=%2B00000000000001", "cursor_invalid", ""),
    ] {
        let reply = world.get(admin, &format!("{list}?{query}"));
        assert_eq!(reply.refused(400), code, "{query}");
        let named = reply.json()["errors"][0]["field"].clone();
        assert_eq!(named.as_str().unwrap_or_default(), field, "{query}");
    }
}

#[test]
fn a_status_tells_how_far_an_endpoint_has_come() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    let path = format!("{endpoint}/status");
    let empty = json!({
        "pending": 0, "oldest_pending_at": null, "behind_events": 0, "failing_since": null,
        "last_delivered_at": null,
    });
    assert_eq!(shown(&world, &path), empty);
    receiver.answers(500);
    key(&world, "CI");
    world.settled();
    world.clock.advance_ms(1_000);
    key(&world, "CD");
    world.settled();
    let failing = with(
        &empty,
        &json!({"pending": 2, "oldest_pending_at": START, "failing_since": START}),
    );
    assert_eq!(shown(&world, &path), failing);
    // What happens while it is disabled stays in the log for it.
    let admin = &world.acme.admin;
    world
        .post(admin, &format!("{endpoint}/disable"), &json!({}))
        .expect(200);
    world.settled();
    key(&world, "CX");
    world.settled();
    let behind = shown(&world, &path)["behind_events"].as_u64().unwrap();
    assert!(behind >= 1, "{behind}");
    receiver.answers(204);
    world
        .post(admin, &format!("{endpoint}/enable"), &json!({}))
        .expect(200);
    world.settled();
    let at = Timestamp(START_MS + 1_000).to_string();
    let done = with(&empty, &json!({"last_delivered_at": at}));
    assert_eq!(shown(&world, &path), done);
    world.send(ask("DELETE", &endpoint).by(admin)).expect(200);
    assert_eq!(shown(&world, &path), empty);
}

#[test]
fn what_an_endpoint_is_not_to_have_any_more_is_skipped() {
    let world = World::delivering(inside());
    let receiver = Receiver::start(&world);
    let (endpoint, _) = endpoint(&world, &receiver.url());
    receiver.answers(500);
    key(&world, "CI");
    let delivery = text(&attempts(&world, &endpoint)[0]["id"]);
    let admin = &world.acme.admin;
    for (verb, body) in [("disable", json!({})), ("enable", json!({"from": "now"}))] {
        world
            .post(admin, &format!("{endpoint}/{verb}"), &body)
            .expect(200);
    }
    world.settled();
    let one = shown(&world, &format!("{endpoint}/deliveries/{delivery}"));
    assert_eq!(one["status"], "skipped");
    assert_eq!(one["next_attempt_at"], Value::Null);
}
