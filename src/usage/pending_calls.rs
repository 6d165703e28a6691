//! What has been recorded and is not written yet: the one place where calls meet the stream.
//!
//! Owns a bounded buffer of records in the order of their recording. Must never wait for a disk:
//! the lock is held for one copy. Up to half of the buffer is for any caller; of the other half
//! each organization and each credential has a share, and the last quarter is not for reports, so
//! that one who floods sheds its own detail. The count of a call is never shed.

use std::collections::BTreeMap;
use std::mem;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::call_record::{ShedCount, put_call};
use super::outcome_byte::outcome_byte;
use super::{CallReport, CredentialCall, UsageError};
use crate::domain::ids::{CredentialId, OrganizationId, SecretId};

/// Parts of the buffer that one organization may fill beyond the first half, and one credential:
/// with 32 MiB, 1 MiB and 256 KiB, more than a thousand calls a tenth of a second.
const ORGANIZATION_PART: usize = 32;
const CREDENTIAL_PART: usize = 128;

/// The part of the buffer that one organization's reports may fill: the longest report.
const REPORTS_PART: usize = 4;

/// A waiter for what was recorded before.
#[derive(Debug)]
pub(super) enum PendingWaiter {
    /// Until it is counted and written.
    Settled(SyncSender<()>),
    /// Until it is on disk.
    Synced(oneshot::Sender<Result<(), UsageError>>),
}

/// Calls whose detail was shed, by credential, secret, outcome, and whether they were reported.
pub(super) type ShedCounts = BTreeMap<(CredentialId, Option<SecretId>, u8, bool), ShedCount>;

/// What has been recorded since the writing thread last took a batch.
#[derive(Debug, Default)]
pub(super) struct PendingBatch {
    pub(super) records: Vec<u8>,
    /// Records of reports, which follow, in the pieces that they came in.
    pub(super) report_pieces: Vec<Vec<u8>>,
    pub(super) sheds: ShedCounts,
    pub(super) waiters: Vec<PendingWaiter>,
    /// Bytes beyond the first half, by the organization that filled them.
    organizations: BTreeMap<OrganizationId, usize>,
    credentials: BTreeMap<CredentialId, usize>,
    /// Bytes of reports, in all and by organization.
    reported_bytes: usize,
    reports: BTreeMap<OrganizationId, usize>,
}

impl PendingBatch {
    /// Bytes of all records.
    fn bytes(&self) -> usize {
        self.records.len() + self.reported_bytes
    }

    /// Adds a call unless there is no room for it any more.
    fn add(&mut self, call: &CredentialCall<'_>, bytes_max: usize) -> bool {
        let before = self.bytes();
        if before < bytes_max / 2 {
            put_call(&mut self.records, call);
            return true;
        }
        if before >= bytes_max {
            return false;
        }
        let all = self.organizations.entry(call.organization).or_default();
        let own = self.credentials.entry(call.credential).or_default();
        if *all >= bytes_max / ORGANIZATION_PART || *own >= bytes_max / CREDENTIAL_PART {
            return false;
        }
        let start = self.records.len();
        put_call(&mut self.records, call);
        let bytes = self.records.len() - start;
        *all += bytes;
        *own += bytes;
        true
    }
}

#[derive(Debug, Default)]
struct PendingState {
    filling: PendingBatch,
    stopping: bool,
    /// The writing thread has been woken for the next batch already.
    woken: bool,
}

/// The buffer.
#[derive(Debug)]
pub(super) struct PendingCalls {
    inside: Mutex<PendingState>,
    news: Condvar,
    bytes_max: usize,
}

impl PendingCalls {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            inside: Mutex::default(),
            news: Condvar::new(),
            bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, PendingState> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records calls, in their order.
    pub(super) fn record_calls<'a>(&self, calls: impl Iterator<Item = CredentialCall<'a>>) {
        let mut inside = self.lock();
        for call in calls {
            if !inside.filling.add(&call, self.bytes_max) {
                shed(&mut inside.filling.sheds, &call);
            }
        }
        // Half full: the writing thread should not wait for its time.
        if inside.filling.bytes() >= self.bytes_max / 2 && !inside.woken {
            inside.woken = true;
            drop(inside);
            self.news.notify_one();
        }
    }

    /// Takes a report whole or not at all, and says when it is on disk.
    pub(super) fn record_report(
        &self,
        report: CallReport,
    ) -> Result<oneshot::Receiver<Result<(), UsageError>>, UsageError> {
        let bytes = report.byte_count();
        let (waiter, written) = oneshot::channel();
        let mut inside = self.lock();
        let bytes_max = self.bytes_max / 4 * 3;
        if inside.stopping || inside.filling.bytes() + bytes > bytes_max {
            return Err(UsageError::TooManyPending);
        }
        if let Some(organization) = report.organization() {
            // Where nothing of it waits, an organization may report as much as one report holds.
            let waiting = inside.filling.reports.entry(organization).or_default();
            if *waiting > 0 && *waiting + bytes > self.bytes_max / REPORTS_PART {
                return Err(UsageError::TooManyPending);
            }
            *waiting += bytes;
        }
        inside.filling.reported_bytes += bytes;
        inside.filling.report_pieces.extend(report.into_pieces());
        inside.filling.waiters.push(PendingWaiter::Synced(waiter));
        inside.woken = true;
        drop(inside);
        self.news.notify_one();
        Ok(written)
    }

    /// Adds a waiter and wakes the writing thread; `false` if that has ended.
    pub(super) fn add_waiter(&self, waiter: PendingWaiter) -> bool {
        let mut inside = self.lock();
        if inside.stopping {
            return false;
        }
        inside.filling.waiters.push(waiter);
        inside.woken = true;
        drop(inside);
        self.news.notify_one();
        true
    }

    /// Waits for at most `time`, less if there is a reason, and takes what there is; `spare` is an
    /// empty buffer to go on with. Says whether more will come.
    pub(super) fn take_batch(&self, time: Duration, spare: Vec<u8>) -> (PendingBatch, bool) {
        let mut inside = self.lock();
        if !inside.stopping && !inside.woken {
            let waited = self
                .news
                .wait_timeout_while(inside, time, |inside| !inside.stopping && !inside.woken);
            inside = match waited {
                Ok((inside, _)) => inside,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        inside.woken = false;
        let next = PendingBatch {
            records: spare,
            ..PendingBatch::default()
        };
        let filling = mem::replace(&mut inside.filling, next);
        (filling, !inside.stopping)
    }

    /// Stops: no more waiters and reports are accepted.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.news.notify_one();
    }

    /// Bytes that wait to be written.
    pub(super) fn pending_bytes(&self) -> usize {
        self.lock().filling.bytes()
    }
}

/// Counts calls whose detail is not kept.
pub(super) fn add_shed_count(sheds: &mut ShedCounts, new: ShedCount) {
    let key = (
        new.credential,
        new.secret,
        outcome_byte(new.outcome),
        new.reported,
    );
    let shed = sheds.entry(key).or_insert(ShedCount { count: 0, ..new });
    shed.count = shed.count.saturating_add(new.count);
    shed.at = shed.at.max(new.at);
}

fn shed(sheds: &mut ShedCounts, call: &CredentialCall<'_>) {
    let shed = ShedCount {
        organization: call.organization,
        credential: call.credential,
        secret: call.secret,
        outcome: call.outcome,
        reported: call.reporter.is_some(),
        count: 1,
        at: call.at,
    };
    add_shed_count(sheds, shed);
}
