//! The floor: signed checkpoints, so that a lost end of the log is a detected event.
//!
//! After a durable batch the writer announces size and root; at most once a second this thread
//! signs the newest and appends the note to `DATA/checkpoints/`, synced. It must never sign a size
//! below one signed before; the checkpoint file refuses that too. When there is no room for notes,
//! signing pauses and the log goes on; when a write of the file has failed, signing ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::log::{CheckpointFile, FloorError, SignedCheckpoint};
use crate::merkle::{Checkpoint, CheckpointError, NoteSigner};

use super::writer::error_chain;

/// Signatures are at least so far apart.
const INTERVAL: Duration = Duration::from_secs(1);

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
    fn pause(&self) {
        let newest = self.lock();
        let stopping = |newest: &mut Newest| !newest.stopping;
        match self.inner.1.wait_timeout_while(newest, INTERVAL, stopping) {
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
    pub(crate) signer: NoteSigner,
    pub(crate) file: CheckpointFile,
    pub(crate) clock: crate::clock::Clock,
}

impl Signing {
    /// Signs until stopped, or until the file takes no more; `covered` says how far it has come.
    pub(crate) fn run(mut self, signed: &Signed, covered: &AtomicU64) {
        while let Next::Sign { size, root } = signed.next() {
            match self.sign(size, root) {
                Ok(()) => covered.store(size, Ordering::Release),
                Err(SignError::File(why @ FloorError::Poisoned(_))) => {
                    let why = error_chain(&why);
                    tracing::error!(why, "signing has ended; the log goes on");
                    return;
                }
                Err(why) => {
                    let why = error_chain(&why);
                    tracing::warn!(why, "a checkpoint was not signed; the next one may be");
                }
            }
            signed.pause();
        }
    }

    fn sign(&mut self, size: u64, root: [u8; 32]) -> Result<(), SignError> {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
        };
        let note = checkpoint.sign(&self.signer)?;
        let seconds = u64::try_from(self.clock.now_ms() / 1_000).unwrap_or(0);
        Ok(self.file.append(SignedCheckpoint {
            size,
            root,
            seconds,
            note,
        })?)
    }
}

#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("the checkpoint cannot be signed")]
    Note(#[from] CheckpointError),
    #[error("the checkpoint cannot be stored")]
    File(#[from] FloorError),
}
