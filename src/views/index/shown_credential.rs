//! What a verification shows of a credential.

use std::sync::Arc;

use crate::domain::ids::{CredentialId, OrganizationId, Owner, SecretId};
use crate::domain::kind::Kind;
use crate::domain::record::Credential;

/// What the caller of a verification may see of a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ShownCredential {
    /// Of a revoked, rotated or expired one: which, and no more.
    Ended {
        id: CredentialId,
        kind: Kind,
        organization: OrganizationId,
        /// Who it acted for.
        owner: Owner,
        /// The secret presented.
        secret: SecretId,
    },
    /// Of any other: all.
    Full {
        credential: Arc<Credential>,
        /// The secret presented.
        secret: SecretId,
        /// The scopes of its role or preset, where it has one.
        named: Option<Arc<[String]>>,
    },
}

impl ShownCredential {
    /// The credential and the secret presented.
    #[must_use]
    pub fn credential_and_secret_ids(&self) -> (CredentialId, SecretId) {
        match self {
            Self::Ended { id, secret, .. } => (*id, *secret),
            Self::Full {
                credential, secret, ..
            } => (credential.id(), *secret),
        }
    }

    /// What was presented, and whose it is.
    #[must_use]
    pub fn presented_secret(&self) -> PresentedSecret {
        match self {
            Self::Ended {
                id,
                organization,
                owner,
                secret,
                ..
            } => PresentedSecret {
                organization: *organization,
                owner: *owner,
                credential: *id,
                secret: *secret,
            },
            Self::Full {
                credential, secret, ..
            } => PresentedSecret::of(credential, *secret),
        }
    }

    /// The scopes granted, by name; nothing of an ended credential.
    #[must_use]
    pub fn granted_scopes(&self) -> &[String] {
        match self {
            Self::Ended { .. } => &[],
            Self::Full {
                credential, named, ..
            } => named.as_deref().unwrap_or(&credential.grant().scopes),
        }
    }
}

/// A secret that was found, and whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PresentedSecret {
    /// The organization of the credential.
    pub organization: OrganizationId,
    /// Who the credential acts for.
    pub owner: Owner,
    pub credential: CredentialId,
    pub secret: SecretId,
}

impl PresentedSecret {
    pub(super) fn of(credential: &Credential, secret: SecretId) -> Self {
        Self {
            organization: credential.organization(),
            owner: credential.owner(),
            credential: credential.id(),
            secret,
        }
    }
}
