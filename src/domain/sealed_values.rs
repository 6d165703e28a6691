//! Which values of a fact are sealed, where they stand, and what has a data key of its own.

use std::sync::Arc;

use super::event::Fact;
use super::ids::{OrganizationId, SecretId};
use super::personal::Personal;
use super::record::{Member, WebhookEndpoint};
use super::state::State;

/// Where a person's address stands in its event.
const EMAIL_FIELD: &str = "data.email";
/// Where a person's name stands in its event.
const NAME_FIELD: &str = "data.name";
/// Where a password's hash stands in its event.
pub const PASSWORD_FIELD: &str = "data.password";
/// Where a signing secret stands in its event.
pub const ENDPOINT_KEY_FIELD: &str = "data.secret.key";

impl Fact {
    /// The values that are sealed, with their path in the envelope.
    pub fn personal_mut(&mut self) -> Vec<(&'static str, &mut Personal)> {
        let one = if let Self::PasswordSet(data) = self {
            Some((PASSWORD_FIELD, &mut data.password))
        } else if let Self::EndpointCreated(data) = self {
            Some((ENDPOINT_KEY_FIELD, &mut data.secret.key))
        } else if let Self::EndpointUpdated(data) = self {
            let secret = data.secret.as_mut();
            secret.map(|secret| (ENDPOINT_KEY_FIELD, &mut secret.key))
        } else if let Self::EndpointSecretRotated(data) = self {
            Some((ENDPOINT_KEY_FIELD, &mut data.secret.key))
        } else if let Self::MemberAdded(data) = self {
            return values_of_person(&mut data.email, data.name.as_mut());
        } else if let Self::MemberUpdated(data) = self {
            return values_of_person(&mut data.email, data.name.as_mut());
        } else {
            None
        };
        one.into_iter().collect()
    }

    /// The new signing secret that the fact holds: it has a data key of its own.
    #[must_use]
    pub fn endpoint_secret(&self) -> Option<SecretId> {
        let secret = if let Self::EndpointCreated(data) = self {
            Some(&data.secret)
        } else if let Self::EndpointUpdated(data) = self {
            data.secret.as_ref()
        } else if let Self::EndpointSecretRotated(data) = self {
            Some(&data.secret)
        } else {
            None
        };
        secret.map(|secret| secret.id)
    }
}

/// A person's address and name, with their path in the envelope.
pub fn values_of_person<'a>(
    email: &'a mut Personal,
    name: Option<&'a mut Personal>,
) -> Vec<(&'static str, &'a mut Personal)> {
    let name = name.map(|name| (NAME_FIELD, name));
    [Some((EMAIL_FIELD, email)), name]
        .into_iter()
        .flatten()
        .collect()
}

impl State {
    /// Every organization.
    pub fn organization_ids(&self) -> impl Iterator<Item = OrganizationId> {
        self.organizations.settled_after(None).map(|(id, _)| id)
    }

    /// The members who were not erased, of all organizations, removed ones too.
    pub fn members_not_erased(&self) -> impl Iterator<Item = &Arc<Member>> {
        let members = self.members.settled_after(None);
        let members = members.map(|(_, member)| member);
        members.filter(|member| member.erased_at.is_none())
    }

    /// The webhook endpoints that were not deleted, of all organizations.
    pub fn endpoints_not_deleted(&self) -> impl Iterator<Item = &Arc<WebhookEndpoint>> {
        let endpoints = self.endpoints.settled_after(None);
        let endpoints = endpoints.map(|(_, endpoint)| endpoint);
        endpoints.filter(|endpoint| !endpoint.is_deleted())
    }
}
