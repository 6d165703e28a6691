//! Organizations and their projects.

use super::{Change, Decision, Facts, admit, checks, decision, issue, sessions};
use crate::domain::access::{Action, Authority, may};
use crate::domain::command::{
    CreateOrganization, CreateProject, Request, UpdateOrganization, UpdateProject,
};
use crate::domain::event::{
    Fact, KeyCreated, MemberAdded, OrganizationCreated, OrganizationUpdated, ProjectArchived,
    ProjectCreated, ProjectUnarchived, ProjectUpdated,
};
use crate::domain::ids::{
    CredentialId, OrganizationId, Owner, Principal, ProjectId, SecretId, Subject, UserId,
};
use crate::domain::kind::Kind;
use crate::domain::personal::Personal;
use crate::domain::record::{Grant, Metadata};
use crate::domain::rejection::Rejection;
use crate::domain::secret::{DEFAULT_PREFIX, Token, prefix_is_valid};
use crate::domain::session::SESSIONS_PER_USER_MAX;
use crate::domain::state::State;

/// Projects of an organization, archived ones too.
const PROJECTS_MAX: u64 = 100_000;

/// The name of an organization's first key.
const FIRST_KEY_NAME: &str = "Bootstrap key";

pub(super) fn create(
    state: &State,
    request: &Request,
    command: &CreateOrganization,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let authority = state.authority(request.actor, facts.now)?;
    let access = may(
        authority,
        state.catalogue(),
        Action::ManageOrganizations,
        None,
    )?;
    checks::line("name", &command.name, checks::NAME_CHARS_MAX)?;
    let owner_email = checks::email("owner_email", &command.owner_email)?;
    checks::scopes(&command.key_scopes, Kind::Organization, state.catalogue())?;
    let grant = Grant {
        scopes: command.key_scopes.clone(),
        ..Grant::default()
    };
    let worth = Authority::of_grant(&grant, state.catalogue());
    access.authority().cover(&worth)?;
    let [organization, owner, key, secret] = facts.ids;
    let (organization, owner) = (OrganizationId(organization), UserId(owner));
    let principal = access.authority().principal;
    let token = Token::compose(DEFAULT_PREFIX, SecretId(secret), &facts.random);
    let created = OrganizationCreated {
        name: command.name.clone(),
        token_prefix: DEFAULT_PREFIX.to_owned(),
        created_by: principal,
    };
    let added = MemberAdded {
        email: Personal::new(owner_email),
        name: None,
        role: owner_role(state),
        created_by: principal,
    };
    let issued = KeyCreated {
        kind: Kind::Organization,
        owner: Owner::Organization(organization),
        project_id: None,
        name: FIRST_KEY_NAME.to_owned(),
        description: None,
        grant,
        // A credential never makes one that outlives it.
        expires_at: access.authority().expires_at,
        metadata: Metadata::new(),
        // The key is the owner's doing, whoever set the organization up.
        created_by: Some(Principal::User(owner)),
        replaces: None,
        issued_via: access.authority().via_credential(),
        secret: crate::domain::event::NewSecret {
            id: SecretId(secret),
            hash: token.hash(),
            prefix: DEFAULT_PREFIX.to_owned(),
            hint: token.hint(),
        },
    };
    let change = |subject, fact: Fact| Change {
        organization: Some(organization),
        subject,
        fact,
    };
    let changes = vec![
        change(Subject::Organization(organization), created.into()),
        change(Subject::Member(owner), added.into()),
        change(Subject::Credential(CredentialId(key)), issued.into()),
    ];
    let made = Decision {
        changes,
        subject: Subject::Organization(organization),
        token: Some(token),
        sign_in: None,
        endpoint_secret: None,
        authority: access.authority().clone(),
    };
    let member = (organization, owner);
    Ok(sessions::with_link(made, &access, member, facts))
}

fn owner_role(state: &State) -> String {
    let role = state.catalogue().owner_role();
    role.map(|role| role.name.clone()).unwrap_or_default()
}

pub(super) fn update(
    state: &State,
    request: &Request,
    command: &UpdateOrganization,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let id = command.organization;
    let access = admit(state, request, facts, Action::WritePlatform, id)?;
    let record = state.organization(id).ok_or(Rejection::NotFound {
        what: "organization",
    })?;
    if let Some(name) = &command.name {
        checks::line("name", name, checks::NAME_CHARS_MAX)?;
    }
    if command
        .token_prefix
        .as_deref()
        .is_some_and(|prefix| !prefix_is_valid(prefix))
    {
        return Err(Rejection::TokenPrefixInvalid);
    }
    checks::version(request.if_match, record.stamp.version)?;
    let name = command.name.clone().filter(|name| *name != record.name);
    let token_prefix = command
        .token_prefix
        .clone()
        .filter(|prefix| *prefix != record.token_prefix);
    let changes = if name.is_none() && token_prefix.is_none() {
        vec![]
    } else {
        vec![OrganizationUpdated { name, token_prefix }.into()]
    };
    Ok(decision(&access, id, Subject::Organization(id), changes))
}

pub(super) fn create_project(
    state: &State,
    request: &Request,
    command: &CreateProject,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let access = admit(
        state,
        request,
        facts,
        Action::WritePlatform,
        command.organization,
    )?;
    checks::line("name", &command.name, checks::NAME_CHARS_MAX)?;
    if state.counts(command.organization).projects >= PROJECTS_MAX {
        return Err(Rejection::QuotaReached {
            what: "projects",
            max: PROJECTS_MAX,
        });
    }
    let created_by = access.authority().principal;
    let created = ProjectCreated {
        name: command.name.clone(),
        created_by,
    };
    let subject = Subject::Project(ProjectId(facts.ids[0]));
    Ok(decision(
        &access,
        command.organization,
        subject,
        vec![created.into()],
    ))
}

pub(super) fn update_project(
    state: &State,
    request: &Request,
    command: &UpdateProject,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let access = admit(
        state,
        request,
        facts,
        Action::UpdateProject,
        command.organization,
    )?;
    let record = state
        .project(command.project)
        .filter(|project| project.organization == command.organization)
        .filter(|project| access.authority().reaches(Some(project.id)))
        .ok_or(Rejection::NotFound { what: "project" })?;
    if let Some(name) = &command.name {
        checks::line("name", name, checks::NAME_CHARS_MAX)?;
    }
    checks::version(request.if_match, record.stamp.version)?;
    let mut changes: Vec<Fact> = Vec::new();
    if let Some(name) = command.name.clone().filter(|name| *name != record.name) {
        changes.push(ProjectUpdated { name }.into());
    }
    match command.archived {
        Some(true) if !record.archived => changes.push(ProjectArchived {}.into()),
        Some(false) if record.archived => changes.push(ProjectUnarchived {}.into()),
        Some(_) | None => {}
    }
    Ok(decision(
        &access,
        command.organization,
        Subject::Project(record.id),
        changes,
    ))
}

/// Limits of one organization that `accounts` checks, kept beside the others.
pub(super) const MEMBERS_MAX: u64 = 100_000;
/// Service accounts of an organization, deleted ones apart.
pub(super) const SERVICE_ACCOUNTS_MAX: u64 = 100_000;

/// What a member or an account ends with: its credentials, its sessions, and the command itself, at
/// 1,500 bytes each.
const CASCADE_BYTES_MAX: u64 =
    (issue::LIVE_PER_OWNER_MAX + SESSIONS_PER_USER_MAX as u64 + 1) * 1_500;

const _: () = assert!(
    CASCADE_BYTES_MAX <= 8 * 1024 * 1024,
    "a cascade fits one batch"
);
