//! Webhooks of the real server: what arrives where, when receivers are down, endpoints are disabled
//! or deleted, and the server is killed with deliveries on their way.
//!
//! That something does not arrive is seen by a witness: an ordered endpoint that the same events go
//! to. Once it has got a later event, an attempt of an earlier one has begun wherever it would.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Api, Delivery, Dice, Receiver, Server, init, seed, send, text};

const SERVE: [&str; 4] = ["--segment-mib", "1", "--webhook-allow-net", "127.0.0.0/8"];
/// How often the server is killed.
const KILLS: u64 = 6;
/// Events between two kills, at most.
const EVENTS_MAX: u64 = 8;

/// A server with an organization.
struct World {
    server: Server,
    root: TempDir,
    operator: String,
    organization: String,
}

/// An endpoint as its owner knows it.
struct Endpoint {
    id: String,
    path: String,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let made = init(&data, &SERVE[..2]);
        Self {
            server: Server::start(&data, &SERVE),
            root,
            operator: text(&made, "raw_key").to_owned(),
            organization: text(&made, "organization_id").to_owned(),
        }
    }

    /// Kills the server and starts it again, with something done in between.
    fn killed(self, between: impl FnOnce()) -> Self {
        drop(self.server.kill());
        between();
        Self {
            server: Server::start(&self.root.path().join("data"), &SERVE),
            ..self
        }
    }

    fn api(&self) -> Api {
        self.server.api(&self.operator)
    }

    /// Posts what must be answered with `status`.
    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        let reply = self.api().post(path, &body).await;
        reply.unwrap().expect(status)
    }

    /// A new endpoint for what happens to keys; `more` changes that.
    async fn endpoint(&self, url: String, more: Value) -> Endpoint {
        let mut body = json!({"url": url, "event_types": ["api_key.*"], "ordered": true});
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let path = endpoints(&self.organization);
        let made = self.post(&path, body, 201).await;
        let id = text(&made["endpoint"], "id").to_owned();
        Endpoint {
            path: format!("{path}/{id}"),
            id,
        }
    }

    /// Makes a key: one event, whose position it gives.
    async fn event(&self) -> u64 {
        self.event_of(&self.organization).await
    }

    async fn event_of(&self, organization: &str) -> u64 {
        let path = format!("/platform/organizations/{organization}/api-keys");
        let body = json!({"name": "k", "scopes": ["cases:read"]});
        let reply = self.api().post(&path, &body).await.unwrap();
        reply.expect(201);
        reply.headers["ledger-position"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    async fn events(&self, count: usize) -> Vec<u64> {
        let mut positions = Vec::new();
        for _ in 0..count {
            positions.push(self.event().await);
        }
        positions
    }
}

fn endpoints(organization: &str) -> String {
    format!("/platform/organizations/{organization}/webhook-endpoints")
}

/// Takes deliveries of events and answers that they have arrived.
async fn taken(receiver: &mut Receiver, count: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let delivery = receiver.next().await;
        taken.push(delivery.sequence());
        delivery.answer(200);
    }
    taken
}

/// What has come to one path.
#[derive(Default)]
struct Arrived {
    /// Each event when it came first.
    firsts: Vec<u64>,
    /// What was answered that it has arrived.
    taken: BTreeSet<u64>,
}

/// What has come to each path of a receiver.
#[derive(Default)]
struct Arrivals(BTreeMap<String, Arrived>);

impl Arrivals {
    /// Notes one that is not answered.
    fn note(&mut self, delivery: &Delivery) -> &mut Arrived {
        let of = self.0.entry(delivery.path.clone()).or_default();
        let sequence = delivery.sequence();
        if !of.firsts.contains(&sequence) {
            of.firsts.push(sequence);
        }
        of
    }

    /// Notes one, and answers that it has arrived.
    fn take(&mut self, delivery: Delivery) {
        self.note(&delivery).taken.insert(delivery.sequence());
        delivery.answer(200);
    }

    /// Whether all of them were taken at each of the paths.
    fn are(&self, paths: &[&str], events: &[u64]) -> bool {
        paths.iter().all(|path| {
            let of = self.0.get(*path);
            of.is_some_and(|of| of.taken.iter().eq(events))
        })
    }
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_everything_in_order() {
    let world = World::new();
    let mut witness = Receiver::start().await;
    // An address of its own, so that nobody else takes the port meanwhile.
    let down = Receiver::start_at("127.83.79.1:0").await;
    let address = down.address();
    world.endpoint(down.url("/ordered"), json!({})).await;
    let any = json!({"ordered": false});
    world.endpoint(down.url("/any"), any).await;
    drop(down);
    world.endpoint(witness.url("/"), json!({})).await;
    let events = world.events(5).await;
    assert_eq!(taken(&mut witness, 5).await, events);

    let mut up = Receiver::start_at(&address).await;
    let mut arrivals = Arrivals::default();
    while !arrivals.are(&["/any", "/ordered"], &events) {
        arrivals.take(up.next().await);
    }
    assert_eq!(arrivals.0["/ordered"].firsts, events);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_though_the_server_is_killed_with_deliveries_on_their_way() {
    let mut dice = Dice::new(seed());
    let mut world = World::new();
    let mut receiver = Receiver::start().await;
    world.endpoint(receiver.url("/ordered"), json!({})).await;
    let any = json!({"ordered": false});
    world.endpoint(receiver.url("/any"), any).await;
    let mut events = Vec::new();
    let mut arrivals = Arrivals::default();
    for life in 0..KILLS {
        let count = usize::try_from(1 + dice.below(EVENTS_MAX)).unwrap();
        events.extend(world.events(count).await);
        // Each of them comes to both paths, as long as those before are answered.
        let answers = dice.below(2 * count as u64);
        for _ in 0..answers {
            arrivals.take(receiver.next().await);
        }
        let held = receiver.next().await;
        arrivals.note(&held);
        world = world.killed(|| {
            for unanswered in receiver.rest() {
                arrivals.note(&unanswered);
            }
        });
        println!("life {life}: {count} events, {answers} answers");
    }
    // Each path fails once, too.
    let mut failed = BTreeSet::new();
    while !arrivals.are(&["/any", "/ordered"], &events) {
        let delivery = receiver.next().await;
        if failed.insert(delivery.path.clone()) {
            arrivals.note(&delivery);
            delivery.answer(500);
        } else {
            arrivals.take(delivery);
        }
    }
    assert_eq!(arrivals.0["/ordered"].firsts, events, "never back");
    // What came once more and was not answered would be waited for.
    drop(receiver);
    let ended = world.server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[tokio::test]
async fn an_endpoint_goes_on_where_it_stopped_or_with_what_is_new() {
    let world = World::new();
    let (mut receiver, mut witness) = (Receiver::start().await, Receiver::start().await);
    let endpoint = world.endpoint(receiver.url("/"), json!({})).await;
    world.endpoint(witness.url("/"), json!({})).await;
    let disable = format!("{}/disable", endpoint.path);
    let enable = format!("{}/enable", endpoint.path);

    // One is outstanding, two more happen meanwhile.
    let mut events = world.events(1).await;
    receiver.next().await.answer(500);
    world.post(&disable, json!({}), 200).await;
    events.extend(world.events(2).await);
    assert_eq!(taken(&mut witness, 3).await, events);
    world.post(&enable, json!({}), 200).await;
    events.extend(world.events(1).await);
    assert_eq!(taken(&mut receiver, 4).await, events);
    assert_eq!(taken(&mut witness, 1).await, events[3..]);

    world.post(&disable, json!({}), 200).await;
    let missed = world.events(2).await;
    assert_eq!(taken(&mut witness, 2).await, missed);
    world.post(&enable, json!({"from": "now"}), 200).await;
    let events = world.events(2).await;
    assert_eq!(taken(&mut receiver, 2).await, events);
    assert_eq!(taken(&mut witness, 2).await, events);
    assert!(receiver.rest().is_empty() && witness.rest().is_empty());
}

#[tokio::test]
async fn a_deleted_endpoint_gets_nothing_more_and_another_tenant_gets_its_own() {
    let world = World::new();
    let mut witness = Receiver::start().await;
    let (mut receiver, mut strange) = (Receiver::start().await, Receiver::start().await);
    let endpoint = world.endpoint(receiver.url("/"), json!({})).await;
    world.endpoint(witness.url("/"), json!({})).await;
    let body = json!({"name": "Globex", "owner_email": "bob@globex.example"});
    let globex = world.post("/platform/organizations", body, 201).await;
    let globex = text(&globex["organization"], "id").to_owned();
    let all = json!({"url": strange.url("/"), "event_types": ["*"], "ordered": true});
    world.post(&endpoints(&globex), all, 201).await;

    let events = world.events(2).await;
    assert_eq!(taken(&mut receiver, 2).await, events);
    assert_eq!(taken(&mut witness, 2).await, events);
    let delete = world.api().request(Method::DELETE, &endpoint.path);
    send(delete).await.unwrap().expect(200);
    let events = world.events(3).await;
    assert_eq!(taken(&mut witness, 3).await, events);
    let own = world.event_of(&globex).await;
    let delivery = strange.next().await;
    assert_eq!(delivery.sequence(), own);
    assert_eq!(delivery.body["data"]["organization_id"], json!(globex));
    delivery.answer(200);
    for receiver in [&mut receiver, &mut witness, &mut strange] {
        assert!(receiver.rest().is_empty());
    }
}

#[tokio::test]
async fn a_receiver_that_says_that_it_is_gone_is_left_alone_and_the_others_are_told() {
    let world = World::new();
    let (mut receiver, mut witness) = (Receiver::start().await, Receiver::start().await);
    let endpoint = world.endpoint(receiver.url("/"), json!({})).await;
    world.endpoint(witness.url("/"), json!({})).await;
    let first = world.event().await;
    let delivery = receiver.next().await;
    assert_eq!(delivery.sequence(), first);
    delivery.answer(410);
    assert_eq!(taken(&mut witness, 1).await, [first]);

    let notice = witness.next().await;
    assert_eq!(notice.body["type"], "webhook_endpoint.disabled");
    let told = &notice.body["data"];
    assert_eq!(told["id"], json!(endpoint.id));
    assert_eq!(told["disabled_because"], "gone");
    notice.answer(200);
    let shown = world.api().get(&endpoint.path).await.unwrap().expect(200);
    assert_eq!(
        (&shown["status"], &shown["is_active"]),
        (&json!("disabled"), &json!(false))
    );
    assert_eq!(shown["disabled_because"], "gone");
    let history = format!("{}/events", endpoint.path);
    let events = world.api().get(&history).await.unwrap().expect(200);
    assert_eq!(events[0]["type"], "webhook_endpoint.disabled");
    assert_eq!(events[0]["data"]["because"], "gone");
    assert_eq!(events[0]["data"]["status_code"], 410);

    let events = world.events(2).await;
    assert_eq!(taken(&mut witness, 2).await, events);
    assert!(receiver.rest().is_empty());
}
