//! Commands on credentials, and how a path names one.

use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId, SecretId};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Grant, Metadata};
use crate::domain::time::Timestamp;

/// When a new credential is to expire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Expiry {
    #[default]
    Never,
    /// So many times 24 hours after its making: 1 to 3,650.
    InDays(u32),
    /// At an instant.
    At(Timestamp),
}

/// See [`super::Command::CreateKey`].
#[derive(Clone, Debug)]
pub struct CreateKey {
    pub organization: OrganizationId,
    pub kind: Kind,
    /// Who it acts for.
    pub owner: Owner,
    /// The one project that it works on.
    pub project: Option<ProjectId>,
    /// Its name or label.
    pub name: String,
    /// In words.
    pub description: Option<String>,
    /// Scopes, role or preset.
    pub grant: Grant,
    /// When it expires.
    pub expiry: Expiry,
    /// The owner's pairs.
    pub metadata: Metadata,
}

/// Where a path looks for credentials: those of another kind, owner or project are not found there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The kind that the surface is for; `None`: any.
    pub kind: Option<Kind>,
    /// The owner that the path names.
    pub owner: Option<Owner>,
    /// The project that the path names.
    pub project: Option<ProjectId>,
}

impl Place {
    /// The surface of one kind.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind: Some(kind),
            owner: None,
            project: None,
        }
    }

    /// The part of it that one owner has.
    #[must_use]
    pub const fn owned_by(self, owner: Owner) -> Self {
        Self {
            owner: Some(owner),
            ..self
        }
    }

    /// The part of it that is bound to one project.
    #[must_use]
    pub const fn on(self, project: ProjectId) -> Self {
        Self {
            project: Some(project),
            ..self
        }
    }

    /// Whether a credential is found here.
    #[must_use]
    pub fn holds(&self, key: &Credential) -> bool {
        self.kind.is_none_or(|kind| kind == key.kind())
            && self.owner.is_none_or(|owner| owner == key.owner())
            && self
                .project
                .is_none_or(|project| key.project() == Some(project))
    }
}

/// A credential as a path names it.
#[derive(Clone, Copy, Debug)]
pub struct KeyTarget {
    pub organization: OrganizationId,
    pub key: CredentialId,
    /// Where in the organization the path looks for it.
    pub place: Place,
}

/// See [`super::Command::UpdateKey`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateKey {
    pub target: KeyTarget,
    /// The new name.
    pub name: Option<String>,
    /// The new description, or none.
    pub description: Option<Option<String>>,
    /// The new scopes.
    pub scopes: Option<Vec<String>>,
    /// The new role's name or alias.
    pub role: Option<String>,
    /// The new expiry.
    pub expiry: Option<Expiry>,
    /// The new pairs, in the place of all old ones.
    pub metadata: Option<Metadata>,
}

impl UpdateKey {
    /// An edit that changes nothing yet.
    #[must_use]
    pub const fn of(target: KeyTarget) -> Self {
        Self {
            target,
            name: None,
            description: None,
            scopes: None,
            role: None,
            expiry: None,
            metadata: None,
        }
    }
}

/// See [`super::Command::ReplaceKey`].
#[derive(Clone, Copy, Debug)]
pub struct ReplaceKey {
    /// The old one.
    pub target: KeyTarget,
    /// When the new one expires; `None`: when the old one does.
    pub expiry: Option<Expiry>,
}

/// See [`super::Command::RotateKey`].
#[derive(Clone, Copy, Debug)]
pub struct RotateKey {
    pub target: KeyTarget,
    /// How long the old secret lives on.
    pub grace_period_seconds: u32,
    /// The newest secret, if it is known that no one has presented it.
    pub unpresented: Option<SecretId>,
}

/// See [`super::Command::RevokeKey`].
#[derive(Clone, Debug)]
pub struct RevokeKey {
    pub target: KeyTarget,
    /// Why, in a person's words.
    pub reason: Option<String>,
}
