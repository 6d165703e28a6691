//! Any text in any field: accepted or refused, never a panic, and what is accepted comes back from
//! the stored bytes as it was.

use proptest::prelude::*;

use super::acme::Acme;
use super::fingerprint;
use crate::domain::command::{
    Actor, Command, CreateKey, CreateOrganization, CreateProject, Expiry, RevokeKey, UpdateKey,
    UpdateMember, UpdateOrganization, UpdateProject, UpdateServiceAccount,
};
use crate::domain::ids::{Owner, ServiceAccountId};
use crate::domain::kind::Kind;
use crate::domain::record::{Grant, Metadata};
use crate::domain::secret;
use crate::domain::time::Timestamp;

/// Short and huge texts, words of ours, controls, marks that join or turn what stands around them.
fn text() -> impl Strategy<Value = String> {
    let ours = prop::sample::select(vec![
        "",
        "admin:*",
        "*",
        "platform:*",
        "cases:read",
        "owner",
        "viewer",
        "status",
        "rfk",
        "ann",
        "ann@acme.example",
        "CI pipeline",
        "\u{0}",
        "\u{7f}",
        "\u{85}",
        "\u{202e}",
        "\u{200d}",
        "\u{feff}",
        "\u{130}",
        "\u{1e9e}",
        "\u{fb01}",
        "\u{10ffff}",
        "e\u{301}",
        "\u{e9}",
        "\"\\\n",
    ]);
    prop_oneof![
        3 => ours.clone().prop_map(str::to_owned),
        3 => any::<String>(),
        2 => prop::collection::vec(ours.clone(), 0..8).prop_map(|words| words.concat()),
        1 => (ours, 1_usize..9_000).prop_map(|(word, times)| word.repeat(times)),
    ]
}

fn commands(acme: &mut Acme, texts: &[String; 4], number: i64) -> Vec<Command> {
    let [a, b, c, d] = texts.clone();
    let (organization, project, member) = (acme.organization, acme.project, acme.ann);
    let account = acme.account("Bot", Some("engineer"), None);
    let key = acme.key(&["cases:read"]);
    let name = a.clone();
    let mut commands = vec![
        CreateOrganization {
            name: a.clone(),
            owner_email: b.clone(),
            key_scopes: vec![c.clone()],
        }
        .into(),
        UpdateOrganization {
            organization,
            name: Some(a.clone()),
            token_prefix: Some(b.clone()),
        }
        .into(),
        CreateProject { organization, name }.into(),
        UpdateProject {
            organization,
            project,
            name: Some(a.clone()),
            archived: None,
        }
        .into(),
        UpdateMember {
            organization,
            member,
            role: (number > 0).then(|| c.clone()),
            email: Some(b.clone()),
            name: Some(Some(d.clone())),
        }
        .into(),
        UpdateServiceAccount {
            name: Some(a.clone()),
            description: Some(Some(b.clone())),
            role: Some(Some(c.clone())),
            scopes: Some(Some(vec![c, d.clone()])),
            is_active: Some(number > 0),
            ..acme.edit_account(account)
        }
        .into(),
        UpdateKey {
            name: Some(a),
            description: Some(Some(b.clone())),
            scopes: Some(vec![d]),
            ..acme.edit(key)
        }
        .into(),
        RevokeKey {
            reason: Some(b),
            ..acme.revoke(key)
        }
        .into(),
    ];
    commands.extend(creations(acme, texts, number, account));
    commands
}

fn creations(
    acme: &Acme,
    texts: &[String; 4],
    number: i64,
    account: ServiceAccountId,
) -> Vec<Command> {
    let [a, b, c, d] = texts.clone();
    let (organization, project, member) = (acme.organization, acme.project, acme.ann);
    let mut commands = Vec::new();
    for email in [&a, &b] {
        let mut add = acme.add_member(email, if number > 0 { "viewer" } else { &c });
        add.name = Some(d.clone());
        commands.push(add.into());
        let mut create = acme.service_account(email);
        create.description = Some(d.clone());
        commands.push(create.into());
    }
    for kind in Kind::ALL {
        let owner = match kind {
            Kind::Personal => Owner::User(member),
            Kind::ServiceAccount => Owner::ServiceAccount(account),
            Kind::Organization | Kind::Access | Kind::Admin | Kind::Project => {
                Owner::Organization(organization)
            }
        };
        let create = CreateKey {
            description: Some(b.clone()),
            grant: Grant {
                scopes: if number > 0 { vec![c.clone()] } else { vec![] },
                role: (number < 0).then(|| c.clone()),
                preset: (kind == Kind::Project).then(|| c.clone()),
            },
            expiry: match number % 3 {
                0 => Expiry::At(Timestamp(number)),
                1 => Expiry::InDays(number.to_le_bytes()[0].into()),
                _ => Expiry::Never,
            },
            metadata: Metadata::from([(c.clone(), d.clone()), (b.clone(), a.clone())]),
            project: (kind == Kind::Project).then_some(project),
            ..acme.owned_key(kind, owner, &a, &[])
        };
        commands.push(create.into());
    }
    commands
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_is_too_strange(
        texts in [text(), text(), text(), text()],
        number in any::<i64>(),
    ) {
        let mut acme = Acme::new();
        for command in commands(&mut acme, &texts, number) {
            // The harness reads every payload back and compares.
            acme.when(Actor::Operator, command.clone());
            acme.when(acme.owner, command);
        }
        prop_assert_eq!(fingerprint(&acme.replayed()), fingerprint(&acme.state));
        for (_, key) in acme.state.credentials.settled_after(None) {
            prop_assert!(secret::prefix_is_valid(&key.secret().prefix));
            prop_assert!(key.name().chars().count() <= 200 && !key.name().trim().is_empty());
        }
        for (_, account) in acme.state.accounts.settled_after(None) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            prop_assert!(!account.slug.is_empty() && account.slug.chars().all(plain));
        }
    }

    #[test]
    fn no_clock_is_too_strange(now in any::<i64>(), number in any::<i64>()) {
        let mut acme = Acme::new();
        acme.now = Timestamp(now);
        let texts = ["name", "a@b.example", "cases:read", "d"].map(str::to_owned);
        for command in commands_at(&mut acme, &texts, number) {
            let request = crate::domain::command::Request {
                actor: Actor::Operator,
                command,
                if_match: None,
            };
            let facts = acme.facts();
            drop(crate::domain::decide::decide(&acme.state, &request, &facts));
        }
    }

    #[test]
    fn no_presented_text_is_too_strange(text in text()) {
        // Text that is nobody's token is never ours by accident.
        prop_assert_ne!(secret::form(&text), secret::Form::Plausible);
    }
}

/// The commands that a ledger at any instant decides, without appending them.
fn commands_at(acme: &mut Acme, texts: &[String; 4], number: i64) -> Vec<Command> {
    let now = std::mem::replace(&mut acme.now, super::START);
    let commands = commands(acme, texts, number);
    acme.now = now;
    commands
}
