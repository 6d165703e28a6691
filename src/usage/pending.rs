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

use super::outcome::outcome_byte;
use super::record::{Shed, put_call};
use super::{Call, Report, UsageError};
use crate::domain::ids::{CredentialId, OrganizationId, SecretId};

/// Parts of the buffer that one organization may fill beyond the first half, and one credential:
/// with 32 MiB, 1 MiB and 256 KiB, more than a thousand calls a tenth of a second.
const ORGANIZATION_PART: usize = 32;
const CREDENTIAL_PART: usize = 128;

/// The part of the buffer that one organization's reports may fill: the longest report.
const REPORTS_PART: usize = 4;

/// Somebody who waits for what was recorded before.
#[derive(Debug)]
pub(super) enum Waiter {
    /// Until it is counted and written.
    Settled(SyncSender<()>),
    /// Until it is on disk.
    Synced(oneshot::Sender<Result<(), UsageError>>),
}

/// Calls whose detail was shed, by credential, secret, outcome, and whether they were reported.
pub(super) type Sheds = BTreeMap<(CredentialId, Option<SecretId>, u8, bool), Shed>;

/// One filling of the buffer.
#[derive(Debug, Default)]
pub(super) struct Filling {
    pub(super) records: Vec<u8>,
    /// Records of reports, which follow, in the pieces that they came in.
    pub(super) reported: Vec<Vec<u8>>,
    pub(super) sheds: Sheds,
    pub(super) waiters: Vec<Waiter>,
    /// Bytes beyond the first half, by the organization that filled them.
    organizations: BTreeMap<OrganizationId, usize>,
    credentials: BTreeMap<CredentialId, usize>,
    /// Bytes of reports, in all and by organization.
    reported_bytes: usize,
    reports: BTreeMap<OrganizationId, usize>,
}

impl Filling {
    /// Bytes of all records.
    fn bytes(&self) -> usize {
        self.records.len() + self.reported_bytes
    }

    /// Adds a call unless there is no room for it any more.
    fn add(&mut self, call: &Call<'_>, bytes_max: usize) -> bool {
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
struct Inside {
    filling: Filling,
    stopping: bool,
    /// Whoever waits for the next filling has been woken already.
    woken: bool,
}

/// The buffer.
#[derive(Debug)]
pub(super) struct Pending {
    inside: Mutex<Inside>,
    news: Condvar,
    bytes_max: usize,
}

impl Pending {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            inside: Mutex::default(),
            news: Condvar::new(),
            bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records calls, in their order.
    pub(super) fn record<'a>(&self, calls: impl Iterator<Item = Call<'a>>) {
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
    pub(super) fn report(
        &self,
        report: Report,
    ) -> Result<oneshot::Receiver<Result<(), UsageError>>, UsageError> {
        let bytes = report.bytes();
        let (waiter, written) = oneshot::channel();
        let mut inside = self.lock();
        let bytes_max = self.bytes_max / 4 * 3;
        if inside.stopping || inside.filling.bytes() + bytes > bytes_max {
            return Err(UsageError::Busy);
        }
        if let Some(organization) = report.organization() {
            // Where nothing of it waits, an organization may report as much as one report holds.
            let waiting = inside.filling.reports.entry(organization).or_default();
            if *waiting > 0 && *waiting + bytes > self.bytes_max / REPORTS_PART {
                return Err(UsageError::Busy);
            }
            *waiting += bytes;
        }
        inside.filling.reported_bytes += bytes;
        inside.filling.reported.extend(report.into_pieces());
        inside.filling.waiters.push(Waiter::Synced(waiter));
        inside.woken = true;
        drop(inside);
        self.news.notify_one();
        Ok(written)
    }

    /// Wakes the writing thread for somebody who waits; `false` if it has ended.
    pub(super) fn wait_for(&self, waiter: Waiter) -> bool {
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
    pub(super) fn take(&self, time: Duration, spare: Vec<u8>) -> (Filling, bool) {
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
        let next = Filling {
            records: spare,
            ..Filling::default()
        };
        let filling = mem::replace(&mut inside.filling, next);
        (filling, !inside.stopping)
    }

    /// Takes nothing more that anybody waits for.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.news.notify_one();
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.lock().filling.bytes()
    }
}

/// Counts calls whose detail is not kept.
pub(super) fn add_shed(sheds: &mut Sheds, new: Shed) {
    let key = (
        new.credential,
        new.secret,
        outcome_byte(new.outcome),
        new.reported,
    );
    let shed = sheds.entry(key).or_insert(Shed { count: 0, ..new });
    shed.count = shed.count.saturating_add(new.count);
    shed.at = shed.at.max(new.at);
}

fn shed(sheds: &mut Sheds, call: &Call<'_>) {
    let shed = Shed {
        organization: call.organization,
        credential: call.credential,
        secret: call.secret,
        outcome: call.outcome,
        reported: call.reporter.is_some(),
        count: 1,
        at: call.at,
    };
    add_shed(sheds, shed);
}
