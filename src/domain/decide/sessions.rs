//! Signing in and out: links, sessions, passwords.
//!
//! Who signs in has no standing yet: what is presented is the authority. A password has been
//! compared with its hash before the command came, since that takes long; here it counts only if
//! that hash still is the member's.

use super::members::member;
use super::usage::by_the_program;
use super::{Change, Decision, Facts, admit, checks, decision};
use crate::domain::access::{Access, Action, Authority};
use crate::domain::command::{
    Actor, IssueSignInLink, Request, SetPassword, SignIn, SignInFailure, SignInProof, SignOut,
};
use crate::domain::event::{
    Fact, PasswordSet, SessionEnded, SessionStarted, SignInFailed, SignInLinkIssued,
};
use crate::domain::ids::{OrganizationId, SessionId, Subject, UserId, Via};
use crate::domain::record::Member;
use crate::domain::rejection::Rejection;
use crate::domain::session::{
    LINK_MS, SESSION_MS, SESSIONS_PER_USER_MAX, Session, SessionEnd, SignedInBy,
};
use crate::domain::sign_in::OpaqueToken;
use crate::domain::state::State;

/// A new link for a member, with its token. It ends the one before.
fn new_link(facts: &Facts) -> (OpaqueToken, Fact) {
    let token = OpaqueToken::compose(&facts.link_random);
    let issued = SignInLinkIssued {
        hash: token.hash(),
        expires_at: facts.now.plus_ms(LINK_MS),
    };
    (token, issued.into())
}

/// Adds a link for a new member, where the actor is told of it. An operator asks for one apart.
pub(super) fn with_link(
    mut made: Decision,
    access: &Access,
    (organization, member): (OrganizationId, UserId),
    facts: &Facts,
) -> Decision {
    let operator = access.authority().organization.is_none();
    if gets_links(access) && !operator {
        let (token, fact) = new_link(facts);
        made.changes.push(Change {
            organization: Some(organization),
            subject: Subject::Member(member),
            fact,
        });
        made.sign_in = Some(token);
    }
    made
}

/// Whether the actor is told of links: a member in a session, or whoever covers the platform.
/// Others make none, since nobody would have it. What a link begins does not end with the
/// credential that made it, so one that expires makes none either.
fn gets_links(access: &Access) -> bool {
    let authority = access.authority();
    (authority.platform || authority.is_session()) && authority.expires_at.is_none()
}

pub(super) fn issue_link(
    state: &State,
    request: &Request,
    command: IssueSignInLink,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let organization = command.organization;
    let access = admit(state, request, facts, Action::WritePlatform, organization)?;
    let record = member(state, organization, command.member)?;
    access
        .authority()
        .cover(&Authority::of_role(&record.role, state.catalogue()))?;
    checks::version(request.if_match, record.stamp.version)?;
    if record.removed {
        return Err(Rejection::MemberRemoved);
    }
    let subject = Subject::Member(record.id);
    if !gets_links(&access) {
        return Ok(decision(&access, organization, subject, vec![]));
    }
    let (token, issued) = new_link(facts);
    let mut made = decision(&access, organization, subject, vec![issued]);
    made.sign_in = Some(token);
    Ok(made)
}

pub(super) fn sign_in(
    state: &State,
    request: &Request,
    command: &SignIn,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    if request.actor != Actor::Anonymous {
        return Err(Rejection::SignInRefused);
    }
    let member = state.member(command.member);
    let member = member.filter(|m| m.organization == command.organization && !m.removed);
    let member = member.ok_or(Rejection::SignInRefused)?;
    let by = proven(state, member, command.proof, facts).ok_or(Rejection::SignInRefused)?;
    let id = SessionId(facts.ids[0]);
    let token = OpaqueToken::compose(&facts.random);
    let started = SessionStarted {
        user_id: member.id,
        hash: token.hash(),
        by,
        expires_at: facts.now.plus_ms(SESSION_MS),
    };
    let subject = Subject::Session(id);
    let mut changes = vec![Change {
        organization: Some(member.organization),
        subject,
        fact: started.into(),
    }];
    changes.extend(displaced(state, member, facts));
    Ok(Decision {
        changes,
        subject,
        token: None,
        sign_in: Some(token),
        endpoint_secret: None,
        authority: Authority::of_session(id, member, state.catalogue()),
    })
}

/// What the member has signed in with, if that is good now.
fn proven(state: &State, member: &Member, proof: SignInProof, facts: &Facts) -> Option<SignedInBy> {
    let means = state.sign_in_means(member.id)?;
    match proof {
        SignInProof::Link(hash) => means
            .takes_link(hash, facts.now)
            .then_some(SignedInBy::Link),
        SignInProof::Password(set_by) => {
            let password = means.password.as_ref();
            let same = password.is_some_and(|password| password.set_by == set_by);
            same.then_some(SignedInBy::Password)
        }
    }
}

/// The sessions that a new one puts an end to: those whose time is over, and the oldest ones beyond
/// what a member may have. Refusing instead would let anybody with the password, or a script that
/// never signs out, keep the member out for hours.
fn displaced(state: &State, member: &Member, facts: &Facts) -> Vec<Change> {
    let all = state.sessions_of(member.id);
    let (live, expired): (Vec<&Session>, Vec<_>) = all
        .into_iter()
        .partition(|session| session.is_live(facts.now));
    let beyond = (live.len() + 1).saturating_sub(SESSIONS_PER_USER_MAX);
    let expired = expired.into_iter().map(|s| (s, SessionEnd::Expired));
    let oldest = live.into_iter().take(beyond);
    expired
        .chain(oldest.map(|session| (session, SessionEnd::Limit)))
        .map(|(session, reason)| end(session, reason, Some(facts)))
        .collect()
}

fn end(session: &Session, reason: SessionEnd, cause: Option<&Facts>) -> Change {
    let ended = SessionEnded {
        reason,
        cause: cause.map(|facts| facts.event_id(0)),
    };
    Change {
        organization: Some(session.organization),
        subject: Subject::Session(session.id),
        fact: ended.into(),
    }
}

/// Ends all sessions of a member, as consequences of the command's first event.
pub(super) fn end_all(
    state: &State,
    user: UserId,
    reason: SessionEnd,
    facts: &Facts,
) -> Vec<Change> {
    let sessions = state.sessions_of(user).into_iter();
    sessions
        .map(|session| end(session, reason, Some(facts)))
        .collect()
}

/// Notes failed attempts. Nobody has shown who they are, so it is the program that says so.
pub(super) fn sign_in_failed(
    state: &State,
    request: &Request,
    command: SignInFailure,
) -> Result<Decision, Rejection> {
    by_the_program(request)?;
    let record = member(state, command.organization, command.member)?;
    if record.removed {
        return Err(Rejection::MemberRemoved);
    }
    let subject = Subject::Member(record.id);
    let failed = SignInFailed {
        failures: command.failures,
    };
    Ok(Decision {
        changes: vec![Change {
            organization: Some(command.organization),
            subject,
            fact: failed.into(),
        }],
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority: Authority::nothing(),
    })
}

/// The session that the actor comes by: what only a member in person may do asks for it.
fn own_session<'a>(
    state: &'a State,
    request: &Request,
    organization: OrganizationId,
    facts: &Facts,
) -> Result<(Authority, &'a Session), Rejection> {
    let authority = state.authority(request.actor, facts.now)?;
    let Some(Via::Session(id)) = authority.via else {
        return Err(Rejection::SessionRequired);
    };
    let session = state.session(id).map(|session| &**session);
    let session = session.filter(|session| session.organization == organization);
    let session = session.ok_or(Rejection::NotFound { what: "session" })?;
    Ok((authority, session))
}

pub(super) fn sign_out(
    state: &State,
    request: &Request,
    command: SignOut,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let (authority, own) = own_session(state, request, command.organization, facts)?;
    let session = state.session(command.session);
    let session = session.filter(|session| session.user == own.user);
    let session = session.ok_or(Rejection::NotFound { what: "session" })?;
    checks::version(request.if_match, session.stamp.version)?;
    let changes = if session.ended.is_some() {
        vec![]
    } else {
        vec![end(session, SessionEnd::SignedOut, None)]
    };
    Ok(Decision {
        changes,
        subject: Subject::Session(session.id),
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority,
    })
}

pub(super) fn set_password(
    state: &State,
    request: &Request,
    command: &SetPassword,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let (authority, own) = own_session(state, request, command.organization, facts)?;
    let record = member(state, command.organization, own.user)?;
    let current = state
        .sign_in_means(record.id)
        .and_then(|means| means.password.as_ref())
        .map(|password| password.set_by);
    let known = command.current.is_some() && command.current == current;
    if !known && !own.is_of_recent_link(facts.now) {
        return Err(Rejection::PasswordProofNeeded);
    }
    checks::version(request.if_match, record.stamp.version)?;
    let subject = Subject::Member(record.id);
    let set = PasswordSet {
        password: command.password.clone(),
    };
    let mut changes = vec![Change {
        organization: Some(command.organization),
        subject,
        fact: set.into(),
    }];
    // The session that does it too: whoever else knows its token is out.
    changes.extend(end_all(
        state,
        record.id,
        SessionEnd::PasswordChanged,
        facts,
    ));
    Ok(Decision {
        changes,
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority,
    })
}
