//! Every cut and every changed bit: refused, or a torn tail, never other content.

use super::*;

struct Sample {
    disk: MemoryDisk,
    /// The events after each batch, and the floor that it would be.
    whole: Vec<(usize, TreeHead)>,
    events: Events,
}

/// A log of a few batches; `segments` is the number of segments that hold them.
fn sample(batches: &[Vec<Vec<u8>>]) -> Sample {
    let disk = MemoryDisk::new(7);
    let mut log = create(&disk);
    let mut events = Events::new();
    let mut whole = vec![(
        0,
        TreeHead {
            size: 0,
            root: log.frontier().root(),
        },
    )];
    for batch in batches {
        let floor = append(&mut log, batch);
        events.extend(batch.iter().cloned());
        whole.push((events.len(), floor));
    }
    drop(log);
    // A start makes the disk look as one with no spares in the making.
    Sample {
        disk,
        whole,
        events,
    }
}

fn small_batches() -> Vec<Vec<Vec<u8>>> {
    let text =
        |length: usize| b"0123456789abcdefghijklmnopqrstuvwxyz".repeat(50)[..length].to_vec();
    vec![
        vec![text(5)],
        vec![text(30), text(1)],
        vec![text(700), text(17)],
        vec![text(12), text(90), text(3)],
    ]
}

fn opened(disk: &MemoryDisk, floor: Option<TreeHead>) -> Opening {
    open(&Disk::Memory(disk.clone()), &folder(), floor)
}

#[test]
fn a_cut_at_any_byte_leaves_the_batches_before_it() {
    let sample = sample(&small_batches());
    let path = segment::segment_path(&folder(), 0);
    let bytes = sample.disk.file_content(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut ends = vec![4096];
    for batch in small_batches() {
        let frames: usize = batch
            .iter()
            .map(|payload| 64 + payload.len().next_multiple_of(8))
            .sum();
        ends.push(ends.last().unwrap() + frames + 144);
    }
    for cut in 0..=used + 8 {
        let disk = sample.disk.after_restart();
        disk.put_synced_file(&path, bytes[..cut].to_vec());
        // Zeros that are missing are no loss.
        let last = bytes[..cut]
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let kept = |end: &&usize| {
            bytes[cut.min(**end)..**end].iter().all(|byte| *byte == 0) && last <= cut
        };
        let batches = ends.iter().take_while(kept).count();
        // The highest floor that must hold, and the lowest that must refuse.
        let floors = sample
            .whole
            .iter()
            .enumerate()
            .skip(batches.max(1) - 1)
            .take(2);
        for (floor_at, (_, floor)) in floors {
            let outcome = opened(&disk.after_restart(), Some(*floor));
            if batches == 0 || floor_at >= batches {
                assert!(
                    matches!(outcome, Err(LogOpenError::Damaged(_))),
                    "cut {cut}"
                );
                continue;
            }
            let (log, recovered, events) = outcome.unwrap_or_else(|e| panic!("cut {cut}: {e}"));
            let expected = sample.whole[batches - 1];
            assert_eq!(events, sample.events[..expected.0], "cut {cut}");
            assert_eq!(log.frontier().root(), expected.1.root);
            let at_end = bytes[cut.min(ends[batches - 1])..ends[batches - 1]].is_empty();
            if recovered.torn.is_none() {
                assert!(
                    cut <= ends[batches - 1] || !at_end || batches == ends.len(),
                    "cut {cut}"
                );
            }
        }
    }
}

/// Opens the sample after changing one file; it must be refused or give what is expected.
fn flip(sample: &Sample, path: &Path, at: usize, bit: u8, is_tail: bool) {
    let mut bytes = sample.disk.file_content(path).unwrap();
    bytes[at] ^= 1 << bit;
    let disk = sample.disk.after_restart();
    disk.put_synced_file(path, bytes);
    match opened(&disk, None) {
        Err(LogOpenError::Damaged(damage)) => {
            assert!(damage.file == path || !is_tail, "{damage}");
        }
        Ok((_, recovered, events)) => {
            assert!(is_tail, "bit {bit} of byte {at} of {path:?} was accepted");
            assert!(recovered.torn.is_some());
            assert_eq!(events, sample.events);
        }
        Err(error) => panic!("bit {bit} of byte {at}: {error}"),
    }
}

/// Whether `tests/exhaustive` asks for all there is.
#[expect(clippy::disallowed_methods, reason = "a test's own setting")]
fn exhaustive() -> bool {
    std::env::var("KEYLEDGER_EXHAUSTIVE").is_ok()
}

#[test]
fn every_changed_bit_of_a_small_log_is_refused() {
    let sample = sample(&small_batches());
    let path = segment::segment_path(&folder(), 0);
    let bytes = sample.disk.file_content(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // Behind the end, zeros that became something else are refused or set aside. Of such zeros, and
    // of the reserved ones in the header, one bit of every 13th byte is enough for every day.
    let end = used.next_multiple_of(8);
    let every_bit = exhaustive();
    for at in 0..bytes.len() {
        let zeros = (96..4092).contains(&at) || at >= end;
        for bit in 0..8 {
            if !zeros || every_bit || (at % 13 == 0 && usize::from(bit) == at % 8) {
                flip(&sample, &path, at, bit, at >= end);
            }
        }
    }
}

#[test]
fn every_changed_bit_of_a_full_segment_is_refused() {
    let big = vec![vec![b'x'; 5000]];
    let sample = sample(&[big.clone(), big.clone(), big.clone(), big]);
    let path = segment::segment_path(&folder(), 0);
    let bytes = sample.disk.file_content(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert_eq!(used.next_multiple_of(8), 4096 + 2 * (64 + 5000 + 144) + 144);
    // The header's reserved bytes and long payloads are alike: every seventh byte, a bit of it. The
    // small log above has every bit changed.
    let payloads = [
        4096 + 64 + 8..4096 + 5064 - 8,
        9304 + 64 + 8..9304 + 5064 - 8,
    ];
    for at in 0..bytes.len() {
        let dull =
            (96..4092).contains(&at) || payloads.iter().any(|p| p.contains(&at)) || at > used;
        for bit in if dull { at % 8..at % 8 + 1 } else { 0..8 } {
            if !dull || at % 7 == 0 {
                flip(&sample, &path, at, u8::try_from(bit).unwrap(), false);
            }
        }
    }
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let big = vec![vec![b'x'; 9000]];
    let sample = sample(&vec![big; 5]);
    let paths: Vec<PathBuf> = (0..5)
        .map(|n| segment::segment_path(&folder(), n))
        .collect();
    let newest = sample.whole[5].1;
    for (number, path) in paths.iter().enumerate() {
        let disk = sample.disk.after_restart();
        disk.remove(path).unwrap();
        let outcome = opened(&disk, Some(newest));
        let Err(LogOpenError::Damaged(damage)) = outcome else {
            panic!("segment {number} was missing: {outcome:?}");
        };
        assert!(number == 4 || damage.file == *path, "{damage}");
        // A segment cut short is refused when another follows, or by the floor.
        let disk = sample.disk.after_restart();
        disk.put_synced_file(path, disk.file_content(path).unwrap()[..8192].to_vec());
        assert!(matches!(
            opened(&disk, Some(newest)),
            Err(LogOpenError::Damaged(_))
        ));
        // The same position of another log.
        let disk = sample.disk.after_restart();
        let foreign = MemoryDisk::new(1);
        let made = Log::create(Disk::Memory(foreign.clone()), &folder(), [5; 16], SETTINGS);
        let mut log = made.unwrap();
        for _ in 0..5 {
            append(&mut log, &[vec![b'x'; 9000]]);
        }
        disk.put_synced_file(path, foreign.file_content(path).unwrap());
        assert!(
            matches!(opened(&disk, None), Err(LogOpenError::Damaged(_))),
            "{number}"
        );
    }
    let disk = sample.disk.after_restart();
    paths.iter().for_each(|path| disk.remove(path).unwrap());
    assert!(matches!(opened(&disk, None), Err(LogOpenError::NoLog(_))));
}

/// Every header and every seal is checked, of segments too whose frames start leaves alone.
#[test]
fn every_changed_bit_of_an_old_header_or_seal_is_refused() {
    let big = vec![vec![b'x'; 9000]];
    let sample = sample(&vec![big; 6]);
    let (log, _, _) = opened(&sample.disk.after_restart(), None).unwrap();
    let frontier = log.frontier().clone();
    let path = segment::segment_path(&folder(), 1);
    let bytes = sample.disk.file_content(&path).unwrap();
    let seal = 4096 + (64 + 9000) + 144;
    assert_eq!(bytes[seal + 8], 3);
    for at in (0..96).chain(4092..4096).chain(seal..seal + 144) {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let disk = sample.disk.after_restart();
            disk.put_synced_file(&path, changed);
            let start = ReplayStart {
                newest_checkpoint: None,
                snapshot_frontier: frontier.clone(),
            };
            let opened =
                Log::recover_and_open(Disk::Memory(disk), &folder(), SETTINGS, start, |_, _| {
                    Ok::<_, Infallible>(())
                });
            let refused = matches!(opened, Err(LogOpenError::Damaged(_)));
            assert!(refused, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn scrub_finds_what_start_leaves_out() {
    let big = vec![vec![b'x'; 9000]];
    let sample = sample(&vec![big; 6]);
    let (_, _, _) = opened(&sample.disk.after_restart(), None).unwrap();
    let path = segment::segment_path(&folder(), 2);
    let mut bytes = sample.disk.file_content(&path).unwrap();
    bytes[6000] ^= 1;
    let disk = sample.disk.after_restart();
    let mut frontier = Frontier::new();
    for event in &sample.events {
        frontier.append_commitment(
            &sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(event)).into(),
        );
    }
    disk.put_synced_file(&path, bytes);
    let start = ReplayStart {
        newest_checkpoint: None,
        snapshot_frontier: frontier,
    };
    let opened = Log::recover_and_open(Disk::Memory(disk), &folder(), SETTINGS, start, |_, _| {
        Ok::<_, Infallible>(())
    });
    let (log, recovered) = opened.unwrap();
    assert_eq!(recovered.checked_from, 4);
    let mut scrub = log.reader().start_scrub();
    assert!(scrub.check_next_segment().unwrap() && scrub.check_next_segment().unwrap());
    assert_eq!(scrub.checked_to(), 2);
    let Err(FileOrDamage::Damaged(damage)) = scrub.check_next_segment() else {
        panic!("not found")
    };
    assert_eq!((damage.file, damage.position), (path, 2));
    assert!(matches!(
        log.reader().read_payload(2),
        Err(LogReadError::Damaged(_))
    ));
    assert!(log.reader().read_payload(1).is_ok() && log.reader().read_payload(3).is_ok());
}

/// A tear is a sector that was not written; these are the tears of the last batch, all of them.
#[test]
fn every_set_of_lost_sectors_is_a_torn_tail() {
    let mut batches = small_batches();
    batches.push(vec![vec![b'y'; 900], vec![b'z'; 1200], vec![b'w'; 40]]);
    let sample = sample(&batches);
    let path = segment::segment_path(&folder(), 0);
    let bytes = sample.disk.file_content(&path).unwrap();
    let before = &sample.whole[4];
    let tail = {
        let disk = MemoryDisk::new(7);
        let mut log = create(&disk);
        for batch in small_batches() {
            append(&mut log, &batch);
        }
        let content = disk.file_content(&path).unwrap();
        content.iter().rposition(|byte| *byte != 0).unwrap() / 8 * 8 + 8
    };
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let sectors: Vec<usize> = (tail / 512..used.div_ceil(512)).collect();
    assert!(sectors.len() >= 5);
    for lost in 1..1_usize << sectors.len() {
        let mut torn = bytes.clone();
        for (bit, sector) in sectors.iter().enumerate() {
            if lost >> bit & 1 == 1 {
                torn[(sector * 512).max(tail)..(sector + 1) * 512].fill(0);
            }
        }
        let disk = sample.disk.after_restart();
        disk.put_synced_file(&path, torn.clone());
        let (log, recovered, events) = opened(&disk, Some(before.1)).unwrap();
        assert_eq!(events, sample.events[..before.0], "lost {lost:b}");
        let Some(cut) = recovered.torn else {
            assert!(torn[tail..].iter().all(|byte| *byte == 0));
            continue;
        };
        assert_eq!((cut.offset, cut.position), (tail as u64, before.1.size));
        let copy = disk.file_content(&cut.copy).unwrap();
        assert!(
            torn[tail..].starts_with(&copy) && torn[tail + copy.len()..].iter().all(|b| *b == 0)
        );
        drop(log);
        // Below the newest checkpoint, and before a later batch's commit, nothing is cut.
        let disk = sample.disk.after_restart();
        disk.put_synced_file(&path, torn.clone());
        assert!(matches!(
            opened(&disk, Some(sample.whole[5].1)),
            Err(LogOpenError::Damaged(_))
        ));
        let later = frame::CommitPayload {
            log_id: LOG_ID,
            first: sample.whole[5].1.size,
            count: 1,
            batch_bytes: 8,
            tree_size: 99,
            root: [1; 32],
        };
        let at = used.next_multiple_of(512) + 512;
        torn[at..at + 80].copy_from_slice(&later.encode());
        disk.put_synced_file(&path, torn);
        assert!(matches!(
            opened(&disk, Some(before.1)),
            Err(LogOpenError::Damaged(_))
        ));
    }
}
