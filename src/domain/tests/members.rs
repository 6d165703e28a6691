//! Members: added, given roles, removed with their tokens.

use super::Ledger;
use super::acme::Acme;
use crate::domain::command::{AddMember, CreateKey, Expiry, Place, RemoveMember, UpdateMember};
use crate::domain::event::Fact;
use crate::domain::ids::{OrganizationId, Owner, Subject, UserId};
use crate::domain::kind::Kind;
use crate::domain::record::Status;
use crate::domain::rejection::{Beyond, Rejection};

fn role(acme: &Acme, member: UserId, role: &str) -> UpdateMember {
    UpdateMember {
        organization: acme.organization,
        member,
        role: Some(role.to_owned()),
        email: None,
        name: None,
    }
}

/// A member gets another address, and a name.
pub(super) fn renamed(ledger: &mut Ledger, organization: OrganizationId) {
    let added = ledger.submit(AddMember {
        organization,
        email: String::from("fay@acme.example"),
        name: None,
        role: String::from("reader"),
    });
    let Subject::Member(member) = added else {
        panic!("{added:?}");
    };
    ledger.submit(UpdateMember {
        email: Some(String::from("fay.moss@acme.example")),
        name: Some(Some(String::from("Fay Moss"))),
        ..UpdateMember::of(organization, member)
    });
}

fn remove(acme: &Acme, member: UserId) -> RemoveMember {
    RemoveMember {
        organization: acme.organization,
        member,
    }
}

fn beyond(why: Beyond) -> Rejection {
    Rejection::BeyondYourAuthority { why }
}

#[test]
fn an_address_belongs_to_one_member_of_an_organization_but_for_case() {
    let mut acme = Acme::new();
    for taken in ["ann@acme.example", "ANN@Acme.Example"] {
        let again = acme.add_member(taken, "viewer");
        acme.when(acme.admin, again).refused(Rejection::EmailTaken);
    }
    // The same address elsewhere is another user.
    let elsewhere = AddMember {
        organization: acme.globex,
        ..acme.add_member("ann@acme.example", "viewer")
    };
    acme.when(acme.stranger, elsewhere).accepted();
    let carl = acme.add_member("carl@acme.example", "viewer");
    let done = acme.when(acme.admin, carl.clone()).accepted();
    let Subject::Member(id) = done.subject else {
        panic!("{done:?}");
    };
    let gone = remove(&acme, id);
    acme.when(acme.admin, gone).accepted();
    acme.when(acme.admin, carl).accepted();
}

#[test]
fn a_role_is_stored_by_its_own_name_and_an_unknown_one_is_refused() {
    let mut acme = Acme::new();
    let (carl, _) = acme.member("carl@acme.example", "tenant_admin");
    assert_eq!(acme.state.member(carl).unwrap().role, "administrator");
    for wrong in ["", "Owner", "admin"] {
        let add = acme.add_member("dora@acme.example", wrong);
        let outcome = acme.when(acme.admin, add);
        assert_eq!(outcome.code(), "unknown_role");
        let change = role(&acme, carl, wrong);
        let outcome = acme.when(acme.admin, change);
        assert_eq!(outcome.code(), "unknown_role");
    }
}

#[test]
fn owners_are_made_and_changed_by_owners_and_platform_alone() {
    let mut acme = Acme::new();
    let (dora, administrator) = acme.member("dora@acme.example", "administrator");
    let ann = acme.ann;
    let (_, second) = acme.member("second@acme.example", "owner");
    let scoped = acme.personal(ann, &["admin:*"]);
    let role_bearer = {
        let mut command = acme.owned_key(
            Kind::Access,
            Owner::Organization(acme.organization),
            "x",
            &[],
        );
        command.grant.role = Some(String::from("owner"));
        let key = acme.make(command);
        acme.holder_of(key)
    };
    // `admin:*` does not cover the role, nor does a personal token that lists it.
    for actor in [acme.admin, administrator, scoped] {
        let add = acme.add_member("new@acme.example", "owner");
        acme.when(actor, add).refused(beyond(Beyond::OwnerRole));
        let promote = role(&acme, dora, "owner");
        acme.when(actor, promote).refused(beyond(Beyond::OwnerRole));
        let demote = role(&acme, ann, "viewer");
        acme.when(actor, demote).refused(beyond(Beyond::OwnerRole));
        let gone = remove(&acme, ann);
        acme.when(actor, gone).refused(beyond(Beyond::OwnerRole));
    }
    // An access token that carries the role does.
    let platform = acme.platform;
    for (n, actor) in [acme.owner, second, role_bearer, platform]
        .into_iter()
        .enumerate()
    {
        let add = acme.add_member(&format!("owner{n}@acme.example"), "owner");
        acme.when(actor, add).accepted();
    }
}

#[test]
fn the_last_owner_is_neither_removed_nor_demoted() {
    let mut acme = Acme::new();
    let ann = acme.ann;
    let (demote, gone) = (role(&acme, ann, "administrator"), remove(&acme, ann));
    for actor in [acme.owner, acme.platform] {
        acme.when(actor, demote.clone())
            .refused(Rejection::LastOwner);
        acme.when(actor, gone).refused(Rejection::LastOwner);
    }
    let same = role(&acme, ann, "owner");
    acme.when(acme.owner, same).then_nothing();
    let (second, by_second) = acme.member("second@acme.example", "owner");
    acme.when(by_second, gone).accepted();
    let last = remove(&acme, second);
    acme.when(by_second, last).refused(Rejection::LastOwner);
}

#[test]
fn a_removed_member_takes_every_personal_token_along() {
    let mut acme = Acme::new();
    let (carl, actor) = acme.member("carl@acme.example", "team_member");
    acme.personal(carl, &["cases:read"]);
    let owner = Owner::User(carl);
    let tokens = acme.state.live_credentials_of(owner, acme.now);
    let first = acme.log.len();
    let gone = remove(&acme, carl);
    let cause = format!("evt_{}", ulid::Ulid(first as u128));
    acme.when(acme.admin, gone).then(&[
        &format!("member.removed {carl} {{}}"),
        &format!(
            r#"api_key.revoked {} {{"reason":null,"cause":"{cause}"}}"#,
            tokens[0]
        ),
        &format!(
            r#"api_key.revoked {} {{"reason":null,"cause":"{cause}"}}"#,
            tokens[1]
        ),
    ]);
    // Nothing vanishes: they stay, with the event that ended them.
    for (n, token) in tokens.into_iter().enumerate() {
        assert_eq!(acme.credential(token).status(acme.now), Status::Revoked);
        let ended = acme.credential(token).ended().unwrap();
        assert_eq!(ended.event.ulid(), ulid::Ulid((first + 1 + n) as u128));
    }
    assert!(acme.state.live_credentials_of(owner, acme.now).is_empty());
    acme.when(acme.admin, gone).then_nothing();
    acme.when(actor, gone)
        .refused(Rejection::CredentialNotAccepted);
    let back = role(&acme, carl, "viewer");
    acme.when(acme.admin, back)
        .refused(Rejection::MemberRemoved);
}

#[test]
fn everything_is_what_the_owner_has_now_and_never_more_than_at_issuance() {
    let mut acme = Acme::new();
    let (carl, token) = acme.member("carl@acme.example", "viewer");
    let acts = |acme: &Acme| acme.state.authority(token, acme.now).unwrap();
    let viewer = acts(&acme);
    for stronger in ["administrator", "owner"] {
        let promote = role(&acme, carl, stronger);
        acme.when(acme.owner, promote).accepted();
        assert_eq!(acts(&acme), viewer, "{stronger}");
    }
    // A new token has the new rights, and loses them with the role.
    let owner = acme.personal(carl, &["*"]);
    let now = acme.now;
    assert!(acme.state.authority(owner, now).unwrap().owner);
    let demote = role(&acme, carl, "viewer");
    acme.when(acme.owner, demote).accepted();
    let demoted = acme.state.authority(owner, now).unwrap();
    assert!(!demoted.owner);
    assert_eq!(demoted.scopes, viewer.scopes);
}

#[test]
fn a_members_tokens_are_made_and_rolled_by_that_member_alone() {
    let mut acme = Acme::new();
    let (carl, by_carl) = acme.member("carl@acme.example", "viewer");
    let (ann, admin) = (Owner::User(acme.ann), acme.admin);
    let his = acme.owned_key(Kind::Personal, Owner::User(carl), "his", &["*"]);
    let everything = || Rejection::Forbidden { needs: "*" };
    // Whoever is no member holds no `*`, whatever else it holds.
    for other in [admin, acme.platform] {
        acme.when(other, his.clone()).refused(everything());
    }
    acme.when(acme.owner, his.clone())
        .refused(beyond(Beyond::Person));
    acme.when(by_carl, his).accepted();
    // A token without `*` reads and does not write.
    let reader = acme.personal(carl, &["cases:read"]);
    let second = acme.owned_key(Kind::Personal, Owner::User(carl), "second", &["cases:read"]);
    acme.when(reader, second).refused(everything());
    let anns = acme.state.live_credentials_of(ann, acme.now)[0];
    let mut rolled = acme.rotate(anns, 0);
    rolled.target.place = Place::of(Kind::Personal);
    let none = || Rejection::NotFound { what: "key" };
    acme.when(by_carl, rolled).refused(none());
    acme.when(acme.owner, rolled).accepted();
    // Ending it is for oversight, on the surface of all kinds.
    let mut end = acme.revoke(anns);
    acme.when(admin, end.clone()).accepted();
    end.target.place = Place::of(Kind::Personal);
    acme.when(admin, end).refused(everything());
}

#[test]
fn another_organizations_member_is_the_same_as_none() {
    let mut acme = Acme::new();
    let none = || Rejection::NotFound { what: "member" };
    let nobody = UserId(ulid::Ulid(1 << 90));
    let globex = OrganizationId(acme.globex.0);
    for member in [acme.ann, nobody] {
        let command = RemoveMember {
            organization: globex,
            member,
        };
        acme.when(acme.stranger, command).refused(none());
        let command = UpdateMember {
            organization: globex,
            member,
            role: Some(String::from("viewer")),
            email: None,
            name: None,
        };
        acme.when(acme.stranger, command).refused(none());
    }
}

#[test]
fn a_personal_tokens_name_is_unique_among_the_owners_live_ones() {
    let mut acme = Acme::new();
    let (carl, by_carl) = acme.member("carl@acme.example", "viewer");
    let named = |acme: &Acme, member, name: &str, expiry| CreateKey {
        expiry,
        ..acme.owned_key(Kind::Personal, Owner::User(member), name, &["cases:read"])
    };
    let first = named(&acme, carl, "laptop", Expiry::InDays(1));
    let first_key = acme.make(first.clone());
    acme.when(by_carl, first).refused(Rejection::NameTaken);
    let exact = named(&acme, carl, "Laptop", Expiry::Never);
    let anns = named(&acme, acme.ann, "laptop", Expiry::Never);
    acme.when(by_carl, exact).accepted();
    acme.when(acme.owner, anns).accepted();
    // An expired one leaves its name free, and its later end does not free its heir's.
    acme.later(24 * 60 * 60);
    let heir = named(&acme, carl, "laptop", Expiry::Never);
    let heir_key = acme.make(heir.clone());
    let end = acme.revoke(first_key);
    acme.when(acme.owner, end).accepted();
    acme.when(by_carl, heir.clone())
        .refused(Rejection::NameTaken);
    let end = acme.revoke(heir_key);
    acme.when(acme.owner, end).accepted();
    acme.when(by_carl, heir).accepted();
}

fn rename(acme: &Acme, member: UserId, email: Option<&str>, name: Option<&str>) -> UpdateMember {
    UpdateMember {
        email: email.map(str::to_owned),
        name: name.map(|name| Some(name.to_owned())),
        ..UpdateMember::of(acme.organization, member)
    }
}

#[test]
fn a_member_gets_another_address_and_name_and_keeps_tokens_and_id() {
    let mut acme = Acme::new();
    let (ada, by_ada) = acme.member("ada@old.example", "viewer");
    let both = rename(&acme, ada, Some("ada@new.example"), Some("Ada"));
    let done = acme.when(acme.admin, both.clone()).accepted();
    let [event] = done.events.as_slice() else {
        panic!("{done:?}");
    };
    let Fact::MemberUpdated(data) = &event.fact else {
        panic!("{event:?}");
    };
    assert_eq!(data.changed, ["email", "name"]);
    acme.when(acme.admin, both).then_nothing();
    let record = acme.state.member(ada).unwrap();
    assert_eq!(record.sealed_by, event.id);
    assert_eq!(record.stamp.version, event.subject_version);
    let text = |acme: &Acme| {
        let record = acme.state.member(ada).unwrap();
        let name = record.name.as_ref().and_then(|name| name.text());
        (
            record.email.text().unwrap().to_owned(),
            name.map(str::to_owned),
        )
    };
    assert_eq!(
        text(&acme),
        ("ada@new.example".to_owned(), Some("Ada".to_owned()))
    );
    assert!(acme.state.authority(by_ada, acme.now).is_ok());
    // One of both stays, and null takes a name away.
    let name = rename(&acme, ada, None, Some("Ada L."));
    acme.when(acme.admin, name).accepted();
    let spelled = rename(&acme, ada, Some("Ada@new.example"), None);
    acme.when(acme.admin, spelled).accepted();
    assert_eq!(
        text(&acme),
        ("Ada@new.example".to_owned(), Some("Ada L.".to_owned()))
    );
    let nameless = UpdateMember {
        name: Some(None),
        ..UpdateMember::of(acme.organization, ada)
    };
    acme.when(acme.admin, nameless).accepted();
    assert_eq!(text(&acme), ("Ada@new.example".to_owned(), None));
    // The old address is free again, the new one is not.
    let free = acme.add_member("ada@old.example", "viewer");
    acme.when(acme.admin, free).accepted();
    let taken = acme.add_member("ADA@new.example", "viewer");
    acme.when(acme.admin, taken).refused(Rejection::EmailTaken);
    let back = rename(&acme, ada, Some("Ada@OLD.example"), None);
    acme.when(acme.admin, back).refused(Rejection::EmailTaken);
}

#[test]
fn who_may_rename_a_member_and_what_is_refused() {
    let mut acme = Acme::new();
    let (ada, _) = acme.member("ada@acme.example", "viewer");
    let (carl, by_carl) = acme.member("carl@acme.example", "team_member");
    let right = |acme: &Acme, who| rename(acme, who, Some("new@acme.example"), None);
    let needs = "member:manage";
    let command = right(&acme, ada);
    acme.when(by_carl, command)
        .refused(Rejection::Forbidden { needs });
    // Not oneself either, nor an owner by less than one.
    let command = right(&acme, carl);
    acme.when(by_carl, command)
        .refused(Rejection::Forbidden { needs });
    let command = right(&acme, acme.ann);
    acme.when(acme.admin, command)
        .refused(beyond(Beyond::OwnerRole));
    let command = right(&acme, ada);
    let none = Rejection::NotFound {
        what: "organization",
    };
    acme.when(acme.stranger, command).refused(none);
    for (email, name, why) in [
        (
            Some("ada"),
            None,
            Rejection::EmailInvalid { field: "email" },
        ),
        (
            Some("ada@"),
            None,
            Rejection::EmailInvalid { field: "email" },
        ),
        (None, Some(" "), Rejection::FieldEmpty { field: "name" }),
    ] {
        let command = rename(&acme, ada, email, name);
        acme.when(acme.admin, command).refused(why);
    }
    let command = right(&acme, ada);
    let outcome = acme.when_at_version(acme.admin, command, 7);
    outcome.refused(Rejection::VersionMismatch { current: 1 });
    let gone = remove(&acme, ada);
    acme.when(acme.admin, gone).accepted();
    let command = right(&acme, ada);
    acme.when(acme.admin, command)
        .refused(Rejection::MemberRemoved);
}

#[test]
fn a_role_and_an_address_change_together() {
    let mut acme = Acme::new();
    let (ada, _) = acme.member("ada@acme.example", "viewer");
    let both = UpdateMember {
        role: Some(String::from("engineer")),
        ..rename(&acme, ada, Some("ada.l@acme.example"), None)
    };
    let done = acme.when(acme.admin, both).accepted();
    let names: Vec<_> = done.events.iter().map(|event| event.fact.name()).collect();
    assert_eq!(names, ["member.role_changed", "member.updated"]);
}
