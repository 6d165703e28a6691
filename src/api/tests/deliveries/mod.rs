//! What is delivered to webhook endpoints, over HTTP, with receivers on loopback. The courier works
//! while a test waits for something, and the clock stands still.

pub(in crate::api::tests) mod answers;
mod filters;
mod listed;
mod refused;
mod replays;
mod trials;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

use crate::api::tests::{START, START_MS, World, ask, text, with};
use crate::clock::Clock;
use crate::webhooks::Webhooks;
use crate::webhooks::address_guard::AddressGuard;
use crate::webhooks::http_sender::{self, ATTEMPT_TIMEOUT_MS};
use crate::webhooks::resolver::{FixedDnsAnswers, NameLookup};

/// A test is given up after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deliveries to receivers of this machine, where no name is known.
pub(in crate::api::tests) fn inside() -> http_sender::SenderSettings {
    let names = FixedDnsAnswers::new([]);
    http_sender::SenderSettings {
        guard: AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()),
        proxy: None,
        lookup: NameLookup::Fixed(Arc::new(names)),
        roots_pem: Vec::new(),
        timeout_ms: ATTEMPT_TIMEOUT_MS,
        clock: Clock::manual(START_MS).0,
    }
}

impl World {
    /// One that delivers webhooks. Whoever calls lets it work: it does while somebody waits.
    pub(in crate::api::tests) fn delivering(client: http_sender::SenderSettings) -> Self {
        Self::made(client.guard.clone(), Some(client))
    }

    pub(in crate::api::tests) fn webhooks(&self) -> &Webhooks {
        self.webhooks.as_ref().unwrap()
    }

    /// All that has happened was tried, and what became of it is kept.
    pub(in crate::api::tests) fn settled(&self) {
        self.runtime.block_on(self.webhooks().wait_until_idle());
    }
}

/// What a receiver was sent.
struct Sent {
    headers: HeaderMap,
    body: Bytes,
}

impl Sent {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Its signature by a secret, as the specification has it.
    fn signed_by(&self, secret: &str) -> String {
        let secret = STANDARD.decode(secret.strip_prefix("whsec_").unwrap());
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret.unwrap()).unwrap();
        let (id, at) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        mac.update(format!("{}.{}.", id.unwrap(), at.unwrap()).as_bytes());
        mac.update(&self.body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

type Inbox = (mpsc::UnboundedSender<Sent>, Arc<Mutex<u16>>);

/// A consumer that answers with the status that it is told.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    status: Arc<Mutex<u16>>,
    sent: mpsc::UnboundedReceiver<Sent>,
}

impl Receiver {
    pub(super) fn start(world: &World) -> Self {
        let (inbox, sent) = mpsc::unbounded_channel();
        let status = Arc::new(Mutex::new(204));
        let receive = |State((inbox, status)): State<Inbox>, headers, body| async move {
            inbox.send(Sent { headers, body }).unwrap();
            let status = *status.lock().unwrap();
            StatusCode::from_u16(status).unwrap()
        };
        let router = Router::new().fallback(receive);
        let router = router.with_state((inbox, Arc::clone(&status)));
        let address = world.runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, router).await });
            address
        });
        Self {
            address,
            status,
            sent,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    fn answers(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    /// The next delivery.
    fn next(&mut self, world: &World) -> Sent {
        let next = async { tokio::time::timeout(PATIENCE, self.sent.recv()).await };
        let next = world.runtime.block_on(next);
        next.expect("a delivery comes").unwrap()
    }

    /// All that came up to now.
    fn all(&mut self, world: &World) -> Vec<Sent> {
        world.settled();
        std::iter::from_fn(|| self.sent.try_recv().ok()).collect()
    }

    /// The positions of all that came up to now.
    fn sequences(&mut self, world: &World) -> Vec<u64> {
        let sent = self.all(world).into_iter();
        let mut sequences: Vec<_> = sent.map(|sent| sent.json()["sequence"].as_u64()).collect();
        sequences.sort_unstable();
        sequences.into_iter().flatten().collect()
    }
}

/// A new endpoint of Acme for `api_key.*`: its path, and its secret.
pub(super) fn endpoint(world: &World, url: &str) -> (String, String) {
    endpoint_for(world, &json!({"url": url, "event_types": ["api_key.*"]}))
}

fn endpoint_for(world: &World, body: &Value) -> (String, String) {
    let path = format!("{}/webhook-endpoints", world.acme.path);
    let made = world.post(&world.acme.admin, &path, body).expect(201);
    let one = format!("{path}/{}", text(&made["endpoint"]["id"]));
    (one, text(&made["secret"]))
}

/// A new key of Acme: its id, and the position of its event.
pub(super) fn key(world: &World, name: &str) -> (String, u64) {
    let (id, _) = world.key(&json!({"name": name, "scopes": ["cases:read"]}));
    (id, world.next_position() - 1)
}

/// What an administrator of Acme is shown.
fn shown(world: &World, path: &str) -> Value {
    world.get(&world.acme.admin, path).expect(200)
}

/// The attempts of an endpoint, once all that can be tried now has been.
fn attempts(world: &World, endpoint: &str) -> Value {
    world.settled();
    shown(world, &format!("{endpoint}/deliveries"))
}

/// The id that a trial answers with, as an administrator of Acme begins it.
#[track_caller]
pub(super) fn begun(world: &World, path: &str, body: &Value) -> String {
    let reply = world.post(&world.acme.admin, path, body);
    let answer = reply.expect(202);
    assert_eq!(answer, json!({"id": answer["id"]}));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    text(&answer["id"])
}

#[test]
fn an_event_arrives_signed_and_its_attempt_is_shown() {
    let world = World::delivering(inside());
    let mut receiver = Receiver::start(&world);
    let (endpoint, secret) = endpoint(&world, &receiver.url());
    let (id, position) = key(&world, "CI");
    let sent = receiver.next(&world);
    let event = sent.header("webhook-id").unwrap().to_owned();
    let record = shown(&world, &format!("{}/api-keys/{id}", world.acme.path));
    let body = json!({
        "id": event,
        "type": "api_key.created",
        "timestamp": START,
        "sequence": position,
        // What is known of its use is no fact of the log.
        "data": with(&record, &json!({"usage_status": "not_tracked"})),
    });
    assert_eq!(sent.json(), body);
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("webhook-test"), None);
    let at_s = (START_MS / 1_000).to_string();
    assert_eq!(sent.header("webhook-timestamp"), Some(at_s.as_str()));
    let signature = sent.signed_by(&secret);
    assert_eq!(sent.header("webhook-signature"), Some(signature.as_str()));

    let listed = attempts(&world, &endpoint);
    let delivery = text(&listed[0]["id"]);
    assert!(delivery.starts_with("dlv_"), "{delivery}");
    let attempt = json!({
        "id": delivery,
        "event_id": event,
        "type": "api_key.created",
        "sequence": position,
        "cause": "event",
        "test": false,
        "attempt": 1,
        "at": START,
        "duration_ms": 0,
        "outcome": "delivered",
        "status_code": 204,
        "error": null,
        "response": "",
        "next_attempt_at": null,
    });
    assert_eq!(listed, json!([attempt]));
    let one = json!({
        "id": delivery,
        "event_id": event,
        "type": "api_key.created",
        "sequence": position,
        "status": "delivered",
        "next_attempt_at": null,
        "attempts": [attempt],
    });
    assert_eq!(
        shown(&world, &format!("{endpoint}/deliveries/{delivery}")),
        one
    );
    let status = json!({
        "pending": 0,
        "oldest_pending_at": null,
        "behind_events": 0,
        "failing_since": null,
        "last_delivered_at": START,
    });
    assert_eq!(shown(&world, &format!("{endpoint}/status")), status);
}
