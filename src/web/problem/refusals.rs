//! What the ledger refuses, as problems.

use axum::http::{HeaderValue, StatusCode, header};

use crate::domain::rejection::{Class, Reason, Rejection};
use crate::ledger::SubmitError;
use crate::web::problem::{FieldProblem, Problem};

/// A quota is free again when something has ended, which takes people.
const QUOTA_RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("60");

impl From<Rejection> for Problem {
    fn from(why: Rejection) -> Self {
        let Reason { code, class, field } = why.reason();
        let message = why.to_string();
        let detail = field.map_or_else(|| message.clone(), |f| format!("{f}: {message}"));
        let mut problem = Self::new(status_of(class), code, detail);
        if let Some(field) = field {
            problem.errors.push(FieldProblem {
                field: field.to_owned(),
                message,
            });
        }
        if let Rejection::QuotaReached { .. } = why {
            return problem.with_header(header::RETRY_AFTER, QUOTA_RETRY_AFTER_SECONDS);
        }
        if why == Rejection::SignInRefused {
            let challenge = HeaderValue::from_static("Bearer realm=\"keyledger\"");
            return problem.with_header(header::WWW_AUTHENTICATE, challenge);
        }
        if why == Rejection::CredentialNotAccepted {
            return Self::unauthenticated(true);
        }
        let Rejection::Forbidden { needs } = why else {
            return problem;
        };
        let challenge =
            format!("Bearer realm=\"keyledger\", error=\"insufficient_scope\", scope=\"{needs}\"");
        match HeaderValue::from_str(&challenge) {
            Ok(value) => problem.with_header(header::WWW_AUTHENTICATE, value),
            Err(_) => problem,
        }
    }
}

/// The status of each class of refusals.
pub(crate) const fn status_of(class: Class) -> StatusCode {
    match class {
        Class::Unauthenticated => StatusCode::UNAUTHORIZED,
        Class::Forbidden => StatusCode::FORBIDDEN,
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Class::Conflict => StatusCode::CONFLICT,
        Class::OtherVersion => StatusCode::PRECONDITION_FAILED,
        Class::QuotaUsedUp => StatusCode::TOO_MANY_REQUESTS,
    }
}

impl From<SubmitError> for Problem {
    fn from(why: SubmitError) -> Self {
        match why {
            SubmitError::Rejected(rejection) => rejection.into(),
            SubmitError::QueueFull => {
                Self::unavailable("queue_full", "too many commands are waiting")
            }
            SubmitError::TooManyCreations(wait) => Self::too_many_creations(wait),
            SubmitError::TooManyBytes(wait) => {
                let what = "too much was written at once; revocations are still accepted";
                Self::too_many("too_many_bytes", what, wait)
            }
            SubmitError::ViewsBehind => {
                Self::unavailable("views_behind", "the views are too far behind")
            }
            SubmitError::KeyUnusable(_) => Self::unavailable("key_unusable", why.to_string()),
            SubmitError::KeyNotDestroyed => {
                Self::unavailable("erasure_unfinished", why.to_string())
            }
            SubmitError::ClockSuspect => Self::unavailable(
                "clock_suspect",
                "the server's clock is suspect; only ends are taken until it is accepted",
            ),
            SubmitError::OutcomeUnknown => Self::unavailable(
                "outcome_unknown",
                "whether the command has been written is unknown; read before you repeat it",
            ),
            SubmitError::ReplayTooLong => Self::past_too_long(),
            SubmitError::Stopping => Self::unavailable("stopping", "the service is stopping"),
            SubmitError::DiskFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "the disk is full; only ends are taken",
            ),
            SubmitError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "command_too_large",
                "the command makes an event beyond 65,535 bytes",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_429_and_says_when_to_try_again() {
        let reached = Rejection::QuotaReached {
            what: "members",
            max: 7,
        };
        let reply = Problem::from(reached).render("r");
        let told = reply.headers().get(header::RETRY_AFTER);
        assert_eq!(reply.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(told.and_then(|told| told.to_str().ok()), Some("60"));
    }
}
