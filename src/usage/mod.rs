//! The usage history: where and when every credential was used.
//!
//! A second stream beside the ledger's log, made for volume and not for proof: a call is recorded
//! in well under a microsecond and never waits for a disk. Owns `DATA/usage`: segments of records
//! (`stream`, `record`), hourly roll-ups of them (`tally`), what is known of each credential in RAM
//! (`keys`) with its checkpoint. Must never stand in the way of a verification, and never decide
//! anything.
//!
//! **Shares.** Half of the room holds what is kept for certain: each organization and each
//! credential has a share of it (`shares`), so that no one's calls push another's out. Accepted
//! calls beyond go to the overflow, the other half, where the oldest of all go first; refused ones
//! are counted (`collapsed`). A credential's records of both streams are read as one list.
//!
//! Calls flow in by [`Usage::record`] into a bounded buffer (`pending`); one thread (`writer`)
//! counts them (`sorting`), links each record to its credential's one before and appends them;
//! readers (`read`) follow the links. `crate::workers` has the ledger record digests
//! of sealed segments, and ended secrets that were presented.
//!
//! **What can be lost.** While the process lives every count is exact, also of calls whose detail
//! was shed since more came than could be written. A process that is killed loses at most what was
//! recorded in its last 100 ms or so, a machine that loses power about a second: counts are then
//! lower bounds, and [`Usage::gaps`] names the interval.
//!
//! **Anchors.** The digest of a segment is the SHA-256 of its whole file; that of several is the
//! SHA-256 of their digests in their order. The ledger stores it in `usage.sealed`. The overflow is
//! not anchored.

mod blocks;
mod call;
mod checking;
mod checkpoint;
mod collapsed;
mod ended;
mod keys;
pub(crate) mod misplaced;
mod open;
mod outcome;
mod pending;
mod personal;
mod read;
mod record;
mod reported;
mod roll_ups;
mod secrets;
mod settings;
mod shares;
mod sorting;
mod stream;
mod tally;
mod texts;
mod writer;

#[cfg(test)]
mod tests;

pub use crate::views::index::Code as Outcome;
pub use call::{
    Bucket, BucketSummary, Call, CallsAsk, CallsPage, Cursor, KeyUsage, PastCall, SummaryAsk,
};
pub use collapsed::CollapsedCalls;
pub use reported::Report;
pub use settings::{Retention, UsageSettings};

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
use crate::seal::cursor::CursorKey;
use ended::EndedUses;
use keys::{Counting, Keys};
use pending::{Pending, Waiter};
use personal::PersonalSeal;
use stream::{Segment, Stream};

/// An interval in which calls may be missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// The last instant that is there.
    pub from: Timestamp,
    /// When recording went on.
    pub to: Timestamp,
}

/// Ended secrets of a credential that were presented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndedUse {
    /// Whose the credential is.
    pub organization: OrganizationId,
    pub credential: CredentialId,
    /// The secret that was presented last.
    pub secret: Option<SecretId>,
    /// Why it was not accepted.
    pub outcome: Outcome,
    /// How often.
    pub count: u64,
    /// When for the first time.
    pub first_at: Timestamp,
    /// When for the last time.
    pub last_at: Timestamp,
}

/// Sealed segments that follow each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sealed {
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

/// How the stream is doing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Numbers {
    /// Records written since the start.
    pub recorded: u64,
    /// Calls since the start that were counted and whose detail was shed.
    pub shed: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes that wait to be written.
    pub waiting: usize,
    pub segments: usize,
    /// Credentials that were ever used.
    pub credentials: usize,
}

/// Why the usage history could not be opened, read or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UsageError {
    /// As much waits to be written as may wait.
    #[error("too many calls wait to be written")]
    Busy,
    /// There is no room on the disk.
    #[error("the disk has no room for usage")]
    DiskFull,
    /// The disk failed.
    #[error("the usage history cannot be read or written ({0})")]
    Failed(io::ErrorKind),
}

impl UsageError {
    fn of(why: &io::Error) -> Self {
        let kind = why.kind();
        if matches!(
            kind,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            Self::DiskFull
        } else {
            Self::Failed(kind)
        }
    }
}

impl From<io::Error> for UsageError {
    fn from(why: io::Error) -> Self {
        Self::of(&why)
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

fn cursor_list(credential: CredentialId, restores: usize) -> Vec<u8> {
    let credential = credential.ulid().0.to_le_bytes();
    [credential.as_slice(), &restores.to_le_bytes()].concat()
}

/// What callers, the writing thread and readers share.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    clock: Clock,
    retention: Retention,
    flush_every: Duration,
    headroom_bytes: u64,
    tracked_since: Timestamp,
    pending: Pending,
    keys: Keys,
    personal: PersonalSeal,
    /// Calls that are kept for certain.
    stream: Mutex<Stream>,
    /// Calls beyond their credentials' and organizations' shares.
    overflow: Mutex<Stream>,
    cursor_key: CursorKey,
    roll_ups: Mutex<Stream>,
    /// Roll-ups beyond the shares.
    roll_ups_overflow: Mutex<Stream>,
    gaps: Vec<Gap>,
    ended_uses: Mutex<EndedUses>,
    numbers: Counters,
    /// Whether the disk refused the newest records.
    full: AtomicBool,
    degraded: DegradedParts,
}

impl Shared {
    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn overflow(&self) -> MutexGuard<'_, Stream> {
        self.overflow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roll_ups(&self) -> MutexGuard<'_, Stream> {
        self.roll_ups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roll_ups_overflow(&self) -> MutexGuard<'_, Stream> {
        self.roll_ups_overflow
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ended_uses(&self) -> MutexGuard<'_, EndedUses> {
        self.ended_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that stands while a process writes.
    fn running(&self) -> PathBuf {
        self.folder.join("running")
    }

    fn checkpoint_head(&self, counting: &Counting) -> checkpoint::Head {
        let (stream, roll_ups, overflow) = (self.stream(), self.roll_ups(), self.overflow());
        let roll_ups_overflow = self.roll_ups_overflow();
        checkpoint::Head {
            address: stream.end(),
            roll_ups: roll_ups.end(),
            tracked_since: self.tracked_since,
            gaps: self.gaps.clone(),
            segments: stream.segments().to_vec(),
            roll_up_segments: roll_ups.segments().to_vec(),
            overflow: overflow.end(),
            overflow_segments: overflow.segments().to_vec(),
            roll_ups_overflow: roll_ups_overflow.end(),
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
pub struct Usage {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Usage {
    /// Opens the history in a folder, or begins one: recovers, counts again what the checkpoint
    /// does not hold, starts the writing thread.
    pub fn open(settings: UsageSettings) -> Result<Self, UsageError> {
        Ok(open::open(settings)?)
    }

    /// Records a call: never waits for a disk, never fails. When more calls come than can be
    /// written, the detail is shed and the count is kept.
    pub fn record(&self, call: &Call<'_>) {
        self.record_all([call.clone()].into_iter());
    }

    /// Records several calls, in their order.
    pub fn record_all<'a>(&self, calls: impl Iterator<Item = Call<'a>>) {
        self.shared.pending.record(calls);
    }

    /// Records calls that somebody reports, all or none; done when they are on disk.
    pub async fn report(&self, report: Report) -> Result<(), UsageError> {
        if self.shared.full.load(Ordering::Acquire) {
            return Err(UsageError::DiskFull);
        }
        let written = self.shared.pending.report(report)?;
        written.await.unwrap_or(Err(UsageError::Busy))
    }

    /// What is known of a credential's use.
    #[must_use]
    pub fn of(&self, credential: CredentialId) -> KeyUsage {
        let key = self.shared.keys.get(credential);
        key.map_or_else(KeyUsage::default, |key| key.usage())
    }

    /// The scopes that accepted calls of a credential have ever exercised.
    #[must_use]
    pub fn exercised(&self, credential: CredentialId) -> Vec<String> {
        let Some(key) = self.shared.keys.get(credential) else {
            return Vec::new();
        };
        let numbers = key.rest().scopes.clone();
        let scopes = self.shared.keys.scopes();
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
    pub fn calls(&self, credential: CredentialId, ask: &CallsAsk) -> Result<CallsPage, UsageError> {
        self.settle();
        read::calls(&self.shared, credential, ask)
    }

    /// The text of a cursor, for a client; `restores` is how often the ledger has been restored.
    #[must_use]
    pub fn cursor_text(&self, credential: CredentialId, restores: usize, cursor: Cursor) -> String {
        let numbers = [cursor.kept, cursor.overflow];
        let list = cursor_list(credential, restores);
        self.shared.cursor_key.seal(&list, numbers)
    }

    /// The cursor of a text, if it is one of this credential's that was made since the ledger was
    /// last restored: what an earlier one points to may be lost, and other records be there.
    #[must_use]
    pub fn cursor(&self, credential: CredentialId, restores: usize, text: &str) -> Option<Cursor> {
        let list = cursor_list(credential, restores);
        let [kept, overflow] = self.shared.cursor_key.open(&list, text)?;
        Some(Cursor { kept, overflow })
    }

    /// Calls of a credential whose detail is not kept, by intervals.
    #[must_use]
    pub fn collapsed(&self, credential: CredentialId) -> Vec<CollapsedCalls> {
        let key = self.shared.keys.get(credential);
        key.map(|key| key.rest().collapsed.clone())
            .unwrap_or_default()
    }

    /// How often a credential was used. Reads files: off the async threads.
    pub fn summary(
        &self,
        credential: CredentialId,
        ask: &SummaryAsk,
    ) -> Result<Vec<BucketSummary>, UsageError> {
        self.settle();
        read::summary(&self.shared, credential, ask)
    }

    /// Intervals in which calls may be missing, oldest first.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.shared.gaps
    }

    /// Returns when everything recorded before is counted and can be read.
    pub fn settle(&self) {
        let (done, settled) = sync_channel(1);
        if self.shared.pending.wait_for(Waiter::Settled(done)) {
            // A thread that has ended has written everything before.
            settled.recv().unwrap_or_default();
        }
    }

    /// Sealed segments from `address` on, for the ledger to anchor.
    #[must_use]
    pub fn sealed_after(&self, address: u64) -> Option<Sealed> {
        let stream = self.shared.stream();
        let (_, sealed) = stream.segments().split_last()?;
        let new = sealed.iter().skip_while(|one| one.first < address);
        let new: Vec<(&Segment, [u8; 32])> =
            new.map_while(|one| Some((one, one.digest?))).collect();
        let mut digest = Sha256::new();
        for (_, one) in &new {
            digest.update(one);
        }
        let spans = || new.iter().filter_map(|(one, _)| one.span);
        Some(Sealed {
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
    pub fn take_ended_uses(&self) -> Vec<EndedUse> {
        self.shared.ended_uses().take()
    }

    /// Gives back what could not be told yet.
    pub fn put_back(&self, used: EndedUse) {
        self.shared.ended_uses().add(used);
    }

    /// Has the disk refuse what is written, or take it again.
    #[cfg(test)]
    fn break_disk(&self, broken: bool) {
        self.shared.stream().broken = broken;
        self.shared.overflow().broken = broken;
        self.shared.full.store(false, Ordering::Release);
    }

    /// How the stream is doing.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let stream = self.shared.stream();
        let (bytes, segments) = (stream.bytes(), stream.segments().len());
        drop(stream);
        let overflow = self.shared.overflow();
        let bytes = bytes + overflow.bytes();
        let segments = segments + overflow.segments().len();
        drop(overflow);
        Numbers {
            recorded: self.shared.numbers.recorded.load(Ordering::Relaxed),
            shed: self.shared.numbers.shed.load(Ordering::Relaxed),
            bytes,
            waiting: self.shared.pending.waiting(),
            segments,
            credentials: self.shared.keys.len(),
        }
    }

    /// Writes what was recorded, and ends.
    pub fn stop(&self) {
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
