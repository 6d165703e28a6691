//! The stored form, pinned to the byte: one payload of every type of event.
//!
//! The files are frozen. A line that differs is a format that old ledgers do not have: make a new
//! version of the type and a new file instead. Old files stay, and are read for ever.

use ulid::Ulid;

use super::auditor::everything_for_auditors;
use super::endpoint_history::every_event;
use super::expiry::every_notice;
use super::members::renamed;
use super::{Ledger, fingerprint, read, seal};
use crate::domain::catalogue::Catalogue;
use crate::domain::command::{
    Actor, AddMember, Command, CreateKey, CreateOrganization, CreateProject, CreateServiceAccount,
    DeleteServiceAccount, EndedSecretUse, Expiry, IssueSignInLink, KeyTarget, OpenLedger, Place,
    RemoveMember, RevokeKey, RotateKey, SealUsage, SetPassword, SignIn, SignInFailure, SignInProof,
    UpdateKey, UpdateMember, UpdateOrganization, UpdateProject, UpdateServiceAccount,
};
use crate::domain::digest::{Digest32, Nonce16};
use crate::domain::envelope::{ActorStamp, ActorType, Event, commitment};
use crate::domain::event::{EndedCode, Fact, MemberAdded};
use crate::domain::ids::{
    CredentialId, EventId, LogId, OrganizationId, Owner, Principal, ServiceAccountId, Subject,
    UserId, Via,
};
use crate::domain::kind::Kind;
use crate::domain::personal::Personal;
use crate::domain::record::{Grant, Metadata};
use crate::domain::unreadable::UnreadableEvent;
use crate::seal::{DataKeyId, SealedValue};

const PINNED: &str = include_str!("payloads_v11.ndjson");
/// Before credentials could replace each other; before usage was told of; before webhooks; before
/// expiries were told of; before checkpoints were, and before people could be erased; before
/// restores were recorded; before a rotation could keep earlier secrets; before addresses
/// could change; before an endpoint could have more than two secrets; before a role could end a
/// password.
const OLDER: [&str; 10] = [
    include_str!("payloads_v1.ndjson"),
    include_str!("payloads_v2.ndjson"),
    include_str!("payloads_v3.ndjson"),
    include_str!("payloads_v4.ndjson"),
    include_str!("payloads_v5.ndjson"),
    include_str!("payloads_v6.ndjson"),
    include_str!("payloads_v7.ndjson"),
    include_str!("payloads_v8.ndjson"),
    include_str!("payloads_v9.ndjson"),
    include_str!("payloads_v10.ndjson"),
];

const CATALOGUE: &str = r#"
[[scopes]]
name = "cases:read"
description = "Read cases"

[[scopes]]
name = "admin:*"
description = "Everything"
management = true

[[roles]]
name = "owner"
aliases = ["boss"]
title = "Owner"
description = "Everything"
scopes = ["admin:*"]
owner = true

[[roles]]
name = "reader"
title = "Reader"
description = "Reads"
scopes = ["cases:read"]

[[presets]]
name = "status"
description = "Reads"
scopes = ["cases:read"]
"#;

/// A short history with every type of event in it; returns each type's first payload.
fn history() -> Ledger {
    let mut ledger = Ledger::empty();
    ledger.submit(Command::OpenLedger(OpenLedger {
        log_id: LogId([7; 16]),
        origin: String::from("keyledger.example/log"),
        vkey: String::from("keyledger.example/log+00000000+AA=="),
        catalogue: Catalogue::from_toml(CATALOGUE).unwrap(),
    }));
    let made = ledger.submit(CreateOrganization {
        name: String::from("Acme \"1\""),
        owner_email: String::from("ann@acme.example"),
        key_scopes: vec![String::from("admin:*")],
    });
    let Subject::Organization(organization) = made else {
        panic!("{made:?}");
    };
    organizations(&mut ledger, organization);
    people(&mut ledger, organization);
    keys(&mut ledger, organization);
    sign_ins(&mut ledger, organization);
    usage(&mut ledger);
    every_event(&mut ledger, organization);
    every_notice(&mut ledger, organization);
    everything_for_auditors(&mut ledger, organization);
    renamed(&mut ledger, organization);
    ledger
}

fn organizations(ledger: &mut Ledger, organization: OrganizationId) {
    ledger.submit(UpdateOrganization {
        organization,
        name: None,
        token_prefix: Some(String::from("acme")),
    });
    let project = ledger.submit(CreateProject {
        organization,
        name: String::from("Website"),
    });
    let Subject::Project(project) = project else {
        panic!("{project:?}");
    };
    for archived in [true, false] {
        ledger.submit(UpdateProject {
            organization,
            project,
            name: archived.then(|| String::from("Shop")),
            archived: Some(archived),
        });
    }
}

fn people(ledger: &mut Ledger, organization: OrganizationId) {
    let member = ledger.submit(AddMember {
        organization,
        email: String::from("carl@acme.example"),
        name: Some(String::from("Carl")),
        role: String::from("reader"),
    });
    let Subject::Member(member) = member else {
        panic!("{member:?}");
    };
    ledger.submit(UpdateMember {
        organization,
        member,
        role: Some(String::from("boss")),
        email: None,
        name: None,
    });
    ledger.submit(RemoveMember {
        organization,
        member,
    });
    let account = ledger.submit(CreateServiceAccount {
        organization,
        name: String::from("CI Bot"),
        description: None,
        role: Some(String::from("reader")),
        scopes: None,
    });
    let Subject::ServiceAccount(account) = account else {
        panic!("{account:?}");
    };
    for is_active in [false, true] {
        ledger.submit(UpdateServiceAccount {
            organization,
            account,
            name: None,
            description: Some(Some(String::from("Robot"))),
            role: None,
            scopes: Some(Some(vec![String::from("cases:read")])),
            is_active: Some(is_active),
        });
    }
    ledger.submit(DeleteServiceAccount {
        organization,
        account,
    });
}

fn keys(ledger: &mut Ledger, organization: OrganizationId) {
    let key = ledger.submit(CreateKey {
        organization,
        kind: Kind::Organization,
        owner: Owner::Organization(organization),
        project: None,
        name: String::from("CI pipeline"),
        description: Some(String::from("SOC deploy pipeline")),
        grant: Grant {
            scopes: vec![String::from("cases:read")],
            ..Grant::default()
        },
        expiry: Expiry::InDays(365),
        metadata: Metadata::from([(String::from("team"), String::from("soc"))]),
    });
    let Subject::Credential(key) = key else {
        panic!("{key:?}");
    };
    let target = KeyTarget {
        organization,
        key,
        place: Place::default(),
    };
    ledger.submit(UpdateKey {
        name: Some(String::from("Deploy")),
        scopes: Some(vec![String::from("admin:*")]),
        ..UpdateKey::of(target)
    });
    ledger.submit(RotateKey {
        target,
        grace_period_seconds: 3_600,
        unpresented: None,
    });
    ledger.submit(Command::DisableKey(target));
    ledger.submit(Command::EnableKey(target));
    ledger.submit(RevokeKey {
        target,
        reason: Some(String::from("Manually rotated after leak")),
    });
}

fn sign_ins(ledger: &mut Ledger, organization: OrganizationId) {
    let added = ledger.submit(AddMember {
        organization,
        email: String::from("dora@acme.example"),
        name: None,
        role: String::from("reader"),
    });
    let Subject::Member(member) = added else {
        panic!("{added:?}");
    };
    ledger.submit(Command::IssueSignInLink(IssueSignInLink {
        organization,
        member,
    }));
    let link = ledger.state.sign_in_means(member).unwrap().link.clone();
    let command = Command::SignIn(SignIn {
        organization,
        member,
        proof: SignInProof::Link(link.unwrap().hash),
    });
    let started = ledger.when(Actor::Anonymous, command).accepted().subject;
    let Subject::Session(session) = started else {
        panic!("{started:?}");
    };
    let note = Command::NoteSignInFailure(SignInFailure {
        organization,
        member,
        failures: 4,
    });
    ledger.later(1);
    ledger.when(Actor::System, note).accepted();
    let command = Command::SetPassword(SetPassword {
        organization,
        password: Personal::new(String::from("$argon2id$...")),
        current: None,
    });
    ledger.when(Actor::Session(session), command).accepted();
}

/// An ended secret is presented, and a segment of the usage history is anchored.
fn usage(ledger: &mut Ledger) {
    let (_, record) = ledger.state.credentials.settled_after(None).next().unwrap();
    let (key, secret) = (record.id(), record.secret_id());
    let (first_at, last_at) = (ledger.now, ledger.now.plus_ms(90_000));
    let note = Command::NoteEndedSecretUse(EndedSecretUse {
        key,
        secret,
        code: EndedCode::Revoked,
        uses: 3,
        first_at,
        last_at,
    });
    ledger.when(Actor::System, note).accepted();
    let seal = Command::SealUsage(SealUsage {
        from: 0,
        to: 67_108_864,
        segments: 1,
        records: 400_000,
        first_at,
        last_at,
        digest: Digest32([0x34; 32]),
    });
    ledger.when(Actor::System, seal).accepted();
}

impl Ledger {
    pub(super) fn submit(&mut self, command: impl Into<Command>) -> Subject {
        self.later(1);
        self.when(Actor::Operator, command).accepted().subject
    }
}

#[test]
fn every_type_of_event_has_one_form_for_ever() {
    let ledger = history();
    let mut found = String::new();
    for (name, version) in Fact::TYPES {
        let mut payloads = ledger.log.iter();
        let payload = payloads.find(|payload| read(payload).fact.name() == *name);
        let payload = payload.unwrap_or_else(|| panic!("{name} does not occur"));
        assert_eq!(read(payload).fact.version(), *version);
        found.push_str(str::from_utf8(payload).unwrap());
        found.push('\n');
    }
    assert_eq!(found, PINNED);
}

#[test]
fn the_pinned_payloads_are_read_and_written_back_byte_for_byte() {
    for line in PINNED.lines() {
        let event = Event::from_payload(line.as_bytes()).unwrap();
        assert_eq!(event.to_payload().unwrap(), line.as_bytes());
    }
    assert_eq!(PINNED.lines().count(), Fact::TYPES.len());
}

#[test]
fn older_payloads_mean_what_they_meant() {
    let newest = |name| {
        let mut lines = PINNED.lines().map(|line| read(line.as_bytes()));
        lines.find(|event| event.fact.name() == name).unwrap()
    };
    for line in OLDER.iter().flat_map(|file| file.lines()) {
        let event = read(line.as_bytes());
        assert_eq!(event.fact, newest(event.fact.name()).fact);
        let stored = format!("\"version\":{},", event.fact.version());
        let written = Event::from_payload(line.as_bytes()).unwrap().to_payload();
        let same = written.unwrap() == line.as_bytes();
        assert_eq!(same, line.contains(&stored), "{line}");
    }
}

/// An event in which nothing is null.
fn full() -> Event {
    let mut event = Event {
        position: 7,
        id: EventId(Ulid(8)),
        occurred_at: super::START,
        organization: Some(crate::domain::envelope::OrganizationPlace {
            id: OrganizationId(Ulid(1)),
            sequence: 3,
            previous: Some(Digest32([0xab; 32])),
        }),
        subject: Subject::Member(UserId(Ulid(2))),
        subject_version: 1,
        actor: ActorStamp {
            kind: ActorType::ServiceAccount,
            id: Some(Principal::ServiceAccount(ServiceAccountId(Ulid(3)))),
            via: Some(Via::Credential(CredentialId(Ulid(4)))),
            network: Some(SealedValue {
                key_id: DataKeyId::new(Ulid(5)),
                nonce: [1; 24],
                ciphertext: vec![2; 16],
            }),
        },
        request_id: Some(String::from("req-1")),
        command_id: Some(Digest32([0xcd; 32])),
        command_digest: Some(Digest32([0xef; 32])),
        nonce: Nonce16([0x12; 16]),
        fact: Fact::from(MemberAdded {
            email: Personal::new(String::from("a@b.example")),
            name: Some(Personal::new(String::from("A"))),
            role: String::from("viewer"),
            created_by: Some(Principal::Credential(CredentialId(Ulid(4)))),
        }),
    };
    seal(&mut event);
    event
}

#[test]
fn the_envelope_has_all_its_keys_in_one_order_and_no_white_space() {
    let payload = full().to_payload().unwrap();
    let expected = concat!(
        r#"{"position":7,"id":"evt_00000000000000000000000008","type":"member.added","version":1,"#,
        r#""occurred_at":"2026-04-24T15:30:00.000Z","#,
        r#""organization_id":"org_00000000000000000000000001","organization_sequence":3,"#,
        r#""organization_previous":"#,
        r#""abababababababababababababababababababababababababababababababab","#,
        r#""subject":"usr_00000000000000000000000002","subject_version":1,"#,
        r#""actor":{"type":"service_account","id":"sa_00000000000000000000000003","#,
        r#""via":"key_00000000000000000000000004","network":{"sealed":1,"#,
        r#""key":"dk_00000000000000000000000005","nonce":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB","#,
        r#""text":"AgICAgICAgICAgICAgICAg=="}},"request_id":"req-1","#,
        r#""command_id":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","#,
        r#""command_digest":"efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef","#,
        r#""nonce":"12121212121212121212121212121212","#,
        r#""data":{"email":{"sealed":1,"key":"dk_00000000000000000000000007","#,
        r#""nonce":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ","#,
        r#""text":"YUBiLmV4YW1wbGUAAAAAAAAAAAAAAAAAAAAA"},"#,
        r#""name":{"sealed":1,"key":"dk_00000000000000000000000007","#,
        r#""nonce":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ","text":"QQAAAAAAAAAAAAAAAAAAAAA="},"#,
        r#""role":"viewer","created_by":"key_00000000000000000000000004"}}"#,
    );
    assert_eq!(str::from_utf8(&payload).unwrap(), expected);
    // Computed with another program: sha256sum of the bytes above.
    assert_eq!(
        hex::encode(commitment(&payload).0),
        "1db23d6cb965aae7d09346c776a011be97541e1caae8d37a36b1678788dae2da"
    );
    assert_eq!(read(&payload), full());
}

#[test]
fn a_personal_value_is_never_written_unsealed() {
    let mut event = full();
    event.fact = Fact::from(MemberAdded {
        email: Personal::new(String::from("a@b.example")),
        name: None,
        role: String::from("viewer"),
        created_by: None,
    });
    let why = event.to_payload().unwrap_err().to_string();
    assert!(why.contains("must be sealed"), "{why}");
    assert!(!format!("{event:?}").contains("a@b.example"));
}

#[test]
fn what_is_not_an_event_of_ours_is_not_read() {
    let good = String::from_utf8(full().to_payload().unwrap()).unwrap();
    let form = |text: &str| match Event::from_payload(text.as_bytes()) {
        Ok(_) => "read",
        Err(UnreadableEvent::UnknownType { .. }) => "unknown type",
        Err(UnreadableEvent::OrganizationPlace) => "half a place",
        Err(UnreadableEvent::Form(_)) => "not the form",
    };
    for (from, to, expected) in [
        ("", "", "read"),
        ("member.added", "member.knighted", "unknown type"),
        (r#""version":1"#, r#""version":2"#, "unknown type"),
        (
            r#""organization_sequence":3"#,
            r#""organization_sequence":null"#,
            "half a place",
        ),
        (
            r#""organization_sequence":3"#,
            r#""organization_sequence":0"#,
            "half a place",
        ),
        (
            r#""organization_id":"org_00000000000000000000000001""#,
            r#""organization_id":null"#,
            "half a place",
        ),
        (
            r#""position":7"#,
            r#""position":7,"extra":1"#,
            "not the form",
        ),
        (
            r#""role":"viewer""#,
            r#""role":"viewer","extra":1"#,
            "not the form",
        ),
        (r#""position":7"#, r#""position":-7"#, "not the form"),
        ("usr_", "job_", "not the form"),
        ("1212", "121", "not the form"),
        ("12121", "1212x", "not the form"),
        (r#""sealed":1"#, r#""sealed":2"#, "not the form"),
    ] {
        assert_eq!(
            form(&good.replacen(from, to, 1)),
            expected,
            "{from} -> {to}"
        );
    }
    for cut in 0..good.len() {
        assert_eq!(form(&good[..cut]), "not the form");
    }
}

#[test]
fn an_erased_person_leaves_the_record_and_frees_the_address() {
    let ledger = history();
    let mut state = crate::domain::state::State::default();
    for payload in &ledger.log {
        let mut event = read(payload);
        for (_, value) in event.fact.personal_mut() {
            value.open(None);
        }
        state.apply(&event, commitment(payload)).unwrap();
        state.settle();
    }
    assert!(state.emails.is_empty() && !state.members.is_empty());
    assert_ne!(fingerprint(&state), fingerprint(&ledger.state));
    for (organization, record) in state.organizations.settled_after(None) {
        // Heads, counts and versions are those of the ledger that can still read the person.
        assert_eq!(
            state.counts(organization),
            ledger.state.counts(organization)
        );
        assert_eq!(state.head(organization), ledger.state.head(organization));
        assert_eq!(Some(record), ledger.state.organization(organization));
    }
}
