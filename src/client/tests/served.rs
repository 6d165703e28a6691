//! The client and a server that says what a test wants.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::{MS, answer};
use crate::client::*;

/// A server that says what a test wants.
#[derive(Clone)]
struct Fake {
    answer: watch::Sender<Value>,
    asked: Arc<AtomicU64>,
    /// How the stream answers; what it then sends comes by the receiver of the newest stream.
    head: watch::Sender<(u16, &'static str)>,
    streams: mpsc::UnboundedSender<(Option<String>, mpsc::UnboundedSender<Bytes>)>,
}

type Streams = mpsc::UnboundedReceiver<(Option<String>, mpsc::UnboundedSender<Bytes>)>;

impl Fake {
    async fn start() -> (Self, Streams, Client) {
        let (streams, opened) = mpsc::unbounded_channel();
        let fake = Self {
            answer: watch::Sender::new(answer(5, "valid")),
            asked: Arc::default(),
            head: watch::Sender::new((200, "text/event-stream")),
            streams,
        };
        let router = Router::new()
            .route("/v1/verify", post(verify))
            .route("/v1/revocations/stream", get(stream_of))
            .with_state(fake.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::new(&url, "own", ClientOptions::default()).unwrap();
        (fake, opened, client)
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }
}

async fn verify(State(fake): State<Fake>) -> Json<Value> {
    fake.asked.fetch_add(1, Ordering::AcqRel);
    Json(fake.answer.borrow().clone())
}

async fn stream_of(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    let (status, kind) = *fake.head.borrow();
    let (send, events) = mpsc::unbounded_channel();
    let last = headers.get("last-event-id");
    let last = last.map(|id| id.to_str().unwrap().to_owned());
    fake.streams.send((last, send)).unwrap();
    let body = stream::unfold(events, |mut events: mpsc::UnboundedReceiver<Bytes>| async {
        let bytes = events.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), events))
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
        .headers_mut()
        .insert("content-type", kind.parse().unwrap());
    response
}

fn event(name: &str, data: &Value) -> Bytes {
    let id = &data["position"];
    Bytes::from(format!("event: {name}\nid: {id}\ndata: {data}\n\n"))
}

fn heartbeat(position: u64, elapsed_ms: u64) -> Bytes {
    event(
        "heartbeat",
        &json!({"position": position, "elapsed_ms": elapsed_ms}),
    )
}

/// Waits, without counting time, until something is so.
async fn until(what: impl Fn() -> bool) {
    let so = async {
        while !what() {
            tokio::time::sleep(MS).await;
        }
    };
    timeout(Duration::from_secs(20), so)
        .await
        .expect("it comes to be so");
}

/// The client has asked once and remembers.
async fn remembering(fake: &Fake, client: &Client, stream: &mpsc::UnboundedSender<Bytes>) {
    stream.send(heartbeat(5, 0)).unwrap();
    until(|| client.is_caching()).await;
    let ask = VerificationRequest::new("presented");
    let before = fake.asked();
    assert!(!client.verify(&ask).await.unwrap().from_cache);
    assert!(client.verify(&ask).await.unwrap().from_cache);
    assert_eq!(fake.asked(), before + 1);
}

#[tokio::test]
async fn without_a_stream_nothing_is_remembered() {
    let (fake, mut streams, client) = Fake::start().await;
    let (_, stream) = streams.recv().await.unwrap();
    let ask = VerificationRequest::new("presented");
    for count in 1..4 {
        assert!(!client.verify(&ask).await.unwrap().from_cache);
        assert_eq!(fake.asked(), count);
    }
    remembering(&fake, &client, &stream).await;
    drop(stream);
    until(|| !client.is_caching()).await;
    assert_eq!(client.cached_len(), 0);
    fake.answer.send_replace(answer(6, "revoked"));
    assert_eq!(client.verify(&ask).await.unwrap().code, "revoked");
    // It comes back, and resumes where it was.
    let (last, stream) = streams.recv().await.unwrap();
    assert_eq!(last.as_deref(), Some("5"));
    stream.send(heartbeat(6, 0)).unwrap();
    until(|| client.is_caching()).await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_as_its_event_arrives() {
    let (fake, mut streams, client) = Fake::start().await;
    let (_, stream) = streams.recv().await.unwrap();
    remembering(&fake, &client, &stream).await;
    fake.answer.send_replace(answer(6, "revoked"));
    let entry = json!({"position": 6, "effect": "ended", "organization_id": "org_1",
        "key_ids": ["key_1"], "owner": null, "all": false});
    stream.send(event("revocation", &entry)).unwrap();
    until(|| client.cached_len() == 0).await;
    assert!(client.is_caching());
    assert!(
        !client
            .verify(&VerificationRequest::new("presented"))
            .await
            .unwrap()
            .valid
    );
}

#[tokio::test]
async fn a_silent_stream_is_believed_for_a_second() {
    let (fake, mut streams, client) = Fake::start().await;
    let (_, stream) = streams.recv().await.unwrap();
    remembering(&fake, &client, &stream).await;
    fake.answer.send_replace(answer(6, "revoked"));
    let cut = Instant::now();
    let ask = VerificationRequest::new("presented");
    while client.verify(&ask).await.unwrap().valid {
        assert!(cut.elapsed() < 1_100 * MS, "accepted for too long");
        tokio::time::sleep(MS).await;
    }
    // It is given up, and asked for again.
    assert!(streams.recv().await.is_some());
    drop(stream);
}

#[tokio::test]
async fn a_slow_stream_is_of_no_use() {
    let (fake, mut streams, client) = Fake::start().await;
    let (_, stream) = streams.recv().await.unwrap();
    remembering(&fake, &client, &stream).await;
    // Heartbeats go on to arrive, each two seconds after it was true.
    tokio::time::sleep(1_050 * MS).await;
    for elapsed in 1..10 {
        stream.send(heartbeat(5, elapsed)).unwrap();
        assert!(!client.is_caching());
        assert!(
            !client
                .verify(&VerificationRequest::new("presented"))
                .await
                .unwrap()
                .from_cache
        );
    }
}

#[tokio::test]
async fn a_lying_stream_ends_the_memory() {
    let wrong_id = "event: heartbeat\nid: 7\ndata: {\"position\":8,\"elapsed_ms\":0}\n\n";
    let lies = [
        heartbeat(4, 0),
        heartbeat(5, 100_000_000),
        event("revocation", &json!({"position": 6})),
        event(
            "revocation",
            &json!({"position": 5, "key_ids": [], "owner": null, "all": true}),
        ),
        Bytes::from_static(wrong_id.as_bytes()),
        Bytes::from_static(b"event: heartbeat\ndata: nonsense\n\n"),
        Bytes::from_static(b"data: \xff\xfe\n\n"),
        Bytes::from(vec![b'x'; 2 * 1024 * 1024]),
    ];
    let (fake, mut streams, client) = Fake::start().await;
    for lie in lies {
        let (last, stream) = streams.recv().await.unwrap();
        assert_eq!(last, None, "who lied is not resumed");
        remembering(&fake, &client, &stream).await;
        stream.send(lie).unwrap();
        until(|| !client.is_caching()).await;
        assert_eq!(client.cached_len(), 0);
    }
}

#[tokio::test]
async fn what_is_no_stream_is_not_believed() {
    let (fake, mut streams, client) = Fake::start().await;
    let (_, stream) = streams.recv().await.unwrap();
    remembering(&fake, &client, &stream).await;
    let none = [
        (200, "text/html"),
        (200, "text/event-streams"),
        (503, "text/event-stream"),
    ];
    fake.head.send_replace(none[0]);
    drop(stream);
    for next in [none[1], none[2], (200, "text/event-stream; charset=utf-8")] {
        let (_, stream) = streams.recv().await.unwrap();
        fake.head.send_replace(next);
        // Perhaps nobody listens any more.
        drop(stream.send(heartbeat(5, 0)));
        until(|| stream.is_closed()).await;
        assert!(!client.is_caching());
        assert_eq!(client.cached_len(), 0);
    }
    let (_, stream) = streams.recv().await.unwrap();
    remembering(&fake, &client, &stream).await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let (fake, _streams, client) = Fake::start().await;
    let mut contradiction = answer(5, "revoked");
    contradiction["valid"] = json!(true);
    let mut keyless = answer(5, "valid");
    keyless["key"] = Value::Null;
    for wrong in [
        contradiction,
        keyless,
        json!({}),
        json!([1]),
        json!("x".repeat(200_000)),
    ] {
        fake.answer.send_replace(wrong);
        let refused = client.verify(&VerificationRequest::new("presented")).await;
        assert!(
            matches!(refused, Err(ClientError::InvalidResponse(_))),
            "{refused:?}"
        );
    }
    for url in ["", "nonsense", "ftp://keys.example.com", "http://"] {
        let made = Client::new(url, "own", ClientOptions::default());
        assert!(matches!(made, Err(ClientError::InvalidSetup(_))), "{url}");
    }
    let nowhere = Client::new("http://127.0.0.1:1", "own", ClientOptions::default()).unwrap();
    let refused = nowhere.verify(&VerificationRequest::new("presented")).await;
    assert!(
        matches!(refused, Err(ClientError::Unreachable(_))),
        "{refused:?}"
    );
}
