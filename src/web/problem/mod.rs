//! Problems: the one place that turns a refusal into a status. RFC 9457.
//!
//! Internal text never leaves: what is not a refusal is logged here, once, and answered as a bare
//! 500 or 503. The body gets its `request_id` from the outermost layer, [`crate::web::frame`].

mod refusals;
mod unreadable;

pub(crate) use refusals::status_of;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::blot::without_secrets;
use crate::domain::rejection::Rejection;

/// Seconds that a client should wait after a 503.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The body of every answer that is not a success.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// `about:blank` always: the code tells more.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// What is wrong, for programs; stable.
    code: &'static str,
    /// The request's id.
    request_id: String,
    /// The fields at fault.
    errors: Vec<FieldProblem>,
    /// On the routes of OAuth 2 also what its clients look for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<&'static str>,
}

/// One field at fault.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Path of the field in the body, or its name in the query.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A refusal on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldProblem>,
    headers: Vec<(HeaderName, HeaderValue)>,
    oauth: Option<&'static str>,
}

impl Problem {
    /// A problem without fields.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            status,
            code,
            detail,
            errors: Vec::new(),
            headers: Vec::new(),
            oauth: None,
        }
    }

    /// The status that it is answered with.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The same with the member that clients of OAuth 2 look for (RFC 6749, 5.2).
    #[must_use]
    pub(crate) const fn with_oauth_error(mut self, error: &'static str) -> Self {
        self.oauth = Some(error);
        self
    }

    /// The same in other words.
    #[must_use]
    pub(crate) fn saying(mut self, detail: &str) -> Self {
        detail.clone_into(&mut self.detail);
        self
    }

    /// The same of a field that is called otherwise.
    #[must_use]
    pub(crate) fn about(mut self, field: &str) -> Self {
        for error in &mut self.errors {
            field.clone_into(&mut error.field);
            self.detail = format!("{field}: {}", error.message);
        }
        self
    }

    /// The same with another status and code.
    #[must_use]
    pub(crate) const fn turned_into(mut self, status: StatusCode, code: &'static str) -> Self {
        self.status = status;
        self.code = code;
        self
    }

    /// The same with a header.
    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 400: a header or a query that cannot be read.
    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: no credential, or one that is not accepted (RFC 6750, 3).
    #[must_use]
    pub(crate) fn unauthenticated(presented: bool) -> Self {
        let (code, detail, challenge) = if presented {
            (
                "credential_not_accepted",
                "the credential is unknown, or no longer accepted",
                "Bearer realm=\"keyledger\", error=\"invalid_token\"",
            )
        } else {
            (
                "credential_missing",
                "this needs a credential: send Authorization: Bearer <token>, or the token as the \
                 password of Basic",
                "Bearer realm=\"keyledger\"",
            )
        };
        Self::new(StatusCode::UNAUTHORIZED, code, detail).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    /// 401: an `Authorization` of another form.
    #[must_use]
    pub(crate) fn other_scheme() -> Self {
        Self::unauthenticated(false).saying(
            "the Authorization header must be Bearer <token>, or Basic with the token as the \
             password",
        )
    }

    /// 404.
    #[must_use]
    pub(crate) fn not_found(what: &'static str) -> Self {
        Rejection::NotFound { what }.into()
    }

    /// 422 for one field.
    pub(crate) fn invalid_field(
        code: &'static str,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let (field, message) = (field.into(), message.into());
        let detail = format!("{field}: {message}");
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        problem.errors.push(FieldProblem { field, message });
        problem
    }

    /// 400 for one parameter of the query.
    pub(crate) fn invalid_query(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut problem = Self::invalid_field("query_invalid", field, message);
        problem.status = StatusCode::BAD_REQUEST;
        problem
    }

    /// 405; which methods there are is said by the router.
    #[must_use]
    pub(crate) fn method_not_allowed() -> Self {
        Self::method_not_allowed_because(
            "this path does not take the method; Allow names those that it takes",
        )
    }

    /// 405 for a reason of its own.
    #[must_use]
    pub(crate) fn method_not_allowed_because(why: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", why)
    }

    /// 408: the request took too long to arrive or to be worked on.
    #[must_use]
    pub(crate) fn timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the request took too long",
        )
    }

    /// 500: what happened is in the log, under the request's id.
    pub(crate) fn internal(what: &'static str, why: &dyn std::error::Error) -> Self {
        let why = crate::error_chain::error_chain(why);
        tracing::error!(why, "{what}");
        Self::defect()
    }

    /// 500, of what is in the log already.
    #[must_use]
    pub(crate) fn defect() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error; search the server log for the request id",
        )
    }

    /// 503: later it may be possible.
    pub(crate) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .with_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// 422: a position that no event has yet.
    #[must_use]
    pub(crate) fn position_unknown() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "position_unknown",
            "the position lies beyond the end of this ledger",
        )
    }

    /// 410: what is named is lost for good.
    pub(crate) fn gone(code: &'static str, detail: String) -> Self {
        Self::new(StatusCode::GONE, code, detail)
    }

    /// 503: there is no room for the records of that moment.
    pub(crate) fn past_too_large() -> Self {
        Self::unavailable(
            "past_too_large",
            "the records of that moment need more memory than historical reads may use now, \
             256 MiB for one organization at most; retry later, ask for single records, or run \
             `keyledger audit` on a backup",
        )
    }

    /// 503: what was read of a single record by then is kept; repeated, it goes on from there.
    pub(crate) fn past_too_long() -> Self {
        Self::unavailable(
            "past_too_long",
            "that much history was not read within 10 seconds; retry, or ask for less",
        )
    }

    /// 503: more work of a sort than there are places for.
    #[must_use]
    pub(crate) fn busy(detail: &'static str) -> Self {
        Self::unavailable("queue_full", detail)
    }

    /// 429: attempts to sign in that failed make the next one wait.
    #[must_use]
    pub(crate) fn too_many_attempts(wait: Duration) -> Self {
        Self::too_many("too_many_attempts", "too many failed attempts", wait)
    }

    /// 429: an organization makes records faster than it may.
    #[must_use]
    pub(crate) fn too_many_creations(wait: Duration) -> Self {
        Self::too_many("too_many_creations", "too many creations at once", wait)
    }

    /// 429: a webhook endpoint is tried more often than it may be.
    #[must_use]
    pub(crate) fn too_many_trials(wait: Duration) -> Self {
        Self::too_many("too_many_trials", "too many trials of the endpoint", wait)
    }

    /// 429: an organization reports calls faster than it may.
    #[must_use]
    pub(crate) fn too_many_reports(wait: Duration) -> Self {
        let what = "too many calls were reported at once";
        Self::too_many("too_many_reports", what, wait)
    }

    fn too_many(code: &'static str, what: &str, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!("{what}; try again in {seconds} seconds");
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 503: the position asked for is not visible yet.
    #[must_use]
    pub(crate) fn position_not_reached() -> Self {
        Self::unavailable("position_not_reached", "the position is not visible yet")
    }

    /// 503: the process is starting or ending.
    #[must_use]
    pub(crate) fn not_ready() -> Self {
        Self::unavailable("not_ready", "the service is not ready")
    }

    /// What is wrong, for programs.
    #[cfg(test)]
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong, for people.
    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The body, once the request's id is known.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Unknown"),
            status: self.status.as_u16(),
            detail: without_secrets(&self.detail).into_owned(),
            code: self.code,
            request_id: request_id.to_owned(),
            errors: self
                .errors
                .iter()
                .map(FieldProblem::without_secrets)
                .collect(),
            error: self.oauth,
        };
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        // Some statuses may be kept by caches unless they are told.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        (self.status, headers, text).into_response()
    }
}

impl FieldProblem {
    /// What a client puts in the wrong place must not come back in an error that somebody pastes
    /// into a ticket.
    fn without_secrets(&self) -> Self {
        Self {
            field: without_secrets(&self.field).into_owned(),
            message: without_secrets(&self.message).into_owned(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // The outermost layer renders it, with the request's id.
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
