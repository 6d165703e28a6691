//! Another tenant's records are not there, on any route.

use serde_json::json;

use super::routes::{body, documented, filled};
use super::{Tenant, World, ask};

/// Ids of the right form that nobody has.
fn nowhere() -> Tenant {
    let id = |prefix: &str| format!("{prefix}_01KQ01SD60AADFP7C33DS9A67N");
    Tenant {
        id: id("org"),
        path: format!("/platform/organizations/{}", id("org")),
        owner: id("usr"),
        project: id("prj"),
        account: id("sa"),
        key: id("key"),
        admin: String::new(),
    }
}

/// Texts that are no ids at all.
fn nonsense() -> Tenant {
    let text = || "%ff%00..x".to_owned();
    Tenant {
        id: text(),
        path: String::new(),
        owner: text(),
        project: text(),
        account: text(),
        key: text(),
        admin: String::new(),
    }
}

#[test]
fn a_foreign_id_is_as_one_that_never_existed() {
    let world = World::new();
    let (nowhere, nonsense) = (nowhere(), nonsense());
    let position = world.next_position();
    let mut asked = 0;
    for (method, template) in documented() {
        if !template.contains("{organization_id}") {
            continue;
        }
        let call = |place: &Tenant, rest: &Tenant| {
            let request = ask(&method, &filled(&template, place, rest));
            let request = request.by(&world.acme.admin).with("x-request-id", "r");
            world.send(match body(&method, &template) {
                Some(body) => request.json(&body),
                None => request,
            })
        };
        let name = format!("{method} {template}");
        // The whole path is another's, or nobody's.
        let foreign = call(&world.globex, &world.globex);
        assert_eq!(foreign.refused(404), "not_found", "{name}");
        assert_eq!(foreign.text, call(&nowhere, &nowhere).text, "{name}");
        assert_eq!(
            call(&nonsense, &nonsense).refused(404),
            "not_found",
            "{name}"
        );
        // Another's place with an own record, and the own place with another's record.
        assert_eq!(
            call(&world.globex, &world.acme).refused(404),
            "not_found",
            "{name}"
        );
        if template.matches('{').count() > 1 {
            let foreign = call(&world.acme, &world.globex);
            assert_eq!(foreign.refused(404), "not_found", "{name}");
            assert_eq!(foreign.text, call(&world.acme, &nowhere).text, "{name}");
            assert_eq!(
                call(&world.acme, &nonsense).refused(404),
                "not_found",
                "{name}"
            );
            // For the platform too a record is in its own organization alone.
            let request = ask(&method, &filled(&template, &world.acme, &world.globex));
            let request = request.by(&world.platform);
            let reply = world.send(match body(&method, &template) {
                Some(body) => request.json(&body),
                None => request,
            });
            assert_eq!(reply.refused(404), "not_found", "{name}");
        }
        asked += 1;
    }
    assert!(asked > 20);
    assert_eq!(world.next_position(), position, "nothing was appended");
}

#[test]
fn an_id_of_another_record_is_not_found() {
    let world = World::new();
    let acme = &world.acme;
    for path in [
        format!("{}/api-keys/{}", acme.path, acme.account),
        format!("{}/members/{}", acme.path, acme.key),
        format!("{}/projects/{}", acme.path, acme.id),
        format!("{}/service-accounts/{}", acme.path, acme.owner),
        format!("{}/api-keys/{}", acme.path, acme.key.to_lowercase()),
        format!("/platform/organizations/{}", acme.key),
    ] {
        assert_eq!(
            world.get(&acme.admin, &path).refused(404),
            "not_found",
            "{path}"
        );
    }
}

#[test]
fn lists_hold_nothing_of_others() {
    let world = World::new();
    for list in [
        "api-keys",
        "members",
        "projects",
        "service-accounts",
        "credentials",
    ] {
        let path = format!("{}/{list}", world.acme.path);
        let text = world.get(&world.acme.admin, &path).text;
        assert!(text.contains(&world.acme.id), "{list}: {text}");
        for foreign in [&world.globex.id, &world.globex.key, &world.globex.owner] {
            assert!(!text.contains(foreign), "{list}: {text}");
        }
    }
    // A filter for what is another's finds nothing.
    let keys = format!("{}/api-keys", world.acme.path);
    for query in [
        format!("owner={}", world.globex.id),
        format!("project_id={}", world.globex.project),
    ] {
        let reply = world.get(&world.acme.admin, &format!("{keys}?{query}"));
        assert_eq!(reply.expect(200), json!([]), "{query}");
    }
}
