//! Making and opening a ledger: the folder, the keys, the log, the state, the views, the threads.
//!
//! Opening replays what the newest snapshot does not hold through the same `State::apply` as live
//! operation. Nothing is served before recovery has ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use tokio::sync::watch;

use super::checkpoints::{Signed, Signing};
use super::lanes::Lanes;
use super::snapshots::{self, EVENTS_BETWEEN};
use super::stamp::{StampError, open_personal};
use super::writer::Writer;
use super::{Health, Ledger, Shared, Submission, SubmitError};
use crate::clock::{Clock, ClockGuard, Entropy};
use crate::domain::catalogue::{Catalogue, InvalidCatalogue};
use crate::domain::command::{Actor, Command, OpenLedger, Request};
use crate::domain::envelope::{Event, commitment};
use crate::domain::event::UnreadableEvent;
use crate::domain::ids::{LogId, Subject};
use crate::domain::state::State;
use crate::log::{
    CheckpointFile, CreateError, Disk, FileError, Floor, FloorError, FolderLock, LockError, Log,
    LogSettings, OpenError, ReadError, Reader, Recovered, StartFrom,
};
use crate::merkle::{Checkpoint, CheckpointError, NoteError, NoteSigner};
use crate::seal::{KeyStore, SealError};
use crate::views::snapshot::SnapshotError;
use crate::views::tokens::{Applied, BrokenView, OpenError as TokensError, TokenView};
use crate::views::{Batch, Views};

/// Events applied between two settlings of a replay: the overlay stays small.
const REPLAY_STRIDE: u64 = 10_000;

/// The longest origin: it is the name of a key in a signed note.
const ORIGIN_BYTES_MAX: usize = 255;

/// Where everything is in a data folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The data folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    fn views(&self) -> PathBuf {
        self.0.join("views")
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Whether a ledger is, or should be, here.
    #[must_use]
    pub fn holds_ledger(&self) -> bool {
        self.log().is_dir()
    }

    /// Whether nothing at all is here.
    pub fn is_vacant(&self) -> io::Result<bool> {
        match fs::read_dir(&self.0) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(why) => Err(why),
        }
    }
}

/// How a ledger is opened.
#[derive(Debug)]
pub struct Settings {
    /// Its folder.
    pub folder: Folder,
    /// Where the master key is, if not in the folder.
    pub master_key_file: Option<PathBuf>,
    /// Sizes of segments.
    pub log: LogSettings,
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
            log: LogSettings::default(),
            accept_clock: false,
            clock: Clock::system(),
            entropy: Entropy::system(),
        }
    }
}

/// Why a ledger could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The folder holds something already.
    #[error("the folder {} is not empty; a ledger is made in an empty one", .0.display())]
    NotVacant(PathBuf),
    /// The folder holds no ledger.
    #[error("there is no ledger in {}; make one with `keyledger init`", .0.display())]
    NoLedger(PathBuf),
    /// An unfinished `init`.
    #[error("the ledger in {} was never opened: an `init` was cut short; remove the folder and start anew", .0.display())]
    Unfinished(PathBuf),
    /// Another log's keys or checkpoints.
    #[error("the {what} of another ledger stand in this folder")]
    Mixed {
        /// What is foreign.
        what: &'static str,
    },
    /// The origin cannot be the name of a signing key.
    #[error("an origin has 1 to 255 bytes, no white space and no plus sign")]
    OriginInvalid,
    /// The folder cannot be used.
    #[error("cannot use {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The keys.
    #[error("the keys cannot be used")]
    Keys(#[from] SealError),
    /// The log could not be made.
    #[error("the log cannot be made")]
    Create(#[from] CreateError),
    /// The log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError<ReplayError>),
    /// The log could not be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// A file of the log.
    #[error(transparent)]
    File(#[from] FileError),
    /// The checkpoint file.
    #[error("the checkpoint file cannot be used")]
    Floor(#[from] FloorError),
    /// A checkpoint is not ours.
    #[error("the newest checkpoint does not verify")]
    Checkpoint(#[from] CheckpointError),
    /// The signing key cannot be used under the origin.
    #[error("the signing key cannot be used")]
    Note(#[from] NoteError),
    /// The views.
    #[error("the token view cannot be opened")]
    Tokens(#[from] TokensError),
    /// The token view, just made, does not take what it should.
    #[error("the token view cannot be loaded")]
    Broken(#[from] BrokenView),
    /// The folder of snapshots.
    #[error("the snapshots cannot be listed")]
    Snapshots(#[from] SnapshotError),
    /// The embedded catalogue.
    #[error("the catalogue is not valid")]
    Catalogue(#[from] InvalidCatalogue),
    /// The first command was refused.
    #[error("the ledger's first command was refused")]
    First(#[from] SubmitError),
}

/// An event in the log that cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("event {position} cannot be read")]
    Unreadable {
        /// Where.
        position: u64,
        /// Why.
        #[source]
        source: UnreadableEvent,
    },
    /// Its sealed values cannot be opened.
    #[error("event {position} holds a sealed value that does not open: {why}")]
    Sealed {
        /// Where.
        position: u64,
        /// Why.
        why: String,
    },
    /// It does not fit.
    #[error(transparent)]
    Misfit(#[from] crate::domain::Misfit),
}

/// Makes a ledger in an empty folder and opens it. `origin` names its checkpoints.
pub fn create(mut settings: Settings, origin: Option<String>) -> Result<Ledger, BootError> {
    let folder = settings.folder.clone();
    let vacant = folder
        .is_vacant()
        .map_err(|source| unusable(&folder, source))?;
    if !vacant {
        return Err(BootError::NotVacant(folder.0));
    }
    let log_id: [u8; 16] = settings.entropy.bytes();
    let origin = origin.unwrap_or_else(|| format!("keyledger/{}", LogId(log_id)));
    if origin.len() > ORIGIN_BYTES_MAX {
        return Err(BootError::OriginInvalid);
    }
    // Checked before anything is written: the origin is a key's name for ever.
    NoteSigner::new(&origin, &[0; 32]).map_err(|_why| BootError::OriginInvalid)?;
    fs::create_dir_all(&folder.0).map_err(|source| unusable(&folder, source))?;
    let lock = FolderLock::take(&folder.lock())?;
    let master = settings.master_key_file.clone();
    let keys = KeyStore::create(
        &folder.keys(),
        master.as_deref(),
        log_id,
        &mut settings.entropy,
    )?;
    let signer = NoteSigner::new(&origin, &keys.signing_key().to_bytes())?;
    let vkey = signer.verifier().to_string();
    let file = CheckpointFile::create(Disk::Real, &folder.checkpoints(), log_id)?;
    let log = Log::create(Disk::Real, &folder.log(), log_id, settings.log)?;
    let (tokens, _nothing) = TokenView::open(&folder.views())?;
    let views = Views::new(tokens);
    let catalogue = Catalogue::embedded()?;
    let parts = Parts {
        keys,
        log,
        views,
        state: State::default(),
        lock,
    };
    let signing = Signing {
        origin: origin.clone(),
        signer,
        file,
        clock: settings.clock.clone(),
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
        return Err(BootError::NoLedger(folder.0));
    }
    let lock = FolderLock::take(&folder.lock())?;
    let keys = KeyStore::open(&folder.keys(), settings.master_key_file.as_deref())?;
    let log_id = keys.log_id();
    let file = CheckpointFile::open(Disk::Real, &folder.checkpoints(), log_id)?;
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
        return Err(BootError::Unfinished(folder.0));
    }
    if state.ledger().log_id != Some(LogId(log.log_id())) || log.log_id() != log_id {
        return Err(BootError::Mixed { what: "keys" });
    }
    let (tokens, applied) = TokenView::open(&folder.views())?;
    let views = Views::new(tokens);
    catch_up(&views, &state, &log, applied)?;
    let origin = state.ledger().origin.clone();
    let signer = NoteSigner::new(&origin, &keys.signing_key().to_bytes())?;
    let signing = Signing {
        origin,
        signer,
        file,
        clock: settings.clock.clone(),
    };
    start(
        Parts {
            keys,
            log,
            views,
            state,
            lock,
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
        let (mut state, start) = snapshots::load(&folder.snapshots(), keys, skipped)?;
        let start = StartFrom { floor, ..start };
        let replay = |position, payload: &[u8]| replay(&mut state, keys, position, payload);
        match Log::open(Disk::Real, &folder.log(), settings.log, start, replay) {
            Ok((log, recovered)) => return Ok((log, state, recovered)),
            Err(OpenError::Snapshot { position, what }) => {
                tracing::warn!(position, what, "a snapshot does not fit the log");
            }
            Err(why) => return Err(why.into()),
        }
    }
    Err(BootError::NoLedger(folder.0.clone()))
}

/// The newest checkpoint, which must be signed by our own key under its origin.
fn floor_of(note: &str, keys: &KeyStore) -> Result<Floor, BootError> {
    let origin = note.lines().next().unwrap_or_default();
    let signer = NoteSigner::new(origin, &keys.signing_key().to_bytes())?;
    let checkpoint = Checkpoint::verify(note, origin, &[signer.verifier().clone()])?;
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
    if kept.is_some() {
        changes
            .credentials
            .retain(|record| record.stamp.position >= from);
        views.tokens.apply(&Batch {
            changes: &changes,
            events: &events,
            position,
            root,
        });
    } else {
        views.tokens.clear()?;
        let credentials = changes.credentials.into_iter();
        views
            .tokens
            .load(credentials, events.into_iter(), Applied { position, root })?;
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

struct Parts {
    keys: KeyStore,
    log: Log,
    views: Views,
    state: State,
    lock: FolderLock,
}

fn start(parts: Parts, signing: Signing, settings: Settings) -> Result<Ledger, BootError> {
    let Parts {
        keys,
        log,
        views,
        state,
        lock,
    } = parts;
    let last_ms = state.last_at().map(|at| at.0);
    let mut guard = ClockGuard::start(settings.clock.read(), last_ms);
    if settings.accept_clock {
        guard.accept(settings.clock.read());
    }
    let shared = Arc::new(Shared {
        lanes: Lanes::default(),
        views,
        keys,
        clock: settings.clock,
        last_ms: AtomicI64::new(last_ms.unwrap_or(0)),
        clock_accepted: AtomicBool::new(false),
        health: watch::Sender::new(Health::Good),
        log_id: log.log_id(),
    });
    let reader = log.reader();
    let signed = Signed::default();
    if log.next_position() > 0 {
        signed.announce(log.next_position(), log.frontier().root());
    }
    let announced = signed.clone();
    let mut entropy = settings.entropy;
    // Ids go on behind those of the newest event, whatever the clock says now.
    entropy.ulids_after(ulid::Ulid::from_parts(millis(last_ms), u128::MAX));
    let state = Arc::new(Mutex::new(state));
    let (snapshots, orders) = mpsc::sync_channel(0);
    let snapshot_due = log.next_position().max(1).next_multiple_of(EVENTS_BETWEEN);
    let writer = Writer {
        shared: Arc::clone(&shared),
        log,
        state: Arc::clone(&state),
        snapshots,
        snapshot_due,
        entropy,
        guard,
        signed,
    };
    let snapshot_folder = settings.folder.snapshots();
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        let builder = thread::Builder::new().name(name.to_owned());
        builder
            .spawn(run)
            .map_err(|source| unusable(&settings.folder, source))
    };
    let scrubbed = (reader.clone(), Arc::clone(&shared));
    let threads = vec![
        // The lock goes with the writer: the folder is free when nothing writes any more.
        spawn(
            "ledger-writer",
            Box::new(move || {
                writer.run();
                drop(lock);
            }),
        )?,
        spawn("ledger-signer", Box::new(move || signing.run(&announced)))?,
        spawn(
            "ledger-snapshot",
            Box::new(move || snapshots::run(&snapshot_folder, &state, &orders)),
        )?,
        spawn(
            "ledger-scrub",
            Box::new(move || scrub(&scrubbed.0, &scrubbed.1)),
        )?,
    ];
    Ok(Ledger {
        shared,
        reader,
        threads: Arc::new(Mutex::new(threads)),
    })
}

fn millis(ms: Option<i64>) -> u64 {
    ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0)
}

/// Checks what the start did not; damage stops writes and signing.
fn scrub(reader: &Reader, shared: &Shared) {
    let mut scrub = reader.scrub();
    loop {
        match scrub.step() {
            Ok(true) if !shared.lanes.is_closed() => {}
            Ok(_) => return,
            Err(why) => {
                let text = super::writer::error_chain(&why);
                tracing::error!(why = text, "the log is damaged");
                shared.health.send_replace(Health::Failed(text));
                return;
            }
        }
    }
}

fn unusable(folder: &Folder, source: io::Error) -> BootError {
    BootError::Folder {
        path: folder.0.clone(),
        source,
    }
}

/// The subjects of a ledger's own events.
#[must_use]
pub fn ledger_subject(log_id: [u8; 16]) -> Subject {
    Subject::Ledger(LogId(log_id))
}
