//! Rows of deliveries: how each stands, and which attempts were made of it.

use redb::{AccessGuard, ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize};

use super::DeliveryStoreError;
use crate::domain::ids::{DeliveryId, EndpointId, EventId};
use crate::domain::record::EventFilter;
use crate::domain::time::Timestamp;
use crate::webhooks::delivery::{AttemptOutcome, AttemptRecord, DeliveryCause, DeliveryStatus};

/// Deliveries, by endpoint and id.
pub(super) const DELIVERIES: TableDefinition<'_, (u128, u128), &[u8]> =
    TableDefinition::new("deliveries");

/// A row as it is found.
pub(super) type StoredRow<'a> = AccessGuard<'a, &'static [u8]>;
type Deliveries<'t> = Table<'t, (u128, u128), &'static [u8]>;

/// Attempts that a delivery names, newest ones: ten of the schedule, and those made by hand.
const ATTEMPTS_NAMED_MAX: usize = 50;

/// What an endpoint is sent of one event.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Delivery {
    pub event: EventId,
    /// Its position; `None` of a test.
    pub position: Option<u64>,
    /// Its type.
    pub name: String,
    pub standing: DeliveryStatus,
    /// When it is tried again.
    pub next_at: Option<Timestamp>,
    /// The numbers of its attempts.
    pub(super) attempts: Vec<u64>,
}

impl Delivery {
    /// Whether no leave to read the ledger is needed to see it or to send it once more.
    #[must_use]
    pub fn needs_no_ledger_read(&self) -> bool {
        self.position.is_none() || EventFilter::is_open(&self.name)
    }
}

/// Notes an attempt with its delivery.
pub(super) fn add_attempt(
    deliveries: &mut Deliveries<'_>,
    number: u64,
    attempted: &AttemptRecord,
) -> Result<(), DeliveryStoreError> {
    let key = (attempted.endpoint.ulid().0, attempted.delivery.ulid().0);
    let known: Option<Delivery> = super::decode_row(deliveries.get(key)?)?;
    let is_known = known.is_some();
    let mut delivery = known.unwrap_or_else(|| Delivery {
        event: attempted.event,
        position: attempted.position,
        name: attempted.name.clone(),
        standing: DeliveryStatus::Pending,
        next_at: None,
        attempts: Vec::new(),
    });
    let again = attempted.cause == DeliveryCause::Redelivery
        && attempted.outcome != AttemptOutcome::Delivered;
    // What was asked for once more and failed leaves all as it was.
    if !(again && is_known) {
        // What has arrived once has arrived, whatever becomes of it when it is sent again.
        if delivery.standing != DeliveryStatus::Delivered {
            delivery.standing = DeliveryStatus::from(attempted);
        }
        delivery.next_at = match attempted.outcome {
            AttemptOutcome::Failed { next_at } => next_at,
            AttemptOutcome::Delivered | AttemptOutcome::Dead => None,
        };
    }
    delivery.attempts.push(number);
    if delivery.attempts.len() > ATTEMPTS_NAMED_MAX {
        delivery.attempts.remove(0);
    }
    deliveries.insert(key, postcard::to_stdvec(&delivery)?.as_slice())?;
    Ok(())
}

/// Notes that a delivery is not going to be made.
pub(super) fn mark_skipped(
    deliveries: &mut Deliveries<'_>,
    endpoint: EndpointId,
    delivery: DeliveryId,
) -> Result<(), DeliveryStoreError> {
    let key = (endpoint.ulid().0, delivery.ulid().0);
    // Without an attempt there is nothing to show.
    let known: Option<Delivery> = super::decode_row(deliveries.get(key)?)?;
    if let Some(mut known) = known {
        // What has arrived once has arrived, although it was to come again.
        if known.standing != DeliveryStatus::Delivered {
            known.standing = DeliveryStatus::Skipped;
        }
        known.next_at = None;
        deliveries.insert(key, postcard::to_stdvec(&known)?.as_slice())?;
    }
    Ok(())
}

/// Forgets an attempt, and with the last one its delivery.
pub(super) fn remove_attempt(
    deliveries: &mut Deliveries<'_>,
    (endpoint, delivery): (EndpointId, DeliveryId),
    number: u64,
) -> Result<(), DeliveryStoreError> {
    let key = (endpoint.ulid().0, delivery.ulid().0);
    let known: Option<Delivery> = super::decode_row(deliveries.get(key)?)?;
    let Some(mut known) = known else {
        return Ok(());
    };
    known.attempts.retain(|named| *named != number);
    if known.attempts.is_empty() {
        deliveries.remove(key)?;
    } else {
        deliveries.insert(key, postcard::to_stdvec(&known)?.as_slice())?;
    }
    Ok(())
}
