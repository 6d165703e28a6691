//! Snapshots of the state, taken piecewise while writing goes on.
//!
//! The writer orders one every so many events, with position and frontier as of that moment; this
//! thread then copies the settled records, some thousand at a time, and writes them. A snapshot
//! that fails is given up, and so is one that is being written at a stop: the log can always do
//! without.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::stamp::{StampError, open_endpoint, open_means, open_member};
use crate::degraded::{DegradedParts, Part};
use crate::domain::pieces::{Piece, Taken};
use crate::domain::state::State;
use crate::log::ReplayStart;
use crate::merkle::Frontier;
use crate::private;
use crate::seal::KeyStore;
use crate::views::snapshot::{self, SnapshotError, SnapshotHead, SnapshotWriter};

/// Events from one snapshot to the next, usually.
pub(crate) const EVENTS_BETWEEN: NonZeroU64 = NonZeroU64::new(500_000).expect("it is not 0");

const TRIED_AGAIN: &str = "without a newer snapshot a start takes longer; the next one is tried \
    when it is due. Make room on the disk, or correct the folder's mode and owner";

/// Records copied under one hold of the state: some 100 microseconds.
const RECORDS_AT_ONCE: usize = 4_096;

/// Pieces of a snapshot that are still written when the ledger stops: some 50 milliseconds.
const PIECES_AT_STOP: usize = 16;

/// Writes the snapshots that are ordered, until nobody can order any more.
pub(crate) fn run(
    folder: &Path,
    state: &Mutex<State>,
    orders: &Receiver<SnapshotHead>,
    (degraded, is_stopping): (&DegradedParts, impl Fn() -> bool),
) {
    for head in orders {
        let position = head.position;
        match write(folder, state, head, (PIECES_AT_STOP, &is_stopping)) {
            Ok(Written::Whole) => {
                degraded.end(Part::Snapshots);
                tracing::info!(position, "snapshot written");
            }
            Ok(Written::GivenUp) => tracing::info!(position, "a snapshot is given up for the stop"),
            Err(why) => {
                let why = crate::error_chain::error_chain(&why);
                let reason = format!("{}: {why}", folder.display());
                degraded.begin(Part::Snapshots, reason, TRIED_AGAIN);
            }
        }
    }
}

/// Sets aside what stands where the folder or a snapshot should be and is none.
pub(crate) fn set_aside_misplaced(folder: &Path, degraded: &DegradedParts) {
    if folder.symlink_metadata().is_ok() && !folder.is_dir() {
        put_aside(folder, "it should be a folder", degraded);
    }
    for path in snapshot::list_snapshots(folder).unwrap_or_default() {
        if path.is_dir() {
            put_aside(&path, "it should be a file", degraded);
        }
    }
}

fn put_aside(path: &Path, why: &str, degraded: &DegradedParts) {
    if let Err(failed) = degraded.set_aside(Part::Snapshots, path, why) {
        let reason = format!(
            "{}: {why}; it cannot be set aside: {failed}",
            path.display()
        );
        degraded.begin(Part::Snapshots, reason, TRIED_AGAIN);
    }
}

/// What became of a snapshot that could be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Written {
    Whole,
    GivenUp,
}

/// Writes a snapshot, unless a stop comes with more than so many pieces to go.
pub(crate) fn write(
    folder: &Path,
    state: &Mutex<State>,
    head: SnapshotHead,
    (mut left_at_stop, is_stopping): (usize, impl Fn() -> bool),
) -> Result<Written, SnapshotError> {
    let mut writer = SnapshotWriter::begin(folder, head)?;
    let mut taken = Taken::Organizations(None);
    while !matches!(taken, Taken::All) {
        if is_stopping() {
            if left_at_stop == 0 {
                return Ok(Written::GivenUp);
            }
            left_at_stop -= 1;
        }
        let held = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (pieces, after) = held.pieces(&taken, RECORDS_AT_ONCE);
        drop(held);
        writer.add_records(pieces)?;
        taken = after;
    }
    writer.finish_and_prune()?;
    Ok(Written::Whole)
}

/// A state to replay on.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) start: ReplayStart,
    /// The log must have so many events: a record shows the last of them.
    pub(crate) next_position_min: u64,
}

/// The newest snapshot that can be read whole, with where to replay from; else the beginning.
/// `skip` snapshots are passed over: they were tried and did not fit the log.
/// One that is damaged is set aside; one that this user may not read stays.
pub(crate) fn load(
    folder: &Path,
    keys: &KeyStore,
    (skip, degraded): (usize, &DegradedParts),
) -> Loaded {
    let paths = snapshot::list_snapshots(folder).unwrap_or_else(|why| {
        let reason = format!(
            "{}: {}",
            folder.display(),
            crate::error_chain::error_chain(&why)
        );
        degraded.begin(Part::Snapshots, reason, TRIED_AGAIN);
        Vec::new()
    });
    for path in paths.into_iter().skip(skip) {
        match load_one(&path, keys) {
            Ok(loaded) => return loaded,
            Err(why @ SnapshotError::OtherVersionOrLog) => {
                tracing::info!(path = %path.display(), %why, "a snapshot was passed over");
            }
            Err(SnapshotError::File(why)) if private::is_denied(why.kind()) => {
                let why = private::explained(&path, why);
                let reason = format!("{}: {why}; the log is replayed instead", path.display());
                degraded.begin(Part::Snapshots, reason, TRIED_AGAIN);
            }
            Err(why) => {
                let why = crate::error_chain::error_chain(&why);
                let why = format!("{why}; the log is replayed instead");
                put_aside(&path, &why, degraded);
            }
        }
    }
    Loaded::default()
}

fn load_one(path: &Path, keys: &KeyStore) -> Result<Loaded, SnapshotError> {
    let mut next_position_min = 0;
    let state = std::cell::RefCell::new(State::default());
    let begin = |head: &SnapshotHead| {
        let begun = State::from_once(head.once.clone());
        *state.borrow_mut() = begun.map_err(|_why| SnapshotError::Malformed("its catalogue"))?;
        Ok(())
    };
    let take = |piece: Piece| {
        next_position_min = next_position_min.max(piece.position() + 1);
        let piece = match piece {
            Piece::Member(mut member) => {
                unsealed(open_member(keys, Arc::make_mut(&mut member)))?;
                Piece::Member(member)
            }
            Piece::SignIn(mut means) => {
                unsealed(open_means(keys, Arc::make_mut(&mut means)))?;
                Piece::SignIn(means)
            }
            Piece::Endpoint(mut endpoint) => {
                unsealed(open_endpoint(keys, Arc::make_mut(&mut endpoint)))?;
                Piece::Endpoint(endpoint)
            }
            other @ (Piece::Organization(_)
            | Piece::Head(_)
            | Piece::Project(_)
            | Piece::Account(_)
            | Piece::Credential(_)
            | Piece::Session(_)
            | Piece::Command(..)) => other,
        };
        state.borrow_mut().restore(piece);
        Ok(())
    };
    let head = snapshot::read_snapshot(path, keys.log_id(), begin, take)?;
    let mut state = state.into_inner();
    state.restored();
    let frontier = Frontier::from_parts(head.position, head.frontier)
        .map_err(|_why| SnapshotError::Malformed("its frontier"))?;
    let start = ReplayStart {
        snapshot_frontier: frontier,
        ..ReplayStart::default()
    };
    Ok(Loaded {
        state,
        start,
        next_position_min,
    })
}

/// What the values of a record came to, which a snapshot holds sealed.
fn unsealed(opened: Result<(), StampError>) -> Result<(), SnapshotError> {
    opened.map_err(|why| {
        let why = crate::error_chain::error_chain(&why);
        tracing::warn!(why, "a record's sealed values do not open");
        SnapshotError::Malformed("a sealed value does not open")
    })
}
