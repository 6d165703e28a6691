//! Webhooks: endpoints, their deliveries and replays, and events for receivers that pull them.

pub(crate) mod deliveries;
pub(crate) mod delivery_record;
pub(crate) mod endpoints;
pub(crate) mod pull;
pub(crate) mod pull_stream;
pub(crate) mod replay;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::command::EndpointTarget;
use crate::domain::ids::{EndpointId, OrganizationId};
use crate::ledger::SubmitError;
use crate::web::call::Call;
use crate::web::problem::Problem;
use crate::webhooks::Webhooks;

pub(crate) fn endpoint_target(
    organization: OrganizationId,
    endpoint: EndpointId,
) -> EndpointTarget {
    EndpointTarget {
        organization,
        endpoint,
    }
}

/// The service that delivers webhooks, where this server runs one.
pub(crate) fn delivery_service(call: &Call) -> Result<&Webhooks, Problem> {
    let webhooks = call.app.settings.webhooks.as_ref();
    webhooks.ok_or_else(|| {
        Problem::unavailable("webhooks_off", "this server does not deliver webhooks")
    })
}

/// The service that delivers has stopped, since the process is ending.
pub(crate) fn stopping() -> Problem {
    SubmitError::Stopping.into()
}

/// An answer that no cache may store.
pub(crate) fn uncached_json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let mut response = (status, Json(body)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
