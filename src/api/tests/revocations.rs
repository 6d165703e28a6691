//! The revocation feed: pages, the stream, the snapshot.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::tests::streams::{Open, Received};
use crate::api::tests::{Ask, World, ask, text};
use crate::domain::command::{AdoptCatalogue, Command};

const FEED: &str = "/v1/revocations";
const STREAM: &str = "/v1/revocations/stream";

/// An open stream of revocations.
struct Feed(Open);

impl Feed {
    async fn at(world: &World, ask: Ask) -> Self {
        Self(Open::at(world, ask).await)
    }

    async fn next(&mut self) -> Option<Received> {
        self.0.next().await
    }

    /// The next entry, heartbeats passed over.
    async fn entry(&mut self) -> Option<Value> {
        loop {
            match self.next().await? {
                (name, id, data) if name == "revocation" => {
                    assert_eq!(data["position"], id);
                    return Some(data);
                }
                (name, id, data) => {
                    assert_eq!(
                        (name.as_str(), &data["position"]),
                        ("heartbeat", &json!(id))
                    );
                }
            }
        }
    }

    async fn ends(&mut self) -> bool {
        self.entry().await.is_none()
    }
}

/// The entry of a catalogue.
fn everybody(position: u64) -> Value {
    json!({"position": position, "effect": "changed", "organization_id": null, "key_ids": [],
        "owner": null, "all": true})
}

/// Acme's key is used up: every sort of change, and what the feed says of it.
fn busy_day(world: &World) -> Vec<Value> {
    let (acme, admin) = (&world.acme, &world.acme.admin);
    let mut expected = Vec::new();
    let (key, _) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let path = format!("{}/api-keys/{key}", acme.path);
    let entry = |effect: &str, ids: &[&str], owner: Value| {
        json!({"position": world.next_position() - 1, "effect": effect,
            "organization_id": acme.id, "key_ids": ids, "owner": owner, "all": false})
    };
    let post = |path: &str| world.send(ask("POST", path).by(admin)).expect(200);
    for (deed, effect) in [
        ("disable", "disabled"),
        ("enable", "enabled"),
        ("rotate", "rotated"),
    ] {
        post(&format!("{path}/{deed}"));
        expected.push(entry(effect, &[&key], Value::Null));
    }
    world
        .patch(admin, &path, &json!({"scopes": ["cases:write"]}))
        .expect(200);
    expected.push(entry("changed", &[&key], Value::Null));
    world
        .patch(admin, &path, &json!({"name": "CD"}))
        .expect(200);
    expected.push(entry("changed", &[&key], Value::Null));
    post(&format!("{path}/revoke"));
    expected.push(entry("ended", &[&key], Value::Null));
    let account = format!("{}/service-accounts/{}", acme.path, acme.account);
    let owner = json!({"type": "service_account", "id": acme.account});
    let token = acme.tokens[1].as_str();
    for (active, effect) in [(false, "disabled"), (true, "enabled")] {
        world
            .patch(admin, &account, &json!({"is_active": active}))
            .expect(200);
        expected.push(entry(effect, &[token], owner.clone()));
    }
    world
        .patch(admin, &account, &json!({"role": "viewer"}))
        .expect(200);
    expected.push(entry("changed", &[token], owner.clone()));
    world.send(ask("DELETE", &account).by(admin)).expect(200);
    let mut of_owner = entry("ended", &[token], owner);
    of_owner["position"] = json!(world.next_position() - 2);
    expected.push(of_owner);
    expected.push(entry("ended", &[token], Value::Null));
    expected
}

#[test]
fn the_feed_has_what_ended_and_what_changed() {
    let world = World::new();
    let begun = world.next_position() - 1;
    let expected = busy_day(&world);
    let end = world.next_position() - 1;
    let verifier = world.holder(&["keys:verify"]);
    let newest = (world.next_position() - 1).to_string();
    let get = |by: &str, query: &str| world.get(by, &format!("{FEED}{query}"));
    // From the beginning there is the first catalogue too.
    let mut whole = vec![everybody(1)];
    whole.extend(expected.clone());
    for (query, expected) in [("", &whole), (&format!("?after={begun}"), &expected)] {
        let reply = get(&verifier, query);
        assert_eq!(reply.expect(200), json!(expected), "{query}");
        assert_eq!(reply.header("ledger-position"), Some(newest.as_str()));
        assert_eq!(reply.header("link"), None);
    }
    // Two at a time, by following the links.
    let mut seen = Vec::new();
    let mut path = format!("{FEED}?after={begun}&limit=2");
    loop {
        let reply = world.get(&verifier, &path);
        seen.extend(reply.expect(200).as_array().unwrap().clone());
        let Some(link) = reply.header("link") else {
            break;
        };
        path = link
            .trim_start_matches('<')
            .split('>')
            .next()
            .unwrap()
            .to_owned();
    }
    assert_eq!(seen, expected);
    // An empty answer moves on; nobody sees what is another's, but the platform all.
    let after = get(&verifier, &format!("?after={end}"));
    assert_eq!(after.expect(200), json!([]));
    assert_eq!(after.header("ledger-position"), Some(newest.as_str()));
    assert_eq!(
        get(&world.globex.admin, "").expect(200),
        json!([everybody(1)])
    );
    assert_eq!(get(&world.platform, "").expect(200), json!(whole));
    for (query, status, code) in [
        ("?after=999999", 422, "position_unknown"),
        ("?after=99999999999999999999999", 422, "position_unknown"),
        ("?after=-1", 400, "query_invalid"),
        ("?after=", 400, "query_invalid"),
        ("?limit=0", 400, "query_invalid"),
        ("?before=1", 400, "query_invalid"),
    ] {
        assert_eq!(get(&verifier, query).refused(status), code, "{query}");
    }
}

#[test]
fn the_log_says_the_same_as_the_ring() {
    let world = World::new();
    let expected = busy_day(&world);
    let mut whole = vec![everybody(1)];
    whole.extend(expected);
    let from_ring = world.get(&world.platform, FEED).expect(200);
    assert_eq!(from_ring, json!(whole));
    // As after a restart: all of it stands in the log alone.
    world
        .ledger
        .views()
        .publish_position(world.next_position() - 1);
    let from_log = world.get(&world.platform, FEED).expect(200);
    // What has ended since has an entry of its own: of an owner, those are named that live still.
    let blank = |list: &Value| {
        let mut list = list.clone();
        for entry in list.as_array_mut().unwrap() {
            if !entry["owner"].is_null() {
                entry["key_ids"] = Value::Null;
            }
        }
        list
    };
    assert_eq!(blank(&from_log), blank(&from_ring));
    let foreign = world.get(&world.globex.admin, FEED).expect(200);
    assert_eq!(foreign, json!([everybody(1)]));
}

#[test]
fn a_new_catalogue_reaches_everybody() {
    let world = World::new();
    let catalogue = crate::domain::catalogue::Catalogue::embedded().unwrap();
    let mut adopted = catalogue.text().clone();
    adopted.scopes.first_mut().unwrap().description.push('!');
    let adopted = crate::domain::catalogue::Catalogue::check(adopted).unwrap();
    world.operator(Command::AdoptCatalogue(AdoptCatalogue {
        catalogue: adopted,
    }));
    let position = world.next_position() - 1;
    let expected = json!([everybody(position)]);
    let path = format!("{FEED}?after={}", position - 1);
    for by in [&world.acme.admin, &world.globex.admin, &world.platform] {
        assert_eq!(world.get(by, &path).expect(200), expected);
    }
    world.ledger.views().publish_position(position);
    for by in [&world.acme.admin, &world.platform] {
        assert_eq!(world.get(by, &path).expect(200), expected, "from the log");
    }
}

#[test]
fn the_stream_has_the_same_and_resumes() {
    let world = World::new();
    let begun = world.next_position() - 1;
    let expected = busy_day(&world);
    let end = world.next_position() - 1;
    let by = &world.acme.admin;
    world.runtime.block_on(async {
        let middle = expected[3]["position"].as_u64().unwrap();
        for (ask, skipped) in [
            (ask("GET", &format!("{STREAM}?after={begun}")), 0),
            (
                ask("GET", STREAM).with("last-event-id", &middle.to_string()),
                4,
            ),
            (
                ask("GET", &format!("{STREAM}?after={begun}"))
                    .with("last-event-id", &middle.to_string()),
                4,
            ),
        ] {
            let mut stream = Feed::at(&world, ask.by(by)).await;
            for entry in &expected[skipped..] {
                assert_eq!(stream.entry().await.as_ref(), Some(entry));
            }
            // Then it says how far it has come.
            let (name, id, data) = stream.next().await.unwrap();
            assert_eq!((name.as_str(), id), ("heartbeat", end));
            assert_eq!(data["position"], end);
            assert!(data["elapsed_ms"].is_u64(), "{data}");
        }
        // From now on, unless something else is said; another tenant's are not in it.
        let mut stream = Feed::at(&world, ask("GET", STREAM).by(by)).await;
        let (name, id, _) = stream.next().await.unwrap();
        assert_eq!((name.as_str(), id), ("heartbeat", end));
        for (tenant, key) in [(&world.globex, 0), (&world.acme, 2)] {
            let path = format!("{}/credentials/{}/revoke", tenant.path, tenant.tokens[key]);
            let reply = world.reply(ask("POST", &path).by(&tenant.admin)).await;
            reply.expect(200);
        }
        let entry = stream.entry().await.unwrap();
        assert_eq!(entry["key_ids"], json!([world.acme.tokens[2]]));
    });
    for (id, status, code) in [
        ("99999", 422, "position_unknown"),
        ("x", 400, "position_invalid"),
        ("", 400, "position_invalid"),
    ] {
        let reply = world.send(ask("GET", STREAM).by(by).with("last-event-id", id));
        assert_eq!(reply.refused(status), code, "{id}");
    }
}

#[test]
fn a_stream_ends_with_its_caller() {
    let world = World::new();
    let (id, token) = world.key(&json!({"name": "gateway", "scopes": ["keys:verify"]}));
    let path = format!("{}/api-keys/{id}", world.acme.path);
    let narrow = ask("PATCH", &path).json(&json!({"scopes": ["cases:read"]}));
    let ends = [narrow, ask("POST", &format!("{path}/revoke"))];
    let widen = json!({"scopes": ["keys:verify"]});
    for end in ends {
        world.patch(&world.acme.admin, &path, &widen).expect(200);
        world.runtime.block_on(async {
            let mut stream = Feed::at(&world, ask("GET", STREAM).by(&token)).await;
            assert!(stream.next().await.is_some());
            let reply = world.reply(end.by(&world.acme.admin)).await;
            reply.expect(200);
            let ended = tokio::time::timeout(Duration::from_secs(1), stream.ends());
            assert!(ended.await.expect("within a second"));
        });
    }
}

#[test]
fn a_stream_that_nobody_reads_is_let_go() {
    let world = World::new();
    world.runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..64 {
            open.push(Feed::at(&world, ask("GET", STREAM).by(&world.acme.admin)).await);
        }
        let one_more = || world.reply(ask("GET", STREAM).by(&world.acme.admin));
        assert_eq!(one_more().await.refused(503), "streams_exhausted");
        // Who hangs up makes room at once.
        drop(open.pop());
        tokio::time::timeout(Duration::from_secs(1), async {
            while one_more().await.status != 200 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    });
}

#[test]
fn the_snapshot_has_what_is_refused() {
    let world = World::new();
    let lines = |by: &str| -> Vec<Value> {
        let reply = world.get(by, "/v1/revocations/snapshot");
        assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
        let position = reply.header("ledger-position").unwrap().to_owned();
        let lines = reply
            .text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let mut lines: Vec<Value> = lines.collect();
        assert_eq!(lines.remove(0)["position"].to_string(), position);
        assert_eq!(lines.pop(), Some(json!({"end": true})));
        lines
    };
    assert_eq!(lines(&world.acme.admin), Vec::<Value>::new());
    busy_day(&world);
    let (disabled, _) = world.key(&json!({"name": "off", "scopes": ["cases:read"]}));
    let path = format!("{}/api-keys/{disabled}/disable", world.acme.path);
    world
        .send(ask("POST", &path).by(&world.acme.admin))
        .expect(200);
    let account = format!(
        "{}/service-accounts/{}",
        world.globex.path, world.globex.account
    );
    let inactive = json!({"is_active": false});
    world
        .patch(&world.globex.admin, &account, &inactive)
        .expect(200);
    let of = |lines: &[Value], effect: &str| {
        let of = lines.iter().filter(|line| line["effect"] == effect);
        of.map(|line| text(&line["key_id"])).collect::<Vec<_>>()
    };
    let acme = lines(&world.acme.admin);
    assert_eq!(of(&acme, "disabled"), [disabled]);
    assert_eq!(of(&acme, "ended").len(), 2, "{acme:?}");
    assert!(of(&acme, "ended").contains(&world.acme.tokens[1]));
    let globex = lines(&world.globex.admin);
    assert_eq!(of(&globex, "disabled"), [world.globex.tokens[1].clone()]);
    let all = lines(&world.platform);
    assert_eq!(all.len(), acme.len() + globex.len());
}
