//! The table of kinds: written by hand here, read from `Kind::rules` and from `decide` there.

use std::fmt::Write as _;

use super::acme::Acme;
use crate::domain::command::{Actor, Command, CreateKey, Expiry, Place, ReplaceKey, RevokeKey};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, UserId};
use crate::domain::kind::{Field, GrantForm, Kind, OwnedBy, ProjectBinding, Renewal};
use crate::domain::record::Grant;
use crate::domain::rejection::Rejection;

/// Kind, owner, grant, name unique, edit, disable, renewal, project.
const TABLE: &str = "\
organization | organization | scopes | no | name description scopes expiry | yes | rotate | optional
personal | member | scopes or * | yes | - | no | rotate | never
service_account | service account | scopes of account | yes | - | no | rotate | never
access | organization | role | no | label role expiry | yes | rotate | never
admin | organization | scopes | no | name scopes expiry | yes | replace beside | never
project | organization | preset | no | - | no | replace at once | always
";

fn row(kind: Kind) -> String {
    let rules = kind.rules();
    let owner = match rules.owner {
        OwnedBy::Organization => "organization",
        OwnedBy::Member => "member",
        OwnedBy::ServiceAccount => "service account",
    };
    let grant = match rules.grant {
        GrantForm::Scopes => "scopes",
        GrantForm::ScopesOrEverything => "scopes or *",
        GrantForm::ScopesOfAccount => "scopes of account",
        GrantForm::Role => "role",
        GrantForm::Preset => "preset",
    };
    let fields = rules.edit.iter().map(|field| match field {
        Field::Name => "name",
        Field::Label => "label",
        Field::Description => "description",
        Field::Scopes => "scopes",
        Field::Role => "role",
        Field::Expiry => "expiry",
    });
    let fields: Vec<&str> = fields.collect();
    let edit = match fields.as_slice() {
        [] => String::from("-"),
        fields => fields.join(" "),
    };
    let renewal = match rules.renewal {
        Renewal::Rotate => "rotate",
        Renewal::ReplaceBeside => "replace beside",
        Renewal::ReplaceAtOnce => "replace at once",
    };
    let project = match rules.project {
        ProjectBinding::Never => "never",
        ProjectBinding::Optional => "optional",
        ProjectBinding::Always => "always",
    };
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let (unique, disable) = (yes_no(rules.unique_name), yes_no(rules.can_be_disabled));
    let name = kind.name();
    format!("{name} | {owner} | {grant} | {unique} | {edit} | {disable} | {renewal} | {project}")
}

/// A request for a credential of each kind that is right in all respects.
fn right(acme: &mut Acme, kind: Kind) -> CreateKey {
    let organization = Owner::Organization(acme.organization);
    let name = kind.name();
    match kind {
        Kind::Organization | Kind::Admin => {
            acme.owned_key(kind, organization, name, &["cases:read"])
        }
        Kind::Personal => acme.owned_key(kind, Owner::User(acme.ann), name, &["cases:read"]),
        Kind::ServiceAccount => {
            let account = acme.account(&format!("Bot {}", acme.commands), Some("engineer"), None);
            acme.owned_key(kind, Owner::ServiceAccount(account), name, &["cases:read"])
        }
        Kind::Access => CreateKey {
            grant: Grant {
                role: Some(String::from("viewer")),
                ..Grant::default()
            },
            ..acme.owned_key(kind, organization, name, &[])
        },
        Kind::Project => CreateKey {
            grant: Grant {
                preset: Some(String::from("read-only")),
                ..Grant::default()
            },
            project: Some(acme.project),
            ..acme.owned_key(kind, organization, name, &[])
        },
    }
}

#[test]
fn the_table_of_kinds_is_the_documented_one() {
    let rows = Kind::ALL.map(row).join("\n");
    assert_eq!(format!("{rows}\n"), TABLE);
    for kind in Kind::ALL {
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
        assert_eq!(
            serde_json::to_string(&kind).unwrap(),
            format!("{:?}", kind.name())
        );
    }
}

#[test]
fn each_kind_takes_the_actions_of_its_row_and_no_others() {
    const EXPECTED: &str = "\
organization: name description scopes expiry metadata rotate disable enable revoke
personal: rotate revoke
service_account: rotate revoke
access: name role expiry metadata rotate disable enable revoke
admin: name scopes expiry metadata replace disable enable revoke
project: replace revoke
";
    let mut acme = Acme::new();
    let mut seen = String::new();
    for kind in Kind::ALL {
        let command = right(&mut acme, kind);
        let key = acme.make(command);
        write!(seen, "{}:", kind.name()).unwrap();
        for (action, command) in actions(&acme, key) {
            match acme.when(acme.owner, command).code() {
                "accepted" => write!(seen, " {action}").unwrap(),
                code => assert_eq!(code, "not_for_kind"),
            }
        }
        seen.push('\n');
    }
    assert_eq!(seen, EXPECTED);
}

fn actions(acme: &Acme, key: CredentialId) -> [(&'static str, Command); 11] {
    let mut name = acme.edit(key);
    name.name = Some(String::from("another"));
    let mut description = acme.edit(key);
    description.description = Some(None);
    let mut scopes = acme.edit(key);
    scopes.scopes = Some(vec![String::from("cases:write")]);
    let mut role = acme.edit(key);
    role.role = Some(String::from("viewer"));
    let mut expiry = acme.edit(key);
    expiry.expiry = Some(Expiry::InDays(30));
    let mut metadata = acme.edit(key);
    metadata.metadata = Some([(String::from("team"), String::from("soc"))].into());
    let replace = ReplaceKey {
        target: acme.target(key),
        expiry: None,
    };
    [
        ("name", name.into()),
        ("description", description.into()),
        ("scopes", scopes.into()),
        ("role", role.into()),
        ("expiry", expiry.into()),
        ("metadata", metadata.into()),
        ("replace", replace.into()),
        ("rotate", acme.rotate(key, 0).into()),
        ("disable", acme.disable(key)),
        ("enable", acme.enable(key)),
        ("revoke", acme.revoke(key).into()),
    ]
}

#[test]
fn what_a_kind_does_not_do_is_said_before_its_form_and_its_state() {
    let mut acme = Acme::new();
    let command = right(&mut acme, Kind::Project);
    let key = acme.make(command);
    let end = acme.revoke(key);
    acme.when(acme.owner, end).accepted();
    let rotate = acme.rotate(key, u32::MAX);
    for command in [rotate.into(), acme.disable(key), acme.enable(key)] {
        let outcome = acme.when_at_version(acme.owner, command, 9);
        assert_eq!(outcome.code(), "not_for_kind");
    }
    let mut edit = acme.edit(key);
    edit.name = Some(String::new());
    let outcome = acme.when_at_version(acme.owner, edit, 9);
    assert_eq!(outcome.code(), "not_for_kind");
}

#[test]
fn each_kind_has_its_own_sort_of_owner_in_the_same_organization() {
    let mut acme = Acme::new();
    let account = acme.account("Bot", Some("engineer"), None);
    let bob = first_member(&acme, acme.globex);
    let owners = [
        ("acme", Owner::Organization(acme.organization)),
        ("globex", Owner::Organization(acme.globex)),
        ("ann", Owner::User(acme.ann)),
        ("bob", Owner::User(bob)),
        ("bot", Owner::ServiceAccount(account)),
    ];
    let mut seen = String::new();
    for kind in Kind::ALL {
        write!(seen, "{}:", kind.name()).unwrap();
        for (name, owner) in owners {
            let command = CreateKey {
                owner,
                ..right(&mut acme, kind)
            };
            let outcome = acme.when(Actor::Operator, command);
            if outcome.code() == "accepted" {
                write!(seen, " {name}").unwrap();
            } else {
                outcome.refused(Rejection::UnknownOwner { kind });
            }
        }
        seen.push('\n');
    }
    assert_eq!(
        seen,
        "organization: acme\npersonal: ann\nservice_account: bot\n\
         access: acme\nadmin: acme\nproject: acme\n"
    );
}

fn first_member(acme: &Acme, organization: OrganizationId) -> UserId {
    let mut members = acme.state.members.settled_after(None);
    let found = members.find(|(_, member)| member.organization == organization);
    found.unwrap().0
}

#[test]
fn a_grant_has_the_form_of_its_kind_and_no_other() {
    let mut acme = Acme::new();
    for kind in Kind::ALL {
        let right = right(&mut acme, kind);
        let (scopes, role, preset) = (
            !right.grant.scopes.is_empty(),
            right.grant.role.is_some(),
            right.grant.preset.is_some(),
        );
        let mut extra = right.clone();
        if scopes {
            extra.grant.role = Some(String::from("viewer"));
        } else {
            extra.grant.scopes = vec![String::from("cases:read")];
        }
        acme.when(Actor::Operator, extra)
            .refused(Rejection::GrantNotForKind { kind });
        let mut none = right;
        none.grant = Grant::default();
        if kind == Kind::ServiceAccount {
            // Who names no scopes gets what the account has: here its role's, frozen.
            let key = acme.make(none);
            let engineer = acme.state.catalogue().role("engineer").unwrap();
            assert_eq!(acme.credential(key).grant().scopes, engineer.scopes);
            continue;
        }
        let field = match (scopes, role, preset) {
            (true, _, _) => "scopes",
            (_, true, _) => "role",
            (_, _, _) => "scope",
        };
        acme.when(acme.owner, none)
            .refused(Rejection::FieldEmpty { field });
    }
    let mut access = right(&mut acme, Kind::Access);
    access.grant.role = Some(String::from("nobody"));
    let outcome = acme.when(acme.owner, access.clone());
    assert_eq!(outcome.code(), "unknown_role");
    // An alias is stored under the role's own name.
    access.grant.role = Some(String::from("tenant_admin"));
    let key = acme.make(access);
    let stored = acme.credential(key).grant().role.clone();
    assert_eq!(stored.as_deref(), Some("administrator"));
    let mut project = right(&mut acme, Kind::Project);
    project.grant.preset = Some(String::from("all"));
    let outcome = acme.when(acme.owner, project);
    assert_eq!(outcome.code(), "unknown_preset");
}

#[test]
fn a_kind_is_bound_to_a_project_never_sometimes_or_always() {
    let mut acme = Acme::new();
    let project = acme.project;
    let mut seen = String::new();
    for kind in Kind::ALL {
        let codes = [None, Some(project)].map(|project| {
            let command = CreateKey {
                project,
                name: format!("{project:?}"),
                ..right(&mut acme, kind)
            };
            acme.when(acme.owner, command).code()
        });
        writeln!(seen, "{} {} {}", kind.name(), codes[0], codes[1]).unwrap();
    }
    assert_eq!(
        seen,
        "organization accepted accepted\n\
         personal accepted project_binding\n\
         service_account accepted project_binding\n\
         access accepted project_binding\n\
         admin accepted project_binding\n\
         project project_binding accepted\n"
    );
    let foreign = CreateKey {
        organization: acme.globex,
        owner: Owner::Organization(acme.globex),
        ..right(&mut acme, Kind::Project)
    };
    acme.when(acme.stranger, foreign)
        .refused(Rejection::UnknownProject);
}

#[test]
fn an_id_of_another_kind_is_not_found_on_a_surface() {
    let mut acme = Acme::new();
    for kind in Kind::ALL {
        let command = right(&mut acme, kind);
        let key = acme.make(command);
        for surface in Kind::ALL {
            let mut target = acme.target(key);
            target.place = Place::of(surface);
            let command = RevokeKey {
                target,
                reason: Some(String::from("\u{0}")),
            };
            let expected = if surface == kind {
                "field_control_characters"
            } else {
                "not_found"
            };
            assert_eq!(acme.when(acme.owner, command).code(), expected);
        }
    }
}
