//! What a command came to: records, secrets that are shown once, and a position.

use std::sync::Arc;

use crate::domain::endpoint_secret::EndpointSecretText;
use crate::domain::record::{
    Credential, Member, Organization, Project, ServiceAccount, WebhookEndpoint,
};
use crate::domain::secret::Token;
use crate::domain::session::Session;
use crate::domain::sign_in::OpaqueToken;

/// A record of any type, as it is after a command.
#[derive(Clone, Debug)]
pub enum Record {
    /// The ledger itself has no record to show.
    Ledger,
    Organization(Arc<Organization>),
    Project(Arc<Project>),
    Member(Arc<Member>),
    ServiceAccount(Arc<ServiceAccount>),
    Credential(Arc<Credential>),
    Session(Arc<Session>),
    WebhookEndpoint(Arc<WebhookEndpoint>),
}

/// What a command came to. Everything in it is durable.
#[derive(Debug)]
pub struct Answer {
    /// The records of the command's subjects; the first is what was asked about.
    pub records: Vec<Record>,
    /// The new secret; gone once it has been shown.
    pub token: Option<Token>,
    /// The token of a new sign-in link or session; gone once it has been shown.
    pub sign_in: Option<OpaqueToken>,
    /// The signing secret of a webhook endpoint; gone once it has been shown.
    pub endpoint_secret: Option<EndpointSecretText>,
    /// Position of the command's last event; of the newest event if it needed none.
    pub position: u64,
    /// Whether this repeats the answer of an earlier, equal command.
    pub replayed: bool,
}

/// What the writer answers: a replay is put together on the caller's thread.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Answer),
    Repeated { first: u64, last: u64 },
}
