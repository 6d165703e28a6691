//! The history index, held against the log.
//!
//! Owns that comparison. Must never be made while a server has the folder: whoever asks for it
//! holds the folder's lock, or knows that nobody does. The store is opened as a start opens it,
//! which may tidy its own files; what it holds is left as it is.

use std::path::Path;

use super::past::{Fold, blank};
use super::verdict::{Finding, Kind};
use crate::domain::ids::Subject;
use crate::error_chain::error_chain;
use crate::log::{LogReadError, LogReader};
use crate::views::history::{HistoryStoreError, OfflineHistory};

/// What became of the comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ViewsFound {
    /// The index is what the log gives.
    Equal {
        /// Its last event.
        position: u64,
        events: u64,
    },
    /// It was not compared, and why.
    Skipped(&'static str),
}

/// Reads the log as far as the index goes and compares every entry of it.
pub(super) fn compare(
    folder: &Path,
    reader: &LogReader,
) -> Result<Result<ViewsFound, Finding>, LogReadError> {
    const UNREADABLE: &str = "the history index cannot be read; the next start makes it again";
    let Ok(Some((view, applied))) = OfflineHistory::open(folder) else {
        return Ok(Ok(ViewsFound::Skipped(UNREADABLE)));
    };
    let position = applied.position;
    if position >= reader.next_position() {
        return Ok(Err(rolled_back(folder, position)));
    }
    if reader.batch_root_at(position)? != Some(applied.root) {
        let what = "the history index is of another log; the next start makes it again";
        return Ok(Ok(ViewsFound::Skipped(what)));
    }
    let mut fold = Fold::new(None);
    let mut first = None;
    let mut events: u64 = 0;
    reader.scan(0, position + 1, |at, payload| {
        if first.is_some() {
            return;
        }
        let event = match fold.take(payload, &mut blank) {
            Ok(event) => event,
            Err(why) => {
                let what = error_chain(&why);
                first = Some(Finding::new(Kind::Replay, what).at_position(at));
                return;
            }
        };
        if let Some(event) = event {
            events += 1;
            let said = view.event_position(event.subject, event.subject_version);
            first = wrong_history(event.subject, at, &said);
        }
    })?;
    if let Some(finding) = first {
        return Ok(Err(finding));
    }
    match view.event_count() {
        Ok(found) if found == events => Ok(Ok(ViewsFound::Equal { position, events })),
        Ok(found) => Ok(Err(differs(format!(
            "the index holds {found} events, and the log {events} up to there"
        )))),
        Err(_) => Ok(Ok(ViewsFound::Skipped(UNREADABLE))),
    }
}

fn wrong_history(
    subject: Subject,
    position: u64,
    said: &Result<Option<u64>, HistoryStoreError>,
) -> Option<Finding> {
    match said {
        Ok(Some(said)) if *said == position => None,
        Ok(said) => {
            let said = said.map_or("nowhere".to_owned(), |said| format!("at {said}"));
            let what = format!("the history index has an event of {subject} {said}");
            Some(differs(what).at_position(position))
        }
        Err(why) => Some(differs(error_chain(why)).at_position(position)),
    }
}

/// The log ends before an event that something derived from it holds.
pub(super) fn rolled_back(holder: &Path, position: u64) -> Finding {
    let what = "it holds an event that is missing from the end of the log";
    let finding = Finding::new(Kind::RolledBack, what);
    finding.in_file(holder).at_position(position)
}

fn differs(what: String) -> Finding {
    Finding::new(Kind::Views, what)
}
