//! Views: what readers are shown, folded from the committed batches of the log.
//!
//! Owns the verification index, the directory, the credentials, the history index and the others,
//! and the position that they have reached. Must never decide anything, and never show what is not
//! durable: the writer hands over a batch after its sync has returned. Data flows in by
//! [`Views::apply`], live and in replay alike, and out to readers; a view may be thrown away at
//! will and folded again.

pub mod calendar;
pub mod credentials;
pub mod directory;
pub mod history;
pub mod index;
pub mod newest;
pub mod page;
mod position;
pub mod revocations;
pub mod sessions;
pub mod snapshot;

#[cfg(test)]
mod fixtures;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::ids::Subject;
use crate::domain::state::Changes;

use calendar::Calendar;
use credentials::Credentials;
use directory::Directory;
use history::History;
use index::Index;
use newest::Newest;
use position::Position;
use revocations::{Entry, Revocations};
use sessions::Sessions;

/// One committed batch as the views take it.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The records that it changed, as they are after it.
    pub changes: &'a Changes,
    /// Its events: subject, the subject's version, position.
    pub events: &'a [(Subject, u32, u64)],
    /// What they add to the revocation feed, in order.
    pub entries: &'a [Arc<Entry>],
    /// Position of its last event.
    pub position: u64,
    /// Root of the tree after it.
    pub root: [u8; 32],
}

/// All views of one log.
#[derive(Debug)]
pub struct Views {
    /// Which secrets are accepted, for verification.
    pub index: Index,
    /// Organizations, projects, members, service accounts and webhook endpoints.
    pub directory: Directory,
    /// Sessions, links and passwords.
    pub sessions: Sessions,
    /// Credentials as gets and lists show them.
    pub credentials: Credentials,
    /// Where each record's events are in the log.
    pub history: History,
    /// What verifiers that keep answers must forget.
    pub revocations: Revocations,
    /// Which expiries are to be told of soon.
    pub calendar: Calendar,
    /// Where each organization's newest event stands.
    pub newest: Newest,
    position: Arc<Position>,
}

impl Views {
    /// Views of an empty log; `history` may already hold what it is going to be caught up from.
    #[must_use]
    pub fn new(history: History) -> Self {
        let position = Arc::new(Position::default());
        Self {
            index: Index::new(Arc::clone(&position)),
            directory: Directory::default(),
            sessions: Sessions::default(),
            credentials: Credentials::default(),
            history,
            revocations: Revocations::default(),
            calendar: Calendar::default(),
            newest: Newest::default(),
            position,
        }
    }

    /// Takes a batch that is durable. Entries change first and the position is published last, so
    /// that whoever reads a position sees everything up to it. Called by one thread at a time.
    pub fn apply(&self, batch: &Batch<'_>) {
        self.index.apply(batch.changes);
        self.directory.apply(batch.changes);
        self.sessions.apply(batch.changes, &self.directory);
        self.credentials.apply(&batch.changes.credentials);
        self.history.apply(batch);
        self.revocations.apply(batch.entries);
        self.calendar.apply(batch.changes);
        self.newest.apply(batch.changes);
        self.newest.note(batch.events);
        self.position.publish(batch.position);
        self.revocations.announce(batch.entries);
    }

    /// Publishes the position of a log whose records were loaded otherwise than by `apply`, for
    /// example from a snapshot, once all of them are in.
    pub fn publish(&self, position: u64) {
        self.revocations.begin(position + 1);
        self.position.publish(position);
    }

    /// Position of the last event that all views show; `None` before the first.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.position.get()
    }

    /// Follows how many events all views show.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.position.news()
    }

    /// Waits until the views show `position`; `false` if that took longer than `timeout`.
    pub async fn wait_for(&self, position: u64, timeout: Duration) -> bool {
        self.position.wait_for(position, timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::fixtures::{credential, packed, token, whole};

    #[tokio::test]
    async fn the_position_is_published_with_everything_up_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (history, applied) = History::open(folder.path()).unwrap();
        assert_eq!(applied, None);
        let views = Views::new(history);
        assert_eq!(views.position(), None);
        assert!(!views.wait_for(0, Duration::from_millis(1)).await);

        let record = credential(1, 1);
        let changes = Changes {
            credentials: vec![packed(&record)],
            ..Changes::default()
        };
        let events = [(Subject::Credential(record.id), 1, 7)];
        let (position, root) = (7, [9; 32]);
        let waiting = views.wait_for(7, Duration::from_secs(60));
        let applying = async {
            views.apply(&Batch {
                changes: &changes,
                events: &events,
                entries: &[],
                position,
                root,
            });
        };
        assert!(tokio::join!(waiting, applying).0);
        assert_eq!(views.position(), Some(7));
        let verdict = whole(&views.index, &token(record.secrets[0].id));
        assert_eq!(verdict.position, 7);
        let shown = views.credentials.get(record.organization, record.id);
        assert_eq!(shown.as_deref(), Some(&*packed(&record)));
        let history = views
            .history
            .positions(Subject::Credential(record.id), 0, 10);
        assert_eq!(history.unwrap(), [7]);
        assert!(views.wait_for(3, Duration::ZERO).await);
        views.publish(8);
        assert_eq!(views.position(), Some(8));
    }
}
