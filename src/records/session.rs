//! A session as its member sees it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::SessionId;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;

/// A session, without its token.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionRecord {
    id: String,
    organization_id: String,
    member_id: String,
    /// `active` or `ended`.
    status: &'static str,
    /// Whether it is the one that asks.
    is_current: bool,
    /// `link` or `password`.
    signed_in_by: &'static str,
    version: u32,
    created_at: String,
    /// When it was last used, since the server started.
    last_seen_at: Option<String>,
    /// When its time is over; an hour without a request ends it before.
    expires_at: String,
    ended: Option<EndedSession>,
}

/// How a session ended.
#[derive(Serialize, ToSchema)]
struct EndedSession {
    at: String,
    /// `signed_out`, `password_changed`, `role_changed`, `member_removed`, `expired` or `limit`.
    reason: &'static str,
}

impl SessionRecord {
    /// The record for who comes by the session `current`.
    pub(crate) fn new(
        session: &Session,
        current: SessionId,
        last_seen_at: Option<Timestamp>,
    ) -> Self {
        Self {
            id: session.id.to_string(),
            organization_id: session.organization.to_string(),
            member_id: session.user.to_string(),
            status: if session.ended.is_some() {
                "ended"
            } else {
                "active"
            },
            is_current: session.id == current,
            signed_in_by: session.by.name(),
            version: session.stamp.version,
            created_at: session.stamp.created_at.to_string(),
            last_seen_at: last_seen_at.map(|at| at.to_string()),
            expires_at: session.expires_at.to_string(),
            ended: session.ended.map(|(at, reason)| EndedSession {
                at: at.to_string(),
                reason: reason.name(),
            }),
        }
    }
}
