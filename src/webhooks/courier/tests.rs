//! A ledger, its courier, and receivers on loopback; the clock is set by hand.

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
    Expiry, Request,
};
use crate::domain::ids::{EndpointId, OrganizationId, Owner};
use crate::domain::kind::Kind;
use crate::domain::record::{EnabledFrom, EndpointStatus, Grant, Metadata, SignatureScheme};
use crate::domain::time::DAY_MS;
use crate::ledger::boot::{self, Folder};
use crate::ledger::{Answer, Ledger, Record, Submission};
use crate::log::LogSettings;
use crate::webhooks::address::Guard;
use crate::webhooks::client::{self, TIMEOUT_MS};
use crate::webhooks::queue::Range;
use crate::webhooks::resolver::Lookup;
use crate::webhooks::schedule::RETRY_AFTER_MS;
use crate::webhooks::signature::{SigningKey, signature};
use crate::webhooks::store::Ask;
use crate::webhooks::{Settings, Trial, TrialRefused, Webhooks};

const START_MS: i64 = 1_777_044_600_000;
const HOUR_MS: i64 = 3_600_000;
/// A test is given up after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver was sent.
#[derive(Debug)]
struct Delivery {
    headers: HeaderMap,
    body: Bytes,
}

impl Delivery {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The event's type.
    fn name(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A consumer that answers as it is told.
struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl Receiver {
    async fn start() -> Self {
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

    fn url(&self) -> String {
        format!("http://{}/hooks/of-ours", self.address)
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(PATIENCE, self.deliveries.recv()).await;
        next.expect("a delivery comes").unwrap()
    }

    /// The names of the next deliveries.
    async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.next().await.name());
        }
        names
    }
}

/// A ledger with an organization, and webhooks over it.
struct World {
    ledger: Ledger,
    clock: Arc<ManualClock>,
    organization: OrganizationId,
    webhooks: Option<Webhooks>,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
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

    fn deliveries(&self) -> PathBuf {
        self.folder.path().join("data/webhooks")
    }

    fn start(&mut self) {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
        let settings = Settings {
            client: client::Settings {
                guard,
                proxy: None,
                lookup: Lookup::System,
                roots_pem: Vec::new(),
                timeout_ms: TIMEOUT_MS,
                clock: Clock::system(),
            },
            kept_for_ms: 30 * DAY_MS,
            entropy: Entropy::seeded(2),
        };
        let folder = self.deliveries();
        let started = Webhooks::start(self.ledger.clone(), &folder, settings, &Handle::current());
        self.webhooks = Some(started.unwrap());
    }

    async fn stop(&mut self) {
        self.webhooks.take().unwrap().stop().await;
    }

    fn webhooks(&self) -> &Webhooks {
        self.webhooks.as_ref().unwrap()
    }

    /// A new endpoint, and its secret.
    fn endpoint(&self, receiver: &Receiver, types: &[&str], ordered: bool) -> (EndpointId, String) {
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

    fn create_key(&self, name: &str) -> u64 {
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

    fn status(&self, endpoint: EndpointId) -> EndpointStatus {
        let directory = &self.ledger.views().directory;
        let found = directory.endpoint(self.organization, endpoint);
        found.unwrap().status
    }

    fn enable(&self, endpoint: EndpointId, from: EnabledFrom) {
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
    async fn until(&self, endpoint: EndpointId, done: impl Fn(&Self) -> bool) {
        let asked = async {
            while !done(self) {
                self.webhooks().overview(endpoint).await;
                tokio::task::yield_now().await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        asked.expect("it comes to that");
    }

    /// Attempts that have ended.
    fn ended(&self) -> u64 {
        let counts = self.webhooks().counts().attempts();
        counts.iter().map(|(_, count)| count).sum()
    }
}

impl World {
    /// Attempts that have failed.
    fn failed(&self) -> u64 {
        let counts = self.webhooks().counts().attempts();
        let failures = counts.iter().filter(|(name, _)| *name != "delivered");
        failures.map(|(_, count)| count).sum()
    }
}

fn run(ledger: &Ledger, command: Command) -> Answer {
    let request = Request {
        actor: Actor::Operator,
        command,
        if_match: None,
    };
    let submission = Submission::bare(request);
    tokio::task::block_in_place(|| ledger.submit_blocking(submission)).unwrap()
}

/// The courier works while commands wait for the disk.
fn block_on<F: Future<Output = ()>>(test: F) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn an_event_arrives_signed_with_the_record_as_it_was_after_it() {
    block_on(async {
        let world = World::new();
        let mut receiver = Receiver::start().await;
        let (_, secret) = world.endpoint(&receiver, &["api_key.*"], false);
        let position = world.create_key("CI pipeline");
        let delivery = receiver.next().await;
        let body = delivery.json();
        let keys: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["data", "id", "sequence", "timestamp", "type"]);
        assert_eq!(body["type"], "api_key.created");
        assert_eq!(body["sequence"], position);
        assert_eq!(body["data"]["name"], "CI pipeline");
        assert_eq!(body["data"]["version"], 1);
        let (id, at) = (
            delivery.header("webhook-id"),
            delivery.header("webhook-timestamp"),
        );
        assert_eq!(body["id"], id);
        assert_eq!(at, (START_MS / 1_000).to_string());
        let keys = [SigningKey::parse(&secret).unwrap()];
        let expected = signature(&keys, id, at.parse().unwrap(), &delivery.body);
        assert_eq!(delivery.header("webhook-signature"), expected);
    });
}

#[test]
fn days_of_failures_are_told_of_then_end_in_a_disabled_endpoint_that_loses_nothing() {
    block_on(async {
        let world = World::new();
        let (mut bad, mut good) = (Receiver::start().await, Receiver::start().await);
        bad.answers(500);
        let (endpoint, _) = world.endpoint(&bad, &["api_key.*"], true);
        // It did not ask for events of endpoints; those that warn come all the same.
        world.endpoint(&good, &["api_key.revoked"], false);
        world.create_key("first");
        for (attempt, delay) in (1..).zip(RETRY_AFTER_MS) {
            bad.next().await;
            world
                .until(endpoint, |world| world.failed() == attempt)
                .await;
            world.clock.advance_ms(delay + delay / 5 + 1);
            world.webhooks().overview(endpoint).await;
        }
        // The tenth and last attempt was 75 hours and more after the first.
        bad.next().await;
        let dead = |world: &World| world.webhooks().counts().attempts()[2] == ("dead", 1);
        world.until(endpoint, dead).await;
        assert_eq!(good.names(2).await, ["webhook_endpoint.failing"; 2]);

        // What follows fails as well, until the five days are over.
        world.create_key("later");
        for failed in 11..=13 {
            bad.next().await;
            world
                .until(endpoint, |world| world.failed() == failed)
                .await;
            world.clock.advance_ms(20 * HOUR_MS);
            world.webhooks().overview(endpoint).await;
        }
        let disabled = |world: &World| world.status(endpoint) != EndpointStatus::Active;
        world.until(endpoint, disabled).await;
        let told = [good.next().await, good.next().await];
        let names = told.each_ref().map(Delivery::name);
        assert_eq!(
            names,
            ["webhook_endpoint.failing", "webhook_endpoint.disabled"]
        );
        let record = told[1].json()["data"].clone();
        assert_eq!(record["id"], endpoint.to_string());
        assert_eq!(record["disabled_because"], "failing");
        assert_eq!(record["url"], format!("http://{}", bad.address));

        // Enabled where it stopped, it gets all that was outstanding and what has happened since.
        while bad.deliveries.try_recv().is_ok() {}
        let last = world.create_key("meanwhile");
        bad.answers(204);
        world.enable(endpoint, EnabledFrom::WhereItStopped);
        let mut sequences = Vec::new();
        loop {
            let sequence = bad.next().await.json()["sequence"].as_u64().unwrap();
            sequences.push(sequence);
            if sequence == last {
                break;
            }
        }
        assert!(
            sequences.len() >= 2 && sequences.is_sorted(),
            "{sequences:?}"
        );
    });
}

#[test]
fn what_was_not_delivered_before_a_stop_is_delivered_after_it() {
    block_on(async {
        let mut world = World::new();
        let mut receiver = Receiver::start().await;
        world.endpoint(&receiver, &["api_key.created"], true);
        let first = world.create_key("first");
        assert_eq!(receiver.next().await.json()["sequence"], first);
        world.stop().await;
        let second = world.create_key("second");
        world.start();
        let third = world.create_key("third");
        let sequence = |delivery: Delivery| delivery.json()["sequence"].clone();
        assert_eq!(sequence(receiver.next().await), second);
        assert_eq!(sequence(receiver.next().await), third);

        // Without what was kept of deliveries, all comes again, and nothing is lost.
        world.stop().await;
        std::fs::remove_dir_all(world.deliveries()).unwrap();
        world.start();
        for expected in [first, second, third] {
            assert_eq!(sequence(receiver.next().await), expected);
        }
    });
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_at_once() {
    block_on(async {
        let world = World::new();
        let mut receiver = Receiver::start().await;
        receiver.answers(410);
        let (endpoint, _) = world.endpoint(&receiver, &["api_key.*"], false);
        world.create_key("first");
        receiver.next().await;
        let disabled = |world: &World| world.status(endpoint) != EndpointStatus::Active;
        world.until(endpoint, disabled).await;
        let gone = EndpointStatus::Disabled(crate::domain::record::DisabledBecause::Gone);
        assert_eq!(world.status(endpoint), gone);
        // From now on: what it said no to is not brought again.
        receiver.answers(204);
        world.enable(endpoint, EnabledFrom::Now);
        let next = world.create_key("next");
        assert_eq!(receiver.next().await.json()["sequence"], next);
    });
}

#[test]
fn trials_are_marked_as_tests_and_replays_bring_what_was_there() {
    block_on(async {
        let world = World::new();
        let mut receiver = Receiver::start().await;
        let (endpoint, _) = world.endpoint(&receiver, &["api_key.created"], false);
        let webhooks = world.webhooks();
        for n in 0..10 {
            let trial = webhooks.attempt(endpoint, Trial::Ping).await.unwrap();
            let ping = receiver.next().await;
            assert_eq!(ping.header("webhook-test"), "true", "{n}");
            let body = ping.json();
            assert_eq!(
                (&body["type"], &body["test"]),
                (&"ping".into(), &true.into())
            );
            assert_eq!(body["sequence"], Value::Null);
            assert_eq!(body["data"]["id"], endpoint.to_string());
            assert!(trial.is_ok());
        }
        let refused = webhooks.attempt(endpoint, Trial::Ping).await.unwrap();
        assert_eq!(refused, Err(TrialRefused::TooOften { after_s: 61 }));

        let positions = [world.create_key("first"), world.create_key("second")];
        let sequence = |delivery: &Delivery| delivery.json()["sequence"].as_u64().unwrap();
        let mut first: Vec<_> = vec![receiver.next().await, receiver.next().await];
        first.sort_by_key(sequence);
        let range = Range {
            to: Some(positions[1] + 1),
            ..Range::since(positions[0])
        };
        // What is on its way is not brought twice.
        world.until(endpoint, |world| world.ended() == 12).await;
        assert_eq!(webhooks.replay(endpoint, range).await, Some(true));
        let mut again: Vec<_> = vec![receiver.next().await, receiver.next().await];
        again.sort_by_key(sequence);
        for (first, again) in first.iter().zip(&again) {
            assert_eq!(first.body, again.body);
            assert_eq!(first.header("webhook-id"), again.header("webhook-id"));
        }

        // Once more, by hand; both attempts stand with the one delivery.
        let body = first[0].json();
        let event = body["id"].as_str().unwrap().parse().unwrap();
        world.until(endpoint, |world| world.ended() == 14).await;
        let trial = Trial::Redelivery {
            event,
            position: positions[0],
        };
        let delivery = webhooks.attempt(endpoint, trial).await.unwrap().unwrap();
        assert_eq!(receiver.next().await.header("webhook-redelivery"), "true");
        world.until(endpoint, |world| world.ended() == 15).await;
        world.clock.advance_ms(1_000);
        let store = webhooks.store().clone();
        let made = move |_: &World| {
            let found = store.delivery(endpoint, delivery).unwrap();
            found.is_some_and(|(_, made)| made.len() == 3)
        };
        world.until(endpoint, made).await;
        let ask = Ask {
            limit: 100,
            ..Ask::default()
        };
        let attempts = webhooks.store().attempts(endpoint, &ask).unwrap().found;
        assert_eq!(attempts.len(), 15);
        // What answers from a network inside is not kept.
        assert!(
            attempts
                .iter()
                .all(|(_, attempt)| attempt.response.is_empty())
        );
    });
}
