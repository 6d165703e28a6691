//! A call made with a credential, as it is recorded, asked for and read back.

use std::net::IpAddr;

use super::Outcome;
use crate::domain::ids::{CredentialId, OrganizationId, SecretId, UserId};
use crate::domain::time::Timestamp;

/// A call made with a credential.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Whose the credential is.
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
    pub outcome: Outcome,
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
    /// Who told of it afterwards; `None`: this server saw it.
    pub reporter: Option<CredentialId>,
    /// The scopes that it exercised, if it was accepted.
    pub scopes: &'a [&'a str],
}

/// A call as it is read back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PastCall {
    /// `usage_` and a ULID.
    pub id: String,
    /// See [`Call::credential`]; so on below.
    pub credential: CredentialId,
    pub secret: Option<SecretId>,
    /// When.
    pub at: Timestamp,
    /// Whether it was accepted.
    pub outcome: Outcome,
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
    /// Who told of it.
    pub reporter: Option<CredentialId>,
}

/// What is known of a credential's use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeyUsage {
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
pub struct Cursor {
    pub(super) kept: u64,
    pub(super) overflow: u64,
}

/// Which calls are asked for.
#[derive(Clone, Copy, Debug)]
pub struct CallsAsk {
    /// At most so many.
    pub limit: usize,
    /// Where an earlier reading ended.
    pub before: Option<Cursor>,
    /// Calls of this instant and later.
    pub from: Option<Timestamp>,
    /// Calls before this instant.
    pub to: Option<Timestamp>,
    /// Calls with this outcome.
    pub outcome: Option<Outcome>,
}

/// Calls, newest first in the order in which they were recorded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallsPage {
    pub calls: Vec<PastCall>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// The length of a bucket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bucket {
    Hour,
    /// A day, UTC.
    Day,
}

/// Which buckets are asked for.
#[derive(Clone, Copy, Debug)]
pub struct SummaryAsk {
    /// How long one is.
    pub bucket: Bucket,
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
    pub outcomes: Vec<(Outcome, u64)>,
    /// By endpoint, most first; `(other)` stands for the rest.
    pub endpoints: Vec<(String, u64)>,
    /// By address, most first.
    pub addresses: Vec<(String, u64)>,
    /// Calls among them whose detail was shed.
    pub detail_shed: u64,
}
