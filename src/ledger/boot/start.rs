//! Starting the threads of an opened ledger: writer, signer, snapshots, time, scrub.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use super::error::{BootError, unusable};
use super::settings::Settings;
use crate::clock::{Clock, ClockGuard, LedgerTime};
use crate::degraded::DegradedParts;
use crate::domain::state::State;
use crate::error_chain::error_chain;
use crate::ledger::announced::Announced;
use crate::ledger::checkpoints::{Signed, Signing, Told};
use crate::ledger::clock_trouble::report_clock;
use crate::ledger::lanes::Lanes;
use crate::ledger::quota::Quotas;
use crate::ledger::status::Appended;
use crate::ledger::time_file::{self, TimeKeeper};
use crate::ledger::unusable_keys::UnusableKeys;
use crate::ledger::writer::Writer;
use crate::ledger::{Health, Ledger, Shared};
use crate::ledger::{rebuild, snapshots};
use crate::log::{DataFolderLock, Log, LogReader};
use crate::priority::lower_thread_priority;
use crate::seal::KeyStore;
use crate::tiles::Tiles;
use crate::views::Views;
use crate::views::snapshot::SnapshotHead;

/// What a thread does.
type Work = Box<dyn FnOnce() + Send>;

/// What opening has made.
pub(super) struct Parts {
    pub(super) keys: KeyStore,
    pub(super) unusable_keys: UnusableKeys,
    pub(super) log: Log,
    pub(super) views: Views,
    pub(super) state: State,
    pub(super) lock: DataFolderLock,
    pub(super) degraded: DegradedParts,
}

pub(super) fn start(
    parts: Parts,
    signing: Signing,
    settings: Settings,
) -> Result<Ledger, BootError> {
    let Parts {
        keys,
        unusable_keys,
        log,
        views,
        state,
        lock,
        degraded,
    } = parts;
    let last_ms = state.last_at().map(|at| at.0);
    let guard = guard(&settings, last_ms, &degraded);
    let mut entropy = settings.entropy;
    // Ids go on behind those of the newest event, whatever the clock says now.
    entropy.continue_ulids_after(state.last_id().map_or(ulid::Ulid::nil(), |id| id.0));
    let reader = log.reader();
    let tiles = tiles(
        (settings.folder.tiles(), degraded.clone()),
        &reader,
        &signing,
    )?;
    let time_path = settings.folder.time();
    let reached_ms = last_ms.max(time_file::read(&time_path, log.log_id(), &degraded));
    let shown = (views, (keys, unusable_keys), degraded);
    let shared = shared(shown, settings.clock, reached_ms, log.log_id());
    let (running, keep_time) = time_keeper(time_path, &shared);
    let vkeys = signing.signers.known();
    let signed = announced(&log);
    let (snapshots, orders) = mpsc::sync_channel(0);
    let between = settings.events_between_snapshots.get();
    let usage_sealed_to = state.ledger().usage_sealed_to;
    let state = Arc::new(Mutex::new(state));
    let writer = Writer {
        shared: Arc::clone(&shared),
        snapshot_due: log.next_position().max(1).next_multiple_of(between),
        log,
        state: Arc::clone(&state),
        snapshots,
        events_between_snapshots: between,
        entropy,
        guard,
        signed: signed.clone(),
        quotas: Quotas::default(),
        _running: running,
    };
    let state_of_writer = Arc::clone(&state);
    let sign = signer(signing, signed, (&shared, &tiles));
    let snapshot = snapshotter(settings.folder.snapshots(), (state, orders), &shared);
    let mut threads = spawn_locked(
        lock,
        [
            ("ledger-writer", Box::new(move || writer.run())),
            ("ledger-signer", Box::new(sign)),
            ("ledger-snapshot", Box::new(snapshot)),
            ("ledger-time", Box::new(keep_time)),
        ],
    );
    threads.extend(spawn_menders(&shared, &reader, &tiles));
    let threads = threads.into_iter().collect::<Result<_, _>>();
    let threads = threads.map_err(|source| unusable(&settings.folder, source))?;
    Ok(Ledger {
        shared,
        reader,
        tiles,
        vkeys,
        usage_sealed_to,
        restores: Arc::default(),
        threads: Arc::new(Mutex::new(threads)),
        state: state_of_writer,
        reading: Arc::default(),
        announced: Announced::default(),
    })
}

/// Threads that write to the folder. The lock goes with the last of them: the folder is free when
/// nothing does.
fn spawn_locked(lock: DataFolderLock, works: [(&str, Work); 4]) -> Vec<io::Result<JoinHandle<()>>> {
    let lock = Arc::new(lock);
    let spawned = works.into_iter().map(|(name, work)| {
        let lock = Arc::clone(&lock);
        spawn(name, move || {
            work();
            drop(lock);
        })
    });
    spawned.collect()
}

/// Threads that rebuild the history index, and hold log and tiles against what they should be.
fn spawn_menders(
    shared: &Arc<Shared>,
    reader: &LogReader,
    tiles: &Arc<Tiles>,
) -> [io::Result<JoinHandle<()>>; 2] {
    let (views_of, events) = (Arc::clone(shared), reader.clone());
    let (shared, reader, tiles) = (Arc::clone(shared), reader.clone(), Arc::clone(tiles));
    [
        spawn("ledger-views", move || {
            lower_thread_priority();
            rebuild::run(&views_of, &events);
        }),
        spawn("ledger-scrub", move || {
            lower_thread_priority();
            if scrub(&reader, &shared) {
                mend_tiles(&reader, &shared, &tiles);
            }
        }),
    ]
}

/// What the handle and the threads share, before anything has happened.
fn shared(
    (views, (keys, unusable_keys), degraded): (Views, (KeyStore, UnusableKeys), DegradedParts),
    clock: Clock,
    reached_ms: Option<i64>,
    log_id: [u8; 16],
) -> Arc<Shared> {
    Arc::new(Shared {
        lanes: Lanes::default(),
        views,
        keys: Arc::new(keys),
        unusable_keys,
        time: LedgerTime::start(clock.read_both_clocks(), reached_ms),
        clock,
        clock_accepted: AtomicBool::new(false),
        health: watch::Sender::new(Health::Good),
        degraded,
        log_id,
        appended: Appended::default(),
        checkpoint: AtomicU64::new(0),
    })
}

/// The tree, with the checkpoints that were signed before.
fn tiles(
    (folder, degraded): (PathBuf, DegradedParts),
    reader: &LogReader,
    signing: &Signing,
) -> Result<Arc<Tiles>, BootError> {
    let tiles = Tiles::new(folder, reader.clone(), degraded);
    for kept in signing.file.hourly_checkpoints()? {
        tiles.remember_checkpoint(kept.size, &kept.note, kept.seconds);
    }
    Ok(Arc::new(tiles))
}

/// The work of the thread that signs.
fn signer(
    signing: Signing,
    signed: Signed,
    (shared, tiles): (&Arc<Shared>, &Arc<Tiles>),
) -> impl FnOnce() + use<> {
    let (shared, tiles) = (Arc::clone(shared), Arc::clone(tiles));
    move || {
        let told = Told {
            covered: &shared.checkpoint,
            health: &shared.health,
            degraded: &shared.degraded,
        };
        signing.run(&signed, &tiles, &told);
    }
}

/// The work of the thread that stores the ledger's time until the sender is dropped.
fn time_keeper(path: PathBuf, shared: &Arc<Shared>) -> (mpsc::Sender<()>, impl FnOnce() + use<>) {
    let (running, stopped) = mpsc::channel();
    let shared = Arc::clone(shared);
    let work = move || TimeKeeper::new(path).run(&shared, &stopped);
    (running, work)
}

/// The work of the thread that writes snapshots.
fn snapshotter(
    folder: PathBuf,
    (state, orders): (Arc<Mutex<State>>, mpsc::Receiver<SnapshotHead>),
    shared: &Arc<Shared>,
) -> impl FnOnce() + use<> {
    let shared = Arc::clone(shared);
    move || {
        lower_thread_priority();
        let is_stopping = || shared.lanes.is_closed();
        snapshots::run(&folder, &state, &orders, (&shared.degraded, is_stopping));
    }
}

/// The newest root, on its way to be signed.
fn announced(log: &Log) -> Signed {
    let signed = Signed::default();
    if log.next_position() > 0 {
        signed.announce(log.next_position(), log.frontier().root());
    }
    signed
}

fn guard(settings: &Settings, last_ms: Option<i64>, degraded: &DegradedParts) -> ClockGuard {
    let mut guard = ClockGuard::anchor_at_start(settings.clock.read_both_clocks(), last_ms);
    if settings.accept_clock {
        guard.accept_reading(settings.clock.read_both_clocks());
    }
    report_clock(
        degraded,
        guard
            .suspicion_at(settings.clock.read_both_clocks())
            .as_ref(),
    );
    guard
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Checks what the start did not; damage stops writes and signing. Whether the log is whole.
fn scrub(reader: &LogReader, shared: &Shared) -> bool {
    let mut scrub = reader.start_scrub();
    loop {
        match scrub.check_next_segment() {
            Ok(true) if !shared.lanes.is_closed() => {}
            Ok(_) => return true,
            Err(why) => {
                let text = error_chain(&why);
                tracing::error!(why = text, "the log is damaged");
                shared.health.send_replace(Health::Failed(text));
                return false;
            }
        }
    }
}

/// Holds every file of a tile against the log, and makes those again that differ.
fn mend_tiles(reader: &LogReader, shared: &Shared, tiles: &Tiles) {
    let size = reader.next_position();
    if let Err(why) = tiles.rewrite_differing_files(size, || shared.lanes.is_closed()) {
        let why = error_chain(&why);
        tracing::error!(why, "the tiles cannot be held against the log");
    }
}
