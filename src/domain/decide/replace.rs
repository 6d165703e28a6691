//! Replacement: a new credential in the place of an old one, linked both ways. By its kind the old
//! one ends in the same batch, or lives on until a person removes it.

use super::edit::as_it_is;
use super::issue::{check_limits, check_project_in_use, expiry, new_secret};
use super::keys::{admit_key, live, worth};
use super::{Change, Decision, Facts, checks};
use crate::domain::command::{ReplaceKey, Request};
use crate::domain::event::{Fact, KeyCreated, KeyRevoked, KeyUpdated};
use crate::domain::ids::{CredentialId, SecretId, Subject};
use crate::domain::kind::{Deed, Renewal};
use crate::domain::record::Credential;
use crate::domain::rejection::Rejection;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// Two callers that replace a token at once must not both get a successor. One whose successor has
/// ended, since its secret was lost, can be replaced again.
fn check_not_replaced(state: &State, old: &Credential, now: Timestamp) -> Result<(), Rejection> {
    let successor = old.replaced_by().and_then(|id| state.credential(id));
    match successor {
        Some(successor) if live(successor, now).is_ok() => {
            let by = successor.id();
            Err(Rejection::AlreadyReplaced { by })
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn replace(
    state: &State,
    request: &Request,
    command: ReplaceKey,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.target.organization;
    let (access, old) = admit_key(state, request, facts, command.target, Deed::Renew)?;
    let (kind, authority) = (old.kind(), access.authority());
    let ends_old = match kind.rules().renewal {
        Renewal::ReplaceAtOnce => true,
        Renewal::ReplaceBeside => false,
        Renewal::Rotate => {
            let action = "replaced";
            return Err(Rejection::NotForKind { kind, action });
        }
    };
    let expires_at = match command.expiry {
        Some(asked) => expiry(asked, facts.now)?,
        None => old.expires_at(),
    };
    if !old.grant().scopes.is_empty() {
        // What the catalogue has dropped lives on in old tokens alone.
        checks::scopes(&old.grant().scopes, kind, state.catalogue())?;
    }
    if let Some(preset) = &old.grant().preset {
        checks::preset(preset, state.catalogue())?;
    }
    authority.cover(&worth(state, old))?;
    authority.outlive(expires_at)?;
    checks::version(request.if_match, old.stamp().version)?;
    live(old, facts.now)?;
    check_not_replaced(state, old, facts.now)?;
    check_project_in_use(state, old.project())?;
    check_limits(state, organization, old.owner(), facts.now)?;

    let new = CredentialId(facts.ids[0]);
    let (token, secret) = new_secret(state, organization, facts, SecretId(facts.ids[1]));
    let created = KeyCreated {
        kind,
        owner: old.owner(),
        project_id: old.project(),
        name: old.name().to_owned(),
        description: old.description().map(str::to_owned),
        grant: old.grant().clone(),
        expires_at,
        metadata: old.metadata().cloned().unwrap_or_default(),
        created_by: authority.principal,
        issued_via: authority.via_credential(),
        replaces: Some(old.id()),
        secret,
    };
    let linked = KeyUpdated {
        changed: vec![String::from("replaced_by")],
        replaced_by: Some(new),
        ..as_it_is(old)
    };
    let ended = KeyRevoked {
        reason: None,
        cause: Some(facts.event_id(0)),
    };
    let change = |id, fact: Fact| Change {
        organization: Some(organization),
        subject: Subject::Credential(id),
        fact,
    };
    let mut changes = vec![change(new, created.into()), change(old.id(), linked.into())];
    if ends_old {
        changes.push(change(old.id(), ended.into()));
    }
    Ok(Decision {
        changes,
        subject: Subject::Credential(new),
        token: Some(token),
        sign_in: None,
        endpoint_secret: None,
        authority: authority.clone(),
    })
}
