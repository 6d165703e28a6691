//! One tenant takes all that it may have of the past; another is answered as if it were alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::api::tests::{Ask, Reply, Tenant, World, answered, ask};
use crate::ledger::turns::{self, BEGUN_EACH_MAX, WAITING_EACH_MAX};
use crate::web::past_reads::TILES_MAX;

/// Nothing here waits for time: it comes to its end, or hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Streams of one sort that a tenant may have open.
const STREAMS_MAX: usize = 64;
/// Snapshots of revocations.
const SNAPSHOTS_MAX: usize = 4;

/// What Acme holds of everything.
#[derive(Default)]
struct Held {
    stop: Arc<AtomicBool>,
    /// Reads that never end by themselves, and how many of them have ended.
    endless: Vec<JoinHandle<()>>,
    ended: Arc<AtomicUsize>,
    /// Requests that wait for these.
    waiting: Vec<JoinHandle<Reply>>,
    /// Answers that no client reads.
    unread: Vec<Response>,
}

fn tenant(of: &Tenant) -> turns::Tenant {
    Some(of.id.parse().unwrap())
}

fn reads(of: &Tenant, as_of: u64) -> Vec<String> {
    let path = &of.path;
    let key = format!("{path}/api-keys/{}", of.key);
    [
        format!("{path}/api-keys"),
        format!("{path}/api-keys?as_of={as_of}"),
        format!("{path}/members?as_of={as_of}"),
        key.clone(),
        format!("{key}?as_of={as_of}"),
        format!("{key}?as_of=2026-04-24T15:30:00Z"),
        format!("{key}/events"),
        format!("{key}/events?with_proofs=true"),
        format!("{key}/usage"),
        format!("{key}/usage/summary"),
        format!("/v1/events/{}/proof", of.event),
        "/v1/events?limit=5".to_owned(),
        "/v1/events?wait=0".to_owned(),
        "/v1/revocations".to_owned(),
        "/v1/revocations/snapshot".to_owned(),
        "/v1/ledger/events".to_owned(),
        format!("/v1/ledger/state?as_of={as_of}"),
        format!("/v1/ledger/diff?from={as_of}"),
        "/v1/ledger/who-could".to_owned(),
        "/v1/ledger/consistency?from=1".to_owned(),
    ]
    .into()
}

impl Held {
    /// Lets a tenant take all that it may have.
    async fn all_by(world: &World, of: &Tenant, as_of: u64) -> Self {
        let mut held = Self::default();
        held.read_without_end(world, tenant(of)).await;
        for stream in ["/v1/events/stream", "/v1/revocations/stream"] {
            for _ in 0..STREAMS_MAX {
                held.open(world, ask("GET", stream).by(&of.admin)).await;
            }
        }
        for _ in 0..SNAPSHOTS_MAX {
            let snapshot = ask("GET", "/v1/revocations/snapshot").by(&of.admin);
            held.open(world, snapshot).await;
        }
        let then = format!("{}/api-keys/{}?as_of={as_of}", of.path, of.key);
        for path in ["/v1/events?limit=5", &then].repeat(WAITING_EACH_MAX / 2) {
            let request = ask("GET", path).by(&of.admin);
            let reply = tokio::spawn(answered(world.router.clone(), request));
            held.waiting.push(reply);
        }
        let all_wait = || world.ledger.turns().waiting_of(tenant(of)) == WAITING_EACH_MAX;
        until(all_wait).await;
        held
    }

    /// Begins as many reads as one tenant may have begun.
    async fn read_without_end(&mut self, world: &World, whose: turns::Tenant) {
        for _ in 0..BEGUN_EACH_MAX {
            let turns = world.ledger.turns().clone();
            let (stop, ended) = (Arc::clone(&self.stop), Arc::clone(&self.ended));
            self.endless.push(tokio::spawn(async move {
                let read = move |turn: &mut turns::Turn| {
                    while !stop.load(Ordering::Relaxed) && turn.go_on().is_ok() {}
                };
                turns.run_bounded(whose, read).await.unwrap();
                ended.fetch_add(1, Ordering::Relaxed);
            }));
        }
        let begun = || world.ledger.turns().begun_of(whose) == BEGUN_EACH_MAX;
        until(begun).await;
    }

    async fn open(&mut self, world: &World, ask: Ask) {
        let response = world.router.clone().oneshot(ask.0).await.unwrap();
        assert_eq!(response.status(), 200);
        self.unread.push(response);
    }

    /// Lets go of everything; how many of the waiting requests were answered.
    async fn give_back(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.unread);
        for read in self.endless {
            read.await.unwrap();
        }
        let mut answered = 0;
        for reply in self.waiting {
            answered += usize::from(reply.await.unwrap().status == 200);
        }
        answered
    }
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

fn in_time<T>(world: &World, work: impl Future<Output = T>) -> T {
    let outcome = async { tokio::time::timeout(PATIENCE, work).await };
    world.runtime.block_on(outcome).expect("it comes to an end")
}

#[test]
fn one_tenants_worst_refuses_none_of_anothers_reads() {
    let world = World::new();
    let as_of = world.next_position() - 1;
    for (tenant, n) in [(&world.acme, 0), (&world.globex, 1)] {
        let key = format!("{}/api-keys/{}", tenant.path, tenant.key);
        for edit in 0..20 {
            let name = json!({"name": format!("{n} {edit}")});
            world.patch(&tenant.admin, &key, &name).expect(200);
        }
    }
    let (acme, globex) = (&world.acme, &world.globex);
    in_time(&world, async {
        let held = Held::all_by(&world, acme, as_of).await;
        let get = |by: &str, path: &str| world.reply(ask("GET", path).by(by));
        for (path, code) in [
            ("/v1/events?limit=5", "past_busy"),
            ("/v1/events?wait=1", "streams_exhausted"),
            ("/v1/revocations/stream", "streams_exhausted"),
            ("/v1/revocations/snapshot", "past_busy"),
        ] {
            let refused = get(&acme.admin, path).await.refused(503);
            assert_eq!(refused, code, "{path}");
        }
        for path in reads(globex, as_of) {
            let reply = get(&globex.admin, &path).await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
        }
        // A repeated command reads what it answered before.
        let keys = format!("{}/api-keys", globex.path);
        let body = json!({"name": "CI", "scopes": ["cases:read"]});
        for replayed in [None, Some("true")] {
            let made = ask("POST", &keys).by(&globex.admin).json(&body);
            let reply = world.reply(made.with("idempotency-key", "once")).await;
            assert_eq!(reply.header("idempotency-replayed"), replayed, "{reply:?}");
            reply.expect(201);
        }
        // Verification has nothing to do with any of this, Acme's own included.
        for tenant in [acme, globex] {
            let asked = json!({"key": tenant.admin, "any_project": true});
            let verify = ask("POST", "/v1/verify").by(&tenant.admin).json(&asked);
            let verdict = world.reply(verify).await.expect(200);
            assert_eq!(verdict["code"], "valid");
        }
        assert_eq!(held.ended.load(Ordering::Relaxed), 0, "Acme still reads");
        // What had a place is answered in the end.
        assert_eq!(held.give_back().await, WAITING_EACH_MAX);
        get(&acme.admin, "/v1/events?limit=5").await.expect(200);
    });
}

#[test]
fn reads_of_tiles_from_one_address_leave_places_for_others() {
    let world = World::new();
    let tile = |address: &str| {
        let mut request = ask("GET", "/ledger/tile/0/000.p/1");
        let peer: SocketAddr = format!("{address}:40000").parse().unwrap();
        request.0.extensions_mut().insert(ConnectInfo(peer));
        request
    };
    in_time(&world, async {
        let published = world.ledger.tiles().wait_until_published(0, PATIENCE).await;
        assert!(published);
        let mut held = Held::default();
        held.read_without_end(&world, None).await;
        let mut read = |address| {
            let reply = tokio::spawn(answered(world.router.clone(), tile(address)));
            held.waiting.push(reply);
        };
        (0..TILES_MAX).for_each(|_| read("192.0.2.1"));
        read("192.0.2.2");
        let all_wait = || world.ledger.turns().in_line(None) == TILES_MAX + 1;
        until(all_wait).await;
        let refused = world.reply(tile("192.0.2.1")).await;
        assert_eq!(refused.refused(503), "past_busy");
        assert_eq!(held.give_back().await, TILES_MAX + 1);
        assert_eq!(world.reply(tile("192.0.2.1")).await.status, 200);
    });
}

#[test]
fn requests_that_are_given_up_leave_no_place_taken() {
    let world = World::new();
    let acme = &world.acme;
    in_time(&world, async {
        let held = Held::all_by(&world, acme, 0).await;
        for waiting in &held.waiting {
            waiting.abort();
        }
        let none = || world.ledger.turns().waiting_of(tenant(acme)) == 0;
        until(none).await;
        held.stop.store(true, Ordering::Relaxed);
        let again = ask("GET", "/v1/events?limit=5").by(&acme.admin);
        world.reply(again).await.expect(200);
    });
}

#[test]
fn a_report_of_calls_waits_for_its_organizations_turn() {
    let world = World::new();
    let token = world.holder(&["usage:write"]);
    let acme = tenant(&world.acme);
    let good = json!({"key_id": world.acme.key, "endpoint": "/", "method": "GET",
        "status_code": 200, "duration_ms": 1});
    let wrong = json!({"key_id": "nonsense"});
    let report = async |last: &Value, status: u16| {
        let mut held = Held::default();
        held.read_without_end(&world, acme).await;
        let lines = format!("{good}\n{last}\n");
        let request = ask("POST", "/v1/usage").by(&token).body(lines);
        let request = request.with("content-type", "application/x-ndjson");
        let reply = tokio::spawn(answered(world.router.clone(), request));
        until(|| world.ledger.turns().waiting_of(acme) == 1).await;
        assert!(!reply.is_finished());
        held.give_back().await;
        assert_eq!(reply.await.unwrap().status, status);
    };
    let both = async {
        report(&good, 201).await;
        report(&wrong, 422).await;
    };
    in_time(&world, both);
}
