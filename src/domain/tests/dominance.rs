//! Nobody makes, edits or revives anything beyond their own authority, whatever came before.
//!
//! What everybody can do is computed here a second time, from the records and the catalogue's text
//! alone, as sets of bits: a model that shares no code with `domain/access.rs`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::acme::Acme;
use super::history::{crowded, request, step};
use super::{Done, Ledger};
use crate::domain::catalogue::{CatalogueText, Role};
use crate::domain::command::Actor;
use crate::domain::event::Fact;
use crate::domain::ids::{CredentialId, Owner, ProjectId, Subject};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, ServiceAccount, Status};
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// What somebody can do: a bit a scope, in the order of the catalogue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Rights {
    scopes: u64,
    owner: bool,
    platform: bool,
}

impl Rights {
    fn covers(self, other: Self) -> bool {
        let within = other.scopes & !self.scopes == 0 && (self.owner || !other.owner);
        self.platform || (within && !other.platform)
    }

    /// What this has and `before` had not.
    fn gained_since(self, before: Self) -> Self {
        Self {
            scopes: self.scopes & !before.scopes,
            owner: self.owner && !before.owner,
            platform: self.platform && !before.platform,
        }
    }
}

/// Who asks, as everything stood before.
struct Asker {
    rights: Rights,
    project: Option<ProjectId>,
    expires_at: Option<Timestamp>,
}

fn bits<'a>(state: &State, names: impl IntoIterator<Item = &'a String>) -> u64 {
    let all = &state.catalogue().text().scopes;
    let mut bits = 0;
    for name in names {
        for (n, scope) in all.iter().enumerate() {
            if scope.name == *name || name == "admin:*" {
                bits |= 1 << n;
            }
        }
    }
    bits
}

/// The role that has a name or had it: a catalogue may go on with it as an alias. What has ended
/// may name one that is gone.
fn role_named<'a>(text: &'a CatalogueText, name: &str) -> Option<&'a Role> {
    let is_it = |role: &&Role| role.name == name || role.aliases.iter().any(|alias| alias == name);
    text.roles.iter().find(is_it)
}

fn of_role(state: &State, name: &str) -> Rights {
    match role_named(state.catalogue().text(), name) {
        Some(role) => Rights {
            scopes: bits(state, &role.scopes),
            owner: role.owner,
            platform: false,
        },
        None => Rights::default(),
    }
}

/// What a role gives by itself: what it names, but for scopes that are kept for old tokens alone.
fn given_by_role(state: &State, name: &str) -> Rights {
    let text = state.catalogue().text();
    let Some(role) = role_named(text, name) else {
        return Rights::default();
    };
    let kept = |name: &&String| {
        let mut scopes = text.scopes.iter();
        !role.keep && scopes.any(|scope| scope.keep && scope.name == **name)
    };
    let given = role.scopes.iter().filter(|name| !kept(name));
    Rights {
        scopes: bits(state, given),
        ..of_role(state, name)
    }
}

/// The most that a credential can ever be worth.
fn potential(state: &State, key: &Credential) -> Rights {
    let grant = &key.grant();
    let role = grant.role.as_deref();
    let role = role.map(|role| given_by_role(state, role));
    let role = role.unwrap_or_default();
    let presets = state.catalogue().text().presets.iter();
    let preset = presets.filter(|preset| grant.preset.as_deref() == Some(&preset.name));
    let preset = preset.fold(0, |sum, preset| sum | bits(state, &preset.scopes));
    Rights {
        scopes: bits(state, &grant.scopes) | role.scopes | preset,
        owner: role.owner,
        platform: grant.scopes.iter().any(|scope| scope == "platform:*"),
    }
}

/// What the holder of a credential can do at `now`.
fn rights(state: &State, key: &Credential, now: Timestamp) -> Rights {
    let most = potential(state, key);
    if key.status(now) != Status::Active {
        return Rights::default();
    }
    match key.owner() {
        Owner::Organization(_) if key.project().is_some() && most.platform => Rights {
            scopes: bits(
                state,
                state.catalogue().text().scopes.iter().map(|s| &s.name),
            ),
            platform: false,
            ..most
        },
        Owner::Organization(_) => most,
        Owner::User(id) => {
            let member = state.member(id).unwrap();
            let role = of_role(state, &member.role);
            let everything = key.grant().scopes.iter().any(|scope| scope == "*");
            if member.removed {
                return Rights::default();
            }
            Rights {
                scopes: most.scopes & role.scopes,
                owner: everything && most.owner && role.owner,
                platform: false,
            }
        }
        Owner::ServiceAccount(id) => {
            let account = state.account(id).unwrap();
            if account.disabled || account.deleted {
                return Rights::default();
            }
            let role = account.role.as_deref();
            let ceiling = role.map_or(0, |role| of_role(state, role).scopes);
            let all = state.catalogue().text().scopes.iter();
            let management = all
                .filter(|scope| scope.management)
                .map(|scope| &scope.name);
            // `admin:*` is itself a scope of the catalogue; as a name it would stand for all.
            let management: Vec<_> = management.filter(|name| *name != "admin:*").collect();
            let all = &state.catalogue().text().scopes;
            let admin = all.iter().position(|scope| scope.name == "admin:*");
            let management = bits(state, management) | (1 << admin.unwrap());
            Rights {
                scopes: most.scopes & (!management | ceiling),
                owner: false,
                platform: false,
            }
        }
    }
}

/// The scopes that a credential is accepted for at `now`, by name; `None`: it is not accepted.
pub(super) fn accepted_scopes(
    state: &State,
    key: &Credential,
    now: Timestamp,
) -> Option<Vec<String>> {
    let stands = match key.owner() {
        Owner::Organization(_) => true,
        Owner::User(id) => !state.member(id).unwrap().removed,
        Owner::ServiceAccount(id) => {
            let account = state.account(id).unwrap();
            !account.disabled && !account.deleted
        }
    };
    let held = rights(state, key, now).scopes;
    let all = state.catalogue().text().scopes.iter().enumerate();
    let held = all.filter(|(n, _)| held & (1 << n) != 0);
    // A project takes from `platform:*` what reaches beyond it; on this service every scope of the
    // organization is left. To others it still says no scope that was not granted.
    let granted = &key.grant().scopes;
    let holds = |name: &str| granted.iter().any(|scope| scope == name);
    let narrowed = key.project().is_some() && holds("platform:*") && !holds("admin:*");
    let names = held.map(|(_, scope)| scope.name.clone());
    let names = names.filter(|name| !narrowed || holds(name)).collect();
    (stands && key.status(now) == Status::Active).then_some(names)
}

fn all_rights(ledger: &Ledger) -> BTreeMap<CredentialId, (Rights, usize)> {
    let keys = ledger.state.credentials.settled_after(None);
    let with_secrets = |key: &Credential| {
        let rights = rights(&ledger.state, key, ledger.now);
        (rights, key.secrets_len())
    };
    keys.map(|(id, key)| (id, with_secrets(key))).collect()
}

fn asker(ledger: &Ledger, actor: Actor) -> Asker {
    match actor {
        Actor::Operator => Asker {
            rights: Rights {
                scopes: u64::MAX,
                owner: true,
                platform: true,
            },
            project: None,
            expires_at: None,
        },
        Actor::Session(id) => {
            let session = ledger.state.session(id).unwrap();
            let member = ledger.state.member(session.user).unwrap();
            Asker {
                rights: given_by_role(&ledger.state, &member.role),
                project: None,
                expires_at: None,
            }
        }
        Actor::Anonymous | Actor::System => Asker {
            rights: Rights::default(),
            project: None,
            expires_at: None,
        },
        Actor::Bearer { credential, .. } => {
            let key = ledger.state.credential(credential).unwrap();
            Asker {
                rights: rights(&ledger.state, key, ledger.now),
                project: key.project(),
                expires_at: key.expires_at(),
            }
        }
    }
}

fn of_account(state: &State, account: &ServiceAccount) -> Rights {
    let role = account.role.as_deref().map(|role| of_role(state, role));
    let role = role.unwrap_or_default();
    Rights {
        scopes: role.scopes | bits(state, account.scopes.iter().flatten()),
        ..role
    }
}

/// What an event's subject is worth as a whole.
fn worth(state: &State, subject: Subject) -> Rights {
    match subject {
        Subject::Credential(id) => state.credential(id).map(|key| potential(state, key)),
        Subject::Member(id) => state.member(id).map(|member| of_role(state, &member.role)),
        Subject::ServiceAccount(id) => state.account(id).map(|account| of_account(state, account)),
        Subject::WebhookEndpoint(id) => state.endpoint(id).map(|endpoint| {
            let reads = [String::from("ledger:read")];
            let reads = endpoint.event_types.needs_ledger_read().then_some(reads);
            Rights {
                scopes: bits(state, reads.iter().flatten()),
                ..Rights::default()
            }
        }),
        Subject::Ledger(_)
        | Subject::Organization(_)
        | Subject::Project(_)
        | Subject::Session(_) => None,
    }
    .unwrap_or_default()
}

/// What only ends, narrows or notes needs the permission and nothing more.
fn only_ends(fact: &Fact) -> bool {
    if let Fact::EndpointUpdated(data) = fact {
        let leads = |changed: &String| changed == "url" || changed == "event_types";
        return !data.changed.iter().any(leads);
    }
    matches!(
        fact,
        Fact::KeyRevoked(_)
            | Fact::KeyDisabled(_)
            | Fact::MemberRemoved(_)
            | Fact::ServiceAccountDeleted(_)
            | Fact::ServiceAccountDisabled(_)
            | Fact::SessionEnded(_)
            | Fact::SignInFailed(_)
            | Fact::EndedSecretUsed(_)
            | Fact::UsageSealed(_)
            | Fact::SubjectErased(_)
            | Fact::LedgerCheckpointed(_)
            | Fact::LedgerRead(_)
            | Fact::LedgerRestored(_)
            | Fact::KeyExpiring(_)
            | Fact::KeyExpired(_)
            | Fact::EndpointDisabled(_)
            | Fact::EndpointDeleted(_)
            | Fact::EndpointFailing(_)
    )
}

/// Checks one accepted command against who asked for it.
fn check(
    acme: &Acme,
    asker: &Asker,
    done: &Done,
    before: &BTreeMap<CredentialId, (Rights, usize)>,
    worth_before: &BTreeMap<Subject, Rights>,
) {
    let state = &acme.state;
    for (id, (now, secrets)) in all_rights(acme) {
        let (then, old_secrets) = before.get(&id).copied().unwrap_or_default();
        let key = state.credential(id).unwrap();
        let gained = now.gained_since(then);
        assert!(asker.rights.covers(gained), "{key:?} gains");
        let outlives = match (asker.expires_at, key.expires_at()) {
            (None, _) => false,
            (Some(own), Some(new)) => new > own,
            (Some(_), None) => true,
        };
        let edited = done
            .events
            .iter()
            .any(|event| event.subject == Subject::Credential(id));
        assert!(
            !(outlives && edited && gained != Rights::default()),
            "{key:?} outlives"
        );
        if secrets > old_secrets {
            assert!(asker.rights.covers(potential(state, key)), "{key:?} is new");
            assert!(!outlives, "{key:?} outlives its maker");
            assert!(asker.project.is_none() || asker.project == key.project());
        }
    }
    for event in done.events.iter().filter(|event| !only_ends(&event.fact)) {
        let (after, before) = (
            worth(state, event.subject),
            worth_before.get(&event.subject),
        );
        assert!(asker.rights.covers(after), "{event:?} after");
        assert!(
            before.is_none_or(|before| asker.rights.covers(*before)),
            "{event:?} before"
        );
        let project = match event.subject {
            Subject::Project(id) => Some(id),
            Subject::Credential(id) => state.credential(id).unwrap().project(),
            Subject::WebhookEndpoint(id) => state.endpoint(id).unwrap().project,
            Subject::Ledger(_)
            | Subject::Organization(_)
            | Subject::Member(_)
            | Subject::ServiceAccount(_)
            | Subject::Session(_) => None,
        };
        assert!(
            asker.project.is_none() || asker.project == project,
            "{event:?} lies outside the actor's project"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nobody_gives_or_revives_what_they_do_not_have(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut acme = crowded(Acme::new());
        for step in steps {
            acme.later(step.gap());
            let request = request(&acme, &step);
            let asker = asker(&acme, request.actor);
            let before = all_rights(&acme);
            let subjects = subjects(&acme.state);
            let outcome = acme.stage(&request);
            acme.state.settle();
            if let Ok(done) = outcome.result {
                check(&acme, &asker, &done, &before, &subjects);
            }
        }
    }

    #[test]
    fn the_model_and_the_rules_agree_on_what_everybody_can_do(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut acme = crowded(Acme::new());
        for step in steps {
            acme.later(step.gap());
            let request = request(&acme, &step);
            acme.stage(&request);
            acme.state.settle();
        }
        for (id, key) in acme.state.credentials.settled_after(None) {
            let expected = rights(&acme.state, key, acme.now);
            let Ok(authority) = acme.state.authority(acme.holder_of(id), acme.now) else {
                prop_assert_eq!(expected, Rights::default());
                continue;
            };
            let catalogue = acme.state.catalogue();
            let held = catalogue.text().scopes.iter().map(|scope| &scope.name);
            let held = held.enumerate().filter(|(_, name)| catalogue.holds(authority.scopes, name));
            let actual = Rights {
                scopes: held.fold(0, |sum, (n, _)| sum | 1 << n),
                owner: authority.owner,
                platform: authority.platform,
            };
            prop_assert_eq!(actual, expected, "{:?}", key);
            let of_owners = matches!(key.kind(), Kind::Personal | Kind::Access);
            prop_assert!(!actual.owner || of_owners);
        }
    }
}

fn subjects(state: &State) -> BTreeMap<Subject, Rights> {
    let keys = state.credentials.settled_after(None);
    let members = state.members.settled_after(None);
    let accounts = state.accounts.settled_after(None);
    let keys = keys.map(|(id, _)| Subject::Credential(id));
    let members = members.map(|(id, _)| Subject::Member(id));
    let accounts = accounts.map(|(id, _)| Subject::ServiceAccount(id));
    let all = keys.chain(members).chain(accounts);
    all.map(|subject| (subject, worth(state, subject)))
        .collect()
}
