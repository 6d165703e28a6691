//! Records what the usage history has found out: anchors of its sealed segments, and ended secrets
//! that were presented.

use std::collections::BTreeMap;

use super::by_the_server;
use crate::domain::command::{Command, EndedSecretUse, SealUsage};
use crate::domain::decide::ENDED_USE_NOTED_EVERY_MS;
use crate::domain::digest::Digest32;
use crate::domain::event::EndedCode;
use crate::domain::ids::CredentialId;
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;
use crate::ledger::{Ledger, SubmitError};
use crate::usage::{EndedSecretUsage, UsageHistory, VerificationCode};

/// Segments are anchored at most so often.
const SEAL_EVERY_MS: i64 = 60_000;

/// How soon a note is tried again that came too soon.
const TRY_AGAIN_MS: i64 = 60_000;

/// What has been recorded, and what must wait.
pub(crate) struct UsageRecorder {
    ledger: Ledger,
    usage: UsageHistory,
    /// Up to where the stream is anchored.
    sealed_to: u64,
    seal_after_ms: i64,
    /// Credentials that were noted within the hour, and when they may be noted again.
    noted: BTreeMap<CredentialId, Timestamp>,
}

impl UsageRecorder {
    pub(crate) fn new(ledger: Ledger, usage: UsageHistory) -> Self {
        Self {
            sealed_to: ledger.usage_sealed_to(),
            seal_after_ms: ledger.monotonic_ms(),
            ledger,
            usage,
            noted: BTreeMap::new(),
        }
    }

    /// Records what is due now.
    pub(crate) fn record_due(&mut self) {
        let now = self.ledger.now();
        self.noted.retain(|_, again| now < *again);
        for used in self.usage.take_ended_secret_usages() {
            self.note(used, now);
        }
        if self.ledger.monotonic_ms() >= self.seal_after_ms {
            self.seal();
        }
    }

    fn note(&mut self, used: EndedSecretUsage, now: Timestamp) {
        let (Some(secret), Some(code)) = (used.secret, ended(used.outcome)) else {
            return;
        };
        if self.noted.contains_key(&used.credential) {
            self.usage.put_back_ended_secret_usage(used);
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
                self.usage.put_back_ended_secret_usage(used);
            }
            Err(SubmitError::Rejected(why)) => {
                tracing::warn!(%why, "the use of an ended secret cannot be noted");
            }
            Err(_later) => self.usage.put_back_ended_secret_usage(used),
        }
    }

    fn seal(&mut self) {
        let Some(sealed) = self.usage.sealed_segments_from(self.sealed_to) else {
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
        self.ledger
            .submit_blocking(by_the_server(command))
            .map(drop)
    }
}

fn ended(outcome: VerificationCode) -> Option<EndedCode> {
    match outcome {
        VerificationCode::Revoked => Some(EndedCode::Revoked),
        VerificationCode::Rotated => Some(EndedCode::Rotated),
        VerificationCode::Expired => Some(EndedCode::Expired),
        VerificationCode::Malformed
        | VerificationCode::NotFound
        | VerificationCode::Disabled
        | VerificationCode::OwnerInactive
        | VerificationCode::WrongOrganization
        | VerificationCode::WrongProject
        | VerificationCode::InsufficientScope
        | VerificationCode::Valid => None,
    }
}
