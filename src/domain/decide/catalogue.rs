//! Another catalogue: adopted whole, unless something live would be left without what it has.

use std::collections::BTreeSet;

use super::{Change, Decision, Facts, by_the_operator};
use crate::domain::catalogue::{Catalogue, EVERYTHING, PLATFORM, Part};
use crate::domain::command::{AdoptCatalogue, Request};
use crate::domain::event::CatalogueAdopted;
use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::in_use::{Holder, InUse, Lost};
use crate::domain::record::{Credential, Grant, Status};
use crate::domain::rejection::Rejection;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

pub(super) fn adopt(
    state: &State,
    request: &Request,
    command: &AdoptCatalogue,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let authority = by_the_operator(state, request, facts)?;
    let log_id = state.ledger().log_id;
    let subject = Subject::Ledger(log_id.ok_or(Rejection::NotFound { what: "ledger" })?);
    let new = &command.catalogue;
    let mut changes = Vec::new();
    if new.text() != state.catalogue().text() {
        let by = in_use(state, new, facts.now);
        if by.total > 0 {
            return Err(Rejection::CatalogueInUse { by });
        }
        let catalogue = new.text().clone();
        changes.push(Change {
            organization: None,
            subject,
            fact: CatalogueAdopted { catalogue }.into(),
        });
    }
    Ok(Decision {
        changes,
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority,
    })
}

/// Everything live that has what `new` does not hold. What has ended or expired never comes back,
/// so it is asked nothing.
fn in_use(state: &State, new: &Catalogue, now: Timestamp) -> InUse {
    let mut found = InUse::default();
    let mut owned: BTreeSet<OrganizationId> = BTreeSet::new();
    for member in state.members.seen().filter(|member| !member.removed) {
        if new.is_owner(&member.role) {
            owned.insert(member.organization);
        }
        let lost = lost_role(new, Some(&member.role));
        found.note(lost.into_iter().collect(), || Holder::Member {
            id: member.id,
            organization: member.organization,
        });
    }
    let unowned = |id: &OrganizationId| !owned.contains(id) && state.counts(*id).owners > 0;
    for organization in state.organizations.seen().filter(|org| unowned(&org.id)) {
        found.note(vec![Lost::Owner], || Holder::Organization {
            id: organization.id,
            name: organization.name.clone(),
        });
    }
    for account in state.accounts.seen().filter(|account| !account.deleted) {
        let scopes = account.scopes.as_deref().unwrap_or_default();
        let mut lost = lost_scopes(new, scopes);
        lost.extend(lost_role(new, account.role.as_deref()));
        found.note(lost, || Holder::ServiceAccount {
            id: account.id,
            name: account.name.clone(),
            organization: account.organization,
        });
    }
    for key in state.credentials.seen().filter(|key| is_live(key, now)) {
        found.note(lost_grant(new, key.grant()), || Holder::Credential {
            id: key.id(),
            kind: key.kind(),
            name: key.name().to_owned(),
            owner: key.owner(),
        });
    }
    found
}

fn is_live(key: &Credential, now: Timestamp) -> bool {
    match key.status(now) {
        Status::Active | Status::Disabled => true,
        Status::Expired | Status::Revoked => false,
    }
}

fn lost_grant(new: &Catalogue, grant: &Grant) -> Vec<Lost> {
    let mut lost = lost_scopes(new, &grant.scopes);
    lost.extend(lost_role(new, grant.role.as_deref()));
    let preset = grant.preset.as_deref();
    let preset = preset.filter(|preset| new.preset(preset).is_none());
    lost.extend(preset.map(|preset| Lost::Entry(Part::Preset, preset.to_owned())));
    lost
}

fn lost_scopes(new: &Catalogue, scopes: &[String]) -> Vec<Lost> {
    // These two are in no catalogue.
    let named = |scope: &&String| !matches!(scope.as_str(), EVERYTHING | PLATFORM);
    let scopes = scopes.iter().filter(named);
    scopes
        .filter(|scope| !new.has_scope(scope))
        .map(|scope| Lost::Entry(Part::Scope, scope.clone()))
        .collect()
}

fn lost_role(new: &Catalogue, role: Option<&str>) -> Option<Lost> {
    let role = role.filter(|role| new.role(role).is_none())?;
    Some(Lost::Entry(Part::Role, role.to_owned()))
}
