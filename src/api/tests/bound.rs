//! What a credential that is bound to a project reaches: one table over every route.

use std::collections::BTreeSet;

use serde_json::json;

use crate::api::tests::deliveries::inside;
use crate::api::tests::routes::{documented, filled};
use crate::api::tests::{Tenant, World, ask, ids, text};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;

/// How a route answers a key of the widest scopes that is bound to a project.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    /// It tells nothing of an organization, or asks for a secret of its own.
    Open,
    /// What lies in the path is its project's, or the answer is narrowed to it.
    Narrowed,
    /// On a record of its project it is admitted; one of another project or of none is not found.
    ByRecord,
    /// The same, where the path of another project is refused as such.
    ByProject,
    /// The records of such a path are bound to no project, so that none is found.
    NeverFound,
    /// It is the organization's as a whole: 403 `wrong_project`.
    WrongProject,
    /// It asks for a member in person, a personal token or the platform.
    Refused,
}

fn expected(method: &str, template: &str) -> Reach {
    const PLATFORM: &str = "/platform/organizations";
    const ORGANIZATION: &str = "/platform/organizations/{organization_id}";
    if let Some(path) = template.strip_prefix(ORGANIZATION) {
        return match (method, path) {
            ("GET", "/projects") => Reach::Narrowed,
            (_, "/projects/{project_id}") => Reach::ByRecord,
            (_, "/api-keys" | "/webhook-endpoints") => Reach::Narrowed,
            (_, path) if path.starts_with("/api-keys/{key_id}") => Reach::ByRecord,
            (_, path) if path.starts_with("/webhook-endpoints/{endpoint_id}") => Reach::ByRecord,
            (_, "" | "/projects") => Reach::WrongProject,
            (_, path)
                if ["/members", "/service-accounts", "/credentials"]
                    .iter()
                    .any(|whole| path.starts_with(whole)) =>
            {
                Reach::WrongProject
            }
            _ => panic!("{method} {template} has no expected outcome for a bound credential"),
        };
    }
    match template {
        PLATFORM | "/metrics" => Reach::Refused,
        "/livez" | "/readyz" | "/openapi.json" | "/openapi-3.0.json" | "/docs" => Reach::Open,
        "/ledger/checkpoint" | "/ledger/vkey" | "/ledger/tile/{tile}" => Reach::Open,
        "/.well-known/oauth-authorization-server" => Reach::Open,
        // What is presented there is judged, and not who presents it.
        "/v1/sessions" | "/sign-in/{token}" | "/oauth2/revoke" => Reach::Open,
        "/v1/forward-auth" | "/v1/forward-auth/nginx" | "/v1/forward-auth/envoy" => Reach::Open,
        "/v1/api-tokens/scopes" | "/v1/workspaces/{workspace_id}/roles" => Reach::Open,
        "/v1/verify" | "/v1/verify/batch" | "/oauth2/introspect" | "/v1/usage" => Reach::Narrowed,
        "/v1/revocations" | "/v1/revocations/stream" | "/v1/revocations/snapshot" => {
            Reach::Narrowed
        }
        "/v1/events" | "/v1/events/stream" => Reach::Narrowed,
        "/v1/events/{event_id}/proof" => Reach::ByRecord,
        path if path.starts_with("/v1/ledger/") => Reach::WrongProject,
        path if path.starts_with("/v1/service-accounts") => Reach::WrongProject,
        // Its own record, and nothing of the organization.
        "/v1/me" => Reach::Open,
        path if path.starts_with("/v1/me/") => Reach::Refused,
        path if path.starts_with("/v1/api-tokens") => Reach::Refused,
        "/v1/workspaces/{workspace_id}/access-tokens"
        | "/v1/admin/api-tokens"
        | "/v1/admin/api-tokens/review" => Reach::Narrowed,
        path if path.starts_with("/v1/workspaces/{workspace_id}/access-tokens/") => {
            Reach::NeverFound
        }
        path if path.starts_with("/v1/admin/api-tokens/") => Reach::NeverFound,
        path if path.starts_with("/v1/projects/{project_id}/api-tokens") => Reach::ByProject,
        _ => panic!("{method} {template} has no expected outcome for a bound credential"),
    }
}

/// What the answer to a request with nothing to do in it comes to.
fn outcome(world: &World, token: &str, method: &str, path: &str) -> &'static str {
    let request = ask(method, path).by(token).with("if-match", "\"999\"");
    let reply = world.send(match method {
        // Whoever is let in fails later: the permission is asked before the body is read.
        "POST" | "PATCH" | "PUT" => request.with("content-type", "text/plain").body("x"),
        _ => request,
    });
    match reply.status {
        200 | 400 | 412 | 415 => "admitted",
        404 => "not found",
        403 => match reply.refused(403).as_str() {
            "wrong_project" => "wrong project",
            "forbidden" | "session_required" => "refused",
            other => panic!("{method} {path}: {other}"),
        },
        _ => "something else",
    }
}

/// A key of a project with scopes: its id and its token.
fn bound(world: &World, project: &str, scopes: &[&str]) -> (String, String) {
    let place = (
        Kind::Organization,
        world.acme.id.as_str(),
        Some(project.parse().unwrap()),
    );
    let grant = Grant {
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        ..Grant::default()
    };
    world.issued(&world.acme.id, place, grant)
}

/// The records of Acme that a project has.
fn of_project(world: &World, project: &str) -> Tenant {
    let key = bound(world, project, &["cases:read"]).0;
    let tokens = format!("/v1/projects/{project}/api-tokens");
    let token = json!({"label": "t", "scope": "status"});
    let token = world.post(&world.acme.admin, &tokens, &token).expect(201);
    let endpoint = json!({"url": "https://hooks.example", "event_types": ["api_key.*"],
        "project_id": project});
    let endpoints = format!("{}/webhook-endpoints", world.acme.path);
    let endpoint = world.post(&world.acme.admin, &endpoints, &endpoint);
    let endpoint = text(&endpoint.expect(201)["endpoint"]["id"]);
    let last = world.ledger.event(world.next_position() - 1).unwrap();
    let mut tokens = world.acme.tokens.clone();
    tokens[4] = text(&token["key"]["id"]);
    Tenant {
        id: world.acme.id.clone(),
        path: world.acme.path.clone(),
        owner: world.acme.owner.clone(),
        project: project.to_owned(),
        account: world.acme.account.clone(),
        key,
        admin: String::new(),
        tokens,
        endpoint,
        event: last.event.id.to_string(),
    }
}

fn another_project(world: &World) -> String {
    let path = format!("{}/projects", world.acme.path);
    let made = world.post(&world.acme.admin, &path, &json!({"name": "Shop"}));
    text(&made.expect(201)["id"])
}

#[test]
fn every_route_keeps_a_bound_credential_on_its_project() {
    let world = World::delivering(inside());
    let own = of_project(&world, &world.acme.project);
    let other = of_project(&world, &another_project(&world));
    let keys = [&["admin:*"][..], &["admin:*", "platform:*"]];
    let keys = keys.map(|scopes| bound(&world, &own.project, scopes).1);
    let position = world.next_position();
    let mut wrong = Vec::new();
    for (method, template) in documented() {
        let reach = expected(&method, &template);
        // A delivery that is not there is asked for.
        let is_absent = template.contains("{delivery_id}") && method == "GET";
        for token in &keys {
            let at =
                |place: &Tenant| outcome(&world, token, &method, &filled(&template, place, place));
            let fits = match reach {
                Reach::Open => true,
                Reach::Narrowed => at(&own) == "admitted",
                Reach::ByRecord => {
                    (at(&own) == "admitted" || is_absent)
                        && at(&other) == "not found"
                        && (template.contains("/projects/")
                            || template.contains("{event_id}")
                            || at(&world.acme) == "not found")
                }
                Reach::ByProject => at(&own) == "admitted" && at(&other) == "wrong project",
                Reach::NeverFound => at(&own) == "not found",
                Reach::WrongProject => at(&own) == "wrong project" && at(&other) == "wrong project",
                Reach::Refused => at(&own) == "refused",
            };
            if !fits {
                let seen = (at(&own), at(&other), at(&world.acme));
                wrong.push(format!("{method} {template}: {reach:?}, but {seen:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.next_position(), position, "nothing was appended");
}

#[test]
fn lists_and_answers_hold_what_is_of_the_project() {
    let world = World::new();
    let own = of_project(&world, &world.acme.project);
    let other = of_project(&world, &another_project(&world));
    let (id, token) = bound(&world, &own.project, &["admin:*"]);
    let (theirs, their_token) = bound(&world, &other.project, &["cases:read"]);
    let (wide, wide_token) = world.issue(Kind::Organization, &world.acme.id, &["cases:read"]);
    let list = |path: &str| -> BTreeSet<String> {
        ids(&world.get(&token, path).expect(200))
            .into_iter()
            .collect()
    };
    let set = |ids: &[&String]| -> BTreeSet<String> { ids.iter().map(|&id| id.clone()).collect() };
    let path = &world.acme.path;
    assert_eq!(list(&format!("{path}/api-keys")), set(&[&own.key, &id]));
    assert_eq!(list(&format!("{path}/projects")), set(&[&own.project]));
    let endpoints = format!("{path}/webhook-endpoints");
    assert_eq!(list(&endpoints), set(&[&own.endpoint]));
    assert_eq!(list("/v1/admin/api-tokens"), set(&[]));
    let elsewhere = format!("{path}/api-keys?project_id={}", other.project);
    assert_eq!(list(&elsewhere), set(&[]));

    for (key, expected) in [
        (&their_token, "not_found"),
        (&wide_token, "not_found"),
        (&token, "valid"),
    ] {
        let asked = json!({"key": key, "any_project": true});
        let verdict = world.post(&token, "/v1/verify", &asked).expect(200);
        assert_eq!(verdict["code"], expected);
    }
    for key in [&own.key, &theirs, &wide] {
        let revoke = format!("{path}/api-keys/{key}/revoke");
        let by = if *key == own.key {
            &token
        } else {
            &world.acme.admin
        };
        world.post(by, &revoke, &json!({})).expect(200);
    }
    let feed = world.get(&token, "/v1/revocations").expect(200);
    let entries = feed.as_array().unwrap().iter();
    let named = entries.flat_map(|entry| entry["key_ids"].as_array().unwrap().clone());
    let named: Vec<_> = named.collect();
    assert_eq!(named, [json!(own.key)]);
    let snapshot = world.get(&token, "/v1/revocations/snapshot");
    let lines = &snapshot.text;
    assert!(lines.contains(&own.key) && !lines.contains(&theirs) && !lines.contains(&wide));
}

#[test]
fn project_tokens_read_and_change_their_own_project() {
    let world = World::new();
    let other = another_project(&world);
    for (preset, reads, writes) in [
        ("status", 403, 403),
        ("read-only", 200, 403),
        ("admin", 200, 200),
    ] {
        let place = (
            Kind::Project,
            world.acme.id.as_str(),
            Some(world.acme.project.parse().unwrap()),
        );
        let grant = Grant {
            preset: Some(preset.to_owned()),
            ..Grant::default()
        };
        let token = world.issued(&world.acme.id, place, grant).1;
        let path = |project: &str| format!("{}/projects/{project}", world.acme.path);
        let own = path(&world.acme.project);
        let name = json!({"name": preset});
        assert_eq!(world.get(&token, &own).status, reads, "{preset}");
        assert_eq!(world.patch(&token, &own, &name).status, writes, "{preset}");
        let elsewhere = [
            world.get(&token, &path(&other)).status,
            world.patch(&token, &path(&other), &name).status,
        ];
        let hidden = |status| if status == 200 { 404 } else { status };
        assert_eq!(elsewhere, [hidden(reads), hidden(writes)], "{preset}");
        let projects = format!("{}/projects", world.acme.path);
        let made = world.post(&token, &projects, &name);
        assert_eq!(made.status, 403, "{preset}");
    }
}
