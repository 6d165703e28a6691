//! The past of a data folder, read without a server and also beside one.
//!
//! Owns the way from a folder to what was true when. The log is checked from its first event before
//! anything is told of it, and what is damaged is not told of. Sealed values are opened where the
//! folder has its keys; where it has none they are blank, as those of erased people are.

use std::path::Path;

use memchr::memmem::Finder;

use super::past::{Differences, Fold, FoldError, find, last_not_after};
use super::verdict::Finding;
use crate::domain::envelope::Event;
use crate::domain::heading::Whereabouts;
use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::log_point::{LogPoint, Moment};
use crate::domain::time::Timestamp;
use crate::domain::unreadable::UnreadableEvent;
use crate::error_chain::error_chain;
use crate::ledger::boot::Folder;
use crate::ledger::open_personal;
use crate::log::{Disk, InspectError, LogInspection, LogReadError, LogTail, inspect_log};
use crate::seal::KeyStore;

/// The log of a folder, found whole.
pub struct Reading {
    inspected: LogInspection,
    keys: Option<KeyStore>,
}

/// Why the past of a folder cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// There is no log, or the system refused something.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The log is damaged.
    #[error("the log is damaged: {} ({})", .0.what, .0.kind.means())]
    Damaged(Box<Finding>),
    /// The log cannot be read again.
    #[error("the log cannot be read")]
    Read(#[from] LogReadError),
    /// An event cannot be read.
    #[error("a stored event cannot be read")]
    Unreadable(#[from] UnreadableEvent),
    /// The events cannot be folded.
    #[error("the past cannot be put together")]
    Fold(#[from] FoldError),
    /// A moment that has not come.
    #[error("the log ends before that: it has {0} events")]
    NotYet(u64),
}

impl Reading {
    /// Checks the log of a folder, and looks for its keys.
    ///
    /// # Errors
    /// Any of [`ReadingError`].
    pub fn open(folder: &Folder, master_key_file: Option<&Path>) -> Result<Self, ReadingError> {
        let inspected = inspect_log(&Disk::Real, &folder.log(), |_event| {})?;
        if let LogTail::Damaged(failed, damage) = &inspected.tail {
            let finding = Finding::of_log(*failed, damage);
            return Err(ReadingError::Damaged(Box::new(finding)));
        }
        let keys = KeyStore::open(&folder.keys(), master_key_file).ok();
        let keys = keys.filter(|keys| keys.log_id() == inspected.log_id);
        Ok(Self { inspected, keys })
    }

    /// Whether sealed values are opened.
    #[must_use]
    pub const fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// The folder's keys, where it has them.
    pub(super) const fn keys(&self) -> Option<&KeyStore> {
        self.keys.as_ref()
    }

    /// How many events there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.inspected.frontier.size()
    }

    /// The log's id.
    #[must_use]
    pub const fn log_id(&self) -> [u8; 16] {
        self.inspected.log_id
    }

    /// The moment that is named; without a name that of the last event.
    ///
    /// # Errors
    /// [`ReadingError::NotYet`], or when the log cannot be read.
    pub fn moment(&self, as_of: Option<LogPoint>) -> Result<Moment, ReadingError> {
        let size = self.size();
        let as_of = as_of.unwrap_or_else(|| LogPoint::Position(size.saturating_sub(1)));
        let happened_at = |position| self.happened_at(position);
        find(as_of, size, happened_at)?.ok_or(ReadingError::NotYet(size))
    }

    /// The position of the first event that did not happen before an instant: the log's next one
    /// where there is none.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn first_not_before(&self, instant: Timestamp) -> Result<u64, ReadingError> {
        // Instants have whole milliseconds.
        let before = Timestamp(instant.0.saturating_sub(1));
        let last = last_not_after(before, self.size(), |position| self.happened_at(position))?;
        Ok(last.map_or(0, |last| last + 1))
    }

    fn happened_at(&self, position: u64) -> Result<Timestamp, ReadingError> {
        let payload = self.inspected.reader.read_payload(position)?;
        let found = Whereabouts::of(&payload);
        match found.map(|found| Timestamp::parse(found.occurred_at)) {
            Some(Ok(at)) => Ok(at),
            Some(Err(_)) | None => Ok(Event::from_payload(&payload)?.occurred_at),
        }
    }

    /// The records of an organization, or of all, at a moment.
    ///
    /// # Errors
    /// Any of [`ReadingError`].
    pub fn fold(
        &self,
        organization: Option<OrganizationId>,
        moment: Moment,
    ) -> Result<Fold, ReadingError> {
        let mut fold = Fold::new(organization);
        self.visit((0, moment.events()), |payload| {
            fold.take(payload, &mut |event| self.open_sealed(event))
                .map(drop)
        })?;
        Ok(fold)
    }

    /// What differs between two moments, in an organization or in all.
    ///
    /// # Errors
    /// Any of [`ReadingError`].
    pub fn differences(
        &self,
        organization: Option<OrganizationId>,
        (from, to): (Moment, Moment),
    ) -> Result<Differences, ReadingError> {
        let mut differences = Differences::since(self.fold(organization, from)?);
        self.visit((from.events(), to.events()), |payload| {
            differences.take(payload, &mut |event| self.open_sealed(event))
        })?;
        Ok(differences)
    }

    /// Shows the stored payloads of a record's events, in order.
    ///
    /// # Errors
    /// Any of [`ReadingError`].
    pub fn history(
        &self,
        subject: Subject,
        mut show: impl FnMut(&Whereabouts<'_>, &[u8]),
    ) -> Result<(), ReadingError> {
        let theirs = format!("\"subject\":\"{subject}\"");
        let theirs = Finder::new(theirs.as_bytes());
        self.visit((0, self.size()), |payload| {
            if theirs.find(payload).is_some()
                && let Some(found) = Whereabouts::of(payload)
                && found.subject == subject
            {
                show(&found, payload);
            }
            Ok(())
        })
    }

    /// Shows payloads from one position to before another.
    fn visit(
        &self,
        (from, to): (u64, u64),
        mut take: impl FnMut(&[u8]) -> Result<(), FoldError>,
    ) -> Result<(), ReadingError> {
        let mut outcome = Ok(());
        self.scan(from, to, |_position, payload| {
            if outcome.is_ok() {
                outcome = take(payload);
            }
        })?;
        Ok(outcome?)
    }

    /// Shows positions and payloads from one position to before another.
    pub(super) fn scan(
        &self,
        from: u64,
        to: u64,
        visit: impl FnMut(u64, &[u8]),
    ) -> Result<(), LogReadError> {
        match from < to {
            true => self.inspected.reader.scan(from, to, visit),
            false => Ok(()),
        }
    }

    pub(super) fn open_sealed(&self, event: &mut Event) -> Result<(), String> {
        match &self.keys {
            Some(keys) => {
                open_personal(keys, keys.log_id(), event).map_err(|why| error_chain(&why))
            }
            None => super::past::blank(event),
        }
    }
}
