//! What is delivered to a webhook endpoint: looked at, tried, sent once more.
//!
//! What is tried goes out of turn, to a disabled endpoint too: tests whatever the filter, a
//! delivery only while the filter holds it. An answer says that it was begun; what became of it is
//! among the deliveries a moment later. Types that need the leave to read the ledger are shown and
//! sent once more with that leave alone, whatever the filter is or was.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::ledger::moment;
use crate::api::webhooks::delivery_record::{
    WebhookAttemptRecord, WebhookDeliveryRecord, WebhookStatusRecord,
};
use crate::api::webhooks::endpoints::{found_to_change, found_to_read};
use crate::api::webhooks::replay::check_authority;
use crate::api::webhooks::{delivery_service, endpoint_target, stopping, uncached_json};
use crate::domain::access::Action;
use crate::domain::event::Fact;
use crate::domain::ids::{DeliveryId, EndpointId, OrganizationId};
use crate::domain::record::WebhookEndpoint;
use crate::domain::rejection::Rejection;
use crate::ledger::Ledger;
use crate::ledger::turns::Turn;
use crate::web::body::{NoFields, one_of};
use crate::web::call::Call;
use crate::web::lists::{Query, array, limit, number, opened};
use crate::web::path::Path;
use crate::web::problem::{Problem, ProblemBody};
use crate::webhooks::delivery::AttemptOutcome;
use crate::webhooks::examples::ExampleEvent;
use crate::webhooks::matching;
use crate::webhooks::queue::UnreadRange;
use crate::webhooks::store::{AttemptQuery, DeliveryStore, DeliveryStoreError};
use crate::webhooks::{PING_EVENT_TYPE, RequestedAttempt, RequestedAttemptRefusal};

/// An example to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExampleAsk {
    /// A type of events, such as `api_key.created`.
    #[serde(rename = "type")]
    kind: String,
}

/// A delivery that was begun.
#[derive(Serialize, ToSchema)]
pub(crate) struct BegunDelivery {
    /// Where to look for what became of it, once the attempt has ended.
    id: String,
}

/// Which attempts are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttemptPages {
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    cursor: Option<String>,
    outcome: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Sends a test that shows the endpoint itself, marked by `webhook-test: true` and `"test": true`.
/// At most 10 a minute.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/ping",
    tag = "webhook deliveries",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 202, body = BegunDelivery), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn ping(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    request: Request,
) -> Result<Response, Problem> {
    let record = found_to_change(&call, endpoint_target(organization, endpoint))?;
    call.optional_json::<NoFields>(request).await?;
    begun(&call, &record, RequestedAttempt::Ping).await
}

/// Sends an example of a type of events, marked as a test. At most 10 a minute.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/example",
    tag = "webhook deliveries",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    request_body = ExampleAsk,
    responses((status = 202, body = BegunDelivery), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn example(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    request: Request,
) -> Result<Response, Problem> {
    let record = found_to_change(&call, endpoint_target(organization, endpoint))?;
    let asked = call.json::<ExampleAsk>(request).await?.value;
    let example = ExampleEvent::from_event_type(&asked.kind).ok_or_else(|| {
        let message = "must be a type of event that is delivered, such as api_key.created";
        Problem::invalid_field("event_type_not_delivered", "type", message)
    })?;
    begun(&call, &record, RequestedAttempt::ExampleEvent(example)).await
}

/// Lists attempts, newest first. One that has just ended is there within a moment. Events of other
/// types than `api_key.*`, `service_account.*` and `job.*` are listed for callers with
/// `ledger:read` alone.
#[utoipa::path(get,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/deliveries",
    tag = "webhook deliveries",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query),
        ("outcome" = Option<String>, Query, description = "`delivered`, `failed` or `dead`."),
        ("type" = Option<String>, Query, description = "A type of events, or `ping`.")),
    responses((status = 200, body = Vec<WebhookAttemptRecord>),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
    query: Query<AttemptPages>,
) -> Result<Response, Problem> {
    found_to_read(&call, endpoint_target(organization, endpoint)).await?;
    let store = delivery_service(&call)?.store().clone();
    let cursor = |text: &str| {
        let cursor = store.decode_cursor(endpoint, text);
        opened(&call.app, text, cursor.map_err(|_closed| unavailable())?)
    };
    let mut ask = query.read()?.ask(cursor)?;
    ask.exclude_ledger_reads = call.may(Action::ReceiveAllEvents, organization).is_err();
    let ledger = call.app.ledger.clone();
    let page = off_thread(&call, move |reading| {
        let page = reading.list_attempts(endpoint, &ask)?;
        let attempts = page.attempts.iter();
        let shown = attempts.map(|(_, made)| WebhookAttemptRecord::new(made, ledger.keys()));
        Ok((shown.collect::<Vec<_>>(), page.next))
    });
    let (records, next) = page.await?;
    let next = next.map(|before| store.encode_cursor(endpoint, before));
    Ok(array(&query.uri, &records, next.as_deref()))
}

/// Shows a delivery with its attempts. It is there once the first of them has ended. Other types
/// than `api_key.*`, `service_account.*` and `job.*` need `ledger:read`.
#[utoipa::path(get,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}\
        /deliveries/{delivery_id}",
    tag = "webhook deliveries",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path),
        ("delivery_id" = String, Path)),
    responses((status = 200, body = WebhookDeliveryRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    call: Call,
    Path((organization, endpoint, delivery)): Path<(OrganizationId, EndpointId, DeliveryId)>,
) -> Result<Response, Problem> {
    found_to_read(&call, endpoint_target(organization, endpoint)).await?;
    let ledger = call.app.ledger.clone();
    let record = off_thread(&call, move |store| {
        let Some(found) = store.find_delivery(endpoint, delivery)? else {
            return Ok(None);
        };
        let record = WebhookDeliveryRecord::new(delivery, &found, ledger.keys());
        Ok(Some((found.0, record)))
    });
    let (found, record) = record.await?.ok_or_else(no_delivery)?;
    if !found.needs_no_ledger_read() {
        call.may(Action::ReceiveAllEvents, organization)?;
    }
    Ok(uncached_json(StatusCode::OK, &record))
}

/// Sends a delivery once more, out of turn and whatever became of it, if the endpoint asks for its
/// event now. Other types than `api_key.*`, `service_account.*` and `job.*`, and events from before
/// the endpoint's creation, need `ledger:read`. It bears the same `webhook-id`, and
/// `webhook-redelivery: true` unless it is outstanding anyway, when its next attempt comes now. At
/// most 10 a minute.
#[utoipa::path(post,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}\
        /deliveries/{delivery_id}/redeliver",
    tag = "webhook deliveries",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path),
        ("delivery_id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 202, body = BegunDelivery), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn redeliver(
    call: Call,
    Path((organization, endpoint, delivery)): Path<(OrganizationId, EndpointId, DeliveryId)>,
    request: Request,
) -> Result<Response, Problem> {
    let record = found_to_change(&call, endpoint_target(organization, endpoint))?;
    call.optional_json::<NoFields>(request).await?;
    let found = off_thread(&call, move |store| store.find_delivery(endpoint, delivery)).await?;
    let (found, _) = found.ok_or_else(no_delivery)?;
    let Some(position) = found.position else {
        let detail = "a test is not delivered once more; send another one";
        return Err(Problem::new(StatusCode::CONFLICT, "test_delivery", detail));
    };
    check_authority(&call, &record, (found.needs_no_ledger_read(), position)).await?;
    check_filter(&call, &record, (&found.name, position)).await?;
    let event = found.event;
    begun(
        &call,
        &record,
        RequestedAttempt::Redelivery { event, position },
    )
    .await
}

/// Shows how an endpoint's deliveries stand.
#[utoipa::path(get,
    path = "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/status",
    tag = "webhook deliveries",
    params(("organization_id" = String, Path), ("endpoint_id" = String, Path)),
    responses((status = 200, body = WebhookStatusRecord), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn status(
    call: Call,
    Path((organization, endpoint)): Path<(OrganizationId, EndpointId)>,
) -> Result<Response, Problem> {
    let record = found_to_read(&call, endpoint_target(organization, endpoint)).await?;
    let shown = status_of(&call, &record).await?;
    Ok(uncached_json(StatusCode::OK, &shown))
}

/// How the deliveries of an endpoint stand, which the caller may read.
async fn status_of(call: &Call, record: &WebhookEndpoint) -> Result<WebhookStatusRecord, Problem> {
    let webhooks = delivery_service(call)?;
    if record.is_deleted() {
        return Ok(WebhookStatusRecord::default());
    }
    let overview = webhooks.backlog(record.id).await;
    let overview = overview.ok_or_else(stopping)?;
    let oldest_at = match overview.oldest_position {
        Some(oldest) => {
            let at = moment::off_thread(call, move |ledger| ledger.happened_at(oldest));
            Some(at.await??)
        }
        None => None,
    };
    Ok(WebhookStatusRecord::new(&overview, oldest_at))
}

/// Whether an endpoint asks for an event now.
async fn check_filter(
    call: &Call,
    record: &Arc<WebhookEndpoint>,
    (name, position): (&str, u64),
) -> Result<(), Problem> {
    let range = UnreadRange {
        to: Some(position.saturating_add(1)),
        ..UnreadRange::since(position)
    };
    let endpoint = Arc::clone(record);
    let count = move |ledger: &Ledger, turn: &mut Turn| {
        matching::count_matching_events(ledger, &endpoint, &range, turn)
    };
    if moment::in_turn(call, count).await?? > 0 {
        return Ok(());
    }
    let detail = format!(
        "the webhook endpoint does not ask for this event ({name}) now; add the type to its \
         event_types first"
    );
    Err(Problem::new(
        StatusCode::CONFLICT,
        "outside_filter",
        &detail,
    ))
}

/// Begins an attempt out of turn.
async fn begun(
    call: &Call,
    record: &Arc<WebhookEndpoint>,
    trial: RequestedAttempt,
) -> Result<Response, Problem> {
    let webhooks = delivery_service(call)?;
    if record.is_deleted() {
        return Err(Rejection::WebhookEndpointDeleted.into());
    }
    let begun = webhooks.begin_requested_attempt(record.id, trial).await;
    let id = begun.ok_or_else(stopping)??.to_string();
    Ok(uncached_json(StatusCode::ACCEPTED, &BegunDelivery { id }))
}

/// Reads of the file of deliveries are off the async threads, in turns.
async fn off_thread<T: Send + 'static>(
    call: &Call,
    read: impl FnOnce(&DeliveryStore) -> Result<T, DeliveryStoreError> + Send + 'static,
) -> Result<T, Problem> {
    let store = delivery_service(call)?.store().clone();
    let done = moment::in_turn(call, move |_ledger, _turn| read(&store)).await?;
    // The store has reported what is wrong with it.
    done.map_err(|_why| unavailable())
}

fn unavailable() -> Problem {
    Problem::unavailable(
        "deliveries_unavailable",
        "what webhooks have delivered cannot be read now; retry in a few seconds",
    )
}

fn no_delivery() -> Problem {
    Problem::not_found("delivery")
}

impl AttemptPages {
    fn ask(self, cursor: impl Fn(&str) -> Result<u64, Problem>) -> Result<AttemptQuery, Problem> {
        let limit = limit(self.limit)?;
        let before = self.cursor.map(|text| cursor(&text));
        let outcome = self.outcome.map(|name| {
            let known = AttemptOutcome::NAMES
                .into_iter()
                .find(|known| *known == name);
            known.ok_or_else(|| Problem::invalid_query("outcome", one_of(AttemptOutcome::NAMES)))
        });
        let known = |kind: &str| {
            let mut types = Fact::TYPES.iter().map(|(name, _)| *name);
            kind == PING_EVENT_TYPE || types.any(|name| name == kind)
        };
        if self.kind.as_deref().is_some_and(|kind| !known(kind)) {
            return Err(Problem::invalid_query(
                "type",
                "must be a type of event, such as api_key.created, or ping",
            ));
        }
        Ok(AttemptQuery {
            before_number: before.transpose()?,
            limit,
            outcome: outcome.transpose()?,
            name: self.kind,
            exclude_ledger_reads: false,
        })
    }
}

impl From<RequestedAttemptRefusal> for Problem {
    fn from(why: RequestedAttemptRefusal) -> Self {
        match why {
            RequestedAttemptRefusal::RateLimited { after_s } => {
                Self::too_many_trials(Duration::from_secs(after_s.into()))
            }
            // Deleted since it was found.
            RequestedAttemptRefusal::EndpointNotFound => Rejection::WebhookEndpointDeleted.into(),
            RequestedAttemptRefusal::BodyUnavailable => {
                tracing::error!("the body of a test cannot be made");
                Self::defect()
            }
        }
    }
}
