//! Commands on members and service accounts.

use super::Urgency;
use crate::domain::ids::{OrganizationId, ServiceAccountId, UserId};

/// See [`super::Command::AddMember`].
#[derive(Clone, Debug)]
pub struct AddMember {
    pub organization: OrganizationId,
    /// The e-mail address.
    pub email: String,
    /// The person's name.
    pub name: Option<String>,
    /// The role's name or alias.
    pub role: String,
}

/// See [`super::Command::UpdateMember`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateMember {
    pub organization: OrganizationId,
    /// Who.
    pub member: UserId,
    /// The new e-mail address.
    pub email: Option<String>,
    /// The new name, or none.
    pub name: Option<Option<String>>,
    /// The new role's name or alias.
    pub role: Option<String>,
}

impl UpdateMember {
    /// An edit that changes nothing yet.
    #[must_use]
    pub const fn of(organization: OrganizationId, member: UserId) -> Self {
        Self {
            organization,
            member,
            email: None,
            name: None,
            role: None,
        }
    }
}

/// See [`super::Command::RemoveMember`].
#[derive(Clone, Copy, Debug)]
pub struct RemoveMember {
    pub organization: OrganizationId,
    /// Who.
    pub member: UserId,
}

/// See [`super::Command::EraseMember`].
#[derive(Clone, Debug)]
pub struct EraseMember {
    pub organization: OrganizationId,
    /// Who.
    pub member: UserId,
    /// Why. It stays in the log, so it must not name the person.
    pub reason: String,
}

/// See [`super::Command::CreateServiceAccount`].
#[derive(Clone, Debug)]
pub struct CreateServiceAccount {
    pub organization: OrganizationId,
    pub name: String,
    /// In words.
    pub description: Option<String>,
    /// The role's name or alias.
    pub role: Option<String>,
    /// What its tokens may carry.
    pub scopes: Option<Vec<String>>,
}

/// See [`super::Command::UpdateServiceAccount`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateServiceAccount {
    pub organization: OrganizationId,
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

/// See [`super::Command::DeleteServiceAccount`].
#[derive(Clone, Copy, Debug)]
pub struct DeleteServiceAccount {
    pub organization: OrganizationId,
    pub account: ServiceAccountId,
}
