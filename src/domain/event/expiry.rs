//! What the ledger says of credentials whose time is nearly over, or over.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// `api_key.expiring`: once for each lead.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyExpiring {
    /// When it expires.
    pub expires_at: Timestamp,
    /// The lead: so many times 24 hours ahead.
    pub days: u16,
    /// When the notice was due; later than the lead says only where the program stood still.
    pub due_at: Timestamp,
}

/// `api_key.expired`: a notice of what happened by itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyExpired {
    /// When it did.
    pub expires_at: Timestamp,
}
