//! Answers to writes, the same on every surface: status, `ETag`, `Ledger-Position`, body.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::ledger::Answer;
use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::problem::Problem;

/// Whether the answer repeats an earlier one.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The answer to a write.
pub(crate) fn written<T: Serialize>(
    status: StatusCode,
    answer: &Answer,
    version: u32,
    body: &T,
) -> Response {
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(version));
    headers.insert(LEDGER_POSITION, HeaderValue::from(answer.position));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if answer.replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The answer to a read of one record.
pub(crate) fn shown<T: Serialize>(version: u32, body: &T) -> Response {
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::ETAG, etag(version));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn etag(version: u32) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// An answer of the ledger that does not hold what its command makes: a defect of ours.
pub(crate) fn mismatch() -> Problem {
    Problem::internal("an answer without its record", &Mismatch)
}

#[derive(Debug, thiserror::Error)]
#[error("the ledger's answer does not hold the record that the command is about")]
struct Mismatch;
