//! The order of checks, everywhere the same: 401, 404 (tenant), 403, 405, 422, authority, 412, 409.

use super::acme::{Acme, strings};
use crate::domain::command::{
    Actor, Command, CreateKey, DeleteServiceAccount, Expiry, UpdateKey, UpdateMember,
    UpdateServiceAccount,
};
use crate::domain::ids::Owner;
use crate::domain::kind::Kind;

/// Makes a command with everything wrong, then rights one thing after another.
fn check(name: &str, steps: &[(&str, Actor, Command, u32)], acme: &mut Acme) {
    for (expected, actor, command, version) in steps {
        let outcome = acme.when_at_version(*actor, command.clone(), *version);
        assert_eq!(outcome.code(), *expected, "{name}: {command:?}");
    }
}

struct Cast {
    revoked: Actor,
    stranger: Actor,
    reader: Actor,
    manager: Actor,
    owner: Actor,
}

fn cast(acme: &mut Acme) -> Cast {
    let key = acme.key(&["admin:*"]);
    let revoked = acme.holder_of(key);
    let end = acme.revoke(key);
    acme.when(acme.owner, end).accepted();
    Cast {
        revoked,
        stranger: acme.stranger,
        reader: acme.bearer(&["keys:read", "cases:read"]),
        manager: acme.bearer(&["member:manage", "workspace:admin", "keys:read"]),
        owner: acme.owner,
    }
}

#[test]
fn of_an_edit() {
    let mut acme = Acme::new();
    let who = cast(&mut acme);
    let key = acme.key(&["cases:read"]);
    let end = acme.revoke(key);
    acme.when(acme.owner, end).accepted();
    let right = UpdateKey {
        scopes: Some(strings(&["cases:write"])),
        ..acme.edit(key)
    };
    let wrong = Command::from(UpdateKey {
        scopes: Some(strings(&["cases:own"])),
        ..right.clone()
    });
    let right = Command::from(right);
    let steps = [
        ("credential_not_accepted", who.revoked, wrong.clone(), 9),
        ("not_found", who.stranger, wrong.clone(), 9),
        ("forbidden", who.reader, wrong.clone(), 9),
        ("unknown_scope", who.manager, wrong, 9),
        ("beyond_your_authority", who.manager, right.clone(), 9),
        ("version_mismatch", who.owner, right.clone(), 9),
        ("credential_ended", who.owner, right, 2),
    ];
    check("edit", &steps, &mut acme);
}

#[test]
fn of_a_rotation() {
    let mut acme = Acme::new();
    let who = cast(&mut acme);
    let key = acme.key(&["cases:read"]);
    let end = acme.revoke(key);
    acme.when(acme.owner, end).accepted();
    let (wrong, right) = (
        Command::from(acme.rotate(key, u32::MAX)),
        Command::from(acme.rotate(key, 0)),
    );
    let steps = [
        ("credential_not_accepted", who.revoked, wrong.clone(), 9),
        ("not_found", who.stranger, wrong.clone(), 9),
        ("forbidden", who.reader, wrong.clone(), 9),
        ("grace_too_long", who.manager, wrong, 9),
        ("beyond_your_authority", who.manager, right.clone(), 9),
        ("version_mismatch", who.owner, right.clone(), 9),
        ("credential_ended", who.owner, right, 2),
    ];
    check("rotate", &steps, &mut acme);
}

#[test]
fn of_enabling_and_disabling() {
    let mut acme = Acme::new();
    let who = cast(&mut acme);
    let key = acme.key(&["cases:read"]);
    let end = acme.revoke(key);
    acme.when(acme.owner, end).accepted();
    let (on, off) = (acme.enable(key), acme.disable(key));
    let steps = [
        ("credential_not_accepted", who.revoked, on.clone(), 9),
        ("not_found", who.stranger, on.clone(), 9),
        ("forbidden", who.reader, on.clone(), 9),
        ("beyond_your_authority", who.manager, on.clone(), 9),
        ("version_mismatch", who.owner, on.clone(), 9),
        ("credential_ended", who.owner, on, 2),
    ];
    check("enable", &steps, &mut acme);
    let steps = [
        ("forbidden", who.reader, off.clone(), 9),
        ("version_mismatch", who.manager, off.clone(), 9),
        ("credential_ended", who.manager, off, 2),
    ];
    check("disable", &steps, &mut acme);
}

#[test]
fn of_a_creation() {
    let mut acme = Acme::new();
    let who = cast(&mut acme);
    let account = acme.account("Bot", Some("engineer"), None);
    let delete = DeleteServiceAccount {
        organization: acme.organization,
        account,
    };
    acme.when(acme.owner, delete).accepted();
    let owner = Owner::ServiceAccount(account);
    let right = acme.owned_key(Kind::ServiceAccount, owner, "x", &["cases:read"]);
    let wrong = Command::from(CreateKey {
        expiry: Expiry::InDays(0),
        ..right.clone()
    });
    let right = Command::from(right);
    let steps = [
        ("credential_not_accepted", who.revoked, wrong.clone(), 0),
        ("not_found", who.stranger, wrong.clone(), 0),
        ("forbidden", who.reader, wrong.clone(), 0),
        ("expiry_days_out_of_range", who.manager, wrong, 0),
        ("beyond_your_authority", who.manager, right.clone(), 0),
        ("service_account_deleted", who.owner, right, 0),
    ];
    check("create", &steps, &mut acme);
}

#[test]
fn of_another_role() {
    let mut acme = Acme::new();
    let who = cast(&mut acme);
    let role = |role: &str| {
        Command::from(UpdateMember {
            organization: acme.organization,
            member: acme.ann,
            role: Some(role.to_owned()),
            email: None,
            name: None,
        })
    };
    let (wrong, right) = (role("king"), role("viewer"));
    let steps = [
        ("credential_not_accepted", who.revoked, wrong.clone(), 9),
        ("not_found", who.stranger, wrong.clone(), 9),
        ("forbidden", who.reader, wrong.clone(), 9),
        ("unknown_role", who.manager, wrong, 9),
        ("beyond_your_authority", who.manager, right.clone(), 9),
        ("version_mismatch", who.owner, right.clone(), 9),
        ("last_owner", who.owner, right, 1),
    ];
    check("role", &steps, &mut acme);
}

#[test]
fn of_an_edit_of_a_service_account() {
    let mut acme = Acme::new();
    let who = cast(&mut acme);
    let account = acme.account("Bot", Some("engineer"), None);
    acme.account("Robot", None, None);
    let name = |name: &str| {
        Command::from(UpdateServiceAccount {
            name: Some(name.to_owned()),
            ..acme.edit_account(account)
        })
    };
    let (wrong, right) = (name(""), name("robot"));
    let steps = [
        ("credential_not_accepted", who.revoked, wrong.clone(), 9),
        ("not_found", who.stranger, wrong.clone(), 9),
        ("forbidden", who.reader, wrong.clone(), 9),
        ("field_empty", who.manager, wrong, 9),
        ("beyond_your_authority", who.manager, right.clone(), 9),
        ("version_mismatch", who.owner, right.clone(), 9),
        ("name_taken", who.owner, right, 1),
    ];
    check("service account", &steps, &mut acme);
}

#[test]
fn a_new_member_needs_an_address_a_role_and_authority_before_the_address_is_compared() {
    let mut acme = Acme::new();
    let who = cast(&mut acme);
    let command = |email, role| Command::from(acme.add_member(email, role));
    let steps = [
        ("forbidden", who.reader, command("nobody", "king"), 0),
        ("email_invalid", who.manager, command("nobody", "king"), 0),
        (
            "unknown_role",
            who.manager,
            command("ann@acme.example", "king"),
            0,
        ),
        (
            "beyond_your_authority",
            who.manager,
            command("ann@acme.example", "viewer"),
            0,
        ),
        (
            "email_taken",
            who.owner,
            command("ann@acme.example", "viewer"),
            0,
        ),
    ];
    check("member", &steps, &mut acme);
}
