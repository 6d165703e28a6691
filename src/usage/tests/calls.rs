//! What is shown of calls that were recorded.

use ulid::Ulid;

use super::{ASK, START, World, call, key, report_of, reported};
use crate::domain::ids::SecretId;
use crate::usage::{CallsQuery, CredentialCall, CredentialUsage, VerificationCode};

#[test]
fn the_last_calls_of_a_key_come_newest_first_in_the_order_of_recording() {
    let mut world = World::new();
    let names: Vec<String> = (0..30).map(|number| format!("/{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        // An older instant recorded later still comes first.
        let at = START.plus_ms(-i64::try_from(number).unwrap());
        world.record(&CredentialCall {
            at,
            ..call(key(number as u128 % 3), name)
        });
    }
    let expected = ["/28", "/25", "/22", "/19"];
    assert_eq!(world.last(key(1), 4), expected);
    assert_eq!(world.last(key(1), 1_000).len(), 10);
    assert_eq!(world.last(key(7), 10), [""; 0]);
    world.restart();
    assert_eq!(world.last(key(1), 4), expected);
    world.record(&call(key(1), "/after"));
    assert_eq!(world.last(key(1), 2), ["/after", "/28"]);
    assert!(world.usage.gaps().is_empty());
}

#[test]
fn pages_follow_each_other_and_every_id_is_one_calls_alone() {
    let mut world = World::new();
    let names: Vec<String> = (0..10).map(|number| format!("/{number}")).collect();
    for name in &names {
        world.record(&call(key(1), name));
        world.record(&call(key(2), "/other"));
    }
    let (mut seen, mut ids, mut before) = (Vec::new(), Vec::new(), None);
    loop {
        let ask = CallsQuery {
            limit: 3,
            before,
            ..ASK
        };
        let page = world.usage.last_calls(key(1), &ask).unwrap();
        ids.extend(page.calls.iter().map(|call| call.id.clone()));
        seen.extend(page.calls.into_iter().map(|call| call.endpoint));
        // As clients have it, also after a restart.
        let text = page
            .next
            .map(|next| world.usage.encode_cursor(key(1), 0, next));
        world.restart();
        before = text.map(|text| world.usage.decode_cursor(key(1), 0, &text).unwrap());
        if before.is_none() {
            break;
        }
    }
    assert!(seen.iter().eq(names.iter().rev()));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10);
    assert!(ids[0].starts_with("usage_"), "{}", ids[0]);
    // A cursor of another credential is refused here, and so is any text that was made up.
    let foreign = world
        .usage
        .last_calls(key(2), &CallsQuery { limit: 1, ..ASK })
        .unwrap();
    let text = world.usage.encode_cursor(key(2), 0, foreign.next.unwrap());
    assert_eq!(world.usage.decode_cursor(key(2), 0, &text), foreign.next);
    // Nor is one of before the ledger was restored.
    assert_eq!(world.usage.decode_cursor(key(2), 1, &text), None);
    assert_eq!(world.usage.decode_cursor(key(1), 0, &text), None);
    for wrong in ["", "3", "70", "18446744073709551615", &text[1..]] {
        assert_eq!(world.usage.decode_cursor(key(2), 0, wrong), None, "{wrong}");
    }
}

#[test]
fn calls_are_chosen_by_time_and_outcome() {
    let world = World::new();
    for (ms, outcome, name) in [
        (0, VerificationCode::Valid, "/a"),
        (10, VerificationCode::InsufficientScope, "/b"),
        (20, VerificationCode::Valid, "/c"),
        (30, VerificationCode::Revoked, "/d"),
    ] {
        let at = START.plus_ms(ms);
        world.record(&CredentialCall {
            at,
            outcome,
            ..call(key(1), name)
        });
    }
    let check = |ask: CallsQuery, expected: &[&str]| {
        let page = world.usage.last_calls(key(1), &ask).unwrap();
        let seen: Vec<_> = page
            .calls
            .iter()
            .map(|call| call.endpoint.as_str())
            .collect();
        assert_eq!(seen, expected, "{ask:?}");
    };
    let at = |ms| Some(START.plus_ms(ms));
    check(ASK, &["/d", "/c", "/b", "/a"]);
    check(
        CallsQuery {
            from: at(10),
            ..ASK
        },
        &["/d", "/c", "/b"],
    );
    check(CallsQuery { to: at(20), ..ASK }, &["/b", "/a"]);
    check(
        CallsQuery {
            from: at(10),
            to: at(30),
            ..ASK
        },
        &["/c", "/b"],
    );
    check(
        CallsQuery {
            outcome: Some(VerificationCode::Valid),
            ..ASK
        },
        &["/c", "/a"],
    );
}

#[test]
fn a_use_is_an_accepted_call_and_a_report_is_none() {
    let mut world = World::new();
    let (used, denied, told) = (key(1), key(2), key(3));
    let later = START.plus_ms(5_000);
    world.record(&CredentialCall {
        at: later,
        ..call(used, "/a")
    });
    world.record(&call(used, "/earlier, recorded later"));
    world.record(&CredentialCall {
        outcome: VerificationCode::Expired,
        ..call(denied, "/a")
    });
    let report = [reported(told, "/a"), reported(used, "/b")];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(world.usage.record_report(report_of(&report)))
        .unwrap();
    let check = |world: &World| {
        let expected = CredentialUsage {
            last_used_at: Some(later),
            last_reported_at: Some(START),
            accepted: 2,
            denied: 0,
            reported: 1,
        };
        assert_eq!(world.usage.usage_of(used), expected);
        let expected = CredentialUsage {
            denied: 1,
            ..CredentialUsage::default()
        };
        assert_eq!(world.usage.usage_of(denied), expected);
        let expected = CredentialUsage {
            last_reported_at: Some(START),
            reported: 1,
            ..CredentialUsage::default()
        };
        assert_eq!(world.usage.usage_of(told), expected);
        assert_eq!(world.usage.usage_of(key(4)), CredentialUsage::default());
        let secret = |number| SecretId(Ulid(number));
        assert_eq!(
            world.usage.secret_last_used_at(used, secret(1_001)),
            Some(later)
        );
        assert_eq!(world.usage.secret_last_used_at(used, secret(5)), None);
        assert_eq!(world.usage.secret_last_used_at(told, secret(1_003)), None);
    };
    check(&world);
    check(&world.killed());
    world.restart();
    check(&world);
}

#[test]
fn scopes_are_exercised_by_accepted_calls() {
    let mut world = World::new();
    let (read, write) = (["cases:read"], ["cases:write"]);
    world.record(&CredentialCall {
        scopes: &read,
        ..call(key(1), "/a")
    });
    world.record(&CredentialCall {
        scopes: &read,
        ..call(key(1), "/b")
    });
    let outcome = VerificationCode::InsufficientScope;
    world.record(&CredentialCall {
        scopes: &write,
        outcome,
        ..call(key(1), "/c")
    });
    world.restart();
    assert_eq!(world.usage.exercised_scopes(key(1)), ["cases:read"]);
    world.record(&CredentialCall {
        scopes: &write,
        ..call(key(1), "/d")
    });
    world.usage.wait_until_settled();
    assert_eq!(
        world.usage.exercised_scopes(key(1)),
        ["cases:read", "cases:write"]
    );
    assert_eq!(
        world.killed().usage.exercised_scopes(key(1)),
        ["cases:read", "cases:write"]
    );
}
