use std::convert::Infallible;
use std::path::Path;

use super::super::*;

pub(super) const SETTINGS: LogSettings = LogSettings {
    segment_bytes: 16 * 1024,
    spares: SpareMaking::ByHand,
};
pub(super) const LOG_ID: [u8; 16] = *b"a log for tests!";

pub(super) type Batches = Vec<Vec<Vec<u8>>>;

/// Opens from the start and gives what was replayed.
pub(super) fn open(
    disk: &Disk,
    folder: &Path,
    floor: Option<Floor>,
) -> Result<(Log, Recovered, Vec<Vec<u8>>), OpenError<Infallible>> {
    let mut events = Vec::new();
    let start = StartFrom {
        floor,
        frontier: Frontier::new(),
    };
    let (log, recovered) = Log::open(
        disk.clone(),
        folder,
        SETTINGS,
        start,
        |position, payload| {
            assert_eq!(position, events.len() as u64);
            events.push(payload.to_vec());
            Ok(())
        },
    )?;
    assert_eq!(log.next_position(), events.len() as u64);
    Ok((log, recovered, events))
}

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
        let appended = log.append(&batch, Lane::Ordinary).unwrap();
        assert_eq!(appended.first, expected.len() as u64);
        expected.extend(batch);
        assert_eq!(appended.last + 1, expected.len() as u64);
        assert_eq!(appended.root, log.frontier().root());
    }
    let reader = log.reader();
    let check = |reader: &Reader| {
        for (position, payload) in expected.iter().enumerate() {
            assert_eq!(&reader.read(position as u64).unwrap(), payload);
        }
        let mut seen = Vec::new();
        reader
            .scan(7, 555, |position, payload| {
                seen.push((position, payload.to_vec()))
            })
            .unwrap();
        let wanted: Vec<_> = (7..555)
            .map(|at| (at as u64, expected[at].clone()))
            .collect();
        assert_eq!(seen, wanted);
        assert!(matches!(
            reader.read(expected.len() as u64),
            Err(ReadError::Absent {
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
        let mut scrub = log.reader().scrub();
        while scrub.step().unwrap() {}
        assert!(scrub.checked() > 500);
        if !clean {
            log.close().unwrap();
        }
    }
}
