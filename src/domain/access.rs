//! Who may do what: one pure function over the catalogue, and the authority that it asks.
//!
//! An [`Authority`] is what a credential can do at an instant, computed from its record, its
//! owner's present standing and the catalogue. Commands pass [`may`] in `decide`; reads get an
//! [`Access`], which only [`may`] can make.

pub use super::action::Action;
use super::catalogue::{ADMIN, Catalogue, EVERYTHING, PLATFORM, ScopeSet};
use super::ids::{
    CredentialId, OrganizationId, Owner, Principal, ProjectId, SessionId, UserId, Via,
};
use super::kind::{Deed, Kind};
use super::record::{Credential, Grant, Member, ServiceAccount};
use super::rejection::{Beyond, Rejection};
use super::time::Timestamp;

/// Whether a credential's owner stands behind it.
#[derive(Clone, Debug)]
pub enum OwnerStanding<'a> {
    /// The organization itself: always.
    Organization,
    /// A member with a role.
    Member(&'a Member),
    ServiceAccount(&'a ServiceAccount),
    /// No such owner: never.
    Unknown,
}

impl OwnerStanding<'_> {
    /// Whether the owner is there and active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        match self {
            Self::Organization => true,
            Self::Member(member) => !member.removed,
            Self::ServiceAccount(account) => !account.disabled && !account.deleted,
            Self::Unknown => false,
        }
    }
}

/// What a grant is worth, wherever it stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rights {
    pub scopes: ScopeSet,
    /// Whether it covers owners.
    pub owner: bool,
    /// Whether it covers all organizations.
    pub platform: bool,
    /// Whether it stands for its member in everything: `*`.
    pub everything: bool,
}

/// An owner's hold on its credentials.
#[derive(Clone, Copy, Debug)]
pub enum Ceiling {
    /// The organization itself.
    Organization,
    /// A member: the rights of its role.
    Member(Rights),
    /// A service account: the rights of its role, on management scopes.
    ServiceAccount(Rights),
    /// Nobody stands behind it.
    Nothing,
}

impl Rights {
    /// What is left of a grant under its owner's ceiling.
    #[must_use]
    pub fn under(self, ceiling: Ceiling, catalogue: &Catalogue) -> Self {
        match ceiling {
            // An access token of an owner's role has an owner's authority.
            Ceiling::Organization => Self {
                everything: false,
                ..self
            },
            // `*` is stored with the role at issuance, so both are what the member has now and
            // never more than the member had then.
            Ceiling::Member(member) => Self {
                scopes: self.scopes.and(member.scopes),
                owner: self.owner && member.owner,
                platform: false,
                everything: self.everything,
            },
            Ceiling::ServiceAccount(role) => {
                let free = self.scopes.without(catalogue.management());
                let scopes = free.or(self.scopes.and(role.scopes));
                Self {
                    scopes,
                    owner: false,
                    platform: false,
                    everything: false,
                }
            }
            Ceiling::Nothing => Self::default(),
        }
    }

    /// What is left of rights that are bound to a project: `platform:*` reaches no farther than
    /// every scope of that project's organization.
    #[must_use]
    pub fn within(self, project: Option<ProjectId>, catalogue: &Catalogue) -> Self {
        match project {
            Some(_) if self.platform => Self {
                scopes: catalogue.all(),
                platform: false,
                ..self
            },
            Some(_) | None => self,
        }
    }
}

/// What somebody can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    /// The organization it acts in; `None`: the operator.
    pub organization: Option<OrganizationId>,
    /// Who acts, for `created_by`.
    pub principal: Option<Principal>,
    /// The credential or session used.
    pub via: Option<Via>,
    /// The one project that it is bound to.
    pub project: Option<ProjectId>,
    /// The scopes it holds now.
    pub scopes: ScopeSet,
    /// Whether it covers owners.
    pub owner: bool,
    /// Whether it covers all organizations.
    pub platform: bool,
    /// Whether it stands for its member in everything: `*`.
    pub everything: bool,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl Authority {
    /// The operator's: whoever holds the folder can do anything.
    #[must_use]
    pub fn operator(catalogue: &Catalogue) -> Self {
        Self {
            organization: None,
            principal: None,
            via: None,
            project: None,
            scopes: catalogue.all(),
            owner: true,
            platform: true,
            everything: false,
            expires_at: None,
        }
    }

    /// What a credential can do while its owner stands as given.
    #[must_use]
    pub fn of_credential(
        credential: &Credential,
        owner: &OwnerStanding<'_>,
        catalogue: &Catalogue,
    ) -> Self {
        let granted = Self::of_grant(credential.grant(), catalogue);
        let mut authority = Self {
            organization: Some(credential.organization()),
            principal: Some(match credential.owner() {
                Owner::Organization(_) => Principal::Credential(credential.id()),
                Owner::User(id) => Principal::User(id),
                Owner::ServiceAccount(id) => Principal::ServiceAccount(id),
            }),
            via: Some(Via::Credential(credential.id())),
            project: credential.project(),
            expires_at: credential.expires_at(),
            ..granted
        };
        let ceiling = match owner {
            OwnerStanding::Organization => Ceiling::Organization,
            OwnerStanding::Member(member) => {
                Ceiling::Member(Self::of_role(&member.role, catalogue).rights())
            }
            OwnerStanding::ServiceAccount(account) => {
                let role = account.role.as_deref();
                let role = role.map_or_else(Self::nothing, |role| Self::of_role(role, catalogue));
                Ceiling::ServiceAccount(role.rights())
            }
            OwnerStanding::Unknown => Ceiling::Nothing,
        };
        let rights = authority.rights().under(ceiling, catalogue);
        let rights = rights.within(authority.project, catalogue);
        authority.scopes = rights.scopes;
        authority.owner = rights.owner;
        authority.platform = rights.platform;
        authority.everything = rights.everything;
        authority
    }

    /// What a member can do in a session: all that its role can now, in person.
    #[must_use]
    pub fn of_session(id: SessionId, member: &Member, catalogue: &Catalogue) -> Self {
        let role = Grant {
            role: Some(member.role.clone()),
            ..Grant::default()
        };
        Self {
            organization: Some(member.organization),
            principal: Some(Principal::User(member.id)),
            via: Some(Via::Session(id)),
            everything: true,
            ..Self::of_grant(&role, catalogue)
        }
    }

    /// Whether a member acts in person.
    #[must_use]
    pub const fn is_session(&self) -> bool {
        matches!(self.via, Some(Via::Session(_)))
    }

    /// The credential used, if one was: what a new credential records as its maker.
    #[must_use]
    pub fn via_credential(&self) -> Option<CredentialId> {
        self.via.and_then(Via::credential)
    }

    /// Scopes and standing alone.
    #[must_use]
    pub fn rights(&self) -> Rights {
        Rights {
            scopes: self.scopes,
            owner: self.owner,
            platform: self.platform,
            everything: self.everything,
        }
    }

    /// What a grant is worth by itself, in nobody's hand.
    #[must_use]
    pub fn of_grant(grant: &Grant, catalogue: &Catalogue) -> Self {
        let role = grant.role.as_deref().and_then(|role| catalogue.role(role));
        let given = role.map(|role| catalogue.given_by(role));
        let preset = grant
            .preset
            .as_deref()
            .and_then(|name| catalogue.preset(name));
        let preset = preset
            .map(|preset| preset.scopes.as_slice())
            .unwrap_or_default();
        let scopes = grant.scopes.iter().chain(preset).map(String::as_str);
        Self {
            scopes: catalogue.expand(scopes.chain(given.into_iter().flatten())),
            owner: role.is_some_and(|role| role.owner),
            platform: grant.scopes.iter().any(|scope| scope == PLATFORM),
            everything: grant.scopes.iter().any(|scope| scope == EVERYTHING),
            ..Self::nothing()
        }
    }

    /// What a role allows those who have it: more than it gives, where it names kept scopes.
    #[must_use]
    pub fn of_role(name: &str, catalogue: &Catalogue) -> Self {
        let mut authority = Self::nothing();
        if let Some(role) = catalogue.role(name) {
            authority.scopes = catalogue.expand(role.scopes.iter().map(String::as_str));
            authority.owner = role.owner;
        }
        authority
    }

    /// What nobody in particular can do.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            organization: None,
            principal: None,
            via: None,
            project: None,
            scopes: ScopeSet::default(),
            owner: false,
            platform: false,
            everything: false,
            expires_at: None,
        }
    }

    /// The member it acts as.
    #[must_use]
    pub fn member(&self) -> Option<UserId> {
        match self.principal {
            Some(Principal::User(id)) => Some(id),
            Some(Principal::Credential(_) | Principal::ServiceAccount(_)) | None => None,
        }
    }

    /// Whether it is the operator's, who acts in no organization.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.organization.is_none()
    }

    /// Whether it may do `action` in its own organization.
    #[must_use]
    pub fn allows(&self, catalogue: &Catalogue, action: Action) -> bool {
        self.permit(catalogue, action).is_ok()
    }

    /// Whether what belongs to `project`, or to none, is in its reach: all of an organization,
    /// unless it is bound to one project.
    #[must_use]
    pub fn reaches(&self, project: Option<ProjectId>) -> bool {
        self.project.is_none() || self.project == project
    }

    /// The scope that `action` is refused without, and recorded as used with.
    #[must_use]
    pub const fn scope_for(&self, action: Action) -> &'static str {
        if self.project.is_some() && matches!(action, Action::ReadProjects) {
            "projects:read"
        } else if self.project.is_some() && matches!(action, Action::UpdateProject) {
            "projects:write"
        } else {
            action.needs()
        }
    }

    /// Refuses an action that its scopes do not allow, or that its project does not.
    fn permit(&self, catalogue: &Catalogue, action: Action) -> Result<(), Rejection> {
        if !self.holds_permission(catalogue, action) {
            return Err(Rejection::Forbidden {
                needs: self.scope_for(action),
            });
        }
        if self.project.is_some() && !action.is_narrowed_to_project() {
            return Err(Rejection::WrongProject);
        }
        Ok(())
    }

    /// The table of permissions: whether its scopes allow `action`.
    fn holds_permission(&self, catalogue: &Catalogue, action: Action) -> bool {
        let admin = self.platform || catalogue.holds(self.scopes, ADMIN);
        let holds = |scope| admin || catalogue.holds(self.scopes, scope);
        let reads = || holds("keys:read") || holds("member:manage") || self.everything;
        match action {
            Action::ManageOrganizations => self.platform,
            Action::ReadPlatform | Action::Keys(Kind::Organization, Deed::Read) => reads(),
            // A project's own credential does on its project what its scopes say.
            Action::ReadProjects => reads() || (self.project.is_some() && holds("projects:read")),
            Action::UpdateProject => {
                holds("member:manage") || (self.project.is_some() && holds("projects:write"))
            }
            Action::ManageServiceAccounts => holds("workspace:admin") || holds("member:manage"),
            // A member's own and nobody else's, whatever else somebody holds.
            Action::Keys(Kind::Personal, Deed::Read) => {
                self.member().is_some() || self.is_operator()
            }
            Action::Keys(Kind::Personal, _) => self.everything || self.is_operator(),
            Action::Keys(Kind::Access, Deed::Renew) => {
                holds("access_tokens:create") && holds("access_tokens:edit")
            }
            Action::EndItself => self.via_credential().is_some(),
            Action::WritePlatform
            | Action::WorkspaceServiceAccounts
            | Action::Oversee
            | Action::Verify
            | Action::ReportUsage
            | Action::ReadLedger
            | Action::ReceiveAllEvents
            | Action::Webhooks
            | Action::Keys(..) => holds(action.needs()),
        }
    }

    /// Dominance: whether this covers all of `target`. Who holds `platform:*` covers owners and
    /// whatever scopes an organization has.
    pub fn cover(&self, target: &Self) -> Result<(), Rejection> {
        let beyond = |why| Err(Rejection::BeyondYourAuthority { why });
        if target.platform && !self.platform {
            return beyond(Beyond::Platform);
        }
        self.cover_owner(target)?;
        if !self.platform && !self.scopes.covers(target.scopes) {
            return beyond(Beyond::Scopes);
        }
        if !self.reaches(target.project) {
            return beyond(Beyond::Project);
        }
        Ok(())
    }

    /// An owner is removed, erased, given another role or a way in by an owner alone. Ending
    /// anything else asks for no dominance.
    pub fn cover_owner(&self, target: &Self) -> Result<(), Rejection> {
        if target.owner && !self.owner && !self.platform {
            let why = Beyond::OwnerRole;
            return Err(Rejection::BeyondYourAuthority { why });
        }
        Ok(())
    }

    /// A credential leaves no power behind that lasts longer than it does, by itself or by what it
    /// enables, promotes or sends out; `None`: power without an end.
    pub fn outlive(&self, expires_at: Option<Timestamp>) -> Result<(), Rejection> {
        match (self.expires_at, expires_at) {
            (Some(own), Some(new)) if new <= own => Ok(()),
            (None, _) => Ok(()),
            (Some(_), _) => Err(Rejection::BeyondYourAuthority {
                why: Beyond::Expiry,
            }),
        }
    }
}

/// Leave to act in one organization: only [`may`] makes it.
#[derive(Clone, Debug)]
pub struct Access {
    authority: Authority,
    organization: Option<OrganizationId>,
}

impl Access {
    /// Who acts.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where; `None`: the whole platform.
    #[must_use]
    pub fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }
}

/// Whether `authority` may do `action` in `organization`. Another tenant's organization is not
/// found, whatever is asked of it.
pub fn may(
    authority: Authority,
    catalogue: &Catalogue,
    action: Action,
    organization: Option<OrganizationId>,
) -> Result<Access, Rejection> {
    if let Some(target) = organization {
        let own = authority.organization.is_none_or(|own| own == target);
        if !own && !authority.platform {
            return Err(Rejection::NotFound {
                what: "organization",
            });
        }
    }
    authority.permit(catalogue, action)?;
    Ok(Access {
        authority,
        organization,
    })
}
