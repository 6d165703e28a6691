//! The routes, called below the socket on a ledger in a temporary folder whose clock stands still.
//!
//! Two tenants, Acme and Globex, each with an owner, a project, a service account and a key with
//! `admin:*`; beside them whoever runs the platform.

mod api_keys;
mod bodies;
mod bound;
mod calls;
mod conforming;
mod conventions;
mod deliveries;
mod documents;
mod endpoints;
mod erasure;
mod forward_auth;
mod garbage;
mod gateways;
mod holders;
mod ledger;
mod lists;
mod lost_rotation;
mod members;
mod messages;
mod metrics;
mod misplaced;
mod neighbours;
mod oauth;
mod order;
mod outlasting;
mod passwords;
mod past;
mod permissions;
mod pull;
mod race;
mod records;
mod remains;
mod renewals;
mod reports;
mod revocations;
mod routes;
mod same_address;
mod secrets;
mod sessions;
mod streams;
mod surfaces;
mod tenants;
mod usage;
mod verification;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use calls::{Ask, Reply, answered, ask};

use crate::clock::{Clock, Entropy, ManualClock};
use crate::domain::command::{
    Actor, Command, CreateKey, CreateOrganization, Expiry, IssueSignInLink, Request as Asked,
};
use crate::domain::ids::{Owner, ProjectId};
use crate::domain::kind::Kind;
use crate::domain::record::{Grant, Metadata};
use crate::ledger::boot::{self, Folder, Settings};
use crate::ledger::{Answer, Ledger, Record, Submission};
use crate::log::LogSettings;
use crate::usage::{UsageHistory, UsageSettings};
use crate::web::http_settings::HttpSettings;
use crate::webhooks::address_guard::AddressGuard;
use crate::webhooks::http_sender;
use crate::webhooks::{WebhookSettings, Webhooks};

/// 2026-04-24T15:30:00Z.
const START_MS: i64 = 1_777_044_600_000;
/// The same as records show it.
const START: &str = "2026-04-24T15:30:00.000Z";
/// Where every request seems to come from.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), 50_000);

/// A ledger with two tenants and a router over it.
struct World {
    ledger: Ledger,
    usage: UsageHistory,
    webhooks: Option<Webhooks>,
    router: Router,
    runtime: Runtime,
    clock: Arc<ManualClock>,
    acme: Tenant,
    globex: Tenant,
    /// A token with `platform:*`.
    platform: String,
    folder: TempDir,
}

/// A tenant, by its ids.
struct Tenant {
    id: String,
    /// `/platform/organizations/<id>`.
    path: String,
    owner: String,
    project: String,
    account: String,
    /// A key with `admin:*`, and its token.
    key: String,
    admin: String,
    /// One token of each other kind: personal, of the service account, access, admin, project.
    tokens: [String; 5],
    endpoint: String,
    /// An event of the organization.
    event: String,
}

/// Threads of a runtime for what waits.
const BLOCKING_THREADS: usize = 8;

/// A new ledger, and the hands of its clock.
fn ledger_in(folder: &Path) -> (Ledger, Arc<ManualClock>) {
    let (clock, hands) = Clock::manual(START_MS);
    let settings = Settings {
        log: LogSettings {
            segment_bytes: 1 << 20,
            headroom_bytes: 0,
            ..LogSettings::default()
        },
        clock,
        entropy: Entropy::seeded(1),
        ..Settings::usual(Folder::new(folder.join("data")))
    };
    (boot::create(settings, None).unwrap(), hands)
}

impl World {
    fn new() -> Self {
        Self::made(AddressGuard::default(), None)
    }

    fn made(webhook_guard: AddressGuard, client: Option<http_sender::SenderSettings>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, hands) = ledger_in(folder.path());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().max_blocking_threads(BLOCKING_THREADS);
        let runtime = runtime.build().unwrap();
        let usage = UsageHistory::open(UsageSettings {
            headroom_bytes: 0,
            keys: Some(Arc::clone(ledger.keys())),
            ..UsageSettings::with_defaults(
                folder.path().join("data/usage"),
                ledger.log_id(),
                ledger.clock().clone(),
            )
        });
        let usage = usage.unwrap();
        let webhooks = client.map(|client| {
            let settings = WebhookSettings {
                sender: client,
                attempt_retention_ms: 30 * 24 * 60 * 60 * 1_000,
                entropy: Entropy::seeded(2),
            };
            let files = folder.path().join("data/webhooks");
            Webhooks::start(ledger.clone(), &files, settings, runtime.handle()).unwrap()
        });
        let settings = HttpSettings {
            usage: Some(usage.clone()),
            webhook_guard,
            webhooks: webhooks.clone(),
            ..HttpSettings::default()
        };
        let router = crate::api::router(ledger.clone(), settings);
        let vacant = || Tenant {
            id: String::new(),
            path: String::new(),
            owner: String::new(),
            project: String::new(),
            account: String::new(),
            key: String::new(),
            admin: String::new(),
            tokens: Default::default(),
            endpoint: String::new(),
            event: String::new(),
        };
        let mut world = Self {
            ledger,
            usage,
            webhooks,
            router,
            runtime,
            clock: hands,
            acme: vacant(),
            globex: vacant(),
            platform: String::new(),
            folder,
        };
        world.acme = world.tenant("Acme", "ann@acme.example");
        world.globex = world.tenant("Globex", "bob@globex.example");
        world.platform = world
            .organization("Operations", "eve@ops.example", "platform:*")
            .3;
        world
    }

    fn operator(&self, command: Command) -> Answer {
        let request = Asked {
            actor: Actor::Operator,
            command,
            if_match: None,
        };
        self.ledger
            .submit_blocking(Submission::bare(request))
            .unwrap()
    }

    /// Ids of an organization, its owner and its key, and the key's token.
    fn organization(
        &self,
        name: &str,
        email: &str,
        scope: &str,
    ) -> (String, String, String, String) {
        let answer = self.operator(Command::CreateOrganization(CreateOrganization {
            name: name.to_owned(),
            owner_email: email.to_owned(),
            key_scopes: vec![scope.to_owned()],
        }));
        let token = answer.token.unwrap().reveal().to_owned();
        match answer.records.as_slice() {
            [
                Record::Organization(org),
                Record::Member(owner),
                Record::Credential(key),
            ] => (
                org.id.to_string(),
                owner.id.to_string(),
                key.id().to_string(),
                token,
            ),
            other => panic!("{other:?}"),
        }
    }

    fn tenant(&self, name: &str, email: &str) -> Tenant {
        let (id, owner, key, admin) = self.organization(name, email, "admin:*");
        let path = format!("/platform/organizations/{id}");
        let made = |path: &str, body: &Value| self.post(&admin, path, body).created();
        let project = made(&format!("{path}/projects"), &json!({"name": "Website"}));
        let account = json!({"name": "CI Bot", "role": "engineer"});
        let account = made(&format!("{path}/service-accounts"), &account);
        let endpoint = json!({"url": "https://hooks.example", "event_types": ["api_key.*"]});
        let endpoint = self.post(&admin, &format!("{path}/webhook-endpoints"), &endpoint);
        let endpoint = text(&endpoint.expect(201)["endpoint"]["id"]);
        let (scopes, role, preset): (Grant, Grant, Grant) = (
            Grant {
                scopes: vec!["cases:read".to_owned()],
                ..Grant::default()
            },
            Grant {
                role: Some("viewer".to_owned()),
                ..Grant::default()
            },
            Grant {
                preset: Some("status".to_owned()),
                ..Grant::default()
            },
        );
        let tokens = [
            (Kind::Personal, &owner, &scopes),
            (Kind::ServiceAccount, &account, &scopes),
            (Kind::Access, &id, &role),
            (Kind::Admin, &id, &scopes),
            (Kind::Project, &id, &preset),
        ];
        let tokens = tokens.map(|(kind, owner, grant)| {
            let project = (kind == Kind::Project).then(|| project.parse().unwrap());
            self.issued(&id, (kind, owner, project), grant.clone()).0
        });
        let last = self.ledger.reader().next_position() - 1;
        let event = self.ledger.event(last).unwrap().event.id.to_string();
        Tenant {
            event,
            id,
            path,
            owner,
            project,
            account,
            key,
            admin,
            tokens,
            endpoint,
        }
    }

    /// A credential of Acme as the operator makes it: its id and its token.
    fn issue(&self, kind: Kind, owner: &str, scopes: &[&str]) -> (String, String) {
        let grant = Grant {
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            ..Grant::default()
        };
        self.issued(&self.acme.id, (kind, owner, None), grant)
    }

    /// A credential of any organization and any grant.
    fn issued(
        &self,
        organization: &str,
        (kind, owner, project): (Kind, &str, Option<ProjectId>),
        grant: Grant,
    ) -> (String, String) {
        let owner = match kind {
            Kind::Personal => Owner::User(owner.parse().unwrap()),
            Kind::ServiceAccount => Owner::ServiceAccount(owner.parse().unwrap()),
            Kind::Organization | Kind::Access | Kind::Admin | Kind::Project => {
                Owner::Organization(owner.parse().unwrap())
            }
        };
        let answer = self.operator(Command::CreateKey(CreateKey {
            organization: organization.parse().unwrap(),
            kind,
            owner,
            project,
            name: format!("a credential {}", self.next_position()),
            description: None,
            grant,
            expiry: Expiry::Never,
            metadata: Metadata::new(),
        }));
        let token = answer.token.unwrap().reveal().to_owned();
        match answer.records.first() {
            Some(Record::Credential(key)) => (key.id().to_string(), token),
            other => panic!("{other:?}"),
        }
    }

    /// The token of a key of Acme with these scopes.
    fn holder(&self, scopes: &[&str]) -> String {
        self.issue(Kind::Organization, &self.acme.id, scopes).1
    }

    /// A key of Acme, made by its administrator: its id and its token.
    fn key(&self, body: &Value) -> (String, String) {
        let path = format!("{}/api-keys", self.acme.path);
        let made = self.post(&self.acme.admin, &path, body).expect(201);
        (text(&made["key"]["id"]), text(&made["raw_key"]))
    }

    /// A link for a member of Acme, as the operator has it: its token.
    fn link(&self, member: &str) -> String {
        let answer = self.operator(Command::IssueSignInLink(IssueSignInLink {
            organization: self.acme.id.parse().unwrap(),
            member: member.parse().unwrap(),
        }));
        answer.sign_in.unwrap().reveal().to_owned()
    }

    /// The cookie of a new session of a member of Acme.
    fn session(&self, member: &str) -> String {
        let body = json!({"sign_in_token": self.link(member)});
        let reply = self.send(ask("POST", "/v1/sessions").json(&body));
        reply.expect(201);
        reply.cookie()
    }

    fn next_position(&self) -> u64 {
        self.ledger.reader().next_position()
    }

    fn send(&self, ask: Ask) -> Reply {
        self.runtime.block_on(self.reply(ask))
    }

    async fn reply(&self, ask: Ask) -> Reply {
        answered(self.router.clone(), ask).await
    }

    fn get(&self, by: &str, path: &str) -> Reply {
        self.send(ask("GET", path).by(by))
    }

    fn post(&self, by: &str, path: &str, body: &Value) -> Reply {
        self.send(ask("POST", path).by(by).json(body))
    }

    fn patch(&self, by: &str, path: &str, body: &Value) -> Reply {
        self.send(ask("PATCH", path).by(by).json(body))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(webhooks) = &self.webhooks {
            self.runtime.block_on(webhooks.stop());
        }
        self.usage.write_and_stop();
        self.ledger.stop();
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .to_owned()
}

/// A record with some of its fields changed; fields that it does not have are refused.
fn with(record: &Value, changes: &Value) -> Value {
    let mut record = record.clone();
    for (field, value) in changes.as_object().unwrap() {
        let old = record.get_mut(field).unwrap_or_else(|| panic!("{field}"));
        *old = value.clone();
    }
    record
}

/// The ids of a list, in its order.
fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter().map(|record| text(&record["id"])).collect()
}
