//! Organizations and what belongs to them: projects, members, service accounts. A thin mapping from
//! HTTP to commands and from records to JSON; it holds no rule.

pub(crate) mod members;
pub(crate) mod organization;
pub(crate) mod platform_accounts;
pub(crate) mod projects;
pub(crate) mod service_accounts;
pub(crate) mod workspace_accounts;
