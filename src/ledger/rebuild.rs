//! Rebuilds the history index from the log when its store has failed.
//!
//! Owns a thread that does nothing else. Must never keep the writer waiting. Events flow from the
//! log into the index; what it is asked meanwhile, it refuses by itself.

use std::time::Duration;

use super::Shared;
use crate::domain::envelope::Event;
use crate::domain::ids::Subject;
use crate::error_chain::error_chain;
use crate::log::{LogReadError, LogReader};
use crate::views::history::{BrokenHistoryError, HistoryProgress};

/// Events read at once: their places take 500 KB.
const EVENTS_AT_ONCE: u64 = 10_000;
/// How soon a rebuilding that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error("the history index cannot be written")]
    View(#[from] BrokenHistoryError),
    #[error("the log cannot be read")]
    Read(#[from] LogReadError),
    #[error("the event at position {0} cannot be read")]
    Unreadable(u64),
    #[error("the views are behind the store, or the service is stopping")]
    NotNow,
}

/// Rebuilds the index whenever it is broken, until the ledger stops.
pub(super) fn run(shared: &Shared, reader: &LogReader) {
    let history = &shared.views.history;
    while history.wait_until_broken() {
        match rebuild(shared, reader) {
            Ok(()) => history.finish_rebuild(),
            Err(why) => {
                let why = error_chain(&why);
                tracing::debug!(why, "the history index is not rebuilt yet");
                history.pause_rebuilding(AGAIN_AFTER);
            }
        }
    }
}

fn rebuild(shared: &Shared, reader: &LogReader) -> Result<(), RebuildError> {
    let views = &shared.views;
    // A position that is published was given to the backlog.
    let shown = views.position();
    let shown = shown.filter(|shown| *shown >= views.history.settled_position());
    let position = shown.ok_or(RebuildError::NotNow)?;
    let root = reader
        .batch_root_at(position)?
        .ok_or(RebuildError::NotNow)?;
    let mut failed = None;
    let events = Events {
        reader,
        next: 0,
        end: position + 1,
        failed: &mut failed,
        is_stopping: || views.history.is_rebuilding_stopped(),
    };
    let applied = HistoryProgress { position, root };
    views.history.rebuild(events.flatten(), applied)?;
    failed.map_or(Ok(()), Err)
}

/// Where the events of records are in the log; ends early where one cannot be read.
struct Events<'a, S> {
    reader: &'a LogReader,
    next: u64,
    end: u64,
    failed: &'a mut Option<RebuildError>,
    is_stopping: S,
}

impl<S: Fn() -> bool> Iterator for Events<'_, S> {
    type Item = Vec<(Subject, u32, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end || self.failed.is_some() {
            return None;
        }
        if (self.is_stopping)() {
            *self.failed = Some(RebuildError::NotNow);
            return None;
        }
        let to = self.end.min(self.next + EVENTS_AT_ONCE);
        let mut events = Vec::new();
        let failed = &mut *self.failed;
        let scanned = self.reader.scan(
            self.next,
            to,
            |position, payload| match Event::from_payload(payload) {
                Ok(event) => events.push((event.subject, event.subject_version, position)),
                Err(_) => *failed = Some(RebuildError::Unreadable(position)),
            },
        );
        if let Err(why) = scanned {
            *self.failed = Some(why.into());
        }
        self.next = to;
        Some(events)
    }
}
