//! Notices of expiries: which are given, in which order, once.

use super::Ledger;
use super::acme::Acme;
use super::history::{Step, any_of};
use crate::domain::command::{Actor, Command, CreateKey, Expiry, NoteExpiries};
use crate::domain::expiry::{Dates, Leads, Notice, Turn};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, Subject};
use crate::domain::kind::Kind;
use crate::domain::record::{Grant, Metadata, Status};
use crate::domain::rejection::Rejection;
use crate::domain::time::{DAY_MS, Timestamp};

const DAY: i64 = 24 * 60 * 60;
const NOTHING: Rejection = Rejection::NotFound {
    what: "expiry to tell of",
};

/// Notices by who has seen everything.
fn notes(ledger: &Ledger, notices: &[Notice]) -> NoteExpiries {
    NoteExpiries {
        seen: ledger.state.newest(),
        at: ledger.now,
        notices: notices.to_vec(),
    }
}

/// One notice of a credential as it is.
fn notice(ledger: &Ledger, key: CredentialId, days: Option<u16>) -> Notice {
    let record = ledger.state.credential(key).unwrap();
    Notice {
        key,
        expires_at: record.expires_at().unwrap(),
        days,
    }
}

fn expiring(acme: &mut Acme, days: u32) -> CredentialId {
    let command = CreateKey {
        expiry: Expiry::InDays(days),
        ..acme.api_key(&["cases:read"])
    };
    acme.make(command)
}

/// One whose expiry can be edited.
fn access(acme: &mut Acme, days: u32) -> CredentialId {
    let command = CreateKey {
        kind: Kind::Access,
        grant: Grant {
            role: Some(String::from("viewer")),
            ..Grant::default()
        },
        expiry: Expiry::InDays(days),
        ..acme.api_key(&[])
    };
    acme.make(command)
}

fn set_expiry(acme: &mut Acme, key: CredentialId, expiry: Expiry) {
    let mut edit = acme.edit(key);
    edit.expiry = Some(expiry);
    acme.when(Actor::Operator, edit).accepted();
}

/// Whether a notice is given.
fn tell(acme: &mut Acme, key: CredentialId, days: Option<u16>) -> &'static str {
    let note = notes(acme, &[notice(acme, key, days)]);
    acme.when(Actor::System, Command::NoteExpiries(note)).code()
}

/// Gives every notice that there is, as the program does, however the step picks the leads.
pub(super) fn any_notices(acme: &Acme, step: &Step) -> Command {
    let leads = Leads::check(vec![1 + u16::from(step.how % 3)]).unwrap();
    let told = acme.state.ledger().timed_to;
    let first = CredentialId(ulid::Ulid(0));
    let keys = acme.state.credentials.keys_from(&first, |_| true);
    let next = keys.into_iter().filter_map(|id| {
        let next = Dates::of(acme.credential(id))?.next(id, &leads, told, acme.now)?;
        (next.due_at() <= acme.now).then_some(next)
    });
    let mut notices: Vec<Notice> = next.collect();
    notices.sort_by_key(Notice::turn);
    // And one that is not.
    let key = any_of(&acme.state.credentials, &first, step.which).unwrap();
    let expires_at = acme.now;
    notices.push(Notice {
        key,
        expires_at,
        days: None,
    });
    Command::NoteExpiries(notes(acme, &notices))
}

/// Both types of event, for [`super::payloads`].
pub(super) fn every_notice(ledger: &mut Ledger, organization: OrganizationId) {
    let key = ledger.submit(CreateKey {
        organization,
        kind: Kind::Organization,
        owner: Owner::Organization(organization),
        project: None,
        name: String::from("Short"),
        description: None,
        grant: Grant {
            scopes: vec![String::from("cases:read")],
            ..Grant::default()
        },
        expiry: Expiry::InDays(8),
        metadata: Metadata::new(),
    });
    let Subject::Credential(key) = key else {
        panic!("{key:?}");
    };
    for (later, days) in [(DAY, Some(7)), (7 * DAY, None)] {
        ledger.later(later);
        let note = notes(ledger, &[notice(ledger, key, days)]);
        let note = Command::NoteExpiries(note);
        ledger.when(Actor::System, note).accepted();
    }
}

#[test]
fn an_expiry_is_told_of_ahead_and_when_it_has_come_each_once() {
    let mut acme = Acme::new();
    let key = expiring(&mut acme, 31);
    let before = acme.credential(key).clone();
    for (later, days, code) in [
        (DAY - 1, Some(30), "not_found"),
        (1, Some(30), "accepted"),
        (0, Some(30), "not_found"),
        (0, Some(7), "not_found"),
        (23 * DAY, Some(7), "accepted"),
        (7 * DAY - 1, None, "not_found"),
        (1, None, "accepted"),
        (DAY, None, "not_found"),
        (0, Some(1), "not_found"),
    ] {
        acme.later(later);
        assert_eq!(tell(&mut acme, key, days), code, "{later} {days:?}");
    }
    let after = acme.credential(key);
    assert_eq!(after.stamp().version, before.stamp().version + 3);
    assert_eq!(after.expires_at(), before.expires_at());
    assert_eq!(after.status(acme.now), Status::Expired);
    assert_eq!(acme.replayed().credential(key), acme.state.credential(key));
    assert_eq!(acme.replayed().ledger(), acme.state.ledger());
}

#[test]
fn a_notice_says_what_expires_and_when() {
    let mut acme = Acme::new();
    let key = expiring(&mut acme, 2);
    acme.later(DAY);
    let note = notes(&acme, &[notice(&acme, key, Some(1))]);
    let told = acme.when(Actor::System, Command::NoteExpiries(note));
    told.then(&[&format!(
        r#"api_key.expiring {key} {{"expires_at":"2026-04-26T15:30:00.000Z","days":1,
        "due_at":"2026-04-25T15:30:00.000Z"}}"#
    )]);
    acme.later(DAY);
    let note = notes(&acme, &[notice(&acme, key, None)]);
    let told = acme.when(Actor::System, Command::NoteExpiries(note));
    told.then(&[&format!(
        r#"api_key.expired {key} {{"expires_at":"2026-04-26T15:30:00.000Z"}}"#
    )]);
}

#[test]
fn the_program_alone_gives_notices() {
    let mut acme = Acme::new();
    let key = expiring(&mut acme, 1);
    acme.later(DAY);
    for actor in [Actor::Operator, acme.owner, acme.platform] {
        let note = notes(&acme, &[notice(&acme, key, None)]);
        let outcome = acme.when(actor, Command::NoteExpiries(note));
        assert_eq!(outcome.code(), "server_only");
    }
}

#[test]
fn nothing_is_told_of_what_was_past_when_it_was_set_or_has_been_ended() {
    let mut acme = Acme::new();
    let born_late = expiring(&mut acme, 5);
    assert_eq!(tell(&mut acme, born_late, Some(7)), "not_found");
    assert_eq!(tell(&mut acme, born_late, Some(5)), "not_found");
    let moved = access(&mut acme, 60);
    acme.later(10);
    set_expiry(&mut acme, moved, Expiry::InDays(20));
    assert_eq!(tell(&mut acme, moved, Some(30)), "not_found");
    // The old expiry has no notices any more.
    let old = Notice {
        expires_at: acme.now.plus_ms(DAY_MS),
        ..notice(&acme, moved, Some(1))
    };
    let note = notes(&acme, &[old]);
    acme.when(Actor::System, Command::NoteExpiries(note))
        .refused(NOTHING);
    acme.later(5 * DAY);
    assert_eq!(tell(&mut acme, born_late, None), "accepted");
    let revoked = expiring(&mut acme, 1);
    let disabled = expiring(&mut acme, 1);
    let revoke = acme.revoke(revoked);
    acme.when(Actor::Operator, revoke).accepted();
    let disable = acme.disable(disabled);
    acme.when(Actor::Operator, disable).accepted();
    acme.later(DAY);
    assert_eq!(tell(&mut acme, revoked, None), "not_found");
    assert_eq!(tell(&mut acme, disabled, None), "accepted");
    // A rename is no change of the expiry.
    let mut edit = acme.edit(moved);
    edit.metadata = Some([("a".to_owned(), "b".to_owned())].into());
    acme.later(7 * DAY);
    acme.when(Actor::Operator, edit).accepted();
    assert_eq!(tell(&mut acme, moved, Some(7)), "accepted");
}

#[test]
fn an_expiry_moved_away_and_back_tells_nothing_twice() {
    let mut acme = Acme::new();
    let key = access(&mut acme, 8);
    let expires_at = acme.credential(key).expires_at().unwrap();
    acme.later(DAY);
    assert_eq!(tell(&mut acme, key, Some(7)), "accepted");
    set_expiry(&mut acme, key, Expiry::InDays(100));
    acme.later(1);
    set_expiry(&mut acme, key, Expiry::At(expires_at));
    assert_eq!(tell(&mut acme, key, Some(7)), "not_found");
    acme.later(7 * DAY);
    assert_eq!(tell(&mut acme, key, None), "accepted");
}

#[test]
fn notices_are_given_in_their_order_and_one_that_is_passed_over_is_not_given_later() {
    let mut acme = Acme::new();
    let first = expiring(&mut acme, 1);
    let second = expiring(&mut acme, 1);
    let later = {
        acme.later(1);
        expiring(&mut acme, 1)
    };
    acme.later(2 * DAY);
    let all = [later, second, first].map(|key| notice(&acme, key, None));
    let note = notes(&acme, &[all[1], all[0], all[2]]);
    let done = acme.when(Actor::System, Command::NoteExpiries(note));
    let given = done.accepted().events.into_iter();
    let given: Vec<_> = given.map(|event| event.subject).collect();
    assert_eq!(given, [second, later].map(Subject::Credential));
    let mark = Turn {
        due_at: acme.credential(later).expires_at().unwrap(),
        key: later,
    };
    assert_eq!(acme.state.ledger().timed_to, Some(mark));
    for notice in all {
        let note = notes(&acme, &[notice]);
        acme.when(Actor::System, Command::NoteExpiries(note))
            .refused(NOTHING);
    }
}

#[test]
fn who_has_not_seen_the_newest_event_gives_only_what_was_due_by_the_last_one_it_saw() {
    let mut acme = Acme::new();
    let [early, late] = [1, 2].map(|days| expiring(&mut acme, days));
    acme.later(DAY);
    acme.key(&["cases:read"]);
    acme.later(DAY);
    let all = [early, late].map(|key| notice(&acme, key, None));
    let stale = notes(&acme, &all);
    // Unseen: a key may have been made that expired before the second one.
    acme.key(&["cases:read"]);
    let given = acme.when(Actor::System, Command::NoteExpiries(stale.clone()));
    let given: Vec<_> = given.accepted().events.iter().map(|e| e.subject).collect();
    assert_eq!(given, [Subject::Credential(early)]);
    acme.when(Actor::System, Command::NoteExpiries(stale))
        .refused(NOTHING);
    let fresh = notes(&acme, &all);
    let given = acme.when(Actor::System, Command::NoteExpiries(fresh));
    let given: Vec<_> = given.accepted().events.iter().map(|e| e.subject).collect();
    assert_eq!(given, [Subject::Credential(late)]);
}

#[test]
fn a_clock_that_has_gone_back_gives_nothing() {
    let mut acme = Acme::new();
    let key = expiring(&mut acme, 1);
    acme.later(DAY + 60);
    let note = notes(&acme, &[notice(&acme, key, None)]);
    acme.later(-1);
    let refused = acme.when(Actor::System, Command::NoteExpiries(note));
    refused.refused(NOTHING);
    assert_eq!(tell(&mut acme, key, None), "accepted");
}

#[test]
fn what_is_abandoned_was_not_given() {
    let mut acme = Acme::new();
    let key = expiring(&mut acme, 1);
    acme.later(DAY);
    let note = notes(&acme, &[notice(&acme, key, None)]);
    let request = crate::domain::command::Request {
        actor: Actor::System,
        command: Command::NoteExpiries(note),
        if_match: None,
    };
    acme.stage(&request).accepted();
    acme.state.abandon();
    acme.log.pop();
    assert_eq!(acme.state.ledger().timed_to, None);
    assert_eq!(tell(&mut acme, key, None), "accepted");
}

#[test]
fn what_cannot_be_written_is_never_due() {
    // An expiry in the first days there are: its leads lie before them.
    let notice = Notice {
        key: CredentialId(ulid::Ulid(1)),
        expires_at: Timestamp(1),
        days: Some(365),
    };
    assert_eq!(notice.due_at(), Timestamp(0));
}
