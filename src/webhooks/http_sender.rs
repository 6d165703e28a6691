//! One attempt to deliver: a POST to a receiver that is not trusted in anything.
//!
//! Owns the connections to receivers. Every attempt has one time limit over connecting, sending and
//! reading; no redirect is followed, no proxy of the environment used, nothing decompressed, and of
//! an answer no more is read than a bound. Whatever a receiver does, an [`HttpAttempt`] says.
//! Must never connect to an address that the guard has not judged (`resolver`), nor let one
//! organization use a connection that it could not have opened.
//!
//! **With a proxy** the receivers' names are resolved by the proxy, and where it connects to is the
//! proxy's business; hosts that are addresses are still judged here. Plain HTTP then goes to
//! addresses in allowed networks alone, since nobody here knows where a name is. All go through the
//! proxy, those inside too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy, Response, Url};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::address_guard::{
    AddressClass, AddressGuard, GuardScope, UrlScheme, literal_ip, url_scheme,
};
use super::attempt::{AttemptFailure, HttpAttempt, RESPONSE_BYTES_MAX, parse_retry_after_ms};
use super::resolver::{ClientKind, GuardedResolver, NameLookup};
use crate::clock::Clock;
use crate::domain::ids::{EventId, OrganizationId};

/// How long an attempt may take, from the look-up to the last byte of the answer.
pub const ATTEMPT_TIMEOUT_MS: u64 = 15_000;

/// How much of an answer is read before the connection is closed: more than any answer to a
/// webhook, and small enough that reading it costs nothing. What is shorter leaves the connection
/// usable for the next delivery.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How long a connection is kept that nothing is sent over. Common servers close theirs after 5 s
/// or later; one that closes while a delivery is under way costs an attempt.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// How many unused connections to one host are kept: what that host is sent at once.
const IDLE_PER_HOST_MAX: usize = 32;

/// Who we say that we are.
const USER_AGENT: &str = concat!("keyledger-webhooks/", env!("CARGO_PKG_VERSION"));

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How deliveries are sent.
pub struct SenderSettings {
    /// Where they may go.
    pub guard: AddressGuard,
    /// An HTTP proxy that all go through, with a user name and a password perhaps.
    pub proxy: Option<Url>,
    /// Who knows the receivers' addresses.
    pub lookup: NameLookup,
    /// Certificates to trust beside the system's, in PEM.
    pub roots_pem: Vec<Vec<u8>>,
    /// How long an attempt may take; [`ATTEMPT_TIMEOUT_MS`] but in tests.
    pub timeout_ms: u64,
    /// What tells how long it took, and when a date of `Retry-After` is.
    pub clock: Clock,
}

/// Settings that deliveries cannot be sent with.
#[derive(Debug, Error)]
pub enum InvalidSenderSettings {
    /// A certificate to trust is not one.
    #[error("a certificate to trust is not PEM")]
    Pem(#[source] pem::Error),
    /// A certificate to trust cannot be used, or TLS as a whole.
    #[error("a certificate to trust cannot be used")]
    Tls(#[source] rustls::Error),
    /// The proxy's URL is none of an HTTP proxy.
    #[error("the proxy's URL is one like http://proxy.internal:3128")]
    Proxy,
    /// The client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// One delivery of an event, ready to be sent.
pub struct WebhookRequest {
    /// Whose endpoint it is for.
    pub organization: OrganizationId,
    pub url: String,
    /// The event: `webhook-id`.
    pub id: EventId,
    /// The attempt's time: `webhook-timestamp`.
    pub timestamp_s: i64,
    /// What [`crate::domain::webhook_signature::signature`] made of these and of the body.
    pub signature: String,
    /// Further headers, which mark a replay or a test.
    pub extra_headers: Vec<(HeaderName, HeaderValue)>,
    /// The bytes that were signed: JSON.
    pub body: Bytes,
}

/// Sends deliveries. Clones share their connections.
#[derive(Clone)]
pub struct WebhookSender(Arc<Inner>);

struct Inner {
    guard: Arc<AddressGuard>,
    clients: Clients,
    timeout: Duration,
    clock: Clock,
}

/// Clients with connections of their own.
enum Clients {
    /// One for each kind of request.
    Direct(BTreeMap<ClientKind, Client>),
    /// All connect to the proxy.
    Proxied(Client),
}

impl fmt::Debug for WebhookSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSender").finish_non_exhaustive()
    }
}

impl WebhookSender {
    /// Makes the clients; nothing is sent.
    ///
    /// # Errors
    /// [`InvalidSenderSettings`], with the one that is wrong.
    pub fn new(settings: SenderSettings) -> Result<Self, InvalidSenderSettings> {
        let tls = tls_config(&settings.roots_pem)?;
        let guard = Arc::new(settings.guard);
        let timeout = Duration::from_millis(settings.timeout_ms);
        let client = |resolver| client_builder(&tls, timeout, resolver);
        let clients = if let Some(url) = settings.proxy {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(InvalidSenderSettings::Proxy);
            }
            let proxy = Proxy::all(url).map_err(InvalidSenderSettings::Client)?;
            let client = client(GuardedResolver::ToProxy(settings.lookup)).proxy(proxy);
            Clients::Proxied(client.build().map_err(InvalidSenderSettings::Client)?)
        } else {
            let mut clients = BTreeMap::new();
            for kind in client_kinds(&guard) {
                let client = client(GuardedResolver::Guarded {
                    guard: Arc::clone(&guard),
                    lookup: settings.lookup.clone(),
                    for_client: kind,
                });
                clients.insert(kind, client.build().map_err(InvalidSenderSettings::Client)?);
            }
            Clients::Direct(clients)
        };
        let clock = settings.clock;
        Ok(Self(Arc::new(Inner {
            guard,
            clients,
            timeout,
            clock,
        })))
    }

    /// Sends a delivery once. It ends within the time limit, whatever the receiver does.
    pub async fn send(&self, request: &WebhookRequest) -> HttpAttempt {
        let began_us = self.0.clock.monotonic_us();
        let mut attempt = HttpAttempt::default();
        attempt.failure = self.exchange(request, &mut attempt).await.err();
        attempt.duration_ms = self.0.clock.monotonic_us().saturating_sub(began_us) / 1_000;
        attempt
    }

    async fn exchange(
        &self,
        request: &WebhookRequest,
        attempt: &mut HttpAttempt,
    ) -> Result<(), AttemptFailure> {
        let deadline = Instant::now() + self.0.timeout;
        let guard = &self.0.guard;
        let url = guard
            .check_url(request.organization, &request.url)
            .map_err(AttemptFailure::from_refused_url)?;
        let scope = guard.scope_for(request.organization);
        let client = self.client_for(scope, &url)?;
        let headers = request_headers(request).ok_or(AttemptFailure::UrlRefused)?;
        let sent = client
            .post(url)
            .headers(headers)
            .body(request.body.clone())
            .send();
        let sent = timeout_at(deadline, sent)
            .await
            .map_err(|_elapsed| AttemptFailure::Timeout)?;
        let mut response = sent.map_err(|error| self.failure_of_request(&error))?;

        let status = response.status().as_u16();
        attempt.status = Some(status);
        attempt.retry_after_ms = self.retry_after_ms(&response);
        let mut kept = self
            .keeps_connection(scope, &response)
            .then_some(&mut attempt.response);
        let read = async {
            let mut read = 0;
            while let Some(chunk) = response.chunk().await? {
                if let Some(kept) = &mut kept {
                    let room = RESPONSE_BYTES_MAX - kept.len();
                    kept.extend(chunk.iter().take(room));
                }
                read += chunk.len();
                if read > READ_BYTES_MAX {
                    break;
                }
            }
            Ok::<_, reqwest::Error>(())
        };
        let read = timeout_at(deadline, read).await;
        match (AttemptFailure::from_status(status), read) {
            (Some(_), _) if status == 407 && self.is_proxied() => Err(AttemptFailure::Proxy),
            (Some(failure), _) => Err(failure),
            (None, Ok(Ok(()))) => Ok(()),
            (None, Ok(Err(error))) if error.is_timeout() => Err(AttemptFailure::Timeout),
            (None, Ok(Err(_broken))) => Err(AttemptFailure::Body),
            (None, Err(_elapsed)) => Err(AttemptFailure::Timeout),
        }
    }

    /// The client whose connections this request may use.
    fn client_for(&self, scope: GuardScope<'_>, url: &Url) -> Result<&Client, AttemptFailure> {
        let scheme = url_scheme(url).ok_or(AttemptFailure::UrlRefused)?;
        match &self.0.clients {
            Clients::Direct(clients) => {
                let port = url.port_or_known_default();
                let own_port = self
                    .0
                    .guard
                    .own_listener_ports()
                    .find(|own| Some(*own) == port);
                let kind = ClientKind {
                    organization: scope.organization,
                    scheme,
                    own_port,
                };
                Ok(clients
                    .get(&kind)
                    .expect("every kind of this guard has its client"))
            }
            Clients::Proxied(_) if scheme == UrlScheme::Http && literal_ip(url).is_none() => {
                Err(AttemptFailure::AddressRefused)
            }
            Clients::Proxied(client) => Ok(client),
        }
    }

    fn is_proxied(&self) -> bool {
        matches!(self.0.clients, Clients::Proxied(_))
    }

    fn failure_of_request(&self, error: &reqwest::Error) -> AttemptFailure {
        let failure = AttemptFailure::from_request_error(error);
        if self.is_proxied() {
            failure.as_seen_through_proxy()
        } else {
            failure
        }
    }

    fn retry_after_ms(&self, response: &Response) -> Option<i64> {
        let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
        parse_retry_after_ms(value, self.0.clock.now_ms())
    }

    /// Whether the answer's body may be kept: it is if it is public already. Behind a proxy nobody
    /// knows where it comes from; who has networks inside is taken to be answered from there.
    fn keeps_connection(&self, scope: GuardScope<'_>, response: &Response) -> bool {
        match &self.0.clients {
            Clients::Direct(_) => response.remote_addr().is_some_and(|peer| {
                let reach = scope.classify_ip(peer.ip().to_canonical());
                reach == Ok(AddressClass::Public)
            }),
            Clients::Proxied(_) => scope.allowed_networks().next().is_none(),
        }
    }
}

/// Every kind of request that a guard tells apart: few, since organizations with networks of their
/// own and listeners are.
fn client_kinds(guard: &AddressGuard) -> Vec<ClientKind> {
    let mut kinds = Vec::new();
    for organization in guard.scope_organizations() {
        for own_port in guard.own_listener_ports().map(Some).chain([None]) {
            for scheme in [UrlScheme::Http, UrlScheme::Https] {
                kinds.push(ClientKind {
                    organization,
                    scheme,
                    own_port,
                });
            }
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn client_builder(
    tls: &ClientConfig,
    timeout: Duration,
    resolver: GuardedResolver,
) -> reqwest::ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .http1_only()
        .user_agent(USER_AGENT)
        .connect_timeout(timeout)
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .use_preconfigured_tls(tls.clone())
        .dns_resolver(Arc::new(resolver))
}

/// TLS by the system's trusted roots and `roots_pem`, read once for all clients.
fn tls_config(roots_pem: &[Vec<u8>]) -> Result<ClientConfig, InvalidSenderSettings> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        tracing::warn!("the system has no trusted certificates: webhooks to most receivers fail");
    }
    for pem in roots_pem {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(InvalidSenderSettings::Pem)?;
        if certificates.is_empty() {
            return Err(InvalidSenderSettings::Pem(pem::Error::NoItemsFound));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(InvalidSenderSettings::Tls)?;
        }
    }
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(InvalidSenderSettings::Tls)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The headers of a delivery; `None` when something in them cannot be sent.
fn request_headers(request: &WebhookRequest) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(request.extra_headers.len() + 8);
    for (name, value) in &request.extra_headers {
        headers.append(name, value.clone());
    }
    let signature = HeaderValue::try_from(&request.signature).ok()?;
    let id = HeaderValue::try_from(request.id.to_string()).ok()?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(WEBHOOK_ID, id);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(request.timestamp_s));
    headers.insert(WEBHOOK_SIGNATURE, signature);
    Some(headers)
}
