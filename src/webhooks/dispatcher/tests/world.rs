//! A ledger whose clock is set by hand, its courier, and receivers on loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::clock::{Clock, Entropy, ManualClock};
use crate::domain::command::{
    Actor, Command, CreateEndpoint, CreateKey, CreateOrganization, EnableEndpoint, EndpointTarget,
    Expiry, Request, UpdateEndpoint,
};
use crate::domain::ids::{EndpointId, OrganizationId, Owner};
use crate::domain::kind::Kind;
use crate::domain::record::{EnabledFrom, EndpointStatus, Grant, Metadata, SignatureScheme};
use crate::domain::time::DAY_MS;
use crate::ledger::boot::{self, Folder};
use crate::ledger::{Answer, Ledger, Record, Submission};
use crate::log::LogSettings;
use crate::webhooks::address_guard::AddressGuard;
use crate::webhooks::http_sender::{self, ATTEMPT_TIMEOUT_MS};
use crate::webhooks::resolver::NameLookup;
use crate::webhooks::{WebhookSettings, Webhooks};

pub(super) const START_MS: i64 = 1_777_044_600_000;
pub(super) const HOUR_MS: i64 = 3_600_000;
/// A test is given up after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver was sent.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Delivery {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The event's type.
    pub(super) fn name(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A consumer that answers as it is told.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    pub(super) status: Arc<AtomicU16>,
    pub(super) deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let (sent, deliveries) = mpsc::unbounded_channel();
        let status = Arc::new(AtomicU16::new(204));
        let answer = Arc::clone(&status);
        let receive = move |State(sent): State<mpsc::UnboundedSender<Delivery>>,
                            headers: HeaderMap,
                            body: Bytes| async move {
            sent.send(Delivery { headers, body }).unwrap();
            StatusCode::from_u16(answer.load(Ordering::SeqCst)).unwrap()
        };
        let app = Router::new().fallback(receive).with_state(sent);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            address,
            status,
            deliveries,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks/of-ours", self.address)
    }

    pub(super) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(super) async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(PATIENCE, self.deliveries.recv()).await;
        next.expect("a delivery comes").unwrap()
    }

    /// The names of the next deliveries.
    pub(super) async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.next().await.name());
        }
        names
    }
}

/// A ledger with an organization, and webhooks over it.
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) clock: Arc<ManualClock>,
    pub(super) organization: OrganizationId,
    pub(super) webhooks: Option<Webhooks>,
    pub(super) folder: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(START_MS);
        let settings = boot::Settings {
            log: LogSettings {
                segment_bytes: 1 << 20,
                headroom_bytes: 0,
                ..LogSettings::default()
            },
            clock,
            entropy: Entropy::seeded(1),
            ..boot::Settings::usual(Folder::new(folder.path().join("data")))
        };
        let made = tokio::task::block_in_place(|| boot::create(settings, None));
        let ledger = made.unwrap();
        let made = run(
            &ledger,
            Command::CreateOrganization(CreateOrganization {
                name: "Acme".to_owned(),
                owner_email: "ann@acme.example".to_owned(),
                key_scopes: vec!["admin:*".to_owned()],
            }),
        );
        let Some(Record::Organization(organization)) = made.records.first() else {
            panic!("{made:?}");
        };
        let mut world = Self {
            organization: organization.id,
            ledger,
            clock: hands,
            webhooks: None,
            folder,
        };
        world.start();
        world
    }

    pub(super) fn deliveries(&self) -> PathBuf {
        self.folder.path().join("data/webhooks")
    }

    pub(super) fn start(&mut self) {
        let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
        let settings = WebhookSettings {
            sender: http_sender::SenderSettings {
                guard,
                proxy: None,
                lookup: NameLookup::System,
                roots_pem: Vec::new(),
                timeout_ms: ATTEMPT_TIMEOUT_MS,
                clock: Clock::system(),
            },
            attempt_retention_ms: 30 * DAY_MS,
            entropy: Entropy::seeded(2),
        };
        let folder = self.deliveries();
        let started = Webhooks::start(self.ledger.clone(), &folder, settings, &Handle::current());
        self.webhooks = Some(started.unwrap());
    }

    pub(super) async fn stop(&mut self) {
        self.webhooks.take().unwrap().stop().await;
    }

    pub(super) fn webhooks(&self) -> &Webhooks {
        self.webhooks.as_ref().unwrap()
    }

    /// A new endpoint, and its secret.
    pub(super) fn endpoint(
        &self,
        receiver: &Receiver,
        types: &[&str],
        ordered: bool,
    ) -> (EndpointId, String) {
        let answer = run(
            &self.ledger,
            Command::CreateEndpoint(CreateEndpoint {
                organization: self.organization,
                url: receiver.url(),
                description: None,
                event_types: types.iter().map(|name| (*name).to_owned()).collect(),
                project: None,
                ordered,
                signature: SignatureScheme::V1,
                secret: None,
            }),
        );
        let secret = answer.endpoint_secret.as_ref().unwrap().reveal().to_owned();
        let Some(Record::WebhookEndpoint(endpoint)) = answer.records.first() else {
            panic!("{answer:?}");
        };
        (endpoint.id, secret)
    }

    /// Another address, or other types.
    pub(super) fn update(&self, endpoint: EndpointId, url: Option<String>, types: Option<&[&str]>) {
        let target = EndpointTarget {
            organization: self.organization,
            endpoint,
        };
        let types = types.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        run(
            &self.ledger,
            Command::UpdateEndpoint(UpdateEndpoint {
                target,
                url,
                description: None,
                event_types: types,
                ordered: None,
            }),
        );
    }

    pub(super) fn create_key(&self, name: &str) -> u64 {
        let command = Command::CreateKey(CreateKey {
            organization: self.organization,
            kind: Kind::Organization,
            owner: Owner::Organization(self.organization),
            project: None,
            name: name.to_owned(),
            description: None,
            grant: Grant {
                scopes: vec!["cases:read".to_owned()],
                ..Grant::default()
            },
            expiry: Expiry::Never,
            metadata: Metadata::new(),
        });
        run(&self.ledger, command).position
    }

    pub(super) fn status(&self, endpoint: EndpointId) -> EndpointStatus {
        let directory = &self.ledger.views().directory;
        let found = directory.webhook_endpoint(self.organization, endpoint);
        found.unwrap().status
    }

    pub(super) fn enable(&self, endpoint: EndpointId, from: EnabledFrom) {
        let target = EndpointTarget {
            organization: self.organization,
            endpoint,
        };
        run(
            &self.ledger,
            Command::EnableEndpoint(EnableEndpoint { target, from }),
        );
    }

    /// Lets the courier work until `done`; each question has it look at the clock again.
    pub(super) async fn until(&self, endpoint: EndpointId, done: impl Fn(&Self) -> bool) {
        let asked = async {
            while !done(self) {
                self.webhooks().backlog(endpoint).await;
                tokio::task::yield_now().await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        asked.expect("it comes to that");
    }

    /// Attempts that have ended.
    pub(super) fn ended(&self) -> u64 {
        let counts = self.webhooks().metrics().attempts_by_outcome();
        counts.iter().map(|(_, count)| count).sum()
    }
}

impl World {
    /// Attempts that have failed.
    pub(super) fn failed(&self) -> u64 {
        let counts = self.webhooks().metrics().attempts_by_outcome();
        let failures = counts.iter().filter(|(name, _)| *name != "delivered");
        failures.map(|(_, count)| count).sum()
    }
}

pub(super) fn run(ledger: &Ledger, command: Command) -> Answer {
    let request = Request {
        actor: Actor::Operator,
        command,
        if_match: None,
    };
    let submission = Submission::bare(request);
    tokio::task::block_in_place(|| ledger.submit_blocking(submission)).unwrap()
}
