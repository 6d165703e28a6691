//! The real gateways and a real client of OAuth 2 in front of the real server. Needs nginx, Caddy
//! and a Python with the packages of `requirements.txt`, which `tests/run` installs; this target is
//! run by name alone. The configurations are those of the README, with other addresses and a key.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what it prints is shown with that"
)]

#[path = "../it/harness/mod.rs"]
mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::{Api, Reply, Server, init, send, text};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

const NGINX: &str = include_str!("nginx.conf");
const CADDY: &str = include_str!("Caddyfile");

/// Tries to connect to a gateway, at [`PAUSE`] each, before it counts as not starting.
const TRIES: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(20);
/// Clients that go on while their credential ends, and how often each is refused before it stops.
const CLIENTS: usize = 16;
const REFUSED_EACH: usize = 20;

/// A program that ends with this value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port that was free just now.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until somebody listens.
fn wait(port: u16) {
    for _ in 0..TRIES {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("nobody listens on {port}");
}

/// Answers every request by `answer` of its head, a connection each.
fn stub(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let reply = answer(std::str::from_utf8(&head).unwrap());
            drop(stream.write_all(reply.as_bytes()));
        }
    });
    address
}

/// An upstream that answers with the head of the request it got.
fn upstream() -> String {
    stub(|head| {
        let length = head.len();
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{head}")
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nginx,
    Caddy,
}

/// A gateway in front of an upstream, asking `keyledger`; `edit` changes its configuration.
fn start(
    kind: Kind,
    folder: &Path,
    (keyledger, upstream, key): (&str, &str, &str),
    edit: impl Fn(String) -> String,
) -> (Program, String) {
    let port = port();
    let (text, own) = match kind {
        Kind::Nginx => (NGINX, "127.0.0.1:8000"),
        Kind::Caddy => (CADDY, "127.0.0.1:8001"),
    };
    let here = format!("127.0.0.1:{port}");
    let text = text
        .replace("127.0.0.1:8080", keyledger)
        .replace("127.0.0.1:9000", upstream)
        .replace(own, &here)
        .replace("KEY_OF_THE_GATEWAY", key);
    let text = edit(text);
    let place = folder.display();
    let (program, text) = match kind {
        Kind::Nginx => (
            "nginx",
            format!(
                "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
                 events {{}}\nhttp {{ access_log off; client_body_temp_path {place}/b; \
                 proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; \
                 uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n{text}}}\n"
            ),
        ),
        Kind::Caddy => ("caddy", format!("{{\n\tadmin off\n}}\n{text}")),
    };
    let file = folder.join(format!("{program}-{port}.conf"));
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let mut command = Command::new(program);
    match kind {
        Kind::Nginx => command.args(["-c", file, "-p", folder.to_str().unwrap()]),
        Kind::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", file]),
    };
    command.env("HOME", folder).env("XDG_DATA_HOME", folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let program = Program(command.spawn().unwrap());
    wait(port);
    (program, here)
}

/// A server with two tenants.
struct World {
    server: Server,
    api: Api,
    organization: String,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let made = init(&data, &["--segment-mib", "1"]);
        let server = Server::start(&data, &["--segment-mib", "1"]);
        let api = server.api(text(&made, "raw_key"));
        let organization = text(&made, "organization_id").to_owned();
        Self {
            server,
            api,
            organization,
            folder,
        }
    }

    fn keys(&self) -> String {
        format!("/platform/organizations/{}/api-keys", self.organization)
    }

    /// A key's id and token.
    async fn key(&self, scope: &str) -> (String, String) {
        let body = json!({"name": "k", "scopes": [scope]});
        let made = self
            .api
            .post(&self.keys(), &body)
            .await
            .unwrap()
            .expect(201);
        (
            text(&made["key"], "id").to_owned(),
            text(&made, "raw_key").to_owned(),
        )
    }

    async fn revoke(&self, id: &str) {
        let path = format!("{}/{id}/revoke", self.keys());
        self.api.post(&path, &json!({})).await.unwrap().expect(200);
    }

    /// The key of another tenant.
    async fn stranger(&self) -> String {
        let body = json!({"name": "Globex", "owner_email": "bob@globex.example"});
        let made = self.api.post("/platform/organizations", &body).await;
        text(&made.unwrap().expect(201), "raw_key").to_owned()
    }
}

async fn through(at: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let api = Api::new(at, "");
    let mut request = api.bare(Method::POST, path).body("x=1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await.unwrap()
}

/// What the upstream was told in a header; `None` where it has not got it or has it empty.
fn told<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let mut lines = reply.text.lines().filter_map(|line| line.split_once(':'));
    let value = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
    value
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

/// A gateway that is being tested: its program, and the address that clients know.
struct Guarded<'a> {
    kind: Kind,
    world: &'a World,
    at: &'a str,
}

impl Guarded<'_> {
    /// The status of an answer, which tells nobody who anybody is.
    async fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        let reply = through(self.at, path, headers).await;
        for header in reply.headers.keys() {
            let kind = self.kind;
            assert!(!header.as_str().ends_with("-key-id"), "{kind:?} {header}");
        }
        reply.status
    }
}

async fn stands_guard(kind: Kind) {
    let world = World::new();
    let (_, gateway) = world.key("keys:verify").await;
    let (id, token) = world.key("cases:read").await;
    let places = (world.server.address(), upstream(), gateway);
    let places = (places.0, places.1.as_str(), places.2.as_str());
    let (_program, at) = start(kind, world.folder.path(), places, |text| text);
    let bearer = format!("Bearer {token}");
    lets_through(kind, &world, (&at, &bearer, &id)).await;
    let guarded = Guarded {
        kind,
        world: &world,
        at: &at,
    };
    keeps_out(&guarded, &token).await;
    trusts_no_query(&guarded, &token).await;
    lets_nobody_through_after_an_end(&guarded, (&id, &bearer)).await;
    takes_a_parameter(kind, &world, places).await;
}

/// Whoever may is let through, and the upstream is told who it is by the gateway alone.
async fn lets_through(kind: Kind, world: &World, (at, bearer, id): (&str, &str, &str)) {
    let spoofed = [
        ("authorization", bearer),
        ("x-keyledger-key-id", "spoofed"),
        ("x-keyledger-kind", "spoofed"),
        ("x-keyledger-organization-id", "spoofed"),
        ("x-keyledger-project-id", "spoofed"),
        ("x-keyledger-owner-id", "spoofed"),
        ("x-keyledger-scopes", "spoofed"),
        ("x-keyledger-role", "spoofed"),
        ("x-keyledger-gateway", "spoofed"),
        ("x-keyledger-require-organization", "spoofed"),
        ("x-keyledger-require-project", "spoofed"),
        ("x-keyledger-require-scopes", "spoofed"),
        ("x-keyledger-query-parameter", "spoofed"),
        // Many an upstream takes these for the same.
        ("x_keyledger_key_id", "spoofed"),
        ("x-keyledger_role", "spoofed"),
    ];
    let passed = through(at, "/cases?q=1", &spoofed).await;
    let text = &passed.text;
    assert_eq!(passed.status, 200, "{kind:?} {text}");
    assert!(text.starts_with("POST /cases?q=1 "), "{text}");
    assert!(!text.contains("spoofed"), "{kind:?} {text}");
    assert!(!text.contains("{http."), "{kind:?} {text}");
    let organization = world.organization.as_str();
    for (name, value) in [
        ("key-id", Some(id)),
        ("kind", Some("organization")),
        ("organization-id", Some(organization)),
        ("scopes", Some("cases:read")),
        ("project-id", None),
        ("gateway", None),
    ] {
        let name = format!("x-keyledger-{name}");
        assert_eq!(told(&passed, &name), value, "{kind:?} {name}");
    }
}

/// Who shows nothing, another tenant's credential, too little, or two of them.
async fn keeps_out(guarded: &Guarded<'_>, token: &str) {
    let by = |token: &str| format!("Bearer {token}");
    let (_, lacking) = guarded.world.key("cases:write").await;
    let stranger = by(&guarded.world.stranger().await);
    let (bearer, lacks) = (by(token), by(&lacking));
    let authorization = "authorization";
    for (headers, status) in [
        (vec![], 401),
        (vec![("x-api-key", token)], 200),
        (vec![(authorization, stranger.as_str())], 401),
        (vec![(authorization, lacks.as_str())], 403),
        (
            vec![(authorization, bearer.as_str()), ("x-api-key", &lacking)],
            400,
        ),
        // Nor can a client have a proxy take the gateway's own headers for its connection's.
        (
            vec![
                (authorization, &lacks),
                ("connection", "x-keyledger-require-scopes"),
            ],
            403,
        ),
        (
            vec![
                (authorization, &lacks),
                ("connection", "x-keyledger-gateway"),
            ],
            403,
        ),
    ] {
        let got = guarded.status("/cases", &headers).await;
        assert_eq!(got, status, "{:?} {status}", guarded.kind);
    }
}

/// The query is the client's: neither a credential nor a requirement comes from it.
async fn trusts_no_query(guarded: &Guarded<'_>, token: &str) {
    let query = format!("/cases?token={token}&api_key={token}&required_scopes=cases:write");
    let bearer = format!("Bearer {token}");
    assert_eq!(guarded.status(&query, &[]).await, 401);
    let asks = [
        ("x-keyledger-query-parameter", "token"),
        ("x-forwarded-uri", query.as_str()),
    ];
    assert_eq!(guarded.status(&query, &asks).await, 401);
    let good = [("authorization", bearer.as_str())];
    assert_eq!(guarded.status(&query, &good).await, 200);
}

/// Requests are on their way all the time, and the end of their credential comes between: whatever
/// was sent after its answer is refused.
async fn lets_nobody_through_after_an_end(guarded: &Guarded<'_>, (id, bearer): (&str, &str)) {
    let ended = Arc::new(AtomicBool::new(false));
    let passed = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (at, bearer) = (guarded.at.to_owned(), bearer.to_owned());
        let (ended, passed) = (Arc::clone(&ended), Arc::clone(&passed));
        clients.spawn(async move {
            let mut refused = 0;
            while refused < REFUSED_EACH {
                let sent_after = ended.load(Ordering::SeqCst);
                let reply = through(&at, "/cases", &[("authorization", &bearer)]).await;
                match (reply.status, sent_after) {
                    (200, false) => drop(passed.fetch_add(1, Ordering::SeqCst)),
                    (401, false) => {}
                    (401, true) => refused += 1,
                    (status, _) => panic!("{status} {}", reply.text),
                }
            }
        });
    }
    while passed.load(Ordering::SeqCst) < CLIENTS {
        // None of them ends before the credential does, but for what it found wrong.
        if let Some(client) = clients.try_join_next() {
            client.unwrap();
        }
        tokio::task::yield_now().await;
    }
    guarded.world.revoke(id).await;
    ended.store(true, Ordering::SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let revoked = [("authorization", bearer)];
    assert_eq!(guarded.status("/cases", &revoked).await, 401);
}

/// Where the gateway says so, the credential may stand in the query.
async fn takes_a_parameter(kind: Kind, world: &World, places: (&str, &str, &str)) {
    let (_, token) = world.key("cases:read").await;
    let (_program, at) = start(kind, world.folder.path(), places, |text| {
        let (from, to) = match kind {
            // The first is that of the upstream, the second that of the question.
            Kind::Nginx => (
                "Require-Project \"\";\n        proxy_set_header X-Keyledger-Query-Parameter \"\";\n    }",
                "Require-Project \"\";\n        proxy_set_header X-Keyledger-Query-Parameter token;\n    }",
            ),
            Kind::Caddy => (
                "header_up -X-Keyledger-Query-Parameter",
                "header_up X-Keyledger-Query-Parameter token",
            ),
        };
        assert!(text.contains(from), "{text}");
        text.replace(from, to)
    });
    for (query, expect) in [
        (format!("token={token}"), 200),
        ("token=x".to_owned(), 401),
        (format!("other={token}"), 401),
    ] {
        let reply = through(&at, &format!("/badge?{query}"), &[]).await;
        assert_eq!(reply.status, expect, "{kind:?} {}", reply.text);
    }
}

#[tokio::test]
async fn nginx_stands_guard() {
    stands_guard(Kind::Nginx).await;
}

#[tokio::test]
async fn caddy_stands_guard() {
    stands_guard(Kind::Caddy).await;
}

/// The statuses that nginx cannot pass on come back by their reason.
#[tokio::test]
async fn nginx_gives_back_what_it_could_not_pass_on() {
    let folder = tempfile::tempdir().unwrap();
    for (reason, expect) in [("rate_limited", 429), ("unavailable", 503)] {
        let keyledger = stub(move |_| {
            format!(
                "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\
                 X-Keyledger-Reason: {reason}\r\nRetry-After: 7\r\n\r\n"
            )
        });
        let places = (keyledger.as_str(), keyledger.as_str(), "k");
        let (_program, at) = start(Kind::Nginx, folder.path(), places, |text| text);
        let reply = through(&at, "/", &[]).await;
        assert_eq!(reply.status, expect, "{}", reply.text);
        assert_eq!(reply.headers["retry-after"], "7");
    }
}

#[allow(clippy::disallowed_methods, reason = "a test's own setting")]
fn python() -> String {
    let python = std::env::var("KEYLEDGER_OAUTH_PYTHON");
    python.expect("tests/run installs the packages and names their Python in this variable")
}

#[tokio::test]
async fn a_client_library_of_another_language_introspects_and_revokes() {
    let world = World::new();
    let (id, secret) = world.key("admin:*").await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(world.key("cases:read").await.1);
    }
    let url = format!("http://{}", world.server.address());
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/gateways/oauth_clients.py"
    );
    let mut command = Command::new(python());
    command.args([script, &url, &id, &secret]).args(&tokens);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The README shows what is run here.
#[test]
fn the_readme_shows_these_configurations() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for (name, text) in [("nginx", NGINX), ("Caddyfile", CADDY)] {
        assert!(readme.contains(&format!("```{name}\n{text}```")), "{name}");
    }
}
