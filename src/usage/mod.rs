//! The usage history: where and when every credential was used.
//!
//! A second stream beside the ledger's log, made for volume and not for proof: a call is recorded
//! in well under a microsecond and never waits for a disk. Owns `DATA/usage`: segments of records
//! (`usage_stream`, `call_record`), hourly roll-ups of them (`hour_tally`), what is known of each
//! credential in RAM (`usage_table`) with its checkpoint. Must never delay a verification, and
//! never decide anything.
//!
//! **Shares.** Half of the room holds what is kept for certain: each organization and each
//! credential has a share of it (`retention_shares`), so that no one's calls push another's out.
//! Accepted calls beyond go to the overflow, the other half, where the oldest of all go first;
//! refused ones are counted (`collapsed_calls`). A credential's records of both streams are read as
//! one list.
//!
//! Calls flow in by [`UsageHistory::record_call`] into a bounded buffer (`pending_calls`); one
//! thread (`usage_writer`) counts them (`call_sorter`), links each record to its credential's one
//! before and appends them; readers (`read_calls`) follow the links. `crate::workers` has the
//! ledger record digests of sealed segments, and ended secrets that were presented.
//!
//! **What can be lost.** While the process lives every count is exact, also of calls whose detail
//! was shed since more came than could be written. A process that is killed loses at most what was
//! recorded in its last 100 ms or so, a machine that loses power about a second: counts are then
//! lower bounds, and [`UsageHistory::gaps`] names the interval.
//!
//! **Anchors.** The digest of a segment is the SHA-256 of its whole file; that of several is the
//! SHA-256 of their digests in their order. The ledger stores it in `usage.sealed`. The overflow is
//! not anchored.

mod call_record;
mod call_report;
mod call_sorter;
mod call_texts;
mod collapsed_calls;
mod credential_call;
mod ended_secret_usage;
mod hour_tally;
pub(crate) mod misplaced;
mod open;
mod outcome_byte;
mod pending_calls;
mod personal_sealer;
mod read_calls;
mod retention_shares;
mod roll_ups;
mod secret_usage;
mod segment_checker;
mod stream_blocks;
mod usage_checkpoint;
mod usage_settings;
mod usage_stream;
mod usage_table;
mod usage_writer;

#[cfg(test)]
mod tests;

pub use crate::views::index::VerificationCode;
pub use call_report::CallReport;
pub use collapsed_calls::CollapsedCalls;
pub use credential_call::{
    BucketSize, BucketSummary, CallsCursor, CallsPage, CallsQuery, CredentialCall, CredentialUsage,
    StoredCall, UsageSummaryQuery,
};
pub use usage_settings::{UsageRetention, UsageSettings};

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::degraded::DegradedParts;
use crate::domain::ids::{CredentialId, OrganizationId, SecretId};
use crate::domain::time::Timestamp;
use crate::seal::cursor_key::CursorKey;
use ended_secret_usage::EndedSecretUsages;
use pending_calls::{PendingCalls, PendingWaiter};
use personal_sealer::PersonalSealer;
use usage_stream::{StreamSegment, UsageStream};
use usage_table::{CountingState, UsageTable};

/// An interval in which calls may be missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordingGap {
    /// The last instant that is there.
    pub from: Timestamp,
    /// When recording went on.
    pub to: Timestamp,
}

/// Ended secrets of a credential that were presented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndedSecretUsage {
    /// The organization of the credential.
    pub organization: OrganizationId,
    pub credential: CredentialId,
    /// The secret that was presented last.
    pub secret: Option<SecretId>,
    /// Why it was not accepted.
    pub outcome: VerificationCode,
    /// How often.
    pub count: u64,
    /// When for the first time.
    pub first_at: Timestamp,
    /// When for the last time.
    pub last_at: Timestamp,
}

/// Sealed segments that follow each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SealedSegments {
    /// Address of their first byte.
    pub from: u64,
    /// The address after their last byte.
    pub to: u64,
    /// How many.
    pub segments: u32,
    /// Records in them.
    pub records: u64,
    /// The earliest instant in them.
    pub first_at: Timestamp,
    /// The latest.
    pub last_at: Timestamp,
    /// SHA-256 of their digests.
    pub digest: [u8; 32],
}

/// Counters and sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UsageStats {
    /// Records written since the start.
    pub recorded: u64,
    /// Calls since the start that were counted and whose detail was shed.
    pub shed: u64,
    /// Bytes of all segments.
    pub segment_bytes: u64,
    /// Bytes that wait to be written.
    pub pending_bytes: usize,
    pub segments: usize,
    /// Credentials that were ever used.
    pub credentials: usize,
}

/// Why the usage history could not be opened, read or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UsageError {
    /// As much waits to be written as may wait.
    #[error("too many calls are waiting to be written; retry later")]
    TooManyPending,
    /// There is no room on the disk.
    #[error("the disk has no room for usage")]
    DiskFull,
    /// The disk failed.
    #[error("the usage history cannot be read or written ({0})")]
    Io(io::ErrorKind),
}

impl UsageError {
    fn from_io(why: &io::Error) -> Self {
        let kind = why.kind();
        if matches!(
            kind,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            Self::DiskFull
        } else {
            Self::Io(kind)
        }
    }
}

impl From<io::Error> for UsageError {
    fn from(why: io::Error) -> Self {
        Self::from_io(&why)
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
struct Counters {
    recorded: AtomicU64,
    shed: AtomicU64,
}

impl Counters {
    fn recorded(&self, calls: u32) {
        self.recorded.fetch_add(u64::from(calls), Ordering::Relaxed);
    }

    fn shed(&self, calls: u64) {
        self.shed.fetch_add(calls, Ordering::Relaxed);
    }
}

fn cursor_list_id(credential: CredentialId, restores: usize) -> Vec<u8> {
    let credential = credential.ulid().0.to_le_bytes();
    [credential.as_slice(), &restores.to_le_bytes()].concat()
}

/// What callers, the writing thread and readers share.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    clock: Clock,
    retention: UsageRetention,
    flush_every: Duration,
    headroom_bytes: u64,
    tracked_since: Timestamp,
    pending: PendingCalls,
    keys: UsageTable,
    personal: PersonalSealer,
    /// Calls that are kept for certain.
    stream: Mutex<UsageStream>,
    /// Calls beyond their credentials' and organizations' shares.
    overflow: Mutex<UsageStream>,
    cursor_key: CursorKey,
    roll_ups: Mutex<UsageStream>,
    /// Roll-ups beyond the shares.
    roll_ups_overflow: Mutex<UsageStream>,
    gaps: Vec<RecordingGap>,
    ended_uses: Mutex<EndedSecretUsages>,
    numbers: Counters,
    /// Whether the disk refused the newest records.
    full: AtomicBool,
    degraded: DegradedParts,
}

impl Shared {
    fn stream(&self) -> MutexGuard<'_, UsageStream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn overflow(&self) -> MutexGuard<'_, UsageStream> {
        self.overflow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roll_ups(&self) -> MutexGuard<'_, UsageStream> {
        self.roll_ups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roll_ups_overflow(&self) -> MutexGuard<'_, UsageStream> {
        self.roll_ups_overflow
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ended_uses(&self) -> MutexGuard<'_, EndedSecretUsages> {
        self.ended_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that exists while a process writes.
    fn running_mark_path(&self) -> PathBuf {
        self.folder.join("running")
    }

    fn checkpoint_head(&self, counting: &CountingState) -> usage_checkpoint::UsageCheckpointHead {
        let (stream, roll_ups, overflow) = (self.stream(), self.roll_ups(), self.overflow());
        let roll_ups_overflow = self.roll_ups_overflow();
        usage_checkpoint::UsageCheckpointHead {
            address: stream.end_address(),
            roll_ups_end: roll_ups.end_address(),
            tracked_since: self.tracked_since,
            gaps: self.gaps.clone(),
            segments: stream.segments().to_vec(),
            roll_up_segments: roll_ups.segments().to_vec(),
            overflow_end: overflow.end_address(),
            overflow_segments: overflow.segments().to_vec(),
            roll_ups_overflow_end: roll_ups_overflow.end_address(),
            roll_ups_overflow_segments: roll_ups_overflow.segments().to_vec(),
            organizations: [
                counting.shares.organizations.clone(),
                counting.roll_up_shares.organizations.clone(),
            ],
            cursor_key: Some(self.cursor_key),
        }
    }
}

/// The usage history, open. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct UsageHistory {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl UsageHistory {
    /// Opens the history in a folder, or begins one: recovers, counts again what the checkpoint
    /// does not hold, starts the writing thread.
    pub fn open(settings: UsageSettings) -> Result<Self, UsageError> {
        Ok(open::open_history(settings)?)
    }

    /// Records a call: never waits for a disk, never fails. When more calls come than can be
    /// written, the detail is shed and the count is kept.
    pub fn record_call(&self, call: &CredentialCall<'_>) {
        self.record_calls([call.clone()].into_iter());
    }

    /// Records several calls, in their order.
    pub fn record_calls<'a>(&self, calls: impl Iterator<Item = CredentialCall<'a>>) {
        self.shared.pending.record_calls(calls);
    }

    /// Records reported calls, all or none; done when they are on disk.
    pub async fn record_report(&self, report: CallReport) -> Result<(), UsageError> {
        if self.shared.full.load(Ordering::Acquire) {
            return Err(UsageError::DiskFull);
        }
        let written = self.shared.pending.record_report(report)?;
        written.await.unwrap_or(Err(UsageError::TooManyPending))
    }

    /// What is known of a credential's use.
    #[must_use]
    pub fn usage_of(&self, credential: CredentialId) -> CredentialUsage {
        let key = self.shared.keys.get(credential);
        key.map_or_else(CredentialUsage::default, |key| key.credential_usage())
    }

    /// The scopes that accepted calls of a credential have ever exercised.
    #[must_use]
    pub fn exercised_scopes(&self, credential: CredentialId) -> Vec<String> {
        let Some(key) = self.shared.keys.get(credential) else {
            return Vec::new();
        };
        let numbers = key.lock_usage().scopes.clone();
        let scopes = self.shared.keys.lock_scope_names();
        let name = |number: u16| scopes.names.get(usize::from(number)).cloned();
        numbers.into_iter().filter_map(name).collect()
    }

    /// When this history began: of a credential that is older and was never seen, nobody can say
    /// whether it was used before.
    #[must_use]
    pub fn tracked_since(&self) -> Timestamp {
        self.shared.tracked_since
    }

    /// The last calls of a credential. Reads files: off the async threads.
    pub fn last_calls(
        &self,
        credential: CredentialId,
        ask: &CallsQuery,
    ) -> Result<CallsPage, UsageError> {
        self.wait_until_settled();
        read_calls::read_calls(&self.shared, credential, ask)
    }

    /// The text of a cursor, for a client; `restores` is how often the ledger has been restored.
    #[must_use]
    pub fn encode_cursor(
        &self,
        credential: CredentialId,
        restores: usize,
        cursor: CallsCursor,
    ) -> String {
        let numbers = [cursor.kept_address, cursor.overflow_address];
        let list = cursor_list_id(credential, restores);
        self.shared.cursor_key.seal_numbers(&list, numbers)
    }

    /// The cursor of a text, if it is one of this credential's that was made since the ledger was
    /// last restored: what an earlier one points to may be lost, and other records be there.
    #[must_use]
    pub fn decode_cursor(
        &self,
        credential: CredentialId,
        restores: usize,
        text: &str,
    ) -> Option<CallsCursor> {
        let list = cursor_list_id(credential, restores);
        let [kept, overflow] = self.shared.cursor_key.open_numbers(&list, text)?;
        Some(CallsCursor {
            kept_address: kept,
            overflow_address: overflow,
        })
    }

    /// Calls of a credential whose detail is not kept, by intervals.
    #[must_use]
    pub fn collapsed_calls(&self, credential: CredentialId) -> Vec<CollapsedCalls> {
        let key = self.shared.keys.get(credential);
        key.map(|key| key.lock_usage().collapsed.clone())
            .unwrap_or_default()
    }

    /// How often a credential was used. Reads files: off the async threads.
    pub fn usage_summary(
        &self,
        credential: CredentialId,
        ask: &UsageSummaryQuery,
    ) -> Result<Vec<BucketSummary>, UsageError> {
        self.wait_until_settled();
        read_calls::read_summary(&self.shared, credential, ask)
    }

    /// Intervals in which calls may be missing, oldest first.
    #[must_use]
    pub fn gaps(&self) -> &[RecordingGap] {
        &self.shared.gaps
    }

    /// Returns when everything recorded before is counted and can be read.
    pub fn wait_until_settled(&self) {
        let (done, settled) = sync_channel(1);
        if self.shared.pending.add_waiter(PendingWaiter::Settled(done)) {
            // A thread that has ended has written everything before.
            settled.recv().unwrap_or_default();
        }
    }

    /// Sealed segments from `address` on, for the ledger to anchor.
    #[must_use]
    pub fn sealed_segments_from(&self, address: u64) -> Option<SealedSegments> {
        let stream = self.shared.stream();
        let (_, sealed) = stream.segments().split_last()?;
        let new = sealed.iter().skip_while(|one| one.first < address);
        let new: Vec<(&StreamSegment, [u8; 32])> =
            new.map_while(|one| Some((one, one.digest?))).collect();
        let mut digest = Sha256::new();
        for (_, one) in &new {
            digest.update(one);
        }
        let spans = || new.iter().filter_map(|(one, _)| one.span);
        Some(SealedSegments {
            from: new.first()?.0.first,
            to: new.last()?.0.end,
            segments: u32::try_from(new.len()).unwrap_or(u32::MAX),
            records: new.iter().map(|(one, _)| one.records).sum(),
            first_at: spans().map(|(earliest, _)| earliest).min()?,
            last_at: spans().map(|(_, latest)| latest).max()?,
            digest: digest.finalize().into(),
        })
    }

    /// Takes the uses of ended secrets that were noted since the last taking, one entry a
    /// credential, those of different organizations in turns.
    #[must_use]
    pub fn take_ended_secret_usages(&self) -> Vec<EndedSecretUsage> {
        self.shared.ended_uses().take_all_in_turns()
    }

    /// Gives back what could not be noted yet.
    pub fn put_back_ended_secret_usage(&self, used: EndedSecretUsage) {
        self.shared.ended_uses().add(used);
    }

    /// Has the disk refuse what is written, or take it again.
    #[cfg(test)]
    fn break_disk(&self, broken: bool) {
        self.shared.stream().broken = broken;
        self.shared.overflow().broken = broken;
        self.shared.full.store(false, Ordering::Release);
    }

    /// Counters and sizes, for metrics.
    #[must_use]
    pub fn stats(&self) -> UsageStats {
        let stream = self.shared.stream();
        let (bytes, segments) = (stream.total_bytes(), stream.segments().len());
        drop(stream);
        let overflow = self.shared.overflow();
        let bytes = bytes + overflow.total_bytes();
        let segments = segments + overflow.segments().len();
        drop(overflow);
        UsageStats {
            recorded: self.shared.numbers.recorded.load(Ordering::Relaxed),
            shed: self.shared.numbers.shed.load(Ordering::Relaxed),
            segment_bytes: bytes,
            pending_bytes: self.shared.pending.pending_bytes(),
            segments,
            credentials: self.shared.keys.len(),
        }
    }

    /// Writes what was recorded, and ends.
    pub fn write_and_stop(&self) {
        self.shared.pending.stop();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes usage panicked");
        }
    }
}
