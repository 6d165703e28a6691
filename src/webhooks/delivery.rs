//! What is kept of an attempt, and how a delivery stands.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::domain::ids::{DeliveryId, EndpointId, EventId};
use crate::domain::record::EventFilter;
use crate::domain::time::Timestamp;
use crate::seal::KeyStore;
use crate::webhooks::attempt::AttemptFailure;
use crate::webhooks::stored_response::StoredResponse;

/// Bits of a ULID below its time.
const ULID_RANDOM_BITS: u32 = 80;

/// What an attempt was made for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum DeliveryCause {
    /// An event that happened, or that a replay has delivered again.
    Event,
    /// Somebody asked for this delivery once more.
    Redelivery,
    /// Somebody tried the endpoint.
    Ping,
    /// Somebody asked for an example of a type.
    ExampleEvent,
}

impl DeliveryCause {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Redelivery => "redelivery",
            Self::Ping => "ping",
            Self::ExampleEvent => "example",
        }
    }

    /// Whether it says nothing that happened.
    #[must_use]
    pub const fn is_test(self) -> bool {
        match self {
            Self::Ping | Self::ExampleEvent => true,
            Self::Event | Self::Redelivery => false,
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum AttemptOutcome {
    /// The endpoint has it.
    Delivered,
    /// It does not; what comes next depends on what the attempt was made for.
    Failed {
        /// When the next attempt is due.
        next_at: Option<Timestamp>,
    },
    /// It does not, and there is no further attempt.
    Dead,
}

impl AttemptOutcome {
    /// The wire names, for filters.
    pub const NAMES: [&'static str; 3] = ["delivered", "failed", "dead"];

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed { .. } => "failed",
            Self::Dead => "dead",
        }
    }
}

/// One attempt, as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AttemptRecord {
    pub endpoint: EndpointId,
    pub delivery: DeliveryId,
    /// What `webhook-id` said.
    pub event: EventId,
    /// The event's position; `None` of a test.
    pub position: Option<u64>,
    /// The event's type.
    pub name: String,
    /// What it was made for.
    pub cause: DeliveryCause,
    /// Attempts of this delivery that were made before, as far as the schedule counts them.
    pub attempts_before: u8,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The answer's status.
    pub status: Option<u16>,
    /// Why it failed.
    pub failure: Option<AttemptFailure>,
    /// What it came to.
    pub outcome: AttemptOutcome,
    /// What the answer's body begins with.
    pub response: StoredResponse,
}

impl AttemptRecord {
    /// What the answer's body begins with; empty after the erasure of the event's person.
    #[must_use]
    pub fn response_text(&self, keys: &KeyStore) -> String {
        self.response.open_text(keys, self.event)
    }
}

impl AttemptRecord {
    /// Whether no leave to read the ledger is needed to see it.
    #[must_use]
    pub fn needs_no_ledger_read(&self) -> bool {
        self.position.is_none() || EventFilter::is_open(&self.name)
    }
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum DeliveryStatus {
    /// It is tried again.
    Pending,
    /// It has arrived.
    Delivered,
    /// It has not, and nobody tries it by himself any more.
    Dead,
    /// The endpoint was enabled from a later event on, or no longer asks for it.
    Skipped,
}

impl DeliveryStatus {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Skipped => "skipped",
        }
    }
}

/// The id of what an endpoint is sent of an event: the event's instant, then a digest of both, so
/// that it is the same after whatever was lost, and in replays.
#[must_use]
pub fn delivery_id(endpoint: EndpointId, event: EventId) -> DeliveryId {
    let mut digest = Sha256::new();
    digest.update(endpoint.ulid().0.to_be_bytes());
    digest.update(event.ulid().0.to_be_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    let mut low = [0; 16];
    low.copy_from_slice(digest.split_at(16).0);
    let time = event.ulid().0 >> ULID_RANDOM_BITS << ULID_RANDOM_BITS;
    let random = u128::from_be_bytes(low) & ((1 << ULID_RANDOM_BITS) - 1);
    DeliveryId(Ulid(time | random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deliverys_id_is_of_its_event_and_its_endpoint() {
        let event = "evt_01H2XA9CKEB7WZG8RMN2KPQV7D".parse().unwrap();
        let of = |endpoint| delivery_id(EndpointId(Ulid(endpoint)), event).to_string();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).starts_with("dlv_01H2XA9CKE"), "{}", of(1));
    }
}
