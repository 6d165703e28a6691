//! Signed checkpoints: kept, so that a lost end of the log is a detected event, and published.
//!
//! After a durable batch the writer announces size and root. At most once a second this thread
//! reads back what was written, computes the root once more, signs, appends the note to
//! `DATA/checkpoints/`, synced, makes files of the tiles that are full, and publishes. It must
//! never sign a root that the log does not give, which ends the ledger, nor a size below one signed
//! before; the checkpoint file refuses that too. When there is no room, signing or publishing waits
//! and the log goes on; when a write of the checkpoint file has failed, signing ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::time::Timestamp;
use crate::log::{CheckpointFile, FloorError, ReadError, SignedCheckpoint};
use crate::merkle::{Checkpoint, CheckpointError};
use crate::tiles::{Growing, TileError, Tiles};

use super::Health;
use super::signing::Signers;
use super::writer::error_chain;

/// Signatures are at least so far apart.
pub(crate) const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(1);

/// The newest size and root, on their way to be signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signed {
    inner: Arc<(Mutex<Newest>, Condvar)>,
}

#[derive(Debug, Default)]
struct Newest {
    tree: Option<(u64, [u8; 32])>,
    stopping: bool,
}

impl Signed {
    /// Announces a durable tree.
    pub(crate) fn announce(&self, size: u64, root: [u8; 32]) {
        let earlier = self.lock().tree.replace((size, root));
        // Who has not taken the earlier one yet is not waiting for this one: a wake-up for every
        // batch would take the thread away from who waits for the answer.
        if earlier.is_none() {
            self.inner.1.notify_one();
        }
    }

    /// Lets the thread sign what is announced, and end.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.inner.1.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        match self.inner.0.lock() {
            Ok(newest) => newest,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Waits for news, or for the end; what is announced when it stops is still signed.
    fn next(&self) -> Next {
        let mut newest = self.lock();
        loop {
            if let Some((size, root)) = newest.tree.take() {
                return Next::Sign { size, root };
            }
            if newest.stopping {
                return Next::Stop;
            }
            newest = match self.inner.1.wait(newest) {
                Ok(newest) => newest,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    /// Lets the interval pass, unless the end comes first.
    fn pause(&self, time: Duration) {
        let newest = self.lock();
        let stopping = |newest: &mut Newest| !newest.stopping;
        match self.inner.1.wait_timeout_while(newest, time, stopping) {
            Ok(waited) => drop(waited),
            Err(poisoned) => drop(poisoned),
        }
    }
}

enum Next {
    Sign { size: u64, root: [u8; 32] },
    Stop,
}

/// What the thread signs with and into.
pub(crate) struct Signing {
    pub(crate) origin: String,
    pub(crate) signers: Signers,
    pub(crate) file: CheckpointFile,
    pub(crate) clock: crate::clock::Clock,
    /// How long it waits from one checkpoint to the next.
    pub(crate) between: Duration,
}

/// Where the thread says how it goes.
pub(crate) struct Told<'a> {
    /// Events that the newest signed checkpoint covers.
    pub(crate) covered: &'a AtomicU64,
    pub(crate) health: &'a watch::Sender<Health>,
}

impl Signing {
    /// Signs and publishes until stopped, until the file takes no more, or until the log is found
    /// not to be what was written.
    pub(crate) fn run(mut self, signed: &Signed, tiles: &Arc<Tiles>, told: &Told<'_>) {
        let mut growing = None;
        while let Next::Sign { size, root } = signed.next() {
            match self.checkpoint((size, root), (tiles, &mut growing), told) {
                Ok(()) => {}
                Err(why) => {
                    let ends = why.ends();
                    let text = error_chain(&why);
                    match ends {
                        Ends::Nothing => {
                            tracing::warn!(
                                why = text,
                                "a checkpoint was not published; the next may be"
                            );
                        }
                        Ends::Signing => {
                            tracing::error!(why = text, "signing has ended; the log goes on");
                            return;
                        }
                        Ends::TheLedger => {
                            tracing::error!(why = text, "the log is not what was written");
                            told.health.send_replace(Health::Failed(text));
                            return;
                        }
                    }
                }
            }
            signed.pause(self.between);
        }
    }

    /// Reads back, signs, keeps, publishes: in this order.
    fn checkpoint(
        &mut self,
        (size, root): (u64, [u8; 32]),
        (tiles, growing): (&Arc<Tiles>, &mut Option<Growing>),
        told: &Told<'_>,
    ) -> Result<(), SignError> {
        let growing = match growing {
            Some(growing) => growing,
            None => growing.insert(Growing::at(Arc::clone(tiles), (size, root))?),
        };
        if growing.grow(size)? != root {
            return Err(SignError::Root { size });
        }
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
        };
        let now_ms = self.clock.now_ms();
        let note = self.signers.sign(&checkpoint, Timestamp(now_ms))?;
        let seconds = u64::try_from(now_ms / 1_000).unwrap_or(0);
        self.file.append(SignedCheckpoint {
            size,
            root,
            seconds,
            note: note.clone(),
        })?;
        self.signers.kept(size);
        told.covered.store(size, Ordering::Release);
        growing.publish(checkpoint, &note, seconds)?;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("the checkpoint cannot be signed")]
    Note(#[from] CheckpointError),
    #[error("the checkpoint cannot be stored")]
    File(#[from] FloorError),
    #[error("the tree cannot be grown or its tiles not be written")]
    Tree(#[from] TileError),
    #[error("the log read back gives another root over {size} events than its writer")]
    Root { size: u64 },
}

/// What a failure ends.
enum Ends {
    Nothing,
    Signing,
    TheLedger,
}

impl SignError {
    const fn ends(&self) -> Ends {
        match self {
            Self::File(FloorError::Poisoned(_)) => Ends::Signing,
            Self::Root { .. } | Self::Tree(TileError::Log(ReadError::Damaged(_))) => {
                Ends::TheLedger
            }
            Self::Note(_) | Self::File(_) | Self::Tree(_) => Ends::Nothing,
        }
    }
}
