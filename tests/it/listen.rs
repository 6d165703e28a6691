//! `webhooks listen` against the real server, with a receiver of the test's own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use keyledger::domain::webhook_signature::{SigningKey, signature};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{Api, Server, code, init, keyledger, stderr, text};

/// The limit of every wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(60);
const FAILED: i32 = 1;
const REFUSED: i32 = 2;

/// What a receiver was sent.
struct Sent {
    headers: HeaderMap,
    body: Bytes,
}

impl Sent {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The body, once its signature is that of the secret.
    fn checked(&self, secret: &str) -> Value {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let id = self.header("webhook-id");
        assert_eq!(id, text(&body, "id"));
        assert_eq!(self.header("content-type"), "application/json");
        let timestamp_s = self.header("webhook-timestamp").parse().unwrap();
        let key = SigningKey::parse(secret).unwrap();
        let expected = signature(&[key], id, timestamp_s, &self.body);
        assert_eq!(self.header("webhook-signature"), expected);
        body
    }
}

/// A receiver that takes everything: its URL, and what it was sent.
async fn receiver() -> (String, Receiver<Sent>) {
    let (tell, sent) = mpsc::channel();
    let take = move |headers: HeaderMap, body: Bytes| {
        let told = tell.send(Sent { headers, body });
        async move { told.map_or(StatusCode::GONE, |()| StatusCode::NO_CONTENT) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let router = Router::new().route("/hooks", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, sent)
}

/// What listens, and its lines.
struct Listener {
    child: Child,
    lines: Receiver<String>,
    talk: Receiver<String>,
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            if tell.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

impl Listener {
    /// Starts it and waits until it listens.
    fn start(token: &str, args: &[&str]) -> Self {
        let mut command = keyledger(["webhooks", "listen"]);
        command.args(args).env("KEYLEDGER_TOKEN", token);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let this = Self {
            lines: lines(child.stdout.take().unwrap()),
            talk: lines(child.stderr.take().unwrap()),
            child,
        };
        this.listens();
        this
    }

    /// Waits until it says that it listens.
    fn listens(&self) {
        while !self
            .talk
            .recv_timeout(PATIENCE)
            .unwrap()
            .starts_with("listening")
        {}
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended: its code, and what it said last.
    fn end(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        let last = self.talk.iter().last().unwrap_or_default();
        (status.code().unwrap(), last)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes keys and gives their records' ids and their secrets.
async fn make(api: &Api, organization: &str, name: &str, scope: &str) -> (String, String) {
    let path = format!("/platform/organizations/{organization}/api-keys");
    let body = json!({"name": name, "scopes": [scope]});
    let made = api.post(&path, &body).await.unwrap().expect(201);
    (
        text(&made["key"], "id").to_owned(),
        text(&made, "raw_key").to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_forwarded_signed_and_over_a_restart_none_is_lost_or_told_twice() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let segments = ["--segment-mib", "1"];
    let made = init(&data, &segments);
    let organization = text(&made, "organization_id").to_owned();
    let server = Server::start(&data, &segments);
    let address = server.address().to_owned();
    let api = server.api(text(&made, "raw_key"));
    let (consumer, token) = make(&api, &organization, "consumer", "webhooks:write").await;
    let (hooks, sent) = receiver().await;
    let url = format!("http://{address}");
    let args = [
        "--url",
        &url,
        "--forward",
        &hooks,
        "--types",
        "api_key.*,job.*",
    ];
    let listener = Listener::start(&token, &args);
    let first = listener.line();
    let secret = first.strip_prefix("Signing secret  ").unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    assert_eq!(listener.line(), "");
    let next = |expected: &str| {
        let body = sent.recv_timeout(PATIENCE).unwrap().checked(&secret);
        assert_eq!(text(&body["data"], "id"), expected, "{body}");
        assert_eq!(body["type"], "api_key.created");
        let line = listener.line();
        let words: Vec<&str> = line.split_whitespace().collect();
        let position = body["sequence"].to_string();
        assert_eq!(
            words[..3],
            [position.as_str(), "api_key.created", "204"],
            "{line}"
        );
    };
    let (one, _) = make(&api, &organization, "one", "cases:read").await;
    next(&one);
    let (two, _) = make(&api, &organization, "two", "cases:read").await;
    next(&two);

    // What happens before it is back is told too, once.
    server.kill();
    let server = Server::start_at(&data, &address, &segments);
    let (three, _) = make(&api, &organization, "three", "cases:read").await;
    next(&three);
    listener.listens();
    let (four, _) = make(&api, &organization, "four", "cases:read").await;
    next(&four);
    assert!(sent.try_recv().is_err(), "nothing is told twice");

    // Its own end is the last thing that it is told of, if at all; then it is refused.
    let revoke = format!("/platform/organizations/{organization}/api-keys/{consumer}/revoke");
    api.post(&revoke, &json!({})).await.unwrap().expect(200);
    let (ended, said) = listener.end();
    assert_eq!(ended, FAILED, "{said}");
    assert!(said.contains("the token is refused"), "{said}");
    assert!(!said.contains(&token), "{said}");
    assert_eq!(server.stop().status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_is_told_of_and_ctrl_c_is_a_good_end() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let segments = ["--segment-mib", "1"];
    let made = init(&data, &segments);
    let organization = text(&made, "organization_id").to_owned();
    let server = Server::start(&data, &segments);
    let api = server.api(text(&made, "raw_key"));
    let secret = root.path().join("secret");
    std::fs::write(&secret, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n").unwrap();
    // A port that nothing listens on.
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hooks = format!("http://{}/hooks", vacant.local_addr().unwrap());
    drop(vacant);
    let url = format!("http://{}/", server.address());
    let args = ["--url", &url, "--forward", &hooks, "--json", "--after", "0"];
    let args = [&args[..], &["--secret-file", secret.to_str().unwrap()]].concat();
    let listener = Listener::start(text(&made, "raw_key"), &args);
    let expected = api.get("/v1/events?after=0").await.unwrap().expect(200);
    for body in expected.as_array().unwrap() {
        let mut line: Value = serde_json::from_str(&listener.line()).unwrap();
        assert!(line["duration_ms"].take().is_u64());
        let expected = json!({"position": body["sequence"], "type": body["type"],
            "id": body["id"], "status": null, "failure": "connect_refused", "duration_ms": null});
        assert_eq!(line, expected);
    }
    assert_eq!(text(&expected[0]["data"], "id"), organization);
    listener.signal(Signal::INT);
    let (ended, said) = listener.end();
    assert_eq!(ended, 0, "{said}");
}

/// Runs it to its end.
fn listen(token: Option<&str>, args: &[&str]) -> Output {
    let mut command = keyledger(["webhooks", "listen"]);
    command.args(args);
    if let Some(token) = token {
        command.env("KEYLEDGER_TOKEN", token);
    }
    command.output().unwrap()
}

/// Runs it to an end of this sort, in these words.
fn check(token: Option<&str>, args: &[&str], (ended, said): (i32, &str)) {
    let output = listen(token, args);
    let words = stderr(&output);
    assert_eq!(code(&output), ended, "{args:?}: {words}");
    assert!(words.contains(said), "{args:?}: {words}");
    assert!(!words.contains("panicked"), "{words}");
}

const HOOKS: &str = "http://127.0.0.1:3000/hooks";

#[test]
fn what_it_cannot_work_with_is_refused_before_anything_is_asked() {
    let root = tempdir().unwrap();
    let short = root.path().join("short");
    std::fs::write(&short, "whsec_c2hvcnQ=").unwrap();
    let short = short.to_str().unwrap();
    let to = |more: &[&'static str]| [&["--forward", HOOKS], more].concat();
    check(None, &to(&[]), (REFUSED, "--token-file"));
    check(Some("rfk_x\ny"), &to(&[]), (REFUSED, "the token"));
    for forward in [
        "nonsense",
        "ftp://a/b",
        "http://u:p@127.0.0.1/",
        "http://a/#b",
    ] {
        check(
            Some("rfk_x"),
            &["--forward", forward],
            (REFUSED, "--forward"),
        );
    }
    let mail = ["--forward", "http://127.0.0.1:25/"];
    check(Some("rfk_x"), &mail, (REFUSED, "port 25"));
    check(Some("rfk_x"), &to(&["--after", "x"]), (REFUSED, "--after"));
    check(Some("rfk_x"), &to(&["--url", "a"]), (REFUSED, "--url"));
    check(
        Some("rfk_x"),
        &to(&["--ca", "/no/such"]),
        (REFUSED, "/no/such"),
    );
    let secret = ["--forward", HOOKS, "--secret-file", short];
    check(Some("rfk_x"), &secret, (REFUSED, "24 to 64 bytes"));
}

#[test]
fn what_the_server_refuses_ends_it() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let server = Server::start(&data, &["--segment-mib", "1"]);
    let url = format!("http://{}", server.address());
    let key = Some(text(&made, "raw_key"));
    let to = |more: &[&'static str]| [&["--forward", HOOKS, "--url", &url], more].concat();
    check(key, &to(&["--types", "x.*"]), (REFUSED, "types"));
    check(key, &to(&["--after", "9999"]), (REFUSED, "position"));
    check(Some("rfk_x"), &to(&[]), (FAILED, "401"));
    assert_eq!(server.stop().status.code(), Some(0));
}
