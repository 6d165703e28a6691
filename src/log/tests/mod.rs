//! Tests of the log as a whole, on real files and on the faulty disk.

mod basic;
mod checkpoints;
mod crash;
mod damage;
mod room;

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use super::*;

const SETTINGS: LogSettings = LogSettings {
    segment_bytes: SEGMENT_BYTES_MIN,
    headroom_bytes: 0,
    spares: SpareMaking::ByHand,
};
const LOG_ID: [u8; 16] = *b"a log for tests!";

type Events = Vec<Vec<u8>>;
type Opening = Result<(Log, Recovered, Events), OpenError<Infallible>>;

fn folder() -> PathBuf {
    PathBuf::from("/data/log")
}

/// Opens from the start and gives what was replayed, after comparing it with what is read.
fn open(disk: &Disk, folder: &Path, floor: Option<Floor>) -> Opening {
    let mut events = Events::new();
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
fn append(log: &mut Log, payloads: &[Vec<u8>]) -> Floor {
    let appended = log.append(payloads, Lane::Ordinary).unwrap();
    Floor {
        size: appended.tree_size,
        root: appended.root,
    }
}
