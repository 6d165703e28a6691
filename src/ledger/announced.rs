//! Checkpoints that are announced: `ledger.checkpointed`, at most once for each size.
//!
//! Owns the newest announcement. Callers that ask for one at the same moment are answered one after
//! the other, and those whose events the newest announcement covers share it. Checkpoints flow in
//! from what is published, commands out to the ledger.

use std::sync::{Arc, PoisonError};

use tokio::sync::Mutex;

use super::{Ledger, Submission, SubmitError};
use crate::domain::command::{Actor, Command, NoteCheckpoint, Request};
use crate::domain::digest::Digest32;
use crate::domain::ids::OrganizationId;
use crate::domain::time::Timestamp;
use crate::tiles::PublishedCheckpoint;

/// A checkpoint that was announced, and the event that announces it.
#[derive(Clone, Debug)]
pub struct AnnouncedCheckpoint {
    /// The event's position.
    pub position: u64,
    /// The checkpoint.
    pub published: Arc<PublishedCheckpoint>,
}

/// The newest checkpoint that this process has announced; locked while one is being announced, so
/// that the next caller sees it. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Announced {
    newest: Arc<Mutex<Option<AnnouncedCheckpoint>>>,
}

fn announcement_of(published: &PublishedCheckpoint) -> Submission {
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
    /// When a checkpoint was announced last; before the first one, when the ledger was opened.
    fn announced_at(&self) -> Option<Timestamp> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let announced = state.ledger().checkpointed.map(|announced| announced.at);
        drop(state);
        announced.or_else(|| self.happened_at(0).ok())
    }

    /// Announces the newest published checkpoint if the last one was announced so long ago. Waits
    /// for the ledger: for threads that may block.
    ///
    /// # Errors
    /// When the ledger takes no command.
    pub(crate) fn announce_newest_after(&self, pause_ms: i64) -> Result<(), SubmitError> {
        let is_due = || match self.announced_at() {
            Some(at) => self.now() >= at.plus_ms(pause_ms),
            None => false,
        };
        if !is_due() {
            return Ok(());
        }
        let mut newest = self.announced.newest.blocking_lock();
        // A caller may have asked for one meanwhile.
        let Some(published) = self.tiles().newest_published().filter(|_| is_due()) else {
            return Ok(());
        };
        let position = self.submit_blocking(announcement_of(&published))?.position;
        *newest = Some(AnnouncedCheckpoint {
            position,
            published,
        });
        Ok(())
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
        let covers = |published: &PublishedCheckpoint| published.checkpoint.size > covering;
        let mut newest = self.announced.newest.lock().await;
        if let Some(announced) = newest.as_ref().filter(|one| covers(&one.published)) {
            return Ok(Some(announced.clone()));
        }
        let Some(published) = self.tiles().newest_published().filter(|one| covers(one)) else {
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
