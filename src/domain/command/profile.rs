//! What the ledger must know of a command before it decides it: one row for each, so that a new
//! command cannot forget a part of it.

use super::{Command, Urgency};
use crate::domain::ids::OrganizationId;

/// One row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Profile {
    organization: Option<OrganizationId>,
    urgency: Urgency,
    creates: bool,
    may_cascade: bool,
    goes_without_network: bool,
}

/// An ordinary command of an organization.
const fn of(organization: OrganizationId) -> Profile {
    Profile {
        organization: Some(organization),
        ..OF_NO_ORGANIZATION
    }
}

const OF_NO_ORGANIZATION: Profile = Profile {
    organization: None,
    urgency: Urgency::Ordinary,
    creates: false,
    may_cascade: false,
    goes_without_network: false,
};

impl Profile {
    const fn creating(self) -> Self {
        Self {
            creates: true,
            ..self
        }
    }

    const fn ending(self) -> Self {
        Self {
            urgency: Urgency::Ends,
            goes_without_network: true,
            ..self
        }
    }

    const fn cascading(self) -> Self {
        Self {
            may_cascade: true,
            ..self
        }
    }

    const fn without_network(self) -> Self {
        Self {
            goes_without_network: true,
            ..self
        }
    }
}

impl Command {
    fn profile(&self) -> Profile {
        match self {
            Self::OpenLedger(_)
            | Self::AdoptCatalogue(_)
            | Self::CreateOrganization(_)
            | Self::SealUsage(_)
            | Self::NoteExpiries(_)
            | Self::RotateSigningKey(_)
            | Self::RecordRestore(_) => OF_NO_ORGANIZATION,
            // Clients have one announced, and pay for it.
            Self::NoteCheckpoint(_) => OF_NO_ORGANIZATION.creating(),
            Self::NoteEndedSecretUse(_) => OF_NO_ORGANIZATION.without_network(),
            Self::NoteLedgerRead(c) => Profile {
                organization: c.organization,
                ..OF_NO_ORGANIZATION
            },
            Self::UpdateOrganization(c) => of(c.organization),
            Self::CreateProject(c) => of(c.organization).creating(),
            Self::UpdateProject(c) => of(c.organization),
            Self::AddMember(c) => of(c.organization).creating(),
            Self::UpdateMember(c) => of(c.organization),
            Self::RemoveMember(c) => of(c.organization).ending().cascading(),
            Self::EraseMember(c) => of(c.organization).ending().cascading(),
            Self::CreateServiceAccount(c) => of(c.organization).creating(),
            Self::UpdateServiceAccount(c) => match c.urgency() {
                Urgency::Ends => of(c.organization).ending(),
                Urgency::Ordinary => of(c.organization),
            },
            Self::DeleteServiceAccount(c) => of(c.organization).ending().cascading(),
            Self::CreateKey(c) => of(c.organization).creating(),
            Self::UpdateKey(c) => of(c.target.organization),
            Self::RotateKey(c) => of(c.target.organization).creating().without_network(),
            Self::ReplaceKey(c) => of(c.target.organization).creating().without_network(),
            Self::DisableKey(c) => of(c.organization).ending(),
            Self::EnableKey(c) => of(c.organization),
            Self::RevokeKey(c) => of(c.target.organization).ending(),
            Self::RevokeItself(organization) => of(*organization).ending(),
            Self::IssueSignInLink(c) => of(c.organization).creating(),
            Self::SignIn(c) => of(c.organization).without_network(),
            Self::NoteSignInFailure(c) => of(c.organization).without_network(),
            Self::SignOut(c) => of(c.organization).ending(),
            Self::SetPassword(c) => of(c.organization),
            Self::CreateEndpoint(c) => of(c.organization).creating(),
            Self::UpdateEndpoint(c) => of(c.target.organization).creating(),
            Self::RotateEndpointSecret(c) => of(c.target.organization).creating().without_network(),
            Self::EnableEndpoint(c) => of(c.target.organization),
            Self::DisableEndpoint(c) | Self::DeleteEndpoint(c) => of(c.organization).ending(),
            Self::NoteEndpointFailing(c) => of(c.organization),
            Self::StopEndpoint(c) => of(c.organization).ending(),
        }
    }

    /// The organization that the command is about, where it names one.
    #[must_use]
    pub fn organization(&self) -> Option<OrganizationId> {
        self.profile().organization
    }

    /// The lane. Only what does nothing but end takes the reserved one, so that no creation can
    /// hide among the revocations of a full disk.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        self.profile().urgency
    }

    /// Whether it makes a record, a secret, or an event for all organizations.
    #[must_use]
    pub fn creates(&self) -> bool {
        self.profile().creates
    }

    /// Whether it may end thousands of credentials at once; it gets a batch of its own.
    #[must_use]
    pub fn may_cascade(&self) -> bool {
        self.profile().may_cascade
    }

    /// Whether the command is taken although where it came from cannot be recorded, because the
    /// data key for it is missing or damaged: whatever ends something, replaces a secret that may
    /// have leaked, or lets a member in, and what the program notes itself.
    #[must_use]
    pub fn goes_without_network(&self) -> bool {
        self.profile().goes_without_network
    }
}
