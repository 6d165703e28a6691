//! One address, members of several organizations: none of them learns of the others or keeps the
//! others' members from signing in.

use serde_json::{Value, json};

use crate::api::tests::sessions::PASSWORD;
use crate::api::tests::{Reply, Tenant, World};
use crate::domain::command::{Command, IssueSignInLink};

const HOUR_MS: i64 = 60 * 60 * 1_000;
const ANN: &str = "ann@acme.example";

impl World {
    /// A member of Globex with this address and password: its id.
    fn member_of_globex(&self, email: &str, password: &str) -> String {
        let path = format!("{}/members", self.globex.path);
        let body = json!({"email": email, "role": "viewer"});
        let member = self.post(&self.globex.admin, &path, &body).created();
        self.set_password_in_globex(&member, password);
        member
    }

    fn set_password_in_globex(&self, member: &str, password: &str) {
        let answer = self.operator(Command::IssueSignInLink(IssueSignInLink {
            organization: self.globex.id.parse().unwrap(),
            member: member.parse().unwrap(),
        }));
        let token = answer.sign_in.unwrap().reveal().to_owned();
        let cookie = self.sign_in(&json!({"sign_in_token": token})).cookie();
        let body = json!({"password": password});
        self.put_password(&cookie, &body).expect(200);
    }

    fn guess_in(&self, tenant: &Tenant, email: &str, password: &str) -> Reply {
        let organization = &tenant.id;
        let body = json!({"email": email, "password": password, "organization_id": organization});
        self.sign_in(&body)
    }
}

fn organization(reply: &Reply) -> Value {
    reply.expect(201)["member"]["organization_id"].clone()
}

#[test]
fn each_password_signs_in_to_its_own_organization() {
    let world = World::new();
    world.with_password();
    world.clock.advance_ms(HOUR_MS);
    world.member_of_globex(ANN, "another password");
    world.member_of_globex("zoe@globex.example", "another password");
    world.clock.advance_ms(HOUR_MS);
    for (email, password, of) in [
        (ANN, PASSWORD, &world.acme),
        (ANN, "another password", &world.globex),
        ("Zoe@globex.example", "another password", &world.globex),
    ] {
        assert_eq!(organization(&world.guess(email, password)), of.id.as_str());
        let named = world.guess_in(of, email, password);
        assert_eq!(organization(&named), of.id.as_str());
    }
    for (tenant, password) in [(&world.globex, PASSWORD), (&world.acme, "another password")] {
        let refused = world.guess_in(tenant, ANN, password);
        assert_eq!(refused.refused(401), "sign_in_refused");
    }
    for email in [ANN, "zoe@globex.example", "nobody@acme.example"] {
        let refused = world.guess(email, "wrong guess");
        assert_eq!(refused.refused(401), "sign_in_refused", "{email}");
    }
}

#[test]
fn a_password_that_fits_several_asks_for_the_organization() {
    let world = World::new();
    world.with_password();
    world.member_of_globex(ANN, PASSWORD);
    let reply = world.guess(ANN, PASSWORD);
    assert_eq!(reply.refused(409), "organization_required");
    for tenant in [&world.acme, &world.globex] {
        assert!(reply.text.contains(&tenant.id), "{reply:?}");
        let named = world.guess_in(tenant, ANN, PASSWORD);
        assert_eq!(organization(&named), tenant.id.as_str());
    }
}

#[test]
fn a_member_elsewhere_changes_no_wait() {
    for elsewhere in [false, true] {
        let world = World::new();
        if elsewhere {
            world.with_password();
        }
        let member = world.member_of_globex(ANN, "a first password");
        // Passwords that are set to see whether they fit elsewhere are guesses.
        for n in 0..4 {
            let password = format!("password {n}");
            world.set_password_in_globex(&member, &password);
            let reply = world.guess(ANN, &password);
            assert_eq!(organization(&reply), world.globex.id.as_str());
        }
        let refused = world.guess(ANN, "password 3");
        assert_eq!(refused.refused(429), "too_many_attempts", "{elsewhere}");
        // To sign in in between forgets no wrong guess.
        world.clock.advance_ms(HOUR_MS);
        for _ in 0..2 {
            world.guess(ANN, "wrong guess").refused(401);
            world.guess(ANN, "password 3").expect(201);
        }
        world.guess(ANN, "wrong guess").refused(401);
        world.guess(ANN, "wrong guess").refused(401);
        world.guess(ANN, "password 3").refused(429);
    }
}

#[test]
fn guesses_in_one_organization_make_no_other_wait() {
    let world = World::new();
    world.with_password();
    world.member_of_globex(ANN, "another password");
    for _ in 0..4 {
        let refused = world.guess_in(&world.globex, ANN, "wrong guess");
        assert_eq!(refused.refused(401), "sign_in_refused");
    }
    let waits = world.guess_in(&world.globex, ANN, "another password");
    assert_eq!(waits.refused(429), "too_many_attempts");
    world.guess_in(&world.acme, ANN, PASSWORD).expect(201);
    world.guess(ANN, PASSWORD).expect(201);
}

#[test]
fn where_a_failed_sign_in_came_from_is_noted_where_it_was_meant() {
    let world = World::new();
    world.with_password();
    let elsewhere = world.member_of_globex(ANN, "another password");
    let notes = |member: &str| {
        // What is submitted after a note is answered after it.
        world.link(&world.acme.owner);
        let events = world.ledger.events_of(member.parse().unwrap(), 0, 100);
        let events = events.unwrap().into_iter();
        let failed = events.filter(|past| past.event.fact.name() == "member.sign_in_failed");
        failed
            .map(|past| past.event.request_id.is_some())
            .collect::<Vec<_>>()
    };
    world.guess(ANN, PASSWORD).expect(201);
    assert_eq!(
        (notes(&world.acme.owner), notes(&elsewhere)),
        (vec![], vec![])
    );
    world.guess(ANN, "wrong guess").refused(401);
    assert_eq!(
        (notes(&world.acme.owner), notes(&elsewhere)),
        (vec![false], vec![false])
    );
    world.guess_in(&world.acme, ANN, "wrong guess").refused(401);
    assert_eq!(
        (notes(&world.acme.owner), notes(&elsewhere)),
        (vec![false, true], vec![false])
    );
}
