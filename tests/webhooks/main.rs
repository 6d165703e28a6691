//! Receivers in other languages verify what the real server delivers: by the official libraries of
//! Standard Webhooks for Python and JavaScript, by Ed25519 as each of them has it, and by the
//! receivers of `docs/webhooks.md` (`documented`). Needs a Python and a folder of Node with the
//! packages of this folder, which `tests/run` installs; this target is run by name alone. What
//! needs neither is in `tests/it/webhooks.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what it prints is shown with that"
)]

mod documented;
#[path = "../it/harness/mod.rs"]
mod harness;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use harness::{Api, Server, init, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The limit of every wait.
const PATIENCE: Duration = Duration::from_secs(30);
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/webhooks");
/// Secrets of a receiver's own: the shortest and the longest that there are.
const SHORTEST: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const LONGEST: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEy\
                       MzQ1Njc4OTo7PD0+Pw==";

/// A receiver in another language; it ends with this value.
struct Receiver {
    child: Child,
    keys: ChildStdin,
    said: mpsc::Receiver<Value>,
    port: u64,
}

impl Receiver {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            for line in lines {
                let said = serde_json::from_str(&line.unwrap()).unwrap();
                // The test may have ended.
                if sender.send(said).is_err() {
                    break;
                }
            }
        });
        let mut receiver = Self {
            keys: child.stdin.take().unwrap(),
            child,
            said,
            port: 0,
        };
        receiver.port = receiver.next()["port"].as_u64().unwrap();
        receiver
    }

    fn next(&self) -> Value {
        self.said.recv_timeout(PATIENCE).expect("it says something")
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Gives it a key to verify with from now on.
    fn learn(&mut self, name: &str, key: &str) {
        writeln!(self.keys, "{name} {key}").unwrap();
        assert_eq!(self.next(), json!({"knows": name}));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server with an organization.
struct World {
    api: Api,
    organization: String,
    _server: Server,
    _root: TempDir,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let made = init(&data, &["--segment-mib", "1"]);
        let inside = ["--segment-mib", "1", "--webhook-allow-net", "127.0.0.0/8"];
        let server = Server::start(&data, &inside);
        Self {
            api: server.api(text(&made, "raw_key")),
            organization: text(&made, "organization_id").to_owned(),
            _server: server,
            _root: root,
        }
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        let path = format!("/platform/organizations/{}{path}", self.organization);
        self.api.post(&path, &body).await.unwrap().expect(status)
    }

    /// A new endpoint's path, and the answer that made it.
    async fn endpoint(&self, url: String, more: Value) -> (String, Value) {
        let mut body = json!({"url": url, "event_types": ["api_key.created"]});
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let made = self.post("/webhook-endpoints", body, 201).await;
        let path = format!("/webhook-endpoints/{}", text(&made["endpoint"], "id"));
        (path, made)
    }

    async fn rotated(&self, endpoint: &str, body: Value) -> Value {
        let path = format!("{endpoint}/rotate-secret");
        self.post(&path, body, 200).await
    }

    /// Has one event delivered to `path`, and checks that these keys verify it and no other does.
    async fn verified(&self, receiver: &Receiver, path: &str, keys: &[&str]) {
        // Characters of two, three and four bytes: bytes are signed, not characters.
        let name = "Schl\u{fc}ssel \u{20ac} \u{1f511}";
        let body = json!({"name": name, "scopes": ["cases:read"]});
        self.post("/api-keys", body, 201).await;
        let mut said = receiver.next();
        let id = said["id"].take();
        assert!(id.as_str().unwrap().starts_with("evt_"), "{id}");
        let expected = json!({
            "path": path, "id": null, "name": name, "verified": keys, "changed": [],
        });
        assert_eq!(said, expected);
    }
}

/// Before, during and after a rotation, with secrets of ours and of the receiver's own.
async fn verifies_by_a_secret(mut receiver: Receiver) {
    let world = World::new();
    let (endpoint, made) = world.endpoint(receiver.url("/v1"), json!({})).await;
    receiver.learn("first", text(&made, "secret"));
    receiver.learn("stranger", SHORTEST);
    world.verified(&receiver, "/v1", &["first"]).await;
    let made = world.rotated(&endpoint, json!({})).await;
    // Who has not changed yet still verifies.
    world.verified(&receiver, "/v1", &["first"]).await;
    receiver.learn("second", text(&made, "secret"));
    world.verified(&receiver, "/v1", &["first", "second"]).await;
    let given = json!({"secret": LONGEST, "overlap_seconds": 3_600});
    world.rotated(&endpoint, given).await;
    receiver.learn("third", LONGEST);
    // Nor does a second rotation leave out who has not changed yet.
    let all = ["first", "second", "third"];
    world.verified(&receiver, "/v1", &all).await;
    let given = json!({"secret": SHORTEST, "overlap_seconds": 0});
    world.rotated(&endpoint, given).await;
    world.verified(&receiver, "/v1", &["stranger"]).await;
}

/// The same with key pairs, of which the receiver has what the record shows.
async fn verifies_by_a_public_key(mut receiver: Receiver) {
    let world = World::new();
    let pair = json!({"signature": "v1a"});
    let (endpoint, made) = world.endpoint(receiver.url("/v1a"), pair).await;
    assert_eq!(made["secret"], json!(null));
    receiver.learn("first", text(&made["endpoint"], "public_key"));
    world.verified(&receiver, "/v1a", &["first"]).await;
    let made = world.rotated(&endpoint, json!({})).await;
    receiver.learn("second", text(&made["endpoint"], "public_key"));
    world
        .verified(&receiver, "/v1a", &["first", "second"])
        .await;
    let at_once = json!({"overlap_seconds": 0});
    let made = world.rotated(&endpoint, at_once).await;
    receiver.learn("third", text(&made["endpoint"], "public_key"));
    world.verified(&receiver, "/v1a", &["third"]).await;
}

#[allow(clippy::disallowed_methods, reason = "a test's own setting")]
fn installed(name: &str) -> String {
    let place = std::env::var(name);
    place.expect("tests/run installs the packages and says in this variable where")
}

fn python() -> Receiver {
    let mut command = Command::new(installed("KEYLEDGER_WEBHOOKS_PYTHON"));
    command.arg(format!("{FOLDER}/receiver.py"));
    Receiver::start(command)
}

fn node() -> Receiver {
    let mut command = Command::new("node");
    command.env("NODE_PATH", installed("KEYLEDGER_WEBHOOKS_NODE_PATH"));
    command.arg(format!("{FOLDER}/receiver.js"));
    Receiver::start(command)
}

#[tokio::test]
async fn the_library_for_python_verifies_through_a_rotation() {
    verifies_by_a_secret(python()).await;
}

#[tokio::test]
async fn the_library_for_javascript_verifies_through_a_rotation() {
    verifies_by_a_secret(node()).await;
}

#[tokio::test]
async fn python_verifies_by_a_public_key() {
    verifies_by_a_public_key(python()).await;
}

#[tokio::test]
async fn node_verifies_by_a_public_key() {
    verifies_by_a_public_key(node()).await;
}
