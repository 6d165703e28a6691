//! The id of a request: in its log line, its events and its answer.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};

use crate::domain::blot;

/// The header, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id.
const REQUEST_ID_MAX: usize = 128;
/// What is known of a request that has no id.
const NO_ID: &str = "-";
/// A request's id: the client's if it is fit to be stored, else a new one.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    /// That of a request, or `new`.
    pub(crate) fn of(request: &Request, new: impl FnOnce() -> HeaderValue) -> Self {
        let given = request.headers().get(&REQUEST_ID);
        let fit = |id: &&HeaderValue| id.to_str().is_ok_and(request_id_is_fit);
        Self(match given.filter(fit) {
            Some(id) => id.clone(),
            None => new(),
        })
    }

    /// The id of a request that this layer has let through.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or(NO_ID)
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self(HeaderValue::from_static(NO_ID))
    }
}

/// An id is logged and stored, so that it must not hold a token, whatever the client sent.
fn request_id_is_fit(id: &str) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len())
        && blot::without_secrets(id) == id
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_kept_if_it_is_fit() {
        for (id, fit) in [
            ("a-B_1.2", true),
            ("", false),
            ("a b", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(request_id_is_fit(id), fit, "{id}");
        }
        assert!(!request_id_is_fit(&"a".repeat(129)));
    }
}
