//! The table of permissions: who may do what, pinned for roles and for scopes.

use std::fmt::Write as _;

use super::acme::Acme;
use crate::domain::access::{Action, may};
use crate::domain::command::{Actor, CreateKey, Expiry};
use crate::domain::ids::{OrganizationId, Owner};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;
use crate::domain::rejection::Rejection;

const ACTIONS: [(&str, Action); 6] = [
    ("organizations", Action::ManageOrganizations),
    ("read", Action::ReadPlatform),
    ("write", Action::WritePlatform),
    ("oversee", Action::Oversee),
    ("verify", Action::Verify),
    ("webhooks", Action::Webhooks),
];

/// What an actor may do in an organization, in words.
fn allowed(acme: &Acme, actor: Actor, organization: OrganizationId) -> String {
    let words = ACTIONS.iter().filter_map(|(name, action)| {
        let authority = acme.state.authority(actor, acme.now).unwrap();
        let place = (*action != Action::ManageOrganizations).then_some(organization);
        match may(authority, acme.state.catalogue(), *action, place) {
            Ok(access) => {
                assert_eq!(access.organization(), place);
                Some(*name)
            }
            Err(Rejection::Forbidden { needs }) => {
                assert_eq!(needs, action.needs());
                None
            }
            Err(other) => Some(other.reason().code),
        }
    });
    let words: Vec<&str> = words.collect();
    if words.is_empty() {
        String::from("nothing")
    } else {
        words.join(" ")
    }
}

/// A row of the table for each, by its name.
fn table(acme: &Acme, actors: &[(&str, Actor)]) -> String {
    let mut table = String::new();
    for (name, actor) in actors {
        let words = allowed(acme, *actor, acme.organization);
        writeln!(table, "{name}: {words}").unwrap();
    }
    table
}

const ROLES: [&str; 6] = [
    "viewer",
    "team_member",
    "engineer",
    "workspace_manager",
    "administrator",
    "owner",
];

#[test]
fn members_by_their_role() {
    const EXPECTED: &str = "\
viewer: read
team_member: read
engineer: read
workspace_manager: read
administrator: read write oversee verify webhooks
owner: read write oversee verify webhooks
";
    let mut acme = Acme::new();
    let people = ROLES.map(|role| (role, acme.member(&format!("{role}@acme.example"), role).1));
    assert_eq!(table(&acme, &people), EXPECTED);
    // Access tokens carry a role without a person, and the same permissions.
    let tokens = ROLES.map(|role| {
        let owner = Owner::Organization(acme.organization);
        let command = CreateKey {
            grant: Grant {
                role: Some(role.to_owned()),
                ..Grant::default()
            },
            ..acme.owned_key(Kind::Access, owner, role, &[])
        };
        let key = acme.make(command);
        (role, acme.holder_of(key))
    });
    assert_eq!(table(&acme, &tokens), EXPECTED);
}

#[test]
fn credentials_by_their_scope() {
    const EXPECTED: &str = "\
platform:*: organizations read write oversee verify webhooks
admin:*: read write oversee verify webhooks
member:manage: read write oversee
keys:read: read
keys:verify: verify
workspace:admin: nothing
ledger:read: nothing
webhooks:write: webhooks
usage:write: nothing
jobs:read: nothing
access_tokens:manage: nothing
projects:write: nothing
cases:read: nothing
";
    let mut acme = Acme::new();
    let scopes = EXPECTED.lines().map(|row| row.rsplit_once(": ").unwrap().0);
    let actors: Vec<(&str, Actor)> = scopes.map(|scope| (scope, acme.bearer(&[scope]))).collect();
    assert_eq!(table(&acme, &actors), EXPECTED);
    assert_eq!(
        table(&acme, &[("operator", Actor::Operator)]),
        "operator: organizations read write oversee verify webhooks\n"
    );
}

#[test]
fn project_tokens_by_their_preset() {
    let mut acme = Acme::new();
    for preset in ["status", "read-only", "admin"] {
        let command = CreateKey {
            project: Some(acme.project),
            grant: Grant {
                preset: Some(preset.to_owned()),
                ..Grant::default()
            },
            ..acme.owned_key(
                Kind::Project,
                Owner::Organization(acme.organization),
                preset,
                &[],
            )
        };
        let key = acme.make(command);
        let actor = acme.holder_of(key);
        assert_eq!(allowed(&acme, actor, acme.organization), "nothing");
    }
}

#[test]
fn a_personal_token_is_worth_its_scopes_within_the_members_role() {
    let mut acme = Acme::new();
    let (viewer, _) = acme.member("viewer@acme.example", "viewer");
    let (admin, _) = acme.member("admin@acme.example", "administrator");
    for (member, scopes, expected) in [
        (viewer, &["*"][..], "read"),
        (viewer, &["admin:*"], "read"),
        (viewer, &["cases:read"], "nothing"),
        (viewer, &["member:manage", "keys:verify"], "nothing"),
        (admin, &["*"], "read write oversee verify webhooks"),
        (admin, &["admin:*"], "read write oversee verify webhooks"),
        (admin, &["member:manage"], "read write oversee"),
        (admin, &["keys:verify"], "verify"),
    ] {
        let actor = acme.personal(member, scopes);
        let words = allowed(&acme, actor, acme.organization);
        assert_eq!(words, expected, "{scopes:?}");
    }
}

#[test]
fn another_organization_is_not_found_but_to_platform() {
    let acme = Acme::new();
    let nobody = OrganizationId(ulid::Ulid(1 << 90));
    for place in [acme.globex, nobody] {
        for actor in [acme.owner, acme.admin] {
            let words = allowed(&acme, actor, place);
            assert_eq!(words, "not_found not_found not_found not_found not_found");
        }
        for actor in [acme.platform, Actor::Operator] {
            let words = allowed(&acme, actor, place);
            assert_eq!(words, "organizations read write oversee verify webhooks");
        }
    }
}

#[test]
fn platform_meets_no_organization_where_there_is_none() {
    let mut acme = Acme::new();
    let nowhere = CreateKey {
        organization: OrganizationId(ulid::Ulid(1 << 90)),
        expiry: Expiry::InDays(0),
        ..acme.api_key(&["cases:read"])
    };
    for actor in [acme.platform, Actor::Operator] {
        acme.when(actor, nowhere.clone())
            .refused(Rejection::NotFound {
                what: "organization",
            });
    }
}
