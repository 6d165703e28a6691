//! Names and addresses that look the same are the same, whenever they were stored.

use ulid::Ulid;

use super::acme::Acme;
use crate::domain::access::Authority;
use crate::domain::canonical::address_key;
use crate::domain::command::{CreateKey, CreateOrganization, UpdateMember, UpdateServiceAccount};
use crate::domain::decide::{Change, Decision};
use crate::domain::event::{Fact, MemberAdded, ServiceAccountCreated};
use crate::domain::ids::{Owner, ServiceAccountId, Subject, UserId};
use crate::domain::kind::Kind;
use crate::domain::personal::Personal;
use crate::domain::rejection::Rejection;

/// With its e of one code point, not of two.
const CAFE: &str = "Caf\u{e9} bot";
/// The same as other programs write it.
const LOOKALIKES: [&str; 5] = [
    "Cafe\u{301} bot",
    " Caf\u{e9} bot\t",
    "Caf\u{e9}\u{200b} bot",
    "\u{feff}Caf\u{e9} b\u{ad}ot",
    "CAF\u{c9} BOT\u{a0}",
];

/// Appends what no command would decide today, as an earlier program did.
fn store(acme: &mut Acme, subject: Subject, fact: impl Into<Fact>) {
    let change = Change {
        organization: Some(acme.organization),
        subject,
        fact: fact.into(),
    };
    let decision = Decision {
        changes: vec![change],
        subject,
        token: None,
        sign_in: None,
        endpoint_secret: None,
        authority: Authority::operator(acme.state.catalogue()),
    };
    acme.append(decision);
    acme.state.settle();
}

fn stored_member(acme: &mut Acme, id: u128, email: &str) -> UserId {
    let member = UserId(Ulid(id << 64));
    let added = MemberAdded {
        email: Personal::new(email.to_owned()),
        name: None,
        role: String::from("viewer"),
        created_by: None,
    };
    store(acme, Subject::Member(member), added);
    member
}

#[test]
fn names_of_service_accounts_are_stored_in_one_form_and_compared_in_it() {
    let mut acme = Acme::new();
    let account = acme.account(&format!(" {}\u{200d} ", LOOKALIKES[0]), None, None);
    assert_eq!(acme.state.account(account).unwrap().name, CAFE);
    let other = acme.account("Other", None, None);
    for taken in LOOKALIKES {
        let again = acme.service_account(taken);
        acme.when(acme.admin, again).refused(Rejection::NameTaken);
        let rename = UpdateServiceAccount {
            name: Some(taken.to_owned()),
            ..acme.edit_account(other)
        };
        acme.when(acme.admin, rename).refused(Rejection::NameTaken);
    }
    // What differs in nothing that is stored is no change.
    let same = UpdateServiceAccount {
        name: Some(LOOKALIKES[2].to_owned()),
        ..acme.edit_account(account)
    };
    acme.when(acme.admin, same).then_nothing();
    let empty = Rejection::FieldEmpty { field: "name" };
    let unseen = acme.service_account(" \u{200b}\u{3164} ");
    acme.when(acme.admin, unseen).refused(empty);
}

#[test]
fn names_of_tokens_are_stored_in_one_form_where_they_are_unique() {
    let mut acme = Acme::new();
    let account = acme.account("Bot", None, Some(&["cases:read"]));
    for (kind, owner) in [
        (Kind::Personal, Owner::User(acme.ann)),
        (Kind::ServiceAccount, Owner::ServiceAccount(account)),
    ] {
        let named = |acme: &Acme, name: &str| acme.owned_key(kind, owner, name, &["cases:read"]);
        let first = named(&acme, LOOKALIKES[0]);
        let key = acme.make(first);
        assert_eq!(acme.credential(key).name(), CAFE);
        for taken in &LOOKALIKES[..4] {
            let again: CreateKey = named(&acme, taken);
            acme.when(acme.owner, again).refused(Rejection::NameTaken);
        }
        // Case counts here.
        let other = named(&acme, LOOKALIKES[4]);
        acme.when(acme.owner, other).accepted();
    }
    let free = acme.owned_key(
        Kind::Organization,
        Owner::Organization(acme.organization),
        LOOKALIKES[2],
        &["cases:read"],
    );
    let key = acme.make(free);
    assert_eq!(acme.credential(key).name(), LOOKALIKES[2]);
}

#[test]
fn addresses_are_stored_in_one_form_and_compared_in_it() {
    let mut acme = Acme::new();
    let (ada, _) = acme.member(" Ada@B\u{fc}cher.EXAMPLE\u{200b}", "viewer");
    let email = |acme: &Acme, id| {
        let member = acme.state.member(id).unwrap();
        member.email.text().map(str::to_owned)
    };
    let stored = "Ada@xn--bcher-kva.example";
    assert_eq!(email(&acme, ada).as_deref(), Some(stored));
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    for taken in [
        "ada@xn--bcher-kva.example",
        "ADA@bu\u{308}cher.example",
        "a\u{200d}da@B\u{dc}CHER.example",
    ] {
        let again = acme.add_member(taken, "viewer");
        acme.when(acme.admin, again).refused(Rejection::EmailTaken);
        let rename = UpdateMember {
            email: Some(taken.to_owned()),
            ..UpdateMember::of(acme.organization, carl)
        };
        acme.when(acme.admin, rename).refused(Rejection::EmailTaken);
    }
    let first = CreateOrganization {
        name: String::from("Initech"),
        owner_email: String::from("eve@B\u{fc}cher.example "),
        key_scopes: vec![String::from("admin:*")],
    };
    let done = acme.when(acme.platform, first).accepted();
    let Subject::Member(owner) = done.events[1].subject else {
        panic!("{done:?}");
    };
    let stored = "eve@xn--bcher-kva.example";
    assert_eq!(email(&acme, owner).as_deref(), Some(stored));
    let wrong = acme.add_member("ada@xn--\u{fc}.example", "viewer");
    let invalid = Rejection::EmailInvalid { field: "email" };
    acme.when(acme.admin, wrong).refused(invalid);
}

#[test]
fn what_was_stored_in_another_form_holds_its_name_and_address() {
    let mut acme = Acme::new();
    let old = stored_member(&mut acme, 1, "jose\u{301}@b\u{fc}cher.example");
    let account = ServiceAccountId(Ulid(1 << 64));
    let created = ServiceAccountCreated {
        name: LOOKALIKES[1].to_owned(),
        slug: String::from("cafe-bot"),
        description: None,
        role: None,
        scopes: None,
        created_by: None,
    };
    store(&mut acme, Subject::ServiceAccount(account), created);
    let taken = acme.add_member("jos\u{e9}@xn--bcher-kva.example", "viewer");
    acme.when(acme.admin, taken.clone())
        .refused(Rejection::EmailTaken);
    let named = acme.service_account(CAFE);
    acme.when(acme.admin, named).refused(Rejection::NameTaken);
    // Given again, the address is stored as it would be today.
    let again = UpdateMember {
        email: Some(taken.email.clone()),
        ..UpdateMember::of(acme.organization, old)
    };
    let done = acme.when(acme.admin, again.clone()).accepted();
    assert_eq!(done.events.len(), 1);
    acme.when(acme.admin, again).then_nothing();
    assert_eq!(
        acme.state.member(old).unwrap().email.text(),
        Some("jos\u{e9}@xn--bcher-kva.example")
    );
    let gone = crate::domain::command::RemoveMember {
        organization: acme.organization,
        member: old,
    };
    acme.when(acme.admin, gone).accepted();
    acme.when(acme.admin, taken).accepted();
    assert_eq!(
        super::fingerprint(&acme.replayed()),
        super::fingerprint(&acme.state)
    );
}

#[test]
fn two_members_whose_addresses_look_the_same_since_long_ago_go_on() {
    let mut acme = Acme::new();
    let first = stored_member(&mut acme, 1, "jose\u{301}@acme.example");
    let second = stored_member(&mut acme, 2, "jos\u{e9}@acme.example");
    let key = address_key("jos\u{e9}@acme.example");
    let holder = acme.state.emails.get(&(acme.organization, key));
    assert_eq!(holder.map(|holder| **holder), Some(second));
    for member in [first, second] {
        let promote = UpdateMember {
            role: Some(String::from("engineer")),
            ..UpdateMember::of(acme.organization, member)
        };
        acme.when(acme.admin, promote).accepted();
    }
    let apart = UpdateMember {
        email: Some(String::from("pepe@acme.example")),
        ..UpdateMember::of(acme.organization, first)
    };
    acme.when(acme.admin, apart).accepted();
    let taken = acme.add_member("Jos\u{e9}@ACME.example", "viewer");
    acme.when(acme.admin, taken).refused(Rejection::EmailTaken);
    let state = acme.replayed();
    assert_eq!(super::fingerprint(&state), super::fingerprint(&acme.state));
}
