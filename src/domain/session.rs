//! How a member signs in, and the sessions that come of it.
//!
//! A [`Session`] is there until it is ended; what has ended leaves the state and stays in the log.
//! [`SignInMeans`] stands apart from the member's record, so that no view which shows members holds
//! a password's hash. Both are changed by `State::apply` alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{EventId, OrganizationId, SessionId, UserId};
use super::personal::Personal;
use super::record::Stamp;
use super::secret::SecretHash;
use super::time::Timestamp;

const MINUTE_MS: i64 = 60 * 1_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// How long a session lasts: a working day with its overtime.
pub const SESSION_MS: i64 = 12 * HOUR_MS;
/// How long a session lasts without a request.
pub const IDLE_MS: i64 = HOUR_MS;
/// How long a sign-in link can be used.
pub const LINK_MS: i64 = 24 * HOUR_MS;
/// How long after its link a session may set a password without knowing the one before.
pub const RECENT_LINK_MS: i64 = 10 * MINUTE_MS;
/// Sessions of one member. The end of all of them, at most 1,500 bytes each, fits one batch beside
/// that of 5,000 credentials.
pub const SESSIONS_PER_USER_MAX: usize = 100;

/// What a member has signed in with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SignedInBy {
    /// A sign-in link.
    Link,
    /// E-mail address and password.
    Password,
}

impl SignedInBy {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Password => "password",
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The member signed out.
    SignedOut,
    /// The member's password changed.
    PasswordChanged,
    /// The member's role changed.
    RoleChanged,
    /// The membership ended.
    MemberRemoved,
    /// Its time was over when the member next signed in.
    Expired,
    /// The member signed in once more than there may be sessions, and this was the oldest.
    Limit,
}

impl SessionEnd {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::PasswordChanged => "password_changed",
            Self::RoleChanged => "role_changed",
            Self::MemberRemoved => "member_removed",
            Self::Expired => "expired",
            Self::Limit => "limit",
        }
    }
}

/// A member's session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The member's organization.
    pub organization: OrganizationId,
    /// The member.
    pub user: UserId,
    /// SHA-256 of its token.
    pub hash: SecretHash,
    /// What the member signed in with.
    pub by: SignedInBy,
    /// When its time is over, used or not.
    pub expires_at: Timestamp,
    /// When and why it ended, if it did.
    pub ended: Option<(Timestamp, SessionEnd)>,
    /// Version, position, origin.
    pub stamp: Stamp,
}

impl Session {
    /// Whether it is good at `now`, idle time apart.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.expires_at > now
    }

    /// Whether it began by a link so recently that it may set a password.
    #[must_use]
    pub fn is_of_recent_link(&self, now: Timestamp) -> bool {
        self.by == SignedInBy::Link && self.stamp.created_at.plus_ms(RECENT_LINK_MS) >= now
    }
}

/// A sign-in link that can be used once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignInLink {
    /// SHA-256 of its token.
    pub hash: SecretHash,
    /// When it can no longer be used.
    pub expires_at: Timestamp,
}

/// A member's password, as far as the ledger knows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MemberPassword {
    /// Its argon2id hash, sealed; blank once the person has been erased.
    pub hash: Personal,
    /// The event that holds the sealed hash; it opens in no other place.
    pub set_by: EventId,
}

/// What a member can sign in with now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignInMeans {
    /// The member.
    pub user: UserId,
    /// The member's organization.
    pub organization: OrganizationId,
    /// The link that was issued last, until it is used or ended.
    pub link: Option<SignInLink>,
    /// The password, once there is one.
    pub password: Option<MemberPassword>,
    /// Position of the last event that changed any of this.
    pub position: u64,
}

impl SignInMeans {
    /// Whether `hash` is that of a link which can be used at `now`.
    #[must_use]
    pub fn takes_link(&self, hash: SecretHash, now: Timestamp) -> bool {
        let link = self.link.as_ref();
        link.is_some_and(|link| link.hash == hash && link.expires_at > now)
    }
}

/// What changed of sessions and of the means to begin one.
#[derive(Debug, Default)]
pub struct SignInChanges {
    /// Sessions that began or ended.
    pub sessions: Vec<Arc<Session>>,
    /// Links and passwords; those of removed members are gone without a word here.
    pub means: Vec<Arc<SignInMeans>>,
}
