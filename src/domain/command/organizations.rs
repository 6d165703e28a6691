//! Commands on the ledger itself, on organizations and their projects.

use crate::domain::catalogue::Catalogue;
use crate::domain::ids::{LogId, OrganizationId, ProjectId};

/// See [`super::Command::OpenLedger`].
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

/// See [`super::Command::AdoptCatalogue`].
#[derive(Clone, Debug)]
pub struct AdoptCatalogue {
    /// The whole of it.
    pub catalogue: Catalogue,
}

/// See [`super::Command::CreateOrganization`].
#[derive(Clone, Debug)]
pub struct CreateOrganization {
    pub name: String,
    /// Its owner's e-mail address.
    pub owner_email: String,
    /// The scopes of its first key, which the operator alone may extend by `platform:*`.
    pub key_scopes: Vec<String>,
}

/// See [`super::Command::UpdateOrganization`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateOrganization {
    pub organization: OrganizationId,
    /// The new name.
    pub name: Option<String>,
    /// The new prefix of tokens.
    pub token_prefix: Option<String>,
}

/// See [`super::Command::CreateProject`].
#[derive(Clone, Debug)]
pub struct CreateProject {
    pub organization: OrganizationId,
    pub name: String,
}

/// See [`super::Command::UpdateProject`]; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateProject {
    pub organization: OrganizationId,
    pub project: ProjectId,
    /// The new name.
    pub name: Option<String>,
    /// Put away or taken out.
    pub archived: Option<bool>,
}
