//! The receivers of `docs/webhooks.md`, as the page shows them but for their port: they verify a
//! ping and two events, and print a line for each.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::harness::text;
use super::{PATIENCE, World, installed};

/// How long after one another the receiver's port is tried, and how often at most: for a minute.
const PAUSE: Duration = Duration::from_millis(20);
const TRIES_MAX: usize = 3_000;

/// A receiver in its language, which ends with this value.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The page's only block in a language, with another port.
fn block(language: &str, shown_port: &str, port: u16) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhooks.md");
    let page = fs::read_to_string(page).unwrap();
    let parts: Vec<&str> = page.split(&format!("```{language}\n")).collect();
    let [_, rest] = parts[..] else {
        panic!("{} blocks of {language}", parts.len() - 1);
    };
    let block = rest.split("```").next().unwrap();
    assert!(block.contains(shown_port), "{block}");
    block.replace(shown_port, &port.to_string())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn until_it_listens(port: u16) {
    for _ in 0..TRIES_MAX {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("nothing listens on {port}");
}

/// Runs the block by a command and has it verify what is delivered.
async fn receives(mut command: Command, language: &str, shown_port: &str) {
    let world = World::new();
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("receiver");
    fs::write(&program, block(language, shown_port, port)).unwrap();
    let url = format!("http://127.0.0.1:{port}/hooks");
    let all = json!({"event_types": ["api_key.*"]});
    let (endpoint, made) = world.endpoint(url, all).await;
    command
        .arg(&program)
        .env("WEBHOOK_SECRET", text(&made, "secret"));
    let mut receiver = Receiver(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(receiver.0.stdout.take().unwrap()).lines();
    let (sender, printed) = mpsc::channel();
    thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    until_it_listens(port).await;

    let next = || printed.recv_timeout(PATIENCE).unwrap();
    world
        .post(&format!("{endpoint}/ping"), json!({}), 202)
        .await;
    let line = next();
    assert!(line.contains(" ping evt_"), "{line}");
    let body = json!({"name": "CI", "scopes": ["cases:read"]});
    let made = world.post("/api-keys", body, 201).await;
    let line = next();
    assert!(line.contains(" api_key.created evt_"), "{line}");
    let path = format!("/api-keys/{}/revoke", text(&made["key"], "id"));
    world.post(&path, json!({}), 200).await;
    let line = next();
    assert!(line.contains(" api_key.revoked evt_"), "{line}");
}

#[tokio::test]
async fn the_documented_receiver_in_python_works() {
    let python = Command::new(installed("KEYLEDGER_WEBHOOKS_PYTHON"));
    receives(python, "python", "9000").await;
}

#[tokio::test]
async fn the_documented_receiver_in_javascript_works() {
    let mut node = Command::new("node");
    node.env("NODE_PATH", installed("KEYLEDGER_WEBHOOKS_NODE_PATH"));
    receives(node, "js", "9001").await;
}
