//! A client for services that verify credentials: it caches verifications and drops them as the
//! server revokes credentials.
//!
//! Owns what a verifying service needs of keyledger and nothing else: it calls `POST /v1/verify`,
//! caches the results, and follows `GET /v1/revocations/stream` in the background. Results that an
//! event of the stream applies to are removed as it arrives. While the stream is more than a second
//! behind, broken, or not connected yet, nothing is cached and every verification goes to the
//! server. So a credential is refused within milliseconds of its revocation, and within a second
//! if the network fails at that moment. Must never accept a credential in doubt, and never store a
//! token.
//!
//! ```no_run
//! use keyledger::client::{Client, ClientOptions, VerificationRequest};
//!
//! # async fn handle(presented: &str) -> Result<(), keyledger::client::ClientError> {
//! // Once, at start, within a tokio runtime; clones are handles to the same client.
//! let token = "rfk_..."; // A credential with `keys:verify`.
//! let client = Client::new("https://keys.example.com", token, ClientOptions::default())?;
//!
//! // For each request.
//! let request = VerificationRequest::new(presented).require_scope("projects:read");
//! let verification = client.verify(&request).await?;
//! if verification.valid {
//!     println!("welcome, {:?}", verification.key.map(|key| key.id));
//! }
//! # Ok(()) }
//! ```

#![warn(missing_docs)]

mod cache;
pub(crate) mod sse;
mod stream_follower;
mod verification;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, DATE};
use reqwest::redirect::Policy;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use cache::VerificationCache;
use stream_follower::StreamFollower;

pub use verification::{CredentialOwner, Verification, VerificationRequest, VerifiedCredential};

/// The longest response to a verification that is read: an event, whose record it is, has 64 KB.
const RESPONSE_BYTES_MAX: usize = 128 * 1024;
/// The longest response that is cached: metadata has at most 4 KB, a hundred scopes 3 KB.
const CACHED_RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// How far the server's `Date` may lag behind its clock: whole seconds, made once a second.
const DATE_LAG: Duration = Duration::from_secs(2);

/// Limits of a client, and whom it trusts.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The longest time that a positive result is cached, even if it is valid for longer.
    pub cache_age_max: Duration,
    /// The most results that are cached, some 1 KB each; the oldest is evicted first.
    pub cache_entries_max: usize,
    /// How long the server may take to respond.
    pub request_timeout: Duration,
    /// Certificates to trust beside the system's, in PEM.
    pub extra_roots_pem: Vec<Vec<u8>>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            cache_age_max: Duration::from_secs(300),
            cache_entries_max: 100_000,
            request_timeout: Duration::from_secs(5),
            extra_roots_pem: Vec::new(),
        }
    }
}

/// Why a verification has no result. Refuse the request then, or respond 503: never accept it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is invalid, or there is no tokio runtime to follow the stream in.
    #[error("the client cannot be set up: {0}")]
    InvalidSetup(&'static str),
    /// A root certificate or the TLS set-up of the HTTP client is invalid.
    #[error("the HTTP client cannot be set up")]
    HttpClient(#[source] reqwest::Error),
    /// The connection failed or broke.
    #[error("the server could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The server did not respond within [`ClientOptions::request_timeout`].
    #[error("the server did not respond in time")]
    Timeout,
    /// The server refused the request, for example for the client's own credential.
    #[error("the server responded with status {status}")]
    UnexpectedStatus {
        /// The HTTP status code.
        status: u16,
    },
    /// The response is not a keyledger verification.
    #[error("the server's response is invalid: {0}")]
    InvalidResponse(&'static str),
}

/// Verifies credentials, caches the results, and follows the stream of revocations. Clones are
/// handles to the same client; the stream is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    url: reqwest::Url,
    token: String,
    options: ClientOptions,
    cache: Arc<Mutex<VerificationCache>>,
    follower: JoinHandle<()>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Client {
    /// A client of the server at `url`, which follows the stream from now on. `token` is that of a
    /// credential with `keys:verify`. Proxies of the environment are not used, and no redirect is
    /// followed: both would see the tokens.
    ///
    /// # Errors
    /// When the URL or a certificate is invalid, or outside of a tokio runtime.
    pub fn new(url: &str, token: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let base = format!("{}/", url.trim_end_matches('/'));
        let base = reqwest::Url::parse(&base).ok();
        let base = base.filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or(ClientError::InvalidSetup(
            "the URL must begin with http:// or https://",
        ))?;
        let join = |path| {
            let joined = base.join(path).ok();
            joined.ok_or(ClientError::InvalidSetup(
                "the URL cannot have a path added",
            ))
        };
        let (verify, stream) = (join("v1/verify")?, join("v1/revocations/stream")?);
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(options.request_timeout);
        for pem in &options.extra_roots_pem {
            let root = reqwest::Certificate::from_pem(pem).map_err(ClientError::HttpClient)?;
            http = http.add_root_certificate(root);
        }
        let http = http.build().map_err(ClientError::HttpClient)?;
        let runtime = tokio::runtime::Handle::try_current();
        let runtime = runtime.map_err(|_none| ClientError::InvalidSetup("no tokio runtime"))?;
        let cache = Arc::new(Mutex::new(VerificationCache::new(
            options.cache_entries_max,
        )));
        let follower = StreamFollower {
            http: http.clone(),
            url: stream,
            token: token.to_owned(),
            cache: Arc::clone(&cache),
        };
        Ok(Self(Arc::new(Inner {
            http,
            url: verify,
            token: token.to_owned(),
            options,
            cache,
            follower: runtime.spawn(follower.run()),
        })))
    }

    /// Verifies a secret, from the cache or by a request to the server.
    ///
    /// # Errors
    /// When the server had to be asked and gave no valid response.
    pub async fn verify(&self, ask: &VerificationRequest) -> Result<Verification, ClientError> {
        let (asked, sent) = (ask.digest(), Instant::now());
        if let Some(mut known) = self.cache().get(&asked, sent) {
            known.from_cache = true;
            return Ok(known);
        }
        let request = self.send_request(ask);
        let answered = timeout(self.0.options.request_timeout, request).await;
        let (answer, age) = answered.map_err(|_elapsed| ClientError::Timeout)??;
        let mut cache = self.cache();
        cache.note_position(answer.position, Instant::now());
        if let Some(age) = age {
            let age = age.min(self.0.options.cache_age_max);
            cache.insert(asked, answer.clone(), sent, age);
        }
        drop(cache);
        Ok(answer)
    }

    /// Whether results are cached now: the stream is connected and less than a second behind.
    #[must_use]
    pub fn is_caching(&self) -> bool {
        self.cache().is_current(Instant::now())
    }

    /// How many results are cached.
    #[must_use]
    pub fn cached_len(&self) -> usize {
        self.cache().len()
    }

    fn cache(&self) -> MutexGuard<'_, VerificationCache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server: the result, and how long it may be cached.
    async fn send_request(
        &self,
        ask: &VerificationRequest,
    ) -> Result<(Verification, Option<Duration>), ClientError> {
        let request = self.0.http.post(self.0.url.clone());
        let request = request.bearer_auth(&self.0.token).json(ask);
        let mut response = request.send().await.map_err(ClientError::Unreachable)?;
        let status = response.status();
        if status != reqwest::StatusCode::OK {
            let status = status.as_u16();
            return Err(ClientError::UnexpectedStatus { status });
        }
        let header = |name| {
            let value = response.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        if header(CONTENT_TYPE) != Some("application/json") {
            return Err(ClientError::InvalidResponse("it is not JSON"));
        }
        let date = header(DATE).and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let date_ms = date.map(|date| date.timestamp_millis());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(ClientError::Unreachable)? {
            if bytes.len() + chunk.len() > RESPONSE_BYTES_MAX {
                return Err(ClientError::InvalidResponse("it is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: Result<Verification, _> = serde_json::from_slice(&bytes);
        let answer = answer.map_err(|_form| ClientError::InvalidResponse("it is not an answer"))?;
        if answer.valid != (answer.code == "valid") || (answer.valid && answer.key.is_none()) {
            return Err(ClientError::InvalidResponse("it contradicts itself"));
        }
        let age =
            cacheable_for(&answer, date_ms).filter(|_| bytes.len() <= CACHED_RESPONSE_BYTES_MAX);
        Ok((answer, age))
    }
}

/// How long a result may be cached from when it was requested; `None`: not at all. Its
/// `valid_until` is compared with the server's own clock, so that the client's may be wrong.
fn cacheable_for(answer: &Verification, date_ms: Option<i64>) -> Option<Duration> {
    let Some(until) = &answer.valid_until else {
        return Some(Duration::MAX);
    };
    let until = DateTime::parse_from_rfc3339(until).ok()?.timestamp_millis();
    let left = until.checked_sub(date_ms?)?;
    let left = Duration::from_millis(u64::try_from(left).ok()?);
    left.checked_sub(DATE_LAG)
}
