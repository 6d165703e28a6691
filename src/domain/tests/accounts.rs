//! Service accounts: identities of systems, with a role and tokens.

use std::sync::Arc;

use ulid::Ulid;

use super::acme::{Acme, strings};
use crate::domain::command::{
    CreateKey, CreateServiceAccount, DeleteServiceAccount, Expiry, UpdateServiceAccount,
};
use crate::domain::ids::{CredentialId, Owner, ServiceAccountId};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Status};
use crate::domain::rejection::{Beyond, Rejection};

fn delete(acme: &Acme, account: ServiceAccountId) -> DeleteServiceAccount {
    DeleteServiceAccount {
        organization: acme.organization,
        account,
    }
}

fn active(acme: &Acme, account: ServiceAccountId, is_active: bool) -> UpdateServiceAccount {
    UpdateServiceAccount {
        is_active: Some(is_active),
        ..acme.edit_account(account)
    }
}

fn renamed(acme: &Acme, account: ServiceAccountId, name: &str) -> UpdateServiceAccount {
    UpdateServiceAccount {
        name: Some(name.to_owned()),
        ..acme.edit_account(account)
    }
}

#[test]
fn the_record_has_a_slug_and_a_role() {
    let mut acme = Acme::new();
    let command = CreateServiceAccount {
        description: Some(String::from("Robot that publishes versions from Git")),
        role: Some(String::from("engineer")),
        ..acme.service_account("CI Bot")
    };
    let id = ServiceAccountId(acme.facts().ids[0]);
    let outcome = acme.when(acme.owner, command);
    outcome.then(&[&format!(
        r#"service_account.created {id} {{"name":"CI Bot","slug":"ci-bot",
            "description":"Robot that publishes versions from Git","role":"engineer","scopes":null,
            "created_by":"{}"}}"#,
        acme.ann
    )]);
}

#[test]
fn names_are_unique_but_for_case_and_slugs_for_ever() {
    let mut acme = Acme::new();
    let first = acme.account("CI Bot", None, None);
    let slug = |acme: &Acme, id| acme.state.account(id).unwrap().slug.clone();
    for taken in ["CI Bot", "ci bot", "CI BOT"] {
        let again = acme.service_account(taken);
        acme.when(acme.admin, again).refused(Rejection::NameTaken);
    }
    let second = acme.account("CI  Bot!", None, None);
    assert_eq!(slug(&acme, second), "ci-bot-2");
    let taken = renamed(&acme, second, "ci BOT");
    acme.when(acme.admin, taken).refused(Rejection::NameTaken);
    let own = renamed(&acme, second, "ci bot!");
    acme.when(acme.admin, own).accepted();
    // A name in other letters is free again once its account is gone; its slug never is.
    let gone = delete(&acme, first);
    acme.when(acme.admin, gone).accepted();
    let third = acme.account("ci bot", None, None);
    assert_eq!(slug(&acme, third), "ci-bot-3");
    for (name, expected) in [
        ("\u{1f916}\u{fe0f}", "robot"),
        ("---", "service-account"),
        ("\u{b7}", "service-account-2"),
        ("Stra\u{df}e", "strasse"),
    ] {
        let account = acme.account(name, None, None);
        assert_eq!(slug(&acme, account), expected, "{name}");
    }
    // Folding is Unicode's: a sharp s is two.
    let same = acme.service_account("STRASSE");
    acme.when(acme.admin, same).refused(Rejection::NameTaken);
    let long = acme.account(&"x".repeat(200), None, None);
    assert_eq!(slug(&acme, long).len(), 60);
}

#[test]
fn an_edit_says_what_changed_and_no_change_is_no_event() {
    let mut acme = Acme::new();
    let id = acme.account("CI Bot", Some("viewer"), Some(&["cases:read"]));
    let nothing = UpdateServiceAccount {
        name: Some(String::from("CI Bot")),
        description: Some(None),
        role: Some(Some(String::from("viewer"))),
        scopes: Some(Some(strings(&["cases:read"]))),
        is_active: Some(true),
        ..acme.edit_account(id)
    };
    acme.when(acme.admin, nothing).then_nothing();
    let all = UpdateServiceAccount {
        name: Some(String::from("Bot")),
        description: Some(Some(String::from("two\nlines"))),
        role: Some(None),
        scopes: Some(Some(strings(&["cases:write", "cases:read"]))),
        is_active: Some(false),
        ..acme.edit_account(id)
    };
    acme.when(acme.admin, all.clone()).then(&[
        &format!(
            r#"service_account.updated {id} {{"changed":["name","description","role","scopes"],
            "name":"Bot","description":"two\nlines","role":null,"scopes":["cases:write",
            "cases:read"]}}"#
        ),
        &format!("service_account.disabled {id} {{}}"),
    ]);
    acme.when(acme.admin, all).then_nothing();
    let back = active(&acme, id, true);
    acme.when(acme.admin, back)
        .then(&[&format!("service_account.enabled {id} {{}}")]);
    assert_eq!(acme.state.account(id).unwrap().stamp.version, 4);
}

#[test]
fn a_deleted_account_takes_every_token_along() {
    let mut acme = Acme::new();
    let id = acme.account("CI Bot", Some("engineer"), None);
    let tokens = ["one", "two"].map(|name| acme.account_token(id, name, &["cases:read"]));
    let revoked = acme.account_token(id, "gone", &["cases:read"]);
    let end = acme.revoke(revoked);
    acme.when(acme.admin, end).accepted();
    let cause = format!("evt_{}", Ulid(acme.log.len() as u128));
    let gone = delete(&acme, id);
    acme.when(acme.admin, gone).then(&[
        &format!("service_account.deleted {id} {{}}"),
        &format!(
            r#"api_key.revoked {} {{"reason":null,"cause":"{cause}"}}"#,
            tokens[0]
        ),
        &format!(
            r#"api_key.revoked {} {{"reason":null,"cause":"{cause}"}}"#,
            tokens[1]
        ),
    ]);
    acme.when(acme.admin, gone).then_nothing();
    let edits = [
        renamed(&acme, id, "Other"),
        active(&acme, id, true),
        active(&acme, id, false),
    ];
    for edit in edits {
        acme.when(acme.admin, edit)
            .refused(Rejection::ServiceAccountDeleted);
    }
    let late = acme.owned_key(
        Kind::ServiceAccount,
        Owner::ServiceAccount(id),
        "late",
        &["cases:read"],
    );
    acme.when(acme.admin, late)
        .refused(Rejection::ServiceAccountDeleted);
}

#[test]
fn the_tokens_of_a_disabled_account_rest_until_it_is_enabled() {
    let mut acme = Acme::new();
    let id = acme.account("CI Bot", Some("administrator"), None);
    let key = acme.account_token(id, "deploy", &["admin:*"]);
    let holder = acme.holder_of(key);
    let command = |acme: &Acme| acme.add_member("new@acme.example", "viewer");
    let off = active(&acme, id, false);
    acme.when(holder, off).accepted();
    assert_eq!(acme.credential(key).status(acme.now), Status::Active);
    let refused = command(&acme);
    acme.when(holder, refused)
        .refused(Rejection::CredentialNotAccepted);
    let on = active(&acme, id, true);
    acme.when(acme.admin, on).accepted();
    let accepted = command(&acme);
    acme.when(holder, accepted).accepted();
}

#[test]
fn who_enables_an_account_covers_its_frozen_tokens_too() {
    let mut acme = Acme::new();
    let id = acme.account("CI Bot", None, Some(&["cases:read", "cases:write"]));
    acme.account_token(id, "deploy", &["cases:write"]);
    let narrow = UpdateServiceAccount {
        scopes: Some(Some(strings(&["cases:read"]))),
        is_active: Some(false),
        ..acme.edit_account(id)
    };
    acme.when(acme.admin, narrow).accepted();
    let weak = acme.bearer(&["member:manage", "cases:read"]);
    let strong = acme.bearer(&["member:manage", "cases:read", "cases:write"]);
    let on = active(&acme, id, true);
    acme.when(weak, on.clone())
        .refused(Rejection::BeyondYourAuthority {
            why: Beyond::Scopes,
        });
    acme.when(strong, on).accepted();
}

#[test]
fn to_make_an_account_inactive_or_delete_it_needs_the_permission_only() {
    let mut acme = Acme::new();
    let weak = acme.bearer(&["member:manage"]);
    let id = acme.account("CI Bot", Some("owner"), None);
    let beyond = |why| Rejection::BeyondYourAuthority { why };
    let rename = renamed(&acme, id, "Other");
    acme.when(weak, rename).refused(beyond(Beyond::OwnerRole));
    let off = active(&acme, id, false);
    acme.when(weak, off).accepted();
    let on = active(&acme, id, true);
    acme.when(weak, on).refused(beyond(Beyond::OwnerRole));
    let gone = delete(&acme, id);
    acme.when(weak, gone).accepted();
}

#[test]
fn the_role_is_the_ceiling_on_management_permissions_only() {
    let mut acme = Acme::new();
    let scopes: &[&str] = &["cases:write", "member:manage", "keys:read"];
    for (role, holds) in [
        (None, [true, false, false]),
        (Some("viewer"), [true, false, true]),
        (Some("administrator"), [true, true, true]),
    ] {
        let name = role.unwrap_or("none");
        let id = acme.account(name, role, Some(scopes));
        let key = acme.account_token(id, "deploy", scopes);
        let holder = acme.holder_of(key);
        let authority = acme.state.authority(holder, acme.now).unwrap();
        let held = [0, 1, 2].map(|n| acme.state.catalogue().holds(authority.scopes, scopes[n]));
        assert_eq!(held, holds, "{name}");
    }
}

#[test]
fn a_token_carries_scopes_of_its_account_frozen_when_it_is_issued() {
    let mut acme = Acme::new();
    let listed = acme.account("listed", Some("owner"), Some(&["cases:read"]));
    let by_role = acme.account("by role", Some("engineer"), None);
    let bare = acme.account("bare", None, None);
    for (account, scope, code) in [
        (listed, "cases:read", "accepted"),
        (listed, "cases:write", "scope_beyond_account"),
        (listed, "admin:*", "scope_beyond_account"),
        (by_role, "cases:write", "accepted"),
        (by_role, "member:manage", "scope_beyond_account"),
        (bare, "cases:read", "scope_beyond_account"),
        (listed, "*", "scope_not_for_kind"),
        (listed, "platform:*", "scope_not_for_kind"),
        (listed, "cases:*", "unknown_scope"),
    ] {
        let owner = Owner::ServiceAccount(account);
        let command = acme.owned_key(Kind::ServiceAccount, owner, "token", &[scope]);
        assert_eq!(acme.when(acme.owner, command).code(), code, "{scope}");
    }
    let narrow = UpdateServiceAccount {
        scopes: Some(Some(strings(&["rulesets:read"]))),
        ..acme.edit_account(listed)
    };
    acme.when(acme.owner, narrow).accepted();
    let token = acme
        .state
        .live_credentials_of(Owner::ServiceAccount(listed), acme.now)[0];
    assert_eq!(acme.credential(token).grant().scopes, ["cases:read"]);
}

#[test]
fn one_owner_has_at_most_5000_live_credentials() {
    let mut acme = Acme::new();
    let account = acme.account("Bot", Some("engineer"), None);
    let owner = Owner::ServiceAccount(account);
    let day = CreateKey {
        expiry: Expiry::InDays(1),
        ..acme.owned_key(Kind::ServiceAccount, owner, "first", &["cases:read"])
    };
    let first = acme.make(day);
    for n in 1..5_000_u32 {
        let id = CredentialId(Ulid(u128::from(n) + (1 << 80)));
        let mut copy = acme.credential(first).unpacked();
        copy.id = id;
        let copy = Credential::try_from(copy).unwrap();
        let now = acme.now;
        acme.state.live.add(&copy, now);
        acme.state.credentials.restore(id, Arc::new(copy));
    }
    let one_more = acme.owned_key(Kind::ServiceAccount, owner, "more", &["cases:read"]);
    acme.when(acme.owner, one_more.clone())
        .refused(Rejection::LimitReached {
            what: "live credentials of one owner",
            max: 5_000,
        });
    // What has expired is not live any more, and does not end once more with its owner.
    acme.later(24 * 60 * 60);
    acme.when(acme.owner, one_more).accepted();
    let end = delete(&acme, account);
    let done = acme.when(acme.owner, end).accepted();
    assert_eq!(done.events.len(), 2);
}
