//! Replacement, and edits of what access tokens alone have: their role and their expiry.

use super::acme::{Acme, key_of, strings};
use crate::domain::command::{CreateKey, Expiry, Place, ReplaceKey, UpdateKey};
use crate::domain::ids::{CredentialId, Owner};
use crate::domain::kind::Kind;
use crate::domain::record::{Grant, Status};
use crate::domain::rejection::{Beyond, Rejection};

fn replace(acme: &Acme, key: CredentialId) -> ReplaceKey {
    ReplaceKey {
        target: acme.target(key),
        expiry: None,
    }
}

fn admin_token(acme: &mut Acme) -> CredentialId {
    let owner = Owner::Organization(acme.organization);
    let command = acme.owned_key(Kind::Admin, owner, "Returns", &["cases:read"]);
    acme.make(command)
}

fn with_role(acme: &Acme, role: &str) -> CreateKey {
    let owner = Owner::Organization(acme.organization);
    CreateKey {
        grant: Grant {
            role: Some(role.to_owned()),
            ..Grant::default()
        },
        ..acme.owned_key(Kind::Access, owner, "CI Runner", &[])
    }
}

fn project_token(acme: &mut Acme, preset: &str) -> CredentialId {
    let owner = Owner::Organization(acme.organization);
    let command = CreateKey {
        project: Some(acme.project),
        grant: Grant {
            preset: Some(preset.to_owned()),
            ..Grant::default()
        },
        ..acme.owned_key(Kind::Project, owner, "badge", &[])
    };
    acme.make(command)
}

#[test]
fn an_admin_token_and_its_replacement_know_each_other_and_both_live() {
    let mut acme = Acme::new();
    let old = admin_token(&mut acme);
    let command = replace(&acme, old);
    let done = acme.when(acme.owner, command).accepted();
    let new = key_of(&done);
    let types: Vec<&str> = done.events.iter().map(|event| event.fact.name()).collect();
    assert_eq!(types, ["api_key.created", "api_key.updated"]);
    let (before, after) = (acme.credential(old), acme.credential(new));
    assert_eq!((before.replaced_by(), before.replaces()), (Some(new), None));
    assert_eq!((after.replaced_by(), after.replaces()), (None, Some(old)));
    assert_eq!(
        (after.name(), after.grant()),
        (before.name(), before.grant())
    );
    for key in [before, after] {
        assert_eq!(key.status(acme.now), Status::Active);
    }
    assert!(done.token.is_some());
}

#[test]
fn a_project_token_ends_as_its_replacement_begins() {
    let mut acme = Acme::new();
    let old = project_token(&mut acme, "read-only");
    let command = replace(&acme, old);
    let done = acme.when(acme.owner, command).accepted();
    let types: Vec<&str> = done.events.iter().map(|event| event.fact.name()).collect();
    assert_eq!(
        types,
        ["api_key.created", "api_key.updated", "api_key.revoked"]
    );
    let (before, after) = (acme.credential(old), acme.credential(key_of(&done)));
    assert_eq!(before.status(acme.now), Status::Revoked);
    assert_eq!(before.ended().unwrap().event, done.events[2].id);
    assert_eq!(after.project(), before.project());
    assert_eq!(after.grant(), before.grant());
}

#[test]
fn a_replacement_expires_with_the_old_one_or_when_it_is_said() {
    let mut acme = Acme::new();
    let owner = Owner::Organization(acme.organization);
    let command = CreateKey {
        expiry: Expiry::InDays(9),
        ..acme.owned_key(Kind::Admin, owner, "Returns", &["cases:read"])
    };
    let old = acme.make(command);
    acme.later(60);
    let same = replace(&acme, old);
    let said = ReplaceKey {
        expiry: Some(Expiry::InDays(30)),
        ..same
    };
    let same = key_of(&acme.when(acme.owner, same).accepted());
    acme.when(acme.owner, said)
        .refused(Rejection::AlreadyReplaced { by: same });
    let mut end = acme.revoke(same);
    end.target.place = said.target.place;
    acme.when(acme.owner, end).accepted();
    let said = key_of(&acme.when(acme.owner, said).accepted());
    let ends = acme.credential(old).expires_at();
    assert_eq!(acme.credential(same).expires_at(), ends);
    assert!(acme.credential(said).expires_at() > ends);
    acme.later(9 * 24 * 60 * 60);
    let late = replace(&acme, old);
    acme.when(acme.owner, late)
        .refused(Rejection::CredentialEnded);
}

#[test]
fn a_replacement_needs_authority_over_what_it_makes() {
    let mut acme = Acme::new();
    let strong = project_token(&mut acme, "admin");
    let weak = acme.bearer(&["projects:write"]);
    let command = replace(&acme, strong);
    let why = Beyond::Scopes;
    acme.when(weak, command)
        .refused(Rejection::BeyondYourAuthority { why });
    let put_away = crate::domain::command::UpdateProject {
        organization: acme.organization,
        project: acme.project,
        name: None,
        archived: Some(true),
    };
    acme.when(acme.owner, put_away).accepted();
    acme.when(acme.owner, command)
        .refused(Rejection::ProjectArchived);
}

#[test]
fn a_projects_token_manages_the_tokens_of_its_own_project_alone() {
    let mut acme = Acme::new();
    let own = project_token(&mut acme, "admin");
    let holder = acme.holder_of(own);
    let second = project_token(&mut acme, "status");
    acme.project = acme.project("Shop");
    let foreign = project_token(&mut acme, "status");
    let mut end = acme.revoke(second);
    end.target.place = Place::of(Kind::Project);
    acme.when(holder, end.clone()).accepted();
    end.target.key = foreign;
    let what = "key";
    acme.when(holder, end).refused(Rejection::NotFound { what });
    let command = replace(&acme, foreign);
    acme.when(holder, command)
        .refused(Rejection::NotFound { what });
}

#[test]
fn an_access_tokens_label_role_and_expiry_are_edited() {
    let mut acme = Acme::new();
    let command = with_role(&acme, "viewer");
    let key = acme.make(command);
    let edit = UpdateKey {
        name: Some(String::from("Zapier Sync")),
        role: Some(String::from("team_member")),
        expiry: Some(Expiry::InDays(1)),
        ..acme.edit(key)
    };
    acme.when(acme.owner, edit).then(&[&format!(
        r#"api_key.updated {key} {{"changed":["label","role","expiry"],"name":"Zapier Sync",
        "description":null,"role":"team_member","expires_at":"2026-04-25T15:30:00.000Z",
        "metadata":{{}},"replaced_by":null}}"#
    )]);
    let no_end = UpdateKey {
        expiry: Some(Expiry::Never),
        ..acme.edit(key)
    };
    acme.when(acme.owner, no_end).accepted();
    assert_eq!(acme.credential(key).expires_at(), None);
    let scopes = UpdateKey {
        scopes: Some(strings(&["cases:read"])),
        ..acme.edit(key)
    };
    assert_eq!(acme.when(acme.owner, scopes).code(), "not_for_kind");
}

#[test]
fn nobody_gives_a_token_a_role_or_an_expiry_beyond_their_own() {
    let mut acme = Acme::new();
    let (_, manager) = acme.member("wim@acme.example", "workspace_manager");
    let command = with_role(&acme, "viewer");
    let key = acme.make(command);
    let beyond = |why| Rejection::BeyondYourAuthority { why };
    let edit = |acme: &Acme, role: &str| UpdateKey {
        role: Some(role.to_owned()),
        ..acme.edit(key)
    };
    let administrator = edit(&acme, "administrator");
    acme.when(manager, administrator.clone())
        .refused(beyond(Beyond::Scopes));
    acme.when(acme.owner, administrator).accepted();
    // Nor is one that is stronger than they are weakened by them.
    let viewer = edit(&acme, "viewer");
    acme.when(manager, viewer).refused(beyond(Beyond::Scopes));
    let short = CreateKey {
        expiry: Expiry::InDays(1),
        ..acme.api_key(&["admin:*"])
    };
    let short = acme.make(short);
    let short = acme.holder_of(short);
    let longer = UpdateKey {
        expiry: Some(Expiry::InDays(2)),
        ..acme.edit(key)
    };
    acme.when(short, longer).refused(beyond(Beyond::Expiry));
    let owners = with_role(&acme, "owner");
    acme.when(acme.admin, owners)
        .refused(beyond(Beyond::OwnerRole));
}

#[test]
fn who_ends_soon_leaves_nothing_behind_that_can_do_more() {
    let mut acme = Acme::new();
    let short = CreateKey {
        expiry: Expiry::InDays(1),
        ..acme.api_key(&["admin:*"])
    };
    let short = acme.make(short);
    let short = acme.holder_of(short);
    let lasting = acme.key(&["cases:read"]);
    let why = Beyond::Expiry;
    let wider = UpdateKey {
        scopes: Some(strings(&["cases:read", "cases:write"])),
        ..acme.edit(lasting)
    };
    acme.when(short, wider)
        .refused(Rejection::BeyondYourAuthority { why });
    let renamed = UpdateKey {
        name: Some(String::from("renamed")),
        ..acme.edit(lasting)
    };
    acme.when(short, renamed).accepted();
    let off = acme.disable(lasting);
    acme.when(short, off).accepted();
    let on = acme.enable(lasting);
    acme.when(short, on.clone())
        .refused(Rejection::BeyondYourAuthority { why });
    acme.when(acme.owner, on).accepted();
}

#[test]
fn who_issues_for_an_account_covers_the_account() {
    let mut acme = Acme::new();
    let strong = acme.account("Root", Some("administrator"), None);
    let weak = acme.account("Reader", None, Some(&["cases:read"]));
    let manager = acme.bearer(&["workspace:admin", "cases:read"]);
    let token = |acme: &Acme, account| {
        let owner = Owner::ServiceAccount(account);
        acme.owned_key(Kind::ServiceAccount, owner, "t", &["cases:read"])
    };
    let why = Beyond::Scopes;
    let command = token(&acme, strong);
    acme.when(manager, command)
        .refused(Rejection::BeyondYourAuthority { why });
    let command = token(&acme, weak);
    acme.when(manager, command).accepted();
}
