//! What is live and has what a new catalogue does not hold: the reason to refuse that catalogue.

use std::fmt;

use super::catalogue::Part;
use super::ids::{CredentialId, OrganizationId, Owner, ServiceAccountId, UserId};
use super::kind::Kind;

/// Records that are listed; the others are counted.
pub const LISTED_MAX: usize = 20;

/// The live records that a catalogue would leave without something that they have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InUse {
    /// The first of them.
    pub listed: Vec<Left>,
    /// How many there are.
    pub total: usize,
}

/// One record with what it would be left without.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Left {
    /// The record.
    pub holder: Holder,
    /// What it has and the catalogue does not hold.
    pub without: Vec<Lost>,
}

/// Something that a record has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lost {
    /// An entry of the catalogue in force.
    Entry(Part, String),
    /// The last owner.
    Owner,
}

/// A record that has something of the catalogue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Holder {
    /// A credential that has not ended.
    Credential {
        id: CredentialId,
        kind: Kind,
        /// Its name or label.
        name: String,
        /// Who it acts for.
        owner: Owner,
    },
    /// A member; the person's name is nobody's business here.
    Member {
        id: UserId,
        organization: OrganizationId,
    },
    /// A service account that has not been deleted.
    ServiceAccount {
        id: ServiceAccountId,
        name: String,
        organization: OrganizationId,
    },
    Organization {
        id: OrganizationId,
        name: String,
    },
}

impl InUse {
    /// Notes a record, unless it loses nothing.
    pub fn note(&mut self, without: Vec<Lost>, holder: impl FnOnce() -> Holder) {
        if without.is_empty() {
            return;
        }
        self.total += 1;
        if self.listed.len() < LISTED_MAX {
            let holder = holder();
            self.listed.push(Left { holder, without });
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.holder)?;
        for (index, lost) in self.without.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match lost {
                Lost::Entry(part, name) => write!(f, "{comma} {} {name}", part.name())?,
                Lost::Owner => write!(f, "{comma} no owner would be left")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential {
                id,
                kind,
                name,
                owner,
            } => write!(f, "{id} {} {name:?} of {owner}", kind.name()),
            Self::Member { id, organization } => write!(f, "{id} member of {organization}"),
            Self::ServiceAccount {
                id,
                name,
                organization,
            } => write!(f, "{id} service account {name:?} of {organization}"),
            Self::Organization { id, name } => write!(f, "{id} organization {name:?}"),
        }
    }
}
