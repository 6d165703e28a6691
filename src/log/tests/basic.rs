//! Creating, appending, reading, rolling: what holds when nothing goes wrong.

use super::*;

#[test]
fn what_was_appended_is_read_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("log");
    let mut log = Log::create(Disk::Real, &folder, LOG_ID, SETTINGS).unwrap();
    let mut expected = Vec::new();
    for number in 0..200_usize {
        let batch: Vec<Vec<u8>> = (0..number % 5 + 1)
            .map(|event| {
                format!("event {event} of batch {number}")
                    .repeat(event + 1)
                    .into_bytes()
            })
            .collect();
        let appended = log.append(&batch, AppendSpace::Ordinary).unwrap();
        assert_eq!(appended.first_position, expected.len() as u64);
        expected.extend(batch);
        assert_eq!(appended.last_position + 1, expected.len() as u64);
        assert_eq!(appended.root, log.frontier().root());
    }
    let reader = log.reader();
    let check = |reader: &LogReader| {
        for (position, payload) in expected.iter().enumerate() {
            assert_eq!(&reader.read_payload(position as u64).unwrap(), payload);
        }
        let mut seen = Vec::new();
        reader
            .scan(7, 555, |position, payload| {
                seen.push((position, payload.to_vec()));
            })
            .unwrap();
        let wanted: Vec<_> = (7..555)
            .map(|at| (at as u64, expected[at].clone()))
            .collect();
        assert_eq!(seen, wanted);
        assert!(matches!(
            reader.read_payload(expected.len() as u64),
            Err(LogReadError::NotCommitted {
                position: 600,
                next: 600
            })
        ));
    };
    check(&reader);
    let root = log.frontier().root();
    drop(log);
    for clean in [false, true, false] {
        let (log, recovered, events) = open(&Disk::Real, &folder, None).unwrap();
        assert_eq!(recovered.was_clean, clean);
        assert_eq!(events, expected);
        assert_eq!(log.frontier().root(), root);
        check(&log.reader());
        let mut scrub = log.reader().start_scrub();
        while scrub.check_next_segment().unwrap() {}
        assert!(scrub.checked_to() > 500);
        if !clean {
            log.close().unwrap();
        }
    }
}

/// The bytes are frozen for ever: when this fails, no existing log can be read any more.
#[test]
fn the_bytes_of_a_segment_are_those_of_format_1() {
    let disk = MemoryDisk::new(1);
    let mut log = create(&disk);
    append(&mut log, &[b"{}".to_vec(), b"12345678".to_vec()]);
    append(&mut log, &[b"{\"third\":3}".to_vec()]);
    let bytes = disk
        .file_content(&segment::segment_path(&folder(), 0))
        .unwrap();
    assert_eq!(bytes.len(), 16 * 1024);
    insta::assert_snapshot!(golden(&bytes), @r"
       0 magic: 4b45594c45444731
       8 format: 01000000
      12 header bytes: 00100000
      16 log id: 61206c6f6720666f7220746573747321
      32 first: 0000000000000000
      40 segment bytes: 0040000000000000
      48 previous chain: 00000000
      52 reserved: 00000000
      56 tree size: 0000000000000000
      64 root: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    4092 crc: 7c6a215f
    4096 length: 02000000
    4100 crc: 6af3fd0e
    4104 kind, flags, reserved: 0100000000000000
    4112 position: 0000000000000000
    4120 commitment: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
    4152 payload crc: aad07b29
    4156 reserved: 00000000
    4160 payload: 7b7d000000000000
    4168 length: 08000000
    4172 crc: d53a1c47
    4176 kind, flags, reserved: 0100000000000000
    4184 position: 0100000000000000
    4192 commitment: ef797c8118f02dfb649607dd5d3f8c7623048c9c063d532cc95c5ed7a898a64f
    4224 payload crc: 9a808760
    4228 reserved: 00000000
    4232 payload: 3132333435363738
    4240 length: 50000000
    4244 crc: eac3d90f
    4248 kind, flags, reserved: 0200000000000000
    4256 position: 0100000000000000
    4264 commitment: 694f779dcfae236525e07769e4d1d6bdd349321eea2d40097447f8db7ef72b59
    4296 payload crc: 2e287fd5
    4300 reserved: 00000000
    4304 payload: 4b4c434f4d4d495461206c6f6720666f72207465737473210000000000000000
    4336 payload: 02000000900000000200000000000000694f779dcfae236525e07769e4d1d6bd
    4368 payload: d349321eea2d40097447f8db7ef72b59
    4384 length: 0b000000
    4388 crc: 37f6a88c
    4392 kind, flags, reserved: 0100000000000000
    4400 position: 0200000000000000
    4408 commitment: 18ac477976857729acf8d9f997516aadad52b2579457f129282c7d30707109c9
    4440 payload crc: a2d1ee6e
    4444 reserved: 00000000
    4448 payload: 7b227468697264223a337d0000000000
    4464 length: 50000000
    4468 crc: 4bf75cde
    4472 kind, flags, reserved: 0200000000000000
    4480 position: 0200000000000000
    4488 commitment: ddf0b4b099a7f1eb456f2864e4c40937a1a6e2f17d367766e6c3707af6212faa
    4520 payload crc: be674f40
    4524 reserved: 00000000
    4528 payload: 4b4c434f4d4d495461206c6f6720666f72207465737473210200000000000000
    4560 payload: 01000000500000000300000000000000ddf0b4b099a7f1eb456f2864e4c40937
    4592 payload: a1a6e2f17d367766e6c3707af6212faa
    ");
}

/// The fields of a segment, by the offsets in the module's tables.
fn golden(bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, from: usize, length: usize| {
        lines.push(format!(
            "{from:4} {name}: {}",
            hex::encode(&bytes[from..from + length])
        ));
    };
    for (name, from, length) in [
        ("magic", 0, 8),
        ("format", 8, 4),
        ("header bytes", 12, 4),
        ("log id", 16, 16),
        ("first", 32, 8),
        ("segment bytes", 40, 8),
        ("previous chain", 48, 4),
        ("reserved", 52, 4),
        ("tree size", 56, 8),
        ("root", 64, 32),
        ("crc", 4092, 4),
    ] {
        line(name, from, length);
    }
    let mut at = 4096;
    for payload in [8, 8, 80, 16, 80] {
        for (name, from, length) in [
            ("length", 0, 4),
            ("crc", 4, 4),
            ("kind, flags, reserved", 8, 8),
            ("position", 16, 8),
            ("commitment", 24, 32),
            ("payload crc", 56, 4),
            ("reserved", 60, 4),
        ] {
            line(name, at + from, length);
        }
        for from in (0..payload).step_by(32) {
            line("payload", at + 64 + from, (payload - from).min(32));
        }
        at += 64 + payload;
    }
    assert!(bytes[96..4092].iter().all(|byte| *byte == 0));
    assert!(bytes[at..].iter().all(|byte| *byte == 0));
    lines.join("\n")
}

#[test]
fn a_start_from_a_snapshot_replays_what_follows_it() {
    let disk = MemoryDisk::new(2);
    let mut log = create(&disk);
    let mut frontiers = vec![Frontier::new()];
    for number in 0..300_u32 {
        append(&mut log, &[number.to_le_bytes().repeat(20)]);
        frontiers.push(log.frontier().clone());
    }
    let floor = TreeHead {
        size: 300,
        root: log.frontier().root(),
    };
    drop(log);
    for (position, frontier) in frontiers.iter().enumerate().step_by(7) {
        let mut replayed = Vec::new();
        let start = ReplayStart {
            newest_checkpoint: Some(floor),
            snapshot_frontier: frontier.clone(),
        };
        let disk = Disk::Memory(disk.after_restart());
        let opened = Log::recover_and_open(disk, &folder(), SETTINGS, start, |at, _| {
            replayed.push(at);
            Ok::<_, Infallible>(())
        });
        let (log, recovered) = opened.unwrap();
        assert_eq!(replayed, (position as u64..300).collect::<Vec<_>>());
        assert!(recovered.checked_from <= position as u64);
        assert_eq!(log.frontier().root(), floor.root);
        // Segments that start left alone are read all the same.
        assert_eq!(
            log.reader().read_payload(3).unwrap(),
            3_u32.to_le_bytes().repeat(20)
        );
    }
    // An old checkpoint is looked for in its own segment.
    for (size, frontier) in frontiers.iter().enumerate().step_by(11) {
        for (root, fits) in [(frontier.root(), true), ([1; 32], false)] {
            let floor = Some(TreeHead {
                size: size as u64,
                root,
            });
            let start = ReplayStart {
                newest_checkpoint: floor,
                snapshot_frontier: frontiers[300].clone(),
            };
            let disk = Disk::Memory(disk.after_restart());
            let opened = Log::recover_and_open(disk, &folder(), SETTINGS, start, |_, _| {
                Ok::<_, Infallible>(())
            });
            assert_eq!(opened.is_ok(), fits, "floor {size}");
        }
    }
}

#[test]
fn a_snapshot_of_another_log_is_refused() {
    let disk = MemoryDisk::new(3);
    let mut log = create(&disk);
    append(&mut log, &[b"one".to_vec(), b"two".to_vec()]);
    drop(log);
    for size in 1..5 {
        let mut frontier = Frontier::new();
        (0..size).for_each(|_| frontier.append_commitment(&[9; 32]));
        let start = ReplayStart {
            newest_checkpoint: None,
            snapshot_frontier: frontier,
        };
        let disk = Disk::Memory(disk.after_restart());
        let opened = Log::recover_and_open(disk, &folder(), SETTINGS, start, |_, _| {
            Ok::<_, Infallible>(())
        });
        assert!(
            matches!(opened, Err(LogOpenError::SnapshotMismatch { .. })),
            "size {size}"
        );
    }
}

#[test]
fn limits_are_refusals() {
    let disk = MemoryDisk::new(4);
    let mut log = create(&disk);
    let max = log.batch_bytes_max();
    assert_eq!(max, 16 * 1024 - 4096 - 144);
    let operations = disk.operation_count();
    let mut refused = |batch: &[Vec<u8>]| log.append(batch, AppendSpace::WithReserve).unwrap_err();
    assert!(matches!(refused(&[]), AppendError::EmptyBatch));
    assert!(matches!(
        refused(&[vec![1; PAYLOAD_BYTES_MAX + 1]]),
        AppendError::PayloadTooLong {
            bytes: 65_536,
            max: 65_535
        }
    ));
    assert!(matches!(
        refused(&vec![vec![]; BATCH_EVENTS_MAX + 1]),
        AppendError::TooManyEvents { .. }
    ));
    let fits = usize::try_from(max).unwrap() - 144 - 64;
    assert!(matches!(
        refused(&[vec![1; fits + 1]]),
        AppendError::BatchTooLong { .. }
    ));
    assert_eq!(disk.operation_count(), operations);
    assert!(log.check_batch_lengths([fits]).is_ok());
    append(&mut log, &[vec![1; fits]]);
    append(&mut log, &[vec![2; fits]]);
    assert_eq!(log.reader().read_payload(1).unwrap(), vec![2; fits]);
    assert!(matches!(
        Log::create(Disk::Memory(disk.clone()), &folder(), LOG_ID, SETTINGS),
        Err(LogCreateError::LogExists(_))
    ));
    let odd = LogSettings {
        segment_bytes: 20_000,
        headroom_bytes: 0,
        ..SETTINGS
    };
    let made = Log::create(Disk::Memory(disk), Path::new("/other"), LOG_ID, odd);
    assert!(matches!(
        made,
        Err(LogCreateError::InvalidSegmentBytes(20_000))
    ));
}
