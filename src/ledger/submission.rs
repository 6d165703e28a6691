//! A command on its way to the writer, with what is known of the request that brought it.

use serde::Serialize;

use crate::domain::command::Request;
use crate::domain::digest::Digest32;
use crate::domain::ids::OrganizationId;

/// Where a request came from: personal, so it is sealed before it is stored.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Network {
    /// The client's address.
    pub ip: String,
    /// The client's own name, cut to 256 bytes.
    pub user_agent: Option<String>,
}

/// A client's promise that equal keys mean equal commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Idempotency {
    /// SHA-256 of organization, actor, method, decoded path and key.
    pub command: Digest32,
    /// Keyed hash of the body.
    pub digest: Digest32,
}

/// A command on its way.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The actor and the command.
    pub request: Request,
    /// The request's id, stored with its events.
    pub request_id: Option<String>,
    /// Where it came from.
    pub network: Option<Network>,
    /// The client's idempotency key.
    pub idempotency: Option<Idempotency>,
    /// The organization of the client, whose quotas may refuse it; `None`: nothing refuses it for
    /// how much has been written.
    pub client_of: Option<OrganizationId>,
}

impl Submission {
    /// A submission of the program itself.
    #[must_use]
    pub const fn bare(request: Request) -> Self {
        Self {
            request,
            request_id: None,
            network: None,
            idempotency: None,
            client_of: None,
        }
    }
}
