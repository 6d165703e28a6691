//! Written spare segments: one for the next segment, two as the reserve for ends, one for a start.
//!
//! Owns the making of spares and the question who may take one. Must never write to the segment
//! in use. A spare is full of zeros and synced before it has its name; it loses that name before
//! anything else is written to it, so that a file named as a spare is always blank. Failing here
//! is a refusal, never poison.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::disk::Disk;
use super::segment::{is_zero_filled, spare_path};
use super::settings::{AppendSpace, LogSettings, SpareMaker};
use super::shared_log::SharedLog;

/// Spares kept back for what ends or narrows something.
const RESERVE: usize = 2;

/// A spare that no append takes: into it a start copies the last segment after an unclean stop,
/// which gives the room of that segment back. Without it a full disk could not be started on.
const RESTART: usize = 1;

/// Spares kept ready in all: those two, and one for the next segment.
const READY: usize = RESTART + RESERVE + 1;

/// After a failure (a full disk), the thread tries again this much later.
const RETRY: Duration = Duration::from_secs(5);

/// Bytes that must be free for the first files of a log: a segment, the spares, and what is left to
/// others.
pub(crate) const fn initial_bytes_needed(settings: LogSettings) -> u64 {
    let files = settings.segment_bytes.saturating_mul(READY as u64 + 1);
    files.saturating_add(settings.headroom_bytes)
}

/// The shelf of spares, and its thread if it has one.
#[derive(Debug)]
pub(crate) struct SpareSegments {
    shelf: Arc<Shelf>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shelf {
    disk: Disk,
    folder: PathBuf,
    segment_bytes: u64,
    headroom_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ready: Vec<u64>,
    /// Left by an earlier process; to be checked before use.
    unchecked: Vec<u64>,
    making: bool,
    failed: Option<(io::ErrorKind, String)>,
    next_number: u64,
    closed: bool,
}

/// A spare taken off the shelf.
#[derive(Debug)]
pub(crate) struct TakenSpare {
    pub(crate) path: PathBuf,
    /// Whether what is left is less than the reserve.
    pub(crate) broke_reserve: bool,
}

impl SpareSegments {
    pub(crate) fn new(log: &SharedLog, settings: LogSettings, found: Vec<u64>) -> io::Result<Self> {
        let next_number = found.iter().max().map_or(1, |number| number + 1);
        let shelf = Arc::new(Shelf {
            disk: log.disk.clone(),
            folder: log.folder.clone(),
            segment_bytes: settings.segment_bytes,
            headroom_bytes: settings.headroom_bytes,
            state: Mutex::new(State {
                ready: Vec::new(),
                unchecked: found,
                making: false,
                failed: None,
                next_number,
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let thread = match settings.spares {
            SpareMaker::ByCaller => None,
            SpareMaker::Background => {
                let shelf = Arc::clone(&shelf);
                let builder = std::thread::Builder::new().name("log-spares".to_owned());
                Some(builder.spawn(move || shelf.keep_full())?)
            }
        };
        Ok(Self { shelf, thread })
    }

    /// Makes all spares that are missing. A failure is remembered until this succeeds.
    pub(crate) fn make_missing(&self) -> io::Result<()> {
        self.shelf.lock().failed = None;
        self.shelf.await_ready(READY).map(drop)
    }

    /// Takes a spare; what the lane may not take, it waits for or is refused.
    pub(crate) fn take_spare(&self, lane: AppendSpace) -> io::Result<TakenSpare> {
        let needed = match lane {
            AppendSpace::Ordinary => READY,
            AppendSpace::WithReserve => RESTART + 1,
        };
        let mut state = self.shelf.await_ready(needed)?;
        let number = state.ready.pop().ok_or(io::ErrorKind::StorageFull)?;
        self.shelf.changed.notify_all();
        Ok(TakenSpare {
            path: spare_path(&self.shelf.folder, number),
            broke_reserve: state.ready.len() < RESTART + RESERVE,
        })
    }

    /// Waits until the reserve is whole, or says why it cannot be.
    pub(crate) fn await_reserve(&self) -> io::Result<()> {
        self.shelf.await_ready(RESTART + RESERVE).map(drop)
    }
}

impl Drop for SpareSegments {
    fn drop(&mut self) {
        self.shelf.lock().closed = true;
        self.shelf.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported; nothing is left to be done about it.
            drop(thread.join());
        }
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_full(&self) {
        loop {
            let filled = self.await_ready(READY);
            let state = filled.unwrap_or_else(|_remembered| self.lock());
            if state.closed {
                return;
            }
            let mut state = if state.failed.is_some() {
                let waited = self.changed.wait_timeout(state, RETRY);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                let waiting = |state: &mut State| state.ready.len() >= READY && !state.closed;
                let waited = self.changed.wait_while(state, waiting);
                waited.unwrap_or_else(PoisonError::into_inner)
            };
            state.failed = None;
        }
    }

    /// Waits for `needed` spares, making them unless another thread is making one.
    fn await_ready(&self, needed: usize) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        while state.ready.len() < needed && !state.closed {
            if let Some((kind, text)) = &state.failed {
                return Err(io::Error::new(*kind, text.clone()));
            }
            if state.making {
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.making = true;
            let found = state.unchecked.pop();
            let number = found.unwrap_or(state.next_number);
            if found.is_none() {
                state.next_number += 1;
            }
            drop(state);
            let made = match found {
                Some(number) => self.check(number),
                None => self.make(number).map(|()| true),
            };
            state = self.lock();
            state.making = false;
            match made {
                Ok(true) => state.ready.push(number),
                Ok(false) => {}
                Err(error) => state.failed = Some((error.kind(), error.to_string())),
            }
            self.changed.notify_all();
        }
        Ok(state)
    }

    /// Whether a spare that was found is one; else it is removed.
    fn check(&self, number: u64) -> io::Result<bool> {
        let path = spare_path(&self.folder, number);
        let blank = is_zero_filled(&self.disk.open_to_write(&path)?, self.segment_bytes)?;
        if !blank {
            self.disk.remove_file(&path)?;
        }
        Ok(blank)
    }

    fn make(&self, number: u64) -> io::Result<()> {
        let needed = self.segment_bytes.saturating_add(self.headroom_bytes);
        if self.disk.free_bytes(&self.folder)? < needed {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let path = spare_path(&self.folder, number);
        let temporary = path.with_added_extension("tmp");
        let made = self.disk.create_zeroed(&temporary, self.segment_bytes);
        let made = made.and_then(|_file| self.disk.rename_and_sync(&temporary, &path));
        if made.is_err() {
            // Gives back what a full disk lacks; a start removes what cannot be removed now.
            drop(self.disk.remove_file(&temporary));
        }
        made
    }
}
