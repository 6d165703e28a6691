//! What a proxy that keeps its connections relies on: every answer leaves them in a state that both
//! sides know, whether the body of its request was read or not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;
use tempfile::{TempDir, tempdir};

use crate::harness::{Server, init, text};

const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];
/// The limit of every wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a key that may do all, and one that may read alone.
struct World {
    server: Server,
    key: String,
    reader: String,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempdir().unwrap();
        let made = init(folder.path(), &SEGMENTS);
        let server = Server::start(folder.path(), &SEGMENTS);
        let key = text(&made, "raw_key").to_owned();
        let organization = text(&made, "organization_id");
        let path = format!("/platform/organizations/{organization}/api-keys");
        let body = json!({"name": "reader", "scopes": ["cases:read"]});
        let reader = server.api(&key).post(&path, &body).await.unwrap();
        Self {
            key,
            reader: text(&reader.expect(201), "raw_key").to_owned(),
            server,
            _folder: folder,
        }
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection(BufReader::new(stream))
    }
}

/// A connection that is used again and again.
struct Connection(BufReader<TcpStream>);

/// An answer: its status, whether the connection is to be used again, and its body.
#[derive(Debug)]
struct Answer {
    status: u16,
    keeps: bool,
    allow: Option<String>,
    body: String,
}

impl Connection {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The answer to a request, by its own length.
    fn answer(&mut self) -> Answer {
        let (mut line, mut head) = (String::new(), String::new());
        while self.0.read_line(&mut line).unwrap() > 2 {
            head.push_str(&line.to_lowercase());
            line.clear();
        }
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let status = head.split(' ').nth(1).unwrap_or_default();
        let len = field("content-length:").map_or(0, |len| len.parse().unwrap());
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).unwrap();
        Answer {
            status: status.parse().unwrap_or_else(|_| panic!("{head:?}")),
            keeps: field("connection:").as_deref() != Some("close"),
            allow: field("allow:"),
            body: String::from_utf8(body).unwrap(),
        }
    }

    /// Sends nothing more.
    fn ends(&self) {
        self.0.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// Whether the server has closed, and sent nothing more.
    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        rest.is_empty()
    }
}

fn head(target: &str, fields: &[&str]) -> String {
    let mut head = format!("{target} HTTP/1.1\r\n");
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// As nginx sends them: head and body apart, and the next request over the same connection.
#[tokio::test]
async fn a_refusal_keeps_the_connection_or_says_that_it_does_not() {
    let world = World::new().await;
    let (key, reader) = (&world.key, &world.reader);
    let by = |key: &str| format!("Authorization: Bearer {key}");
    let json = "Content-Type: application/json";
    for (target, authorization, kind, expected) in [
        ("POST /v1/verify", String::new(), json, 401),
        ("POST /v1/verify", by("wrong"), json, 401),
        ("POST /v1/verify", by(reader), json, 403),
        ("POST /nowhere", by(key), json, 404),
        ("POST /livez", by(key), json, 405),
        ("GET /livez", by(key), json, 200),
        ("POST /v1/verify", by(key), "Content-Type: text/plain", 415),
        ("POST /v1/forward-auth", String::new(), json, 401),
        ("DELETE /platform/organizations", String::new(), json, 401),
        ("DELETE /platform/organizations", by(reader), json, 403),
        ("DELETE /platform/organizations", by(key), json, 405),
    ] {
        let mut connection = world.connect();
        for (len, keeps) in [(0, true), (10, true), (60_000, true), (3_000_000, false)] {
            let length = format!("Content-Length: {len}");
            let mut fields = vec!["Host: x", kind, length.as_str()];
            if !authorization.is_empty() {
                fields.push(&authorization);
            }
            connection.send(head(target, &fields));
            if keeps {
                connection.send("a".repeat(len));
            }
            let answer = connection.answer();
            // Its length is looked at first.
            let expected = match (expected, keeps) {
                (415, false) => 413,
                (expected, true | false) => expected,
            };
            let seen = (answer.status, answer.keeps);
            assert_eq!(seen, (expected, keeps), "{target} {len} {answer:?}");
            // The path's methods are named to clients with permission alone.
            assert_eq!(
                answer.allow.is_some(),
                expected == 405,
                "{target} {answer:?}"
            );
        }
        // What is still sent is taken, so that no reset destroys the answer on its way.
        connection.send("a".repeat(3_000_000));
        connection.ends();
        assert!(connection.is_closed(), "{target}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_or_does_not_end_is_not_waited_for() {
    let world = World::new().await;
    let chunked = ["Host: x", "Transfer-Encoding: chunked"];
    let short = ["Host: x", "Content-Length: 10"];
    let waiting = ["Host: x", "Content-Length: 10", "Expect: 100-continue"];
    let endless = format!("10000\r\n{}\r\n", "a".repeat(65_536)).repeat(2);
    for (fields, body) in [
        (&chunked[..], "5\r\naaaaa\r\n"),
        (&chunked, &endless),
        (&short, "aaaaa"),
        (&waiting, ""),
    ] {
        let mut connection = world.connect();
        connection.send(head("POST /v1/verify", fields));
        connection.send(body);
        let answer = connection.answer();
        let seen = (answer.status, answer.keeps);
        assert_eq!(seen, (401, false), "{fields:?} {answer:?}");
        connection.ends();
        assert!(connection.is_closed(), "{fields:?}");
    }
    // One that ends is read, and the connection goes on.
    let mut connection = world.connect();
    for _ in 0..3 {
        connection.send(head("POST /v1/verify", &chunked));
        connection.send("5\r\naaaaa\r\n");
        connection.send("0\r\n\r\n");
        let answer = connection.answer();
        assert_eq!((answer.status, answer.keeps), (401, true), "{answer:?}");
    }
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let world = World::new().await;
    let both = ["Content-Length: 3", "Transfer-Encoding: chunked"];
    let turned = ["Transfer-Encoding: chunked", "content-length: 3"];
    for (target, fields, expected) in [
        ("GET /livez", &["Host: keys.example"][..], 200),
        ("GET /livez", &["Host: [::1]:8080"], 200),
        ("GET /livez", &["Host:"], 200),
        ("GET /livez", &[], 400),
        ("GET /livez", &["Host: a", "Host: a"], 400),
        ("GET /livez", &["Host: a/b"], 400),
        ("GET /livez", &["Host: a b"], 400),
        ("POST /livez", &[&["Host: a"][..], &both].concat(), 400),
        ("POST /livez", &[&["Host: a"][..], &turned].concat(), 400),
        ("POST /livez", &["Host: a", "Content-Length: 0"], 405),
    ] {
        let head = head(target, fields);
        // In one piece, in two, and after another request of the same connection.
        for (at, before) in [(0, 0), (head.len() / 2, 0), (0, 2)] {
            let mut connection = world.connect();
            for _ in 0..before {
                connection.send("POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\naaa");
                assert_eq!(connection.answer().status, 405);
            }
            let (first, rest) = head.split_at(at);
            connection.send(first);
            connection.send(rest);
            if fields.contains(&both[1]) {
                connection.send("0\r\n\r\n");
            }
            let answer = connection.answer();
            assert_eq!(answer.status, expected, "{target} {fields:?} {answer:?}");
            let is_named = answer.body.contains("\"code\":\"request_malformed\"");
            assert_eq!(is_named, expected == 400, "{answer:?}");
        }
    }
    // HTTP/1.0 has no such header.
    let mut connection = world.connect();
    connection.send("GET /livez HTTP/1.0\r\n\r\n");
    assert_eq!(connection.answer().status, 200);
}
