//! The rows of the permission table: what can be done, the scope that each row names, and whether
//! it can be narrowed to one project.
//!
//! Owns names alone; whether an authority may do it is asked of [`super::access::may`].

use super::catalogue::{ADMIN, EVERYTHING, PLATFORM};
use super::kind::{Deed, Kind};

/// What an actor wants to do, one variant a row of the permission table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Make and list organizations.
    ManageOrganizations,
    /// Read what is the organization's as a whole: its record, members, service accounts.
    ReadPlatform,
    /// Change what is the organization's as a whole: its record, members, new projects.
    WritePlatform,
    ReadProjects,
    /// Rename, archive and unarchive a project.
    UpdateProject,
    /// See and manage service accounts, on whichever surface.
    ManageServiceAccounts,
    /// See and manage service accounts on the workspace's surface.
    WorkspaceServiceAccounts,
    /// Something with the credentials of a kind.
    Keys(Kind, Deed),
    /// See and end every credential of the organization.
    Oversee,
    /// Verify credentials.
    Verify,
    /// Report calls made with credentials elsewhere.
    ReportUsage,
    /// End the credential that is presented: whoever has its secret could do worse with it.
    EndItself,
    /// Read the history across records, and where people called from.
    ReadLedger,
    /// Have events of every type delivered, or read them by pull.
    ReceiveAllEvents,
    /// See and manage webhook endpoints, and read what is delivered to them.
    Webhooks,
}

impl Action {
    /// The scope that is named when the action is refused.
    #[must_use]
    pub const fn needs(self) -> &'static str {
        match self {
            Self::ManageOrganizations => PLATFORM,
            Self::ReadPlatform | Self::ReadProjects => "keys:read",
            Self::WritePlatform | Self::UpdateProject | Self::Oversee => "member:manage",
            Self::ManageServiceAccounts | Self::WorkspaceServiceAccounts => "workspace:admin",
            Self::Verify => "keys:verify",
            Self::ReportUsage => "usage:write",
            Self::EndItself => "a credential",
            Self::ReadLedger | Self::ReceiveAllEvents => "ledger:read",
            Self::Webhooks => "webhooks:write",
            Self::Keys(kind, deed) => needs(kind, deed),
        }
    }

    /// Whether a credential that is bound to a project may do it, on that project alone. All else
    /// is the organization's as a whole and refused to it, whatever its scopes.
    pub(super) const fn is_narrowed_to_project(self) -> bool {
        match self {
            Self::ReadProjects
            | Self::UpdateProject
            | Self::Verify
            | Self::ReportUsage
            | Self::EndItself
            | Self::Webhooks
            | Self::ReceiveAllEvents => true,
            Self::Keys(kind, _) => match kind {
                Kind::Organization
                | Kind::Personal
                | Kind::Access
                | Kind::Admin
                | Kind::Project => true,
                // Their paths begin with a service account, which is no project's.
                Kind::ServiceAccount => false,
            },
            Self::ManageOrganizations
            | Self::ReadPlatform
            | Self::WritePlatform
            | Self::ManageServiceAccounts
            | Self::WorkspaceServiceAccounts
            | Self::Oversee
            | Self::ReadLedger => false,
        }
    }
}

/// The scope that opens a kind's surface for a deed.
const fn needs(kind: Kind, deed: Deed) -> &'static str {
    match (kind, deed) {
        (Kind::Organization, Deed::Read) => "keys:read",
        (Kind::Organization, _) => "member:manage",
        (Kind::Personal, _) => EVERYTHING,
        (Kind::ServiceAccount, _) => "workspace:admin",
        (Kind::Access, Deed::Read) => "access_tokens:read",
        (Kind::Access, Deed::Create) => "access_tokens:create",
        (Kind::Access, Deed::Edit | Deed::Renew) => "access_tokens:edit",
        (Kind::Access, Deed::Switch | Deed::End) => "access_tokens:manage",
        (Kind::Admin, _) => ADMIN,
        (Kind::Project, Deed::Read) => "projects:read",
        (Kind::Project, _) => "projects:write",
    }
}
