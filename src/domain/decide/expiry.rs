//! Notices that the time of credentials is nearly over, or over.

use super::usage::by_the_program;
use super::{Change, Decision, Facts};
use crate::domain::access::Authority;
use crate::domain::command::{NoteExpiries, Request};
use crate::domain::expiry::Notice;
use crate::domain::ids::Subject;
use crate::domain::record::Credential;
use crate::domain::rejection::Rejection;
use crate::domain::state::State;

const NOTHING: Rejection = Rejection::NotFound {
    what: "expiry to tell of",
};

/// Gives those of the notices that are still due, in their order, each once.
///
/// A notice raises the mark over all before it, so none may be given while one before it is
/// missing. Whoever put them together knew all that is due up to the last of them, as of the newest
/// event that it had seen. Events since then happened no earlier than that one, so they have opened
/// only what is due after it: notices due by then are safe, all others only if there was no event.
/// And by a clock that has gone back since, what outweighed an earlier notice may not be due yet.
pub(super) fn note(
    state: &State,
    request: &Request,
    command: &NoteExpiries,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    by_the_program(request)?;
    if facts.now < command.at {
        return Err(NOTHING);
    }
    let all_seen = command.seen.map(|seen| seen.id) == state.last_id();
    let seen_at = command.seen.map(|seen| seen.at);
    let mut told = state.ledger().timed_to;
    let mut changes = Vec::with_capacity(command.notices.len());
    for notice in &command.notices {
        let turn = notice.turn();
        let safe = all_seen || seen_at.is_some_and(|at| turn.due_at <= at);
        let record = state.credential(notice.key);
        let record = record.filter(|record| notice.is_due(record, facts.now));
        let Some(record) = record.filter(|_| safe && told < Some(turn)) else {
            continue;
        };
        told = Some(turn);
        changes.push(change(record, notice));
    }
    let subject = changes.first().map(|change| change.subject);
    Ok(Decision {
        changes,
        subject: subject.ok_or(NOTHING)?,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority: Authority::nothing(),
    })
}

fn change(record: &Credential, notice: &Notice) -> Change {
    Change {
        organization: Some(record.organization()),
        subject: Subject::Credential(notice.key),
        fact: notice.fact(),
    }
}
