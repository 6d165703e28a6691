//! The usage history, called as the service calls it, on real files in a temporary folder.

mod calls;
mod damage;
mod limits;
mod model;
mod personal;
mod record;
mod shares;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use ulid::Ulid;

use super::{CallsQuery, CredentialCall, UsageHistory, UsageSettings, VerificationCode};
use crate::clock::{Clock, ManualClock};
use crate::domain::ids::{CredentialId, OrganizationId, SecretId};
use crate::domain::time::Timestamp;

/// 2026-04-24T15:30:00.000Z.
const START: Timestamp = Timestamp(1_777_044_600_000);
const LOG_ID: [u8; 16] = [7; 16];

/// A history in a folder of its own, whose clock does not move.
struct World {
    folder: TempDir,
    hands: Arc<ManualClock>,
    settings: UsageSettings,
    usage: UsageHistory,
}

impl World {
    fn new() -> Self {
        Self::with(|settings| settings)
    }

    fn with(change: impl FnOnce(UsageSettings) -> UsageSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(START.0);
        let path = folder.path().join("usage");
        let settings = change(UsageSettings {
            headroom_bytes: 0,
            // Only a waiter makes the thread write.
            flush_every: Duration::from_secs(3_600),
            ..UsageSettings::with_defaults(path, LOG_ID, clock)
        });
        let usage = UsageHistory::open(settings.clone()).unwrap();
        Self {
            folder,
            hands,
            settings,
            usage,
        }
    }

    /// Stops in order and opens again.
    fn restart(&mut self) {
        self.usage.write_and_stop();
        self.usage = UsageHistory::open(self.settings.clone()).unwrap();
    }

    /// The folder as a process leaves it that is killed now, opened as another history.
    fn killed(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage");
        copy(&self.settings.folder, &path);
        let settings = UsageSettings {
            folder: path,
            ..self.settings.clone()
        };
        let usage = UsageHistory::open(settings.clone()).unwrap();
        Self {
            folder,
            hands: Arc::clone(&self.hands),
            settings,
            usage,
        }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.settings.folder.join("calls")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    fn record(&self, call: &CredentialCall<'_>) {
        self.usage.record_call(call);
    }

    /// The endpoints of the last calls, newest first.
    fn last(&self, credential: CredentialId, limit: usize) -> Vec<String> {
        let ask = CallsQuery { limit, ..ASK };
        let page = self.usage.last_calls(credential, &ask).unwrap();
        page.calls.into_iter().map(|call| call.endpoint).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.usage.write_and_stop();
        assert!(self.folder.path().exists());
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

const ASK: CallsQuery = CallsQuery {
    limit: 1_000,
    before: None,
    from: None,
    to: None,
    outcome: None,
};

fn key(number: u128) -> CredentialId {
    CredentialId(Ulid(number))
}

fn call(credential: CredentialId, endpoint: &str) -> CredentialCall<'_> {
    CredentialCall {
        organization: OrganizationId(Ulid(1)),
        person: None,
        credential,
        secret: Some(SecretId(Ulid(credential.ulid().0 + 1_000))),
        at: START,
        outcome: VerificationCode::Valid,
        status: 200,
        duration_us: 1_500,
        endpoint,
        method: "GET",
        request_id: Some("req-1"),
        ip: Some(IpAddr::from([203, 0, 113, 10])),
        user_agent: Some("curl/8.4"),
        reporter: None,
        scopes: &[],
    }
}

fn report_of(calls: &[CredentialCall<'_>]) -> super::CallReport {
    let mut report = super::CallReport::default();
    for call in calls {
        report.add_call(call);
    }
    report
}

fn reported(credential: CredentialId, endpoint: &str) -> CredentialCall<'_> {
    CredentialCall {
        reporter: Some(key(99)),
        ..call(credential, endpoint)
    }
}
