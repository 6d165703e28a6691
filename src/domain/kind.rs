//! The six kinds of credential and what each allows: the one table that every surface obeys.
//!
//! A surface never states a rule of its own; `decide` asks this table.

use serde::{Deserialize, Serialize};

/// The kind of a credential, by its wire name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An organization's API key, for example of a deploy pipeline.
    Organization,
    /// A member's own token.
    Personal,
    /// A token of a service account.
    ServiceAccount,
    /// A workspace's token that carries one role.
    Access,
    /// An administrator-made token, replaced rather than rotated.
    Admin,
    /// A project's token with one of three presets.
    Project,
}

/// Who a credential of a kind acts for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnedBy {
    /// The organization (workspace) itself, for a project token by way of its project.
    Organization,
    /// A member.
    Member,
    /// A service account.
    ServiceAccount,
}

/// What a credential of a kind grants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GrantForm {
    /// A list of scopes.
    Scopes,
    /// A list of scopes, or `*`: the owner's rights, never more than at issuance.
    ScopesOrEverything,
    /// A subset of the service account's scopes at issuance, frozen.
    ScopesOfAccount,
    /// One role.
    Role,
    /// One preset of the catalogue.
    Preset,
}

/// How a credential of a kind gets a new secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// The same id with a new secret; the old one may live on for a grace period.
    Rotate,
    /// A new credential beside the old one, which a person then removes.
    ReplaceBeside,
    /// A new credential, and the old one ends in the same batch.
    ReplaceAtOnce,
}

/// What somebody wants to do with credentials of a kind.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Deed {
    /// See them.
    Read,
    /// Make one.
    Create,
    /// Change what the kind lets be changed.
    Edit,
    /// Give one a new secret, or put a new one in its place.
    Renew,
    /// Disable one and enable it again.
    Switch,
    /// End one.
    End,
}

/// Fields that an edit may touch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Field {
    /// The name.
    Name,
    /// The label.
    Label,
    /// The description.
    Description,
    /// The scopes.
    Scopes,
    /// The role.
    Role,
    /// The expiry.
    Expiry,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Who it acts for.
    pub owner: OwnedBy,
    /// What it grants.
    pub grant: GrantForm,
    /// Whether the name is unique among the owner's live credentials of the kind (exactly).
    pub unique_name: bool,
    /// What an edit may touch, the owner's pairs besides; nothing: edits do not exist (405).
    pub edit: &'static [Field],
    /// Whether it can be disabled and enabled again.
    pub can_be_disabled: bool,
    /// How it gets a new secret.
    pub renewal: Renewal,
    /// Whether it may be bound to one project.
    pub project: ProjectBinding,
}

/// How a kind relates to projects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProjectBinding {
    /// Never bound.
    Never,
    /// Bound if the creator says so.
    Optional,
    /// Always bound.
    Always,
}

impl Kind {
    /// All kinds, in the order of their documentation.
    pub const ALL: [Self; 6] = [
        Self::Organization,
        Self::Personal,
        Self::ServiceAccount,
        Self::Access,
        Self::Admin,
        Self::Project,
    ];

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Personal => "personal",
            Self::ServiceAccount => "service_account",
            Self::Access => "access",
            Self::Admin => "admin",
            Self::Project => "project",
        }
    }

    /// The kind of a wire name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What its surface calls the name.
    #[must_use]
    pub fn name_field(self) -> &'static str {
        match self {
            Self::Access | Self::Project => "label",
            Self::Organization | Self::Personal | Self::ServiceAccount | Self::Admin => "name",
        }
    }

    /// The kind's row.
    #[must_use]
    pub const fn rules(self) -> Rules {
        match self {
            Self::Organization => Rules {
                owner: OwnedBy::Organization,
                grant: GrantForm::Scopes,
                unique_name: false,
                edit: &[
                    Field::Name,
                    Field::Description,
                    Field::Scopes,
                    Field::Expiry,
                ],
                can_be_disabled: true,
                renewal: Renewal::Rotate,
                project: ProjectBinding::Optional,
            },
            Self::Personal => Rules {
                owner: OwnedBy::Member,
                grant: GrantForm::ScopesOrEverything,
                unique_name: true,
                edit: &[],
                can_be_disabled: false,
                renewal: Renewal::Rotate,
                project: ProjectBinding::Never,
            },
            Self::ServiceAccount => Rules {
                owner: OwnedBy::ServiceAccount,
                grant: GrantForm::ScopesOfAccount,
                unique_name: true,
                edit: &[],
                can_be_disabled: false,
                renewal: Renewal::Rotate,
                project: ProjectBinding::Never,
            },
            Self::Access => Rules {
                owner: OwnedBy::Organization,
                grant: GrantForm::Role,
                unique_name: false,
                edit: &[Field::Label, Field::Role, Field::Expiry],
                can_be_disabled: true,
                renewal: Renewal::Rotate,
                project: ProjectBinding::Never,
            },
            Self::Admin => Rules {
                owner: OwnedBy::Organization,
                grant: GrantForm::Scopes,
                unique_name: false,
                edit: &[Field::Name, Field::Scopes, Field::Expiry],
                can_be_disabled: true,
                renewal: Renewal::ReplaceBeside,
                project: ProjectBinding::Never,
            },
            Self::Project => Rules {
                owner: OwnedBy::Organization,
                grant: GrantForm::Preset,
                unique_name: false,
                edit: &[],
                can_be_disabled: false,
                renewal: Renewal::ReplaceAtOnce,
                project: ProjectBinding::Always,
            },
        }
    }
}
