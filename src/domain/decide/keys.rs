//! Credentials that are there: edited, rotated, disabled, enabled, ended. What a kind allows is
//! asked of `domain/kind.rs`, before the form of what is asked is looked at.

use std::sync::Arc;

use super::issue::new_secret;
use super::{Change, Decision, Facts, admit, checks, decision};
use crate::domain::access::{Access, Action, Authority};
use crate::domain::command::{KeyTarget, Request, RevokeKey, RotateKey, UpdateKey};
use crate::domain::event::{
    Fact, KeyDisabled, KeyEnabled, KeyRevoked, KeyRotated, KeyScopesEdited, KeyUpdated,
};
use crate::domain::ids::{OrganizationId, Owner, SecretId, Subject};
use crate::domain::kind::{Field, Renewal};
use crate::domain::record::{Credential, Status};
use crate::domain::rejection::Rejection;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// Secrets that one credential ever has: daily rotations of almost three years. Its record keeps
/// all of them, at some 100 bytes each.
pub(in crate::domain) const SECRETS_PER_CREDENTIAL_MAX: usize = 1_000;
/// Longest grace period of a rotation: 30 days.
const GRACE_SECONDS_MAX: u32 = 30 * 24 * 60 * 60;

/// A credential of the organization, of the kind that the surface is for.
fn target(state: &State, target: KeyTarget) -> Result<&Arc<Credential>, Rejection> {
    state
        .credential(target.key)
        .filter(|key| key.organization() == target.organization)
        .filter(|key| target.kind.is_none_or(|kind| kind == key.kind()))
        .ok_or(Rejection::NotFound { what: "key" })
}

/// What the credential is worth, in nobody's hand.
pub(super) fn worth(state: &State, key: &Credential) -> Authority {
    Authority {
        project: key.project(),
        ..Authority::of_grant(key.grant(), state.catalogue())
    }
}

fn live(key: &Credential, now: Timestamp) -> Result<(), Rejection> {
    match key.status(now) {
        Status::Active | Status::Disabled => Ok(()),
        Status::Expired | Status::Revoked => Err(Rejection::CredentialEnded),
    }
}

pub(super) fn update(
    state: &State,
    request: &Request,
    command: &UpdateKey,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.target.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let key = target(state, command.target)?;
    check_editable(key, command)?;
    if let Some(name) = &command.name {
        checks::line("name", name, checks::NAME_CHARS_MAX)?;
    }
    if let Some(Some(description)) = &command.description {
        checks::lines("description", description, checks::DESCRIPTION_CHARS_MAX)?;
    }
    if let Some(scopes) = &command.scopes {
        checks::scopes(scopes, key.kind(), state.catalogue())?;
    }
    let mut after = key.grant().clone();
    after.scopes = command.scopes.clone().unwrap_or(after.scopes);
    let worth_after = Authority {
        project: key.project(),
        ..Authority::of_grant(&after, state.catalogue())
    };
    access.authority().cover(&worth(state, key))?;
    access.authority().cover(&worth_after)?;
    checks::version(request.if_match, key.stamp().version)?;
    live(key, facts.now)?;

    let mut changes: Vec<Fact> = Vec::new();
    let name = command.name.as_deref().unwrap_or_else(|| key.name());
    let description = match &command.description {
        Some(description) => description.as_deref(),
        None => key.description(),
    };
    let changed: Vec<String> = [
        (name != key.name()).then_some("name"),
        (description != key.description()).then_some("description"),
    ]
    .into_iter()
    .flatten()
    .map(str::to_owned)
    .collect();
    if !changed.is_empty() {
        let updated = KeyUpdated {
            changed,
            name: name.to_owned(),
            description: description.map(str::to_owned),
            role: key.grant().role.clone(),
            expires_at: key.expires_at(),
            metadata: key.metadata().cloned().unwrap_or_default(),
        };
        changes.push(updated.into());
    }
    if after.scopes != key.grant().scopes {
        changes.push(
            KeyScopesEdited {
                scopes: after.scopes,
            }
            .into(),
        );
    }
    Ok(decision(
        &access,
        organization,
        Subject::Credential(key.id()),
        changes,
    ))
}

/// An edit of what the kind does not let be edited is a conflict with the kind.
fn check_editable(key: &Credential, command: &UpdateKey) -> Result<(), Rejection> {
    let asked = [
        command.name.as_ref().map(|_| Field::Name),
        command.description.as_ref().map(|_| Field::Description),
        command.scopes.as_ref().map(|_| Field::Scopes),
    ];
    let editable = key.kind().rules().edit;
    if asked
        .into_iter()
        .flatten()
        .all(|field| editable.contains(&field))
    {
        Ok(())
    } else {
        Err(Rejection::NotForKind {
            kind: key.kind(),
            action: "edited so",
        })
    }
}

pub(super) fn rotate(
    state: &State,
    request: &Request,
    command: RotateKey,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.target.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let key = target(state, command.target)?;
    if key.kind().rules().renewal != Renewal::Rotate {
        return Err(Rejection::NotForKind {
            kind: key.kind(),
            action: "rotated",
        });
    }
    if command.grace_period_seconds > GRACE_SECONDS_MAX {
        return Err(Rejection::GraceTooLong);
    }
    access.authority().cover(&worth(state, key))?;
    access.authority().outlive(key.expires_at())?;
    checks::version(request.if_match, key.stamp().version)?;
    live(key, facts.now)?;
    if key.secrets_len() >= SECRETS_PER_CREDENTIAL_MAX {
        let max = SECRETS_PER_CREDENTIAL_MAX as u64;
        return Err(Rejection::LimitReached {
            what: "secrets of one credential",
            max,
        });
    }
    let grace_end = facts
        .now
        .plus_ms(i64::from(command.grace_period_seconds) * 1_000);
    let previous_valid_until = key.expires_at().map_or(grace_end, |at| at.min(grace_end));
    let (token, secret) = new_secret(state, organization, facts, SecretId(facts.ids[0]));
    let rotated = KeyRotated {
        secret,
        previous_valid_until,
    };
    let mut made = decision(
        &access,
        organization,
        Subject::Credential(key.id()),
        vec![rotated.into()],
    );
    made.token = Some(token);
    Ok(made)
}

pub(super) fn disable(
    state: &State,
    request: &Request,
    command: KeyTarget,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    // Ending or disabling something stronger needs the management permission only.
    let access = admit(
        state,
        request,
        facts,
        Action::WritePlatform,
        command.organization,
    )?;
    let key = target(state, command)?;
    if !key.kind().rules().can_be_disabled {
        return Err(Rejection::NotForKind {
            kind: key.kind(),
            action: "disabled",
        });
    }
    checks::version(request.if_match, key.stamp().version)?;
    live(key, facts.now)?;
    let changes = if key.disabled() {
        vec![]
    } else {
        vec![KeyDisabled {}.into()]
    };
    Ok(decision(
        &access,
        command.organization,
        Subject::Credential(key.id()),
        changes,
    ))
}

pub(super) fn enable(
    state: &State,
    request: &Request,
    command: KeyTarget,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let access = admit(
        state,
        request,
        facts,
        Action::WritePlatform,
        command.organization,
    )?;
    let key = target(state, command)?;
    if !key.kind().rules().can_be_disabled {
        return Err(Rejection::NotForKind {
            kind: key.kind(),
            action: "enabled",
        });
    }
    access.authority().cover(&worth(state, key))?;
    checks::version(request.if_match, key.stamp().version)?;
    live(key, facts.now)?;
    let changes = if key.disabled() {
        vec![KeyEnabled {}.into()]
    } else {
        vec![]
    };
    Ok(decision(
        &access,
        command.organization,
        Subject::Credential(key.id()),
        changes,
    ))
}

pub(super) fn revoke(
    state: &State,
    request: &Request,
    command: &RevokeKey,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.target.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let key = target(state, command.target)?;
    if let Some(reason) = &command.reason {
        checks::lines("reason", reason, checks::REASON_CHARS_MAX)?;
    }
    checks::version(request.if_match, key.stamp().version)?;
    let revoked = KeyRevoked {
        reason: command.reason.clone(),
        cause: None,
    };
    // Repeated: the same answer and no new event. An expired one can still be revoked.
    let changes = if key.ended().is_some() {
        vec![]
    } else {
        vec![revoked.into()]
    };
    Ok(decision(
        &access,
        organization,
        Subject::Credential(key.id()),
        changes,
    ))
}

/// Ends all live credentials of an owner, as consequences of the command's first event.
pub(super) fn cascade(
    state: &State,
    access: &Access,
    organization: OrganizationId,
    owner: Owner,
    facts: &Facts,
) -> Vec<Change> {
    debug_assert!(access.organization() == Some(organization));
    let ended = KeyRevoked {
        reason: None,
        cause: Some(facts.event_id(0)),
    };
    state
        .live_credentials_of(owner)
        .into_iter()
        .map(|id| Change {
            organization: Some(organization),
            subject: Subject::Credential(id),
            fact: ended.clone().into(),
        })
        .collect()
}
