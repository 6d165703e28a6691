//! What the server takes on from a network that means it no good: connections and headers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tempfile::tempdir;

use crate::harness::{Server, init};

const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];
/// Open files of the server: room for 150 connections, 37 of one address.
const FILES: u32 = 200;
const EACH: usize = 37;
/// The limit of every wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The status that a request with these headers is answered with; `None`: the connection was closed
/// without an answer.
fn status(stream: &mut TcpStream, headers: &str) -> Option<u16> {
    let head = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    // Who is refused may have been told so and closed before this arrives.
    drop(stream.write_all(head.as_bytes()));
    answered(stream)
}

fn answered(stream: &mut TcpStream) -> Option<u16> {
    let mut bytes = [0; 12];
    let read = stream.read_exact(&mut bytes);
    let line = std::str::from_utf8(&bytes).unwrap();
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|it| it.parse().ok());
    read.ok().and(status)
}

#[test]
fn one_address_has_so_many_connections_and_is_told_of_the_next() {
    let root = tempdir().unwrap();
    init(root.path(), &SEGMENTS);
    let server = Server::start_with_files(root.path(), &SEGMENTS, FILES);
    let mut held: Vec<TcpStream> = (0..EACH).map(|_| connect(&server)).collect();
    for stream in held.iter_mut().skip(1) {
        assert_eq!(status(stream, ""), Some(200));
    }
    for _ in 0..3 * EACH {
        assert_eq!(answered(&mut connect(&server)), Some(503));
    }
    // Who is in is served, and who goes makes room for another.
    assert_eq!(status(&mut held[0], ""), Some(200));
    drop(held.pop());
    let one_more = || status(&mut connect(&server), "") == Some(200);
    let mut tries = std::iter::repeat_with(one_more).take(10_000);
    assert!(tries.any(|let_in| let_in), "there is room again");
}

#[test]
fn headers_beyond_their_limits_are_refused() {
    let root = tempdir().unwrap();
    init(root.path(), &SEGMENTS);
    let server = Server::start(root.path(), &SEGMENTS);
    let many = |count: usize| "x: 1\r\n".repeat(count);
    let long = |bytes: usize| format!("x: {}\r\n", "a".repeat(bytes));
    for (headers, expected) in [
        (many(99), 200),
        (many(100), 431),
        (long(30_000), 200),
        ("no header\r\n".to_owned(), 400),
    ] {
        let mut stream = connect(&server);
        let got = status(&mut stream, &headers);
        assert_eq!(got, Some(expected), "{} bytes", headers.len());
    }
    // Closed while it is still sent: whether the answer arrives is for the network to say.
    let got = status(&mut connect(&server), &long(200_000));
    assert!(matches!(got, None | Some(431)), "{got:?}");
}
