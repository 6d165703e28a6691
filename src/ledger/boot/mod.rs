//! Making and opening a ledger: the folder, the keys, the log, the state, the views, the threads.
//!
//! Opening replays what the newest snapshot does not hold through the same `State::apply` as live
//! operation. Nothing is served before recovery has ended.

mod error;
mod folder;
mod in_use;
mod making;
mod restored;
mod settings;
mod start;

use super::checkpoints::Signing;
use super::signing::{Signers, verifiers};
use super::snapshots::{self, Loaded};
use super::stamp::{StampError, open_personal};
use super::unusable_keys::UnusableKeys;
use super::{Ledger, Submission, erasure};
use crate::degraded::DegradedParts;
use crate::domain::catalogue::Catalogue;
use crate::domain::command::{Actor, Command, OpenLedger, Request};
use crate::domain::envelope::{Event, commitment};
use crate::domain::ids::LogId;
use crate::domain::state::State;
use crate::log::{
    CheckpointStore, DataFolderLock, Log, LogOpenError, LogReader, RecoveryReport, ReplayStart,
};
use crate::merkle::{Checkpoint, NoteSigner, TreeHead};
use crate::private;
use crate::seal::KeyStore;
use crate::views::Views;
use crate::views::history::{HistoryIndex, HistoryProgress};
use error::unusable;
use restored::Pending;
use start::{Parts, start};

pub use error::{BootError, ReplayError, SeenBeyond};
pub use folder::Folder;
pub use making::create_with;
pub use restored::{RestoreMark, tile_beyond};
pub use settings::{Restored, Settings};

/// Events applied between two settlings of a replay: the overlay stays small.
const REPLAY_STRIDE: u64 = 10_000;

/// The longest origin: it is the name of a key in a signed note.
const ORIGIN_BYTES_MAX: usize = 255;

/// Makes a ledger in an empty folder and opens it, under the default catalogue. `origin` names its
/// checkpoints.
pub fn create(settings: Settings, origin: Option<String>) -> Result<Ledger, BootError> {
    let nothing_more = |_: &Ledger| Ok::<_, BootError>(());
    let made = create_with(Catalogue::embedded()?, settings, origin, nothing_more);
    made.map(|(ledger, ())| ledger)
}

/// The origin of a new ledger, which may name its id.
fn new_origin(
    settings: &mut Settings,
    origin: Option<String>,
) -> Result<(String, [u8; 16]), BootError> {
    let log_id: [u8; 16] = settings.entropy.random_bytes();
    let origin = origin.unwrap_or_else(|| format!("keyledger/{}", LogId(log_id)));
    if origin.len() > ORIGIN_BYTES_MAX {
        return Err(BootError::OriginInvalid);
    }
    // Checked before anything is written: the origin is a key's name for ever.
    NoteSigner::new(&origin, &[0; 32]).map_err(|_why| BootError::OriginInvalid)?;
    Ok((origin, log_id))
}

/// Makes keys, checkpoints and log, starts the threads, and has the first event written.
fn make(
    catalogue: Catalogue,
    mut settings: Settings,
    (origin, log_id): (String, [u8; 16]),
    lock: DataFolderLock,
) -> Result<Ledger, BootError> {
    let folder = settings.folder.clone();
    let master = settings.master_key_file.clone();
    let keys = KeyStore::create(
        &folder.keys(),
        master.as_deref(),
        log_id,
        &mut settings.entropy,
    )?;
    let signer = NoteSigner::new(&origin, &keys.first_signing_key().to_bytes())?;
    let vkey = signer.verifier().to_string();
    let signers = Signers::first(signer);
    let disk = settings.disk.clone();
    let file = CheckpointStore::create(disk.clone(), &folder.checkpoints(), log_id)?;
    let log = Log::create(disk, &folder.log(), log_id, settings.log)?;
    let degraded = DegradedParts::new(settings.clock.clone());
    let (history, _nothing) =
        HistoryIndex::open_or_reset_with_degraded(&folder.views(), degraded.clone())?;
    let views = Views::new(history);
    let parts = Parts {
        keys,
        unusable_keys: UnusableKeys::new(degraded.clone()),
        log,
        views,
        state: State::default(),
        lock,
        degraded,
    };
    let signing = Signing {
        origin: origin.clone(),
        signers,
        file,
        clock: settings.clock.clone(),
        between: settings.between_checkpoints,
    };
    let ledger = start(parts, signing, settings)?;
    let command = Command::OpenLedger(OpenLedger {
        log_id: LogId(log_id),
        origin,
        vkey,
        catalogue,
    });
    let opened = ledger.submit_blocking(Submission::bare(Request {
        actor: Actor::Operator,
        command,
        if_match: None,
    }));
    match opened {
        Ok(_) => Ok(ledger),
        Err(why) => {
            ledger.stop();
            Err(why.into())
        }
    }
}

/// Opens the ledger in a folder: recovers, replays, brings the views up, starts the threads.
pub fn open(settings: Settings) -> Result<Ledger, BootError> {
    let folder = settings.folder.clone();
    check_holds_ledger(&folder)?;
    folder.check_owner()?;
    let lock = DataFolderLock::try_acquire(&folder.lock())?;
    private::restrict(folder.path()).map_err(|source| unusable(&folder, source))?;
    let degraded = DegradedParts::new(settings.clock.clone());
    let keys = KeyStore::open(&folder.keys(), settings.master_key_file.as_deref())?;
    keys.remove_leftovers()?;
    let log_id = keys.log_id();
    let disk = settings.disk.clone();
    let file = CheckpointStore::open_and_resync(disk, &folder.checkpoints(), log_id)?;
    let floor = file
        .newest()
        .map(|newest| tree_head_of_note(&newest.note, &keys))
        .transpose()?;
    let Recovery {
        log,
        mut state,
        recovered,
        snapshot_ahead,
    } = recover(&settings, &keys, floor, &degraded)?;
    if let Some(torn) = &recovered.torn {
        let copy = torn.copy.display();
        tracing::warn!(position = torn.position, %copy, "a torn batch was copied aside and cut");
    }
    drop(state.settle());
    if state.ledger().log_id.is_none() {
        return Err(BootError::NoWholeLedger(folder.path().to_owned()));
    }
    if state.ledger().log_id != Some(LogId(log.log_id())) || log.log_id() != log_id {
        return Err(BootError::Mixed { what: "keys" });
    }
    let unusable_keys = UnusableKeys::new(degraded.clone());
    erasure::finish(&keys, &unusable_keys, &state)?;
    unusable_keys.check(&keys, &state);
    let (history, applied) =
        HistoryIndex::open_or_reset_with_degraded(&folder.views(), degraded.clone())?;
    let beyond = beyond(&folder, log.next_position(), applied, snapshot_ahead);
    let pending = acknowledged(&settings, &state, beyond)?;
    let views = Views::new(history);
    catch_up(&views, &state, &log, applied)?;
    let origin = state.ledger().origin.clone();
    let signed = floor.map_or(0, |floor| floor.size);
    let signers = Signers::of(state.ledger(), &keys, signed)?;
    let signing = Signing {
        origin,
        signers,
        file,
        clock: settings.clock.clone(),
        between: settings.between_checkpoints,
    };
    let mut ledger = start(
        Parts {
            keys,
            unusable_keys,
            log,
            views,
            state,
            lock,
            degraded,
        },
        signing,
        settings,
    )?;
    let finished = restored::finish(&mut ledger, &folder, pending);
    if let Err(why) = finished {
        ledger.stop();
        return Err(why);
    }
    Ok(ledger)
}

/// Whether a ledger is, or should be, there, and this process may use it.
fn check_holds_ledger(folder: &Folder) -> Result<(), BootError> {
    private::check_access(folder.path()).map_err(|source| unusable(folder, source))?;
    let path = folder.path().to_owned();
    let vacant = || {
        folder
            .is_vacant()
            .map_err(|source| unusable(folder, source))
    };
    if folder.is_unfinished() {
        Err(BootError::Unfinished(path))
    } else if folder.holds_ledger() {
        Ok(())
    } else if vacant()? {
        Err(BootError::NoLedger(path))
    } else {
        Err(BootError::NoWholeLedger(path))
    }
}

/// A rollback is gone on with only where the operator knows of it.
fn acknowledged(
    settings: &Settings,
    state: &State,
    beyond: Option<SeenBeyond>,
) -> Result<Pending, BootError> {
    let folder = &settings.folder;
    let next = state.ledger().events;
    let mark = restore_mark(settings, next)?;
    let is_known = mark.is_some() || state.ledger().unfinished_restore().is_some();
    if let (Some(beyond), false) = (&beyond, is_known) {
        let beyond = beyond.clone();
        return Err(BootError::RolledBack { next, beyond });
    }
    if mark.is_some() {
        restored::remove_derived(folder).map_err(|source| unusable(folder, source))?;
    }
    Ok(Pending::new(mark, beyond, settings.log.segment_bytes))
}

/// The mark of a restore: the folder's own, or the one that the operator makes now.
fn restore_mark(settings: &Settings, size: u64) -> Result<Option<RestoreMark>, BootError> {
    let folder = &settings.folder;
    let Some(Restored(positions)) = settings.restored else {
        return RestoreMark::read(folder);
    };
    let mark = RestoreMark { size, positions };
    mark.write(folder)
        .map_err(|source| unusable(folder, source))?;
    Ok(Some(mark))
}

/// What in the folder knows of an event that the log does not hold.
fn beyond(
    folder: &Folder,
    next: u64,
    applied: Option<HistoryProgress>,
    snapshot_ahead: Option<u64>,
) -> Option<SeenBeyond> {
    let seen = |path, position| SeenBeyond { path, position };
    let view = applied.map(|applied| seen(folder.views(), applied.position));
    let snapshot = snapshot_ahead.map(|position| seen(folder.snapshots(), position));
    let beyond = [view, snapshot].into_iter().flatten();
    beyond
        .filter(|seen| seen.position >= next)
        .chain(tile_beyond(&folder.tiles(), next))
        .max_by_key(|seen| seen.position)
}

/// A log that was opened, and the state that its events make.
struct Recovery {
    log: Log,
    state: State,
    recovered: RecoveryReport,
    /// The newest event that a snapshot knows of which did not fit the log.
    snapshot_ahead: Option<u64>,
}

/// Opens the log from the newest snapshot that fits it, and replays the rest.
fn recover(
    settings: &Settings,
    keys: &KeyStore,
    floor: Option<TreeHead>,
    degraded: &DegradedParts,
) -> Result<Recovery, BootError> {
    let folder = &settings.folder;
    snapshots::set_aside_misplaced(&folder.snapshots(), degraded);
    let mut snapshot_ahead = None;
    for skipped in 0.. {
        let Loaded {
            mut state,
            start,
            next_position_min,
        } = snapshots::load(&folder.snapshots(), keys, (skipped, degraded));
        let start = ReplayStart {
            newest_checkpoint: floor,
            ..start
        };
        let replay = |position, payload: &[u8]| replay(&mut state, keys, position, payload);
        let disk = settings.disk.clone();
        match Log::recover_and_open(disk, &folder.log(), settings.log, start, replay) {
            // Its records go on changing while a snapshot is taken: this log lacks their events.
            Ok((log, _)) if log.next_position() < next_position_min => {
                let position = log.next_position();
                tracing::warn!(position, "a snapshot holds what the log does not");
                snapshot_ahead = snapshot_ahead.max(next_position_min.checked_sub(1));
            }
            Ok((log, recovered)) => {
                return Ok(Recovery {
                    log,
                    state,
                    recovered,
                    snapshot_ahead,
                });
            }
            Err(LogOpenError::SnapshotMismatch { position, what }) => {
                let newest = next_position_min.max(position).checked_sub(1);
                snapshot_ahead = snapshot_ahead.max(newest);
                tracing::warn!(position, what, "a snapshot does not fit the log");
            }
            Err(why) => return Err(why.into()),
        }
    }
    Err(BootError::NoLedger(folder.path().to_owned()))
}

/// The newest checkpoint, which must be signed by a key of our own under its origin: whichever
/// signed when it was made.
fn tree_head_of_note(note: &str, keys: &KeyStore) -> Result<TreeHead, BootError> {
    let origin = note.lines().next().unwrap_or_default();
    let checkpoint = Checkpoint::from_verified_note(note, origin, &verifiers(origin, keys)?)?;
    Ok(TreeHead {
        size: checkpoint.size,
        root: checkpoint.root,
    })
}

fn replay(
    state: &mut State,
    keys: &KeyStore,
    position: u64,
    payload: &[u8],
) -> Result<(), ReplayError> {
    let mut event = Event::from_payload(payload)
        .map_err(|source| ReplayError::Unreadable { position, source })?;
    open_personal(keys, keys.log_id(), &mut event).map_err(|why: StampError| {
        ReplayError::Sealed {
            position,
            why: why.to_string(),
        }
    })?;
    state.apply(&event, commitment(payload))?;
    if position % REPLAY_STRIDE == REPLAY_STRIDE - 1 {
        drop(state.settle());
    }
    Ok(())
}

/// Brings the views to the log's end: those in RAM whole, the history index from where it stands.
fn catch_up(
    views: &Views,
    state: &State,
    log: &Log,
    applied: Option<HistoryProgress>,
) -> Result<(), BootError> {
    let next = log.next_position();
    let reader = log.reader();
    let kept = match applied {
        Some(applied) if stands_in(&reader, applied)? => Some(applied.position),
        Some(_) | None => None,
    };
    let from = kept.map_or(0, |position| position + 1);
    let mut events = Vec::new();
    let mut unreadable = None;
    reader.scan(from, next, |position, payload| {
        match Event::from_payload(payload) {
            Ok(event) => events.push((event.subject, event.subject_version, position)),
            Err(source) => unreadable = Some((position, source)),
        }
    })?;
    if let Some((position, source)) = unreadable {
        let source = ReplayError::Unreadable { position, source };
        return Err(LogOpenError::Replay { position, source }.into());
    }
    let (position, root) = (next.saturating_sub(1), log.frontier().root());
    let changes = state.everything();
    views.index.apply(&changes);
    views.directory.apply(&changes);
    views.sessions.apply(&changes, &views.directory);
    views.credentials.load_all(&changes.credentials);
    views.expiry_calendar.apply(&changes);
    views.newest_positions.apply(&changes);
    views.newest_positions.assume_unknown_before(next);
    let (history, applied) = (&views.history, HistoryProgress { position, root });
    if history.is_broken() {
        // It is rebuilt once everything runs.
        tracing::debug!("the history index is broken already");
    } else if kept.is_some() {
        history.apply_events(&events, applied);
    } else {
        if next > 1 {
            let folder = history.folder_path().display();
            let what = "the history index is missing, or of another log: it is made anew";
            tracing::warn!(%folder, what);
        }
        let loaded = history
            .clear()
            .and_then(|()| history.fill_cleared(events.into_iter(), applied));
        // One that cannot be loaded now has been reported, and is rebuilt once everything runs.
        drop(loaded);
    }
    views.publish_position(position);
    Ok(())
}

/// Whether the history index is one of this log: the same root at the position that it took last.
fn stands_in(reader: &LogReader, applied: HistoryProgress) -> Result<bool, BootError> {
    if applied.position >= reader.next_position() {
        return Ok(false);
    }
    Ok(reader.batch_root_at(applied.position)? == Some(applied.root))
}
