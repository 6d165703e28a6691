//! A call made with a credential, as it is recorded, asked for and read back.

use std::net::IpAddr;

use super::VerificationCode;
use crate::domain::ids::{CredentialId, OrganizationId, SecretId, UserId};
use crate::domain::time::Timestamp;

/// A call made with a credential.
#[derive(Clone, Debug)]
pub struct CredentialCall<'a> {
    /// The organization of the credential.
    pub organization: OrganizationId,
    /// The member whose credential it is: what says where the member was is stored under the
    /// member's own key.
    pub person: Option<UserId>,
    pub credential: CredentialId,
    /// Which of its secrets, where that is known.
    pub secret: Option<SecretId>,
    /// When.
    pub at: Timestamp,
    /// Whether it was accepted, and why not.
    pub outcome: VerificationCode,
    /// The HTTP status.
    pub status: u16,
    /// How long it took, in microseconds.
    pub duration_us: u32,
    /// The path, without its query and without secrets; cut to 1,024 bytes.
    pub endpoint: &'a str,
    /// The method; cut to 32 bytes.
    pub method: &'a str,
    /// The request's id; cut to 128 bytes.
    pub request_id: Option<&'a str>,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The client's own name; cut to 256 bytes.
    pub user_agent: Option<&'a str>,
    /// The credential that reported it afterwards; `None`: this server saw it.
    pub reporter: Option<CredentialId>,
    /// The scopes that it exercised, if it was accepted.
    pub scopes: &'a [&'a str],
}

/// A call as it is read back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredCall {
    /// `usage_` and a ULID.
    pub id: String,
    /// See [`CredentialCall::credential`]; so on below.
    pub credential: CredentialId,
    pub secret: Option<SecretId>,
    /// When.
    pub at: Timestamp,
    /// Whether it was accepted.
    pub outcome: VerificationCode,
    /// The HTTP status.
    pub status: u16,
    /// Microseconds.
    pub duration_us: u32,
    /// The path.
    pub endpoint: String,
    pub method: String,
    /// The request's id.
    pub request_id: Option<String>,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The client's own name.
    pub user_agent: Option<String>,
    /// The credential that reported it.
    pub reporter: Option<CredentialId>,
}

/// What is known of a credential's use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CredentialUsage {
    /// When it was last accepted here.
    pub last_used_at: Option<Timestamp>,
    /// When it was last used elsewhere, as reported.
    pub last_reported_at: Option<Timestamp>,
    /// Calls that were accepted here.
    pub accepted: u64,
    /// Calls that were refused here.
    pub denied: u64,
    /// Calls that were reported.
    pub reported: u64,
}

/// Where a reading goes on: among the kept calls, and in the overflow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CallsCursor {
    pub(super) kept_address: u64,
    pub(super) overflow_address: u64,
}

/// Which calls are asked for.
#[derive(Clone, Copy, Debug)]
pub struct CallsQuery {
    /// At most so many.
    pub limit: usize,
    /// Where an earlier reading ended.
    pub before: Option<CallsCursor>,
    /// Calls of this instant and later.
    pub from: Option<Timestamp>,
    /// Calls before this instant.
    pub to: Option<Timestamp>,
    /// Calls with this outcome.
    pub outcome: Option<VerificationCode>,
}

/// Calls, newest first in the order in which they were recorded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallsPage {
    pub calls: Vec<StoredCall>,
    /// Where to go on; `None` at the end.
    pub next: Option<CallsCursor>,
}

/// The length of a bucket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BucketSize {
    Hour,
    /// A day, UTC.
    Day,
}

/// Which buckets are asked for.
#[derive(Clone, Copy, Debug)]
pub struct UsageSummaryQuery {
    /// How long one is.
    pub bucket: BucketSize,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after the last.
    pub to: Timestamp,
}

/// The counts of one bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BucketSummary {
    /// When it begins.
    pub start: Timestamp,
    /// All calls.
    pub calls: u64,
    pub outcomes: Vec<(VerificationCode, u64)>,
    /// By endpoint, most first; `(other)` sums up the rest.
    pub endpoints: Vec<(String, u64)>,
    /// By address, most first.
    pub addresses: Vec<(String, u64)>,
    /// Calls among them whose detail was shed.
    pub detail_shed: u64,
}
