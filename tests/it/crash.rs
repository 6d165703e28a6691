//! A server that is killed again and again, and what its clients were told.
//!
//! Several clients create, rotate and revoke keys of several organizations at once, until the
//! server is killed without a warning. After each restart every write that was answered must be
//! there, in force and in the key's history, and nothing else: a write that was not answered may
//! have happened or not, but not by half.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::harness::{Api, Dice, Server, init, seed, text};

const KILLS: u64 = 40;
const CLIENTS: usize = 8;
const ORGANIZATIONS: usize = 3;

/// A life lasts so many answered writes at most.
const ANSWERS_MAX: u64 = 120;

/// And so many microseconds more at most: a kill strikes anywhere in a write.
const LINGER_US_MAX: u64 = 3_000;

/// Segments of the smallest size, so that lives end near their borders too.
const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];

/// How a server ends whose ledger has failed.
const POISONED: i32 = 4;
/// What the server tells of secrets that have ended and are presented.
const TOLD: &str = "api_key.ended_secret_used";

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_write_outlives_a_kill() {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let root = tempdir().unwrap();
    let made = init(root.path(), &SEGMENTS);
    let bootstrap = text(&made, "raw_key").to_owned();
    let mut server = Server::start(root.path(), &SEGMENTS);
    let tenants = Arc::new(found(&server.api(&bootstrap)).await);
    let mut clients: Vec<Model> = (0..CLIENTS).map(|n| Model::new(n, seed)).collect();

    for life in 0..KILLS {
        let goal = Arc::new(Goal::new(1 + dice.below(ANSWERS_MAX)));
        let api = server.api(&bootstrap);
        let mut working = JoinSet::new();
        for client in clients.drain(..) {
            let (api, tenants) = (api.clone(), Arc::clone(&tenants));
            working.spawn(client.work(api, tenants, Arc::clone(&goal)));
        }
        goal.reached.notified().await;
        tokio::time::sleep(Duration::from_micros(dice.below(LINGER_US_MAX))).await;
        drop(server.kill());
        clients = working.join_all().await;

        server = Server::start(root.path(), &SEGMENTS);
        clients = check(&server.api(&bootstrap), &tenants, clients).await;
        let keys: usize = clients.iter().map(|client| client.keys.len()).sum();
        println!(
            "life {life}: {} answers, {keys} keys so far",
            goal.answers()
        );
    }
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let server = Server::start(root.path(), &SEGMENTS);
    check(&server.api(&bootstrap), &tenants, clients).await;
    assert!(segments(root.path()) > 1, "the log never filled a segment");
}

#[tokio::test]
async fn a_failed_write_ends_the_server_and_a_restart_knows_what_is_there() {
    let root = tempdir().unwrap();
    let made = init(root.path(), &SEGMENTS);
    let bootstrap = text(&made, "raw_key");
    let mut server = Server::start_limitable(root.path(), &SEGMENTS);
    let api = server.api(bootstrap);
    let tenants = found(&api).await;
    let create = json!({"name": "Key", "scopes": ["projects:read"]});
    let answered = api
        .post(&tenants[0].keys, &create)
        .await
        .unwrap()
        .expect(201);
    let answered = text(&answered, "raw_key");

    // The log's next write is refused by the system, as by a disk that has gone.
    server.limit_files(1);
    let reply = api.post(&tenants[0].keys, &create).await;
    if let Ok(reply) = reply {
        assert_eq!(reply.expect(503)["code"], "outcome_unknown");
    }
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(POISONED), "{}", ended.log);

    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(bootstrap);
    assert_eq!(api.verdict(answered).await, "valid");
    api.post(&tenants[0].keys, &create)
        .await
        .unwrap()
        .expect(201);
}

fn segments(data: &Path) -> usize {
    let entries = std::fs::read_dir(data.join("log")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_str().unwrap().ends_with(".seg"))
        .count()
}

/// An organization and the key that writes in it.
#[derive(Debug)]
struct Tenant {
    keys: String,
    writer: String,
}

async fn found(api: &Api) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    for n in 0..ORGANIZATIONS {
        let body = json!({"name": format!("Tenant {n}"), "owner_email": "owner@example.com"});
        let made = api
            .post("/platform/organizations", &body)
            .await
            .unwrap()
            .expect(201);
        let id = text(&made["organization"], "id");
        tenants.push(Tenant {
            keys: format!("/platform/organizations/{id}/api-keys"),
            writer: text(&made, "raw_key").to_owned(),
        });
    }
    tenants
}

async fn check(api: &Api, tenants: &Arc<Vec<Tenant>>, clients: Vec<Model>) -> Vec<Model> {
    let mut checking = JoinSet::new();
    for client in clients {
        checking.spawn(client.check(api.clone(), Arc::clone(tenants)));
    }
    checking.join_all().await
}

/// How many answers a life is to last.
#[derive(Debug)]
struct Goal {
    left: AtomicU64,
    answers: u64,
    reached: Notify,
}

impl Goal {
    fn new(answers: u64) -> Self {
        Self {
            left: AtomicU64::new(answers),
            answers,
            reached: Notify::new(),
        }
    }

    fn answered(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.reached.notify_one();
        }
    }

    fn answers(&self) -> u64 {
        self.answers.wrapping_sub(self.left.load(Ordering::Relaxed))
    }
}

/// What can be asked for; in a history its event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Write {
    Create,
    Rotate,
    Revoke,
}

impl Write {
    fn event(self) -> &'static str {
        match self {
            Self::Create => "api_key.created",
            Self::Rotate => "api_key.rotated",
            Self::Revoke => "api_key.revoked",
        }
    }
}

/// A key as its client knows it.
#[derive(Debug)]
struct Key {
    tenant: usize,
    name: String,
    id: String,
    /// What was answered, oldest first.
    done: Vec<Write>,
    /// What was asked and not answered.
    open: Option<Write>,
    /// The secrets that came with answers, oldest first.
    secrets: Vec<String>,
    /// Whether the last of them is the key's newest, or one came that nobody has seen.
    newest_known: bool,
    /// Whether it was written to since its history was last looked at.
    touched: bool,
}

impl Key {
    fn is_live(&self) -> bool {
        !self.done.contains(&Write::Revoke) && self.open.is_none()
    }
}

/// What one client has done; no other client writes to its keys.
#[derive(Debug)]
struct Model {
    number: usize,
    made: u64,
    dice: Dice,
    keys: Vec<Key>,
}

impl Model {
    fn new(number: usize, seed: u64) -> Self {
        Self {
            number,
            made: 0,
            dice: Dice::new(seed ^ (number as u64 + 1)),
            keys: Vec::new(),
        }
    }

    /// Writes until there is no answer.
    async fn work(mut self, api: Api, tenants: Arc<Vec<Tenant>>, goal: Arc<Goal>) -> Self {
        loop {
            let (index, write) = self.choose();
            let key = &mut self.keys[index];
            (key.open, key.touched) = (Some(write), true);
            let tenant = &tenants[key.tenant];
            let api = api.with_key(&tenant.writer);
            let path = format!("{}/{}", tenant.keys, key.id);
            let reply = match write {
                Write::Create => {
                    let body = json!({"name": key.name, "scopes": ["projects:read"]});
                    api.post(&tenant.keys, &body).await
                }
                Write::Rotate => api.post(&format!("{path}/rotate"), &json!({})).await,
                Write::Revoke => api.post(&format!("{path}/revoke"), &json!({})).await,
            };
            let Ok(reply) = reply else { return self };
            let status = if write == Write::Create { 201 } else { 200 };
            let answer = reply.expect(status);
            if write != Write::Revoke {
                key.secrets.push(text(&answer, "raw_key").to_owned());
                key.id = text(&answer["key"], "id").to_owned();
                key.newest_known = true;
            }
            key.done.push(write);
            key.open = None;
            goal.answered();
        }
    }

    /// A new key or one that lives, and what to do with it.
    fn choose(&mut self) -> (usize, Write) {
        let write = match self.dice.below(10) {
            0..5 => Write::Create,
            5..8 => Write::Rotate,
            _ => Write::Revoke,
        };
        let live: Vec<usize> = (0..self.keys.len())
            .filter(|n| self.keys[*n].is_live())
            .collect();
        if write != Write::Create && !live.is_empty() {
            let chosen = self.dice.below(live.len() as u64);
            return (live[usize::try_from(chosen).unwrap()], write);
        }
        self.made += 1;
        let tenant = self.dice.below(ORGANIZATIONS as u64);
        self.keys.push(Key {
            tenant: usize::try_from(tenant).unwrap(),
            name: format!("key {}-{}.", self.number, self.made),
            id: String::new(),
            done: Vec::new(),
            open: None,
            secrets: Vec::new(),
            newest_known: false,
            touched: false,
        });
        (self.keys.len() - 1, Write::Create)
    }

    /// Compares all its keys with what the server says, and learns what became of open writes.
    async fn check(mut self, api: Api, tenants: Arc<Vec<Tenant>>) -> Self {
        let mut keys = Vec::new();
        for mut key in self.keys.drain(..) {
            let path = &tenants[key.tenant].keys;
            if key.id.is_empty() && !find(&api, path, &mut key).await {
                continue;
            }
            if key.touched {
                compare_history(&api, path, &mut key).await;
            }
            compare_verdicts(&api, &key).await;
            keys.push(key);
        }
        self.keys = keys;
        self
    }
}

/// Looks for a key whose creation was not answered: it is there once, or not at all.
async fn find(api: &Api, path: &str, key: &mut Key) -> bool {
    let query = key.name.replace(' ', "%20");
    let found = api
        .get(&format!("{path}?q={query}"))
        .await
        .unwrap()
        .expect(200);
    let found = found.as_array().unwrap();
    assert!(found.len() <= 1, "{} is there twice: {found:?}", key.name);
    if let Some(record) = found.first() {
        assert_eq!(record["status"], "active", "{record}");
        key.id = text(record, "id").to_owned();
    }
    !found.is_empty()
}

/// The history is what was answered and, perhaps, what was not.
async fn compare_history(api: &Api, path: &str, key: &mut Key) {
    let path = format!("{path}/{}/events?limit=200", key.id);
    let events = api.get(&path).await.unwrap().expect(200);
    // Newest first, like every list.
    let events: Vec<&Value> = events.as_array().unwrap().iter().rev().collect();
    let mut position = None;
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["subject_version"], n + 1, "{key:?}: {events:?}");
        assert!(event["position"].as_u64() > position, "{key:?}: {events:?}");
        position = event["position"].as_u64();
    }
    let types = events.iter().map(|event| text(event, "type"));
    // Old secrets are presented below: of that the server tells by itself, once an hour.
    let (told, types): (Vec<&str>, Vec<&str>) = types.partition(|name| *name == TOLD);
    assert!(told.len() <= 1, "{key:?}: {events:?}");
    let done: Vec<&str> = key.done.iter().map(|write| write.event()).collect();
    if types != done {
        let Some(open) = key.open else {
            panic!("{key:?}: {types:?}");
        };
        assert_eq!(
            types.split_last(),
            Some((&open.event(), done.as_slice())),
            "{key:?}"
        );
        key.done.push(open);
        key.newest_known &= open == Write::Revoke;
    }
    (key.open, key.touched) = (None, false);
}

/// The newest secret is accepted until the key is revoked, and no other is.
async fn compare_verdicts(api: &Api, key: &Key) {
    let revoked = key.done.contains(&Write::Revoke);
    for (n, secret) in key.secrets.iter().enumerate() {
        let newest = key.newest_known && n + 1 == key.secrets.len();
        let expected: &[&str] = match (revoked, newest) {
            (false, true) => &["valid"],
            (false, false) => &["rotated"],
            (true, true) => &["revoked"],
            (true, false) => &["revoked", "rotated"],
        };
        let verdict = api.verdict(secret).await;
        assert!(
            expected.contains(&verdict.as_str()),
            "{verdict} for secret {n} of {key:?}"
        );
    }
}
