//! Lists: newest first, filtered, in pages.

use std::slice::from_ref;

use serde_json::{Value, json};

use crate::api::tests::{World, ids, with};
use crate::domain::kind::Kind;

/// Acme's keys, oldest first: an active one, a revoked one, an active one that is bound to its
/// project, a disabled one.
fn keys(world: &World) -> [String; 4] {
    let path = format!("{}/api-keys", world.acme.path);
    let key = |name: &str, more: Value| {
        let base = json!({"name": name, "scopes": ["cases:read"], "project_id": null});
        world.key(&with(&base, &more)).0
    };
    let alpha = key("Alpha", json!({}));
    let beta = key("Beta alpha", json!({"project_id": world.acme.project}));
    let gamma = key("Gamma", json!({}));
    for (id, verb) in [(&alpha, "revoke"), (&gamma, "disable")] {
        let path = format!("{path}/{id}/{verb}");
        world.post(&world.acme.admin, &path, &json!({})).expect(200);
    }
    [world.acme.key.clone(), alpha, beta, gamma]
}

/// The ids of a page, and the address of the next.
fn page(world: &World, path: &str) -> (Vec<String>, Option<String>) {
    let reply = world.get(&world.acme.admin, path);
    let next = reply.header("link").map(|link| {
        let next = link.strip_prefix('<').unwrap();
        next.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
    });
    (ids(&reply.expect(200)), next)
}

#[test]
fn lists_are_newest_first_and_filtered() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    let [first, alpha, beta, gamma] = keys(&world);
    for (query, expected) in [
        ("", vec![&gamma, &beta, &alpha, &first]),
        ("?status=revoked", vec![&alpha]),
        ("?status=active", vec![&beta, &first]),
        ("?status=disabled", vec![&gamma]),
        ("?status=expired", vec![]),
        ("?kind=organization", vec![&gamma, &beta, &alpha, &first]),
        ("?kind=personal", vec![]),
        ("?q=ALPHA", vec![&beta, &alpha]),
        ("?q=alpha&status=active", vec![&beta]),
    ] {
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(
            page(&world, &format!("{path}{query}")),
            (expected, None),
            "{query}"
        );
    }
    let list = |query: String| page(&world, &format!("{path}?{query}")).0;
    assert_eq!(
        list(format!("project_id={}", world.acme.project)),
        from_ref(&beta)
    );
    assert_eq!(list(format!("owner={}", world.acme.id)).len(), 4);
    assert!(list(format!("owner={}", world.acme.owner)).is_empty());
}

#[test]
fn a_page_names_the_next() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    let [first, alpha, beta, gamma] = keys(&world);
    let (records, next) = page(&world, &format!("{path}?limit=3&q="));
    assert_eq!(records, [gamma, beta, alpha]);
    let next = next.unwrap();
    assert!(
        next.starts_with(&format!("{path}?limit=3&q=&cursor=")),
        "{next}"
    );
    assert_eq!(page(&world, &next), (vec![first], None));
}

#[test]
fn a_cursor_of_one_list_is_refused_by_another() {
    let world = World::new();
    let (acme, globex) = (&world.acme, &world.globex);
    let [_, _, _, newest] = keys(&world);
    for name in ["a", "b"] {
        world.key(&json!({"name": name, "scopes": ["cases:read"]}));
    }
    for verb in ["rotate", "rotate"] {
        let path = format!("{}/api-keys/{newest}/{verb}", acme.path);
        world
            .send(crate::api::tests::ask("POST", &path).by(&acme.admin))
            .expect(200);
    }
    world.member("ada@acme.example", "viewer");
    let lists = [
        format!("{}/api-keys", acme.path),
        format!("{}/api-keys/{newest}/events", acme.path),
        format!("{}/api-keys/{}/events", acme.path, acme.key),
        format!("{}/members", acme.path),
        format!("{}/service-accounts", acme.path),
        format!("{}/credentials", acme.path),
        format!("{}/projects", acme.path),
        format!("{}/webhook-endpoints", acme.path),
        format!("{}/api-keys", globex.path),
        String::from("/v1/admin/api-tokens"),
        String::from("/v1/admin/api-tokens/review"),
        String::from("/platform/organizations"),
    ];
    let mut used = 0;
    for list in &lists {
        let reply = world.get(&world.platform, &format!("{list}?limit=1"));
        reply.expect(200);
        let Some(link) = reply.header("link") else {
            continue;
        };
        let cursor = link
            .split("cursor=")
            .nth(1)
            .unwrap()
            .split('>')
            .next()
            .unwrap();
        for other in &lists {
            let reply = world.get(&world.platform, &format!("{other}?limit=1&cursor={cursor}"));
            if other == list {
                reply.expect(200);
            } else {
                assert_eq!(reply.refused(400), "cursor_invalid", "{list} at {other}");
                assert!(reply.text.contains("another list"), "{}", reply.text);
            }
        }
        used += 1;
    }
    assert!(used >= 5, "{used} lists have a second page");
    // Where no cursor is known, it is no parameter either.
    let one = world.get(
        &acme.admin,
        &format!("{}/api-keys/{newest}?cursor=x", acme.path),
    );
    assert_eq!(one.refused(400), "query_invalid");
}

#[test]
fn oversight_lists_every_kind() {
    let world = World::new();
    keys(&world);
    let personal = &world.acme.tokens[0];
    let path = format!("{}/credentials", world.acme.path);
    let list = |query: &str| page(&world, &format!("{path}{query}")).0;
    assert_eq!(list("").len(), 9);
    for (kind, id) in Kind::ALL[1..].iter().zip(&world.acme.tokens) {
        assert_eq!(list(&format!("?kind={}", kind.name())), from_ref(id));
    }
    let owner = format!("?owner={}", world.acme.owner);
    assert_eq!(list(&owner), from_ref(personal));
}

#[test]
fn a_wrong_query_names_its_parameter() {
    let world = World::new();
    let path = format!("{}/api-keys", world.acme.path);
    for (query, field) in [
        ("status=gone", "status"),
        ("kind=other", "kind"),
        ("owner=x", "owner"),
        ("project_id=org_x", "project_id"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("page=2", "page"),
    ] {
        let reply = world.get(&world.acme.admin, &format!("{path}?{query}"));
        assert_eq!(reply.refused(400), "query_invalid", "{query}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{query}");
    }
    let reply = world.get(&world.acme.admin, &format!("{path}?cursor=nonsense"));
    assert_eq!(reply.refused(400), "cursor_invalid");
}
