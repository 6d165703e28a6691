//! Members: who joins, as what, under which address and name, and how a membership ends.

use super::organizations::MEMBERS_MAX;
use super::{Decision, Facts, accounts, admit, checks, decision, sessions};
use crate::domain::access::{Access, Action, Authority};
use crate::domain::canonical::address_key;
use crate::domain::command::{AddMember, RemoveMember, Request, UpdateMember};
use crate::domain::event::{Fact, MemberAdded, MemberRemoved, MemberRoleChanged, MemberUpdated};
use crate::domain::ids::{OrganizationId, Owner, Subject, UserId};
use crate::domain::personal::Personal;
use crate::domain::record::Member;
use crate::domain::rejection::Rejection;
use crate::domain::session::SessionEnd;
use crate::domain::state::State;

pub(super) fn add(
    state: &State,
    request: &Request,
    command: &AddMember,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let email = checks::email("email", &command.email)?;
    if let Some(name) = &command.name {
        checks::line("name", name, checks::NAME_CHARS_MAX)?;
    }
    let role = checks::role(&command.role, state.catalogue())?;
    access
        .authority()
        .cover(&Authority::of_role(&role, state.catalogue()))?;
    // A membership has no end.
    access.authority().outlive(None)?;
    if state.emails.contains(&(organization, address_key(&email))) {
        return Err(Rejection::EmailTaken);
    }
    if state.counts(organization).members >= MEMBERS_MAX {
        return Err(Rejection::QuotaReached {
            what: "members",
            max: MEMBERS_MAX,
        });
    }
    let added = MemberAdded {
        email: Personal::new(email),
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

/// An organization is never without an owner.
fn check_not_last_owner(state: &State, member: &Member) -> Result<(), Rejection> {
    if state.catalogue().is_owner(&member.role) && state.counts(member.organization).owners <= 1 {
        return Err(Rejection::LastOwner);
    }
    Ok(())
}

pub(super) fn update(
    state: &State,
    request: &Request,
    command: &UpdateMember,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let record = member(state, organization, command.member)?;
    let person = person_after(record, command)?;
    let role = match &command.role {
        Some(role) => checks::role(role, state.catalogue())?,
        None => record.role.clone(),
    };
    let before = Authority::of_role(&record.role, state.catalogue());
    let after = Authority::of_role(&role, state.catalogue());
    access.authority().cover(&before)?;
    access.authority().cover(&after)?;
    let allows_more = before.cover(&after).is_err();
    if allows_more {
        access.authority().outlive(None)?;
    }
    checks::version(request.if_match, record.stamp.version)?;
    if record.removed {
        return Err(Rejection::MemberRemoved);
    }
    if let Some(person) = &person {
        check_address_is_free(state, record, &person.email)?;
    }
    let role = (role != record.role).then(|| MemberRoleChanged {
        role,
        password_ended: allows_more && has_password(state, record),
    });
    if role.is_some() && !after.owner {
        check_not_last_owner(state, record)?;
    }
    // The role first: the sessions that it ends follow from the command's first event.
    let ends_sessions = role.is_some();
    let role = role.map(Fact::from).into_iter();
    let changes = role.chain(person.map(Fact::from)).collect();
    let mut made = decision(&access, organization, Subject::Member(record.id), changes);
    if ends_sessions {
        let ended = sessions::end_all(state, record.id, SessionEnd::RoleChanged, facts);
        made.changes.extend(ended);
    }
    Ok(made)
}

/// Whether there is a password that a new role could be used with. An administrator who covered the
/// old role may have set it, by a link of theirs; what the new one allows is not theirs.
fn has_password(state: &State, record: &Member) -> bool {
    let means = state.sign_in_means(record.id);
    means.is_some_and(|means| means.password.is_some())
}

/// Address and name as the command leaves them; `None` if that is as they are.
fn person_after(
    record: &Member,
    command: &UpdateMember,
) -> Result<Option<MemberUpdated>, Rejection> {
    let email = command.email.as_deref();
    let email = email
        .map(|email| checks::email("email", email))
        .transpose()?;
    if let Some(Some(name)) = &command.name {
        checks::line("name", name, checks::NAME_CHARS_MAX)?;
    }
    if record.removed || (email.is_none() && command.name.is_none()) {
        return Ok(None);
    }
    // A value that cannot be read now must be given anew: its event is not the one that counts.
    let kept = |value: &Personal, field| match value.text() {
        Some(text) => Ok(Personal::new(text.to_owned())),
        None => Err(Rejection::FieldEmpty { field }),
    };
    let after = MemberUpdated {
        changed: Vec::new(),
        email: match email {
            Some(email) => Personal::new(email),
            None => kept(&record.email, "email")?,
        },
        name: match (&command.name, &record.name) {
            (Some(name), _) => name.clone().map(Personal::new),
            (None, Some(name)) => Some(kept(name, "name")?),
            (None, None) => None,
        },
    };
    let name = |name: &Option<Personal>| {
        name.as_ref()
            .and_then(|name| name.text().map(str::to_owned))
    };
    let changed = [
        (after.email.text() != record.email.text()).then_some("email"),
        (name(&after.name) != name(&record.name)).then_some("name"),
    ];
    let changed: Vec<String> = changed.into_iter().flatten().map(str::to_owned).collect();
    Ok((!changed.is_empty()).then_some(MemberUpdated { changed, ..after }))
}

fn check_address_is_free(
    state: &State,
    record: &Member,
    email: &Personal,
) -> Result<(), Rejection> {
    let address = email.text().map(address_key).unwrap_or_default();
    let holder = state.emails.get(&(record.organization, address));
    if holder.is_some_and(|holder| **holder != record.id) {
        return Err(Rejection::EmailTaken);
    }
    Ok(())
}

pub(super) fn remove(
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
    let mut made = accounts::ended_with_all(state, access, subject, owner, end);
    let ended = sessions::end_all(state, record.id, SessionEnd::MemberRemoved, facts);
    made.changes.extend(ended);
    Ok(made)
}
