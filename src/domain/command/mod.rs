//! What can be asked of the ledger. A command carries ids and values, never standing: who may do it
//! is read from the state when it is decided.

mod accounts;
mod endpoints;
mod expiry;
mod keys;
mod ledger;
mod organizations;
mod sessions;
mod usage;

pub use accounts::{
    AddMember, CreateServiceAccount, DeleteServiceAccount, EraseMember, RemoveMember, UpdateMember,
    UpdateServiceAccount,
};
pub use endpoints::{
    CreateEndpoint, EnableEndpoint, EndpointTarget, NoteEndpointFailing, RotateEndpointSecret,
    StopEndpoint, StopReason, UpdateEndpoint,
};
pub use expiry::NoteExpiries;
pub use keys::{CreateKey, Expiry, KeyTarget, Place, ReplaceKey, RevokeKey, RotateKey, UpdateKey};
pub use ledger::{NoteCheckpoint, NoteLedgerRead, RecordRestore, RotateSigningKey};
pub use organizations::{
    AdoptCatalogue, CreateOrganization, CreateProject, OpenLedger, UpdateOrganization,
    UpdateProject,
};
pub use sessions::{IssueSignInLink, SetPassword, SignIn, SignInFailure, SignInProof, SignOut};
pub use usage::{EndedSecretUse, SealUsage};

use super::ids::{CredentialId, OrganizationId, SecretId, SessionId};

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Actor {
    /// Who holds the folder: the command line.
    Operator,
    /// Whoever presented this secret of this credential.
    Bearer {
        credential: CredentialId,
        /// The secret presented, which a rotation may have ended since.
        secret: SecretId,
    },
    /// A member, by a session.
    Session(SessionId),
    /// A client without a credential: may sign in and nothing else.
    Anonymous,
    /// The program itself, for what it records as time goes on.
    System,
}

/// A command with who asks for it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub actor: Actor,
    /// What is asked.
    pub command: Command,
    /// The version that the subject must have: `If-Match`.
    pub if_match: Option<u32>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Command {
    /// Makes the ledger: its identity and its first catalogue.
    OpenLedger(OpenLedger),
    /// Another catalogue, of the operator alone.
    AdoptCatalogue(AdoptCatalogue),
    /// A new tenant with its owner and a first key.
    CreateOrganization(CreateOrganization),
    /// Name or token prefix.
    UpdateOrganization(UpdateOrganization),
    /// A new project.
    CreateProject(CreateProject),
    /// Name, or put away and taken out again.
    UpdateProject(UpdateProject),
    /// A new member.
    AddMember(AddMember),
    /// Another address, name or role for a member.
    UpdateMember(UpdateMember),
    /// Ends a membership and its tokens.
    RemoveMember(RemoveMember),
    /// Ends a membership that still stands, and erases the person.
    EraseMember(EraseMember),
    /// A new service account.
    CreateServiceAccount(CreateServiceAccount),
    /// Name, description, role, activity.
    UpdateServiceAccount(UpdateServiceAccount),
    /// Ends a service account and its tokens.
    DeleteServiceAccount(DeleteServiceAccount),
    /// A new credential.
    CreateKey(CreateKey),
    /// Edits what the kind lets be edited.
    UpdateKey(UpdateKey),
    /// A new secret.
    RotateKey(RotateKey),
    /// A new credential in the place of an old one.
    ReplaceKey(ReplaceKey),
    /// Refused until enabled.
    DisableKey(KeyTarget),
    /// Accepted again.
    EnableKey(KeyTarget),
    /// Ends a credential.
    RevokeKey(RevokeKey),
    /// Ends the credential of who asks, in its organization.
    RevokeItself(OrganizationId),
    /// A new link for a member to sign in with.
    IssueSignInLink(IssueSignInLink),
    /// A new session.
    SignIn(SignIn),
    /// A note of attempts that failed.
    NoteSignInFailure(SignInFailure),
    /// Ends one of the member's own sessions.
    SignOut(SignOut),
    /// A new password for the member whose session it is.
    SetPassword(SetPassword),
    /// A note that ended secrets of a credential were presented.
    NoteEndedSecretUse(EndedSecretUse),
    /// Anchors sealed segments of the usage history.
    SealUsage(SealUsage),
    /// Notices of credentials whose time is nearly over, or over.
    NoteExpiries(NoteExpiries),
    /// A new webhook endpoint.
    CreateEndpoint(CreateEndpoint),
    /// Address, description, filter, order.
    UpdateEndpoint(UpdateEndpoint),
    /// A new signing secret.
    RotateEndpointSecret(RotateEndpointSecret),
    /// Delivered to again.
    EnableEndpoint(EnableEndpoint),
    /// Not delivered to until enabled.
    DisableEndpoint(EndpointTarget),
    /// Ends a webhook endpoint.
    DeleteEndpoint(EndpointTarget),
    /// A note that deliveries to an endpoint do nothing but fail.
    NoteEndpointFailing(NoteEndpointFailing),
    /// The program disables an endpoint.
    StopEndpoint(StopEndpoint),
    /// The program tells of a signed checkpoint.
    NoteCheckpoint(NoteCheckpoint),
    /// A note that who asks reads across records.
    NoteLedgerRead(NoteLedgerRead),
    /// Another key signs checkpoints; of the operator alone.
    RotateSigningKey(RotateSigningKey),
    /// Gives up the positions that events had which a restore has lost; of the operator alone.
    RecordRestore(RecordRestore),
}

/// Which lane of the queue a command takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    /// It ends or narrows something: taken first, with reserved places and reserved disk space.
    Ends,
    /// All else.
    Ordinary,
}

impl Command {
    /// The organization that the command is about, where it names one.
    #[must_use]
    pub fn organization(&self) -> Option<OrganizationId> {
        match self {
            Self::OpenLedger(_)
            | Self::AdoptCatalogue(_)
            | Self::CreateOrganization(_)
            | Self::NoteEndedSecretUse(_)
            | Self::SealUsage(_)
            | Self::NoteExpiries(_)
            | Self::NoteCheckpoint(_)
            | Self::RotateSigningKey(_)
            | Self::RecordRestore(_) => None,
            Self::UpdateOrganization(c) => Some(c.organization),
            Self::CreateProject(c) => Some(c.organization),
            Self::UpdateProject(c) => Some(c.organization),
            Self::AddMember(c) => Some(c.organization),
            Self::UpdateMember(c) => Some(c.organization),
            Self::RemoveMember(c) => Some(c.organization),
            Self::EraseMember(c) => Some(c.organization),
            Self::CreateServiceAccount(c) => Some(c.organization),
            Self::UpdateServiceAccount(c) => Some(c.organization),
            Self::DeleteServiceAccount(c) => Some(c.organization),
            Self::CreateKey(c) => Some(c.organization),
            Self::UpdateKey(c) => Some(c.target.organization),
            Self::RotateKey(c) => Some(c.target.organization),
            Self::ReplaceKey(c) => Some(c.target.organization),
            Self::DisableKey(c) | Self::EnableKey(c) => Some(c.organization),
            Self::RevokeKey(c) => Some(c.target.organization),
            Self::RevokeItself(organization) => Some(*organization),
            Self::IssueSignInLink(c) => Some(c.organization),
            Self::SignIn(c) => Some(c.organization),
            Self::NoteSignInFailure(c) => Some(c.organization),
            Self::SignOut(c) => Some(c.organization),
            Self::SetPassword(c) => Some(c.organization),
            Self::CreateEndpoint(c) => Some(c.organization),
            Self::UpdateEndpoint(c) => Some(c.target.organization),
            Self::RotateEndpointSecret(c) => Some(c.target.organization),
            Self::EnableEndpoint(c) => Some(c.target.organization),
            Self::DisableEndpoint(c) | Self::DeleteEndpoint(c) => Some(c.organization),
            Self::NoteEndpointFailing(c) => Some(c.organization),
            Self::StopEndpoint(c) => Some(c.organization),
            Self::NoteLedgerRead(c) => c.organization,
        }
    }

    /// Whether it may end thousands of credentials at once; it gets a batch of its own.
    #[must_use]
    pub fn may_cascade(&self) -> bool {
        matches!(
            self,
            Self::RemoveMember(_) | Self::EraseMember(_) | Self::DeleteServiceAccount(_)
        )
    }

    /// The lane. Only what does nothing but end takes the reserved one, so that no creation can
    /// hide among the ends of a full disk.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        match self {
            Self::RemoveMember(_)
            | Self::EraseMember(_)
            | Self::DeleteServiceAccount(_)
            | Self::DisableKey(_)
            | Self::RevokeKey(_)
            | Self::RevokeItself(_)
            | Self::SignOut(_)
            | Self::DisableEndpoint(_)
            | Self::DeleteEndpoint(_)
            | Self::StopEndpoint(_) => Urgency::Ends,
            Self::UpdateServiceAccount(c) => c.urgency(),
            Self::OpenLedger(_)
            | Self::AdoptCatalogue(_)
            | Self::CreateOrganization(_)
            | Self::UpdateOrganization(_)
            | Self::CreateProject(_)
            | Self::UpdateProject(_)
            | Self::AddMember(_)
            | Self::UpdateMember(_)
            | Self::CreateServiceAccount(_)
            | Self::CreateKey(_)
            | Self::UpdateKey(_)
            | Self::RotateKey(_)
            | Self::ReplaceKey(_)
            | Self::EnableKey(_)
            | Self::IssueSignInLink(_)
            | Self::SignIn(_)
            | Self::NoteSignInFailure(_)
            | Self::SetPassword(_)
            | Self::NoteEndedSecretUse(_)
            | Self::SealUsage(_)
            | Self::NoteExpiries(_)
            | Self::CreateEndpoint(_)
            | Self::UpdateEndpoint(_)
            | Self::RotateEndpointSecret(_)
            | Self::EnableEndpoint(_)
            | Self::NoteEndpointFailing(_)
            | Self::NoteCheckpoint(_)
            | Self::NoteLedgerRead(_)
            | Self::RotateSigningKey(_)
            | Self::RecordRestore(_) => Urgency::Ordinary,
        }
    }

    /// Whether the command is taken although where it came from cannot be recorded, because the
    /// data key for it is missing or damaged: whatever ends something, replaces a secret that may
    /// have leaked, or lets a member in, and what the program notes itself.
    #[must_use]
    pub fn goes_without_network(&self) -> bool {
        matches!(self.urgency(), Urgency::Ends)
            || matches!(
                self,
                Self::RotateKey(_)
                    | Self::ReplaceKey(_)
                    | Self::RotateEndpointSecret(_)
                    | Self::SignIn(_)
                    | Self::NoteSignInFailure(_)
                    | Self::NoteEndedSecretUse(_)
            )
    }
}
