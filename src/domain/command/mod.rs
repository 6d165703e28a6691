//! What can be asked of the ledger. A command carries ids and values, never standing: who may do it
//! is read from the state when it is decided.

mod accounts;
mod endpoints;
mod expiry;
mod keys;
mod ledger;
mod organizations;
mod profile;
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
