//! What is found after a stop that was none.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{START, World, call, key};
use crate::degraded::{DegradedParts, Part};
use crate::usage::misplaced::set_aside_misplaced;
use crate::usage::{RecordingGap, SealedSegments, UsageHistory, UsageRetention, UsageSettings};

#[test]
fn a_killed_process_loses_what_was_not_written_and_says_in_which_interval() {
    let world = World::new();
    world.record(&call(key(1), "/written"));
    world.usage.wait_until_settled();
    world.record(&call(key(1), "/not written"));
    world.hands.advance_ms(9_000);
    let killed = world.killed();
    assert_eq!(killed.last(key(1), 10), ["/written"]);
    assert_eq!(killed.usage.usage_of(key(1)).accepted, 1);
    let to = START.plus_ms(9_000);
    assert_eq!(killed.usage.gaps(), [RecordingGap { from: START, to }]);
    // The gap is remembered, and a stop in order makes no other.
    let mut killed = killed;
    killed.restart();
    assert_eq!(killed.usage.gaps(), [RecordingGap { from: START, to }]);
    assert_eq!(killed.usage.tracked_since(), START);
}

#[test]
fn a_torn_block_is_cut_wherever_it_is_torn() {
    let world = World::new();
    world.record(&call(key(1), "/whole"));
    world.usage.wait_until_settled();
    let whole = fs::metadata(&world.segments()[0]).unwrap().len();
    world.record(&call(key(1), "/torn"));
    world.record(&call(key(2), "/torn"));
    world.usage.wait_until_settled();
    let all = fs::metadata(&world.segments()[0]).unwrap().len();
    for end in (whole..all).step_by(7) {
        let torn = world.killed();
        torn.usage.write_and_stop();
        fs::write(torn.settings.folder.join("running"), "").unwrap();
        fs::remove_file(torn.settings.folder.join("checkpoint")).unwrap();
        let path = &torn.segments()[0];
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(end)
            .unwrap();
        let usage = UsageHistory::open(torn.settings.clone()).unwrap();
        let page = usage.last_calls(key(1), &super::ASK).unwrap();
        let seen: Vec<_> = page.calls.into_iter().map(|call| call.endpoint).collect();
        assert_eq!(seen, ["/whole"], "cut at {end}");
        assert_eq!(usage.usage_of(key(2)).accepted, 0);
        usage.record_call(&call(key(2), "/after"));
        assert_eq!(
            usage.last_calls(key(2), &super::ASK).unwrap().calls.len(),
            1
        );
        usage.write_and_stop();
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
        world.usage.wait_until_settled();
    }
    world.restart();
    let before: Vec<_> = (0..7)
        .map(|number| world.usage.usage_of(key(number)))
        .collect();
    let summary = |world: &World| {
        let ask = crate::usage::UsageSummaryQuery {
            bucket: crate::usage::BucketSize::Day,
            from: START,
            to: START.plus_ms(1),
        };
        world.usage.usage_summary(key(3), &ask).unwrap()
    };
    let summed = summary(&world);
    world.usage.write_and_stop();
    fs::remove_file(world.settings.folder.join("checkpoint")).unwrap();
    world.usage = UsageHistory::open(world.settings.clone()).unwrap();
    let after: Vec<_> = (0..7)
        .map(|number| world.usage.usage_of(key(number)))
        .collect();
    assert_eq!(after, before);
    assert_eq!(summary(&world), summed);
    assert_eq!(world.last(key(3), 1_000).len(), 29);
}

#[test]
fn a_damaged_block_is_left_out_and_the_rest_is_there() {
    let mut world = World::new();
    for name in ["/a", "/b", "/c"] {
        world.record(&call(key(1), name));
        world.usage.wait_until_settled();
    }
    world.usage.write_and_stop();
    let path = world.segments()[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(2).position(|two| two == b"/b").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(world.settings.folder.join("checkpoint")).unwrap();
    world.usage = UsageHistory::open(world.settings.clone()).unwrap();
    assert_eq!(world.usage.usage_of(key(1)).accepted, 2);
    assert_eq!(world.last(key(1), 1), ["/c"]);
}

#[test]
fn sealed_segments_are_anchored_by_the_digest_of_their_files() {
    let mut world = World::with(|settings| UsageSettings {
        segment_bytes: 4_096,
        ..settings
    });
    assert_eq!(world.usage.sealed_segments_from(0), None);
    while world.segments().len() < 4 {
        world.record(&call(key(1), "/a"));
        world.usage.wait_until_settled();
    }
    for _ in 0..3 {
        // A digest a round.
        world.usage.wait_until_settled();
    }
    let all = world.segments();
    let digests: Vec<_> = all[..3]
        .iter()
        .map(|path| Sha256::digest(fs::read(path).unwrap()))
        .collect();
    let sealed = world.usage.sealed_segments_from(0).unwrap();
    let lengths: u64 = all[..3]
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    let expected = SealedSegments {
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
    assert_eq!(world.usage.sealed_segments_from(sealed.to), None);
    let last = world.usage.sealed_segments_from(1).unwrap();
    assert_eq!((last.segments, last.to), (2, lengths));
    world.restart();
    assert_eq!(world.usage.sealed_segments_from(0), Some(expected));
}

#[test]
fn another_logs_segments_are_not_taken() {
    let world = World::new();
    world.record(&call(key(1), "/a"));
    world.usage.wait_until_settled();
    let killed = world.killed();
    killed.usage.write_and_stop();
    fs::remove_file(killed.settings.folder.join("checkpoint")).unwrap();
    let settings = UsageSettings {
        log_id: [8; 16],
        ..killed.settings.clone()
    };
    let usage = UsageHistory::open(settings).unwrap();
    assert_eq!(usage.usage_of(key(1)).accepted, 0);
    usage.write_and_stop();
}

type Damaging = fn(&Path);

/// Ways to damage a file.
const WAYS: [(&str, Damaging); 6] = [
    ("a flipped bit in its middle", |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }),
    ("a flipped bit in its beginning", |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[3] ^= 1;
        fs::write(path, bytes).unwrap();
    }),
    ("cut to half", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("emptied", |path| fs::write(path, "").unwrap()),
    ("removed", |path| fs::remove_file(path).unwrap()),
    ("a folder", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
];

/// A history of several segments of each stream, stopped in order.
fn stopped() -> World {
    let mut world = World::with(|settings| UsageSettings {
        segment_bytes: 4_096,
        retention: UsageRetention {
            bytes_max: 1 << 20,
            ..UsageRetention::default()
        },
        ..settings
    });
    for number in 0..400 {
        world.record(&call(key(number % 7), "/a"));
        world.usage.wait_until_settled();
        world.hands.advance_ms(120_000);
    }
    world.restart();
    world.usage.write_and_stop();
    world
}

/// Opens the history again, with all of its sealed segments read, and gives what it reports.
fn reopened(world: &World, folder: &Path) -> (UsageHistory, DegradedParts) {
    let degraded = DegradedParts::new(world.settings.clock.clone());
    let settings = UsageSettings {
        folder: folder.to_owned(),
        degraded: degraded.clone(),
        ..world.settings.clone()
    };
    set_aside_misplaced(folder, &degraded).unwrap();
    let usage = UsageHistory::open(settings).unwrap();
    for _ in 0..100 {
        usage.wait_until_settled();
        world.hands.advance_ms(5_000);
    }
    (usage, degraded)
}

#[test]
fn damage_to_any_file_is_reported_and_recording_goes_on() {
    let world = stopped();
    let mut files = Vec::new();
    for stream in ["calls", "overflow", "rollups"] {
        let entries = fs::read_dir(world.settings.folder.join(stream)).unwrap();
        let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        // The first, one between, and the one that was written last.
        let middle = found.len() / 2;
        let last = found.len() - 1;
        files.extend([0, middle, last].map(|at| found[at].clone()));
    }
    files.push(world.settings.folder.join("checkpoint"));
    files.dedup();
    for file in files {
        let name = file.strip_prefix(&world.settings.folder).unwrap();
        for (way, damage) in WAYS {
            let copied = tempfile::tempdir().unwrap();
            let folder = copied.path().join("usage");
            super::copy(&world.settings.folder, &folder);
            let is_blank = fs::metadata(&file).unwrap().len() <= 64;
            // The oldest segments go for their age, too.
            let is_oldest = name.ends_with("00000000000000000000.use");
            damage(&folder.join(name));
            let (usage, degraded) = reopened(&world, &folder);
            let named = degraded.damage_found().into_iter().any(|damage| {
                damage.part == Part::Usage && folder.join(name).starts_with(&damage.file)
            });
            let passes = (is_blank && way != "a folder") || (is_oldest && way == "removed");
            assert!(named || passes, "{}: {way}", name.display());
            usage.record_call(&call(key(1), "/after"));
            usage.wait_until_settled();
            let page = usage.last_calls(key(1), &super::ASK).unwrap();
            assert_eq!(
                page.calls[0].endpoint,
                "/after",
                "{}: {way}",
                name.display()
            );
            assert_eq!(degraded.list(), [], "{}: {way}", name.display());
            usage.write_and_stop();
        }
    }
    // Whole as it was, it reports nothing.
    let (usage, degraded) = reopened(&world, &world.settings.folder);
    assert_eq!(degraded.damage_found(), []);
    usage.write_and_stop();
}

#[test]
fn a_history_older_than_the_log_says_so_and_goes_on_behind_what_is_anchored() {
    let world = stopped();
    let degraded = DegradedParts::new(world.settings.clock.clone());
    let settings = UsageSettings {
        anchored_to: 1 << 30,
        degraded: degraded.clone(),
        ..world.settings.clone()
    };
    let usage = UsageHistory::open(settings).unwrap();
    let damage = degraded.damage_found();
    assert_eq!(damage.len(), 1);
    assert!(damage[0].reason.contains("the log knows of calls"));
    usage.record_call(&call(key(1), "/after"));
    usage.wait_until_settled();
    let page = usage.last_calls(key(1), &super::ASK).unwrap();
    assert_eq!(page.calls[0].endpoint, "/after");
    usage.write_and_stop();
}
