//! A small company to test with: Acme with its people and credentials, and its neighbor Globex.

use std::ops::{Deref, DerefMut};

use super::{Done, Ledger, Outcome};
use crate::domain::command::{
    Actor, AddMember, Command, CreateKey, CreateOrganization, CreateProject, CreateServiceAccount,
    Expiry, KeyTarget, Place, RevokeKey, RotateKey, UpdateKey, UpdateServiceAccount,
};
use crate::domain::ids::{
    CredentialId, OrganizationId, Owner, ProjectId, ServiceAccountId, Subject, UserId,
};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Grant, Metadata};

/// Acme, and Globex next door.
pub(super) struct Acme {
    ledger: Ledger,
    pub(super) organization: OrganizationId,
    /// The first owner.
    pub(super) ann: UserId,
    /// Ann, by a personal token with all her rights.
    pub(super) owner: Actor,
    /// An API key with `admin:*`: not an owner.
    pub(super) admin: Actor,
    /// An API key with `platform:*`.
    pub(super) platform: Actor,
    pub(super) project: ProjectId,
    pub(super) globex: OrganizationId,
    /// An API key of Globex with `admin:*`.
    pub(super) stranger: Actor,
}

impl Deref for Acme {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl DerefMut for Acme {
    fn deref_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

impl Acme {
    pub(super) fn new() -> Self {
        let mut ledger = Ledger::opened();
        let (organization, ann, admin) = tenant(&mut ledger, "Acme", "ann@acme.example");
        let (globex, _, stranger) = tenant(&mut ledger, "Globex", "bob@globex.example");
        let mut acme = Self {
            ledger,
            organization,
            ann,
            owner: Actor::Operator,
            admin,
            platform: Actor::Operator,
            project: ProjectId(ulid::Ulid(0)),
            globex,
            stranger,
        };
        acme.owner = acme.personal(ann, &["*"]);
        acme.platform = acme.bearer(&["platform:*"]);
        acme.project = acme.project("Website");
        acme
    }

    pub(super) fn when(&mut self, actor: Actor, command: impl Into<Command>) -> Outcome {
        self.ledger.when(actor, command)
    }

    /// With `If-Match`.
    pub(super) fn when_at_version(
        &mut self,
        actor: Actor,
        command: impl Into<Command>,
        version: u32,
    ) -> Outcome {
        self.ledger.when_at_version(actor, command, Some(version))
    }

    pub(super) fn project(&mut self, name: &str) -> ProjectId {
        let command = CreateProject {
            organization: self.organization,
            name: name.to_owned(),
        };
        let made = self.when(Actor::Operator, command).accepted();
        let Subject::Project(id) = made.subject else {
            panic!("{made:?}");
        };
        id
    }

    /// An API key of Acme as the operator makes it.
    pub(super) fn key(&mut self, scopes: &[&str]) -> CredentialId {
        let command = self.api_key(scopes);
        self.make(command)
    }

    /// Whoever holds a new API key with these scopes.
    pub(super) fn bearer(&mut self, scopes: &[&str]) -> Actor {
        let key = self.key(scopes);
        self.holder_of(key)
    }

    pub(super) fn make(&mut self, command: CreateKey) -> CredentialId {
        key_of(&self.when(Actor::Operator, command).accepted())
    }

    /// Whoever holds the newest secret of a credential.
    pub(super) fn holder_of(&self, key: CredentialId) -> Actor {
        let secret = self.credential(key).secret().id;
        Actor::Bearer {
            credential: key,
            secret,
        }
    }

    pub(super) fn credential(&self, key: CredentialId) -> &Credential {
        self.state.credential(key).unwrap()
    }

    /// A new member with a personal token that has all its rights.
    pub(super) fn member(&mut self, email: &str, role: &str) -> (UserId, Actor) {
        let command = self.add_member(email, role);
        let made = self.when(Actor::Operator, command).accepted();
        let Subject::Member(id) = made.subject else {
            panic!("{made:?}");
        };
        (id, self.personal(id, &["*"]))
    }

    /// A personal token of a member, in the member's hand.
    pub(super) fn personal(&mut self, member: UserId, scopes: &[&str]) -> Actor {
        let name = format!("token {}", self.commands);
        let command = self.owned_key(Kind::Personal, Owner::User(member), &name, scopes);
        let key = self.make(command);
        self.holder_of(key)
    }

    pub(super) fn account(
        &mut self,
        name: &str,
        role: Option<&str>,
        scopes: Option<&[&str]>,
    ) -> ServiceAccountId {
        let command = CreateServiceAccount {
            role: role.map(str::to_owned),
            scopes: scopes.map(strings),
            ..self.service_account(name)
        };
        let made = self.when(Actor::Operator, command).accepted();
        let Subject::ServiceAccount(id) = made.subject else {
            panic!("{made:?}");
        };
        id
    }

    /// A token of a service account.
    pub(super) fn account_token(
        &mut self,
        account: ServiceAccountId,
        name: &str,
        scopes: &[&str],
    ) -> CredentialId {
        let owner = Owner::ServiceAccount(account);
        let command = self.owned_key(Kind::ServiceAccount, owner, name, scopes);
        self.make(command)
    }

    /// The request for an API key of Acme.
    pub(super) fn api_key(&self, scopes: &[&str]) -> CreateKey {
        let owner = Owner::Organization(self.organization);
        self.owned_key(Kind::Organization, owner, "CI pipeline", scopes)
    }

    pub(super) fn owned_key(
        &self,
        kind: Kind,
        owner: Owner,
        name: &str,
        scopes: &[&str],
    ) -> CreateKey {
        CreateKey {
            organization: self.organization,
            kind,
            owner,
            project: None,
            name: name.to_owned(),
            description: None,
            grant: Grant {
                scopes: strings(scopes),
                ..Grant::default()
            },
            expiry: Expiry::Never,
            metadata: Metadata::new(),
        }
    }

    pub(super) fn add_member(&self, email: &str, role: &str) -> AddMember {
        AddMember {
            organization: self.organization,
            email: email.to_owned(),
            name: None,
            role: role.to_owned(),
        }
    }

    pub(super) fn service_account(&self, name: &str) -> CreateServiceAccount {
        CreateServiceAccount {
            organization: self.organization,
            name: name.to_owned(),
            description: None,
            role: None,
            scopes: None,
        }
    }

    pub(super) fn edit_account(&self, account: ServiceAccountId) -> UpdateServiceAccount {
        UpdateServiceAccount {
            organization: self.organization,
            account,
            name: None,
            description: None,
            role: None,
            scopes: None,
            is_active: None,
        }
    }

    pub(super) fn target(&self, key: CredentialId) -> KeyTarget {
        KeyTarget {
            organization: self.organization,
            key,
            place: Place::default(),
        }
    }

    pub(super) fn edit(&self, key: CredentialId) -> UpdateKey {
        UpdateKey::of(self.target(key))
    }

    pub(super) fn rotate(&self, key: CredentialId, grace_period_seconds: u32) -> RotateKey {
        RotateKey {
            target: self.target(key),
            grace_period_seconds,
            unpresented: None,
        }
    }

    pub(super) fn revoke(&self, key: CredentialId) -> RevokeKey {
        RevokeKey {
            target: self.target(key),
            reason: None,
        }
    }

    pub(super) fn disable(&self, key: CredentialId) -> Command {
        Command::DisableKey(self.target(key))
    }

    pub(super) fn enable(&self, key: CredentialId) -> Command {
        Command::EnableKey(self.target(key))
    }
}

fn tenant(ledger: &mut Ledger, name: &str, email: &str) -> (OrganizationId, UserId, Actor) {
    let command = CreateOrganization {
        name: name.to_owned(),
        owner_email: email.to_owned(),
        key_scopes: strings(&["admin:*"]),
    };
    let done = ledger.when(Actor::Operator, command).accepted();
    let [_, added, issued] = done.events.as_slice() else {
        panic!("{done:?}");
    };
    match (done.subject, added.subject, issued.subject) {
        (Subject::Organization(id), Subject::Member(owner), Subject::Credential(credential)) => {
            let secret = ledger.state.credential(credential).unwrap();
            let secret = secret.secret().id;
            (id, owner, Actor::Bearer { credential, secret })
        }
        other => panic!("{other:?}"),
    }
}

/// The credential that a command made or changed.
pub(super) fn key_of(done: &Done) -> CredentialId {
    let Subject::Credential(id) = done.subject else {
        panic!("{done:?}");
    };
    id
}

pub(super) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

macro_rules! commands {
    ($($name:ident = $type:ident,)*) => {
        $(impl From<crate::domain::command::$type> for Command {
            fn from(command: crate::domain::command::$type) -> Self {
                Self::$name(command)
            }
        })*
    };
}

commands! {
    CreateOrganization = CreateOrganization,
    UpdateOrganization = UpdateOrganization,
    CreateProject = CreateProject,
    UpdateProject = UpdateProject,
    AddMember = AddMember,
    UpdateMember = UpdateMember,
    RemoveMember = RemoveMember,
    EraseMember = EraseMember,
    NoteCheckpoint = NoteCheckpoint,
    NoteLedgerRead = NoteLedgerRead,
    RotateSigningKey = RotateSigningKey,
    RecordRestore = RecordRestore,
    CreateServiceAccount = CreateServiceAccount,
    UpdateServiceAccount = UpdateServiceAccount,
    DeleteServiceAccount = DeleteServiceAccount,
    CreateKey = CreateKey,
    UpdateKey = UpdateKey,
    RotateKey = RotateKey,
    ReplaceKey = ReplaceKey,
    RevokeKey = RevokeKey,
    CreateEndpoint = CreateEndpoint,
    UpdateEndpoint = UpdateEndpoint,
    RotateEndpointSecret = RotateEndpointSecret,
    EnableEndpoint = EnableEndpoint,
    NoteEndpointFailing = NoteEndpointFailing,
    StopEndpoint = StopEndpoint,
}
