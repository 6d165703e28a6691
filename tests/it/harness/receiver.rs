//! A receiver of webhooks: whatever is sent to it comes out of a channel, and waits for an answer.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The limit of every wait: a second attempt is made within 6 seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver on a port of its own; it ends with this value.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    arriving: mpsc::UnboundedReceiver<Delivery>,
    accepting: JoinHandle<()>,
}

/// A delivery that waits for its answer. Dropped without one, its connection is closed.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The path that it was sent to.
    pub(crate) path: String,
    /// What it was sent with.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Value,
    answer: oneshot::Sender<u16>,
}

impl Delivery {
    /// Answers with a status.
    pub(crate) fn answer(self, status: u16) {
        // Who sent it may have been killed.
        self.answer.send(status).unwrap_or_default();
    }

    /// The event's position.
    pub(crate) fn sequence(&self) -> u64 {
        self.body["sequence"].as_u64().unwrap()
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Receiver {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    /// Listens there.
    pub(crate) async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, arriving) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, sender.clone()));
            }
        });
        Self {
            address,
            arriving,
            accepting,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// A URL of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next delivery.
    pub(crate) async fn next(&mut self) -> Delivery {
        let next = timeout(PATIENCE, self.arriving.recv()).await;
        next.expect("a delivery arrives in time").unwrap()
    }

    /// What has arrived already and was not taken.
    pub(crate) fn rest(&mut self) -> Vec<Delivery> {
        std::iter::from_fn(|| self.arriving.try_recv().ok()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes one request after the other, until either side has enough.
async fn converse(stream: TcpStream, sender: mpsc::UnboundedSender<Delivery>) {
    let mut stream = BufReader::new(stream);
    while let Some((path, headers, body)) = read(&mut stream).await {
        let (answer, answered) = oneshot::channel();
        let delivery = Delivery {
            path,
            headers,
            body: serde_json::from_slice(&body).unwrap(),
            answer,
        };
        if sender.send(delivery).is_err() {
            break;
        }
        let Ok(status) = answered.await else { break };
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            break;
        }
    }
}

/// A request whole; `None` when the other side has gone.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, HeaderMap, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HeaderMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let length = headers.get("content-length")?.to_str().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, headers, body))
}
