//! What can be asked of the ledger. A command carries ids and values, never standing: who may do it
//! is read from the state when it is decided.

use super::catalogue::Catalogue;
use super::ids::{
    CredentialId, LogId, OrganizationId, Owner, ProjectId, SecretId, ServiceAccountId, SessionId,
    UserId,
};
use super::kind::Kind;
use super::record::{Credential, Grant, Metadata};
use super::session_command::{IssueSignInLink, SetPassword, SignIn, SignInFailure, SignOut};
use super::time::Timestamp;

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Actor {
    /// Who holds the folder: the command line.
    Operator,
    /// Whoever presented this secret of this credential.
    Bearer {
        /// The credential.
        credential: CredentialId,
        /// The secret presented, which a rotation may have ended since.
        secret: SecretId,
    },
    /// A member, by a session.
    Session(SessionId),
    /// Whoever has not shown yet who they are: may sign in and nothing else.
    Nobody,
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
    /// Another role for a member.
    ChangeMemberRole(ChangeMemberRole),
    /// Ends a membership and its tokens.
    RemoveMember(RemoveMember),
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
}

/// See [`Command::OpenLedger`].
#[derive(Clone, Debug)]
pub struct OpenLedger {
    /// The log's id.
    pub log_id: LogId,
    /// The origin of checkpoints.
    pub origin: String,
    /// The verifier key of the signing key.
    pub vkey: String,
    /// The first catalogue.
    pub catalogue: Catalogue,
}

/// See [`Command::AdoptCatalogue`].
#[derive(Clone, Debug)]
pub struct AdoptCatalogue {
    /// The whole of it.
    pub catalogue: Catalogue,
}

/// See [`Command::CreateOrganization`].
#[derive(Clone, Debug)]
pub struct CreateOrganization {
    /// Its name.
    pub name: String,
    /// Its owner's e-mail address.
    pub owner_email: String,
    /// The scopes of its first key, which the operator alone may extend by `platform:*`.
    pub key_scopes: Vec<String>,
}

/// See [`Command::UpdateOrganization`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateOrganization {
    /// Which.
    pub organization: OrganizationId,
    /// The new name.
    pub name: Option<String>,
    /// The new prefix of tokens.
    pub token_prefix: Option<String>,
}

/// See [`Command::CreateProject`].
#[derive(Clone, Debug)]
pub struct CreateProject {
    /// Where.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
}

/// See [`Command::UpdateProject`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateProject {
    /// Where.
    pub organization: OrganizationId,
    /// Which.
    pub project: ProjectId,
    /// The new name.
    pub name: Option<String>,
    /// Put away or taken out.
    pub archived: Option<bool>,
}

/// See [`Command::AddMember`].
#[derive(Clone, Debug)]
pub struct AddMember {
    /// Where.
    pub organization: OrganizationId,
    /// The e-mail address.
    pub email: String,
    /// The person's name.
    pub name: Option<String>,
    /// The role's name or alias.
    pub role: String,
}

/// See [`Command::ChangeMemberRole`].
#[derive(Clone, Debug)]
pub struct ChangeMemberRole {
    /// Where.
    pub organization: OrganizationId,
    /// Who.
    pub member: UserId,
    /// The role's name or alias.
    pub role: String,
}

/// See [`Command::RemoveMember`].
#[derive(Clone, Copy, Debug)]
pub struct RemoveMember {
    /// Where.
    pub organization: OrganizationId,
    /// Who.
    pub member: UserId,
}

/// See [`Command::CreateServiceAccount`].
#[derive(Clone, Debug)]
pub struct CreateServiceAccount {
    /// Where.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
    /// In words.
    pub description: Option<String>,
    /// The role's name or alias.
    pub role: Option<String>,
    /// What its tokens may carry.
    pub scopes: Option<Vec<String>>,
}

/// See [`Command::UpdateServiceAccount`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateServiceAccount {
    /// Where.
    pub organization: OrganizationId,
    /// Which.
    pub account: ServiceAccountId,
    /// The new name.
    pub name: Option<String>,
    /// The new description, or none.
    pub description: Option<Option<String>>,
    /// The new role, or none.
    pub role: Option<Option<String>>,
    /// The new scopes, or none.
    pub scopes: Option<Option<Vec<String>>>,
    /// Active or not.
    pub is_active: Option<bool>,
}

/// See [`Command::DeleteServiceAccount`].
#[derive(Clone, Copy, Debug)]
pub struct DeleteServiceAccount {
    /// Where.
    pub organization: OrganizationId,
    /// Which.
    pub account: ServiceAccountId,
}

/// When a new credential is to expire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// So many times 24 hours after its making: 1 to 3,650.
    InDays(u32),
    /// At an instant.
    At(Timestamp),
}

/// See [`Command::CreateKey`].
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// Where.
    pub organization: OrganizationId,
    /// Its kind.
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
    /// Where.
    pub organization: OrganizationId,
    /// Which.
    pub key: CredentialId,
    /// Where in the organization the path looks for it.
    pub place: Place,
}

/// See [`Command::UpdateKey`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateKey {
    /// Which.
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

/// See [`Command::ReplaceKey`].
#[derive(Clone, Copy, Debug)]
pub struct ReplaceKey {
    /// The old one.
    pub target: KeyTarget,
    /// When the new one expires; `None`: when the old one does.
    pub expiry: Option<Expiry>,
}

/// See [`Command::RotateKey`].
#[derive(Clone, Copy, Debug)]
pub struct RotateKey {
    /// Which.
    pub target: KeyTarget,
    /// How long the old secret lives on.
    pub grace_period_seconds: u32,
}

/// See [`Command::RevokeKey`].
#[derive(Clone, Debug)]
pub struct RevokeKey {
    /// Which.
    pub target: KeyTarget,
    /// Why, in a person's words.
    pub reason: Option<String>,
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
            Self::OpenLedger(_) | Self::AdoptCatalogue(_) | Self::CreateOrganization(_) => None,
            Self::UpdateOrganization(c) => Some(c.organization),
            Self::CreateProject(c) => Some(c.organization),
            Self::UpdateProject(c) => Some(c.organization),
            Self::AddMember(c) => Some(c.organization),
            Self::ChangeMemberRole(c) => Some(c.organization),
            Self::RemoveMember(c) => Some(c.organization),
            Self::CreateServiceAccount(c) => Some(c.organization),
            Self::UpdateServiceAccount(c) => Some(c.organization),
            Self::DeleteServiceAccount(c) => Some(c.organization),
            Self::CreateKey(c) => Some(c.organization),
            Self::UpdateKey(c) => Some(c.target.organization),
            Self::RotateKey(c) => Some(c.target.organization),
            Self::ReplaceKey(c) => Some(c.target.organization),
            Self::DisableKey(c) | Self::EnableKey(c) => Some(c.organization),
            Self::RevokeKey(c) => Some(c.target.organization),
            Self::IssueSignInLink(c) => Some(c.organization),
            Self::SignIn(c) => Some(c.organization),
            Self::NoteSignInFailure(c) => Some(c.organization),
            Self::SignOut(c) => Some(c.organization),
            Self::SetPassword(c) => Some(c.organization),
        }
    }

    /// Whether it may end thousands of credentials at once; it gets a batch of its own.
    #[must_use]
    pub fn may_cascade(&self) -> bool {
        matches!(self, Self::RemoveMember(_) | Self::DeleteServiceAccount(_))
    }

    /// The lane. Only what does nothing but end takes the reserved one, so that no creation can
    /// hide among the ends of a full disk.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        match self {
            Self::RemoveMember(_)
            | Self::DeleteServiceAccount(_)
            | Self::DisableKey(_)
            | Self::RevokeKey(_)
            | Self::SignOut(_) => Urgency::Ends,
            Self::UpdateServiceAccount(c) => c.urgency(),
            Self::OpenLedger(_)
            | Self::AdoptCatalogue(_)
            | Self::CreateOrganization(_)
            | Self::UpdateOrganization(_)
            | Self::CreateProject(_)
            | Self::UpdateProject(_)
            | Self::AddMember(_)
            | Self::ChangeMemberRole(_)
            | Self::CreateServiceAccount(_)
            | Self::CreateKey(_)
            | Self::UpdateKey(_)
            | Self::RotateKey(_)
            | Self::ReplaceKey(_)
            | Self::EnableKey(_)
            | Self::IssueSignInLink(_)
            | Self::SignIn(_)
            | Self::NoteSignInFailure(_)
            | Self::SetPassword(_) => Urgency::Ordinary,
        }
    }
}

impl UpdateServiceAccount {
    /// An edit that changes nothing yet.
    #[must_use]
    pub const fn of(organization: OrganizationId, account: ServiceAccountId) -> Self {
        Self {
            organization,
            account,
            name: None,
            description: None,
            role: None,
            scopes: None,
            is_active: None,
        }
    }

    /// An edit that does nothing but make the account inactive is an end; it needs no dominance.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        let ends = self.is_active == Some(false)
            && self.name.is_none()
            && self.description.is_none()
            && self.role.is_none()
            && self.scopes.is_none();
        if ends {
            Urgency::Ends
        } else {
            Urgency::Ordinary
        }
    }
}
