//! Announces the newest checkpoint once an hour.
//!
//! What is announced leaves by webhooks, so that consumers hold what cannot be taken back here; a
//! ledger whose end is withheld is silent within the hour. It is announced also where nothing else
//! has happened.

use crate::ledger::{Ledger, SubmitError};

/// From one announcement to the next.
const EVERY_MS: i64 = 60 * 60 * 1_000;
/// How soon it is tried again when it was refused.
const TRY_AGAIN_MS: i64 = 10_000;

pub(crate) struct CheckpointAnnouncer {
    ledger: Ledger,
    /// By the monotonic clock; 0 while nothing is refused.
    again_at_ms: i64,
}

impl CheckpointAnnouncer {
    pub(crate) const fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            again_at_ms: 0,
        }
    }

    /// Announces a checkpoint if an hour is over.
    pub(crate) fn announce_due(&mut self) {
        if self.ledger.monotonic_ms() < self.again_at_ms {
            return;
        }
        match self.ledger.announce_newest_after(EVERY_MS) {
            Ok(()) => self.again_at_ms = 0,
            Err(SubmitError::Stopping) => {}
            Err(why) => {
                if self.again_at_ms == 0 {
                    tracing::warn!(%why, "a checkpoint cannot be announced yet");
                }
                self.again_at_ms = self.ledger.monotonic_ms() + TRY_AGAIN_MS;
            }
        }
    }
}
