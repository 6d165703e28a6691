//! Events by pull: pages, filters, long polls.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::state::ApiState;
use crate::api::tests::streams::Open;
use crate::api::tests::{Ask, START, World, ask, ids, text};
use crate::api::{layered, parts};
use crate::config::LedgerPrefix;
use crate::domain::kind::Kind;
use crate::domain::record::Grant;
use crate::web::app::App;
use crate::web::http_settings::HttpSettings;

const PATH: &str = "/v1/events";
const STREAM: &str = "/v1/events/stream";

/// Types and positions of a page.
fn told(page: &Value) -> Vec<(String, u64)> {
    let page = page.as_array().unwrap();
    let told = page
        .iter()
        .map(|body| (text(&body["type"]), body["sequence"].as_u64().unwrap()));
    told.collect()
}

/// The types alone.
fn types(page: &Value) -> Vec<String> {
    told(page).into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn a_consumer_gets_what_webhooks_deliver() {
    let world = World::new();
    let before = world.next_position() - 1;
    let (key, _) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let path = format!("{}/api-keys/{key}", world.acme.path);
    let record = world.get(&world.acme.admin, &path).expect(200);
    let reply = world.get(&world.acme.admin, &format!("{PATH}?after={before}"));
    let page = reply.expect(200);
    let (id, data) = (page[0]["id"].clone(), page[0]["data"].clone());
    assert!(text(&id).starts_with("evt_"));
    let body = json!({"id": id, "type": "api_key.created", "timestamp": START,
        "sequence": before + 1, "data": data});
    assert_eq!(page, json!([body]));
    for field in [
        "id", "name", "scopes", "status", "owner", "secrets", "version",
    ] {
        assert_eq!(data[field], record[field], "{field}");
    }
    assert!(!reply.text.contains("hash"), "{reply:?}");
    let position = (before + 1).to_string();
    assert_eq!(reply.header("ledger-position"), Some(position.as_str()));
    assert_eq!(reply.header("link"), None);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[test]
fn each_tenant_gets_its_own_events_and_all_of_them() {
    let world = World::new();
    let (acme, globex) = (&world.acme, &world.globex);
    let pages = [acme, globex].map(|tenant| {
        let reply = world.get(&tenant.admin, PATH);
        let page = reply.expect(200);
        for body in page.as_array().unwrap() {
            let data = &body["data"];
            let of = data.get("organization_id").unwrap_or_else(|| &data["id"]);
            assert_eq!(*of, json!(tenant.id), "{body}");
        }
        page
    });
    let [mine, theirs] = &pages;
    assert_eq!(types(mine), types(theirs));
    let expected = [
        "organization.created",
        "member.added",
        "api_key.created",
        "project.created",
        "service_account.created",
        "webhook_endpoint.created",
        "api_key.created",
    ];
    assert_eq!(types(mine)[..7], expected);
    assert!(ids(mine).iter().all(|id| !ids(theirs).contains(id)));
    // Whoever acts on the whole platform has a home too, and that is all that it gets here.
    let platform = world.get(&world.platform, PATH).expect(200);
    assert_eq!(types(&platform), expected[..3]);
}

#[test]
fn types_are_chosen_and_more_than_the_open_ones_needs_the_ledger() {
    let world = World::new();
    let listener = world.holder(&["webhooks:write"]);
    let auditor = world.holder(&["webhooks:write", "ledger:read"]);
    let get = |by: &str, query: &str| world.get(by, &format!("{PATH}{query}"));
    let every = types(&get(&auditor, "").expect(200));
    let open = |name: &String| name.starts_with("api_key.") || name.starts_with("service_account.");
    let member = |name: &String| name.starts_with("member.");
    let keys = |name: &String| name.starts_with("api_key.");
    let accounts = |name: &String| name == "service_account.created" || member(name);
    let check = |by: &str, query: &str, expected: &dyn Fn(&String) -> bool| {
        let expected: Vec<_> = every
            .iter()
            .filter(|name| expected(name))
            .cloned()
            .collect();
        assert_eq!(types(&get(by, query).expect(200)), expected, "{query}");
    };
    check(&listener, "", &open);
    check(&listener, "?types=api_key.*", &keys);
    check(&listener, "?types=job.*", &|_| false);
    check(&auditor, "?types=*", &|_| true);
    check(
        &auditor,
        "?types=member.added,service_account.created",
        &accounts,
    );
    for query in [
        "?types=*",
        "?types=api_key.*,member.added",
        "?types=session.*",
    ] {
        let refused = get(&listener, query);
        assert_eq!(refused.refused(403), "forbidden", "{query}");
        assert!(refused.text.contains("ledger:read"), "{refused:?}");
    }
    let reader = world.holder(&["ledger:read"]);
    let refused = get(&reader, "?types=");
    assert_eq!(refused.refused(403), "forbidden");
    assert!(refused.text.contains("webhooks:write"), "{refused:?}");
}

#[test]
fn what_cannot_be_asked_for_is_named() {
    let world = World::new();
    for (query, status, field) in [
        ("types=", 400, "types"),
        ("types=nonsense.*", 400, "types"),
        ("types=api_key.*,,job.*", 400, "types"),
        ("types=job.*,job.*", 400, "types"),
        ("types=usage.sealed", 400, "types"),
        ("limit=0", 400, "limit"),
        ("limit=201", 400, "limit"),
        ("wait=31", 400, "wait"),
        ("wait=-1", 400, "wait"),
        ("wait=", 400, "wait"),
        ("after=", 400, "after"),
        ("after=1.5", 400, "after"),
        ("before=1", 400, "before"),
    ] {
        let reply = world.get(&world.acme.admin, &format!("{PATH}?{query}"));
        let problem = reply.expect(status);
        assert_eq!(problem["errors"][0]["field"], field, "{query}");
        assert_eq!(reply.refused(status), "query_invalid", "{query}");
    }
    for after in ["999999", "99999999999999999999999"] {
        let reply = world.get(&world.acme.admin, &format!("{PATH}?after={after}"));
        assert_eq!(reply.refused(422), "position_unknown", "{after}");
    }
}

#[test]
fn who_is_bound_to_a_project_gets_what_is_of_it() {
    let world = World::new();
    let acme = &world.acme;
    let other = format!("{}/projects", acme.path);
    let other = world
        .post(&acme.admin, &other, &json!({"name": "Other"}))
        .created();
    let bound = |project: &str, scopes: &[&str]| {
        let grant = Grant {
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            ..Grant::default()
        };
        let project = Some(project.parse().unwrap());
        world.issued(&acme.id, (Kind::Organization, &acme.id, project), grant)
    };
    let (_, auditor) = bound(&acme.project, &["webhooks:write", "ledger:read"]);
    let (own, listener) = bound(&other, &["webhooks:write"]);
    let all = world.get(&auditor, PATH).expect(200);
    // The project, its token, and the auditor's own key.
    let expected = ["project.created", "api_key.created", "api_key.created"];
    assert_eq!(types(&all), expected);
    assert_eq!(all[0]["data"]["id"], json!(acme.project));
    assert_eq!(all[1]["data"]["project_id"], json!(acme.project));
    let page = world.get(&listener, PATH).expect(200);
    assert_eq!(types(&page), ["api_key.created"]);
    assert_eq!(page[0]["data"]["id"], json!(own));
}

#[test]
fn pages_follow_one_another_without_gaps() {
    let world = World::new();
    for n in 0..205 {
        world.key(&json!({"name": format!("key {n}"), "scopes": ["cases:read"]}));
    }
    let admin = &world.acme.admin;
    let whole = |path: &str| {
        let (mut path, mut told, mut pages) = (path.to_owned(), Vec::new(), 0);
        loop {
            let reply = world.get(admin, &path);
            told.extend(self::told(&reply.expect(200)));
            pages += 1;
            let Some(link) = reply.header("link") else {
                return (told, pages);
            };
            let link = link.trim_start_matches('<').split('>').next().unwrap();
            link.clone_into(&mut path);
        }
    };
    let (all, pages) = whole(PATH);
    assert_eq!(pages, 2, "200 at most");
    assert!(all.len() > 205);
    assert!(all.is_sorted_by_key(|(_, position)| *position));
    assert_eq!(whole(&format!("{PATH}?limit=7")).0, all);
    let keys = all.iter().filter(|(name, _)| name == "api_key.created");
    let keys: Vec<_> = keys.collect();
    let (filtered, _) = whole(&format!("{PATH}?after=0&types=api_key.*&limit=100"));
    assert_eq!(filtered.iter().collect::<Vec<_>>(), keys);
    // A page that is full says where it stopped.
    let first = world.get(admin, &format!("{PATH}?limit=1"));
    let position = all[0].1.to_string();
    assert_eq!(first.header("ledger-position"), Some(position.as_str()));
    let link = format!("<{PATH}?limit=1&after={position}>; rel=\"next\"");
    assert_eq!(first.header("link"), Some(link.as_str()));
}

#[test]
fn an_answer_that_has_looked_at_its_share_says_how_far_it_came() {
    let mut world = World::new();
    for n in 0..100 {
        world.key(&json!({"name": format!("key {n}"), "scopes": ["cases:read"]}));
    }
    // The same routes, which look at two events a reading: at forty an answer.
    let (router, _) = parts(&LedgerPrefix::default());
    let settings = HttpSettings::default();
    let app = App::new(world.ledger.clone(), settings);
    let mut state = ApiState::new(app, Default::default());
    state.pull_mut().events_per_reading = 2;
    world.router = layered(router, state);
    let auditor = &world.acme.admin;
    let last = world.next_position() - 1;
    let get = |next: u64, wait: &str| {
        let after = next.checked_sub(1);
        let after = after.map_or_else(String::new, |after| format!("&after={after}"));
        let reply = world.get(auditor, &format!("{PATH}?types=session.*{after}{wait}"));
        assert_eq!(reply.expect(200), json!([]));
        let position: u64 = reply.header("ledger-position").unwrap().parse().unwrap();
        assert_eq!(reply.header("link").is_some(), position < last);
        position
    };
    let mut next = 0;
    while next + 40 <= last {
        // At once, however long it might wait: there is more to look at.
        assert_eq!(get(next, "&wait=30"), next + 39);
        next += 40;
    }
    assert!(next >= 80, "several answers");
    assert_eq!(get(next, "&wait=0"), last);
}

#[test]
fn a_long_poll_answers_at_once_when_something_happens() {
    let world = World::new();
    let admin = &world.acme.admin;
    let body = json!({"name": "CI", "scopes": ["cases:read"]});
    world.runtime.block_on(async {
        let last = world.next_position() - 1;
        let path = format!("{PATH}?after={last}&types=api_key.*&wait=30");
        // What is not wanted and what is another's wakes nobody for good.
        let writes = async {
            let project = format!("{}/projects", world.acme.path);
            let project = ask("POST", &project).by(admin);
            let project = project.json(&json!({"name": "Other"}));
            world.reply(project).await.expect(201);
            for tenant in [&world.globex, &world.acme] {
                let path = format!("{}/api-keys", tenant.path);
                let made = ask("POST", &path).by(&tenant.admin).json(&body);
                world.reply(made).await.expect(201);
            }
        };
        let polled = world.reply(ask("GET", &path).by(admin));
        let both = async { tokio::join!(polled, writes) };
        let both = tokio::time::timeout(Duration::from_secs(20), both);
        let (reply, ()) = both.await.expect("long before the wait is over");
        let expected = [("api_key.created".to_owned(), last + 3)];
        assert_eq!(told(&reply.expect(200)), expected);
        // What is there already is not waited for.
        let reply = world.reply(ask("GET", &path).by(admin)).await;
        assert_eq!(told(&reply.expect(200)), expected);
    });
    let last = world.next_position() - 1;
    for wait in [0, 1] {
        let reply = world.get(admin, &format!("{PATH}?after={last}&wait={wait}"));
        assert_eq!(reply.expect(200), json!([]));
        let position = last.to_string();
        assert_eq!(reply.header("ledger-position"), Some(position.as_str()));
    }
}

#[test]
fn a_long_poll_ends_with_its_caller() {
    let world = World::new();
    let (id, token) = world.key(&json!({"name": "x", "scopes": ["webhooks:write", "ledger:read"]}));
    let path = format!("{}/api-keys/{id}", world.acme.path);
    let narrowed = |scope: &str| ask("PATCH", &path).json(&json!({"scopes": [scope]}));
    for (end, types, status) in [
        // All that it might see is less now: what is new is not for it.
        (narrowed("webhooks:write"), "", 200),
        (narrowed("webhooks:write"), "&types=session.*", 403),
        (narrowed("cases:read"), "&types=job.*", 403),
        (ask("POST", &format!("{path}/revoke")), "&types=job.*", 401),
    ] {
        let widen = json!({"scopes": ["webhooks:write", "ledger:read"]});
        world.patch(&world.acme.admin, &path, &widen).expect(200);
        let last = world.next_position() - 1;
        world.runtime.block_on(async {
            let path = format!("{PATH}?after={last}{types}&wait=30");
            let polled = world.reply(ask("GET", &path).by(&token));
            let both = async { tokio::join!(polled, world.reply(end.by(&world.acme.admin))) };
            let both = tokio::time::timeout(Duration::from_secs(10), both);
            let (reply, ended) = both.await.expect("long before the wait is over");
            ended.expect(200);
            let body = reply.expect(status);
            assert!(status != 200 || body == json!([]), "{reply:?}");
        });
    }
}

#[test]
fn so_many_wait_at_once_and_no_more() {
    let world = World::new();
    let last = world.next_position() - 1;
    let path = format!("{PATH}?after={last}&wait=30");
    let admin = &world.acme.admin;
    world.runtime.block_on(async {
        let one = || world.reply(ask("GET", &path).by(admin));
        let many = futures_util::future::join_all((0..64).map(|_| one()));
        let after = async {
            assert_eq!(one().await.refused(503), "streams_exhausted");
            // One that does not wait needs no place.
            let reply = world.reply(ask("GET", PATH).by(admin)).await;
            reply.expect(200);
            let body = json!({"name": "CI", "scopes": ["cases:read"]});
            let keys = format!("{}/api-keys", world.acme.path);
            let made = world.reply(ask("POST", &keys).by(admin).json(&body)).await;
            made.expect(201);
        };
        let both = async { tokio::join!(many, after) };
        let both = tokio::time::timeout(Duration::from_secs(20), both);
        let (replies, ()) = both.await.expect("all are woken");
        for reply in replies {
            assert_eq!(told(&reply.expect(200)).len(), 1);
        }
    });
}

/// The next events of a stream that are no heartbeats, as they stand in a page.
async fn next(stream: &mut Open, count: usize) -> Value {
    let mut page = Vec::new();
    while page.len() < count {
        let (name, id, data) = stream.next().await.expect("it goes on");
        if name == "heartbeat" {
            assert_eq!(data, json!({"position": id}));
        } else {
            assert_eq!(
                (&data["type"], &data["sequence"]),
                (&json!(name), &json!(id))
            );
            page.push(data);
        }
    }
    json!(page)
}

#[test]
fn the_stream_has_the_same_events_and_loses_none_over_a_break() {
    let world = World::new();
    let admin = &world.acme.admin;
    for name in ["one", "two", "three"] {
        world.key(&json!({"name": name, "scopes": ["cases:read"]}));
        let project = format!("{}/projects", world.acme.path);
        world
            .post(admin, &project, &json!({"name": name}))
            .created();
    }
    let page = |query: &str| world.get(admin, &format!("{PATH}?{query}")).expect(200);
    let (all, keys) = (page("after=0"), page("after=0&types=api_key.*"));
    let last = world.next_position() - 1;
    world.runtime.block_on(async {
        let at = |query: &str| ask("GET", &format!("{STREAM}?{query}")).by(admin);
        let length = |page: &Value| page.as_array().unwrap().len();
        for (query, expected) in [("after=0", &all), ("after=0&types=api_key.*", &keys)] {
            let mut stream = Open::at(&world, at(query)).await;
            assert_eq!(
                next(&mut stream, length(expected)).await,
                *expected,
                "{query}"
            );
        }
        // Broken off after each event in turn, and resumed with its id.
        let mut received = Vec::new();
        let mut ask: Ask = at("after=0&types=api_key.*");
        while received.len() < length(&keys) {
            let mut stream = Open::at(&world, ask).await;
            let one = next(&mut stream, 1).await[0].clone();
            ask = at("after=0&types=api_key.*").with("last-event-id", &one["sequence"].to_string());
            received.push(one);
        }
        assert_eq!(json!(received), keys);
        // From now on, unless something else is said: what was looked at is skipped.
        let mut stream = Open::at(&world, at("types=session.*")).await;
        let beat = ("heartbeat".to_owned(), last, json!({"position": last}));
        assert_eq!(stream.next().await, Some(beat));
        let mut stream = Open::at(&world, at("")).await;
        assert_eq!(stream.next().await.unwrap().0, "heartbeat");
        for tenant in [&world.globex, &world.acme] {
            let path = format!("{}/credentials/{}/revoke", tenant.path, tenant.tokens[2]);
            let revoke = crate::api::tests::ask("POST", &path).by(&tenant.admin);
            world.reply(revoke).await.expect(200);
        }
        let revoked = next(&mut stream, 1).await;
        assert_eq!(told(&revoked), [("api_key.revoked".to_owned(), last + 2)]);
        assert_eq!(revoked[0]["data"]["id"], json!(world.acme.tokens[2]));
    });
}

#[test]
fn a_stream_begins_at_a_position_and_with_leave() {
    let world = World::new();
    let listener = world.holder(&["webhooks:write"]);
    let get = |query: &str, id: Option<&str>| {
        let request = ask("GET", &format!("{STREAM}{query}")).by(&listener);
        world.send(match id {
            Some(id) => request.with("last-event-id", id),
            None => request,
        })
    };
    for (query, id, status, code) in [
        ("?types=member.*", None, 403, "forbidden"),
        ("?types=x.*", None, 400, "query_invalid"),
        ("?limit=1", None, 400, "query_invalid"),
        ("?after=x", None, 400, "query_invalid"),
        ("?after=99999", None, 422, "position_unknown"),
        ("", Some("99999"), 422, "position_unknown"),
        ("", Some("x"), 400, "position_invalid"),
        ("", Some(""), 400, "position_invalid"),
    ] {
        assert_eq!(get(query, id).refused(status), code, "{query} {id:?}");
    }
    assert_eq!(get("", None).status, 200);
}

#[test]
fn a_stream_of_events_ends_with_its_caller() {
    let world = World::new();
    let scopes = ["webhooks:write", "ledger:read"];
    let (id, token) = world.key(&json!({"name": "consumer", "scopes": scopes}));
    let path = format!("{}/api-keys/{id}", world.acme.path);
    let narrow = ask("PATCH", &path).json(&json!({"scopes": ["webhooks:write"]}));
    for end in [narrow, ask("POST", &format!("{path}/revoke"))] {
        let widen = json!({"scopes": scopes});
        world.patch(&world.acme.admin, &path, &widen).expect(200);
        world.runtime.block_on(async {
            let mut stream = Open::at(&world, ask("GET", STREAM).by(&token)).await;
            assert_eq!(stream.next().await.unwrap().0, "heartbeat");
            let reply = world.reply(end.by(&world.acme.admin)).await;
            reply.expect(200);
            // Its own end is none of the events that it may see.
            let ended = tokio::time::timeout(Duration::from_secs(1), stream.next());
            assert_eq!(ended.await.expect("within a second"), None);
        });
    }
}
