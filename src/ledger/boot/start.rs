//! Starting the threads of an opened ledger: writer, signer, snapshots, scrub.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use super::{BootError, Settings, unusable};
use crate::clock::{Clock, ClockGuard};
use crate::degraded::DegradedParts;
use crate::domain::state::State;
use crate::ledger::checkpoints::{Signed, Signing, Told};
use crate::ledger::lanes::Lanes;
use crate::ledger::quota::Quotas;
use crate::ledger::snapshots;
use crate::ledger::status::Appended;
use crate::ledger::unusable_keys::UnusableKeys;
use crate::ledger::writer::{Writer, error_chain};
use crate::ledger::{Health, Ledger, Shared};
use crate::log::{FolderLock, Log, Reader};
use crate::seal::KeyStore;
use crate::tiles::Tiles;
use crate::views::Views;

/// What opening has made.
pub(super) struct Parts {
    pub(super) keys: KeyStore,
    pub(super) unusable_keys: UnusableKeys,
    pub(super) log: Log,
    pub(super) views: Views,
    pub(super) state: State,
    pub(super) lock: FolderLock,
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
    let guard = guard(&settings, last_ms);
    let mut entropy = settings.entropy;
    // Ids go on behind those of the newest event, whatever the clock says now.
    entropy.ulids_after(state.last_id().map_or(ulid::Ulid::nil(), |id| id.0));
    let reader = log.reader();
    let tiles = tiles(settings.folder.tiles(), &reader, &signing)?;
    let shown = (views, (keys, unusable_keys), degraded);
    let shared = shared(shown, settings.clock, last_ms, log.log_id());
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
    };
    let state_of_writer = Arc::clone(&state);
    let snapshots = settings.folder.snapshots();
    let scrubbed = (reader.clone(), Arc::clone(&shared));
    // The lock goes with the last thread that writes: the folder is free when nothing does.
    let lock = Arc::new(lock);
    let spawn_locked = |name, work: Box<dyn FnOnce() + Send>| {
        let lock = Arc::clone(&lock);
        spawn(name, move || {
            work();
            drop(lock);
        })
    };
    let sign = signer(signing, signed, (&shared, &tiles));
    let snapshot = move || snapshots::run(&snapshots, &state, &orders);
    let threads = [
        spawn_locked("ledger-writer", Box::new(move || writer.run())),
        spawn_locked("ledger-signer", Box::new(sign)),
        spawn_locked("ledger-snapshot", Box::new(snapshot)),
        spawn("ledger-scrub", move || scrub(&scrubbed.0, &scrubbed.1)),
    ];
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
    })
}

/// What the handle and the threads share, before anything has happened.
fn shared(
    (views, (keys, unusable_keys), degraded): (Views, (KeyStore, UnusableKeys), DegradedParts),
    clock: Clock,
    last_ms: Option<i64>,
    log_id: [u8; 16],
) -> Arc<Shared> {
    Arc::new(Shared {
        lanes: Lanes::default(),
        views,
        keys: Arc::new(keys),
        unusable_keys,
        clock,
        last_ms: AtomicI64::new(last_ms.unwrap_or(0)),
        clock_accepted: AtomicBool::new(false),
        health: watch::Sender::new(Health::Good),
        degraded,
        log_id,
        appended: Appended::default(),
        checkpoint: AtomicU64::new(0),
    })
}

/// The tree, with the checkpoints that were signed before.
fn tiles(folder: PathBuf, reader: &Reader, signing: &Signing) -> Result<Arc<Tiles>, BootError> {
    let tiles = Tiles::new(folder, reader.clone());
    for kept in signing.file.hourly()? {
        tiles.remember(kept.size, &kept.note, kept.seconds);
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

/// The newest root, on its way to be signed.
fn announced(log: &Log) -> Signed {
    let signed = Signed::default();
    if log.next_position() > 0 {
        signed.announce(log.next_position(), log.frontier().root());
    }
    signed
}

fn guard(settings: &Settings, last_ms: Option<i64>) -> ClockGuard {
    let mut guard = ClockGuard::start(settings.clock.read(), last_ms);
    if settings.accept_clock {
        guard.accept(settings.clock.read());
    }
    if let Some(why) = guard.suspect(settings.clock.read()) {
        tracing::warn!(
            %why,
            "the clock is suspect: only revoke, disable and delete are accepted; set the clock \
             right and restart, or confirm it with --accept-clock"
        );
    }
    guard
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Checks what the start did not; damage stops writes and signing.
fn scrub(reader: &Reader, shared: &Shared) {
    let mut scrub = reader.scrub();
    loop {
        match scrub.step() {
            Ok(true) if !shared.lanes.is_closed() => {}
            Ok(_) => return,
            Err(why) => {
                let text = error_chain(&why);
                tracing::error!(why = text, "the log is damaged");
                shared.health.send_replace(Health::Failed(text));
                return;
            }
        }
    }
}
