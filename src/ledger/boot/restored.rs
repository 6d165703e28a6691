//! A ledger that goes on from an older copy of itself.
//!
//! The events after the copy are lost, but clients still know their positions. Owns what is done
//! about that before anything is served: finding out from what lies beside the log that it was
//! rolled back, and giving up as many positions as the lost events may have had, so that no
//! position ever names two events. Must never guess that a rollback is meant: without the mark
//! that `restore` and `mark-restored` leave in the folder, such a ledger is not opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::error::{BootError, ReplayError, SeenBeyond, unusable};
use super::folder::Folder;
use crate::clock::Clock;
use crate::domain::command::{Actor, Command, RecordRestore, Request};
use crate::domain::decide::POSITIONS_GIVEN_UP_MAX;
use crate::domain::envelope::Event;
use crate::domain::event::ledger::LedgerRestored;
use crate::ledger::{Ledger, Submission};
use crate::log::{LogOpenError, LogReader};
use crate::merkle::TileId;
use crate::merkle::tile::TILE_WIDTH;

/// Fewest positions that are given up: some 5 MB of the log, and more than a small ledger loses
/// between two backups.
const POSITIONS_MIN: u64 = 10_000;
/// The most that one event of a restore takes in the log: some 500 bytes, rounded up.
const EVENT_BYTES_MAX: u64 = 1_024;
/// Most of them in one batch, which has at most 8 MiB.
const EVENTS_AT_ONCE_MAX: u64 = 8_000;
/// Over how many of the newest events the usual rate of events is measured.
const RATE_EVENTS: u64 = 10_000;
/// How many times the usual rate the lost time may have had.
const RATE_MARGIN: u64 = 2;

/// That a folder was put back from an older copy, until the ledger itself says so.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreMark {
    /// How many events the copy holds.
    pub size: u64,
    /// How many positions to give up; `None`: by the usual rate of events.
    pub positions: Option<u64>,
}

impl RestoreMark {
    /// Writes the mark, durably, so that the next opening of the folder finds it.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn write(self, folder: &Folder) -> io::Result<()> {
        let path = folder.restore_mark();
        let temporary = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(&serde_json::to_vec(&self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(folder.path())?.sync_all()
    }

    /// The mark in a folder, if there is one.
    pub(super) fn read(folder: &Folder) -> Result<Option<Self>, BootError> {
        let path = folder.restore_mark();
        let read = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => Err(why),
        };
        read.map(Some)
            .map_err(|source| BootError::Mark { path, source })
    }

    fn remove(folder: &Folder) -> io::Result<()> {
        match fs::remove_file(folder.restore_mark()) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
            Ok(()) | Err(_) => File::open(folder.path())?.sync_all(),
        }
    }
}

/// A published tile whose last entry would be at or beyond the end of the log. Tiles are written
/// only of events that are durable and signed.
#[must_use]
pub fn tile_beyond(tiles: &Path, next_position: u64) -> Option<SeenBeyond> {
    let width = TILE_WIDTH as u64;
    let index = next_position / width;
    let path = tiles.join(TileId::full_hash_tile(0, index).to_string());
    path.is_file().then(|| SeenBeyond {
        path,
        position: (index + 1) * width - 1,
    })
}

/// Removes the derived files that hold lost events: they are made again from the log.
pub(super) fn remove_derived(folder: &Folder) -> io::Result<()> {
    for path in [folder.snapshots(), folder.tiles()] {
        match fs::remove_dir_all(path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// What an opening has found out about a restore.
pub(super) struct Pending {
    pub(super) mark: Option<RestoreMark>,
    /// The newest lost event of which something in the folder knows.
    pub(super) beyond: Option<u64>,
    /// Events that one batch takes.
    pub(super) at_once: u64,
}

impl Pending {
    pub(super) fn new(
        mark: Option<RestoreMark>,
        beyond: Option<SeenBeyond>,
        segment_bytes: u64,
    ) -> Self {
        Self {
            mark,
            beyond: beyond.map(|seen| seen.position),
            at_once: (segment_bytes / EVENT_BYTES_MAX).clamp(1, EVENTS_AT_ONCE_MAX),
        }
    }
}

/// Gives up the positions of lost events, all or the rest of them, and takes the mark away.
pub(super) fn finish(
    ledger: &mut Ledger,
    folder: &Folder,
    pending: Pending,
) -> Result<(), BootError> {
    let Pending {
        mark,
        beyond,
        at_once,
    } = pending;
    let (newest, under_way) = newest_restore(ledger);
    let recorded = mark.is_none_or(|mark| newest.is_some_and(|at| at.size == mark.size));
    if !recorded || under_way {
        let next = ledger.reader().next_position();
        let wanted = mark.and_then(|mark| mark.positions);
        let usual = || usual_loss(ledger.reader(), ledger.clock());
        let positions = wanted.map_or_else(usual, Ok)?;
        let known = beyond.map_or(0, |position| (position + 1).saturating_sub(next));
        let positions = positions.max(known).clamp(1, POSITIONS_GIVEN_UP_MAX);
        give_up(ledger, positions, at_once)?;
    }
    if mark.is_some() {
        RestoreMark::remove(folder).map_err(|source| unusable(folder, source))?;
    }
    ledger.restores = restores(ledger);
    Ok(())
}

fn restores(ledger: &Ledger) -> Arc<Vec<LedgerRestored>> {
    let state = ledger.state.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(&state.ledger().restores)
}

/// The newest restore, and whether some of its positions are still to be given up.
fn newest_restore(ledger: &Ledger) -> (Option<LedgerRestored>, bool) {
    let state = ledger.state.lock().unwrap_or_else(PoisonError::into_inner);
    let head = state.ledger();
    (
        head.restores.last().copied(),
        head.unfinished_restore().is_some(),
    )
}

fn give_up(ledger: &Ledger, positions: u64, at_once: u64) -> Result<(), BootError> {
    loop {
        ledger.submit_blocking(Submission::bare(Request {
            actor: Actor::Operator,
            command: Command::RecordRestore(RecordRestore { positions, at_once }),
            if_match: None,
        }))?;
        if let (Some(restore), false) = newest_restore(ledger) {
            let LedgerRestored { size, resumes_at } = restore;
            tracing::warn!(
                size,
                resumes_at,
                "the ledger goes on from an older copy: events after it are lost, and clients \
                 that name their positions are told so"
            );
            return Ok(());
        }
    }
}

/// How many events may have been lost: the usual rate over the time since the newest event, and as
/// much again.
fn usual_loss(reader: &LogReader, clock: &Clock) -> Result<u64, BootError> {
    let Some(newest) = reader.next_position().checked_sub(1) else {
        return Ok(POSITIONS_MIN);
    };
    let oldest = newest.saturating_sub(RATE_EVENTS);
    let (first_ms, last_ms) = (happened_ms(reader, oldest)?, happened_ms(reader, newest)?);
    let span_ms = u64::try_from(last_ms - first_ms).unwrap_or(0).max(1);
    let lost_ms = u64::try_from(clock.now_ms().saturating_sub(last_ms)).unwrap_or(0);
    let events = u128::from(newest - oldest) * u128::from(lost_ms) / u128::from(span_ms);
    let events = u64::try_from(events).unwrap_or(u64::MAX);
    let lost = events.saturating_mul(RATE_MARGIN);
    Ok(lost.clamp(POSITIONS_MIN, POSITIONS_GIVEN_UP_MAX))
}

fn happened_ms(reader: &LogReader, position: u64) -> Result<i64, BootError> {
    let event = Event::from_payload(&reader.read_payload(position)?).map_err(|source| {
        let source = ReplayError::Unreadable { position, source };
        LogOpenError::Replay { position, source }
    })?;
    Ok(event.occurred_at.0)
}
