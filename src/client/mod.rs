//! A client for services that verify credentials: answers from memory, and revocations at once.
//!
//! Owns what a verifying service needs of keyledger and nothing else of it: it asks `POST
//! /v1/verify`, remembers what was answered, and follows `GET /v1/revocations/stream` in the
//! background. What the stream names is forgotten as it arrives. While the stream is more than a
//! second behind, broken, or has never been there, nothing is remembered and every question goes to
//! the server. So a credential whose end was answered is refused within milliseconds, and within a
//! second if the network fails at that moment. Must never accept on doubt, and never keep a token.
//!
//! ```no_run
//! use keyledger::client::{Ask, Client, Options};
//!
//! # async fn handle(presented: &str) -> Result<(), keyledger::client::ClientError> {
//! // Once, at start, within a tokio runtime; clones are handles to the same client.
//! let token = "rfk_..."; // A credential with `keys:verify`.
//! let client = Client::new("https://keys.example.com", token, Options::default())?;
//!
//! // For each request.
//! let verified = client.verify(&Ask::new(presented).scope("projects:read")).await?;
//! if verified.valid {
//!     println!("welcome, {:?}", verified.key.map(|key| key.id));
//! }
//! # Ok(()) }
//! ```

#![warn(missing_docs)]

mod cache;
mod follow;
pub(crate) mod sse;
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

use cache::Cache;
use follow::Follower;

pub use verification::{Ask, Verified, VerifiedKey, VerifiedOwner};

/// The longest answer of a verification that is read: an event, whose record it is, has 64 KB.
const ANSWER_BYTES_MAX: usize = 128 * 1024;
/// The longest answer that is remembered: metadata has at most 4 KB, a hundred scopes 3 KB.
const REMEMBERED_BYTES_MAX: usize = 16 * 1024;
/// How far the server's `Date` may lag behind its clock: whole seconds, made once a second.
const DATE_LAG: Duration = Duration::from_secs(2);

/// How a client works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest time that a positive answer is remembered, whatever its own end.
    pub age_max: Duration,
    /// The most answers that are remembered, some 1 KB each; the oldest makes room.
    pub entries_max: usize,
    /// How long the server may take to answer.
    pub timeout: Duration,
    /// Certificates to trust beside the system's, in PEM.
    pub roots_pem: Vec<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            age_max: Duration::from_secs(300),
            entries_max: 100_000,
            timeout: Duration::from_secs(5),
            roots_pem: Vec::new(),
        }
    }
}

/// Why there is no answer. Refuse the request then, or answer 503: never accept it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none, or there is no tokio runtime to follow the stream in.
    #[error("the client cannot be made: {0}")]
    Unusable(&'static str),
    /// A certificate or the client's own set-up.
    #[error("the HTTP client cannot be made")]
    SetUp(#[source] reqwest::Error),
    /// The server was not reached, or did not answer in time.
    #[error("the server was not reached")]
    Unreachable(#[source] reqwest::Error),
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    TooLate,
    /// The server refused the question: the client's own credential, for example.
    #[error("the server answered {status}")]
    Refused {
        /// The status.
        status: u16,
    },
    /// The answer is not one of this server.
    #[error("the server's answer cannot be read: {0}")]
    Unreadable(&'static str),
}

/// Verifies, remembers, and follows the stream. Clones are handles to the same client; the stream
/// ends with the last of them.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    url: reqwest::Url,
    token: String,
    options: Options,
    cache: Arc<Mutex<Cache>>,
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
    /// When the address or a certificate is not one, or outside of a tokio runtime.
    pub fn new(url: &str, token: &str, options: Options) -> Result<Self, ClientError> {
        let base = format!("{}/", url.trim_end_matches('/'));
        let base = reqwest::Url::parse(&base).ok();
        let base = base.filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or(ClientError::Unusable("the address is no http or https URL"))?;
        let join = |path| {
            let joined = base.join(path).ok();
            joined.ok_or(ClientError::Unusable("the address takes no path"))
        };
        let (verify, stream) = (join("v1/verify")?, join("v1/revocations/stream")?);
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(options.timeout);
        for pem in &options.roots_pem {
            let root = reqwest::Certificate::from_pem(pem).map_err(ClientError::SetUp)?;
            http = http.add_root_certificate(root);
        }
        let http = http.build().map_err(ClientError::SetUp)?;
        let runtime = tokio::runtime::Handle::try_current();
        let runtime = runtime.map_err(|_none| ClientError::Unusable("no tokio runtime"))?;
        let cache = Arc::new(Mutex::new(Cache::new(options.entries_max)));
        let follower = Follower {
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

    /// Whether a secret is accepted.
    ///
    /// # Errors
    /// When the server had to be asked and gave no answer.
    pub async fn verify(&self, ask: &Ask) -> Result<Verified, ClientError> {
        let (asked, sent) = (ask.digest(), Instant::now());
        if let Some(mut known) = self.cache().get(&asked, sent) {
            known.remembered = true;
            return Ok(known);
        }
        let request = self.ask(ask);
        let answered = timeout(self.0.options.timeout, request).await;
        let (answer, age) = answered.map_err(|_elapsed| ClientError::TooLate)??;
        let mut cache = self.cache();
        cache.answered(answer.position, Instant::now());
        if let Some(age) = age {
            let age = age.min(self.0.options.age_max);
            cache.put(asked, answer.clone(), sent, age);
        }
        drop(cache);
        Ok(answer)
    }

    /// Whether answers are remembered now: the stream is there and less than a second behind.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.cache().is_live(Instant::now())
    }

    /// How many answers are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.cache().len()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server; the answer, and how long it may be remembered.
    async fn ask(&self, ask: &Ask) -> Result<(Verified, Option<Duration>), ClientError> {
        let request = self.0.http.post(self.0.url.clone());
        let request = request.bearer_auth(&self.0.token).json(ask);
        let mut response = request.send().await.map_err(ClientError::Unreachable)?;
        let status = response.status();
        if status != reqwest::StatusCode::OK {
            let status = status.as_u16();
            return Err(ClientError::Refused { status });
        }
        let header = |name| {
            let value = response.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        if header(CONTENT_TYPE) != Some("application/json") {
            return Err(ClientError::Unreadable("it is not JSON"));
        }
        let date = header(DATE).and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let date_ms = date.map(|date| date.timestamp_millis());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(ClientError::Unreachable)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::Unreadable("it is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: Result<Verified, _> = serde_json::from_slice(&bytes);
        let answer = answer.map_err(|_form| ClientError::Unreadable("it is not an answer"))?;
        if answer.valid != (answer.code == "valid") || (answer.valid && answer.key.is_none()) {
            return Err(ClientError::Unreadable("it contradicts itself"));
        }
        let age = age(&answer, date_ms).filter(|_| bytes.len() <= REMEMBERED_BYTES_MAX);
        Ok((answer, age))
    }
}

/// How long an answer holds from when it was asked for; `None`: it is not to be remembered. The
/// server's own clock is what its end is measured by, so that the client's may be wrong.
fn age(answer: &Verified, date_ms: Option<i64>) -> Option<Duration> {
    let Some(until) = &answer.valid_until else {
        return Some(Duration::MAX);
    };
    let until = DateTime::parse_from_rfc3339(until).ok()?.timestamp_millis();
    let left = until.checked_sub(date_ms?)?;
    let left = Duration::from_millis(u64::try_from(left).ok()?);
    left.checked_sub(DATE_LAG)
}
