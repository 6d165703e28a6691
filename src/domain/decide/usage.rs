//! What the program notes by itself of how credentials are used.

use super::{Change, Decision, Facts};
use crate::domain::access::Authority;
use crate::domain::command::{Actor, EndedSecretUse, Request, SealUsage};
use crate::domain::event::{EndedSecretUsed, Fact, UsageSealed};
use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::rejection::Rejection;
use crate::domain::state::State;

/// An ended secret that somebody goes on presenting is noted once in so long.
pub const ENDED_USE_NOTED_EVERY_MS: i64 = 60 * 60 * 1_000;

/// Notes that ended secrets were presented, at most once an hour for a credential.
pub(super) fn ended_secret_used(
    state: &State,
    request: &Request,
    command: EndedSecretUse,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    by_the_program(request)?;
    let record = state.credential(command.key);
    let record = record.ok_or(Rejection::NotFound { what: "credential" })?;
    if !record.secrets().any(|secret| secret.id == command.secret) {
        return Err(Rejection::NotFound { what: "secret" });
    }
    let noted = record.ended_use_noted_at();
    if noted.is_some_and(|at| facts.now < at.plus_ms(ENDED_USE_NOTED_EVERY_MS)) {
        return Err(Rejection::EndedUseAlreadyRecorded);
    }
    let used = EndedSecretUsed {
        secret_id: command.secret,
        code: command.code,
        uses: command.uses,
        first_at: command.first_at,
        last_at: command.last_at,
    };
    let subject = Subject::Credential(record.id());
    Ok(noted_by_the_program(
        Some(record.organization()),
        subject,
        used.into(),
    ))
}

/// Anchors sealed segments of the usage history: those that follow the ones anchored last. Where
/// segments were lost before they were anchored, the addresses say so.
pub(super) fn seal(
    state: &State,
    request: &Request,
    command: SealUsage,
) -> Result<Decision, Rejection> {
    by_the_program(request)?;
    let log_id = state.ledger().log_id;
    let log_id = log_id.ok_or(Rejection::NotFound { what: "ledger" })?;
    if command.from < state.ledger().usage_sealed_to || command.to <= command.from {
        return Err(Rejection::UsageAlreadyAnchored);
    }
    let sealed = UsageSealed {
        from: command.from,
        to: command.to,
        segments: command.segments,
        records: command.records,
        first_at: command.first_at,
        last_at: command.last_at,
        digest: command.digest,
    };
    let subject = Subject::Ledger(log_id);
    Ok(noted_by_the_program(None, subject, sealed.into()))
}

/// No caller from outside gives these commands.
pub(super) fn by_the_program(request: &Request) -> Result<(), Rejection> {
    match request.actor {
        Actor::System => Ok(()),
        Actor::Operator | Actor::Anonymous | Actor::Bearer { .. } | Actor::Session(_) => {
            Err(Rejection::ServerOnly)
        }
    }
}

pub(super) fn noted_by_the_program(
    organization: Option<OrganizationId>,
    subject: Subject,
    fact: Fact,
) -> Decision {
    Decision {
        changes: vec![Change {
            organization,
            subject,
            fact,
        }],
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority: Authority::nothing(),
    }
}
