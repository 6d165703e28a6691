//! Opening a ledger, organizations, projects.

use super::acme::{Acme, strings};
use super::{Ledger, open_ledger};
use crate::domain::command::{
    Actor, CreateOrganization, CreateProject, Expiry, UpdateOrganization, UpdateProject,
};
use crate::domain::ids::{OrganizationId, Subject};
use crate::domain::record::Status;
use crate::domain::rejection::Rejection;

fn create_organization(name: &str, email: &str, scopes: &[&str]) -> CreateOrganization {
    CreateOrganization {
        name: name.to_owned(),
        owner_email: email.to_owned(),
        key_scopes: strings(scopes),
    }
}

fn edit(organization: OrganizationId) -> UpdateOrganization {
    UpdateOrganization {
        organization,
        name: None,
        token_prefix: None,
    }
}

fn edit_project(acme: &Acme) -> UpdateProject {
    UpdateProject {
        organization: acme.organization,
        project: acme.project,
        name: None,
        archived: None,
    }
}

#[test]
fn a_ledger_opens_once_and_before_all_else() {
    let mut ledger = Ledger::empty();
    let first = create_organization("Acme", "ann@acme.example", &["admin:*"]);
    let none = Rejection::NotFound { what: "ledger" };
    ledger.when(Actor::Operator, first).refused(none);
    ledger.when(Actor::Operator, open_ledger()).then(&[
        r#"ledger.opened 07070707070707070707070707070707 
            {"log_id":"07070707070707070707070707070707","origin":"keyledger.example/log",
            "vkey":"keyledger.example/log+00000000+AA=="}"#,
        "catalogue.adopted 07070707070707070707070707070707 {...}",
    ]);
    ledger
        .when(Actor::Operator, open_ledger())
        .refused(Rejection::LedgerAlreadyInitialized);
}

#[test]
fn the_command_line_alone_opens_a_ledger() {
    let mut acme = Acme::new();
    acme.when(acme.platform, open_ledger())
        .refused(Rejection::OperatorOnly);
}

#[test]
fn settling_hands_out_the_adopted_catalogue_once() {
    let mut ledger = Ledger::empty();
    let request = |command| crate::domain::command::Request {
        actor: Actor::Operator,
        command,
        if_match: None,
    };
    ledger.stage(&request(open_ledger())).accepted();
    assert!(ledger.state.settle().catalogue.is_some());
    let organization = create_organization("Acme", "ann@acme.example", &["admin:*"]);
    ledger.stage(&request(organization.into())).accepted();
    assert!(ledger.state.settle().catalogue.is_none());
}

#[test]
fn an_organization_begins_with_its_owner_and_a_first_key() {
    let mut ledger = Ledger::opened();
    let command = create_organization("Acme", "ann@acme.example", &["admin:*"]);
    let outcome = ledger.when(Actor::Operator, command);
    let token = outcome.result.as_ref().unwrap().token.as_ref();
    let token = token.unwrap().reveal().to_owned();
    assert!(
        token.starts_with("rfk_00000000000000000000000008_"),
        "{token}"
    );
    let hash = hex::encode(crate::domain::secret::SecretHash::of(&token).0);
    let hint = &token[token.len() - 4..];
    outcome.then(&[
        r#"organization.created org_00000000000000000000000005 {"name":"Acme","token_prefix":"rfk",
            "created_by":null}"#,
        r#"member.added usr_00000000000000000000000006 {"email":{"sealed":1,
            "key":"dk_00000000000000000000000003","nonce":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ",
            "text":"YW5uQGFjbWUuZXhhbXBsZQAAAAAAAAAAAAAAAAAAAAA="},"name":null,"role":"owner",
            "created_by":null}"#,
        &format!(
            r#"api_key.created key_00000000000000000000000007 {{"kind":"organization",
                "owner":{{"type":"organization","id":"org_00000000000000000000000005"}},
                "project_id":null,"name":"Bootstrap key","description":null,
                "grant":{{"scopes":["admin:*"],"role":null,"preset":null}},"expires_at":null,
                "metadata":{{}},"created_by":"usr_00000000000000000000000006","issued_via":null,
                "replaces":null,"secret":{{"id":"sec_00000000000000000000000008","hash":"{hash}",
                "prefix":"rfk","hint":"{hint}"}}}}"#
        ),
    ]);
}

#[test]
fn organizations_are_made_with_platform_and_by_nothing_less() {
    let mut acme = Acme::new();
    let command = create_organization("Initech", "peter@initech.example", &["admin:*"]);
    for actor in [acme.owner, acme.admin, acme.stranger] {
        acme.when(actor, command.clone())
            .refused(Rejection::Forbidden {
                needs: "platform:*",
            });
    }
    acme.when(acme.platform, command).accepted();
    // Only a holder grants it further.
    let further = create_organization("Hooli", "gavin@hooli.example", &["platform:*"]);
    acme.when(acme.platform, further).accepted();
}

#[test]
fn the_first_key_never_outlives_the_credential_that_makes_it() {
    let mut acme = Acme::new();
    let mut command = acme.api_key(&["platform:*"]);
    command.expiry = Expiry::InDays(1);
    let key = acme.make(command);
    let expires_at = acme.credential(key).expires_at();
    let holder = acme.holder_of(key);
    let command = create_organization("Initech", "peter@initech.example", &["admin:*"]);
    let done = acme.when(holder, command).accepted();
    let Subject::Credential(first) = done.events[2].subject else {
        panic!("{done:?}");
    };
    assert!(expires_at.is_some());
    assert_eq!(acme.credential(first).expires_at(), expires_at);
}

#[test]
fn a_credential_bound_to_a_project_makes_and_edits_nothing_beside_it() {
    let mut acme = Acme::new();
    let mut command = acme.api_key(&["platform:*"]);
    command.project = Some(acme.project);
    let key = acme.make(command);
    let bound = acme.holder_of(key);
    let other = acme.project("Shop");
    let wrong = || Rejection::WrongProject;
    let renamed = UpdateOrganization {
        name: Some(String::from("Other")),
        ..edit(acme.organization)
    };
    let initech = create_organization("Initech", "peter@initech.example", &["admin:*"]);
    let needs = "platform:*";
    acme.when(bound, initech)
        .refused(Rejection::Forbidden { needs });
    acme.when(bound, renamed).refused(wrong());
    let command = CreateProject {
        organization: acme.organization,
        name: String::from("Third"),
    };
    acme.when(bound, command).refused(wrong());
    let archived = UpdateProject {
        archived: Some(true),
        ..edit_project(&acme)
    };
    let elsewhere = UpdateProject {
        project: other,
        ..archived.clone()
    };
    acme.when(bound, elsewhere)
        .refused(Rejection::NotFound { what: "project" });
    acme.when(bound, archived).accepted();
    let member = acme.add_member("carl@acme.example", "viewer");
    acme.when(bound, member).refused(wrong());
    let account = acme.service_account("CI Bot");
    acme.when(bound, account).refused(wrong());
}

#[test]
fn an_edit_of_an_organization_says_what_changed_and_nothing_else() {
    let mut acme = Acme::new();
    let id = acme.organization;
    acme.when(acme.admin, edit(id)).then_nothing();
    let same = UpdateOrganization {
        name: Some(String::from("Acme")),
        token_prefix: Some(String::from("rfk")),
        ..edit(id)
    };
    acme.when(acme.admin, same.clone()).then_nothing();
    let changed = UpdateOrganization {
        token_prefix: Some(String::from("acme")),
        ..same
    };
    acme.when(acme.admin, changed).then(&[&format!(
        r#"organization.updated {id} {{"name":null,"token_prefix":"acme"}}"#
    )]);
    let key = acme.key(&["cases:read"]);
    assert_eq!(acme.credential(key).secret().shown_prefix(), "acme_0000000");
    let wrong = UpdateOrganization {
        token_prefix: Some(String::from("ACME")),
        ..edit(id)
    };
    acme.when(acme.admin, wrong)
        .refused(Rejection::TokenPrefixInvalid);
}

#[test]
fn a_project_is_renamed_put_away_and_taken_out_again() {
    let mut acme = Acme::new();
    let project = acme.project;
    let change = |name: Option<&str>, archived| UpdateProject {
        organization: acme.organization,
        project,
        name: name.map(str::to_owned),
        archived,
    };
    let (both, away, out) = (
        change(Some("Shop"), Some(true)),
        change(None, Some(true)),
        change(Some("Shop"), Some(false)),
    );
    acme.when(acme.admin, both).then(&[
        &format!(r#"project.updated {project} {{"name":"Shop"}}"#),
        &format!("project.archived {project} {{}}"),
    ]);
    acme.when(acme.admin, away).then_nothing();
    let mut bound = acme.api_key(&["cases:read"]);
    bound.project = Some(project);
    acme.when(acme.admin, bound.clone())
        .refused(Rejection::ProjectArchived);
    acme.when(acme.admin, out.clone())
        .then(&[&format!("project.unarchived {project} {{}}")]);
    acme.when(acme.admin, out).then_nothing();
    let key = acme.make(bound);
    assert_eq!(acme.credential(key).status(acme.now), Status::Active);
    assert_eq!(acme.state.project(project).unwrap().stamp.version, 4);
}

#[test]
fn names_are_lines_of_at_most_200_characters() {
    let mut acme = Acme::new();
    let long = "\u{e9}".repeat(201);
    for (name, code) in [
        ("", "field_empty"),
        (" \u{3000}\t", "field_empty"),
        ("a\nb", "field_control_characters"),
        ("a\u{0}", "field_control_characters"),
        ("a\u{85}b", "field_control_characters"),
        (long.as_str(), "field_too_long"),
        (&long[2..], "accepted"),
        ("\u{1f511} \u{5d0}", "accepted"),
    ] {
        let organization = create_organization(name, "a@b.example", &["admin:*"]);
        let project = CreateProject {
            organization: acme.organization,
            name: name.to_owned(),
        };
        let mut key = acme.api_key(&["cases:read"]);
        key.name = name.to_owned();
        let account = acme.service_account(name);
        let mut member = acme.add_member(&format!("m{}@acme.example", name.len()), "viewer");
        member.name = Some(name.to_owned());
        assert_eq!(acme.when(Actor::Operator, organization).code(), code);
        assert_eq!(acme.when(acme.admin, project).code(), code, "{name:?}");
        assert_eq!(acme.when(acme.admin, key).code(), code, "{name:?}");
        assert_eq!(acme.when(acme.admin, account).code(), code, "{name:?}");
        assert_eq!(acme.when(acme.admin, member).code(), code, "{name:?}");
    }
}
