//! A flood costs the detail of its own calls, and no one else anything.

use std::time::Duration;

use ulid::Ulid;

use super::{ASK, START, World, call, key, reported};
use crate::domain::ids::{CredentialId, OrganizationId};
use crate::domain::time::Timestamp;
use crate::usage::{
    BucketSize, CallsQuery, CredentialCall, UsageRetention, UsageSettings, UsageSummaryQuery,
    VerificationCode,
};

/// An organization has 16 KiB at once, a credential 1 KiB, its refused calls half of that.
const BYTES: u64 = 1 << 20;
const FLOOD: u64 = 5_000;
const TODAY: UsageSummaryQuery = UsageSummaryQuery {
    bucket: BucketSize::Day,
    from: START,
    to: Timestamp(START.0 + 1),
};
const OTHER: OrganizationId = OrganizationId(Ulid(2));

fn world() -> World {
    World::with(|settings| UsageSettings {
        segment_bytes: 32 << 10,
        retention: UsageRetention {
            age_max: Duration::from_secs(3_600),
            bytes_max: BYTES,
        },
        ..settings
    })
}

/// Records a call many times, with a path of its own each time that is as long as paths get.
fn flood(world: &World, call: &CredentialCall<'_>) {
    for number in 0..FLOOD {
        let endpoint = format!("/{number:01000}");
        world.record(&CredentialCall {
            endpoint: &endpoint,
            ..call.clone()
        });
        if number % 20 == 0 {
            world.usage.wait_until_settled();
        }
    }
    world.usage.wait_until_settled();
}

fn bytes_on_disk(world: &World, streams: [&str; 2]) -> u64 {
    let streams = streams.map(|name| world.settings.folder.join(name));
    let files = streams
        .iter()
        .flat_map(|path| std::fs::read_dir(path).unwrap());
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn a_flood_erases_no_evidence_but_its_own_detail() {
    let revoked = VerificationCode::Revoked;
    for (name, flooding) in [
        (
            "a dead key",
            CredentialCall {
                outcome: revoked,
                ..call(key(1), "")
            },
        ),
        (
            "an expired key",
            CredentialCall {
                outcome: VerificationCode::Expired,
                ..call(key(1), "")
            },
        ),
        (
            "a key without the scope",
            CredentialCall {
                outcome: VerificationCode::InsufficientScope,
                ..call(key(1), "")
            },
        ),
        ("a live key", call(key(1), "")),
        ("reports", reported(key(1), "")),
        (
            "reports of refusals",
            CredentialCall {
                outcome: revoked,
                ..reported(key(1), "")
            },
        ),
    ] {
        let mut world = world();
        world.record(&call(key(1), "/stolen"));
        world.record(&call(key(2), "/of the same tenant"));
        world.record(&CredentialCall {
            organization: OTHER,
            ..call(key(3), "/of another tenant")
        });
        flood(&world, &flooding);
        check_flooded(&world, &flooding, name);
        check_flooded(&world.killed(), &flooding, name);
        world.restart();
        check_flooded(&world, &flooding, name);
    }
}

#[test]
fn reports_that_jump_between_hours_push_out_no_ones_counts() {
    let mut world = world();
    let others = [
        (key(2), "/of the same tenant", OrganizationId(Ulid(1))),
        (key(3), "/of another tenant", OTHER),
    ];
    for (credential, endpoint, organization) in others {
        world.record(&CredentialCall {
            organization,
            ..call(credential, endpoint)
        });
    }
    // Their hours are written.
    world.restart();
    let hour = START.0.rem_euclid(60 * 60 * 1_000);
    for number in 0..FLOOD {
        let back = if number % 2 == 0 { 0 } else { hour + 1 };
        let endpoint = format!("/{number:01000}");
        world.record(&CredentialCall {
            at: START.plus_ms(-back),
            endpoint: &endpoint,
            ..reported(key(1), "")
        });
        if number % 20 == 0 {
            world.usage.wait_until_settled();
        }
    }
    for round in ["live", "restarted"] {
        for (credential, endpoint, _) in others {
            let summary = world.usage.usage_summary(credential, &TODAY).unwrap();
            assert_eq!(summary[0].endpoints, [(endpoint.to_owned(), 1)], "{round}");
        }
        assert_eq!(world.usage.usage_of(key(1)).reported, FLOOD, "{round}");
        let bytes = bytes_on_disk(&world, ["rollups", "rollups-overflow"]);
        assert!(bytes <= BYTES + (64 << 10), "{round}: {bytes}");
        // There was more than there is room for.
        let own: u64 = world.usage.usage_summary(key(1), &TODAY).unwrap()[0].calls;
        assert!(own > 0 && own < FLOOD, "{round}: {own}");
        world.restart();
    }
}

/// The endpoints of all calls of a key, newest first, page by page.
fn pages(world: &World, number: u128, limit: usize) -> (Vec<String>, Vec<String>) {
    let (mut endpoints, mut ids, mut before) = (Vec::new(), Vec::new(), None);
    loop {
        let ask = CallsQuery {
            limit,
            before,
            ..ASK
        };
        let page = world.usage.last_calls(key(number), &ask).unwrap();
        ids.extend(page.calls.iter().map(|call| call.id.clone()));
        endpoints.extend(page.calls.into_iter().map(|call| call.endpoint));
        before = page.next;
        if before.is_none() {
            return (endpoints, ids);
        }
    }
}

fn check_flooded(world: &World, flooding: &CredentialCall<'_>, name: &str) {
    let (own, _) = pages(world, 1, 1_000);
    assert_eq!(own.last().unwrap(), "/stolen", "{name}");
    assert_eq!(world.last(key(2), 10), ["/of the same tenant"], "{name}");
    assert_eq!(world.last(key(3), 10), ["/of another tenant"], "{name}");
    let usage = world.usage.usage_of(key(1));
    let counts = usage.accepted + usage.denied + usage.reported;
    assert_eq!(counts, FLOOD + 1, "{name}");
    let summary = world.usage.usage_summary(key(1), &TODAY).unwrap();
    assert_eq!(summary[0].calls, FLOOD + 1, "{name}");
    let collapsed = world.usage.collapsed_calls(key(1));
    let counted: u64 = collapsed.iter().map(|one| one.calls).sum();
    assert_eq!(counted, summary[0].detail_shed, "{name}");
    if flooding.outcome != VerificationCode::Valid && flooding.reporter.is_none() {
        assert_eq!(counted, FLOOD + 1 - own.len() as u64, "{name}");
        let shown = (collapsed.len(), collapsed[0].outcome);
        assert_eq!(shown, (1, flooding.outcome));
    } else {
        // The newest calls are there, as many as there is room for.
        assert_eq!(own[0], format!("/{:01000}", FLOOD - 1), "{name}");
        assert_eq!(counted, 0, "{name}");
    }
    let bytes = bytes_on_disk(world, ["calls", "overflow"]);
    assert!(bytes <= BYTES + (64 << 10), "{name}");
}

#[test]
fn a_flood_that_is_faster_than_the_disk_sheds_no_one_elses_detail() {
    let world = World::with(|settings| UsageSettings {
        pending_bytes_max: 64 << 10,
        ..settings
    });
    let flood = |count: usize| (0..count).map(|_| call(key(1), "/flood"));
    let quiet = [
        call(key(2), "/of the same tenant"),
        CredentialCall {
            organization: OTHER,
            ..call(key(3), "/of another tenant")
        },
    ];
    // Nothing is written while a recording caller holds the buffer's lock.
    let all = flood(5_000).chain(quiet).chain(flood(5_000));
    world.usage.record_calls(all);
    assert_eq!(world.last(key(2), 10), ["/of the same tenant"]);
    assert_eq!(world.last(key(3), 10), ["/of another tenant"]);
    assert_eq!(world.usage.usage_of(key(1)).accepted, 10_000);
    let collapsed = world.usage.collapsed_calls(key(1));
    let counted: u64 = collapsed.iter().map(|one| one.calls).sum();
    let kept = world.usage.stats().recorded - 2;
    assert_eq!(counted, 10_000 - kept);
}

#[test]
fn both_streams_are_one_list_in_the_order_of_recording() {
    let world = world();
    let names: Vec<String> = (0..300).map(|number| format!("/{number}")).collect();
    for (at, name) in names.iter().enumerate() {
        world.record(&call(key(1), name));
        world.record(&call(key(2), "/beside"));
        if at % 10 == 0 {
            // Some of the share is there again.
            world.hands.advance_ms(100_000);
            world.usage.wait_until_settled();
        }
    }
    world.usage.wait_until_settled();
    let kept = std::fs::read(&world.segments()[0]).unwrap();
    let is_kept = |name: &str| {
        // The method follows, with its length.
        let text = format!("{name}\u{3}GET");
        kept.windows(text.len())
            .any(|found| found == text.as_bytes())
    };
    let of_kept = names.iter().filter(|name| is_kept(name)).count();
    assert!(is_kept("/0") && !is_kept("/19"));
    assert!((9..100).contains(&of_kept), "{of_kept}");
    let (seen, mut ids) = pages(&world, 1, 7);
    assert!(seen.iter().eq(names.iter().rev()), "{seen:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), names.len());
}

#[test]
fn what_a_share_had_taken_is_remembered() {
    let mut world = world();
    let refused = CredentialCall {
        outcome: VerificationCode::Revoked,
        ..call(key(1), "/a")
    };
    for _ in 0..3 {
        for _ in 0..50 {
            world.record(&refused);
        }
        world.restart();
    }
    let kept = world.last(key(1), 1_000).len();
    assert!((1..5).contains(&kept), "{kept}");
    let [collapsed] = world.usage.collapsed_calls(key(1)).try_into().unwrap();
    assert_eq!(collapsed.calls, 150 - kept as u64);
}

#[test]
fn ids_say_nothing_of_what_others_do() {
    let random = |id: &str| id.split_at("usage_".len() + 10).1.to_owned();
    let ids = |between: usize| {
        let world = World::new();
        for _ in 0..2 {
            world.record(&call(key(1), "/a"));
            for _ in 0..between {
                world.record(&call(CredentialId(Ulid(2)), "/b"));
            }
        }
        let page = world.usage.last_calls(key(1), &ASK).unwrap();
        let ids: Vec<_> = page.calls.iter().map(|call| random(&call.id)).collect();
        let common = ids[0].bytes().zip(ids[1].bytes());
        common.take_while(|(one, other)| one == other).count()
    };
    for between in [0, 1, 100] {
        assert!(ids(between) < 8, "{between}");
    }
}
