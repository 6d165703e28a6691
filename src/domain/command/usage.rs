//! Commands that the program gives itself, about how credentials are used.

use crate::domain::digest::Digest32;
use crate::domain::event::EndedCode;
use crate::domain::ids::{CredentialId, SecretId};
use crate::domain::time::Timestamp;

/// See [`super::Command::NoteEndedSecretUse`].
#[derive(Clone, Copy, Debug)]
pub struct EndedSecretUse {
    /// Whose secrets.
    pub key: CredentialId,
    /// The secret that was presented last.
    pub secret: SecretId,
    /// Why it is not accepted.
    pub code: EndedCode,
    /// How often ended secrets were presented since the last note.
    pub uses: u64,
    /// When for the first time.
    pub first_at: Timestamp,
    /// When for the last time.
    pub last_at: Timestamp,
}

/// See [`super::Command::SealUsage`].
#[derive(Clone, Copy, Debug)]
pub struct SealUsage {
    /// Address at which the first segment begins.
    pub from: u64,
    /// Address at which the last one ends.
    pub to: u64,
    /// How many segments.
    pub segments: u32,
    /// How many records.
    pub records: u64,
    /// The instant of the earliest record.
    pub first_at: Timestamp,
    /// The instant of the latest one.
    pub last_at: Timestamp,
    /// SHA-256 of the segments' digests.
    pub digest: Digest32,
}
