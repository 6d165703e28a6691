//! Passwords: signing in by them, guessing at them, setting them.

use serde_json::{Value, json};

use crate::api::tests::sessions::PASSWORD;
use crate::api::tests::{World, ask};

#[test]
fn a_password_signs_in_and_a_wrong_one_does_not() {
    let world = World::new();
    world.with_password();
    let before = world.history(&world.acme.owner);
    for (email, password) in [
        ("ann@acme.example", "correct horse batterx"),
        ("ann@acme.example", ""),
        ("nobody@acme.example", PASSWORD),
        ("bob@globex.example", PASSWORD),
    ] {
        let reply = world.guess(email, password);
        assert_eq!(reply.refused(401), "sign_in_refused", "{email}");
        assert!(!reply.text.contains(email), "{reply:?}");
    }
    let reply = world.guess("Ann@ACME.example", PASSWORD);
    assert_eq!(reply.expect(201)["session"]["signed_in_by"], "password");
    world.me(&reply.cookie()).expect(200);
    // Two attempts on one pair within a minute are one event.
    let history = world.history(&world.acme.owner);
    assert_eq!(history.len(), before.len() + 1);
    assert_eq!(history.last().unwrap(), "member.sign_in_failed");
    for wrong in [
        json!({}),
        json!({"email": "ann@acme.example"}),
        json!({"sign_in_token": "x", "password": PASSWORD}),
        json!({"email": "ann@acme.example", "password": PASSWORD, "organization_id": "x"}),
    ] {
        world.sign_in(&wrong).refused(422);
    }
}

#[test]
fn wrong_passwords_wait_and_lock_nobody_out() {
    let world = World::new();
    world.with_password();
    world.clock.advance_ms(60 * 60 * 1_000);
    for email in ["ann@acme.example", "nobody@acme.example"] {
        for _ in 0..4 {
            world.guess(email, "wrong guess").refused(401);
        }
        // Even the right one waits, from this address.
        let reply = world.guess(email, PASSWORD);
        assert_eq!(reply.refused(429), "too_many_attempts");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    // A link does not wait.
    world.session(&world.acme.owner);
    world.clock.advance_ms(1_000);
    world.guess("ann@acme.example", PASSWORD).expect(201);
    // What was wrong before is not forgotten.
    world.guess("ann@acme.example", "wrong guess").refused(401);
    world.guess("ann@acme.example", PASSWORD).refused(429);
}

#[test]
fn an_address_that_fails_at_many_accounts_waits() {
    let world = World::new();
    let unknown = json!({"sign_in_token": "0".repeat(64)});
    for _ in 0..30 {
        world.sign_in(&unknown).refused(401);
    }
    assert_eq!(world.sign_in(&unknown).refused(429), "too_many_attempts");
    assert_eq!(
        world.guess("eve@acme.example", "x").refused(429),
        "too_many_attempts"
    );
    world.clock.advance_ms(60_000);
    world.session(&world.acme.owner);
}

#[test]
fn a_password_is_set_by_who_knows_it_or_has_just_used_a_link() {
    let world = World::new();
    let new = |password: &str| json!({"password": password});
    let both =
        |password: &str, current: &str| json!({"password": password, "current_password": current});
    let cookie = world.session(&world.acme.owner);
    let short = world.put_password(&cookie, &new("1234567"));
    assert_eq!(short.refused(422), "password_too_short");
    let reply = world.put_password(&cookie, &new(PASSWORD));
    assert_eq!(reply.expect(200)["id"], world.acme.owner.as_str());
    assert!(reply.header("set-cookie").unwrap().contains("Max-Age=0"));
    // It has ended all sessions, this one too.
    assert_eq!(world.me(&cookie).refused(401), "credential_not_accepted");

    let cookie = world.guess("ann@acme.example", PASSWORD).cookie();
    let refused = |body: &Value| world.put_password(&cookie, body).refused(403);
    assert_eq!(refused(&new("another password")), "password_proof_needed");
    let wrong = both("another password", "wrong guess");
    assert_eq!(refused(&wrong), "password_wrong");
    let right = both("another password", PASSWORD);
    world.put_password(&cookie, &right).expect(200);
    world.guess("ann@acme.example", PASSWORD).refused(401);
    world
        .guess("ann@acme.example", "another password")
        .expect(201);

    let cookie = world.session(&world.acme.owner);
    world.clock.advance_ms(10 * 60 * 1_000 + 1);
    let late = world.put_password(&cookie, &new("a third password"));
    assert_eq!(late.refused(403), "password_proof_needed");
    let bearer = ask("PUT", "/v1/me/password").by(&world.acme.admin);
    let bearer = world.send(bearer.json(&new("a third password")));
    assert_eq!(bearer.refused(403), "session_required");
}
