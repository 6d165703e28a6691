//! Edits of credentials: what the kind lets be changed, and nothing else.

use super::issue::expiry;
use super::keys::{admit_key, live, worth};
use super::{Decision, Facts, checks, decision};
use crate::domain::access::Authority;
use crate::domain::command::{Request, UpdateKey};
use crate::domain::event::{Fact, KeyScopesEdited, KeyUpdated};
use crate::domain::ids::Subject;
use crate::domain::kind::{Deed, Field};
use crate::domain::record::{Credential, Grant};
use crate::domain::rejection::Rejection;
use crate::domain::state::State;

pub(super) fn update(
    state: &State,
    request: &Request,
    command: &UpdateKey,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let target = command.target;
    let (access, key) = admit_key(state, request, facts, target, Deed::Edit)?;
    check_editable(key, command)?;
    check_form(state, key, command)?;
    let grant = grant_after(state, key, command)?;
    let expires_at = match command.expiry {
        Some(asked) => expiry(asked, facts.now)?,
        None => key.expires_at(),
    };
    let after = Authority {
        project: key.project(),
        ..Authority::of_grant(&grant, state.catalogue())
    };
    let before = worth(state, key);
    access.authority().cover(&before)?;
    access.authority().cover(&after)?;
    // Whoever ends soon leaves nothing behind that can do more, or longer, than it found.
    if expires_at != key.expires_at() || before.cover(&after).is_err() {
        access.authority().outlive(expires_at)?;
    }
    checks::version(request.if_match, key.stamp().version)?;
    live(key, facts.now)?;

    let mut changes: Vec<Fact> = Vec::new();
    let after = KeyUpdated {
        name: command
            .name
            .as_deref()
            .unwrap_or_else(|| key.name())
            .to_owned(),
        description: match &command.description {
            Some(description) => description.clone(),
            None => key.description().map(str::to_owned),
        },
        role: grant.role,
        expires_at,
        metadata: match &command.metadata {
            Some(metadata) => metadata.clone(),
            None => key.metadata().cloned().unwrap_or_default(),
        },
        ..as_it_is(key)
    };
    changes.extend(with_changed(after, key).map(Fact::from));
    if grant.scopes != key.grant().scopes {
        let scopes = grant.scopes;
        changes.push(KeyScopesEdited { scopes }.into());
    }
    let subject = Subject::Credential(key.id());
    Ok(decision(&access, target.organization, subject, changes))
}

/// An edit that changes nothing.
pub(super) fn as_it_is(key: &Credential) -> KeyUpdated {
    KeyUpdated {
        changed: Vec::new(),
        name: key.name().to_owned(),
        description: key.description().map(str::to_owned),
        role: key.grant().role.clone(),
        expires_at: key.expires_at(),
        metadata: key.metadata().cloned().unwrap_or_default(),
        replaced_by: key.replaced_by(),
    }
}

/// The edit with the list of what it changes; `None` if that is nothing.
fn with_changed(mut after: KeyUpdated, key: &Credential) -> Option<KeyUpdated> {
    let before = as_it_is(key);
    let changed = [
        (after.name != before.name).then_some(key.kind().name_field()),
        (after.description != before.description).then_some("description"),
        (after.role != before.role).then_some("role"),
        (after.expires_at != before.expires_at).then_some("expiry"),
        (after.metadata != before.metadata).then_some("metadata"),
    ];
    after.changed = changed.into_iter().flatten().map(str::to_owned).collect();
    (!after.changed.is_empty()).then_some(after)
}

/// An edit of what the kind does not let be edited is a conflict with the kind.
fn check_editable(key: &Credential, command: &UpdateKey) -> Result<(), Rejection> {
    let editable = key.kind().rules().edit;
    let may = |field| editable.contains(&field);
    let all = (command.name.is_none() || may(Field::Name) || may(Field::Label))
        && (command.description.is_none() || may(Field::Description))
        && (command.scopes.is_none() || may(Field::Scopes))
        && (command.role.is_none() || may(Field::Role))
        && (command.expiry.is_none() || may(Field::Expiry))
        && (command.metadata.is_none() || !editable.is_empty());
    if all {
        Ok(())
    } else {
        let action = "edited so";
        let kind = key.kind();
        Err(Rejection::NotForKind { kind, action })
    }
}

fn check_form(state: &State, key: &Credential, command: &UpdateKey) -> Result<(), Rejection> {
    if let Some(name) = &command.name {
        checks::line(key.kind().name_field(), name, checks::NAME_CHARS_MAX)?;
    }
    if let Some(Some(description)) = &command.description {
        checks::lines("description", description, checks::DESCRIPTION_CHARS_MAX)?;
    }
    if let Some(scopes) = &command.scopes {
        checks::scopes(scopes, key.kind(), state.catalogue())?;
    }
    match &command.metadata {
        Some(metadata) => checks::metadata(metadata),
        None => Ok(()),
    }
}

fn grant_after(state: &State, key: &Credential, command: &UpdateKey) -> Result<Grant, Rejection> {
    let mut grant = key.grant().clone();
    if let Some(scopes) = &command.scopes {
        grant.scopes.clone_from(scopes);
    }
    if let Some(role) = &command.role {
        grant.role = Some(checks::role(role, state.catalogue())?);
    }
    Ok(grant)
}
