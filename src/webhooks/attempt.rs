//! What came of one attempt to deliver: an answer, or the class of a failure.
//!
//! Owns the classes and how errors of the client fall into them, by their types and never by their
//! texts. Must never keep more of an answer than its bound, nor carry a URL or an error's own
//! words: both may hold what the receiver's owner keeps secret.

use std::error::Error;
use std::io;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use super::address_guard::UrlRefused;
use super::resolver::ResolveError;
use crate::domain::blot::without_secrets;

/// How much of an answer's body is kept.
pub const RESPONSE_BYTES_MAX: usize = 4_096;

/// No secret of ours is as long as this.
const SECRET_BYTES_MAX: usize = 256;

/// What came of an attempt.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HttpAttempt {
    /// The status, if there was an answer at all.
    pub status: Option<u16>,
    /// Why the delivery has not arrived; `None`: it has.
    pub failure: Option<AttemptFailure>,
    /// How long it took.
    pub duration_ms: u64,
    /// How long the receiver asks to be left alone by `Retry-After`, from now.
    pub retry_after_ms: Option<i64>,
    /// The first [`RESPONSE_BYTES_MAX`] bytes of the answer's body. Nothing when it came from a
    /// network inside: an attempt's record must not show what is not public.
    pub response: Vec<u8>,
}

impl HttpAttempt {
    /// Whether the receiver wants no more deliveries, ever.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.status == Some(410)
    }

    /// Whether the receiver says that it has too much to do: the endpoint is slowed down.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        matches!(self.status, Some(429 | 502 | 503 | 504))
    }

    /// Whether the next attempt is to wait for a minute at least: an overload or a timeout.
    #[must_use]
    pub fn is_overloaded_or_timed_out(&self) -> bool {
        self.is_overloaded() || self.failure == Some(AttemptFailure::Timeout)
    }

    /// The attempt with the answer as text that may be kept: a receiver may say what it was told,
    /// or what it was given as a secret.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        let text = String::from_utf8_lossy(&self.response);
        let whole = if self.response.len() < RESPONSE_BYTES_MAX {
            &text
        } else {
            without_cut_word(&text)
        };
        let mut clean = without_secrets(whole).into_owned();
        clean.truncate(clean.floor_char_boundary(RESPONSE_BYTES_MAX));
        self.response = clean.into_bytes();
        self
    }
}

/// A text without the beginning of a secret at its end, where it was cut.
fn without_cut_word(text: &str) -> &str {
    let in_secret = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '/' | '=');
    let words = text.trim_end_matches(in_secret);
    if text.len() - words.len() < SECRET_BYTES_MAX {
        words
    } else {
        text
    }
}

/// The class of a failed attempt.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptFailure {
    /// A status that is neither 2xx nor 3xx.
    Status,
    /// A redirect, which is never followed.
    Redirect,
    /// Not connected, answered and read in time.
    Timeout,
    /// The name has no address.
    Dns,
    /// The address is none that deliveries go to.
    AddressRefused,
    /// Nothing listens there.
    ConnectRefused,
    /// No connection for another reason.
    Connect,
    /// No trust: the certificate, or no TLS at all.
    Tls,
    /// A good status, but the body broke off.
    Body,
    /// What came back is not HTTP, or nothing came before the connection ended.
    Protocol,
    /// The URL is none that an endpoint may have, by the rules of now.
    UrlRefused,
    /// The operator's own proxy: not reached, or it makes no connection.
    Proxy,
    /// What signs the deliveries was sealed under a key that is lost: nothing was sent.
    SecretLost,
    /// The log could not be read: nothing was sent.
    Unreadable,
}

impl AttemptFailure {
    /// Its name in records and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::AddressRefused => "address_refused",
            Self::ConnectRefused => "connect_refused",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Body => "body",
            Self::Protocol => "protocol",
            Self::UrlRefused => "url_refused",
            Self::Proxy => "proxy",
            Self::SecretLost => "secret_lost",
            Self::Unreadable => "unreadable",
        }
    }

    /// The class of a URL that is refused.
    pub(super) fn from_refused_url(refused: UrlRefused) -> Self {
        match refused {
            UrlRefused::Address(_) => Self::AddressRefused,
            UrlRefused::TooLong
            | UrlRefused::NotAUrl
            | UrlRefused::UrlScheme
            | UrlRefused::Userinfo
            | UrlRefused::Fragment
            | UrlRefused::Port(_) => Self::UrlRefused,
        }
    }

    /// The class of a request that had no answer.
    pub(super) fn from_request_error(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        let cause = failure_in_chain(error);
        match cause {
            Some(cause) if error.is_connect() => cause,
            None if error.is_connect() => Self::Connect,
            // A certificate can be refused as late as that; all else is about what was said.
            Some(Self::Tls) => Self::Tls,
            Some(_) | None => Self::Protocol,
        }
    }

    /// The same when a proxy makes the connection: whatever is not between us and the receiver is
    /// the proxy's failure.
    pub(super) fn as_seen_through_proxy(self) -> Self {
        match self {
            Self::Dns | Self::ConnectRefused | Self::Connect => Self::Proxy,
            Self::Status
            | Self::Redirect
            | Self::Timeout
            | Self::AddressRefused
            | Self::SecretLost
            | Self::Unreadable
            | Self::Tls
            | Self::Body
            | Self::Protocol
            | Self::UrlRefused
            | Self::Proxy => self,
        }
    }

    /// The class of a status; `None` for a good one.
    pub(super) const fn from_status(status: u16) -> Option<Self> {
        match status {
            200..=299 => None,
            300..=399 => Some(Self::Redirect),
            _other => Some(Self::Status),
        }
    }
}

/// What the innermost known error says. An `io::Error` is no source of what it wraps, so that each
/// is opened.
fn failure_in_chain(error: &(dyn Error + 'static)) -> Option<AttemptFailure> {
    let mut next = Some(error);
    let mut found = None;
    while let Some(error) = next {
        if let Some(unresolved) = error.downcast_ref::<ResolveError>() {
            return Some(match unresolved {
                ResolveError::NameLookup(_) | ResolveError::NoAddress => AttemptFailure::Dns,
                ResolveError::RefusedAddress(_) => AttemptFailure::AddressRefused,
            });
        }
        if error.is::<rustls::Error>() {
            return Some(AttemptFailure::Tls);
        }
        next = error.source();
        if let Some(error) = error.downcast_ref::<io::Error>() {
            found = found.or_else(|| failure_of_io_kind(error.kind()));
            next = error.get_ref().map_or(next, |wrapped| Some(wrapped));
        }
    }
    found
}

fn failure_of_io_kind(kind: io::ErrorKind) -> Option<AttemptFailure> {
    if kind == io::ErrorKind::ConnectionRefused {
        Some(AttemptFailure::ConnectRefused)
    } else if kind == io::ErrorKind::TimedOut {
        Some(AttemptFailure::Timeout)
    } else {
        // Connecting by TCP alone does not end so: a TLS handshake was cut short.
        (kind == io::ErrorKind::UnexpectedEof).then_some(AttemptFailure::Tls)
    }
}

/// How long a `Retry-After` asks to wait: seconds, or until a date.
pub(super) fn parse_retry_after_ms(value: &str, now_ms: i64) -> Option<i64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time.
        let seconds: i64 = value.parse().unwrap_or(i64::MAX);
        return Some(seconds.saturating_mul(1_000));
    }
    let until = DateTime::parse_from_rfc2822(value).ok()?;
    Some(until.timestamp_millis().saturating_sub(now_ms).max(0))
}
