//! Service accounts: what systems act as.

use super::organizations::SERVICE_ACCOUNTS_MAX;
use super::{Change, Decision, Facts, admit, checks, decision, keys};
use crate::domain::access::{Access, Action, Authority};
use crate::domain::canonical::name_key;
use crate::domain::command::{
    CreateServiceAccount, DeleteServiceAccount, Request, UpdateServiceAccount, Urgency,
};
use crate::domain::event::{
    Fact, ServiceAccountCreated, ServiceAccountDeleted, ServiceAccountDisabled,
    ServiceAccountEnabled, ServiceAccountUpdated,
};
use crate::domain::ids::{OrganizationId, Owner, ServiceAccountId, Subject};
use crate::domain::kind::Kind;
use crate::domain::record::{Grant, ServiceAccount, Status};
use crate::domain::rejection::Rejection;
use crate::domain::state::State;

/// The slug of a name without a letter or digit.
const SLUG_OF_NOTHING: &str = "service-account";
/// Longest slug, its counter apart.
const SLUG_CHARS_MAX: usize = 60;

/// The end of a principal, with the end of all that acts for it.
pub(super) fn ended_with_all(
    state: &State,
    access: &Access,
    subject: Subject,
    owner: Owner,
    (end, facts): (Fact, &Facts),
) -> Decision {
    let organization = access.organization();
    let mut changes = vec![Change {
        organization,
        subject,
        fact: end,
    }];
    if let Some(organization) = organization {
        changes.extend(keys::cascade(state, access, organization, owner, facts));
    }
    Decision {
        changes,
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority: access.authority().clone(),
    }
}

/// What a service account is worth: its scopes, and all that its role allows its tokens.
fn worth(role: Option<&str>, scopes: Option<&[String]>, state: &State) -> Authority {
    let grant = Grant {
        scopes: scopes.unwrap_or_default().to_vec(),
        role: role.map(str::to_owned),
        preset: None,
    };
    let granted = Authority::of_grant(&grant, state.catalogue());
    let role = role.map(|role| Authority::of_role(role, state.catalogue()).scopes);
    Authority {
        scopes: granted.scopes.or(role.unwrap_or_default()),
        ..granted
    }
}

pub(super) fn worth_of(account: &ServiceAccount, state: &State) -> Authority {
    worth(account.role.as_deref(), account.scopes.as_deref(), state)
}

fn check_scopes(scopes: Option<&Vec<String>>, state: &State) -> Result<(), Rejection> {
    match scopes {
        Some(scopes) => checks::scopes(scopes, Kind::ServiceAccount, state.catalogue()),
        None => Ok(()),
    }
}

pub(super) fn create_account(
    state: &State,
    request: &Request,
    command: &CreateServiceAccount,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(
        state,
        request,
        facts,
        Action::ManageServiceAccounts,
        organization,
    )?;
    let name = checks::unique_name("name", &command.name)?;
    if let Some(description) = &command.description {
        checks::lines("description", description, checks::DESCRIPTION_CHARS_MAX)?;
    }
    let role = command
        .role
        .as_deref()
        .map(|role| checks::role(role, state.catalogue()));
    let role = role.transpose()?;
    check_scopes(command.scopes.as_ref(), state)?;
    access
        .authority()
        .cover(&worth(role.as_deref(), command.scopes.as_deref(), state))?;
    if state
        .account_names
        .contains(&(organization, name_key(&name)))
    {
        return Err(Rejection::NameTaken);
    }
    if state.counts(organization).service_accounts >= SERVICE_ACCOUNTS_MAX {
        let what = "service accounts";
        return Err(Rejection::QuotaReached {
            what,
            max: SERVICE_ACCOUNTS_MAX,
        });
    }
    let created = ServiceAccountCreated {
        slug: free_slug(state, organization, &name),
        name,
        description: command.description.clone(),
        role,
        scopes: command.scopes.clone(),
        created_by: access.authority().principal,
    };
    let subject = Subject::ServiceAccount(ServiceAccountId(facts.ids[0]));
    Ok(decision(
        &access,
        organization,
        subject,
        vec![created.into()],
    ))
}

/// The slug of a new account.
fn free_slug(state: &State, organization: OrganizationId, name: &str) -> String {
    let base: String = slug::slugify(name).chars().take(SLUG_CHARS_MAX).collect();
    let base = base.trim_matches('-');
    let base = if base.is_empty() {
        SLUG_OF_NOTHING
    } else {
        base
    };
    state.slugs.first_free(organization, base)
}

pub(super) fn update_account(
    state: &State,
    request: &Request,
    command: &UpdateServiceAccount,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(
        state,
        request,
        facts,
        Action::ManageServiceAccounts,
        organization,
    )?;
    let record = account(state, organization, command.account)?;
    let name = command.name.as_deref();
    let name = name
        .map(|name| checks::unique_name("name", name))
        .transpose()?;
    if let Some(Some(description)) = &command.description {
        checks::lines("description", description, checks::DESCRIPTION_CHARS_MAX)?;
    }
    let role = match &command.role {
        Some(Some(role)) => Some(checks::role(role, state.catalogue())?),
        Some(None) => None,
        None => record.role.clone(),
    };
    let scopes = command
        .scopes
        .clone()
        .unwrap_or_else(|| record.scopes.clone());
    check_scopes(command.scopes.as_ref().and_then(Option::as_ref), state)?;
    if command.urgency() == Urgency::Ordinary {
        let after = (role.as_deref(), scopes.as_deref());
        check_edit_is_covered(state, access.authority(), record, after)?;
    }
    if command.is_active == Some(true) && record.disabled {
        check_tokens_covered(state, access.authority(), record, facts)?;
    }
    checks::version(request.if_match, record.stamp.version)?;
    if record.deleted {
        return Err(Rejection::ServiceAccountDeleted);
    }
    let after = ServiceAccountUpdated {
        changed: Vec::new(),
        name: name.unwrap_or_else(|| record.name.clone()),
        description: command
            .description
            .clone()
            .unwrap_or_else(|| record.description.clone()),
        role,
        scopes,
    };
    let holder = state
        .account_names
        .get(&(organization, name_key(&after.name)));
    if holder.is_some_and(|holder| **holder != record.id) {
        return Err(Rejection::NameTaken);
    }
    let mut changes: Vec<Fact> = Vec::new();
    changes.extend(with_changed(after, record).map(Fact::from));
    match command.is_active {
        Some(true) if record.disabled => changes.push(ServiceAccountEnabled {}.into()),
        Some(false) if !record.disabled => changes.push(ServiceAccountDisabled {}.into()),
        Some(_) | None => {}
    }
    Ok(decision(
        &access,
        organization,
        Subject::ServiceAccount(record.id),
        changes,
    ))
}

/// Who edits an account covers it as it was and as it becomes. A role is the ceiling of tokens that
/// are there already, so that a stronger one lasts; scopes are for tokens to come.
fn check_edit_is_covered(
    state: &State,
    authority: &Authority,
    record: &ServiceAccount,
    (role, scopes): (Option<&str>, Option<&[String]>),
) -> Result<(), Rejection> {
    authority.cover(&worth_of(record, state))?;
    authority.cover(&worth(role, scopes, state))?;
    let before = worth(record.role.as_deref(), None, state);
    match before.cover(&worth(role, None, state)) {
        Ok(()) => Ok(()),
        Err(_stronger) => authority.outlive(None),
    }
}

/// Who enables an account revives its tokens, whose scopes may be more than the account has now.
fn check_tokens_covered(
    state: &State,
    authority: &Authority,
    account: &ServiceAccount,
    facts: &Facts,
) -> Result<(), Rejection> {
    let tokens = state.live_credentials_of(Owner::ServiceAccount(account.id), facts.now);
    let tokens = tokens.into_iter().filter_map(|id| state.credential(id));
    let mut tokens = tokens.filter(|token| token.status(facts.now) == Status::Active);
    tokens.try_for_each(|token| {
        authority.cover(&keys::worth(state, token))?;
        authority.outlive(token.expires_at())
    })
}

/// The edit with the list of what it changes; `None` if that is nothing.
fn with_changed(
    mut after: ServiceAccountUpdated,
    before: &ServiceAccount,
) -> Option<ServiceAccountUpdated> {
    let changed = [
        (after.name != before.name).then_some("name"),
        (after.description != before.description).then_some("description"),
        (after.role != before.role).then_some("role"),
        (after.scopes != before.scopes).then_some("scopes"),
    ];
    after.changed = changed.into_iter().flatten().map(str::to_owned).collect();
    (!after.changed.is_empty()).then_some(after)
}

fn account(
    state: &State,
    organization: OrganizationId,
    id: ServiceAccountId,
) -> Result<&ServiceAccount, Rejection> {
    state
        .account(id)
        .filter(|account| account.organization == organization)
        .map(|account| &**account)
        .ok_or(Rejection::NotFound {
            what: "service account",
        })
}

pub(super) fn delete_account(
    state: &State,
    request: &Request,
    command: DeleteServiceAccount,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(
        state,
        request,
        facts,
        Action::ManageServiceAccounts,
        organization,
    )?;
    let record = account(state, organization, command.account)?;
    checks::version(request.if_match, record.stamp.version)?;
    let subject = Subject::ServiceAccount(record.id);
    if record.deleted {
        return Ok(decision(&access, organization, subject, vec![]));
    }
    let owner = Owner::ServiceAccount(record.id);
    Ok(ended_with_all(
        state,
        &access,
        subject,
        owner,
        (ServiceAccountDeleted {}.into(), facts),
    ))
}
