//! Random histories: small numbers that are read as commands, so that proptest can shrink them.

use proptest::prelude::*;

use super::acme::{Acme, strings};
use super::adoption::any_catalogue;
use super::auditor::ledger_command;
use super::endpoint_history::endpoint_command;
use super::expiry::any_notices;
use crate::domain::command::{
    Actor, AddMember, Command, CreateKey, CreateOrganization, CreateProject, DeleteServiceAccount,
    EndedSecretUse, EraseMember, Expiry, IssueSignInLink, KeyTarget, Place, RemoveMember,
    ReplaceKey, Request, RevokeKey, RotateKey, SealUsage, SetPassword, SignIn, SignInFailure,
    SignInProof, SignOut, UpdateKey, UpdateMember, UpdateOrganization, UpdateProject,
    UpdateServiceAccount,
};
use crate::domain::digest::Digest32;
use crate::domain::event::EndedCode;
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId, SessionId, UserId};
use crate::domain::kind::Kind;
use crate::domain::personal::Personal;
use crate::domain::record::{Grant, Metadata, Status};
use crate::domain::secret::SecretHash;
use crate::domain::settled::Settled;
use crate::domain::staged::Staged;

/// One command, to be read against the state as it then is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Picks the actor.
    pub(super) who: u8,
    /// Picks the command.
    pub(super) what: u8,
    /// Picks its target.
    pub(super) which: u8,
    /// Picks its values.
    pub(super) how: u8,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    any::<[u8; 4]>().prop_map(|[who, what, which, how]| Step {
        who,
        what,
        which,
        how,
    })
}

/// Adds people and credentials of every strength: managers, bound and expiring keys, accounts.
pub(super) fn crowded(mut acme: Acme) -> Acme {
    acme.bearer(&["member:manage", "cases:read"]);
    acme.bearer(&["webhooks:write"]);
    acme.bearer(&["member:manage", "cases:read", "keys:read", "analysis:run"]);
    let bound = CreateKey {
        project: Some(acme.project),
        ..acme.api_key(&["admin:*"])
    };
    let short = CreateKey {
        expiry: Expiry::InDays(2),
        ..acme.api_key(&["admin:*"])
    };
    for command in [bound, short] {
        acme.make(command);
    }
    for role in ["viewer", "administrator", "owner"] {
        acme.member(&format!("{role}@acme.example"), role);
    }
    acme.personal(acme.ann, &["admin:*"]);
    for (name, role, scopes) in [
        (
            "weak",
            None,
            &["cases:read", "cases:write", "member:manage"][..],
        ),
        ("engineer", Some("engineer"), &["cases:write", "keys:read"]),
        ("strong", Some("administrator"), &["admin:*"]),
    ] {
        let account = acme.account(name, role, Some(scopes));
        acme.account_token(account, "token", scopes);
    }
    acme
}

impl Step {
    /// Seconds before the command: mostly few, sometimes half a day.
    pub(super) fn gap(self) -> i64 {
        match self.how % 8 {
            0 => 43_200,
            1 => 60,
            _ => 1,
        }
    }
}

const SCOPES: [&[&str]; 12] = [
    &["cases:read"],
    &["cases:read", "cases:write"],
    &["member:manage", "cases:read"],
    &["member:manage", "keys:read", "analysis:run"],
    &["admin:*"],
    &["*"],
    &["platform:*"],
    &["projects:read", "projects:write"],
    &["nonsense"],
    &["*", "ledger:read"],
    &["webhooks:write", "ledger:read"],
    &["webhooks:write", "cases:read"],
];
const ROLES: [&str; 7] = [
    "viewer",
    "engineer",
    "workspace_manager",
    "administrator",
    "tenant_admin",
    "owner",
    "king",
];
const NAMES: [&str; 6] = ["CI", "ci", "Bot", "Stra\u{df}e", "STRASSE", ""];

/// How many sorts of commands there are.
const COMMANDS: u8 = 24;

pub(super) fn pick<T: Copy>(from: &[T], n: u8) -> T {
    from[usize::from(n) % from.len()]
}

/// One of a map's keys, as the next command sees them.
pub(super) fn any_of<K: Clone + Ord + 'static, V: 'static, M: Settled<K, V>>(
    map: &Staged<K, V, M>,
    from: &K,
    n: u8,
) -> Option<K> {
    let keys = map.keys_from(from, |_| true);
    (!keys.is_empty()).then(|| keys[usize::from(n) % keys.len()].clone())
}

fn actor(acme: &Acme, step: &Step) -> Actor {
    if step.who < 100 {
        return pick(
            &[Actor::Operator, acme.owner, acme.admin, acme.platform],
            step.who,
        );
    }
    if step.who.is_multiple_of(5)
        && let Some(session) = any_of(&acme.state.sessions, &SessionId(ulid::Ulid(0)), step.which)
    {
        return Actor::Session(session);
    }
    // Mostly one that is accepted, sometimes any.
    let first = CredentialId(ulid::Ulid(0));
    let mut all = acme.state.credentials.keys_from(&first, |_| true);
    if step.who < 240 {
        all.retain(|key| {
            let holder = acme.holder_of(*key);
            acme.state.authority(holder, acme.now).is_ok()
        });
    }
    if all.is_empty() {
        return Actor::Operator;
    }
    let credential = pick(&all, step.who);
    let secrets = acme.credential(credential).unpacked().secrets;
    let secret = match step.how % 4 {
        0 => secrets.first(),
        _ => secrets.last(),
    };
    let secret = secret.unwrap().id;
    Actor::Bearer { credential, secret }
}

pub(super) fn request(acme: &Acme, step: &Step) -> Request {
    let organization = if step.which == 255 {
        acme.globex
    } else {
        acme.organization
    };
    let command = command(acme, step, organization);
    // Whoever signs in has shown nothing else, and the program is nobody.
    let of_the_program = matches!(
        command,
        Command::NoteSignInFailure(_)
            | Command::NoteEndedSecretUse(_)
            | Command::SealUsage(_)
            | Command::NoteExpiries(_)
            | Command::NoteCheckpoint(_)
            | Command::NoteEndpointFailing(_)
            | Command::StopEndpoint(_)
    );
    let actor = if matches!(command, Command::SignIn(_)) {
        Actor::Anonymous
    } else if of_the_program {
        Actor::System
    } else {
        actor(acme, step)
    };
    Request {
        actor,
        command,
        if_match: (step.how == 77).then_some(2),
    }
}

fn command(acme: &Acme, step: &Step, organization: OrganizationId) -> Command {
    let (which, how) = (step.which, step.how);
    let name = pick(&NAMES, how).to_owned();
    let project = any_of(&acme.state.projects, &ProjectId(ulid::Ulid(0)), which).unwrap();
    match step.what % COMMANDS {
        0 if which.is_multiple_of(3) => any_catalogue(step),
        0 => CreateOrganization {
            name,
            owner_email: String::from("eve@initech.example"),
            key_scopes: strings(pick(&SCOPES, how)),
        }
        .into(),
        1 => UpdateOrganization {
            organization,
            name: Some(name),
            token_prefix: (how > 99).then(|| String::from("acme")),
        }
        .into(),
        2 => CreateProject { organization, name }.into(),
        3 => UpdateProject {
            organization,
            project,
            name: (how > 99).then_some(name),
            archived: Some(how.is_multiple_of(2)),
        }
        .into(),
        4 => AddMember {
            organization,
            email: format!(
                "{}@Acme.Example",
                pick(&["ann", "carl", "CARL", "dora"], how)
            ),
            name: Some(name),
            role: pick(&ROLES, which).to_owned(),
        }
        .into(),
        5 | 6 => member_command(acme, step, organization),
        7..=9 => account_command(acme, step, organization),
        10 | 11 => create_key(acme, step, organization, project).into(),
        16..21 => sign_in_command(acme, step, organization),
        21 if which.is_multiple_of(2) => any_notices(acme, step),
        21 if which.is_multiple_of(3) => ledger_command(acme, step, organization),
        21 => usage_command(acme, step),
        22 | 23 => endpoint_command(acme, step, organization, project),
        _ => key_command(acme, step, organization),
    }
}

fn member_command(acme: &Acme, step: &Step, organization: OrganizationId) -> Command {
    let first = UserId(ulid::Ulid(0));
    let member = any_of(&acme.state.members, &first, step.which).unwrap();
    if step.what.is_multiple_of(2) && step.how.is_multiple_of(3) {
        let reason = String::from("asked for it");
        return EraseMember {
            organization,
            member,
            reason,
        }
        .into();
    }
    if step.what.is_multiple_of(2) {
        return RemoveMember {
            organization,
            member,
        }
        .into();
    }
    let role = || pick(&ROLES, step.how).to_owned();
    let name = pick(&["Ann", "carl", "dora"], step.which);
    let every = |n| step.how.is_multiple_of(n);
    UpdateMember {
        role: (!every(5)).then(role),
        email: every(2).then(|| format!("{name}@acme.EXAMPLE")),
        name: every(7).then(|| Some(name.to_owned())),
        ..UpdateMember::of(organization, member)
    }
    .into()
}

/// Mostly with what is right, so that sessions begin.
fn sign_in_command(acme: &Acme, step: &Step, organization: OrganizationId) -> Command {
    let member = any_of(&acme.state.members, &UserId(ulid::Ulid(0)), step.which).unwrap();
    let means = acme.state.sign_in_means(member);
    let link = means.and_then(|means| means.link.as_ref());
    let link = link.map_or(SecretHash([0; 32]), |link| link.hash);
    let password = means.and_then(|means| means.password.as_ref());
    let current = password.map(|password| password.set_by);
    let any_session = || any_of(&acme.state.sessions, &SessionId(ulid::Ulid(0)), step.how);
    match (step.what % COMMANDS, any_session()) {
        (16, _) => Command::IssueSignInLink(IssueSignInLink {
            organization,
            member,
        }),
        (17, Some(session)) => Command::SignOut(SignOut {
            organization,
            session,
        }),
        (18, _) => Command::SetPassword(SetPassword {
            organization,
            password: Personal::new(format!("hash {}", step.how)),
            current: current.filter(|_| step.how < 200),
        }),
        (19, _) if step.how < 60 => Command::NoteSignInFailure(SignInFailure {
            organization,
            member,
            failures: 1,
        }),
        (_, _) => Command::SignIn(SignIn {
            organization,
            member,
            proof: match current {
                Some(set_by) if step.how.is_multiple_of(2) => SignInProof::Password(set_by),
                Some(_) | None => SignInProof::Link(link),
            },
        }),
    }
}

/// What the program notes of usage.
fn usage_command(acme: &Acme, step: &Step) -> Command {
    let (first_at, last_at) = (acme.now, acme.now);
    let key = any_of(
        &acme.state.credentials,
        &CredentialId(ulid::Ulid(0)),
        step.which,
    );
    let Some(key) = key.filter(|_| step.how < 200) else {
        let from = u64::from(step.how) * 64;
        return Command::SealUsage(SealUsage {
            from,
            to: from + 64,
            segments: 1,
            records: 9,
            first_at,
            last_at,
            digest: Digest32([step.how; 32]),
        });
    };
    Command::NoteEndedSecretUse(EndedSecretUse {
        key,
        secret: acme.credential(key).secret_id(),
        code: EndedCode::Rotated,
        uses: u64::from(step.how),
        first_at,
        last_at,
    })
}

fn account_command(acme: &Acme, step: &Step, organization: OrganizationId) -> Command {
    let how = step.how;
    let scopes = (!how.is_multiple_of(3)).then(|| strings(pick(&SCOPES, how)));
    let role = (!how.is_multiple_of(5)).then(|| pick(&ROLES, how).to_owned());
    let first = crate::domain::ids::ServiceAccountId(ulid::Ulid(0));
    let known = any_of(&acme.state.accounts, &first, step.which);
    match (known, step.what % COMMANDS) {
        (Some(account), 8) => UpdateServiceAccount {
            organization,
            account,
            name: (how.is_multiple_of(7)).then(|| pick(&NAMES, how).to_owned()),
            description: None,
            role: (how.is_multiple_of(2)).then_some(role),
            scopes: (how.is_multiple_of(4)).then_some(scopes),
            is_active: (how % 3 != 1).then_some(how.is_multiple_of(3)),
        }
        .into(),
        (Some(account), 9) if how > 99 => DeleteServiceAccount {
            organization,
            account,
        }
        .into(),
        (_, _) => {
            let mut command = acme.service_account(pick(&NAMES, step.which));
            command.organization = organization;
            command.role = role;
            command.scopes = scopes;
            command.into()
        }
    }
}

fn create_key(
    acme: &Acme,
    step: &Step,
    organization: OrganizationId,
    project: ProjectId,
) -> CreateKey {
    let kind = pick(&Kind::ALL, step.which / 2);
    let first = crate::domain::ids::ServiceAccountId(ulid::Ulid(0));
    let account = any_of(&acme.state.accounts, &first, step.how);
    let first = UserId(ulid::Ulid(0));
    let member = any_of(&acme.state.members, &first, step.how).unwrap();
    let (mut grant, mut bound) = (Grant::default(), None);
    let owner = match (kind, account) {
        (Kind::Personal, _) => Owner::User(member),
        (Kind::ServiceAccount, Some(account)) => Owner::ServiceAccount(account),
        (_, _) => Owner::Organization(organization),
    };
    match kind {
        Kind::Organization | Kind::Personal | Kind::ServiceAccount | Kind::Admin => {
            grant.scopes = strings(pick(&SCOPES, step.how));
            let account = account.filter(|_| kind == Kind::ServiceAccount && step.how < 200);
            let account = account.and_then(|account| acme.state.account(account));
            if let Some(scopes) = account.and_then(|account| account.scopes.clone()) {
                grant.scopes = scopes;
            }
        }
        Kind::Access => grant.role = Some(pick(&ROLES, step.how).to_owned()),
        Kind::Project => {
            grant.preset = Some(pick(&["status", "read-only", "admin"], step.how).to_owned());
        }
    }
    if kind == Kind::Project || (kind == Kind::Organization && step.how.is_multiple_of(3)) {
        bound = Some(project);
    }
    CreateKey {
        organization,
        kind,
        owner,
        project: bound,
        name: pick(&NAMES, step.which).to_owned(),
        description: None,
        grant,
        expiry: match step.how % 4 {
            0 => Expiry::InDays(1),
            1 => Expiry::InDays(2),
            _ => Expiry::Never,
        },
        metadata: Metadata::new(),
    }
}

/// An edit of the fields that the credential's kind has.
fn edit(acme: &Acme, step: &Step, target: KeyTarget) -> UpdateKey {
    let (how, none) = (step.how, UpdateKey::of(target));
    let kind = acme.state.credential(target.key).map(|key| key.kind());
    match kind {
        Some(Kind::Access) => UpdateKey {
            role: (how % 3 != 1).then(|| pick(&ROLES, how).to_owned()),
            expiry: match how % 5 {
                0 => Some(Expiry::Never),
                1 | 2 => Some(Expiry::InDays(u32::from(how % 7))),
                _ => None,
            },
            ..none
        },
        Some(_) | None => UpdateKey {
            name: (how.is_multiple_of(3)).then(|| pick(&NAMES, how).to_owned()),
            scopes: (how % 3 != 1).then(|| strings(pick(&SCOPES, how))),
            metadata: (how.is_multiple_of(5)).then(Metadata::new),
            ..none
        },
    }
}

/// A credential that can be enabled, if there is one.
fn disabled(acme: &Acme) -> Option<CredentialId> {
    let first = CredentialId(ulid::Ulid(0));
    let keys = acme.state.credentials.keys_from(&first, |_| true);
    keys.into_iter().find(|id| {
        let key = acme.state.credential(*id);
        key.is_some_and(|key| key.status(acme.now) == Status::Disabled)
    })
}

fn key_command(acme: &Acme, step: &Step, organization: OrganizationId) -> Command {
    let first = CredentialId(ulid::Ulid(0));
    let key = any_of(&acme.state.credentials, &first, step.which).unwrap();
    let target = KeyTarget {
        organization,
        key,
        place: Place::default(),
    };
    match (step.what % COMMANDS, step.how % 4) {
        (12, _) => edit(acme, step, target).into(),
        (13, 3) => ReplaceKey {
            target,
            expiry: (step.how > 99).then_some(Expiry::InDays(1)),
        }
        .into(),
        (13, _) => RotateKey {
            target,
            grace_period_seconds: pick(&[0, 30, 86_400, 2_592_001], step.how),
            unpresented: None,
        }
        .into(),
        (14, 0 | 1) => Command::DisableKey(target),
        (14, _) => Command::EnableKey(KeyTarget {
            key: disabled(acme).unwrap_or(key),
            ..target
        }),
        (_, 0) => RevokeKey {
            target,
            reason: Some(String::from("leaked")),
        }
        .into(),
        (_, _) => Command::EnableKey(target),
    }
}
