//! What holds on every surface of tokens: idempotency keys and versions.

use serde_json::{Value, json};

use crate::api::tests::surfaces::member;
use crate::api::tests::{World, ask, text};

/// Who sends a POST, its path and body, and the status of its answer.
type Post = (String, String, Value, u16);

/// Every POST of the surfaces.
fn posts(world: &World) -> Vec<Post> {
    let (_, by_ann) = member(world, "owner");
    let mine = json!({"name": "mine", "scopes": ["cases:read"]});
    let made = world.post(&by_ann, "/v1/api-tokens", &mine).expect(201);
    let mine = text(&made["key"]["id"]);
    let named = json!({"name": "new", "scopes": ["cases:read"]});
    let with_label = |field: &str, value: &str| json!({"label": "l", field: value});
    let [_, of_account, access, admin, project] = &world.acme.tokens;
    let (account, acme) = (&world.acme.account, &world.acme.id);
    let of_project = format!("/v1/projects/{}/api-tokens", world.acme.project);
    let of_account = (format!("/v1/service-accounts/{account}/tokens"), of_account);
    let access = (format!("/v1/workspaces/{acme}/access-tokens"), access);
    let admin = ("/v1/admin/api-tokens".to_owned(), admin);
    let mut posts = vec![(
        by_ann.clone(),
        "/v1/api-tokens".to_owned(),
        named.clone(),
        201,
    )];
    posts.push((
        by_ann,
        format!("/v1/api-tokens/{mine}/roll"),
        json!({}),
        200,
    ));
    let mut surface = |(base, token): (String, &String), new: Value, deeds: &[(&str, u16)]| {
        let by = &world.acme.admin;
        posts.push((by.clone(), base.clone(), new, 201));
        for (deed, status) in deeds {
            let path = format!("{base}/{token}/{deed}");
            posts.push((by.clone(), path, json!({}), *status));
        }
    };
    let switch = [("disable", 200), ("enable", 200)];
    let accounts = ("/v1/service-accounts".to_owned(), account);
    surface(
        accounts,
        json!({"name": "w", "scopes": ["cases:read"]}),
        &[],
    );
    surface(of_account, named.clone(), &[("rotate", 200)]);
    let viewer = with_label("role", "viewer");
    surface(access, viewer, &[&[("rotate", 200)][..], &switch].concat());
    surface(admin, named, &[&[("replace", 201)][..], &switch].concat());
    let status = with_label("scope", "status");
    surface((of_project, project), status, &[("replace", 201)]);
    posts
}

#[test]
fn every_post_of_every_surface_can_be_repeated() {
    let world = World::new();
    for (by, path, body, status) in posts(&world) {
        let request = || {
            let request = ask("POST", &path).by(&by);
            request.with("idempotency-key", "same").json(&body)
        };
        let mut first = world.send(request()).expect(status);
        let position = world.next_position();
        let again = world.send(request());
        if let Some(raw) = first.get_mut("raw_key") {
            *raw = Value::Null;
        }
        assert_eq!(again.expect(status), first, "{path}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{path}");
        assert_eq!(world.next_position(), position, "{path}");
    }
}

#[test]
fn every_change_of_a_token_can_be_bound_to_its_version() {
    let world = World::new();
    let posts = posts(&world);
    let position = world.next_position();
    let changes = posts
        .iter()
        .filter(|(_, path, ..)| path.matches('/').count() > 3);
    let changes = changes.filter(|(.., body, _)| *body == json!({}));
    let mut asked = 0;
    for (by, path, body, _) in changes {
        let request = ask("POST", path).by(by).with("if-match", "\"999\"");
        let reply = world.send(request.json(body));
        assert_eq!(reply.refused(412), "version_mismatch", "{path}");
        asked += 1;
    }
    assert_eq!(asked, 9);
    let [_, _, access, admin, _] = &world.acme.tokens;
    for (path, patch) in [
        (
            format!("/v1/workspaces/{}/access-tokens/{access}", world.acme.id),
            json!({"label": "x"}),
        ),
        (
            format!("/v1/admin/api-tokens/{admin}"),
            json!({"name": "x"}),
        ),
        (
            format!("/v1/service-accounts/{}", world.acme.account),
            json!({"description": "x"}),
        ),
    ] {
        let request = ask("PATCH", &path).by(&world.acme.admin);
        let reply = world.send(request.with("if-match", "\"999\"").json(&patch));
        assert_eq!(reply.refused(412), "version_mismatch", "{path}");
    }
    assert_eq!(world.next_position(), position);
}
