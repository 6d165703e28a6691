//! What a catalogue keeps: old tokens, members and accounts go on having it, nothing new gets it.

use super::acme::{Acme, strings};
use super::adoption::keep;
use crate::domain::catalogue::Part;
use crate::domain::command::{Actor, ReplaceKey, UpdateKey, UpdateMember};
use crate::domain::ids::Owner;
use crate::domain::kind::Kind;

#[test]
fn a_kept_scope_lives_on_in_old_tokens_and_nothing_new_gets_it() {
    let mut acme = Acme::new();
    let old = acme.key(&["cases:write"]);
    let other = acme.key(&["cases:read"]);
    let owner = Owner::Organization(acme.organization);
    let replaced = acme.owned_key(Kind::Admin, owner, "admin", &["cases:write"]);
    let replaced = acme.make(replaced);
    let (carl, _) = acme.member("carl@acme.example", "engineer");
    let personal = acme.token_of(carl, &["cases:write"]);
    let access = acme.access_token("engineer");
    let access = acme.make(access);
    let bot = acme.account("Bot", Some("viewer"), Some(&["cases:write", "cases:read"]));
    let token = acme.account_token(bot, "old", &["cases:write"]);
    acme.adopt(|text| {
        text.presets.retain(|preset| preset.name == "status");
        keep(text, Part::Scope, "cases:write");
    });
    for (key, holds) in [
        (old, true),
        (replaced, true),
        (personal, true),
        (token, true),
        // A role gives no kept scope, whoever has the role.
        (access, false),
        (other, false),
    ] {
        assert_eq!(acme.holds(key, "cases:write"), holds, "{key}");
    }
    for command in [
        acme.api_key(&["cases:write"]),
        acme.owned_key(Kind::Admin, owner, "new", &["cases:read", "cases:write"]),
        acme.owned_key(Kind::Personal, Owner::User(carl), "new", &["cases:write"]),
        acme.owned_key(
            Kind::ServiceAccount,
            Owner::ServiceAccount(bot),
            "new",
            &["cases:write"],
        ),
    ] {
        acme.said(command, "unknown_scope");
    }
    for key in [other, old] {
        let edit = UpdateKey {
            scopes: Some(strings(&["cases:read", "cases:write"])),
            ..acme.edit(key)
        };
        acme.said(edit, "unknown_scope");
    }
    let target = acme.target(replaced);
    let replace = ReplaceKey {
        target,
        expiry: None,
    };
    acme.said(replace, "unknown_scope");
    let mut account = acme.service_account("Other");
    account.scopes = Some(strings(&["cases:write"]));
    acme.said(account, "unknown_scope");
    // What takes all that the account has takes all that is still given.
    let whole = acme.owned_key(
        Kind::ServiceAccount,
        Owner::ServiceAccount(bot),
        "whole",
        &[],
    );
    let whole = acme.make(whole);
    assert_eq!(acme.credential(whole).grant().scopes, ["cases:read"]);
    // A new secret is no new token.
    let rotate = acme.rotate(old, 0);
    acme.when(acme.admin, rotate).accepted();
    assert!(acme.holds(old, "cases:write"));
}

#[test]
fn a_role_that_names_a_kept_scope_is_the_ceiling_on_it_as_on_any_other() {
    let mut acme = Acme::new();
    let organization = acme.organization;
    let (member, everything) = acme.member("carl@acme.example", "engineer");
    let token = acme.token_of(member, &["cases:write"]);
    let Actor::Bearer { credential, .. } = everything else {
        panic!("a token is no operator");
    };
    acme.adopt(|text| {
        keep(text, Part::Scope, "cases:write");
        text.presets.clear();
    });
    assert!(acme.holds(token, "cases:write") && !acme.holds(credential, "cases:write"));
    for (role, holds) in [("viewer", false), ("administrator", true)] {
        let change = UpdateMember {
            organization,
            member,
            role: Some(String::from(role)),
            email: None,
            name: None,
        };
        acme.when(Actor::Operator, change).accepted();
        assert_eq!(acme.holds(token, "cases:write"), holds, "{role}");
    }
}

#[test]
fn a_kept_role_or_preset_stays_with_those_who_have_it() {
    let mut acme = Acme::new();
    let (carl, everything) = acme.member("carl@acme.example", "engineer");
    let access = acme.access_token("engineer");
    let access = acme.make(access);
    let token = acme.project_token("read-only");
    let token = acme.make(token);
    acme.adopt(|text| {
        keep(text, Part::Scope, "cases:write");
        keep(text, Part::Role, "engineer");
        keep(text, Part::Scope, "projects:status");
        keep(text, Part::Preset, "read-only");
        text.presets.retain(|preset| preset.name == "read-only");
    });
    assert!(acme.holds(access, "cases:write"), "both are kept");
    assert!(acme.holds(token, "projects:status"));
    let Actor::Bearer { credential, .. } = everything else {
        panic!("a token is no operator");
    };
    assert!(acme.holds(credential, "cases:write"));
    let organization = acme.organization;
    let promote = UpdateMember {
        organization,
        member: acme.ann,
        role: Some(String::from("engineer")),
        email: None,
        name: None,
    };
    acme.said(promote, "unknown_role");
    let command = acme.access_token("engineer");
    acme.said(command, "unknown_role");
    let command = acme.add_member("dora@acme.example", "engineer");
    acme.said(command, "unknown_role");
    let command = acme.project_token("read-only");
    acme.said(command, "unknown_preset");
    let target = acme.target(token);
    let replace = ReplaceKey {
        target,
        expiry: None,
    };
    acme.said(replace, "unknown_preset");
    // It is let go of as any other.
    let demote = UpdateMember {
        organization,
        member: carl,
        role: Some(String::from("viewer")),
        email: None,
        name: None,
    };
    acme.when(Actor::Operator, demote).accepted();
}
