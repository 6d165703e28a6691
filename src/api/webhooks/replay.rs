//! `.../webhook-endpoints/{endpoint_id}/replay`: a part of the log, delivered once more.
//!
//! Whoever may not read the ledger replays what the endpoint could have had anyway: events since it
//! was made, of types that need no such leave.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::ledger::moment::{in_turn, off_thread};
use crate::api::ledger::position;
use crate::api::ledger::position::first_position_from;
use crate::api::webhooks::endpoints::found_to_change;
use crate::api::webhooks::{delivery_service, endpoint_target, stopping, uncached_json};
use crate::domain::access::Action;
use crate::domain::ids::{EndpointId, OrganizationId, Subject};
use crate::domain::log_point::LogPoint;
use crate::domain::record::{EventFilter, WebhookEndpoint};
use crate::domain::rejection::Rejection;
use crate::ledger::Ledger;
use crate::ledger::history::HistoryError;
use crate::ledger::turns::Turn;
use crate::web::body::given;
use crate::web::call::Call;
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};
use crate::webhooks::matching;
use crate::webhooks::queue::UnreadRange;

/// What is to be delivered once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayAsk {
    /// The first position, or the first instant (RFC 3339).
    #[schema(schema_with = position::schema)]
    from: LogPoint,
    /// The position or the instant to stop before; all that there is unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = position::schema)]
    to: Option<LogPoint>,
    /// Of what the endpoint gets, only these: types, families as `api_key.*`, or `*`.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    types: Option<Vec<String>>,
    /// Only say how many there are.
    #[serde(default)]
    dry_run: bool,
}

/// What would be delivered.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayCount {
    /// How many events the endpoint would get.
    count: u64,
    /// The first position.
    from: u64,
    /// The position to stop before.
    to: u64,
}

/// What is delivered once more from now on.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayBegun {
    /// The first position.
    from: u64,
    /// The position to stop before.
    to: u64,
}

/// Delivers a part of the log once more: what the endpoint gets of it by its present filter, under
/// the same `webhook-id`s as before. It begins with `from` and stops before `to`, or at the log's
/// end. One at a time. With `dry_run` nothing is delivered, and the
/// answer is 200 with the count.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/replay",
    tag = "webhook deliveries",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    request_body = ReplayAsk,
    responses((status = 200, body = ReplayCount), (status = 202, body = ReplayBegun),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn replay(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    request: Request,
) -> Result<Response, Problem> {
    let record = found_to_change(&call, endpoint_target(organization, endpoint))?;
    let asked = call.json::<ReplayAsk>(request).await?.value;
    let types = asked.types.map(EventFilter::check).transpose();
    let types = types.map_err(|why| Problem::from(why).about("types"))?;
    let (from, to) = positions(&call, asked.from, asked.to).await?;
    let is_open = !record.event_types.needs_ledger_read();
    check_authority(&call, &record, (is_open, from)).await?;
    if record.is_deleted() {
        return Err(Rejection::WebhookEndpointDeleted.into());
    }
    let webhooks = delivery_service(&call)?;
    let range = UnreadRange {
        next: from,
        to: Some(to),
        types,
    };
    if asked.dry_run {
        let count = count(&call, record, range).await?;
        let body = ReplayCount { count, from, to };
        return Ok(uncached_json(StatusCode::OK, &body));
    }
    let conflict = |code, detail: &str| Err(Problem::new(StatusCode::CONFLICT, code, detail));
    if !record.is_active() {
        let detail = "the webhook endpoint is disabled; enable it first";
        return conflict("webhook_endpoint_disabled", detail);
    }
    let begun = webhooks.start_replay(endpoint, range).await;
    if !begun.ok_or_else(stopping)? {
        let detail = "a replay of this webhook endpoint is under way; wait until it is done";
        return conflict("replay_running", detail);
    }
    Ok(uncached_json(
        StatusCode::ACCEPTED,
        &ReplayBegun { from, to },
    ))
}

/// The positions that are asked for.
async fn positions(
    call: &Call,
    from: LogPoint,
    to: Option<LogPoint>,
) -> Result<(u64, u64), Problem> {
    let from = first_position_from(from, call).await?;
    let to = match to {
        Some(to) => first_position_from(to, call).await?,
        None => call.app.ledger.reader().next_position(),
    };
    if to < from {
        let message = "must not lie before from";
        return Err(Problem::invalid_field("field_invalid", "to", message));
    }
    Ok((from, to))
}

/// A caller without `ledger:read` gets no more by asking for it again than by waiting:
/// types that need no such leave, from the endpoint's creation on.
pub(crate) async fn check_authority(
    call: &Call,
    record: &Arc<WebhookEndpoint>,
    (is_open, from): (bool, u64),
) -> Result<(), Problem> {
    let Err(refused) = call.may(Action::ReceiveAllEvents, record.organization) else {
        return Ok(());
    };
    if !is_open {
        return Err(refused);
    }
    let id = record.id;
    let made_at = off_thread(call, move |ledger| made_at(ledger, id)).await??;
    if made_at.is_none_or(|made_at| from < made_at) {
        return Err(refused);
    }
    Ok(())
}

/// The position of the event that made an endpoint.
fn made_at(ledger: &Ledger, endpoint: EndpointId) -> Result<Option<u64>, HistoryError> {
    let first = ledger.events_of(Subject::WebhookEndpoint(endpoint), 0, 1)?;
    Ok(first.first().map(|past| past.event.position))
}

/// How many events an endpoint would get.
async fn count(
    call: &Call,
    record: Arc<WebhookEndpoint>,
    range: UnreadRange,
) -> Result<u64, Problem> {
    let running = call.hold_past()?;
    let read = move |ledger: &Ledger, turn: &mut Turn| {
        // It ends with the reading, also after the caller has gone away.
        let _running = running;
        matching::count_matching_events(ledger, &record, &range, turn)
    };
    Ok(in_turn(call, read).await??)
}
