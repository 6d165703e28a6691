//! Credentials as they are made: who they act for, what they grant, until when.

use super::keys::check_own_project;
use super::{Decision, Facts, accounts, admit, checks, decision};
use crate::domain::access::{Action, Authority, OwnerStanding};
use crate::domain::catalogue::EVERYTHING;
use crate::domain::command::{CreateKey, Expiry, Request};
use crate::domain::event::{KeyCreated, NewSecret};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId, SecretId, Subject};
use crate::domain::kind::{Deed, GrantForm, Kind, OwnedBy, ProjectBinding};
use crate::domain::record::{Grant, ServiceAccount, Status};
use crate::domain::rejection::{Beyond, Rejection};
use crate::domain::secret::{DEFAULT_PREFIX, Token};
use crate::domain::state::State;
use crate::domain::time::{DAY_MS, Timestamp};

/// Longest lifetime in days: ten years.
const EXPIRY_DAYS_MAX: u32 = 3_650;
/// Live credentials of one member or service account: at most 1,500 bytes each, their cascade fits
/// one batch of 8 MiB.
pub(super) const LIVE_PER_OWNER_MAX: u64 = 5_000;
/// Live credentials of an organization.
pub(super) const LIVE_PER_ORGANIZATION_MAX: u64 = 10_000_000;

pub(super) fn create(
    state: &State,
    request: &Request,
    command: &CreateKey,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let action = Action::Keys(command.kind, Deed::Create);
    let access = admit(state, request, facts, action, organization)?;
    check_own_project(access.authority(), command.kind, command.project)?;
    let name = name_of(command)?;
    check_texts(command)?;
    let owner = owner(state, command)?;
    let grant = grant(state, command, &owner)?;
    check_project(state, command)?;
    let expires_at = expiry(command.expiry, facts.now)?;
    let new = Authority {
        project: command.project,
        ..Authority::of_grant(&grant, state.catalogue())
    };
    check_person(access.authority(), command.owner)?;
    if let OwnerStanding::ServiceAccount(account) = owner {
        // Who issues for an account acts as it.
        access
            .authority()
            .cover(&accounts::worth_of(account, state))?;
    }
    access.authority().cover(&new)?;
    access.authority().outlive(expires_at)?;
    check_conflicts(state, (command, &name), &owner, facts.now)?;

    let id = CredentialId(facts.ids[0]);
    let (token, secret) = new_secret(state, organization, facts, SecretId(facts.ids[1]));
    let created = KeyCreated {
        kind: command.kind,
        owner: command.owner,
        project_id: command.project,
        name,
        description: command.description.clone(),
        grant,
        expires_at,
        metadata: command.metadata.clone(),
        created_by: access.authority().principal,
        issued_via: access.authority().via_credential(),
        replaces: None,
        secret,
    };
    let mut made = decision(
        &access,
        organization,
        Subject::Credential(id),
        vec![created.into()],
    );
    made.token = Some(token);
    Ok(made)
}

/// A person's tokens are made by that person.
fn check_person(authority: &Authority, owner: Owner) -> Result<(), Rejection> {
    match owner {
        Owner::User(id) if !authority.is_operator() && authority.member() != Some(id) => {
            let why = Beyond::Person;
            Err(Rejection::BeyondYourAuthority { why })
        }
        Owner::User(_) | Owner::Organization(_) | Owner::ServiceAccount(_) => Ok(()),
    }
}

/// The name as it is stored: in one form only where it is unique.
fn name_of(command: &CreateKey) -> Result<String, Rejection> {
    let field = command.kind.name_field();
    if command.kind.rules().unique_name {
        return checks::unique_name(field, &command.name);
    }
    checks::line(field, &command.name, checks::NAME_CHARS_MAX)?;
    Ok(command.name.clone())
}

fn check_texts(command: &CreateKey) -> Result<(), Rejection> {
    if let Some(description) = &command.description {
        checks::lines("description", description, checks::DESCRIPTION_CHARS_MAX)?;
    }
    checks::metadata(&command.metadata)
}

/// Who the credential is to act for: the kind says of what sort, and it must be of this
/// organization. One that has ended is found here and refused as a conflict.
fn owner<'a>(state: &'a State, command: &CreateKey) -> Result<OwnerStanding<'a>, Rejection> {
    let place = command.organization;
    let owner = match (command.kind.rules().owner, command.owner) {
        (OwnedBy::Organization, Owner::Organization(id)) if id == place => {
            Some(OwnerStanding::Organization)
        }
        (OwnedBy::Member, Owner::User(id)) => state
            .member(id)
            .filter(|member| member.organization == place)
            .map(|member| OwnerStanding::Member(member)),
        (OwnedBy::ServiceAccount, Owner::ServiceAccount(id)) => state
            .account(id)
            .filter(|account| account.organization == place)
            .map(|account| OwnerStanding::ServiceAccount(account)),
        (OwnedBy::Organization | OwnedBy::Member | OwnedBy::ServiceAccount, _) => None,
    };
    let kind = command.kind;
    owner.ok_or(Rejection::UnknownOwner { kind })
}

/// The grant in the form of its kind, as it is stored: a role by its own name, and `*` with the
/// role that its owner has now, which it never exceeds.
fn grant(
    state: &State,
    command: &CreateKey,
    owner: &OwnerStanding<'_>,
) -> Result<Grant, Rejection> {
    let catalogue = state.catalogue();
    let (kind, asked) = (command.kind, &command.grant);
    let mut grant = Grant::default();
    match kind.rules().grant {
        GrantForm::ScopesOfAccount if asked.scopes.is_empty() => {
            return whole_account(state, kind, asked, owner);
        }
        GrantForm::Scopes | GrantForm::ScopesOrEverything | GrantForm::ScopesOfAccount => {
            checks::scopes(&asked.scopes, kind, catalogue)?;
            grant.scopes.clone_from(&asked.scopes);
        }
        GrantForm::Role => match &asked.role {
            Some(role) => grant.role = Some(checks::role(role, catalogue)?),
            None => return Err(Rejection::FieldEmpty { field: "role" }),
        },
        GrantForm::Preset => match &asked.preset {
            Some(preset) => {
                checks::preset(preset, catalogue)?;
                grant.preset = Some(preset.clone());
            }
            None => return Err(Rejection::FieldEmpty { field: "scope" }),
        },
    }
    let nothing_else = grant.scopes.len() == asked.scopes.len()
        && grant.role.is_some() == asked.role.is_some()
        && grant.preset.is_some() == asked.preset.is_some();
    if !nothing_else {
        return Err(Rejection::GrantNotForKind { kind });
    }
    match owner {
        OwnerStanding::Member(member) if grant.scopes.iter().any(|scope| scope == EVERYTHING) => {
            grant.role = Some(member.role.clone());
        }
        OwnerStanding::ServiceAccount(account) => check_within_account(state, account, &grant)?,
        OwnerStanding::Organization | OwnerStanding::Member(_) | OwnerStanding::Unknown => {}
    }
    Ok(grant)
}

/// Who names no scopes gets those that the account has at this instant: its own, or its role's
/// where it lists none. What is kept for old tokens is not among them.
fn whole_account(
    state: &State,
    kind: Kind,
    asked: &Grant,
    owner: &OwnerStanding<'_>,
) -> Result<Grant, Rejection> {
    if *asked != Grant::default() {
        return Err(Rejection::GrantNotForKind { kind });
    }
    let catalogue = state.catalogue();
    let role = |name: &String| catalogue.role(name).map(|role| role.scopes.clone());
    let scopes = match owner {
        OwnerStanding::ServiceAccount(account) => {
            let own = account.scopes.clone();
            own.or_else(|| account.role.as_ref().and_then(role))
        }
        OwnerStanding::Organization | OwnerStanding::Member(_) | OwnerStanding::Unknown => None,
    };
    let scopes = scopes.map(|mut scopes| {
        scopes.retain(|scope| catalogue.offers_scope(scope));
        scopes
    });
    match scopes {
        Some(scopes) if !scopes.is_empty() => Ok(Grant {
            scopes,
            ..Grant::default()
        }),
        Some(_) | None => Err(Rejection::FieldEmpty { field: "scopes" }),
    }
}

/// A token carries scopes of its account, or of its account's role where the account lists none.
fn check_within_account(
    state: &State,
    account: &ServiceAccount,
    grant: &Grant,
) -> Result<(), Rejection> {
    let catalogue = state.catalogue();
    let whole = match (&account.scopes, &account.role) {
        (Some(scopes), _) => catalogue.expand(scopes.iter().map(String::as_str)),
        (None, Some(role)) => Authority::of_role(role, catalogue).scopes,
        (None, None) => catalogue.expand([]),
    };
    let beyond = |scope: &&String| !whole.covers(catalogue.expand([scope.as_str()]));
    match grant.scopes.iter().find(beyond) {
        Some(scope) => Err(Rejection::ScopeBeyondAccount {
            scope: scope.clone(),
        }),
        None => Ok(()),
    }
}

fn check_project(state: &State, command: &CreateKey) -> Result<(), Rejection> {
    let bound = command.project.is_some();
    let fits = match command.kind.rules().project {
        ProjectBinding::Never => !bound,
        ProjectBinding::Optional => true,
        ProjectBinding::Always => bound,
    };
    if !fits {
        return Err(Rejection::ProjectBinding {
            kind: command.kind,
            bound,
        });
    }
    match command.project.map(|project| state.project(project)) {
        Some(Some(project)) if project.organization == command.organization => Ok(()),
        Some(_) => Err(Rejection::UnknownProject),
        None => Ok(()),
    }
}

fn check_conflicts(
    state: &State,
    (command, name): (&CreateKey, &str),
    owner: &OwnerStanding<'_>,
    now: Timestamp,
) -> Result<(), Rejection> {
    match owner {
        OwnerStanding::Member(member) if member.removed => return Err(Rejection::MemberRemoved),
        OwnerStanding::ServiceAccount(account) if account.deleted => {
            return Err(Rejection::ServiceAccountDeleted);
        }
        OwnerStanding::Organization
        | OwnerStanding::Member(_)
        | OwnerStanding::ServiceAccount(_)
        | OwnerStanding::Unknown => {}
    }
    check_project_in_use(state, command.project)?;
    let holder = state.key_names.get(&(command.owner, name.to_owned()));
    let holder = holder.and_then(|holder| state.credential(**holder));
    // The name of an expired one is free again: only live ones share the space.
    let taken = holder.is_some_and(|holder| match holder.status(now) {
        Status::Active | Status::Disabled => true,
        Status::Expired | Status::Revoked => false,
    });
    if command.kind.rules().unique_name && taken {
        return Err(Rejection::NameTaken);
    }
    check_limits(state, command.organization, command.owner, now)
}

/// Nothing new is made for a project that was put away.
pub(super) fn check_project_in_use(
    state: &State,
    project: Option<ProjectId>,
) -> Result<(), Rejection> {
    let project = project.and_then(|project| state.project(project));
    if project.is_some_and(|project| project.archived) {
        return Err(Rejection::ProjectArchived);
    }
    Ok(())
}

pub(super) fn check_limits(
    state: &State,
    organization: OrganizationId,
    owner: Owner,
    now: Timestamp,
) -> Result<(), Rejection> {
    let of_owner = match owner {
        Owner::Organization(_) => 0,
        Owner::User(_) | Owner::ServiceAccount(_) => state.live.count_of_owner(owner, now),
    };
    if of_owner >= LIVE_PER_OWNER_MAX {
        let what = "live credentials of one owner";
        return Err(Rejection::LimitReached {
            what,
            max: LIVE_PER_OWNER_MAX,
        });
    }
    if state.live.count_of_organization(organization, now) >= LIVE_PER_ORGANIZATION_MAX {
        let what = "live credentials";
        return Err(Rejection::QuotaReached {
            what,
            max: LIVE_PER_ORGANIZATION_MAX,
        });
    }
    Ok(())
}

pub(super) fn expiry(expiry: Expiry, now: Timestamp) -> Result<Option<Timestamp>, Rejection> {
    match expiry {
        Expiry::Never => Ok(None),
        Expiry::InDays(days) if (1..=EXPIRY_DAYS_MAX).contains(&days) => {
            Ok(Some(now.plus_ms(i64::from(days) * DAY_MS)))
        }
        Expiry::InDays(_) => Err(Rejection::ExpiryDaysOutOfRange),
        // Never beyond what a payload can write.
        Expiry::At(at) if at > now => Ok(Some(at.plus_ms(0))),
        Expiry::At(_) => Err(Rejection::ExpiryInPast),
    }
}

/// A new token of an organization and what is stored of it.
pub(super) fn new_secret(
    state: &State,
    organization: OrganizationId,
    facts: &Facts,
    id: SecretId,
) -> (Token, NewSecret) {
    let record = state.organization(organization);
    let prefix = record.map_or(DEFAULT_PREFIX, |org| &org.token_prefix);
    let token = Token::compose(prefix, id, &facts.random);
    let (hash, hint, prefix) = (token.hash(), token.hint(), prefix.to_owned());
    (
        token,
        NewSecret {
            id,
            hash,
            prefix,
            hint,
        },
    )
}
