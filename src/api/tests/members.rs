//! Members: another address, another name.

use serde_json::{Value, json};

use crate::api::tests::sessions::PASSWORD;
use crate::api::tests::{World, ask, text};
use crate::domain::kind::Kind;

#[test]
fn a_member_gets_another_address_and_keeps_all_else() {
    let world = World::new();
    let (admin, members) = (&world.acme.admin, format!("{}/members", world.acme.path));
    let ada = world.member("ada@old.example", "viewer");
    let (_, token) = world.issue(Kind::Personal, &ada, &["*"]);
    let cookie = world.session(&ada);
    world
        .put_password(&cookie, &json!({"password": PASSWORD}))
        .expect(200);
    let cookie = world.session(&ada);
    let path = format!("{members}/{ada}");
    let patch = json!({"email": " Ada@N\u{fc}.example ", "name": "Ada"});
    let changed = world.patch(admin, &path, &patch).expect(200);
    let address = "Ada@xn--n-eha.example";
    assert_eq!(
        (&changed["email"], &changed["name"]),
        (&json!(address), &json!("Ada"))
    );
    assert_eq!(changed["id"], ada);
    assert_eq!(world.get(admin, &path).expect(200)["email"], address);
    // Tokens and sessions go on, and the password fits the new address alone.
    world.get(&token, "/v1/api-tokens").expect(200);
    assert_eq!(world.me(&cookie).expect(200)["member"]["email"], address);
    world.guess("ada@n\u{fc}.example", PASSWORD).expect(201);
    assert_eq!(
        world.guess("ada@old.example", PASSWORD).refused(401),
        "sign_in_refused"
    );
    let past = world.ledger.reader().next_position();
    let again = json!({"email": "ada@old.example", "role": "viewer"});
    world.post(admin, &members, &again).created();
    let taken = world.patch(admin, &path, &json!({"email": "ADA@OLD.example"}));
    assert_eq!(taken.refused(409), "email_taken");
    let nameless = world
        .patch(admin, &path, &json!({"name": null}))
        .expect(200);
    assert_eq!(nameless["name"], Value::Null);
    let history = world.history(&ada);
    let updates = history
        .iter()
        .filter(|name| *name == "member.updated")
        .count();
    assert_eq!(updates, 2, "{history:?}");
    // The past shows what was.
    let then = world
        .get(admin, &format!("{path}?as_of={}", past - 1))
        .expect(200);
    assert_eq!(
        (&then["email"], &then["name"]),
        (&json!(address), &json!("Ada"))
    );
    let then = world.get(
        admin,
        &format!("{path}?as_of={}", position_of(&world, &ada)),
    );
    assert_eq!(then.expect(200)["email"], "ada@old.example");
}

/// Of the event that added a member.
fn position_of(world: &World, member: &str) -> u64 {
    let events = world
        .ledger
        .events_of(member.parse().unwrap(), 0, 1)
        .unwrap();
    events[0].event.position
}

#[test]
fn what_a_change_of_a_member_refuses() {
    let world = World::new();
    let admin = &world.acme.admin;
    let ada = world.member("ada@acme.example", "viewer");
    let path = format!("{}/members/{ada}", world.acme.path);
    let position = world.next_position();
    for (body, status, code) in [
        (json!({"email": "ada"}), 422, "email_invalid"),
        (json!({"email": null}), 422, "field_invalid"),
        (json!({"role": null}), 422, "field_invalid"),
        (json!({"name": ""}), 422, "field_empty"),
        (json!({"name": "x".repeat(201)}), 422, "field_too_long"),
        (json!({"mail": "x@y.example"}), 422, "field_unknown"),
        (json!({"email": "Ann@ACME.example"}), 409, "email_taken"),
    ] {
        let refused = world.patch(admin, &path, &body);
        assert_eq!(refused.refused(status), code, "{body}");
    }
    let owner = format!("{}/members/{}", world.acme.path, world.acme.owner);
    let refused = world.patch(admin, &owner, &json!({"name": "Ann"}));
    assert_eq!(refused.refused(403), "beyond_your_authority");
    world.patch(admin, &path, &json!({})).expect(200);
    world
        .patch(admin, &path, &json!({"email": "ada@acme.example"}))
        .expect(200);
    assert_eq!(world.next_position(), position, "nothing was appended");
}

#[test]
fn an_erased_member_is_blank_under_each_address() {
    let world = World::new();
    let admin = &world.acme.admin;
    let ada = world.member("ada@old.example", "viewer");
    let path = format!("{}/members/{ada}", world.acme.path);
    let both = json!({"email": "ada@new.example", "name": "Ada"});
    world.patch(admin, &path, &both).expect(200);
    let events = world.get(admin, &format!("/v1/ledger/events?subject={ada}"));
    assert_eq!(events.status, 200);
    let reason = json!({"reason": "asked for it"});
    let erased = world
        .post(admin, &format!("{path}/erase"), &reason)
        .expect(200);
    assert_eq!(erased["email"], Value::Null);
    let late = world.patch(admin, &path, &both);
    assert_eq!(late.refused(409), "member_removed");
    for past in world.ledger.events_of(ada.parse().unwrap(), 0, 10).unwrap() {
        let shown = format!("{:?}", serde_json::to_string(&past.event.fact));
        assert!(!shown.contains("ada@") && !shown.contains("Ada"), "{shown}");
    }
    for (email, status) in [("ada@old.example", 201), ("ada@new.example", 201)] {
        let add = ask("POST", &format!("{}/members", world.acme.path)).by(admin);
        let reply = world.send(add.json(&json!({"email": email, "role": "viewer"})));
        assert_eq!(reply.status, status, "{}", text(&reply.json()["email"]));
    }
}
