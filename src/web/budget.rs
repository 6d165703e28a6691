//! The budget in bytes: what bodies and answers in flight may hold together, and one client of it.
//!
//! A small body or answer is bounded by the connection it is on and counts nowhere, so that a
//! verification costs nothing here. A larger one is counted until its memory is free: a body from
//! when it comes until its request is answered, an answer until the client has taken it. What has
//! changed something is answered whatever is left; all else is refused with 503.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::problem::Problem;
use crate::web::shares::{FairShares, Holder, Share, ShareLimits};

/// Bytes of a body or an answer that count nowhere: the longest body of a usual request.
pub(crate) const SMALL_BYTES: usize = 64 * 1_024;
/// Bytes of larger bodies, and of larger answers, that one client has in flight: five reports of
/// 8 MiB.
pub(crate) const EACH_BYTES_MAX: usize = 40 * 1_024 * 1_024;
/// The same of all clients.
const ALL_BYTES_MAX: usize = 4 * EACH_BYTES_MAX;

/// An answer whose bytes all such answers share, so that it holds no memory of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedBytes;

/// What is in flight.
#[derive(Debug)]
pub(crate) struct Budget {
    bodies: FairShares,
    answers: FairShares,
}

impl Default for Budget {
    fn default() -> Self {
        let limits = ShareLimits {
            all: ALL_BYTES_MAX,
            each: EACH_BYTES_MAX,
        };
        Self {
            bodies: FairShares::new(limits),
            answers: FairShares::new(limits),
        }
    }
}

/// An answer's bytes with their share.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The share of a body that may be large, for its reader to grow.
#[derive(Clone, Debug)]
pub(crate) struct LargeBody(Arc<Mutex<Share>>);

impl LargeBody {
    /// Counts a body of so many bytes, of which some may be counted already.
    pub(crate) fn admit(&self, bytes: usize) -> Result<(), Problem> {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let more = bytes.saturating_sub(share.amount());
        match bytes <= SMALL_BYTES || share.grow(more) {
            true => Ok(()),
            false => Err(exhausted()),
        }
    }
}

impl Budget {
    /// The share of a body on a route that reads more than [`SMALL_BYTES`].
    pub(crate) fn large_body(&self, route: &str, address: Option<IpAddr>) -> Option<LargeBody> {
        let is_large = matches!(route, "/v1/usage" | "/v1/verify/batch");
        is_large.then(|| {
            LargeBody(Arc::new(Mutex::new(
                self.bodies.empty(Holder::of_address(address)),
            )))
        })
    }

    /// Counts an answer until its client has taken it.
    pub(crate) async fn count_answer(
        &self,
        response: Response,
        method: &Method,
        address: Option<IpAddr>,
    ) -> Response {
        let Some(bytes) = response.body().size_hint().exact() else {
            return response;
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes <= SMALL_BYTES || response.extensions().get::<SharedBytes>().is_some() {
            return response;
        }
        let changed = !method.is_safe() && response.headers().contains_key(LEDGER_POSITION);
        let holders = Holder::of_address(address);
        let share = if changed {
            Some(self.answers.take_anyway(holders, bytes))
        } else {
            self.answers.take(holders, bytes)
        };
        let Some(share) = share else {
            return exhausted().into_response();
        };
        let (parts, body) = response.into_parts();
        // It is whole already: this waits for nothing.
        match body.collect().await {
            Ok(body) => {
                let bytes = body.to_bytes();
                let counted = Counted {
                    bytes,
                    _share: share,
                };
                Response::from_parts(parts, Body::from(Bytes::from_owner(counted)))
            }
            Err(why) => Problem::internal("an answer could not be read", &why).into_response(),
        }
    }
}

fn exhausted() -> Problem {
    Problem::unavailable(
        "overloaded",
        "too many bytes of your requests or answers are in flight: read the answers, then retry",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn list(bytes: usize) -> Response {
        Response::new(Body::from(vec![b'x'; bytes]))
    }

    #[tokio::test]
    async fn an_answer_counts_until_it_is_taken() {
        let budget = Budget::default();
        let ann = Some("192.0.2.1".parse().unwrap());
        let small = list(SMALL_BYTES);
        let small = budget.count_answer(small, &Method::GET, ann).await;
        assert_eq!(
            (small.status(), budget.answers.in_use()),
            (StatusCode::OK, 0)
        );
        let large = list(EACH_BYTES_MAX);
        let large = budget.count_answer(large, &Method::GET, ann).await;
        let next = list(SMALL_BYTES + 1);
        let next = budget.count_answer(next, &Method::GET, ann).await;
        assert_eq!(next.status(), StatusCode::SERVICE_UNAVAILABLE);
        let other = Some("192.0.2.2".parse().unwrap());
        let others = list(SMALL_BYTES + 1);
        let others = budget.count_answer(others, &Method::GET, other).await;
        assert_eq!(others.status(), StatusCode::OK);
        let taken = large.into_body().collect().await.unwrap().to_bytes();
        assert!(budget.answers.in_use() > EACH_BYTES_MAX);
        drop((taken, others));
        assert_eq!(budget.answers.in_use(), 0);
    }

    #[tokio::test]
    async fn what_has_changed_something_is_answered_and_shared_bytes_are_free() {
        let budget = Budget::default();
        let full = budget
            .answers
            .take(Holder::of_address(None), EACH_BYTES_MAX);
        let mut written = list(SMALL_BYTES + 1);
        written.headers_mut().insert(LEDGER_POSITION, 1.into());
        let written = budget.count_answer(written, &Method::POST, None).await;
        assert_eq!(written.status(), StatusCode::OK);
        let mut shared = list(SMALL_BYTES + 1);
        shared.extensions_mut().insert(SharedBytes);
        let shared = budget.count_answer(shared, &Method::GET, None).await;
        assert_eq!(shared.status(), StatusCode::OK);
        drop(full);
    }

    #[test]
    fn a_large_body_counts_as_far_as_it_has_come() {
        let budget = Budget::default();
        assert!(budget.large_body("/v1/verify", None).is_none());
        let body = || budget.large_body("/v1/usage", None).unwrap();
        let first = body();
        for (bytes, counted) in [
            (SMALL_BYTES, 0),
            (SMALL_BYTES + 1, SMALL_BYTES + 1),
            (2 * SMALL_BYTES, 2 * SMALL_BYTES),
            (EACH_BYTES_MAX, EACH_BYTES_MAX),
        ] {
            first.admit(bytes).unwrap();
            assert_eq!(budget.bodies.in_use(), counted, "{bytes}");
        }
        let second = body();
        second.admit(SMALL_BYTES).unwrap();
        let refused = second.admit(SMALL_BYTES + 1).unwrap_err();
        assert_eq!(refused.code(), "overloaded");
        drop(first);
        second.admit(SMALL_BYTES + 1).unwrap();
    }
}
