//! Making and opening a ledger: the folder, the keys, the log, the state, the views, the threads.
//!
//! Opening replays what the newest snapshot does not hold through the same `State::apply` as live
//! operation. Nothing is served before recovery has ended.

mod error;
mod folder;
mod start;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use super::checkpoints::{BETWEEN_CHECKPOINTS, Signing};
use super::signing::{Signers, verifiers};
use super::snapshots::{self, EVENTS_BETWEEN, Loaded};
use super::stamp::{StampError, open_personal};
use super::unusable_keys::UnusableKeys;
use super::{Ledger, Submission, erasure};
use crate::clock::{Clock, Entropy};
use crate::degraded::DegradedParts;
use crate::domain::catalogue::Catalogue;
use crate::domain::command::{Actor, Command, OpenLedger, Request};
use crate::domain::envelope::{Event, commitment};
use crate::domain::ids::LogId;
use crate::domain::state::State;
use crate::log::{
    CheckpointFile, Disk, Floor, FolderLock, Log, LogSettings, OpenError, Reader, Recovered,
    StartFrom,
};
use crate::merkle::{Checkpoint, NoteSigner};
use crate::private;
use crate::seal::KeyStore;
use crate::views::tokens::{Applied, TokenView};
use crate::views::{Batch, Views};
use start::{Parts, start};

pub use error::{BootError, ReplayError};
pub use folder::Folder;

/// Events applied between two settlings of a replay: the overlay stays small.
const REPLAY_STRIDE: u64 = 10_000;

/// The longest origin: it is the name of a key in a signed note.
const ORIGIN_BYTES_MAX: usize = 255;

/// How a ledger is opened.
#[derive(Debug)]
pub struct Settings {
    /// Its folder.
    pub folder: Folder,
    /// Where the master key is, if not in the folder.
    pub master_key_file: Option<PathBuf>,
    /// Where the files of log and checkpoints are; keys and views are always on the real disk.
    pub disk: Disk,
    /// Sizes of segments.
    pub log: LogSettings,
    /// Events from one snapshot to the next.
    pub events_between_snapshots: NonZeroU64,
    /// How long the signer waits from one checkpoint to the next.
    pub between_checkpoints: Duration,
    /// The operator vouches for the clock.
    pub accept_clock: bool,
    /// What tells the time.
    pub clock: Clock,
    /// Where ids and secrets come from.
    pub entropy: Entropy,
}

impl Settings {
    /// The usual ones for a folder.
    #[must_use]
    pub fn usual(folder: Folder) -> Self {
        Self {
            folder,
            master_key_file: None,
            disk: Disk::Real,
            log: LogSettings::default(),
            events_between_snapshots: EVENTS_BETWEEN,
            between_checkpoints: BETWEEN_CHECKPOINTS,
            accept_clock: false,
            clock: Clock::system(),
            entropy: Entropy::system(),
        }
    }
}

/// Makes a ledger in an empty folder and opens it, under the default catalogue. `origin` names its
/// checkpoints.
pub fn create(settings: Settings, origin: Option<String>) -> Result<Ledger, BootError> {
    create_under(Catalogue::embedded()?, settings, origin)
}

/// The same under a catalogue of its own.
pub fn create_under(
    catalogue: Catalogue,
    mut settings: Settings,
    origin: Option<String>,
) -> Result<Ledger, BootError> {
    let folder = settings.folder.clone();
    let vacant = folder
        .is_vacant()
        .map_err(|source| unusable(&folder, source))?;
    if !vacant {
        return Err(BootError::NotVacant(folder.path().to_owned()));
    }
    let log_id: [u8; 16] = settings.entropy.bytes();
    let origin = origin.unwrap_or_else(|| format!("keyledger/{}", LogId(log_id)));
    if origin.len() > ORIGIN_BYTES_MAX {
        return Err(BootError::OriginInvalid);
    }
    // Checked before anything is written: the origin is a key's name for ever.
    NoteSigner::new(&origin, &[0; 32]).map_err(|_why| BootError::OriginInvalid)?;
    fs::create_dir_all(folder.path()).map_err(|source| unusable(&folder, source))?;
    let lock = FolderLock::take(&folder.lock())?;
    private::restrict(folder.path()).map_err(|source| unusable(&folder, source))?;
    let master = settings.master_key_file.clone();
    let keys = KeyStore::create(
        &folder.keys(),
        master.as_deref(),
        log_id,
        &mut settings.entropy,
    )?;
    let signer = NoteSigner::new(&origin, &keys.signing_key().to_bytes())?;
    let vkey = signer.verifier().to_string();
    let signers = Signers::first(signer);
    let disk = settings.disk.clone();
    let file = CheckpointFile::create(disk.clone(), &folder.checkpoints(), log_id)?;
    let log = Log::create(disk, &folder.log(), log_id, settings.log)?;
    let (tokens, _nothing) = TokenView::open(&folder.views())?;
    let views = Views::new(tokens);
    let degraded = DegradedParts::new(settings.clock.clone());
    snapshots::set_aside_misplaced(&folder.snapshots(), &degraded);
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
    ledger.submit_blocking(Submission::bare(Request {
        actor: Actor::Operator,
        command,
        if_match: None,
    }))?;
    Ok(ledger)
}

/// Opens the ledger in a folder: recovers, replays, brings the views up, starts the threads.
pub fn open(settings: Settings) -> Result<Ledger, BootError> {
    let folder = settings.folder.clone();
    if !folder.holds_ledger() {
        return Err(BootError::NoLedger(folder.path().to_owned()));
    }
    let lock = FolderLock::take(&folder.lock())?;
    private::restrict(folder.path()).map_err(|source| unusable(&folder, source))?;
    let degraded = DegradedParts::new(settings.clock.clone());
    let keys = KeyStore::open(&folder.keys(), settings.master_key_file.as_deref())?;
    keys.remove_leftovers()?;
    let log_id = keys.log_id();
    let disk = settings.disk.clone();
    let file = CheckpointFile::open(disk, &folder.checkpoints(), log_id)?;
    let floor = file
        .newest()
        .map(|newest| floor_of(&newest.note, &keys))
        .transpose()?;
    let (log, mut state, recovered) = recover(&settings, &keys, floor)?;
    if let Some(torn) = &recovered.torn {
        let copy = torn.copy.display();
        tracing::warn!(position = torn.position, %copy, "a torn batch was copied aside and cut");
    }
    drop(state.settle());
    if state.ledger().log_id.is_none() {
        return Err(BootError::Unfinished(folder.path().to_owned()));
    }
    if state.ledger().log_id != Some(LogId(log.log_id())) || log.log_id() != log_id {
        return Err(BootError::Mixed { what: "keys" });
    }
    let unusable_keys = UnusableKeys::new(degraded.clone());
    erasure::finish(&keys, &unusable_keys, &state)?;
    unusable_keys.check(&keys, &state);
    let (tokens, applied) = TokenView::open_reporting(&folder.views(), degraded.clone())?;
    let views = Views::new(tokens);
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
    start(
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
    )
}

/// Opens the log from the newest snapshot that fits it, and replays the rest.
fn recover(
    settings: &Settings,
    keys: &KeyStore,
    floor: Option<Floor>,
) -> Result<(Log, State, Recovered), BootError> {
    let folder = &settings.folder;
    for skipped in 0.. {
        let Loaded {
            mut state,
            start,
            next_position_min,
        } = snapshots::load(&folder.snapshots(), keys, skipped)?;
        let start = StartFrom { floor, ..start };
        let replay = |position, payload: &[u8]| replay(&mut state, keys, position, payload);
        let disk = settings.disk.clone();
        match Log::open(disk, &folder.log(), settings.log, start, replay) {
            // Its records go on changing while a snapshot is taken: this log lacks their events.
            Ok((log, _)) if log.next_position() < next_position_min => {
                let position = log.next_position();
                tracing::warn!(position, "a snapshot holds what the log does not");
            }
            Ok((log, recovered)) => return Ok((log, state, recovered)),
            Err(OpenError::Snapshot { position, what }) => {
                tracing::warn!(position, what, "a snapshot does not fit the log");
            }
            Err(why) => return Err(why.into()),
        }
    }
    Err(BootError::NoLedger(folder.path().to_owned()))
}

/// The newest checkpoint, which must be signed by a key of our own under its origin: whichever
/// signed when it was made.
fn floor_of(note: &str, keys: &KeyStore) -> Result<Floor, BootError> {
    let origin = note.lines().next().unwrap_or_default();
    let checkpoint = Checkpoint::verify(note, origin, &verifiers(origin, keys)?)?;
    Ok(Floor {
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

/// Brings the views to the log's end: those in RAM whole, the token view from where it stands.
fn catch_up(
    views: &Views,
    state: &State,
    log: &Log,
    applied: Option<Applied>,
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
        return Err(OpenError::Replay { position, source }.into());
    }
    let (position, root) = (next.saturating_sub(1), log.frontier().root());
    let mut changes = state.everything();
    views.index.apply(&changes);
    views.directory.apply(&changes);
    views.sessions.apply(&changes, &views.directory);
    views.calendar.apply(&changes);
    views.newest.apply(&changes);
    views.newest.begin(next);
    if views.tokens.is_broken() {
        // It is rebuilt once everything runs.
        tracing::debug!("the token view is broken already");
    } else if kept.is_some() {
        changes
            .credentials
            .retain(|record| record.stamp().position >= from);
        views.tokens.apply(&Batch {
            changes: &changes,
            events: &events,
            entries: &[],
            position,
            root,
        });
    } else {
        let credentials = changes.credentials.into_iter();
        let (tokens, applied) = (&views.tokens, Applied { position, root });
        let loaded = tokens
            .clear()
            .and_then(|()| tokens.load(credentials, events.into_iter(), applied));
        // One that cannot be loaded now has been reported, and is rebuilt once everything runs.
        drop(loaded);
    }
    views.publish(position);
    Ok(())
}

/// Whether the token view is a view of this log: the same root at the position that it took last.
fn stands_in(reader: &Reader, applied: Applied) -> Result<bool, BootError> {
    if applied.position >= reader.next_position() {
        return Ok(false);
    }
    Ok(reader.root_after(applied.position)? == Some(applied.root))
}

fn unusable(folder: &Folder, source: io::Error) -> BootError {
    BootError::Folder {
        path: folder.path().to_owned(),
        source,
    }
}
