//! Members: added, given roles, removed with their tokens.

use super::acme::Acme;
use crate::domain::command::{AddMember, ChangeMemberRole, CreateKey, Expiry, Place, RemoveMember};
use crate::domain::ids::{OrganizationId, Owner, UserId};
use crate::domain::kind::Kind;
use crate::domain::record::Status;
use crate::domain::rejection::{Beyond, Rejection};

fn role(acme: &Acme, member: UserId, role: &str) -> ChangeMemberRole {
    ChangeMemberRole {
        organization: acme.organization,
        member,
        role: role.to_owned(),
    }
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
    let crate::domain::ids::Subject::Member(id) = done.subject else {
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
        let unknown = || Rejection::UnknownRole {
            role: wrong.to_owned(),
        };
        let add = acme.add_member("dora@acme.example", wrong);
        acme.when(acme.admin, add).refused(unknown());
        let change = role(&acme, carl, wrong);
        acme.when(acme.admin, change).refused(unknown());
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
        let command = ChangeMemberRole {
            organization: globex,
            member,
            role: String::from("viewer"),
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
