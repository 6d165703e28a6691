//! Reads of the past by `as_of`: a position, or an instant.

use std::slice::from_ref;

use serde_json::{Value, json};

use crate::api::tests::{START_MS, World, ask, ids, text};

const HOUR_MS: i64 = 3_600_000;

/// A key that was made, edited an hour later, and revoked yet an hour later; its path.
fn history(world: &World) -> (String, String) {
    let admin = &world.acme.admin;
    let body = json!({"name": "CI", "scopes": ["cases:read"], "expires_in_days": 9});
    let (id, _) = world.key(&body);
    let path = format!("{}/api-keys/{id}", world.acme.path);
    world.clock.advance_ms(HOUR_MS);
    let patch = json!({"name": "CD", "scopes": ["cases:write"]});
    world.patch(admin, &path, &patch).expect(200);
    world.clock.advance_ms(HOUR_MS);
    let revoke = ask("POST", &format!("{path}/revoke")).by(admin);
    world.send(revoke).expect(200);
    world.clock.advance_ms(HOUR_MS);
    (id, path)
}

#[test]
fn a_credential_is_shown_as_it_was() {
    let world = World::new();
    let (_, path) = history(&world);
    let end = world.next_position();
    let at = |as_of: &str| world.get(&world.acme.admin, &format!("{path}?as_of={as_of}"));
    let shown = |as_of: &str| {
        let record = at(as_of).expect(200);
        (
            text(&record["name"]),
            text(&record["status"]),
            record["version"].clone(),
        )
    };
    let as_of = |name: &str, status: &str, version: u32| {
        (name.to_owned(), status.to_owned(), json!(version))
    };
    let made = as_of("CI", "active", 1);
    for moment in [
        (end - 4).to_string().as_str(),
        "2026-04-24T15:30:00Z",
        "2026-04-24T16:29:59.999Z",
    ] {
        assert_eq!(shown(moment), made, "{moment}");
    }
    // Two events of one edit, which happened at the same instant.
    assert_eq!(shown(&(end - 3).to_string()), as_of("CD", "active", 2));
    assert_eq!(shown("2026-04-24T16:30:00Z"), as_of("CD", "active", 3));
    assert_eq!(shown("2026-04-24T17:30:00Z"), as_of("CD", "revoked", 4));
    let reply = at("2026-04-24T16:30:00Z");
    assert_eq!(reply.header("etag"), Some("\"3\""));
    let position = (end - 2).to_string();
    assert_eq!(reply.header("ledger-position"), Some(position.as_str()));

    assert_eq!(at(&(end - 5).to_string()).refused(404), "not_found");
    assert_eq!(at("2020-01-01T00:00:00Z").refused(404), "not_found");
    assert_eq!(at(&end.to_string()).refused(422), "position_unknown");
    assert_eq!(at(&"9".repeat(30)).refused(422), "position_unknown");
    for wrong in ["yesterday", "2030-01-01T00:00:00Z", "-1", "", "%20"] {
        let reply = at(wrong);
        assert_eq!(reply.refused(400), "query_invalid", "{wrong}");
        assert_eq!(reply.json()["errors"][0]["field"], "as_of");
    }
}

/// An empty place in the log is none, wherever one is named.
#[test]
fn an_empty_moment_is_refused() {
    let world = World::new();
    let (acme, admin) = (&world.acme, &world.acme.admin);
    let position = world.next_position() - 1;
    for (path, field) in [
        (format!("{}/members?as_of=", acme.path), "as_of"),
        (
            format!("{}/members/{}?as_of=", acme.path, acme.owner),
            "as_of",
        ),
        (format!("{}/projects?as_of=", acme.path), "as_of"),
        (format!("{}/service-accounts?as_of=", acme.path), "as_of"),
        (format!("{}/webhook-endpoints?as_of=", acme.path), "as_of"),
        (format!("{}/api-keys?as_of=", acme.path), "as_of"),
        ("/v1/ledger/state?as_of=".to_owned(), "as_of"),
        (
            "/v1/ledger/who-could?scope=cases:read&as_of=".to_owned(),
            "as_of",
        ),
        (format!("/v1/ledger/diff?from=&to={position}"), "from"),
        (format!("/v1/ledger/diff?from={position}&to="), "to"),
    ] {
        let reply = world.get(admin, &path);
        assert_eq!(reply.refused(400), "query_invalid", "{path}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{path}");
    }
}

#[test]
fn a_list_is_shown_as_it_was() {
    let world = World::new();
    let before = world.next_position() - 1;
    let (id, _) = history(&world);
    let (late, _) = world.key(&json!({"name": "late", "scopes": ["cases:read"]}));
    let path = format!("{}/api-keys", world.acme.path);
    let list = |query: &str| world.get(&world.acme.admin, &format!("{path}?{query}"));
    let first = world.acme.key.clone();
    let seen = |query: &str| ids(&list(query).expect(200));
    assert_eq!(seen("limit=200"), [late, id.clone(), first.clone()]);
    assert_eq!(seen(&format!("as_of={before}")), from_ref(&first));
    assert_eq!(
        seen("as_of=2026-04-24T17:29:00Z"),
        [id.clone(), first.clone()]
    );
    assert_eq!(
        seen("as_of=2026-04-24T17:29:00Z&status=active&q=cd"),
        from_ref(&id)
    );
    assert_eq!(
        seen("as_of=2026-04-24T17:30:00Z&status=revoked"),
        from_ref(&id)
    );
    assert_eq!(list("as_of=2020-01-01T00:00:00Z").expect(200), json!([]));
    let page = list("as_of=2026-04-24T17:29:00Z&limit=1");
    assert_eq!(ids(&page.expect(200)), from_ref(&id));
    let next = page
        .header("link")
        .unwrap()
        .split(['<', '>'])
        .nth(1)
        .unwrap();
    let rest = world.get(&world.acme.admin, next);
    assert_eq!(
        (ids(&rest.expect(200)), rest.header("link")),
        (vec![first], None)
    );
    // Another tenant's history is not read for it.
    let theirs = format!("{}/api-keys?as_of={before}", world.globex.path);
    let seen = world.get(&world.globex.admin, &theirs).expect(200);
    assert_eq!(ids(&seen), from_ref(&world.globex.key));
}

#[test]
fn what_had_not_expired_then_is_active_then() {
    let world = World::new();
    let body = json!({"name": "short", "scopes": ["cases:read"], "expires_in_days": 1});
    let (id, _) = world.key(&body);
    world.clock.set_wall_ms(START_MS + 48 * HOUR_MS);
    world.clock.set_monotonic_ms(48 * HOUR_MS);
    let path = format!("{}/api-keys/{id}", world.acme.path);
    let status = |query: &str| -> Value {
        world
            .get(&world.acme.admin, &format!("{path}{query}"))
            .expect(200)["status"]
            .clone()
    };
    assert_eq!(status(""), "expired");
    assert_eq!(status("?as_of=2026-04-25T15:29:00Z"), "active");
    assert_eq!(status("?as_of=2026-04-25T15:31:00Z"), "expired");
}

#[test]
fn members_projects_accounts_and_endpoints_are_shown_as_they_were_too() {
    let world = World::new();
    let (acme, admin) = (&world.acme, &world.acme.admin);
    let endpoint = format!("{}/webhook-endpoints/{}", acme.path, acme.endpoint);
    let project = format!("{}/projects/{}", acme.path, acme.project);
    let account = format!("{}/service-accounts/{}", acme.path, acme.account);
    let member = format!("{}/members/{}", acme.path, acme.owner);
    let own = format!("/v1/service-accounts/{}", acme.account);
    let ones = [&acme.path, &project, &account, &own, &member, &endpoint];
    let lists = [
        "projects",
        "service-accounts",
        "members",
        "webhook-endpoints",
    ];
    let lists = lists.map(|list| format!("{}/{list}", acme.path));
    let all: Vec<&String> = ones.into_iter().chain(&lists).collect();
    let read = |query: &str| -> Vec<Value> {
        let get = |path: &&String| world.get(admin, &format!("{path}{query}")).expect(200);
        all.iter().map(get).collect()
    };
    let before = (world.next_position() - 1, read(""));
    world.clock.advance_ms(HOUR_MS);
    let renamed = json!({"name": "Renamed"});
    for path in [&acme.path, &project, &account] {
        world.patch(admin, path, &renamed).expect(200);
    }
    world
        .patch(admin, &endpoint, &json!({"ordered": true}))
        .expect(200);
    let more = json!({"email": "bill@acme.example", "role": "viewer"});
    world
        .post(admin, &format!("{}/members", acme.path), &more)
        .expect(201);
    let after = (world.next_position() - 1, read(""));
    assert_ne!(before.1, after.1);
    for (position, expected) in [before, after] {
        assert_eq!(read(&format!("?as_of={position}")), expected, "{position}");
    }
    let all = |query: &str| {
        let path = format!("/platform/organizations{query}");
        world.get(&world.platform, &path).expect(200)
    };
    assert_eq!(ids(&all("?as_of=0")), Vec::<String>::new());
    let now = all("");
    assert_eq!(all(&format!("?as_of={}", world.next_position() - 1)), now);
    let reply = world.get(admin, &format!("{member}?as_of=2026-04-24T15:30:00Z"));
    assert!(reply.header("ledger-position").is_some());
    let early = world.get(admin, &format!("{member}?as_of=0"));
    assert_eq!(early.refused(404), "not_found");
    let early = world.get(admin, &format!("{}/members?as_of=0", acme.path));
    assert_eq!(early.expect(200), json!([]));
    let wrong = world.get(admin, &format!("{member}?as_of=x"));
    assert_eq!(wrong.refused(400), "query_invalid");
}
