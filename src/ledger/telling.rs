//! Tells what the ledger is: `ledger.checkpointed`, once an hour and whenever somebody asks.
//!
//! Owns the thread that gives these commands, as any client gives commands. What is told leaves by
//! webhooks, so that consumers hold what nobody here can take back; a ledger whose end is withheld
//! is silent within the hour. It is told also where nothing else has happened. Checkpoints flow in
//! from what is published, commands out to the ledger. A checkpoint is announced once: callers that
//! ask at the same moment are answered one after the other, and those whose events the newest
//! announcement covers share it.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::Mutex;

use super::{Ledger, Submission, SubmitError};
use crate::domain::command::{Actor, Command, NoteCheckpoint, Request};
use crate::domain::digest::Digest32;
use crate::domain::ids::OrganizationId;
use crate::domain::time::Timestamp;
use crate::tiles::Published;

/// From one telling to the next.
const EVERY_MS: i64 = 60 * 60 * 1_000;
/// How late one may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon it is tried again when it was refused.
const TRY_AGAIN_MS: i64 = 10_000;

/// The thread; it ends when this is stopped or dropped.
#[derive(Debug)]
pub struct CheckpointTelling {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl CheckpointTelling {
    /// Starts telling.
    pub fn start(ledger: Ledger) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = Builder::new().name("checkpoint-telling".to_owned());
        let thread = thread.spawn(move || {
            let mut teller = Teller::new(ledger);
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                teller.look();
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the telling.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that tells of checkpoints panicked");
        }
    }
}

/// Tells when it is due.
pub(crate) struct Teller {
    ledger: Ledger,
    /// By the monotonic clock; 0 while nothing is refused.
    again_at_ms: i64,
}

impl Teller {
    pub(crate) const fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            again_at_ms: 0,
        }
    }

    /// Tells if an hour is over.
    pub(crate) fn look(&mut self) {
        let is_due = || match self.ledger.told_at() {
            Some(told) => self.ledger.now() >= told.plus_ms(EVERY_MS),
            None => false,
        };
        if self.ledger.monotonic_ms() < self.again_at_ms || !is_due() {
            return;
        }
        let mut newest = self.ledger.announced.newest.blocking_lock();
        // A caller may have asked for one meanwhile.
        let published = self.ledger.tiles().published().filter(|_| is_due());
        let Some(published) = published else {
            return;
        };
        match self.ledger.submit_blocking(announcement_of(&published)) {
            Ok(answer) => {
                let position = answer.position;
                *newest = Some(AnnouncedCheckpoint {
                    position,
                    published,
                });
                self.again_at_ms = 0;
            }
            Err(SubmitError::Stopping) => {}
            Err(why) => {
                if self.again_at_ms == 0 {
                    tracing::warn!(%why, "a checkpoint cannot be told of yet");
                }
                self.again_at_ms = self.ledger.monotonic_ms() + TRY_AGAIN_MS;
            }
        }
    }
}

/// A checkpoint that was announced, and the event that announces it.
#[derive(Clone, Debug)]
pub struct AnnouncedCheckpoint {
    /// The event's position.
    pub position: u64,
    /// The checkpoint.
    pub published: Arc<Published>,
}

/// The newest checkpoint that this process has announced; locked while one is being announced, so
/// that the next caller sees it. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Announced {
    newest: Arc<Mutex<Option<AnnouncedCheckpoint>>>,
}

fn announcement_of(published: &Published) -> Submission {
    let checkpoint = &published.checkpoint;
    Submission::bare(Request {
        actor: Actor::System,
        command: Command::NoteCheckpoint(NoteCheckpoint {
            size: checkpoint.size,
            root: Digest32(checkpoint.root),
            checkpoint: published.note.to_string(),
        }),
        if_match: None,
    })
}

impl Ledger {
    /// When a checkpoint was told of last; before the first one, when the ledger was opened.
    fn told_at(&self) -> Option<Timestamp> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let told = state.ledger().checkpointed.map(|told| told.at);
        drop(state);
        told.or_else(|| self.happened_at(0).ok())
    }

    /// Announces a checkpoint that covers the event at a position: the newest one, or one that was
    /// announced since. `None` if no published checkpoint covers it yet.
    ///
    /// # Errors
    /// When the ledger takes no command.
    pub async fn announce_checkpoint(
        &self,
        covering: u64,
        client_of: OrganizationId,
    ) -> Result<Option<AnnouncedCheckpoint>, SubmitError> {
        let ledger = self.clone();
        // A task of its own: a caller that goes away must not lose what the next one is to see.
        let announcing =
            tokio::spawn(async move { ledger.announce_in_turn(covering, client_of).await });
        let announced = announcing.await;
        announced.unwrap_or(Err(SubmitError::OutcomeUnknown))
    }

    async fn announce_in_turn(
        &self,
        covering: u64,
        client_of: OrganizationId,
    ) -> Result<Option<AnnouncedCheckpoint>, SubmitError> {
        let covers = |published: &Published| published.checkpoint.size > covering;
        let mut newest = self.announced.newest.lock().await;
        if let Some(announced) = newest.as_ref().filter(|one| covers(&one.published)) {
            return Ok(Some(announced.clone()));
        }
        let Some(published) = self.tiles().published().filter(|one| covers(one)) else {
            return Ok(None);
        };
        let submission = Submission {
            client_of: Some(client_of),
            ..announcement_of(&published)
        };
        let position = self.submit(submission).await?.position;
        *newest = Some(AnnouncedCheckpoint {
            position,
            published,
        });
        Ok(newest.clone())
    }
}
