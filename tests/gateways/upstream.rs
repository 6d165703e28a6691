//! What stands behind a gateway, and what it was sent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::harness::Reply;

/// A key of the standard and its answer (RFC 6455, 1.3).
pub(crate) const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The head of a request or of an answer.
pub(crate) fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Does `serve` with every connection, each on a thread of its own.
fn listening(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Answers every request by `answer` of its head, a connection each.
pub(crate) fn stub(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> String {
    listening(move |mut stream| {
        let reply = answer(&head(&mut stream));
        drop(stream.write_all(reply.as_bytes()));
    })
}

/// Takes connections and never answers.
pub(crate) fn silent() -> String {
    listening(|mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink())))
}

/// Answers with the head of the request that it got; a WebSocket gets it first, and then what it
/// sends.
pub(crate) fn echo() -> String {
    listening(|mut stream| {
        let head = head(&mut stream);
        if header(&head, "upgrade") == Some("websocket") {
            let accept = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n\r\n{head}"
            );
            stream.write_all(accept.as_bytes()).unwrap();
            let mut back = stream.try_clone().unwrap();
            drop(std::io::copy(&mut stream, &mut back));
        } else {
            let length = head.len();
            let reply = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\
                                 Connection: close\r\n\r\n{head}"
            );
            drop(stream.write_all(reply.as_bytes()));
        }
    })
}

/// A header of a head; `None` where it is not there or empty.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let value = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
    value
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

/// The same of what the upstream got, as it echoed it.
pub(crate) fn told<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    header(&reply.text, name)
}
