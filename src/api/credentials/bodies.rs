//! The bodies that commands on credentials of any kind have in common.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::command::Expiry;
use crate::domain::time::Timestamp;
use crate::web::problem::Problem;

/// Why a credential is revoked.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeRequest {
    /// At most 500 characters.
    pub(crate) reason: Option<String>,
}

/// How a credential is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateRequest {
    /// How long the old secret lives on; 0 unless said otherwise, at most 2592000.
    pub(crate) grace_period_seconds: Option<u32>,
}

/// How a credential is replaced.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplaceRequest {
    /// 1 to 3650; not together with `expires_at`. The old one's expiry unless one is given.
    expires_in_days: Option<u32>,
    /// RFC 3339; not together with `expires_in_days`.
    expires_at: Option<String>,
}

impl ReplaceRequest {
    pub(crate) fn expiry(&self) -> Result<Option<Expiry>, Problem> {
        let asked = expiry(self.expires_in_days, self.expires_at.as_deref())?;
        Ok((asked != Expiry::Never).then_some(asked))
    }
}

/// The expiry that a body asks for.
pub(crate) fn expiry(days: Option<u32>, at: Option<&str>) -> Result<Expiry, Problem> {
    match (days, at) {
        (Some(_), Some(_)) => Err(wrong("not together with expires_in_days")),
        (Some(days), None) => Ok(Expiry::InDays(days)),
        (None, None) => Ok(Expiry::Never),
        (None, Some(at)) => Timestamp::parse(at)
            .map(Expiry::At)
            .map_err(|why| wrong(&why.to_string())),
    }
}

/// The expiry that an edit asks for: `null` takes it away, whichever of both fields has it.
pub(crate) fn new_expiry(
    at: Option<Option<&str>>,
    days: Option<Option<u32>>,
) -> Result<Option<Expiry>, Problem> {
    match (at, days) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(wrong("not together with expires_in_days")),
        (Some(at), None) => expiry(None, at).map(Some),
        (None, Some(days)) => expiry(days, None).map(Some),
    }
}

fn wrong(message: &str) -> Problem {
    Problem::invalid_field("expiry_invalid", "expires_at", message)
}
