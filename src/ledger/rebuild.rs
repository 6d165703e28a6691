//! Rebuilds the token view from the state and the log when its store has failed.
//!
//! Owns a thread that does nothing else. Must never hold the writer for longer than the copying of
//! some thousand records takes. Records flow from the settled state and events from the log into
//! the view; what the view shows meanwhile is refused by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Shared;
use crate::domain::envelope::Event;
use crate::domain::ids::{CredentialId, Subject};
use crate::domain::record::Credential;
use crate::domain::state::State;
use crate::error_chain::error_chain;
use crate::log::{ReadError, Reader};
use crate::views::tokens::{Applied, BrokenView};

/// Records copied under one hold of the state: some 100 microseconds.
const RECORDS_AT_ONCE: usize = 4_096;
/// Events read at once: their places take 500 KB.
const EVENTS_AT_ONCE: u64 = 10_000;
/// How soon a rebuilding that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error("the token view cannot be written")]
    View(#[from] BrokenView),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    #[error("the event at position {0} cannot be read")]
    Unreadable(u64),
    #[error("the views are behind the store, or the service is stopping")]
    NotNow,
}

/// Rebuilds the view whenever it is broken, until the ledger stops.
pub(super) fn run(shared: &Shared, reader: &Reader, state: &Mutex<State>) {
    let tokens = &shared.views.tokens;
    while tokens.wait_until_broken() {
        match rebuild(shared, reader, state) {
            Ok(()) => tokens.rebuilt(),
            Err(why) => {
                let why = error_chain(&why);
                tracing::debug!(why, "the token view is not rebuilt yet");
                tokens.pause_rebuilding(AGAIN_AFTER);
            }
        }
    }
}

fn rebuild(shared: &Shared, reader: &Reader, state: &Mutex<State>) -> Result<(), RebuildError> {
    let views = &shared.views;
    // A position that is published is in the settled state and was given to the backlog.
    let shown = views.position();
    let shown = shown.filter(|shown| *shown >= views.tokens.settled_to());
    let position = shown.ok_or(RebuildError::NotNow)?;
    let root = reader.root_after(position)?.ok_or(RebuildError::NotNow)?;
    let mut failed = None;
    let records = Records {
        state,
        after: None,
        is_done: false,
    };
    let history = Events {
        reader,
        next: 0,
        end: position + 1,
        failed: &mut failed,
        is_stopping: || views.tokens.is_stopping(),
    };
    let applied = Applied { position, root };
    views
        .tokens
        .rebuild(records.flatten(), history.flatten(), applied)?;
    failed.map_or(Ok(()), Err)
}

/// All settled credentials, some thousand at a time.
struct Records<'a> {
    state: &'a Mutex<State>,
    after: Option<CredentialId>,
    is_done: bool,
}

impl Iterator for Records<'_> {
    type Item = Vec<Arc<Credential>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let records = held.credentials_after(self.after);
        let records: Vec<_> = records.take(RECORDS_AT_ONCE).cloned().collect();
        drop(held);
        self.is_done = records.len() < RECORDS_AT_ONCE;
        self.after = records.last().map(|last| last.id());
        Some(records)
    }
}

/// Where the events of records are in the log; ends early where one cannot be read.
struct Events<'a, S> {
    reader: &'a Reader,
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
