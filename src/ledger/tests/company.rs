//! A history with every type of event: two companies, their people, systems and credentials.

use super::{DAY_MS, World, api_key, credential, idempotency, network, submission, target, token};
use crate::domain::command::{
    Actor, AddMember, Command, CreateKey, CreateOrganization, CreateProject, CreateServiceAccount,
    DeleteServiceAccount, EndedSecretUse, Expiry, IssueSignInLink, NoteExpiries, RemoveMember,
    ReplaceKey, RevokeKey, RotateKey, SealUsage, SetPassword, SignIn, SignInFailure, SignInProof,
    SignOut, UpdateKey, UpdateMember, UpdateOrganization, UpdateProject, UpdateServiceAccount,
};
use crate::domain::digest::Digest32;
use crate::domain::event::EndedCode;
use crate::domain::expiry::Notice;
use crate::domain::ids::{
    CredentialId, OrganizationId, Owner, ServiceAccountId, SessionId, UserId,
};
use crate::domain::kind::Kind;
use crate::domain::personal::Personal;
use crate::domain::record::Grant;
use crate::ledger::{Answer, Record, Submission};

/// The history as it is being made.
pub(super) struct Company<'a> {
    pub(super) world: &'a mut World,
    pub(super) tokens: Vec<(String, String)>,
    pub(super) organization: OrganizationId,
    pub(super) owner: UserId,
    commands: u8,
}

pub(super) fn organization(answer: &Answer) -> OrganizationId {
    let Record::Organization(record) = &answer.records[0] else {
        panic!("{answer:?}");
    };
    record.id
}

pub(super) fn member(answer: &Answer) -> UserId {
    let Record::Member(record) = &answer.records[0] else {
        panic!("{answer:?}");
    };
    record.id
}

pub(super) fn account(answer: &Answer) -> ServiceAccountId {
    let Record::ServiceAccount(record) = &answer.records[0] else {
        panic!("{answer:?}");
    };
    record.id
}

pub(super) fn create_organization(name: &str, email: &str) -> CreateOrganization {
    CreateOrganization {
        name: name.to_owned(),
        owner_email: email.to_owned(),
        key_scopes: vec!["admin:*".to_owned()],
    }
}

pub(super) fn create_account(organization: OrganizationId, name: &str) -> CreateServiceAccount {
    CreateServiceAccount {
        organization,
        name: name.to_owned(),
        description: Some("Builds and ships".to_owned()),
        role: Some("engineer".to_owned()),
        scopes: Some(vec!["cases:read".to_owned(), "cases:write".to_owned()]),
    }
}

/// Makes the history, and gives the tokens that it issued with their names.
pub(crate) fn found(world: &mut World) -> Vec<(String, String)> {
    let made = world.run(create_organization("Globex", "bob@globex.example"));
    let globex = token(&made);
    let made = world.run(create_organization("Acme", "ann@acme.example"));
    let Record::Member(owner) = &made.records[1] else {
        panic!("{made:?}");
    };
    let mut company = Company {
        organization: organization(&made),
        owner: owner.id,
        tokens: vec![
            ("globex".to_owned(), globex),
            ("acme".to_owned(), token(&made)),
        ],
        commands: 0,
        world,
    };
    company.projects();
    company.people();
    company.systems();
    company.sign_ins();
    company.keys();
    company.endpoints();
    company.expiries();
    company.audited();
    company.renamed();
    company.tokens
}

impl Company<'_> {
    /// From a network, under an idempotency key of its own, a second after the one before.
    pub(super) fn run(&mut self, actor: Actor, command: impl Into<Command>) -> Answer {
        self.world.later(1_000);
        self.commands += 1;
        let submission = Submission {
            request_id: Some(format!("req-{}", self.commands)),
            network: Some(network("203.0.113.7")),
            idempotency: Some(idempotency(self.commands, 200)),
            ..submission(actor, command)
        };
        self.world.ledger.submit_blocking(submission).unwrap()
    }

    pub(super) fn issue(&mut self, name: &str, command: CreateKey) -> CredentialId {
        let answer = self.run(Actor::Operator, command);
        self.tokens.push((name.to_owned(), token(&answer)));
        credential(&answer).id()
    }

    pub(super) fn owned(&self, kind: Kind, owner: Owner, name: &str) -> CreateKey {
        CreateKey {
            kind,
            owner,
            ..api_key(self.organization, name)
        }
    }

    fn projects(&mut self) {
        let organization = self.organization;
        let rename = UpdateOrganization {
            organization,
            name: Some("Acme & Sons".to_owned()),
            token_prefix: Some("acme".to_owned()),
        };
        self.run(Actor::Operator, rename);
        let name = "Website".to_owned();
        let made = self.run(Actor::Operator, CreateProject { organization, name });
        let Record::Project(project) = &made.records[0] else {
            panic!("{made:?}");
        };
        let project = project.id;
        for (name, archived) in [
            (Some("Shop"), None),
            (None, Some(true)),
            (None, Some(false)),
        ] {
            let edit = UpdateProject {
                organization,
                project,
                name: name.map(str::to_owned),
                archived,
            };
            self.run(Actor::Operator, edit);
        }
        let mut bound = api_key(organization, "Deploys of the shop");
        bound.project = Some(project);
        bound.metadata = [("env".to_owned(), "prod".to_owned())].into();
        self.issue("bound", bound);
        let mut badge = api_key(organization, "Badge");
        badge.kind = Kind::Project;
        badge.project = Some(project);
        badge.grant = Grant {
            preset: Some("read-only".to_owned()),
            ..Grant::default()
        };
        let badge = self.issue("badge", badge);
        self.replace("badge, replaced", badge);
    }

    fn replace(&mut self, name: &str, old: CredentialId) {
        let replace = ReplaceKey {
            target: target(self.organization, old),
            expiry: None,
        };
        let replaced = self.run(Actor::Operator, Command::ReplaceKey(replace));
        self.tokens.push((name.to_owned(), token(&replaced)));
    }

    fn people(&mut self) {
        let organization = self.organization;
        let mut members = Vec::new();
        for (email, name) in [
            ("carl@acme.example", Some("Carl M\u{fc}ller")),
            ("d@acme.example", None),
        ] {
            let added = AddMember {
                organization,
                email: email.to_owned(),
                name: name.map(str::to_owned),
                role: "viewer".to_owned(),
            };
            members.push(member(&self.run(Actor::Operator, added)));
        }
        let role = UpdateMember {
            organization,
            member: members[0],
            role: Some("administrator".to_owned()),
            email: None,
            name: None,
        };
        self.run(Actor::Operator, role);
        let everything = vec!["*".to_owned()];
        let owner = Owner::User(self.owner);
        let mut own = self.owned(Kind::Personal, owner, "Ann's laptop");
        own.grant.scopes = everything;
        let own = self.issue("ann", own);
        let secret = {
            let credentials = &self.world.ledger.views().credentials;
            let record = credentials.get(organization, own).unwrap();
            record.secret().id
        };
        let ann = Actor::Bearer {
            credential: own,
            secret,
        };
        for name in ["phone", "tablet"] {
            let command = self.owned(Kind::Personal, Owner::User(members[1]), name);
            self.issue(name, command);
        }
        let member = members[1];
        self.run(
            ann,
            RemoveMember {
                organization,
                member,
            },
        );
        let by_ann = self.run(ann, api_key(organization, "Made by Ann"));
        self.tokens.push(("by ann".to_owned(), token(&by_ann)));
    }

    /// Fay has a new address, and a name.
    fn renamed(&mut self) {
        let organization = self.organization;
        let fay = AddMember {
            organization,
            email: "fay@acme.example".to_owned(),
            name: None,
            role: "viewer".to_owned(),
        };
        let fay = member(&self.run(Actor::Operator, fay));
        let rename = UpdateMember {
            email: Some("fay.moss@acme.example".to_owned()),
            name: Some(Some("Fay Moss".to_owned())),
            ..UpdateMember::of(organization, fay)
        };
        self.run(Actor::Operator, rename);
    }

    fn systems(&mut self) {
        let organization = self.organization;
        let mut accounts = Vec::new();
        for name in ["CI Bot", "Old Bot", "Idle Bot"] {
            let made = self.run(Actor::Operator, create_account(organization, name));
            accounts.push(account(&made));
            for number in 1..=2 {
                let owner = Owner::ServiceAccount(account(&made));
                let command = self.owned(Kind::ServiceAccount, owner, &format!("Token {number}"));
                self.issue(&format!("{name} {number}"), command);
            }
        }
        let edit = |account, name: Option<&str>, is_active| UpdateServiceAccount {
            organization,
            account,
            name: name.map(str::to_owned),
            description: None,
            role: None,
            scopes: None,
            is_active,
        };
        self.run(Actor::Operator, edit(accounts[0], Some("Builder"), None));
        self.run(Actor::Operator, edit(accounts[0], None, Some(false)));
        self.run(Actor::Operator, edit(accounts[0], None, Some(true)));
        self.run(Actor::Operator, edit(accounts[2], None, Some(false)));
        let account = accounts[1];
        let delete = DeleteServiceAccount {
            organization,
            account,
        };
        self.run(Actor::Operator, delete);
    }

    /// A new session of a member, by a link.
    pub(super) fn session(&mut self, member: UserId) -> SessionId {
        let organization = self.organization;
        let link = Command::IssueSignInLink(IssueSignInLink {
            organization,
            member,
        });
        let link = self.run(Actor::Operator, link).sign_in.unwrap();
        self.sign_in(member, SignInProof::Link(link.hash()))
    }

    fn sign_in(&mut self, member: UserId, proof: SignInProof) -> SessionId {
        let command = Command::SignIn(SignIn {
            organization: self.organization,
            member,
            proof,
        });
        let answer = self.run(Actor::Anonymous, command);
        let Record::Session(session) = &answer.records[0] else {
            panic!("{answer:?}");
        };
        session.id
    }

    /// Dora has a password, two sessions and a link; others of hers have ended.
    fn sign_ins(&mut self) {
        let organization = self.organization;
        let dora = AddMember {
            organization,
            email: "dora@acme.example".to_owned(),
            name: None,
            role: "engineer".to_owned(),
        };
        let dora = member(&self.run(Actor::Operator, dora));
        self.session(dora);
        let session = self.session(dora);
        let set = Command::SetPassword(SetPassword {
            organization,
            password: Personal::new("$argon2id$v=19$...".to_owned()),
            current: None,
        });
        self.run(Actor::Session(session), set);
        let failed = Command::NoteSignInFailure(SignInFailure {
            organization,
            member: dora,
            failures: 2,
        });
        self.run(Actor::System, failed);
        let means = self
            .world
            .ledger
            .views()
            .sessions
            .sign_in_means_of_member(dora)
            .unwrap();
        let set_by = means.password.as_ref().unwrap().set_by;
        let by_password = self.sign_in(dora, SignInProof::Password(set_by));
        let out = self.session(dora);
        self.session(dora);
        let out = Command::SignOut(SignOut {
            organization,
            session: out,
        });
        self.run(Actor::Session(by_password), out);
        let link = Command::IssueSignInLink(IssueSignInLink {
            organization,
            member: dora,
        });
        self.run(Actor::Operator, link);
    }

    /// The program notes that an ended secret was presented, and anchors the usage history.
    fn presented_again(&mut self, key: CredentialId) {
        let organization = self.organization;
        let credentials = &self.world.ledger.views().credentials;
        let secret = credentials.get(organization, key).unwrap().secret_id();
        let now = self.world.ledger.now();
        let note = Command::NoteEndedSecretUse(EndedSecretUse {
            key,
            secret,
            code: EndedCode::Revoked,
            uses: 2,
            first_at: now,
            last_at: now,
        });
        self.run(Actor::System, note);
        let seal = Command::SealUsage(SealUsage {
            from: 0,
            to: 4_096,
            segments: 1,
            records: 2,
            first_at: now,
            last_at: now,
            digest: Digest32([0x34; 32]),
        });
        self.run(Actor::System, seal);
    }

    /// The program tells that a key is going to expire, and that another one has.
    fn expiries(&mut self) {
        for (name, days) in [("expiring", Some(1)), ("expired", None)] {
            let ahead_ms = days.map_or(0, i64::from) * DAY_MS;
            let expires_at = self.world.ledger.now().plus_ms(ahead_ms + 3_000);
            let mut short = api_key(self.organization, name);
            short.expiry = Expiry::At(expires_at);
            let key = self.issue(name, short);
            self.world.later(1_000);
            let notice = Notice {
                key,
                expires_at,
                days,
            };
            let note = NoteExpiries {
                seen: self.world.ledger.state.lock().unwrap().newest(),
                at: self.world.ledger.now(),
                notices: vec![notice],
            };
            self.run(Actor::System, Command::NoteExpiries(note));
        }
    }

    fn keys(&mut self) {
        let organization = self.organization;
        let key = self.issue("edited", api_key(organization, "Edited"));
        let edit = UpdateKey {
            name: Some("Reporting".to_owned()),
            description: Some(Some("Nightly".to_owned())),
            scopes: Some(vec!["cases:read".to_owned(), "cases:write".to_owned()]),
            ..UpdateKey::of(target(organization, key))
        };
        self.run(Actor::Operator, edit);
        for grace_period_seconds in [86_400, 3_600] {
            let rotate = RotateKey {
                target: target(organization, key),
                grace_period_seconds,
                unpresented: None,
            };
            let rotated = self.run(Actor::Operator, rotate);
            let name = format!("edited, rotated with {grace_period_seconds}");
            self.tokens.push((name, token(&rotated)));
        }
        let key = self.issue("enabled", api_key(organization, "Enabled"));
        self.run(
            Actor::Operator,
            Command::DisableKey(target(organization, key)),
        );
        self.run(
            Actor::Operator,
            Command::EnableKey(target(organization, key)),
        );
        let key = self.issue("disabled", api_key(organization, "Disabled"));
        self.run(
            Actor::Operator,
            Command::DisableKey(target(organization, key)),
        );
        let key = self.issue("revoked", api_key(organization, "Leaked"));
        let revoke = RevokeKey {
            target: target(organization, key),
            reason: Some("in a public repository".to_owned()),
        };
        self.run(Actor::Operator, revoke);
        self.presented_again(key);
        let mut short = api_key(organization, "Short");
        short.expiry = Expiry::InDays(2);
        self.issue("short", short);
        let mut access = api_key(organization, "Access");
        access.kind = Kind::Access;
        access.grant = Grant {
            role: Some("viewer".to_owned()),
            ..Grant::default()
        };
        self.issue("access", access);
        let mut admin = api_key(organization, "Admin");
        admin.kind = Kind::Admin;
        let admin = self.issue("admin", admin);
        self.replace("admin, replaced", admin);
        let mut dated = api_key(organization, "Dated");
        dated.kind = Kind::Access;
        dated.grant = Grant {
            role: Some("viewer".to_owned()),
            ..Grant::default()
        };
        let dated = self.issue("dated", dated);
        let edit = UpdateKey {
            role: Some("team_member".to_owned()),
            expiry: Some(Expiry::InDays(2)),
            metadata: Some([("env".to_owned(), "test".to_owned())].into()),
            ..UpdateKey::of(target(organization, dated))
        };
        self.run(Actor::Operator, edit);
        let name = "The newest".to_owned();
        self.run(Actor::Operator, CreateProject { organization, name });
    }
}
