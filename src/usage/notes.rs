//! What the usage stream has to tell the ledger: sealed segments to anchor, and ended secrets that
//! were presented.
//!
//! Owns the thread that gives these commands, as any client gives commands; the ledger decides.
//! Must never stand in the way of a verification: what cannot be noted now is noted later.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::{EndedUse, Outcome, Usage};
use crate::domain::command::{Actor, Command, EndedSecretUse, Request, SealUsage};
use crate::domain::decide::ENDED_USE_NOTED_EVERY_MS;
use crate::domain::digest::Digest32;
use crate::domain::event::EndedCode;
use crate::domain::ids::CredentialId;
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;
use crate::ledger::{Ledger, Submission, SubmitError};

/// How long after an ended secret was presented the ledger is told, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Segments are anchored at most so often.
const SEAL_EVERY_MS: i64 = 60_000;

/// How soon a note is tried again that came too soon.
const TRY_AGAIN_MS: i64 = 60_000;

/// The thread; it ends when this is stopped or dropped.
#[derive(Debug)]
pub struct Notes {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Notes {
    /// Starts telling `ledger` of `usage`.
    pub fn start(ledger: Ledger, usage: Usage) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = Builder::new().name("usage-notes".to_owned());
        let thread = thread.spawn(move || {
            let mut teller = Teller::new(ledger, usage);
            while goes_on(&stopped) {
                teller.look();
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the telling; what has not been told yet stands in the stream.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread of usage notes panicked");
        }
    }
}

fn goes_on(stopped: &Receiver<()>) -> bool {
    match stopped.recv_timeout(LOOK_EVERY) {
        Err(RecvTimeoutError::Timeout) => true,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => false,
    }
}

/// What has been told, and what must wait.
pub(crate) struct Teller {
    ledger: Ledger,
    usage: Usage,
    /// Up to where the stream is anchored.
    sealed_to: u64,
    seal_after_ms: i64,
    /// Credentials that were noted within the hour, and when they may be noted again.
    noted: BTreeMap<CredentialId, Timestamp>,
}

impl Teller {
    pub(crate) fn new(ledger: Ledger, usage: Usage) -> Self {
        Self {
            sealed_to: ledger.usage_sealed_to(),
            seal_after_ms: ledger.monotonic_ms(),
            ledger,
            usage,
            noted: BTreeMap::new(),
        }
    }

    /// Tells what there is to tell now.
    pub(crate) fn look(&mut self) {
        let now = self.ledger.now();
        self.noted.retain(|_, again| now < *again);
        for used in self.usage.take_ended_uses() {
            self.note(used, now);
        }
        if self.ledger.monotonic_ms() >= self.seal_after_ms {
            self.seal();
        }
    }

    fn note(&mut self, used: EndedUse, now: Timestamp) {
        let (Some(secret), Some(code)) = (used.secret, ended(used.outcome)) else {
            return;
        };
        if self.noted.contains_key(&used.credential) {
            self.usage.put_back(used);
            return;
        }
        let command = Command::NoteEndedSecretUse(EndedSecretUse {
            key: used.credential,
            secret,
            code,
            uses: used.count,
            first_at: used.first_at,
            last_at: used.last_at,
        });
        match self.submit(command) {
            Ok(()) => {
                let again = now.plus_ms(ENDED_USE_NOTED_EVERY_MS);
                self.noted.insert(used.credential, again);
            }
            // Noted within the hour, before this process began.
            Err(SubmitError::Rejected(Rejection::EndedUseAlreadyRecorded)) => {
                self.noted
                    .insert(used.credential, now.plus_ms(TRY_AGAIN_MS));
                self.usage.put_back(used);
            }
            Err(SubmitError::Rejected(why)) => {
                tracing::warn!(%why, "the use of an ended secret cannot be noted");
            }
            Err(_later) => self.usage.put_back(used),
        }
    }

    fn seal(&mut self) {
        let Some(sealed) = self.usage.sealed_after(self.sealed_to) else {
            return;
        };
        let command = Command::SealUsage(SealUsage {
            from: sealed.from,
            to: sealed.to,
            segments: sealed.segments,
            records: sealed.records,
            first_at: sealed.first_at,
            last_at: sealed.last_at,
            digest: Digest32(sealed.digest),
        });
        match self.submit(command) {
            Ok(()) => self.sealed_to = sealed.to,
            Err(why) => tracing::warn!(%why, "sealed segments of usage cannot be anchored yet"),
        }
        self.seal_after_ms = self.ledger.monotonic_ms() + SEAL_EVERY_MS;
    }

    fn submit(&self, command: Command) -> Result<(), SubmitError> {
        let request = Request {
            actor: Actor::System,
            command,
            if_match: None,
        };
        let submission = Submission::bare(request);
        self.ledger.submit_blocking(submission).map(drop)
    }
}

fn ended(outcome: Outcome) -> Option<EndedCode> {
    match outcome {
        Outcome::Revoked => Some(EndedCode::Revoked),
        Outcome::Rotated => Some(EndedCode::Rotated),
        Outcome::Expired => Some(EndedCode::Expired),
        Outcome::Malformed
        | Outcome::NotFound
        | Outcome::Disabled
        | Outcome::OwnerInactive
        | Outcome::WrongOrganization
        | Outcome::WrongProject
        | Outcome::InsufficientScope
        | Outcome::Valid => None,
    }
}
