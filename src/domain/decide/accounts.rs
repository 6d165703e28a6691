//! Members and service accounts: the principals that credentials act for.

use super::organizations::{MEMBERS_MAX, SERVICE_ACCOUNTS_MAX};
use super::{Change, Decision, Facts, admit, checks, decision, fold_case, keys, sessions};
use crate::domain::access::{Access, Action, Authority};
use crate::domain::command::{
    AddMember, ChangeMemberRole, CreateServiceAccount, DeleteServiceAccount, RemoveMember, Request,
    UpdateServiceAccount, Urgency,
};
use crate::domain::event::{
    Fact, MemberAdded, MemberRemoved, MemberRoleChanged, ServiceAccountCreated,
    ServiceAccountDeleted, ServiceAccountDisabled, ServiceAccountEnabled, ServiceAccountUpdated,
};
use crate::domain::ids::{OrganizationId, Owner, ServiceAccountId, Subject, UserId};
use crate::domain::kind::Kind;
use crate::domain::personal::Personal;
use crate::domain::record::{Grant, Member, ServiceAccount, Status};
use crate::domain::rejection::Rejection;
use crate::domain::session::SessionEnd;
use crate::domain::state::State;

/// The slug of a name without a letter or digit.
const SLUG_OF_NOTHING: &str = "service-account";
/// Longest slug, its counter apart.
const SLUG_CHARS_MAX: usize = 60;

pub(super) fn add_member(
    state: &State,
    request: &Request,
    command: &AddMember,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    checks::email("email", &command.email)?;
    if let Some(name) = &command.name {
        checks::line("name", name, checks::NAME_CHARS_MAX)?;
    }
    let role = checks::role(&command.role, state.catalogue())?;
    access
        .authority()
        .cover(&Authority::of_role(&role, state.catalogue()))?;
    // A membership has no end.
    access.authority().outlive(None)?;
    if state
        .emails
        .contains(&(organization, fold_case(&command.email)))
    {
        return Err(Rejection::EmailTaken);
    }
    if state.counts(organization).members >= MEMBERS_MAX {
        return Err(Rejection::QuotaReached {
            what: "members",
            max: MEMBERS_MAX,
        });
    }
    let added = MemberAdded {
        email: Personal::new(command.email.clone()),
        name: command.name.clone().map(Personal::new),
        role,
        created_by: access.authority().principal,
    };
    let id = UserId(facts.ids[0]);
    let made = decision(
        &access,
        organization,
        Subject::Member(id),
        vec![added.into()],
    );
    let member = (organization, id);
    Ok(sessions::with_link(made, &access, member, facts))
}

pub(super) fn member(
    state: &State,
    organization: OrganizationId,
    id: UserId,
) -> Result<&Member, Rejection> {
    state
        .member(id)
        .filter(|member| member.organization == organization)
        .map(|member| &**member)
        .ok_or(Rejection::NotFound { what: "member" })
}

/// The last owner keeps the organization from being nobody's.
fn check_not_last_owner(state: &State, member: &Member) -> Result<(), Rejection> {
    if state.catalogue().is_owner(&member.role) && state.counts(member.organization).owners <= 1 {
        return Err(Rejection::LastOwner);
    }
    Ok(())
}

pub(super) fn change_member_role(
    state: &State,
    request: &Request,
    command: &ChangeMemberRole,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let record = member(state, organization, command.member)?;
    let role = checks::role(&command.role, state.catalogue())?;
    let before = Authority::of_role(&record.role, state.catalogue());
    let after = Authority::of_role(&role, state.catalogue());
    access.authority().cover(&before)?;
    access.authority().cover(&after)?;
    if before.cover(&after).is_err() {
        access.authority().outlive(None)?;
    }
    checks::version(request.if_match, record.stamp.version)?;
    if record.removed {
        return Err(Rejection::MemberRemoved);
    }
    let mut changes: Vec<Fact> = Vec::new();
    if role != record.role {
        if !Authority::of_role(&role, state.catalogue()).owner {
            check_not_last_owner(state, record)?;
        }
        changes.push(MemberRoleChanged { role }.into());
    }
    let subject = Subject::Member(record.id);
    let mut made = decision(&access, organization, subject, changes);
    if !made.changes.is_empty() {
        let ended = sessions::end_all(state, record.id, SessionEnd::RoleChanged, facts);
        made.changes.extend(ended);
    }
    Ok(made)
}

pub(super) fn remove_member(
    state: &State,
    request: &Request,
    command: RemoveMember,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let record = member(state, organization, command.member)?;
    check_owners_are_covered(state, &access, record)?;
    checks::version(request.if_match, record.stamp.version)?;
    let subject = Subject::Member(record.id);
    if record.removed {
        return Ok(decision(&access, organization, subject, vec![]));
    }
    removed_with_all(state, &access, record, facts)
}

/// Administrators manage everybody but owners, former ones too.
pub(super) fn check_owners_are_covered(
    state: &State,
    access: &Access,
    record: &Member,
) -> Result<(), Rejection> {
    let role = Authority::of_role(&record.role, state.catalogue());
    access.authority().cover_owner(&role)
}

/// The end of a membership, with its tokens and sessions.
pub(super) fn removed_with_all(
    state: &State,
    access: &Access,
    record: &Member,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    check_not_last_owner(state, record)?;
    let (subject, owner) = (Subject::Member(record.id), Owner::User(record.id));
    let end = (MemberRemoved {}.into(), facts);
    let mut made = ended_with_all(state, access, subject, owner, end);
    let ended = sessions::end_all(state, record.id, SessionEnd::MemberRemoved, facts);
    made.changes.extend(ended);
    Ok(made)
}

/// The end of a principal, with the end of all that acts for it.
fn ended_with_all(
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
    checks::line("name", &command.name, checks::NAME_CHARS_MAX)?;
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
        .contains(&(organization, fold_case(&command.name)))
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
        name: command.name.clone(),
        slug: free_slug(state, organization, &command.name),
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
    if let Some(name) = &command.name {
        checks::line("name", name, checks::NAME_CHARS_MAX)?;
    }
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
        name: command.name.clone().unwrap_or_else(|| record.name.clone()),
        description: command
            .description
            .clone()
            .unwrap_or_else(|| record.description.clone()),
        role,
        scopes,
    };
    let holder = state
        .account_names
        .get(&(organization, fold_case(&after.name)));
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
