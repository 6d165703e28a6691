//! Another catalogue: what it makes of old tokens, and what it is refused for.

use super::acme::{Acme, strings};
use super::history::Step;
use super::{Ledger, fingerprint};
use crate::domain::access::Authority;
use crate::domain::catalogue::{Catalogue, CatalogueText, Part};
use crate::domain::command::{Actor, AdoptCatalogue, Command, CreateKey, Expiry, RemoveMember};
use crate::domain::ids::{CredentialId, Owner, UserId};
use crate::domain::in_use::{LISTED_MAX, Lost};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;
use crate::domain::rejection::Rejection;

const ADOPTED: &str = "catalogue.adopted 07070707070707070707070707070707 {...}";

/// The default catalogue with changes.
fn changed(change: impl FnOnce(&mut CatalogueText)) -> Command {
    let mut text = Catalogue::embedded().unwrap().text().clone();
    change(&mut text);
    let catalogue = Catalogue::check(text).unwrap();
    Command::AdoptCatalogue(AdoptCatalogue { catalogue })
}

/// One of a few catalogues, for random histories: some keep things, some move the owner's role.
pub(super) fn any_catalogue(step: &Step) -> Command {
    changed(|text| match step.how % 8 {
        0 => {}
        1 => keep(text, Part::Scope, "cases:write"),
        2 => keep(text, Part::Role, "engineer"),
        3 => drop_entry(text, Part::Role, "engineer"),
        4 => drop_entry(text, Part::Scope, "cases:write"),
        5 => own(text, &["owner", "administrator"]),
        6 => own(text, &["administrator"]),
        _ => own(text, &["owner", "viewer"]),
    })
}

pub(super) fn keep(text: &mut CatalogueText, part: Part, name: &str) {
    let name = name.to_owned();
    let found = match part {
        Part::Scope => text
            .scopes
            .iter_mut()
            .find(|e| e.name == name)
            .map(|e| &mut e.keep),
        Part::Role => text
            .roles
            .iter_mut()
            .find(|e| e.name == name)
            .map(|e| &mut e.keep),
        Part::Preset => text
            .presets
            .iter_mut()
            .find(|e| e.name == name)
            .map(|e| &mut e.keep),
    };
    *found.unwrap() = true;
}

/// Drops an entry, and a scope from wherever it stands.
fn drop_entry(text: &mut CatalogueText, part: Part, name: &str) {
    match part {
        Part::Scope => {
            text.scopes.retain(|scope| scope.name != name);
            let roles = text.roles.iter_mut().map(|role| &mut role.scopes);
            let presets = text.presets.iter_mut().map(|preset| &mut preset.scopes);
            roles
                .chain(presets)
                .for_each(|scopes| scopes.retain(|scope| scope != name));
        }
        Part::Role => text.roles.retain(|role| role.name != name),
        Part::Preset => text.presets.retain(|preset| preset.name != name),
    }
}

/// Makes these roles, and no other, those of owners.
fn own(text: &mut CatalogueText, names: &[&str]) {
    for role in &mut text.roles {
        role.owner = names.contains(&role.name.as_str());
    }
}

fn give(text: &mut CatalogueText, role: &str, scopes: &[&str]) {
    let role = text.roles.iter_mut().find(|known| known.name == role);
    role.unwrap().scopes = strings(scopes);
}

impl Acme {
    pub(super) fn adopt(&mut self, change: impl FnOnce(&mut CatalogueText)) {
        self.when(Actor::Operator, changed(change)).then(&[ADOPTED]);
        assert_eq!(fingerprint(&self.replayed()), fingerprint(&self.state));
    }

    /// What stands in the way of a catalogue, a line each.
    #[track_caller]
    fn refuses(&mut self, change: impl FnOnce(&mut CatalogueText), expected: &[String]) {
        let before = fingerprint(&self.state);
        let refused = self.when(Actor::Operator, changed(change)).result;
        let Err(Rejection::CatalogueInUse { by }) = refused else {
            panic!("{refused:?}");
        };
        let listed: Vec<String> = by.listed.iter().map(ToString::to_string).collect();
        assert_eq!(listed, expected);
        assert_eq!(by.total, expected.len());
        assert_eq!(fingerprint(&self.state), before, "nothing is half done");
    }

    /// Whether a verification that asks for the scope accepts the credential.
    pub(super) fn holds(&self, key: CredentialId, scope: &str) -> bool {
        let record = self.credential(key);
        let standing = self.state.standing(record.owner());
        let catalogue = self.state.catalogue();
        let authority = Authority::of_credential(record, &standing, catalogue);
        catalogue.holds(authority.scopes, scope)
    }

    pub(super) fn token_of(&mut self, member: UserId, scopes: &[&str]) -> CredentialId {
        let Actor::Bearer { credential, .. } = self.personal(member, scopes) else {
            panic!("a personal token has a bearer");
        };
        credential
    }

    pub(super) fn access_token(&self, role: &str) -> CreateKey {
        CreateKey {
            grant: Grant {
                role: Some(role.to_owned()),
                ..Grant::default()
            },
            ..self.owned_key(
                Kind::Access,
                Owner::Organization(self.organization),
                "a",
                &[],
            )
        }
    }

    pub(super) fn project_token(&self, preset: &str) -> CreateKey {
        CreateKey {
            project: Some(self.project),
            grant: Grant {
                preset: Some(preset.to_owned()),
                ..Grant::default()
            },
            ..self.owned_key(
                Kind::Project,
                Owner::Organization(self.organization),
                "p",
                &[],
            )
        }
    }

    #[track_caller]
    pub(super) fn said(&mut self, command: impl Into<Command>, code: &str) {
        assert_eq!(self.when(Actor::Operator, command).code(), code);
    }
}

#[test]
fn old_tokens_are_worth_what_the_new_catalogue_says_at_once() {
    let mut acme = Acme::new();
    let access = acme.access_token("viewer");
    let access = acme.make(access);
    let project = acme.project_token("status");
    let project = acme.make(project);
    let admin = acme.key(&["admin:*"]);
    let (carl, _) = acme.member("carl@acme.example", "viewer");
    let personal = acme.token_of(carl, &["cases:read"]);
    assert!(acme.holds(access, "cases:read") && acme.holds(personal, "cases:read"));
    acme.adopt(|text| {
        give(text, "viewer", &["projects:status", "analysis:run"]);
        text.presets[0].scopes = strings(&["projects:read"]);
        text.scopes[0].name = String::from("tickets:read");
        for role in &mut text.roles {
            role.scopes.retain(|scope| scope != "issues:read");
        }
    });
    for (key, scope, holds) in [
        (access, "analysis:run", true),
        (access, "cases:read", false),
        (personal, "cases:read", false),
        (project, "projects:read", true),
        (project, "projects:status", false),
        (admin, "tickets:read", true),
        (admin, "issues:read", false),
    ] {
        assert_eq!(acme.holds(key, scope), holds, "{key} {scope}");
    }
    // As it was.
    acme.adopt(|_| {});
    assert!(acme.holds(personal, "cases:read") && !acme.holds(admin, "tickets:read"));
}

#[test]
fn the_same_catalogue_again_is_no_event() {
    let mut acme = Acme::new();
    acme.when(Actor::Operator, changed(|_| {})).then_nothing();
    acme.adopt(|text| keep(text, Part::Role, "engineer"));
    let again = changed(|text| keep(text, Part::Role, "engineer"));
    acme.when(Actor::Operator, again).then_nothing();
}

#[test]
fn the_operator_alone_adopts() {
    let mut acme = Acme::new();
    for actor in [acme.owner, acme.admin, acme.platform] {
        let outcome = acme.when(actor, changed(|text| own(text, &["viewer"])));
        assert_eq!(outcome.code(), "operator_only");
    }
    let outcome = Ledger::empty().when(Actor::Operator, changed(|_| {}));
    assert_eq!(outcome.code(), "not_found", "before the ledger is opened");
}

#[test]
fn what_is_in_use_is_not_dropped() {
    let mut acme = Acme::new();
    let of = acme.organization;
    let key = acme.key(&["cases:read", "analysis:run"]);
    let disabled = acme.key(&["analysis:run"]);
    let disable = acme.disable(disabled);
    acme.when(Actor::Operator, disable).accepted();
    acme.refuses(
        |text| drop_entry(text, Part::Scope, "analysis:run"),
        &[
            format!("{key} organization \"CI pipeline\" of {of}: scope analysis:run"),
            format!("{disabled} organization \"CI pipeline\" of {of}: scope analysis:run"),
        ],
    );
    let token = acme.project_token("status");
    let token = acme.make(token);
    let status = format!("{token} project \"p\" of {of}: preset status");
    acme.refuses(|text| drop_entry(text, Part::Preset, "status"), &[status]);

    let access = acme.access_token("engineer");
    let access = acme.make(access);
    let (carl, _) = acme.member("carl@acme.example", "engineer");
    let everything = acme.state.live_credentials_of(Owner::User(carl), acme.now)[0];
    let bot = acme.account("Bot", Some("engineer"), Some(&["cases:write"]));
    let name = acme.credential(everything).name();
    let engineers = [
        format!("{carl} member of {of}: role engineer"),
        format!("{bot} service account \"Bot\" of {of}: role engineer"),
        format!("{access} access \"a\" of {of}: role engineer"),
        // Its rights are never more than those of the role that its owner had then.
        format!("{everything} personal {name:?} of {carl}: role engineer"),
    ];
    acme.refuses(|text| drop_entry(text, Part::Role, "engineer"), &engineers);
    let bot = format!("{bot} service account \"Bot\" of {of}: scope cases:write");
    acme.refuses(|text| drop_entry(text, Part::Scope, "cases:write"), &[bot]);
    // Another name for the same.
    acme.adopt(|text| {
        let role = text
            .roles
            .iter_mut()
            .find(|role| role.name == "engineer")
            .unwrap();
        role.name = String::from("developer");
        role.aliases = strings(&["engineer"]);
    });
    assert!(acme.holds(access, "cases:write"));
}

#[test]
fn what_has_ended_stands_in_nobodys_way() {
    let mut acme = Acme::new();
    let short = CreateKey {
        expiry: Expiry::InDays(1),
        ..acme.api_key(&["analysis:run"])
    };
    acme.make(short);
    let revoked = acme.key(&["analysis:run"]);
    let revoke = acme.revoke(revoked);
    acme.when(Actor::Operator, revoke).accepted();
    let (member, _) = acme.member("carl@acme.example", "engineer");
    let organization = acme.organization;
    let remove = RemoveMember {
        organization,
        member,
    };
    acme.when(Actor::Operator, remove).accepted();
    acme.later(86_400);
    acme.adopt(|text| {
        drop_entry(text, Part::Scope, "analysis:run");
        drop_entry(text, Part::Role, "engineer");
    });
}

#[test]
fn the_list_is_bounded_and_the_count_is_whole() {
    let mut acme = Acme::new();
    for _ in 0..LISTED_MAX + 5 {
        acme.key(&["analysis:run"]);
    }
    let drop = changed(|text| drop_entry(text, Part::Scope, "analysis:run"));
    match acme.when(Actor::Operator, drop).result {
        Err(Rejection::CatalogueInUse { by }) => {
            assert_eq!((by.listed.len(), by.total), (LISTED_MAX, LISTED_MAX + 5));
            let lost = Lost::Entry(Part::Scope, String::from("analysis:run"));
            assert!(by.listed.iter().all(|left| left.without == [lost.clone()]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn owners_are_counted_anew_and_no_organization_is_left_without_one() {
    let mut acme = Acme::new();
    let (of, next) = (acme.organization, acme.globex);
    let (carl, _) = acme.member("carl@acme.example", "administrator");
    let moved = |text: &mut CatalogueText| own(text, &["administrator"]);
    let left = format!("{next} organization \"Globex\": no owner would be left");
    acme.refuses(moved, &[left]);
    acme.adopt(|text| own(text, &["owner", "administrator"]));
    assert_eq!(acme.state.counts(of).owners, 2);
    assert_eq!(acme.state.counts(next).owners, 1);
    let remove = |member| RemoveMember {
        organization: of,
        member,
    };
    acme.when(Actor::Operator, remove(acme.ann)).accepted();
    acme.when(Actor::Operator, remove(carl))
        .refused(Rejection::LastOwner);
    let left = format!("{of} organization \"Acme\": no owner would be left");
    acme.refuses(|_| {}, &[left]);
}
