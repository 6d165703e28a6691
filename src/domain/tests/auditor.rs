//! What auditors look for: checkpoints that are told, readings that are noted, signing keys in
//! their order, people erased.

use super::acme::Acme;
use super::history::{Step, pick};
use super::{Ledger, fingerprint};
use crate::domain::command::{
    Actor, AddMember, Command, EraseMember, NoteCheckpoint, NoteLedgerRead, RecordRestore,
    RotateSigningKey,
};
use crate::domain::digest::Digest32;
use crate::domain::envelope::commitment;
use crate::domain::event::ledger::{LedgerReading, LedgerRestored};
use crate::domain::ids::{OrganizationId, Owner, Subject, UserId};
use crate::domain::ledger_head::{Checkpointed, LedgerKey};
use crate::domain::rejection::Rejection;
use crate::domain::state::State;

const VKEYS: [&str; 4] = [
    "keyledger.example/log+00000000+AA==",
    "keyledger.example/log+00000001+AQ==",
    "keyledger.example/log+00000002+Ag==",
    "keyledger.example/log+00000003+Aw==",
];
const DAY: i64 = 24 * 60 * 60;

fn checkpoint(size: u64) -> NoteCheckpoint {
    NoteCheckpoint {
        size,
        root: Digest32([5; 32]),
        checkpoint: format!(
            "keyledger.example/log\n{size}\nBQUF\n\n- keyledger.example/log AAAA\n"
        ),
    }
}

fn reading(organization: Option<OrganizationId>, what: LedgerReading) -> NoteLedgerRead {
    NoteLedgerRead { organization, what }
}

fn rotate(vkey: &str, overlap_days: u32) -> RotateSigningKey {
    RotateSigningKey {
        vkey: vkey.to_owned(),
        overlap_days,
    }
}

fn erase(acme: &Acme, member: UserId, reason: &str) -> EraseMember {
    EraseMember {
        organization: acme.organization,
        member,
        reason: reason.to_owned(),
    }
}

/// Random commands on the ledger as a whole, for [`super::history`].
pub(super) fn ledger_command(acme: &Acme, step: &Step, organization: OrganizationId) -> Command {
    let how = step.how;
    match how % 4 {
        0 => checkpoint((acme.log.len() as u64).saturating_sub(u64::from(how / 4))).into(),
        1 => reading((how > 99).then_some(organization), LedgerReading::Events).into(),
        2 => RecordRestore {
            positions: u64::from(how / 4),
            at_once: 100,
        }
        .into(),
        _ => rotate(pick(&VKEYS, how / 4), u32::from(how)).into(),
    }
}

/// One event of each type, for [`super::payloads`].
pub(super) fn everything_for_auditors(ledger: &mut Ledger, organization: OrganizationId) {
    let size = ledger.log.len() as u64;
    ledger.when(Actor::System, checkpoint(size)).accepted();
    ledger.submit(reading(Some(organization), LedgerReading::WhoCould));
    ledger.submit(rotate(VKEYS[1], 30));
    let member = ledger.submit(AddMember {
        organization,
        email: String::from("erin@acme.example"),
        name: Some(String::from("Erin")),
        role: String::from("reader"),
    });
    let Subject::Member(member) = member else {
        panic!("{member:?}");
    };
    ledger.submit(EraseMember {
        organization,
        member,
        reason: String::from("Request 17 of 2026"),
    });
    ledger.submit(RecordRestore {
        positions: 1,
        at_once: 2,
    });
}

#[test]
fn a_checkpoint_is_told_by_the_program_for_a_larger_tree_than_the_last_one() {
    let mut acme = Acme::new();
    let events = acme.log.len() as u64;
    let told = acme.now;
    for (actor, size, code) in [
        (acme.owner, events, "server_only"),
        (Actor::Operator, events, "server_only"),
        (Actor::System, 0, "checkpoint_size_invalid"),
        (Actor::System, events + 1, "checkpoint_size_invalid"),
        (Actor::System, events, "accepted"),
        (Actor::System, events, "checkpoint_already_recorded"),
        (Actor::System, events - 1, "checkpoint_already_recorded"),
        (Actor::System, events + 2, "checkpoint_size_invalid"),
    ] {
        assert_eq!(acme.when(actor, checkpoint(size)).code(), code, "{size}");
        acme.later(1);
    }
    let noted = acme.state.ledger().checkpointed;
    let at = told.plus_ms(4_000);
    assert_eq!(noted, Some(Checkpointed { size: events, at }));
    // The event that told of it is one more, and the next checkpoint covers it.
    let log = Subject::Ledger(acme.state.ledger().log_id.unwrap());
    let size = events + 1;
    let root = "05".repeat(32);
    acme.when(Actor::System, checkpoint(size)).then(&[&format!(
        r#"ledger.checkpointed {log} {{"size":{size},"root":"{root}","checkpoint":
        "keyledger.example/log\n{size}\nBQUF\n\n- keyledger.example/log AAAA\n"}}"#
    )]);
    let mut long = checkpoint(size + 1);
    long.checkpoint = "x".repeat(4_097);
    let code = acme.when(Actor::System, long).code();
    assert_eq!(code, "field_too_long");
    assert_eq!(acme.replayed().ledger(), acme.state.ledger());
    assert_eq!(acme.state.ledger().events, acme.log.len() as u64);
}

#[test]
fn a_reading_is_noted_of_who_may_read_and_of_all_organizations_by_the_platform_alone() {
    let mut acme = Acme::new();
    let auditor = acme.bearer(&["ledger:read"]);
    let reader = acme.bearer(&["cases:read"]);
    let (own, other) = (Some(acme.organization), Some(acme.globex));
    let nowhere = Some(OrganizationId(ulid::Ulid(1 << 90)));
    let what = LedgerReading::Export;
    for (actor, organization, code) in [
        (auditor, own, "accepted"),
        (acme.admin, own, "accepted"),
        (reader, own, "forbidden"),
        (auditor, other, "not_found"),
        (acme.stranger, own, "not_found"),
        (acme.platform, other, "accepted"),
        (acme.platform, nowhere, "not_found"),
        (auditor, None, "forbidden"),
        (acme.admin, None, "forbidden"),
        (acme.platform, None, "accepted"),
        (Actor::Operator, None, "accepted"),
        (Actor::System, None, "credential_not_accepted"),
    ] {
        let outcome = acme.when(actor, reading(organization, what));
        assert_eq!(outcome.code(), code, "{actor:?} {organization:?}");
    }
    let log = Subject::Ledger(acme.state.ledger().log_id.unwrap());
    for (what, name) in [
        (LedgerReading::Events, "events"),
        (LedgerReading::History, "history"),
        (LedgerReading::State, "state"),
        (LedgerReading::Diff, "diff"),
        (LedgerReading::WhoCould, "who_could"),
        (LedgerReading::Export, "export"),
        (LedgerReading::Proof, "proof"),
    ] {
        let of = acme.organization;
        let expected = format!(r#"ledger.read {log} {{"organization_id":"{of}","what":"{name}"}}"#);
        acme.when(auditor, reading(own, what)).then(&[&expected]);
    }
    // Who asks stands in the event.
    let event = super::read(acme.log.last().unwrap());
    assert_eq!(event.organization, None);
    assert_eq!(
        event.actor.id,
        acme.state.authority(auditor, acme.now).unwrap().principal
    );
}

fn keys(acme: &Acme) -> Vec<(String, Option<i64>)> {
    let keys = acme.state.ledger().vkeys.iter();
    let until = |key: &LedgerKey| key.signs_until.map(|at| (at.0 - super::START.0) / 1_000);
    keys.map(|key| (key.vkey.clone(), until(key))).collect()
}

#[test]
fn signing_keys_follow_each_other_and_never_more_than_two_sign() {
    let mut acme = Acme::new();
    let key = |n: usize, until| (VKEYS[n].to_owned(), until);
    assert_eq!(keys(&acme), [key(0, None)]);
    for actor in [acme.owner, acme.platform] {
        let refused = acme.when(actor, rotate(VKEYS[1], 30));
        assert_eq!(refused.code(), "operator_only");
    }
    let log = Subject::Ledger(acme.state.ledger().log_id.unwrap());
    let (new, old, until) = (VKEYS[1], VKEYS[0], acme.now.plus_ms(30 * DAY * 1_000));
    acme.when(Actor::Operator, rotate(new, 30)).then(&[&format!(
        r#"signing_key.rotated {log} {{"vkey":"{new}","previous_vkey":"{old}",
        "overlap_until":"{until}"}}"#
    )]);
    assert_eq!(keys(&acme), [key(0, Some(30 * DAY)), key(1, None)]);
    // The same one again: it is as asked. An earlier one never comes back.
    acme.when(Actor::Operator, rotate(new, 3)).then_nothing();
    for (vkey, days, code) in [
        (VKEYS[0], 30, "signing_key_reused"),
        (VKEYS[2], 366, "signing_overlap_too_long"),
        ("", 30, "field_empty"),
        ("a\nb", 30, "field_control_characters"),
    ] {
        let refused = acme.when(Actor::Operator, rotate(vkey, days));
        assert_eq!(refused.code(), code, "{vkey}");
    }
    acme.later(DAY);
    acme.when(Actor::Operator, rotate(VKEYS[2], 0)).accepted();
    let expected = [key(0, Some(DAY)), key(1, Some(DAY)), key(2, None)];
    assert_eq!(keys(&acme), expected);
    assert_eq!(acme.replayed().ledger(), acme.state.ledger());
}

#[test]
fn who_is_erased_loses_everything_first_and_the_event_comes_last() {
    let mut acme = Acme::new();
    let (carl, actor) = acme.member("carl@acme.example", "team_member");
    let token = acme.state.live_credentials_of(Owner::User(carl), acme.now)[0];
    let cause = format!("evt_{}", ulid::Ulid(acme.log.len() as u128));
    let asked = erase(&acme, carl, "Asked for it\non paper");
    acme.when(acme.admin, asked.clone()).then(&[
        &format!("member.removed {carl} {{}}"),
        &format!(r#"api_key.revoked {token} {{"reason":null,"cause":"{cause}"}}"#),
        &format!(r#"subject.erased {carl} {{"reason":"Asked for it\non paper"}}"#),
    ]);
    let record = acme.state.member(carl).unwrap();
    assert!(record.removed && record.erased_at == Some(acme.now));
    assert_eq!(record.email.text(), None);
    acme.later(1);
    acme.when(acme.admin, asked.clone()).then_nothing();
    acme.when(actor, asked)
        .refused(Rejection::CredentialNotAccepted);
    // The address is free again.
    let (again, _) = acme.member("Carl@acme.example", "viewer");
    assert_ne!(again, carl);
    assert_eq!(fingerprint(&acme.replayed()), fingerprint(&acme.state));
}

#[test]
fn who_was_removed_can_still_be_erased_and_the_last_owner_cannot() {
    let mut acme = Acme::new();
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    let gone = crate::domain::command::RemoveMember {
        organization: acme.organization,
        member: carl,
    };
    acme.when(acme.admin, gone).accepted();
    let asked = erase(&acme, carl, "gone");
    let expected = format!(r#"subject.erased {carl} {{"reason":"gone"}}"#);
    acme.when(acme.owner, asked).then(&[&expected]);
    let last = erase(&acme, acme.ann, "gone");
    for actor in [acme.owner, acme.platform, Actor::Operator] {
        acme.when(actor, last.clone()).refused(Rejection::LastOwner);
    }
    // An owner is for owners to erase, as to remove.
    acme.member("second@acme.example", "owner");
    let refused = acme.when(acme.admin, last.clone());
    assert_eq!(refused.code(), "beyond_your_authority");
    acme.when(acme.owner, last).accepted();
}

#[test]
fn an_erasure_has_a_reason_a_version_and_a_member_of_the_organization() {
    let mut acme = Acme::new();
    let (carl, by_carl) = acme.member("carl@acme.example", "viewer");
    let (stranger, admin) = (acme.stranger, acme.admin);
    for (actor, reason, code) in [
        (by_carl, String::from("x"), "forbidden"),
        (stranger, String::from("x"), "not_found"),
        (admin, String::new(), "field_empty"),
        (admin, String::from(" \n"), "field_empty"),
        (admin, "x".repeat(501), "field_too_long"),
        (admin, String::from("a\u{7}"), "field_control_characters"),
    ] {
        let asked = erase(&acme, carl, &reason);
        assert_eq!(acme.when(actor, asked).code(), code, "{reason:?}");
    }
    let mut elsewhere = erase(&acme, carl, "x");
    elsewhere.organization = acme.globex;
    acme.when(stranger, elsewhere)
        .refused(Rejection::NotFound { what: "member" });
    let asked = erase(&acme, carl, &"x".repeat(500));
    let old = acme.when_at_version(admin, asked.clone(), 7);
    assert_eq!(old.code(), "version_mismatch");
    acme.when_at_version(admin, asked, 1).accepted();
}

#[test]
fn an_erasure_is_the_same_with_the_key_and_without() {
    let mut acme = Acme::new();
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    let (dora, _) = acme.member("dora@acme.example", "viewer");
    for member in [carl, dora] {
        let asked = erase(&acme, member, "gone");
        acme.when(acme.owner, asked).accepted();
    }
    let mut state = State::default();
    for payload in &acme.log {
        let mut event = super::read(payload);
        let theirs = [carl, dora].map(Subject::Member).contains(&event.subject);
        for (_, value) in event.fact.personal_mut().into_iter().filter(|_| theirs) {
            value.open(None);
        }
        state.apply(&event, commitment(payload)).unwrap();
        state.settle();
    }
    assert_eq!(fingerprint(&state), fingerprint(&acme.state));
    let erased: Vec<UserId> = state.erased_members().collect();
    assert_eq!(erased, [carl, dora]);
}

#[test]
fn a_restore_gives_up_positions_in_pieces_and_goes_on_where_it_was() {
    let mut acme = Acme::new();
    let size = acme.log.len() as u64;
    let at_once = 1_000;
    let record = |positions| Command::RecordRestore(RecordRestore { positions, at_once });
    for (actor, positions, code) in [
        (acme.owner, 2_500, "operator_only"),
        (Actor::System, 2_500, "credential_not_accepted"),
        (Actor::Operator, 0, "positions_out_of_range"),
        (Actor::Operator, 10_000_001, "positions_out_of_range"),
        (Actor::Operator, 2_500, "accepted"),
    ] {
        assert_eq!(
            acme.when(actor, record(positions)).code(),
            code,
            "{positions}"
        );
    }
    let restore = LedgerRestored {
        size,
        resumes_at: size + 2_500,
    };
    assert_eq!(acme.state.ledger().unfinished_restore(), Some(restore));
    // What is asked for a second time is what is under way.
    acme.when(Actor::Operator, record(7)).accepted();
    acme.when(Actor::Operator, record(7)).accepted();
    assert_eq!(acme.state.ledger().unfinished_restore(), None);
    assert_eq!(acme.state.ledger().events, size + 2_501);
    assert_eq!(*acme.state.ledger().restores, [restore]);
    let lost = [size - 1, size, size + 2_499, size + 2_500];
    assert_eq!(lost.map(|at| restore.lost(at)), [false, true, true, false]);
    // Another one is another restore.
    acme.when(Actor::Operator, record(1)).accepted();
    assert_eq!(acme.state.ledger().restores.len(), 2);
    assert_eq!(acme.replayed().ledger(), acme.state.ledger());
}
