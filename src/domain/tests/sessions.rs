//! Links, sessions and passwords: who gets one, what it opens, what ends it.

use super::acme::Acme;
use super::{Done, Outcome};
use crate::domain::command::{
    Actor, Command, CreateOrganization, IssueSignInLink, RemoveMember, SetPassword, SignIn,
    SignInFailure, SignInProof, SignOut, UpdateMember,
};
use crate::domain::event::Fact;
use crate::domain::ids::{EventId, SessionId, Subject, UserId};
use crate::domain::personal::Personal;
use crate::domain::rejection::{Beyond, Rejection};
use crate::domain::secret::SecretHash;
use crate::domain::session::SESSIONS_PER_USER_MAX;

const HOUR: i64 = 3_600;

impl Acme {
    fn issue_link(&mut self, by: Actor, member: UserId) -> Outcome {
        let organization = self.organization;
        self.when(
            by,
            Command::IssueSignInLink(IssueSignInLink {
                organization,
                member,
            }),
        )
    }

    /// A new link's hash, as the operator has it.
    fn link(&mut self, member: UserId) -> SecretHash {
        let done = self.issue_link(Actor::Operator, member).accepted();
        done.sign_in.unwrap().hash()
    }

    fn sign_in(&mut self, member: UserId, proof: SignInProof) -> Outcome {
        let organization = self.organization;
        let command = Command::SignIn(SignIn {
            organization,
            member,
            proof,
        });
        self.when(Actor::Anonymous, command)
    }

    /// A new session of a member.
    fn session(&mut self, member: UserId) -> SessionId {
        let link = self.link(member);
        session_of(&self.sign_in(member, SignInProof::Link(link)).accepted())
    }

    fn sign_out(&mut self, by: SessionId, session: SessionId) -> Outcome {
        let organization = self.organization;
        let command = SignOut {
            organization,
            session,
        };
        self.when(Actor::Session(by), Command::SignOut(command))
    }

    fn set_password(&mut self, by: Actor, current: Option<EventId>) -> Outcome {
        let command = SetPassword {
            organization: self.organization,
            password: Personal::new(String::from("$argon2id$")),
            current,
        };
        self.when(by, Command::SetPassword(command))
    }

    fn has_password(&self, member: UserId) -> bool {
        let means = self.state.sign_in_means(member).unwrap();
        means.password.is_some()
    }

    fn password_of(&self, member: UserId) -> EventId {
        let means = self.state.sign_in_means(member).unwrap();
        means.password.as_ref().unwrap().set_by
    }

    #[track_caller]
    fn check_dead(&self, session: SessionId) {
        let authority = self.state.authority(Actor::Session(session), self.now);
        assert_eq!(authority, Err(Rejection::CredentialNotAccepted));
    }
}

fn session_of(done: &Done) -> SessionId {
    let Subject::Session(id) = done.subject else {
        panic!("{done:?}");
    };
    id
}

fn names(done: &Done) -> Vec<&'static str> {
    done.events.iter().map(|event| event.fact.name()).collect()
}

#[test]
fn a_link_is_told_to_members_in_person_and_to_the_platform() {
    let mut acme = Acme::new();
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    let ann = acme.session(acme.ann);
    for told in [Actor::Session(ann), acme.platform, Actor::Operator] {
        let done = acme.issue_link(told, carl).accepted();
        assert_eq!(names(&done), ["member.sign_in_link_issued"]);
        assert!(done.sign_in.is_some());
    }
    // Nobody else would have the link, so there is none.
    for silent in [acme.admin, acme.owner] {
        let done = acme.issue_link(silent, carl).accepted();
        assert!(done.events.is_empty() && done.sign_in.is_none());
    }
    let (_, viewer) = acme.member("dora@acme.example", "viewer");
    let needs = "member:manage";
    acme.issue_link(viewer, carl)
        .refused(Rejection::Forbidden { needs });
}

#[test]
fn a_link_is_made_for_a_role_that_the_actor_covers_and_comes_with_a_new_member() {
    let mut acme = Acme::new();
    let (dora, _) = acme.member("dora@acme.example", "administrator");
    let administrator = Actor::Session(acme.session(dora));
    let owner = Actor::Session(acme.session(acme.ann));
    let why = Beyond::OwnerRole;
    let ann = acme.ann;
    for by in [administrator, acme.admin] {
        acme.issue_link(by, ann)
            .refused(Rejection::BeyondYourAuthority { why });
    }
    acme.issue_link(owner, ann).accepted();
    for (by, email, expected) in [
        (administrator, "e1@acme.example", true),
        (acme.platform, "e2@acme.example", true),
        (acme.admin, "e3@acme.example", false),
        (acme.owner, "e4@acme.example", false),
        (Actor::Operator, "e5@acme.example", false),
    ] {
        let add = acme.add_member(email, "viewer");
        let done = acme.when(by, add).accepted();
        assert_eq!(done.sign_in.is_some(), expected, "{by:?}");
        assert_eq!(done.events.len(), 1 + usize::from(expected));
    }
    let command = CreateOrganization {
        name: String::from("Initech"),
        owner_email: String::from("bill@initech.example"),
        key_scopes: super::acme::strings(&["admin:*"]),
    };
    let done = acme.when(acme.platform, command).accepted();
    assert_eq!(names(&done).last(), Some(&"member.sign_in_link_issued"));
    let (token, link) = (done.token.unwrap(), done.sign_in.unwrap());
    assert!(!token.reveal().contains(link.reveal()));
}

#[test]
fn a_link_begins_one_session_within_a_day_unless_a_newer_one_is_issued() {
    let mut acme = Acme::new();
    let ann = acme.ann;
    let old = acme.link(ann);
    let link = acme.link(ann);
    acme.later(24 * HOUR - 1);
    acme.sign_in(ann, SignInProof::Link(old))
        .refused(Rejection::SignInRefused);
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    acme.sign_in(carl, SignInProof::Link(link))
        .refused(Rejection::SignInRefused);
    let done = acme.sign_in(ann, SignInProof::Link(link)).accepted();
    assert_eq!(names(&done), ["session.started"]);
    acme.sign_in(ann, SignInProof::Link(link))
        .refused(Rejection::SignInRefused);
    let late = acme.link(ann);
    acme.later(24 * HOUR);
    acme.sign_in(ann, SignInProof::Link(late))
        .refused(Rejection::SignInRefused);
}

#[test]
fn a_link_ends_with_the_role_it_was_made_for() {
    let mut acme = Acme::new();
    let organization = acme.organization;
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    let link = acme.link(carl);
    let promote = UpdateMember {
        organization,
        member: carl,
        role: Some(String::from("owner")),
        email: None,
        name: None,
    };
    acme.when(acme.owner, promote).accepted();
    // Whoever has the link was trusted with a viewer.
    acme.sign_in(carl, SignInProof::Link(link))
        .refused(Rejection::SignInRefused);
    let link = acme.link(carl);
    let remove = RemoveMember {
        organization,
        member: carl,
    };
    acme.when(acme.owner, remove).accepted();
    acme.sign_in(carl, SignInProof::Link(link))
        .refused(Rejection::SignInRefused);
    acme.issue_link(Actor::Operator, carl)
        .refused(Rejection::MemberRemoved);
}

/// A password may have been set by a link of somebody who was trusted with the old role alone.
#[test]
fn a_password_ends_with_a_role_that_allows_more() {
    let mut acme = Acme::new();
    let organization = acme.organization;
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    let session = Actor::Session(acme.session(carl));
    acme.set_password(session, None).accepted();
    for (role, ends) in [
        ("administrator", true),
        ("viewer", false),
        ("administrator", true),
        ("owner", true),
        ("administrator", false),
    ] {
        let has_password = acme.has_password(carl);
        let change = UpdateMember {
            organization,
            member: carl,
            role: Some(String::from(role)),
            email: None,
            name: None,
        };
        let done = acme.when(acme.owner, change).accepted();
        let Fact::MemberRoleChanged(changed) = &done.events[0].fact else {
            panic!("{done:?}");
        };
        assert_eq!(changed.password_ended, has_password && ends, "{role}");
        assert_eq!(acme.has_password(carl), has_password && !ends, "{role}");
        let session = Actor::Session(acme.session(carl));
        acme.set_password(session, None).accepted();
    }
}

#[test]
fn a_session_has_the_rights_of_its_members_role_and_lasts_twelve_hours() {
    let mut acme = Acme::new();
    let (dora, _) = acme.member("dora@acme.example", "administrator");
    let session = acme.session(dora);
    let key = acme.api_key(&["cases:read"]);
    let done = acme.when(Actor::Session(session), key).accepted();
    let actor = &done.events[0].actor;
    assert_eq!(actor.id.unwrap().to_string(), dora.to_string());
    assert_eq!(actor.via.unwrap().to_string(), session.to_string());
    let Fact::KeyCreated(created) = &done.events[0].fact else {
        panic!("{done:?}");
    };
    assert_eq!(created.issued_via, None);
    let platform = acme.api_key(&["platform:*"]);
    let why = Beyond::Platform;
    acme.when(Actor::Session(session), platform)
        .refused(Rejection::BeyondYourAuthority { why });
    acme.later(12 * HOUR - 1);
    let key = acme.api_key(&["cases:read"]);
    acme.when(Actor::Session(session), key.clone()).accepted();
    acme.later(1);
    acme.when(Actor::Session(session), key)
        .refused(Rejection::CredentialNotAccepted);
}

#[test]
fn signing_out_ends_a_session_of_ones_own_once() {
    let mut acme = Acme::new();
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    let (first, second) = (acme.session(carl), acme.session(carl));
    let ann = acme.session(acme.ann);
    acme.sign_out(first, ann)
        .refused(Rejection::NotFound { what: "session" });
    let line = format!(r#"session.ended {second} {{"reason":"signed_out","cause":null}}"#);
    acme.sign_out(first, second).then(&[&line]);
    acme.check_dead(second);
    acme.sign_out(first, first).accepted();
    acme.check_dead(first);
    acme.sign_out(first, first)
        .refused(Rejection::CredentialNotAccepted);
    let command = SignOut {
        organization: acme.organization,
        session: ann,
    };
    acme.when(acme.owner, Command::SignOut(command))
        .refused(Rejection::SessionRequired);
}

fn change_role(acme: &Acme, member: UserId) -> Command {
    Command::UpdateMember(UpdateMember {
        organization: acme.organization,
        member,
        role: Some(String::from("engineer")),
        email: None,
        name: None,
    })
}

fn remove(acme: &Acme, member: UserId) -> Command {
    Command::RemoveMember(RemoveMember {
        organization: acme.organization,
        member,
    })
}

#[test]
fn a_change_of_password_role_or_membership_ends_every_session() {
    for (reason, command) in [
        ("role_changed", change_role as fn(&Acme, UserId) -> Command),
        ("member_removed", remove),
    ] {
        let mut acme = Acme::new();
        let (carl, _) = acme.member("carl@acme.example", "viewer");
        let sessions = [acme.session(carl), acme.session(carl)];
        let command = command(&acme, carl);
        let done = acme.when(acme.owner, command).accepted();
        let cause = done.events[0].id.to_string();
        for session in sessions {
            acme.check_dead(session);
            let mut events = done.events.iter();
            let ended = events.find(|event| event.subject == Subject::Session(session));
            let data = serde_json::to_value(&ended.unwrap().fact).unwrap();
            assert_eq!(
                (&data["reason"], &data["cause"]),
                (&reason.into(), &cause.clone().into())
            );
        }
    }
    let mut acme = Acme::new();
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    let sessions = [acme.session(carl), acme.session(carl)];
    let done = acme
        .set_password(Actor::Session(sessions[1]), None)
        .accepted();
    let expected = ["member.password_set", "session.ended", "session.ended"];
    assert_eq!(names(&done), expected);
    // The one that did it too.
    for session in sessions {
        acme.check_dead(session);
    }
}

#[test]
fn a_password_is_set_in_person_by_whoever_knows_it_or_has_just_used_a_link() {
    let mut acme = Acme::new();
    let (carl, token) = acme.member("carl@acme.example", "viewer");
    acme.set_password(token, None)
        .refused(Rejection::SessionRequired);
    let session = Actor::Session(acme.session(carl));
    acme.later(600);
    acme.set_password(session, None).accepted();
    let first = acme.password_of(carl);
    let session = Actor::Session(acme.session(carl));
    acme.later(601);
    acme.set_password(session, None)
        .refused(Rejection::PasswordProofNeeded);
    acme.set_password(session, Some(first)).accepted();
    // A password signs in; the one before does not, and by itself it proves nothing more.
    acme.sign_in(carl, SignInProof::Password(first))
        .refused(Rejection::SignInRefused);
    let second = acme.password_of(carl);
    let done = acme.sign_in(carl, SignInProof::Password(second)).accepted();
    let session = Actor::Session(session_of(&done));
    for stale in [None, Some(first)] {
        acme.set_password(session, stale)
            .refused(Rejection::PasswordProofNeeded);
    }
    acme.set_password(session, Some(second)).accepted();
}

#[test]
fn a_new_session_puts_an_end_to_expired_ones_and_to_the_oldest_beyond_a_hundred() {
    let mut acme = Acme::new();
    let ann = acme.ann;
    let expired = acme.session(ann);
    acme.later(12 * HOUR);
    let link = acme.link(ann);
    let done = acme.sign_in(ann, SignInProof::Link(link)).accepted();
    assert_eq!(names(&done), ["session.started", "session.ended"]);
    assert_eq!(done.events[1].subject, Subject::Session(expired));
    let oldest = session_of(&done);
    let sessions: Vec<_> = (1..SESSIONS_PER_USER_MAX)
        .map(|_| acme.session(ann))
        .collect();
    assert_eq!(acme.state.sessions_of(ann).len(), SESSIONS_PER_USER_MAX);
    acme.session(ann);
    acme.check_dead(oldest);
    assert_eq!(acme.state.sessions_of(ann).len(), SESSIONS_PER_USER_MAX);
    assert!(acme.state.session(sessions[0]).is_some());
}

#[test]
fn failures_are_noted_and_nobody_may_do_anything_else() {
    let mut acme = Acme::new();
    let ann = acme.ann;
    let note = SignInFailure {
        organization: acme.organization,
        member: ann,
        failures: 3,
    };
    let line = format!(r#"member.sign_in_failed {ann} {{"failures":3}}"#);
    acme.when(Actor::System, Command::NoteSignInFailure(note))
        .then(&[&line]);
    acme.when(Actor::Anonymous, Command::NoteSignInFailure(note))
        .refused(Rejection::ServerOnly);
    for actor in [Actor::Anonymous, Actor::System] {
        let key = acme.api_key(&["cases:read"]);
        acme.when(actor, key)
            .refused(Rejection::CredentialNotAccepted);
        acme.set_password(actor, None)
            .refused(Rejection::CredentialNotAccepted);
    }
    let link = SignInProof::Link(acme.link(ann));
    let command = Command::SignIn(SignIn {
        organization: acme.organization,
        member: ann,
        proof: link,
    });
    for actor in [Actor::System, Actor::Operator] {
        acme.when(actor, command.clone())
            .refused(Rejection::SignInRefused);
    }
    acme.sign_in(ann, link).accepted();
}
