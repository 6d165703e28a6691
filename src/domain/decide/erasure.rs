//! Erasing a person: the membership ends first, with all that acts for it.
//!
//! Nothing here destroys a key. The ledger does that once the event is durable, so that no crash
//! leaves a person erased of whom the log does not say so.

use super::members::{check_owners_are_covered, member, removed_with_all};
use super::{Change, Decision, Facts, admit, checks, decision};
use crate::domain::access::Action;
use crate::domain::command::{EraseMember, Request};
use crate::domain::event::ledger::SubjectErased;
use crate::domain::ids::Subject;
use crate::domain::rejection::Rejection;
use crate::domain::state::State;

pub(super) fn erase_member(
    state: &State,
    request: &Request,
    command: &EraseMember,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let record = member(state, organization, command.member)?;
    check_owners_are_covered(state, &access, record)?;
    let reason = &command.reason;
    if reason.trim().is_empty() {
        return Err(Rejection::FieldEmpty { field: "reason" });
    }
    checks::lines("reason", reason, checks::REASON_CHARS_MAX)?;
    checks::version(request.if_match, record.stamp.version)?;
    let subject = Subject::Member(record.id);
    let nothing = decision(&access, organization, subject, vec![]);
    if record.erased_at.is_some() {
        return Ok(nothing);
    }
    let mut made = if record.removed {
        nothing
    } else {
        removed_with_all(state, &access, record, facts)?
    };
    let erased = SubjectErased {
        reason: reason.clone(),
    };
    made.changes.push(Change {
        organization: Some(organization),
        subject,
        fact: erased.into(),
    });
    Ok(made)
}
