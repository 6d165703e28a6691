//! What is found after a stop that was none.

use std::fs;

use sha2::{Digest, Sha256};

use super::{START, World, call, key};
use crate::usage::{Gap, Sealed, Usage, UsageSettings};

#[test]
fn a_killed_process_loses_what_was_not_written_and_says_in_which_interval() {
    let world = World::new();
    world.record(&call(key(1), "/written"));
    world.usage.settle();
    world.record(&call(key(1), "/not written"));
    world.hands.advance_ms(9_000);
    let killed = world.killed();
    assert_eq!(killed.last(key(1), 10), ["/written"]);
    assert_eq!(killed.usage.of(key(1)).accepted, 1);
    let to = START.plus_ms(9_000);
    assert_eq!(killed.usage.gaps(), [Gap { from: START, to }]);
    // The gap is remembered, and a stop in order makes no other.
    let mut killed = killed;
    killed.restart();
    assert_eq!(killed.usage.gaps(), [Gap { from: START, to }]);
    assert_eq!(killed.usage.tracked_since(), START);
}

#[test]
fn a_torn_block_is_cut_wherever_it_is_torn() {
    let world = World::new();
    world.record(&call(key(1), "/whole"));
    world.usage.settle();
    let whole = fs::metadata(&world.segments()[0]).unwrap().len();
    world.record(&call(key(1), "/torn"));
    world.record(&call(key(2), "/torn"));
    world.usage.settle();
    let all = fs::metadata(&world.segments()[0]).unwrap().len();
    for end in (whole..all).step_by(7) {
        let torn = world.killed();
        torn.usage.stop();
        fs::write(torn.settings.folder.join("running"), "").unwrap();
        fs::remove_file(torn.settings.folder.join("checkpoint")).unwrap();
        let path = &torn.segments()[0];
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(end)
            .unwrap();
        let usage = Usage::open(torn.settings.clone()).unwrap();
        let page = usage.calls(key(1), &super::ASK).unwrap();
        let seen: Vec<_> = page.calls.into_iter().map(|call| call.endpoint).collect();
        assert_eq!(seen, ["/whole"], "cut at {end}");
        assert_eq!(usage.of(key(2)).accepted, 0);
        usage.record(&call(key(2), "/after"));
        assert_eq!(usage.calls(key(2), &super::ASK).unwrap().calls.len(), 1);
        usage.stop();
    }
}

#[test]
fn without_its_checkpoint_everything_is_counted_again() {
    let mut world = World::with(|settings| UsageSettings {
        segment_bytes: 4_096,
        ..settings
    });
    for number in 0..200 {
        world.record(&call(key(number % 7), "/a"));
        world.usage.settle();
    }
    world.restart();
    let before: Vec<_> = (0..7).map(|number| world.usage.of(key(number))).collect();
    let summary = |world: &World| {
        let ask = crate::usage::SummaryAsk {
            bucket: crate::usage::Bucket::Day,
            from: START,
            to: START.plus_ms(1),
        };
        world.usage.summary(key(3), &ask).unwrap()
    };
    let summed = summary(&world);
    world.usage.stop();
    fs::remove_file(world.settings.folder.join("checkpoint")).unwrap();
    world.usage = Usage::open(world.settings.clone()).unwrap();
    let after: Vec<_> = (0..7).map(|number| world.usage.of(key(number))).collect();
    assert_eq!(after, before);
    assert_eq!(summary(&world), summed);
    assert_eq!(world.last(key(3), 1_000).len(), 29);
}

#[test]
fn a_damaged_block_is_left_out_and_the_rest_is_there() {
    let mut world = World::new();
    for name in ["/a", "/b", "/c"] {
        world.record(&call(key(1), name));
        world.usage.settle();
    }
    world.usage.stop();
    let path = world.segments()[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(2).position(|two| two == b"/b").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(world.settings.folder.join("checkpoint")).unwrap();
    world.usage = Usage::open(world.settings.clone()).unwrap();
    assert_eq!(world.usage.of(key(1)).accepted, 2);
    assert_eq!(world.last(key(1), 1), ["/c"]);
}

#[test]
fn sealed_segments_are_anchored_by_the_digest_of_their_files() {
    let mut world = World::with(|settings| UsageSettings {
        segment_bytes: 4_096,
        ..settings
    });
    assert_eq!(world.usage.sealed_after(0), None);
    while world.segments().len() < 4 {
        world.record(&call(key(1), "/a"));
        world.usage.settle();
    }
    for _ in 0..3 {
        // A digest a round.
        world.usage.settle();
    }
    let all = world.segments();
    let digests: Vec<_> = all[..3]
        .iter()
        .map(|path| Sha256::digest(fs::read(path).unwrap()))
        .collect();
    let sealed = world.usage.sealed_after(0).unwrap();
    let lengths: u64 = all[..3]
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    let expected = Sealed {
        from: 0,
        to: lengths,
        segments: 3,
        records: sealed.records,
        first_at: START,
        last_at: START,
        digest: Sha256::digest(digests.concat()).into(),
    };
    assert_eq!(sealed, expected);
    assert!(sealed.records > 60);
    assert_eq!(world.usage.sealed_after(sealed.to), None);
    let last = world.usage.sealed_after(1).unwrap();
    assert_eq!((last.segments, last.to), (2, lengths));
    world.restart();
    assert_eq!(world.usage.sealed_after(0), Some(expected));
}

#[test]
fn another_logs_segments_are_not_taken() {
    let world = World::new();
    world.record(&call(key(1), "/a"));
    world.usage.settle();
    let killed = world.killed();
    killed.usage.stop();
    fs::remove_file(killed.settings.folder.join("checkpoint")).unwrap();
    let settings = UsageSettings {
        log_id: [8; 16],
        ..killed.settings.clone()
    };
    let usage = Usage::open(settings).unwrap();
    assert_eq!(usage.of(key(1)).accepted, 0);
    usage.stop();
}
