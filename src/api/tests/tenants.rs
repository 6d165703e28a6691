//! Another tenant's records are not there, on any route.

use serde_json::json;

use crate::api::tests::routes::{body, documented, filled};
use crate::api::tests::{Tenant, World, ask};
use crate::domain::kind::Kind;

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
        tokens: [(); 5].map(|()| id("key")),
        endpoint: id("whe"),
        event: id("evt"),
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
        tokens: [(); 5].map(|()| text()),
        endpoint: text(),
        event: text(),
    }
}

#[test]
fn a_foreign_id_is_as_one_that_never_existed() {
    let world = World::new();
    let (nowhere, nonsense) = (nowhere(), nonsense());
    let (_, member) = world.issue(Kind::Personal, &world.acme.owner, &["*"]);
    let position = world.next_position();
    let mut asked = 0;
    for (method, template) in documented() {
        // Sessions are a member's own, and links nobody's: their own tests look at them.
        let in_person = template.starts_with("/v1/me") || template.starts_with("/sign-in");
        // The tree is everybody's.
        let open = template.starts_with("/ledger/");
        if !template.contains('{') || in_person || open {
            continue;
        }
        let placed = template.contains("{organization_id}") || template.contains("{workspace_id}");
        let by = if template.starts_with("/v1/api-tokens") {
            &member
        } else {
            &world.acme.admin
        };
        let call = |place: &Tenant, rest: &Tenant| {
            let request = ask(&method, &filled(&template, place, rest));
            let request = request.by(by).with("x-request-id", "r");
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
        if placed {
            let foreign = call(&world.globex, &world.acme);
            assert_eq!(foreign.refused(404), "not_found", "{name}");
        }
        if placed && template.matches('{').count() > 1 {
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
    assert!(asked > 50);
    assert_eq!(world.next_position(), position, "nothing was appended");
}

#[test]
fn a_path_leads_to_a_token_by_its_own_owner_or_project_alone() {
    let world = World::new();
    let (acme, globex) = (&world.acme, &world.globex);
    let [personal, of_account, access, admin, of_project] = &acme.tokens;
    let path =
        |account: &str, token: &str| format!("/v1/service-accounts/{account}/tokens/{token}");
    let project = |project: &str, token: &str| format!("/v1/projects/{project}/api-tokens/{token}");
    let other = json!({"name": "Another"});
    let second = format!("{}/projects", acme.path);
    let second = world.post(&acme.admin, &second, &other).created();
    for path in [
        path(&acme.account, personal),
        path(&acme.account, &globex.tokens[1]),
        path(&globex.account, of_account),
        project(&acme.project, access),
        project(&acme.project, &globex.tokens[4]),
        project(&globex.project, of_project),
        project(&second, of_project),
        format!("/v1/workspaces/{}/access-tokens/{admin}", acme.id),
        format!("/v1/admin/api-tokens/{access}"),
        format!("{}/api-keys/{admin}", acme.path),
    ] {
        for method in ["GET", "DELETE"] {
            let reply = world.send(ask(method, &path).by(&acme.admin));
            let foreign = matches!(reply.status, 404 | 405);
            assert!(foreign, "{method} {path}: {reply:?}");
        }
    }
    for path in [
        path(&acme.account, of_account),
        project(&acme.project, of_project),
    ] {
        world.get(&acme.admin, &path).expect(200);
    }
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
        format!("{}/webhook-endpoints/{}", acme.path, acme.key),
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
        "webhook-endpoints",
    ] {
        let path = format!("{}/{list}", world.acme.path);
        let text = world.get(&world.acme.admin, &path).text;
        assert!(text.contains(&world.acme.id), "{list}: {text}");
        let globex = &world.globex;
        for foreign in [&globex.id, &globex.key, &globex.owner, &globex.endpoint] {
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
