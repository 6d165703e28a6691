//! What is kept when there is too much: of calls, of bytes, of time.

use std::thread;
use std::time::Duration;

use ulid::Ulid;

use super::{START, World, call, key, report_of, reported};
use crate::domain::ids::{OrganizationId, SecretId};
use crate::usage::ended_secret_usage::EndedSecretUsages;
use crate::usage::pending_calls::PendingCalls;
use crate::usage::{
    BucketSize, CredentialCall, EndedSecretUsage, UsageError, UsageRetention, UsageSettings,
    UsageSummaryQuery, VerificationCode,
};

#[test]
fn when_more_comes_than_can_wait_the_detail_is_shed_and_never_the_count() {
    let mut world = World::with(|settings| UsageSettings {
        pending_bytes_max: 4_000,
        ..settings
    });
    // Nothing is written while a recording caller holds the buffer's lock.
    let calls = (0..1_000_i64).map(|number| CredentialCall {
        at: START.plus_ms(number),
        outcome: if number % 10 == 0 {
            VerificationCode::Revoked
        } else {
            VerificationCode::Valid
        },
        ..call(key(1), "/a")
    });
    world.usage.record_calls(calls);
    world.usage.wait_until_settled();
    let check = |world: &World| {
        let usage = world.usage.usage_of(key(1));
        assert_eq!((usage.accepted, usage.denied), (900, 100));
        assert_eq!(usage.last_used_at, Some(START.plus_ms(999)));
        let kept = world.last(key(1), 1_000).len();
        assert!((10..30).contains(&kept), "{kept}");
        let ask = UsageSummaryQuery {
            bucket: BucketSize::Hour,
            from: START,
            to: START.plus_ms(1),
        };
        let summary = world.usage.usage_summary(key(1), &ask).unwrap();
        assert_eq!(summary[0].calls, 1_000);
        assert_eq!(summary[0].detail_shed, 1_000 - kept as u64);
    };
    check(&world);
    assert_eq!(
        world.usage.stats().shed,
        1_000 - world.last(key(1), 1_000).len() as u64
    );
    check(&world.killed());
    world.restart();
    check(&world);
}

#[test]
fn a_disk_that_refuses_costs_the_detail_alone_and_reports_are_told() {
    let mut world = World::new();
    world.record(&call(key(1), "/before"));
    world.usage.wait_until_settled();
    world.usage.break_disk(true);
    world.record(&call(key(1), "/lost"));
    world.record(&call(key(1), "/lost too"));
    assert_eq!(world.last(key(1), 10), ["/before"]);
    assert_eq!(world.usage.usage_of(key(1)).accepted, 3);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let report = [reported(key(1), "/r")];
    let refused = runtime.block_on(world.usage.record_report(report_of(&report)));
    assert_eq!(refused, Err(UsageError::DiskFull));
    assert_eq!(world.usage.usage_of(key(1)).reported, 0);
    world.usage.break_disk(false);
    world.record(&call(key(1), "/after"));
    assert_eq!(world.last(key(1), 10), ["/after", "/before"]);
    runtime
        .block_on(world.usage.record_report(report_of(&report)))
        .unwrap();
    assert_eq!(world.usage.usage_of(key(1)).accepted, 4);
    world.restart();
    assert_eq!(world.last(key(1), 10), ["/r", "/after", "/before"]);
    assert_eq!(world.usage.usage_of(key(1)).accepted, 4);
}

#[test]
fn a_report_that_does_not_fit_is_refused_whole() {
    let world = World::with(|settings| UsageSettings {
        pending_bytes_max: 2_000,
        ..settings
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let many: Vec<_> = (0..30).map(|_| reported(key(1), "/a")).collect();
    let refused = runtime.block_on(world.usage.record_report(report_of(&many)));
    assert_eq!(refused, Err(UsageError::TooManyPending));
    runtime
        .block_on(world.usage.record_report(report_of(&many[..5])))
        .unwrap();
    assert_eq!(world.usage.usage_of(key(1)).reported, 5);
}

#[test]
fn ended_secrets_that_are_presented_are_told_once_a_credential() {
    let world = World::new();
    for (ms, outcome) in [
        (0, VerificationCode::Revoked),
        (10, VerificationCode::Valid),
        (20, VerificationCode::Rotated),
        (30, VerificationCode::Disabled),
    ] {
        let at = START.plus_ms(ms);
        world.record(&CredentialCall {
            at,
            outcome,
            ..call(key(1), "/a")
        });
    }
    world.usage.wait_until_settled();
    let told = EndedSecretUsage {
        organization: OrganizationId(Ulid(1)),
        credential: key(1),
        secret: Some(SecretId(Ulid(1_001))),
        outcome: VerificationCode::Rotated,
        count: 2,
        first_at: START,
        last_at: START.plus_ms(20),
    };
    assert_eq!(world.usage.take_ended_secret_usages(), [told]);
    assert_eq!(world.usage.take_ended_secret_usages(), []);
    world.usage.put_back_ended_secret_usage(told);
    world.record(&CredentialCall {
        outcome: VerificationCode::Expired,
        at: START.plus_ms(40),
        ..call(key(1), "/a")
    });
    world.usage.wait_until_settled();
    let more = EndedSecretUsage {
        outcome: VerificationCode::Expired,
        count: 3,
        last_at: START.plus_ms(40),
        ..told
    };
    assert_eq!(world.usage.take_ended_secret_usages(), [more]);
}

#[test]
fn ended_secrets_of_one_organization_leave_room_for_those_of_others() {
    let used = |organization, credential| EndedSecretUsage {
        organization: OrganizationId(Ulid(organization)),
        credential: key(credential),
        secret: None,
        outcome: VerificationCode::Revoked,
        count: 1,
        first_at: START,
        last_at: START,
    };
    let mut uses = EndedSecretUsages::default();
    for number in 0..200_000 {
        uses.add(used(1, number));
    }
    uses.add(used(2, 200_000));
    uses.add(used(2, 200_001));
    let taken = uses.take_all_in_turns();
    assert!((1_000..100_000).contains(&taken.len()), "{}", taken.len());
    // They have turns.
    let first: Vec<_> = taken.iter().take(4).map(|used| used.organization).collect();
    assert_eq!(first, [1, 2, 1, 2].map(|id| OrganizationId(Ulid(id))));
    assert_eq!(uses.take_all_in_turns(), []);
}

#[test]
fn reports_of_one_organization_leave_room_for_those_of_others() {
    let pending = PendingCalls::new(64 << 10);
    let calls = |organization, count| {
        let one = CredentialCall {
            organization: OrganizationId(Ulid(organization)),
            ..reported(key(1), "/a")
        };
        vec![one; count]
    };
    let report = |organization, count| {
        let report = report_of(&calls(organization, count));
        pending.record_report(report).map(drop)
    };
    assert_eq!(report(1, 80), Ok(()));
    assert_eq!(report(1, 80), Err(UsageError::TooManyPending));
    assert_eq!(report(2, 80), Ok(()));
    // What has been taken makes room.
    drop(pending.take_batch(Duration::ZERO, Vec::new()));
    assert_eq!(report(1, 80), Ok(()));
}

#[test]
fn a_long_report_is_moved_into_the_buffer_in_pieces_and_counts_there() {
    let pending = PendingCalls::new(64 << 20);
    let text = "/".repeat(1_000);
    let report = report_of(&vec![reported(key(1), &text); 1_000]);
    let bytes = report.byte_count();
    assert!(report.call_count() == 1_000 && bytes > 1_000_000);
    pending.record_calls([call(key(2), "/b")].into_iter());
    let own = pending.pending_bytes();
    drop(pending.record_report(report).unwrap());
    assert_eq!(pending.pending_bytes(), own + bytes);
    let (filling, _) = pending.take_batch(Duration::ZERO, Vec::new());
    // What a caller's lock is held for does not grow with the report.
    assert_eq!(filling.records.len(), own);
    let pieces: Vec<usize> = filling.report_pieces.iter().map(Vec::len).collect();
    assert_eq!(pieces.iter().sum::<usize>(), bytes);
    assert!(pieces.len() > 3 && pieces.iter().all(|piece| *piece <= 256 * 1_024));
    assert_eq!(pending.pending_bytes(), 0);
}

#[test]
fn old_segments_go_by_size_and_by_age_and_counts_stay() {
    let mut world = World::with(|settings| UsageSettings {
        segment_bytes: 4_096,
        retention: UsageRetention {
            age_max: Duration::from_secs(3_600),
            bytes_max: 16_384,
        },
        ..settings
    });
    let names: Vec<String> = (0..400).map(|number| format!("/{number}")).collect();
    for name in &names {
        world.record(&call(key(1), name));
        world.usage.wait_until_settled();
    }
    let kept = world.last(key(1), 1_000);
    assert!(world.usage.stats().segment_bytes <= 16_384 + 4_096);
    assert!((30..100).contains(&kept.len()), "{}", kept.len());
    assert!(kept.iter().eq(names.iter().rev().take(kept.len())));
    assert_eq!(world.usage.usage_of(key(1)).accepted, 400);
    world.hands.advance_ms(2 * 3_600 * 1_000);
    let at = START.plus_ms(2 * 3_600 * 1_000);
    world.record(&CredentialCall {
        at,
        ..call(key(1), "/new")
    });
    world.usage.wait_until_settled();
    world.usage.wait_until_settled();
    // The one that is written of each stream.
    assert_eq!(world.usage.stats().segments, 2);
    assert_eq!(world.last(key(1), 1), ["/new"]);
    world.restart();
    assert_eq!(world.usage.usage_of(key(1)).accepted, 401);
    assert_eq!(world.usage.usage_of(key(1)).last_used_at, Some(at));
}

#[test]
fn calls_and_counts_of_a_quiet_server_go_by_age_too() {
    const DAY: i64 = 24 * 3_600 * 1_000;
    let mut world = World::with(|settings| UsageSettings {
        retention: UsageRetention {
            age_max: Duration::from_secs(90 * 24 * 3_600),
            ..settings.retention
        },
        ..settings
    });
    let days = |from: i64, to: i64| UsageSummaryQuery {
        bucket: BucketSize::Day,
        from: START.plus_ms(from * DAY),
        to: START.plus_ms(to * DAY),
    };
    // A call a day, for a hundred days, and then none.
    for day in 0..100 {
        let call = CredentialCall {
            at: START.plus_ms(day * DAY),
            ..call(key(1), "/quiet")
        };
        world.record(&call);
        world.usage.wait_until_settled();
        world.hands.advance_ms(DAY);
        world.usage.wait_until_settled();
    }
    let kept = world.last(key(1), 1_000).len();
    assert!((90..=93).contains(&kept), "{kept}");
    let summed = world
        .usage
        .usage_summary(key(1), &days(0, 101))
        .unwrap()
        .len();
    assert!((90..=93).contains(&summed), "{summed}");
    let segments = world.usage.stats().segments;
    assert!((30..=96).contains(&segments), "{segments}");
    world.restart();
    assert_eq!(world.last(key(1), 1_000).len(), kept);
    world.hands.advance_ms(93 * DAY);
    world.usage.wait_until_settled();
    assert_eq!(world.last(key(1), 1_000), [""; 0]);
    assert_eq!(
        world.usage.usage_summary(key(1), &days(0, 101)).unwrap(),
        []
    );
    // The one that is written of each stream.
    assert_eq!(world.usage.stats().segments, 2);
    assert_eq!(world.usage.usage_of(key(1)).accepted, 100);
    assert_eq!(world.killed().usage.usage_of(key(1)).accepted, 100);
}

#[test]
fn many_threads_record_and_none_of_their_calls_is_lost() {
    let world = World::with(|settings| UsageSettings {
        flush_every: Duration::from_millis(1),
        ..settings
    });
    let threads: Vec<_> = (0..4_u128)
        .map(|number| {
            let usage = world.usage.clone();
            thread::spawn(move || {
                for round in 0..2_000 {
                    let name = format!("/{number}/{round}");
                    usage.record_call(&call(key(number), &name));
                    usage.record_call(&call(key(9), &name));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for number in 0..4 {
        let own = world.last(key(number), 1_000);
        let expected = (0..2_000).rev().map(|round| format!("/{number}/{round}"));
        assert!(own.into_iter().eq(expected.take(1_000)));
    }
    world.usage.wait_until_settled();
    assert_eq!(world.usage.usage_of(key(9)).accepted, 8_000);
    assert_eq!(world.usage.stats().recorded, 16_000);
}
