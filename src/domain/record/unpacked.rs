//! A credential with its fields open: as events change it, and as files hold it.
//!
//! A record is unpacked, changed and packed again; nothing is kept in this form.

use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{Grant, Metadata, Stamp};
use crate::domain::ids::{CredentialId, EventId, OrganizationId, Owner, ProjectId, SecretId};
use crate::domain::kind::Kind;
use crate::domain::secret::{KeyHint, SecretHash, shown_prefix};
use crate::domain::time::Timestamp;

/// A credential of any kind, its fields open.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unpacked {
    pub id: CredentialId,
    pub organization: OrganizationId,
    pub kind: Kind,
    /// Who it acts for.
    pub owner: Owner,
    /// The one project that it works on.
    pub project: Option<ProjectId>,
    /// Its name or label.
    pub name: CompactString,
    /// In words for people.
    pub description: Option<Box<str>>,
    /// What it grants; equal grants share their memory.
    pub grant: Arc<Grant>,
    /// The owner's pairs.
    pub metadata: Option<Arc<Metadata>>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When that was last changed, if it was.
    pub expiry_set_at: Option<Timestamp>,
    /// Disabled until enabled again.
    pub disabled: bool,
    /// How it ended, if it did.
    pub ended: Option<Arc<Ended>>,
    /// The credential that made it.
    pub issued_via: Option<CredentialId>,
    /// The one that it was made to replace.
    pub replaces: Option<CredentialId>,
    /// The newest one that was made to replace it.
    pub replaced_by: Option<CredentialId>,
    /// When it was last noted that an ended secret of it was presented.
    pub ended_use_noted_at: Option<Timestamp>,
    /// All its secrets, oldest first; the last one is the current one.
    pub secrets: Vec<Secret>,
    /// Version, position, origin.
    pub stamp: Stamp,
}

/// A credential without any secret, which no event makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a credential has no secret")]
pub struct NoSecret;

/// One value of a credential.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Secret {
    /// Its id; the ULID stands in the token.
    pub id: SecretId,
    /// SHA-256 of the token.
    pub hash: SecretHash,
    /// The prefix that the token begins with.
    pub prefix: Arc<str>,
    /// The token's last four characters.
    pub hint: KeyHint,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being accepted, once a rotation has said so.
    pub ends_at: Option<Timestamp>,
}

/// How a credential ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// The event that ended it.
    pub event: EventId,
    /// Why, where somebody said.
    pub reason: Option<String>,
}

impl Secret {
    /// The first characters of the token: no secret bytes among them.
    #[must_use]
    pub fn shown_prefix(&self) -> String {
        shown_prefix(&self.prefix, self.id)
    }
}
