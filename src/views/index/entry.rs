//! What the index keeps of one secret: 72 bytes with its hash while it lives, less to look at once
//! it has ended.

use std::sync::Arc;

use ulid::Ulid;

use crate::domain::ids::{CredentialId, OrganizationId, SecretId};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Secret};
use crate::domain::time::Timestamp;

use super::code::Code;
use super::worth::Worth;

/// One secret.
pub(super) enum Entry {
    /// It may be accepted, which also depends on the time.
    Live(Live),
    /// It never will be again.
    Ended(Box<Ended>),
}

/// A secret that may be accepted.
pub(super) struct Live {
    /// A ULID in bytes: sixteen of them would align the entry to sixteen and waste eight.
    secret: [u8; 16],
    /// When a rotation ends it; the last instant there is if none has.
    ends_at: Timestamp,
    pub(super) credential: Arc<Credential>,
    pub(super) worth: Arc<Worth>,
}

/// What is told of a secret that has ended: no names, no rights.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ended {
    pub(super) id: CredentialId,
    pub(super) organization: OrganizationId,
    pub(super) secret: SecretId,
    pub(super) kind: Kind,
    pub(super) code: Code,
}

const NEVER: Timestamp = Timestamp(i64::MAX);

impl Entry {
    /// The entry of a secret after the credential's last event.
    pub(super) fn of(credential: &Arc<Credential>, secret: &Secret, worth: &Arc<Worth>) -> Self {
        let last_event = credential.stamp().updated_at;
        let code = if credential.ended().is_some() {
            Some(Code::Revoked)
        } else if secret.ends_at.is_some_and(|at| at <= last_event) {
            // Time never goes back behind the last event, and no end is ever put off.
            Some(Code::Rotated)
        } else {
            None
        };
        match code {
            Some(code) => Self::Ended(Box::new(Ended {
                id: credential.id(),
                organization: credential.organization(),
                secret: secret.id,
                kind: credential.kind(),
                code,
            })),
            None => Self::Live(Live {
                secret: secret.id.ulid().to_bytes(),
                ends_at: secret.ends_at.unwrap_or(NEVER),
                credential: Arc::clone(credential),
                worth: Arc::clone(worth),
            }),
        }
    }

    /// Why it is refused whatever the time, if it is.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Live(_) => None,
            Self::Ended(ended) => Some(ended.code),
        }
    }

    /// Whose it is.
    pub(super) fn organization(&self) -> OrganizationId {
        match self {
            Self::Live(live) => live.credential.organization(),
            Self::Ended(ended) => ended.organization,
        }
    }
}

impl Live {
    pub(super) fn secret(&self) -> SecretId {
        SecretId(Ulid::from_bytes(self.secret))
    }

    /// The first reason by time or status, but for the owner, not to accept it.
    pub(super) fn refusal(&self, now: Timestamp) -> Option<Code> {
        if self.ends_at <= now {
            Some(Code::Rotated)
        } else if self.credential.expires_at().is_some_and(|at| at <= now) {
            Some(Code::Expired)
        } else if self.credential.disabled() {
            Some(Code::Disabled)
        } else {
            None
        }
    }

    /// The earlier of the credential's expiry and the secret's own end.
    pub(super) fn valid_until(&self) -> Option<Timestamp> {
        let end = self
            .credential
            .expires_at()
            .unwrap_or(NEVER)
            .min(self.ends_at);
        (end != NEVER).then_some(end)
    }

    /// What would be told of it once it has ended.
    pub(super) fn ended(&self, code: Code) -> Ended {
        Ended {
            id: self.credential.id(),
            organization: self.credential.organization(),
            secret: self.secret(),
            kind: self.credential.kind(),
            code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<([u8; 32], Entry)>() <= 72);
    }
}
