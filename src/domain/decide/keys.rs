//! Credentials that are there: rotated, disabled, enabled, ended. What a kind allows is
//! asked of `domain/kind.rs`, before the form of what is asked is looked at.

use std::sync::Arc;

use super::issue::new_secret;
use super::{Change, Decision, Facts, admit, checks, decision};
use crate::domain::access::{Access, Action, Authority};
use crate::domain::command::{Actor, KeyTarget, Request, RevokeKey, RotateKey};
use crate::domain::event::{KeyDisabled, KeyEnabled, KeyRevoked, KeyRotated};
use crate::domain::ids::{OrganizationId, Owner, ProjectId, SecretId, Subject};
use crate::domain::kind::{Deed, Kind, Renewal};
use crate::domain::record::{Credential, Status};
use crate::domain::rejection::Rejection;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// Secrets that one credential ever has: daily rotations of almost three years. Its record keeps
/// all of them, at some 100 bytes each.
pub(in crate::domain) const SECRETS_PER_CREDENTIAL_MAX: usize = 1_000;
/// Longest grace period of a rotation: 30 days.
const GRACE_SECONDS_MAX: u32 = 30 * 24 * 60 * 60;

/// Leave to do `deed` with the credential that a path names, and the credential.
pub(super) fn admit_key<'a>(
    state: &'a State,
    request: &Request,
    facts: &Facts,
    target: KeyTarget,
    deed: Deed,
) -> Result<(Access, &'a Arc<Credential>), Rejection> {
    let found = state
        .credential(target.key)
        .filter(|key| key.organization() == target.organization)
        .filter(|key| target.place.holds(key));
    let action = match (target.place.kind, deed, found) {
        (Some(kind), _, _) => Action::Keys(kind, deed),
        // Where every kind is found, each is ended by who oversees all of them.
        (None, Deed::End, _) | (None, _, None) => Action::Oversee,
        (None, _, Some(key)) => Action::Keys(key.kind(), deed),
    };
    let access = admit(state, request, facts, action, target.organization)?;
    if let (Some(kind), Some(_)) = (target.place.kind, target.place.project) {
        check_own_project(access.authority(), kind, target.place.project)?;
    }
    let authority = access.authority();
    let key = found
        .filter(|key| is_theirs(authority, action, key) && authority.reaches(key.project()))
        .ok_or(Rejection::NotFound { what: "key" })?;
    Ok((access, key))
}

/// Personal tokens are for nobody but their member, the oversight of all kinds excepted.
fn is_theirs(authority: &Authority, action: Action, key: &Credential) -> bool {
    if !matches!(action, Action::Keys(Kind::Personal, _)) {
        return true;
    }
    authority.is_operator() || authority.member().map(Owner::User) == Some(key.owner())
}

/// Whoever is bound to a project finds nothing under the path of another one.
pub(super) fn check_own_project(
    authority: &Authority,
    kind: Kind,
    project: Option<ProjectId>,
) -> Result<(), Rejection> {
    if kind == Kind::Project && !authority.reaches(project) {
        return Err(Rejection::WrongProject);
    }
    Ok(())
}

/// What the credential is worth, in nobody's hand.
pub(super) fn worth(state: &State, key: &Credential) -> Authority {
    Authority {
        project: key.project(),
        ..Authority::of_grant(key.grant(), state.catalogue())
    }
}

pub(super) fn live(key: &Credential, now: Timestamp) -> Result<(), Rejection> {
    match key.status(now) {
        Status::Active | Status::Disabled => Ok(()),
        Status::Expired | Status::Revoked => Err(Rejection::CredentialEnded),
    }
}

pub(super) fn rotate(
    state: &State,
    request: &Request,
    command: RotateKey,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.target.organization;
    let (access, key) = admit_key(state, request, facts, command.target, Deed::Renew)?;
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
    let earlier_kept = earlier_secret_is_deployed(key, request.actor, &command, facts.now);
    let grace_seconds = if earlier_kept {
        0
    } else {
        command.grace_period_seconds
    };
    let grace_end = facts.now.plus_ms(i64::from(grace_seconds) * 1_000);
    let previous_valid_until = key.expires_at().map_or(grace_end, |at| at.min(grace_end));
    let (token, secret) = new_secret(state, organization, facts, SecretId(facts.ids[0]));
    let rotated = KeyRotated {
        secret,
        previous_valid_until,
        earlier_kept,
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

/// Whether the secret in use is one before the newest: that has a grace period left, and the newest
/// was never presented, as if the answer with it had been lost. Then a rotation ends the newest
/// secret instead, which no one uses.
fn earlier_secret_is_deployed(
    key: &Credential,
    actor: Actor,
    command: &RotateKey,
    now: Timestamp,
) -> bool {
    let newest = key.secret_id();
    let presented_now = match actor {
        Actor::Bearer { secret, .. } => secret == newest,
        Actor::Operator | Actor::Anonymous | Actor::System | Actor::Session(_) => false,
    };
    let mut earlier = key.older_secrets().iter();
    command.unpresented == Some(newest)
        && !presented_now
        && earlier.any(|secret| secret.ends_at.is_some_and(|at| at > now))
}

pub(super) fn disable(
    state: &State,
    request: &Request,
    command: KeyTarget,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    // Ending or disabling something stronger needs the management permission only.
    let (access, key) = admit_key(state, request, facts, command, Deed::Switch)?;
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
    let (access, key) = admit_key(state, request, facts, command, Deed::Switch)?;
    if !key.kind().rules().can_be_disabled {
        return Err(Rejection::NotForKind {
            kind: key.kind(),
            action: "enabled",
        });
    }
    access.authority().cover(&worth(state, key))?;
    if key.disabled() {
        access.authority().outlive(key.expires_at())?;
    }
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
    let (access, key) = admit_key(state, request, facts, command.target, Deed::End)?;
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

/// Ends the credential that is presented. Whoever holds an accepted secret may, whatever its scopes
/// are: a finder who can do nothing else with it can still make it harmless. The actor is the
/// credential itself, so that a history shows that nobody else has ended it.
pub(super) fn revoke_itself(
    state: &State,
    request: &Request,
    organization: OrganizationId,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let access = admit(state, request, facts, Action::EndItself, organization)?;
    let itself = access.authority().via_credential();
    let key = itself
        .and_then(|id| state.credential(id))
        .filter(|key| key.organization() == organization)
        .ok_or(Rejection::NotFound { what: "key" })?;
    let revoked = KeyRevoked {
        reason: None,
        cause: None,
    };
    let subject = Subject::Credential(key.id());
    Ok(decision(
        &access,
        organization,
        subject,
        vec![revoked.into()],
    ))
}

/// Ends all live credentials of an owner, as consequences of the command's first event.
pub(super) fn cascade(
    state: &State,
    access: &Access,
    organization: OrganizationId,
    owner: Owner,
    facts: &Facts,
) -> impl ExactSizeIterator<Item = Change> + use<> {
    debug_assert!(access.organization() == Some(organization));
    let ended = KeyRevoked {
        reason: None,
        cause: Some(facts.event_id(0)),
    };
    let live = state.live_credentials_of(owner, facts.now).into_iter();
    live.map(move |id| Change {
        organization: Some(organization),
        subject: Subject::Credential(id),
        fact: ended.clone().into(),
    })
}
