//! What every holder of a token may ask about it: whose it is, what it may do, when it expires.

use serde_json::{Value, json};

use crate::api::tests::{START, World, ask, text};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;

/// A token of each kind with the least that it can have.
fn tokens(world: &World) -> Vec<(Kind, String)> {
    let acme = &world.acme;
    let project = Some(acme.project.parse().unwrap());
    let scopes = Grant {
        scopes: vec!["cases:read".to_owned()],
        ..Grant::default()
    };
    let grant_of = |kind| match kind {
        Kind::Organization | Kind::Personal | Kind::ServiceAccount | Kind::Admin => scopes.clone(),
        Kind::Access => Grant {
            role: Some("viewer".to_owned()),
            ..Grant::default()
        },
        Kind::Project => Grant {
            preset: Some("status".to_owned()),
            ..Grant::default()
        },
    };
    let issued = Kind::ALL.map(|kind| {
        let owner = match kind {
            Kind::Personal => &acme.owner,
            Kind::ServiceAccount => &acme.account,
            Kind::Organization | Kind::Access | Kind::Admin | Kind::Project => &acme.id,
        };
        let project = project.filter(|_| kind == Kind::Project);
        let (_, token) = world.issued(&acme.id, (kind, owner, project), grant_of(kind));
        (kind, token)
    });
    issued.into()
}

#[test]
fn a_holder_of_any_kind_sees_its_own_credential() {
    let world = World::new();
    for (kind, token) in tokens(&world) {
        let reply = world.get(&token, "/v1/me");
        let me = reply.expect(200);
        assert_eq!(me["key"]["kind"], kind.name());
        assert_eq!(me["key"]["created_at"], START, "{kind:?}");
        assert_eq!(me["key"]["expires_at"], Value::Null);
        assert_eq!(me["session"], Value::Null);
        assert_eq!(me["has_password"], Value::Null);
        // An address is not for the finder of a token.
        assert_eq!(me["member"], Value::Null, "{kind:?}");
        let organization = match kind {
            Kind::Project => Value::Null,
            Kind::Organization
            | Kind::Personal
            | Kind::ServiceAccount
            | Kind::Access
            | Kind::Admin => json!(world.acme.id),
        };
        assert_eq!(me["organization"]["id"], organization, "{kind:?}");
        assert_eq!(reply.header("etag"), Some("\"1\""));
        assert!(!reply.text.contains(&token));
    }
    let (id, token) = world.key(&json!({
        "name": "ci", "scopes": ["cases:read"], "expires_in_days": 5,
    }));
    let me = world.get(&token, "/v1/me").expect(200);
    assert_eq!(me["key"]["id"], id);
    assert_eq!(me["key"]["expires_at"], "2026-04-29T15:30:00.000Z");
    // What stands for a member in everything says who that is.
    let (_, everything) = world.issue(Kind::Personal, &world.acme.owner, &["*"]);
    let me = world.get(&everything, "/v1/me").expect(200);
    assert_eq!(me["member"]["email"], "ann@acme.example");
    let cookie = world.session(&world.acme.owner);
    let me = world.send(ask("GET", "/v1/me").in_session(&cookie));
    let me = me.expect(200);
    assert_eq!(
        (&me["key"], &me["has_password"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(me["member"]["id"], world.acme.owner.as_str());
    // What has ended is no longer told anything.
    let end = format!("{}/api-keys/{id}/revoke", world.acme.path);
    world.post(&world.acme.admin, &end, &json!({})).expect(200);
    assert_eq!(
        world.get(&token, "/v1/me").refused(401),
        "credential_not_accepted"
    );
}

#[test]
fn a_holder_introspects_its_own_token_and_no_other() {
    let world = World::new();
    let introspect = |by: &str, token: &str| {
        let request = ask("POST", "/oauth2/introspect").by(by);
        world.send(request.form(&format!("token={token}")))
    };
    let all = tokens(&world);
    for (kind, token) in &all {
        let told = introspect(token, token).expect(200);
        assert_eq!(told["active"], true, "{kind:?}");
        assert_eq!(told["keyledger_kind"], kind.name());
        for (_, other) in all.iter().filter(|(_, other)| other != token) {
            let refused = introspect(token, other);
            assert_eq!(refused.refused(403), "forbidden", "{kind:?}");
            assert_eq!(refused.json()["error"], "insufficient_scope");
        }
        for form in [
            "",
            "token=",
            "token=x",
            &format!("token={token}&token={token}"),
        ] {
            let request = ask("POST", "/oauth2/introspect").by(token).form(form);
            assert_eq!(world.send(request).refused(403), "forbidden", "{form}");
        }
        // Other verifications are for those with the permission.
        let body = json!({"key": token});
        assert_eq!(
            world.post(token, "/v1/verify", &body).refused(403),
            "forbidden"
        );
    }
    // After a rotation with a grace period each secret asks about itself.
    let (id, old) = world.key(&json!({"name": "ci", "scopes": ["cases:read"]}));
    let rotate = format!("{}/api-keys/{id}/rotate", world.acme.path);
    let grace = json!({"grace_period_seconds": 60});
    let rotated = world.post(&world.acme.admin, &rotate, &grace).expect(200);
    let new = text(&rotated["raw_key"]);
    for (by, token, status) in [(&old, &old, 200), (&new, &new, 200), (&new, &old, 403)] {
        assert_eq!(introspect(by, token).status, status);
    }
    let session = world.session(&crate::api::tests::permissions::member(&world, "viewer"));
    let request = ask("POST", "/oauth2/introspect").in_session(&session);
    let request = request.form(&format!("token={new}"));
    assert_eq!(world.send(request).refused(403), "forbidden");
}
