//! A log that is not read: requests, probes and the stop go on, and what was dropped is counted.

use std::io::{BufRead, BufReader, Read};
use std::process::ChildStderr;
use std::time::Duration;

use reqwest::Method;
use tempfile::tempdir;

use crate::harness::{Api, Server, init, send, text};

/// What a container's runtime is promised; it kills after 10 seconds.
const STOPS_WITHIN: Duration = Duration::from_secs(8);
/// What a pipe holds.
const PIPE_BYTES: usize = 64 << 10;
/// What waits in the process, and as much again.
const LINES: usize = 2 * 8_192;
/// Requests at once.
const CLIENTS: usize = 8;

/// Starts a server that logs every request, and more of them than pipe and queue hold.
async fn unread(token: &str, data: &std::path::Path) -> (Server, ChildStderr) {
    let (server, log) = Server::start_unread(data, &["--log-level", "debug"]);
    let api = server.api(token);
    let clients = (0..CLIENTS).map(|_| tokio::spawn(ask_often(api.clone())));
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert_eq!(api.verdict(token).await, "valid");
    (server, log)
}

async fn ask_often(api: Api) {
    for _ in 0..LINES / CLIENTS {
        send(api.bare(Method::GET, "/livez"))
            .await
            .unwrap()
            .expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_read_holds_up_neither_requests_nor_the_stop() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let token = text(&made, "raw_key");
    let (server, mut log) = unread(token, &data).await;
    let ended = server.stop_within(STOPS_WITHIN);
    assert_eq!(ended.status.code(), Some(0));
    let mut written = Vec::new();
    log.read_to_end(&mut written).unwrap();
    assert!(written.len() > PIPE_BYTES - 4_096, "{}", written.len());

    // Read again, it reports how many lines it lacks, and the last lines are there.
    let (server, log) = unread(token, &data).await;
    let mut lines = BufReader::new(log).lines().map(Result::unwrap);
    let report = lines.find(|line| line.contains("log lines were dropped"));
    let report = report.expect("the log goes on");
    let (_, count) = report.rsplit_once("lines=").unwrap();
    assert!(count.parse::<usize>().unwrap() > LINES / 4, "{report}");
    let rest = std::thread::spawn(move || lines.collect::<Vec<_>>());
    assert_eq!(server.stop().status.code(), Some(0));
    let rest = rest.join().unwrap();
    assert!(
        rest.iter().any(|line| line.ends_with("stopping")),
        "{rest:?}"
    );
}
