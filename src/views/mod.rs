//! Views: what readers are shown, folded from the committed batches of the log.
//!
//! Owns the verification index, the directory, the credentials, the history index and the others,
//! and the position that they have reached. Must never decide anything, and never show what is not
//! durable: the writer hands over a batch after its sync has returned. Data flows in by
//! [`Views::apply`], live and in replay alike, and out to readers; a view may be thrown away at
//! will and folded again.

mod committed_batch;
pub mod credentials;
pub mod directory;
pub mod expiry_calendar;
pub mod history;
pub mod index;
pub mod list_page;
pub mod newest_positions;
pub mod revocations;
pub mod sessions;
mod shown_position;
pub mod snapshot;

#[cfg(test)]
mod fixtures;

pub use committed_batch::CommittedBatch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use credentials::CredentialsView;
use directory::Directory;
use expiry_calendar::ExpiryCalendar;
use history::HistoryIndex;
use index::VerificationIndex;
use newest_positions::NewestPositions;
use revocations::RecentRevocations;
use sessions::SessionsView;
use shown_position::ShownPosition;

/// All views of one log.
#[derive(Debug)]
pub struct Views {
    /// Which secrets are accepted, for verification.
    pub index: VerificationIndex,
    /// Organizations, projects, members, service accounts and webhook endpoints.
    pub directory: Directory,
    /// Sessions, links and passwords.
    pub sessions: SessionsView,
    /// Credentials as gets and lists show them.
    pub credentials: CredentialsView,
    /// Where each record's events are in the log.
    pub history: HistoryIndex,
    /// What verifiers that keep answers must forget.
    pub revocations: RecentRevocations,
    /// Which expiry notices are due soon.
    pub expiry_calendar: ExpiryCalendar,
    /// The position of each organization's newest event.
    pub newest_positions: NewestPositions,
    position: Arc<ShownPosition>,
}

impl Views {
    /// Views of an empty log; `history` may already hold what it is going to be caught up from.
    #[must_use]
    pub fn new(history: HistoryIndex) -> Self {
        let position = Arc::new(ShownPosition::default());
        Self {
            index: VerificationIndex::new(Arc::clone(&position)),
            directory: Directory::default(),
            sessions: SessionsView::default(),
            credentials: CredentialsView::default(),
            history,
            revocations: RecentRevocations::default(),
            expiry_calendar: ExpiryCalendar::default(),
            newest_positions: NewestPositions::default(),
            position,
        }
    }

    /// Takes a batch that is durable. Entries change first and the position is published last, so
    /// that a reader of a position sees everything up to it. Called by one thread at a time.
    pub fn apply(&self, batch: &CommittedBatch<'_>) {
        self.index.apply(batch.changes);
        self.directory.apply(batch.changes);
        self.sessions.apply(batch.changes, &self.directory);
        self.credentials.apply(&batch.changes.credentials);
        self.history.apply(batch);
        self.revocations.apply(batch.revocation_entries);
        self.expiry_calendar.apply(batch.changes);
        self.newest_positions.apply(batch.changes);
        self.newest_positions.apply_ledger_events(batch.events);
        self.position.publish(batch.position);
        self.revocations.wake_readers(batch.revocation_entries);
    }

    /// Publishes the position of a log whose records were loaded otherwise than by `apply`, for
    /// example from a snapshot, once all of them are in.
    pub fn publish_position(&self, position: u64) {
        self.revocations.restart_at(position + 1);
        self.position.publish(position);
    }

    /// Position of the last event that all views show; `None` before the first.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.position.get()
    }

    /// Follows how many events all views show.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// Waits until the views show `position`; `false` if that took longer than `timeout`.
    pub async fn wait_until_shown(&self, position: u64, timeout: Duration) -> bool {
        self.position.wait_until_shown(position, timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Subject;
    use crate::domain::state::Changes;
    use crate::views::fixtures::{credential, packed, token, verify_as_operator};

    #[tokio::test]
    async fn the_position_is_published_with_everything_up_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (history, applied) = HistoryIndex::open_or_reset(folder.path()).unwrap();
        assert_eq!(applied, None);
        let views = Views::new(history);
        assert_eq!(views.position(), None);
        assert!(!views.wait_until_shown(0, Duration::from_millis(1)).await);

        let record = credential(1, 1);
        let changes = Changes {
            credentials: vec![packed(&record)],
            ..Changes::default()
        };
        let events = [(Subject::Credential(record.id), 1, 7)];
        let (position, root) = (7, [9; 32]);
        let waiting = views.wait_until_shown(7, Duration::from_secs(60));
        let applying = async {
            views.apply(&CommittedBatch {
                changes: &changes,
                events: &events,
                revocation_entries: &[],
                position,
                root,
            });
        };
        assert!(tokio::join!(waiting, applying).0);
        assert_eq!(views.position(), Some(7));
        let verdict = verify_as_operator(&views.index, &token(record.secrets[0].id));
        assert_eq!(verdict.position, 7);
        let shown = views.credentials.get(record.organization, record.id);
        assert_eq!(shown.as_deref(), Some(&*packed(&record)));
        let history = views
            .history
            .event_positions(Subject::Credential(record.id), 0, 10);
        assert_eq!(history.unwrap(), [7]);
        assert!(views.wait_until_shown(3, Duration::ZERO).await);
        views.publish_position(8);
        assert_eq!(views.position(), Some(8));
    }
}
