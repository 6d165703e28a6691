//! Signed checkpoints: kept, so that a lost end of the log is a detected event, and published.
//!
//! After a durable batch the writer announces size and root. At most once a second this thread
//! reads back what was written, computes the root once more, signs, appends the note to
//! `DATA/checkpoints/`, synced, makes files of the tiles that are full, and publishes. It must
//! never sign a root that the log does not give, which ends the ledger, nor a size below one signed
//! before; the checkpoint file refuses that too. When there is no room, or a write of the
//! checkpoint file has failed, the log goes on: signing or publishing is degraded, and tried again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::degraded::{DegradedParts, Part};
use crate::domain::time::Timestamp;
use crate::log::{CheckpointStore, CheckpointStoreError, LogReadError, SignedCheckpoint};
use crate::merkle::{Checkpoint, CheckpointError, TreeHead};
use crate::tiles::{TileError, Tiles, TreeGrower};

use super::Health;
use super::signing::Signers;
use crate::error_chain::error_chain;

/// Signatures are at least so far apart.
pub(crate) const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(1);

/// Intervals between checkpoints after which one that failed is tried again.
const INTERVALS_TO_RETRY: u32 = 3;

const SIGNED_AGAIN: &str = "no checkpoint is signed meanwhile; it is tried again every few seconds \
    with a new file. Make room on the disk, or look at the disk and at the folder's owner";
const PUBLISHED_AGAIN: &str = "checkpoints are signed and not published meanwhile; it is tried \
    again every few seconds. Make room on the disk, or correct the folder's mode and owner";

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

    /// Announces a tree once more whose checkpoint failed, unless there is a newer one or the end
    /// has come.
    fn announce_again(&self, size: u64, root: [u8; 32]) {
        let mut newest = self.lock();
        if newest.tree.is_none() && !newest.stopping {
            newest.tree = Some((size, root));
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
    pub(crate) file: CheckpointStore,
    pub(crate) clock: crate::clock::Clock,
    /// How long it waits from one checkpoint to the next.
    pub(crate) between: Duration,
}

/// Where the thread says how it goes.
pub(crate) struct Told<'a> {
    /// Events that the newest signed checkpoint covers.
    pub(crate) covered: &'a AtomicU64,
    pub(crate) health: &'a watch::Sender<Health>,
    pub(crate) degraded: &'a DegradedParts,
}

impl Told<'_> {
    fn covered(&self) -> u64 {
        self.covered.load(Ordering::Acquire)
    }
}

impl Signing {
    /// Signs and publishes until stopped, or until the log is found not to be what was written.
    /// What fails is tried again, with a new file where a write of one has failed.
    pub(crate) fn run(mut self, signed: &Signed, tiles: &Arc<Tiles>, told: &Told<'_>) {
        let mut growing = None;
        while let Next::Sign { size, root } = signed.next() {
            let Err(why) = self.checkpoint((size, root), (tiles, &mut growing), told) else {
                told.degraded.end(Part::Signing);
                told.degraded.end(Part::Publishing);
                signed.pause(self.between);
                continue;
            };
            let text = error_chain(&why);
            match why.concerns() {
                Concerns::Signing => told.degraded.begin(Part::Signing, text, SIGNED_AGAIN),
                Concerns::Publishing => {
                    told.degraded.end(Part::Signing);
                    told.degraded.begin(Part::Publishing, text, PUBLISHED_AGAIN);
                }
                Concerns::TheLedger => {
                    tracing::error!(why = text, "the log is not what was written");
                    told.health.send_replace(Health::Failed(text));
                    return;
                }
            }
            signed.announce_again(size, root);
            signed.pause(self.between * INTERVALS_TO_RETRY);
        }
    }

    /// Reads back, signs, keeps, publishes: in this order.
    fn checkpoint(
        &mut self,
        (size, root): (u64, [u8; 32]),
        (tiles, growing): (&Arc<Tiles>, &mut Option<TreeGrower>),
        told: &Told<'_>,
    ) -> Result<(), SignError> {
        let growing = match growing {
            Some(growing) => growing,
            None => growing.insert(TreeGrower::resume_at(
                Arc::clone(tiles),
                TreeHead::new(size, root),
            )?),
        };
        if growing.grow_to(size)? != root {
            return Err(SignError::Root { size });
        }
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
        };
        let now_ms = self.clock.now_ms();
        let seconds = u64::try_from(now_ms / 1_000).unwrap_or(0);
        // One that is kept and could not be published is published as it is.
        let newest = self.file.newest().filter(|_| size == told.covered());
        let note = match newest.filter(|newest| newest.size == size) {
            Some(newest) => newest.note.clone(),
            None => {
                let note = self.signers.sign(&checkpoint, Timestamp(now_ms))?;
                self.file.append(SignedCheckpoint {
                    size,
                    root,
                    seconds,
                    note: note.clone(),
                })?;
                self.signers.kept(size);
                told.covered.store(size, Ordering::Release);
                note
            }
        };
        growing.publish_checkpoint(checkpoint, &note, seconds)?;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("the checkpoint cannot be signed")]
    Note(#[from] CheckpointError),
    #[error("the checkpoint cannot be stored")]
    File(#[from] CheckpointStoreError),
    #[error("the tree cannot be grown or its tiles not be written")]
    Tree(#[from] TileError),
    #[error("the log read back gives another root over {size} events than its writer")]
    Root { size: u64 },
}

/// What a failure degrades or ends.
enum Concerns {
    Signing,
    Publishing,
    TheLedger,
}

impl SignError {
    const fn concerns(&self) -> Concerns {
        match self {
            Self::Root { .. } | Self::Tree(TileError::Log(LogReadError::Damaged(_))) => {
                Concerns::TheLedger
            }
            Self::Note(_) | Self::File(_) => Concerns::Signing,
            Self::Tree(_) => Concerns::Publishing,
        }
    }
}
