//! What the past is told in: what changed in a credential, and who would have been accepted.

use serde::Serialize;
use utoipa::ToSchema;

use super::KeyRecord;

/// What happened to a credential between two moments.
#[derive(Serialize, ToSchema)]
pub(crate) struct DifferenceRecord {
    /// The credential.
    pub(crate) id: String,
    /// As it was at the earlier moment; null where it was not there yet.
    pub(crate) before: Option<KeyRecord>,
    /// As it was at the later one.
    pub(crate) after: KeyRecord,
    /// What was done to it meanwhile, in order.
    pub(crate) events: Vec<DeedRecord>,
}

/// An event, without what is in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeedRecord {
    pub(crate) position: u64,
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) name: &'static str,
    pub(crate) occurred_at: String,
    pub(crate) actor: DoerRecord,
}

/// Who did it.
#[derive(Serialize, ToSchema)]
pub(crate) struct DoerRecord {
    /// `user`, `service_account`, `credential`, `system` or `operator`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub(crate) kind: crate::domain::envelope::ActorType,
    pub(crate) id: Option<String>,
    /// The credential or session used.
    pub(crate) via: Option<String>,
}

/// A credential that would have been accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptedRecord {
    /// As it was.
    pub(crate) key: KeyRecord,
    /// Which of its secrets would have been accepted, the oldest first.
    pub(crate) secret_ids: Vec<String>,
}
