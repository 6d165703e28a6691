//! Whose a data key is: a member's, an organization's or an endpoint secret's.

use std::fmt;

use ulid::Ulid;

use crate::domain::ids::{EndpointId, OrganizationId, SecretId, UserId};
use crate::seal::DataKeyId;

/// The kinds of holders, for metrics.
pub(super) const KINDS: [&str; 3] = ["member", "organization", "webhook_endpoint"];

/// Whose data key it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyHolder {
    /// A person's.
    Member(UserId),
    /// That of an organization's own networks.
    Organization(OrganizationId),
    /// That of one signing secret of a webhook endpoint.
    EndpointSecret {
        endpoint: EndpointId,
        secret: SecretId,
    },
}

impl KeyHolder {
    /// The id of the key, which is also the name of its file.
    #[must_use]
    pub fn data_key(self) -> DataKeyId {
        data_key(match self {
            Self::Member(id) => id.0,
            Self::Organization(id) => id.0,
            Self::EndpointSecret { secret, .. } => secret.0,
        })
    }

    /// What is affected, for metrics.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Member(_) => KINDS[0],
            Self::Organization(_) => KINDS[1],
            Self::EndpointSecret { .. } => KINDS[2],
        }
    }
}

impl fmt::Display for KeyHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(id) => write!(f, "member {id}"),
            Self::Organization(id) => write!(f, "organization {id}"),
            Self::EndpointSecret { endpoint, .. } => write!(f, "webhook endpoint {endpoint}"),
        }
    }
}

/// The data key of a person, of an organization's own networks, or of an endpoint's secret: its id
/// is its holder's.
pub(crate) fn data_key(holder: Ulid) -> DataKeyId {
    DataKeyId::new(holder)
}
