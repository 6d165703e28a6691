//! Decisions: what a command does to the state as it stands, or why it is refused. Pure.
//!
//! Time, ids and randomness come in as [`Facts`]; the same input gives the same output. Checks
//! stand in one order everywhere: standing, tenant, permission, what the kind does, form,
//! dominance, version, conflicts.

mod accounts;
mod catalogue;
mod checks;
mod edit;
mod endpoints;
mod erasure;
mod expiry;
mod issue;
pub(super) mod keys;
mod ledger;
mod members;
mod organizations;
mod replace;
mod sessions;
mod usage;

pub(crate) use checks::{
    DESCRIPTION_CHARS_MAX, EMAIL_BYTES_MAX, NAME_CHARS_MAX, REASON_CHARS_MAX,
    SCOPES_PER_CREDENTIAL_MAX,
};
pub use ledger::POSITIONS_GIVEN_UP_MAX;
pub use usage::ENDED_USE_NOTED_EVERY_MS;

use ulid::Ulid;

use super::access::{Access, Action, Authority, may};
use super::command::{Actor, Command, OpenLedger, Request};
use super::endpoint_secret::EndpointSecretText;
use super::event::{CatalogueAdopted, Fact, LedgerOpened};
use super::ids::{EventId, OrganizationId, Subject, UserId};
use super::rejection::Rejection;
use super::secret::Token;
use super::sign_in::OpaqueToken;
use super::state::State;
use super::time::Timestamp;

/// What a decision needs from outside: made anew for each command.
#[derive(Clone)]
pub struct Facts {
    /// The instant; never before the newest event's.
    pub now: Timestamp,
    /// The id of the first event; those that follow count up from it.
    pub first_event: Ulid,
    /// Ids for new records, in order of use.
    pub ids: [Ulid; 4],
    /// 32 random bytes for one new secret.
    pub random: [u8; 32],
    /// 32 more for a sign-in link beside it.
    pub link_random: [u8; 32],
}

impl Facts {
    /// The id of the command's n-th event.
    #[must_use]
    pub fn event_id(&self, n: usize) -> EventId {
        EventId(Ulid(self.first_event.0.wrapping_add(n as u128)))
    }
}

/// One event to be appended, before it has its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The organization it belongs to.
    pub organization: Option<OrganizationId>,
    /// The record it changes.
    pub subject: Subject,
    /// What happens.
    pub fact: Fact,
}

/// What a command comes to.
#[derive(Debug)]
pub struct Decision {
    /// Its events, appended together; none if all is as asked already.
    pub changes: Vec<Change>,
    /// The record that the answer shows.
    pub subject: Subject,
    /// The secret that the answer alone carries.
    pub token: Option<Token>,
    /// The token of a sign-in link or a session, which the answer alone carries.
    pub sign_in: Option<OpaqueToken>,
    /// The signing secret of a webhook endpoint, which the answer alone carries.
    pub endpoint_secret: Option<EndpointSecretText>,
    /// Who did it.
    pub authority: Authority,
}

impl Decision {
    /// The member whose record changes, where one does.
    #[must_use]
    pub fn member(&self) -> Option<UserId> {
        self.changes.iter().find_map(|change| match change.subject {
            Subject::Member(id) => Some(id),
            Subject::Ledger(_)
            | Subject::Organization(_)
            | Subject::Project(_)
            | Subject::ServiceAccount(_)
            | Subject::Credential(_)
            | Subject::Session(_)
            | Subject::WebhookEndpoint(_) => None,
        })
    }
}

/// Decides a command.
pub fn decide(state: &State, request: &Request, facts: &Facts) -> Result<Decision, Rejection> {
    let opening = matches!(request.command, Command::OpenLedger(_));
    if state.ledger().log_id.is_none() && !opening {
        // Without its first event there is no catalogue to decide by.
        state.authority(request.actor, facts.now)?;
        return Err(Rejection::NotFound { what: "ledger" });
    }
    match &request.command {
        Command::OpenLedger(command) => open_ledger(state, request.actor, command, facts),
        Command::AdoptCatalogue(command) => catalogue::adopt(state, request, command, facts),
        Command::CreateOrganization(command) => {
            organizations::create(state, request, command, facts)
        }
        Command::UpdateOrganization(command) => {
            organizations::update(state, request, command, facts)
        }
        Command::CreateProject(command) => {
            organizations::create_project(state, request, command, facts)
        }
        Command::UpdateProject(command) => {
            organizations::update_project(state, request, command, facts)
        }
        Command::AddMember(command) => members::add(state, request, command, facts),
        Command::UpdateMember(command) => members::update(state, request, command, facts),
        Command::RemoveMember(command) => members::remove(state, request, *command, facts),
        Command::EraseMember(command) => erasure::erase_member(state, request, command, facts),
        Command::CreateServiceAccount(command) => {
            accounts::create_account(state, request, command, facts)
        }
        Command::UpdateServiceAccount(command) => {
            accounts::update_account(state, request, command, facts)
        }
        Command::DeleteServiceAccount(command) => {
            accounts::delete_account(state, request, *command, facts)
        }
        Command::CreateKey(command) => issue::create(state, request, command, facts),
        Command::UpdateKey(command) => edit::update(state, request, command, facts),
        Command::RotateKey(command) => keys::rotate(state, request, *command, facts),
        Command::ReplaceKey(command) => replace::replace(state, request, *command, facts),
        Command::DisableKey(target) => keys::disable(state, request, *target, facts),
        Command::EnableKey(target) => keys::enable(state, request, *target, facts),
        Command::RevokeKey(command) => keys::revoke(state, request, command, facts),
        Command::RevokeItself(organization) => {
            keys::revoke_itself(state, request, *organization, facts)
        }
        Command::IssueSignInLink(command) => sessions::issue_link(state, request, *command, facts),
        Command::SignIn(command) => sessions::sign_in(state, request, command, facts),
        Command::NoteSignInFailure(command) => sessions::sign_in_failed(state, request, *command),
        Command::SignOut(command) => sessions::sign_out(state, request, *command, facts),
        Command::SetPassword(command) => sessions::set_password(state, request, command, facts),
        Command::NoteEndedSecretUse(command) => {
            usage::ended_secret_used(state, request, *command, facts)
        }
        Command::SealUsage(command) => usage::seal(state, request, *command),
        Command::NoteExpiries(command) => expiry::note(state, request, command, facts),
        Command::CreateEndpoint(command) => endpoints::create(state, request, command, facts),
        Command::UpdateEndpoint(command) => endpoints::update(state, request, command, facts),
        Command::RotateEndpointSecret(command) => endpoints::rotate(state, request, command, facts),
        Command::EnableEndpoint(command) => endpoints::enable(state, request, *command, facts),
        Command::DisableEndpoint(target) => endpoints::disable(state, request, *target, facts),
        Command::DeleteEndpoint(target) => endpoints::delete(state, request, *target, facts),
        Command::NoteEndpointFailing(command) => endpoints::failing(state, request, *command),
        Command::StopEndpoint(command) => endpoints::stop(state, request, *command),
        Command::NoteCheckpoint(command) => ledger::note_checkpoint(state, request, command),
        Command::NoteLedgerRead(command) => ledger::note_read(state, request, *command, facts),
        Command::RecordRestore(command) => ledger::record_restore(state, request, *command, facts),
        Command::RotateSigningKey(command) => {
            ledger::rotate_signing_key(state, request, command, facts)
        }
    }
}

fn open_ledger(
    state: &State,
    actor: Actor,
    command: &OpenLedger,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let authority = state.authority(actor, facts.now)?;
    if actor != Actor::Operator {
        return Err(Rejection::OperatorOnly);
    }
    if state.ledger().log_id.is_some() {
        return Err(Rejection::LedgerAlreadyInitialized);
    }
    let subject = Subject::Ledger(command.log_id);
    let opened = LedgerOpened {
        log_id: command.log_id,
        origin: command.origin.clone(),
        vkey: command.vkey.clone(),
    };
    let adopted = CatalogueAdopted {
        catalogue: command.catalogue.text().clone(),
    };
    let change = |fact| Change {
        organization: None,
        subject,
        fact,
    };
    let changes = vec![change(opened.into()), change(adopted.into())];
    Ok(Decision {
        changes,
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority,
    })
}

/// Leave for the actor to do `action` in `organization`, by its present standing.
fn admit(
    state: &State,
    request: &Request,
    facts: &Facts,
    action: Action,
    organization: OrganizationId,
) -> Result<Access, Rejection> {
    let authority = state.authority(request.actor, facts.now)?;
    let access = may(authority, state.catalogue(), action, Some(organization))?;
    match state.organization(organization) {
        Some(_) => Ok(access),
        None => Err(Rejection::NotFound {
            what: "organization",
        }),
    }
}

/// What the command line may, for what it alone does.
fn by_the_operator(
    state: &State,
    request: &Request,
    facts: &Facts,
) -> Result<Authority, Rejection> {
    let authority = state.authority(request.actor, facts.now)?;
    match request.actor {
        Actor::Operator => Ok(authority),
        Actor::Anonymous | Actor::System | Actor::Bearer { .. } | Actor::Session(_) => {
            Err(Rejection::OperatorOnly)
        }
    }
}

/// The decision of a command whose events change one record of an organization.
fn decision(
    access: &Access,
    organization: OrganizationId,
    subject: Subject,
    facts: Vec<Fact>,
) -> Decision {
    let change = |fact| Change {
        organization: Some(organization),
        subject,
        fact,
    };
    Decision {
        changes: facts.into_iter().map(change).collect(),
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority: access.authority().clone(),
    }
}
