//! What one address can make the process and the kernel hold, at its worst.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tempfile::tempdir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::{Server, init, text};

/// The bound that `docs/limits.md` states.
const GROWTH_BYTES_MAX: u64 = 512 * 1_024 * 1_024;
/// All connections that one address may have.
const CONNECTIONS: usize = 1_000;
/// Those that send a body but for its last byte, the longest that is read there, and its route.
const UNFINISHED: [(usize, usize, &str); 2] = [
    (5, 8 * 1_024 * 1_024, "/v1/usage"),
    (200, 64 * 1_024, "/v1/verify"),
];
/// Those that send no more than the beginning of their headers.
const HEADERS_ALONE: usize = 95;
/// Those that ask for long lists, of 5 MB each.
const LONG_LISTS: usize = 200;
/// The limit of every wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection whose own end holds next to nothing.
async fn connect(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket
        .connect(server.address().parse().unwrap())
        .await
        .unwrap()
}

/// Sends a request and reads nothing of the answer, of which the first byte has come.
async fn ask(server: &Server, request: String) -> TcpStream {
    let mut stream = connect(server).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.peek(&mut [0]).await.unwrap();
    stream
}

/// Sends so many bytes of what would be longer.
async fn begin(server: &Server, head: String, bytes: usize) -> TcpStream {
    let mut stream = connect(server).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; bytes]).await.unwrap();
    stream
}

/// What the process and the sockets of the machine hold, in bytes.
fn held(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.unwrap().trim().trim_end_matches(" kB");
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap();
    let pages = sockets
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .unwrap();
    let pages = pages.rsplit(' ').next().unwrap();
    let page = u64::try_from(rustix::param::page_size()).unwrap();
    rss.parse::<u64>().unwrap() * 1_024 + pages.parse::<u64>().unwrap() * page
}

/// Room for both ends of all connections.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

#[tokio::test]
async fn one_address_makes_it_hold_no_more_than_the_readme_says() {
    raise_file_limit();
    let root = tempdir().unwrap();
    let made = init(root.path(), &[]);
    let server = Server::start(root.path(), &[]);
    let key = text(&made, "raw_key").to_owned();
    let api = server.api(&key);
    let organization = text(&made, "organization_id").to_owned();
    let list = format!("/platform/organizations/{organization}/api-keys");
    for n in 0..200 {
        // Six bytes each in JSON.
        let metadata = json!({"k": "\u{1}".repeat(4_090)});
        let body =
            json!({"name": format!("key {n}"), "scopes": ["keys:verify"], "metadata": metadata});
        api.post(&list, &body).await.unwrap().expect(201);
    }
    let get = |limit: usize| {
        format!(
            "GET {list}?limit={limit} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n"
        )
    };
    let idle = held(&server);

    let mut streams = Vec::new();
    for (count, bytes, route) in UNFINISHED {
        for _ in 0..count {
            let head = format!(
                "POST {route} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
                 content-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
            );
            let sent = timeout(PATIENCE, begin(&server, head, bytes - 1));
            streams.push(sent.await.unwrap());
        }
    }
    for _ in 0..HEADERS_ALONE {
        let head = "GET / HTTP/1.1\r\nhost: x\r\nx: ".to_owned();
        streams.push(
            timeout(PATIENCE, begin(&server, head, 32_000))
                .await
                .unwrap(),
        );
    }
    let short_lists = CONNECTIONS - streams.len() - LONG_LISTS;
    let mut worst = held(&server);
    for (count, limit) in [(short_lists, 2), (LONG_LISTS, 200)] {
        for _ in 0..count {
            // The next request of each is in the way of its own answer.
            let asked = timeout(PATIENCE, ask(&server, get(limit).repeat(100)));
            streams.push(asked.await.unwrap());
            worst = worst.max(held(&server));
        }
    }
    let grown = worst.saturating_sub(idle);
    println!("{} MB above {} MB when idle", grown >> 20, idle >> 20);
    assert!(grown <= GROWTH_BYTES_MAX, "{} MB", grown >> 20);
    // The others are served meanwhile.
    let elsewhere = reqwest::Client::builder().local_address(Some([127, 0, 0, 2].into()));
    let elsewhere = elsewhere.build().unwrap();
    let alive = elsewhere.get(format!("http://{}/livez", server.address()));
    assert_eq!(alive.send().await.unwrap().status(), 200);
    drop(streams);
}
