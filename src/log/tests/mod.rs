//! Tests of the log as a whole, on real files and on the faulty disk.

mod basic;
mod checkpoints;
mod crash;
mod damage;
mod full_disk;
mod inspect;

use crate::merkle::TreeHead;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use super::*;

const SETTINGS: LogSettings = LogSettings {
    segment_bytes: SEGMENT_BYTES_MIN,
    headroom_bytes: 0,
    spares: SpareMaker::ByCaller,
};
const LOG_ID: [u8; 16] = *b"a log for tests!";

type Events = Vec<Vec<u8>>;
type Opening = Result<(Log, RecoveryReport, Events), LogOpenError<Infallible>>;

fn folder() -> PathBuf {
    PathBuf::from("/data/log")
}

/// Opens from the start and gives what was replayed, after comparing it with what is read.
fn open(disk: &Disk, folder: &Path, floor: Option<TreeHead>) -> Opening {
    let seen = look(disk, folder);
    let opened = open_unseen(disk, folder, floor);
    agree(seen, &opened, floor);
    opened
}

/// An inspection, and the events that it has shown.
fn look(disk: &Disk, folder: &Path) -> Result<(LogInspection, Events), InspectError> {
    let mut events = Events::new();
    let inspected = inspect_log(disk, folder, |event| {
        assert_eq!(event.position, events.len() as u64);
        assert_eq!(event.frontier.size(), event.position + 1);
        events.push(event.payload.to_vec());
    });
    inspected.map(|inspected| (inspected, events))
}

/// Who only reads a log finds in it what a start finds.
fn agree(
    seen: Result<(LogInspection, Events), InspectError>,
    opened: &Opening,
    floor: Option<TreeHead>,
) {
    let (log, recovered, events) = match opened {
        Ok(opened) => opened,
        Err(LogOpenError::Damaged(_)) if floor.is_none() => {
            let tail = seen.map(|(inspected, _)| inspected.tail);
            assert!(
                matches!(tail, Err(_) | Ok(LogTail::Damaged(..))),
                "{tail:?}"
            );
            return;
        }
        // The floor was not met, or the disk failed.
        Err(_) => return,
    };
    let (inspected, shown) = seen.unwrap();
    assert_eq!((&inspected.frontier, &shown), (log.frontier(), events));
    assert_eq!(inspected.log_id, LOG_ID);
    match (&inspected.tail, &recovered.torn) {
        (LogTail::Clean { .. }, None) => {}
        (LogTail::Torn { offset, what, .. }, Some(torn)) => {
            assert_eq!((offset, what), (&torn.offset, &torn.fault));
        }
        (tail, torn) => panic!("{tail:?} and {torn:?}"),
    }
}

fn open_unseen(disk: &Disk, folder: &Path, floor: Option<TreeHead>) -> Opening {
    let mut events = Events::new();
    let start = ReplayStart {
        newest_checkpoint: floor,
        snapshot_frontier: Frontier::new(),
    };
    let (log, recovered) = Log::recover_and_open(
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
    let mut read = Events::new();
    let seen = log.reader().scan(0, log.next_position(), |_, payload| {
        read.push(payload.to_vec());
    });
    seen.unwrap();
    assert_eq!(read, events);
    Ok((log, recovered, events))
}

fn create(disk: &MemoryDisk) -> Log {
    Log::create(Disk::Memory(disk.clone()), &folder(), LOG_ID, SETTINGS).unwrap()
}

/// Appends a batch and gives the floor that a checkpoint of it would be.
fn append(log: &mut Log, payloads: &[Vec<u8>]) -> TreeHead {
    let appended = log.append(payloads, AppendSpace::Ordinary).unwrap();
    TreeHead {
        size: appended.tree_size,
        root: appended.root,
    }
}
