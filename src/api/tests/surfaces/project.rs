//! Project tokens: never edited, of one project.

use serde_json::json;

use crate::api::tests::surfaces::{code, issued};
use crate::api::tests::{World, ask, text};

#[test]
fn a_project_token_is_never_edited_and_works_on_its_project_alone() {
    let world = World::new();
    let base = format!("/v1/projects/{}/api-tokens", world.acme.project);
    let admin = &world.acme.admin;
    let body = json!({"label": "badge", "scope": "admin"});
    let (key, raw) = issued(&world.post(admin, &base, &body), 201);
    assert_eq!(
        (&key["scope"], &key["label"]),
        (&json!("admin"), &json!("badge"))
    );
    assert_eq!(key["project_id"], world.acme.project);
    let wrong = world.post(admin, &base, &json!({"label": "x", "scope": "write"}));
    assert_eq!(wrong.refused(422), "unknown_preset");
    assert_eq!(wrong.json()["errors"][0]["field"], "scope");
    let path = format!("{base}/{}", text(&key["id"]));
    let patch = world.patch(admin, &path, &json!({"label": "y"}));
    assert_eq!(patch.refused(405), "method_not_allowed");
    assert_eq!(patch.header("allow"), Some("GET,HEAD,DELETE"));
    assert!(
        text(&patch.json()["detail"]).contains("/replace"),
        "{patch:?}"
    );
    let put = world.send(ask("PUT", &path).by(admin));
    assert_eq!(put.refused(405), "method_not_allowed");
    assert_eq!(put.header("allow"), patch.header("allow"));
    // Of a project that is another's, nothing is told.
    let foreign = path.replace(&world.acme.project, &world.globex.project);
    let foreign = world.send(ask("PUT", &foreign).by(admin));
    assert_eq!(foreign.refused(404), "not_found");

    let verdict = |project: &str| {
        let body = json!({"key": raw, "project_id": project});
        text(&world.post(admin, "/v1/verify", &body).expect(200)["code"])
    };
    let other = format!("{}/projects", world.acme.path);
    let other = world
        .post(admin, &other, &json!({"name": "Shop"}))
        .created();
    assert_eq!(
        [verdict(&world.acme.project), verdict(&other)],
        ["valid", "wrong_project"]
    );
    // It manages the tokens of its own project, and those of no other.
    world.get(&raw, &base).expect(200);
    let elsewhere = format!("/v1/projects/{other}/api-tokens");
    assert_eq!(world.get(&raw, &elsewhere).refused(403), "wrong_project");
    assert_eq!(
        world.post(&raw, &elsewhere, &body).refused(403),
        "wrong_project"
    );

    let position = world.next_position();
    let replaced = world.send(ask("POST", &format!("{path}/replace")).by(admin));
    let (new, second) = issued(&replaced, 201);
    assert_eq!(world.next_position(), position + 3, "one batch");
    assert_eq!(
        (&new["label"], &new["scope"]),
        (&key["label"], &key["scope"])
    );
    let old = world.get(admin, &path).expect(200);
    assert_eq!(
        (&old["status"], &old["replaced_by"]),
        (&json!("revoked"), &new["id"])
    );
    assert_eq!(
        [code(&world, &raw), code(&world, &second)],
        ["revoked", "valid"]
    );
}
