//! Receivers on loopback: what they were sent, how often they were connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::{RustlsConfig, from_tcp_rustls};
use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use ulid::Ulid;

use super::address::{ACME, guard};
use crate::clock::Clock;
use crate::domain::ids::EventId;
use crate::webhooks::attempt::HttpAttempt;
use crate::webhooks::http_sender::{SenderSettings, WebhookRequest, WebhookSender};
use crate::webhooks::resolver::{FixedDnsAnswers, NameLookup};

/// A time limit that no attempt of a test reaches unless it is meant to.
pub(super) const PATIENT_MS: u64 = 30_000;
/// A time limit to be reached.
pub(super) const SHORT_MS: u64 = 300;

/// Settings that let deliveries into `nets` and know `names`, the first answer first.
pub(super) fn settings(nets: &[&str], names: &[(&str, &[&[&str]])]) -> SenderSettings {
    let parsed =
        |answer: &&[&str]| -> Vec<IpAddr> { answer.iter().map(|ip| ip.parse().unwrap()).collect() };
    let names = names.iter().map(|(name, answers)| {
        let answers = answers.iter().map(parsed).collect();
        ((*name).to_owned(), answers)
    });
    SenderSettings {
        guard: guard(nets, &[]),
        proxy: None,
        lookup: NameLookup::Fixed(Arc::new(FixedDnsAnswers::new(names))),
        roots_pem: Vec::new(),
        timeout_ms: PATIENT_MS,
        clock: Clock::system(),
    }
}

pub(super) fn request(url: &str) -> WebhookRequest {
    WebhookRequest {
        organization: ACME,
        url: url.to_owned(),
        id: EventId(Ulid(5)),
        timestamp_s: 1_700_000_000,
        signature: "v1,c2lnbmVk".to_owned(),
        extra_headers: Vec::new(),
        body: Bytes::from_static(b"{\"id\":\"x\"}"),
    }
}

/// One attempt, which comes to its end long before a test is given up.
pub(super) async fn send(sender: &WebhookSender, request: &WebhookRequest) -> HttpAttempt {
    let sent = timeout(Duration::from_secs(60), sender.send(request)).await;
    sent.expect("every attempt ends")
}

/// Status, class and kept body: what a case expects.
pub(super) fn told(attempt: &HttpAttempt) -> (Option<u16>, Option<&'static str>, &str) {
    let failure = attempt.failure.map(|failure| failure.name());
    let response = std::str::from_utf8(&attempt.response).unwrap();
    (attempt.status, failure, response)
}

/// A receiver that was started.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// Hands each connection to `serve`.
    pub(super) async fn start<F, Served>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Served + Send + 'static,
        Served: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(serve(stream));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// One that answers every request by `answer`, word for word, and keeps the connection.
    pub(super) async fn answering(answer: &'static str) -> Self {
        Self::start(move |mut stream| async move {
            while read_request(&mut stream).await.is_some() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// How often it was connected to.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub(super) fn url_at(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/hooks", self.address.port())
    }
}

/// One request with its body, word for word; `None` when the connection has ended.
pub(super) async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut bytes = [0; 1_024];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines();
            let length = lines
                .filter_map(|line| line.strip_prefix("content-length: "))
                .next();
            if length.map_or(0, |length| length.parse::<usize>().unwrap()) == body.len() {
                return Some(text);
            }
        }
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.push_str(std::str::from_utf8(&bytes[..read]).unwrap()),
        }
    }
}

/// A certificate, in PEM, and what serves by it.
pub(crate) struct Identity {
    pub(crate) pem: Vec<u8>,
    config: Arc<ServerConfig>,
}

/// A certificate for `name` that vouches for itself until the end of `year`.
pub(crate) fn identity(name: &str, year: i32) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 12, 31);
    let certificate = params.self_signed(&key).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    Identity {
        pem: certificate.pem().into_bytes(),
        config: Arc::new(config),
    }
}

/// A receiver by TLS; where it listens.
pub(crate) fn serve_tls(identity: &Identity, router: Router) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let config = RustlsConfig::from_config(Arc::clone(&identity.config));
    let server = from_tcp_rustls(listener, config).unwrap();
    tokio::spawn(server.serve(router.into_make_service()));
    address
}

/// A proxy that makes each connection it is asked for to `to`, whatever was asked.
pub(crate) async fn proxy(to: SocketAddr) -> (Receiver, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let proxy = Receiver::start(move |mut stream| {
        let noted = Arc::clone(&noted);
        async move {
            let asked = read_request(&mut stream).await.unwrap();
            noted
                .lock()
                .unwrap()
                .push(asked.lines().next().unwrap().to_owned());
            stream
                .write_all(b"HTTP/1.1 200 Connected\r\n\r\n")
                .await
                .unwrap();
            let mut onward = TcpStream::connect(to).await.unwrap();
            drop(tokio::io::copy_bidirectional(&mut stream, &mut onward).await);
        }
    })
    .await;
    (proxy, asked)
}
