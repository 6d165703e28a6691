//! What can be asked about signing in and out. See [`super`].

use crate::domain::ids::{EventId, OrganizationId, SessionId, UserId};
use crate::domain::personal::Personal;
use crate::domain::secret::SecretHash;

/// See [`super::Command::IssueSignInLink`].
#[derive(Clone, Copy, Debug)]
pub struct IssueSignInLink {
    pub organization: OrganizationId,
    /// For whom.
    pub member: UserId,
}

/// What somebody has shown in order to sign in.
#[derive(Clone, Copy, Debug)]
pub enum SignInProof {
    Link(SecretHash),
    /// The password that was set by this event; it has been compared already.
    Password(EventId),
}

/// See [`super::Command::SignIn`].
#[derive(Clone, Copy, Debug)]
pub struct SignIn {
    pub organization: OrganizationId,
    /// Whose session it is to be.
    pub member: UserId,
    pub proof: SignInProof,
}

/// See [`super::Command::NoteSignInFailure`].
#[derive(Clone, Copy, Debug)]
pub struct SignInFailure {
    pub organization: OrganizationId,
    /// Whose password was not known.
    pub member: UserId,
    /// How often, since the last note.
    pub failures: u32,
}

/// See [`super::Command::SignOut`].
#[derive(Clone, Copy, Debug)]
pub struct SignOut {
    pub organization: OrganizationId,
    /// Which; one of the actor's own.
    pub session: SessionId,
}

/// See [`super::Command::SetPassword`].
#[derive(Clone, Debug)]
pub struct SetPassword {
    pub organization: OrganizationId,
    /// The new password's argon2id hash.
    pub password: Personal,
    /// The event that set the password which the member has shown to know.
    pub current: Option<EventId>,
}
