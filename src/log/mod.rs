//! The log: segments of frames on disk, and the only code that opens them.
//!
//! Owns the bytes in `DATA/log` and `DATA/checkpoints`: how they are written, checked, recovered
//! and read. Must never know what a payload means, and never rewrite a stored byte. Batches of
//! payloads come in from the ledger, one write and one sync each; committed events go out to
//! readers by position. [`Log::append`] returning is the commit.
//!
//! # Format 1
//!
//! All integers are little-endian. A CRC is CRC-32C (Castagnoli). `DATA/log` holds segments
//! `<first position, 20 digits>.seg`, written spares `<number, 20 digits>.spare` (zeros all
//! through), torn tails that were copied aside (`.torn`) and, between a clean stop and the next
//! start, `clean`. Files that end in `.new` or `.tmp` are unfinished and not part of the log.
//!
//! A segment is its header, batches one after another, a seal if another segment follows, zeros.
//!
//! | header at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `KEYLEDG1` |
//! | 8 | 4 | format: 1 |
//! | 12 | 4 | bytes of the header: 4096 |
//! | 16 | 16 | log id |
//! | 32 | 8 | position of the first event |
//! | 40 | 8 | bytes of the segment |
//! | 48 | 4 | previous chain: the stored CRC of the head of the seal before; 0 in the first |
//! | 52 | 4 | reserved: 0 |
//! | 56 | 8 | tree size at the start of the segment: the first position |
//! | 64 | 32 | root of that tree |
//! | 96 | 3996 | zeros |
//! | 4092 | 4 | CRC of the 4092 bytes before |
//!
//! A frame is a head, a payload, and zeros up to a multiple of 8.
//!
//! | head at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | bytes of the payload, without padding |
//! | 4 | 4 | chained CRC of these 64 bytes |
//! | 8 | 1 | kind: 1 event, 2 commit, 3 seal; 0 is the end of the data |
//! | 9 | 1 | flags: 0 |
//! | 10 | 6 | reserved: 0 |
//! | 16 | 8 | position; of a commit its batch's last, of a seal the next one to come |
//! | 24 | 32 | commitment: SHA-256 of the payload; of commit and seal the root |
//! | 56 | 4 | CRC of the payload |
//! | 60 | 4 | reserved: 0 |
//!
//! The chained CRC is taken with its own field 0 and continued from the stored CRC of the head
//! before; of the first head from the header's.
//!
//! A batch is its events and one commit frame. Commit and seal have this payload:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `KLCOMMIT` |
//! | 8 | 16 | log id |
//! | 24 | 8 | position of the batch's first event; of a seal the next segment's first |
//! | 32 | 4 | count of events; of a seal 0 |
//! | 36 | 4 | bytes of the batch's event frames, padding included; of a seal 0 |
//! | 40 | 8 | tree size after the batch |
//! | 48 | 32 | root after the batch |
//!
//! `clean` is `KLCLEAN1`, log id 16, next position u64, root 32, CRC of these 64 bytes.
//! The checkpoint files are described in [`checkpoint_store`].

mod append;
pub mod checkpoint_store;
mod clean_stop;
mod disk;
mod error;
mod folder_lock;
mod folder_survey;
mod frame;
pub mod inspect;
mod limits;
#[cfg(test)]
mod memory_disk;
mod note_file;
mod reader;
mod recovery;
mod recovery_report;
mod repair;
mod scrub;
mod segment;
mod settings;
mod shared_log;
mod signed_checkpoint;
mod spares;
mod verifier;
mod walk;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use append::AppendedBatch;
pub use checkpoint_store::{
    CheckpointStore, CheckpointStoreError, LocatedCheckpoint, SignedCheckpoint,
    newest_checkpoint_size, read_checkpoints, read_intact_checkpoint_files,
};
pub use disk::{Disk, SECTOR_BYTES};
pub use error::{
    AppendError, FileError, FileOrDamage, LogCreateError, LogDamage, LogOpenError, LogReadError,
};
pub use folder_lock::{DataFolderLock, DataFolderLockError};
pub use inspect::{InspectError, LogInspection, LogTail, first_segment_log_id, inspect_log};
pub use limits::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, HEADROOM_BYTES, PAYLOAD_BYTES_MAX, SEGMENT_BYTES_DEFAULT,
};
pub use reader::LogReader;
pub use recovery_report::{RecoveryReport, ReplayStart, TornTail};
pub use scrub::LogScrub;
pub use segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use settings::{AppendSpace, LogSettings, SpareMaker};
pub use verifier::{FailedCheck, InspectedEvent};

pub(crate) use disk::free_bytes;
#[cfg(test)]
pub(crate) use memory_disk::{DiskFault, MemoryDisk};
pub(crate) use spares::initial_bytes_needed;

use append::{AppendPoint, LogWriter};
use clean_stop::CleanStopMark;
use error::FileErrorContext;
use repair::{create_empty_segment, repair_log};
use segment::{LogFileName, SegmentHeader};
use shared_log::{SegmentView, SharedLog};
use spares::SpareSegments;

use crate::merkle::Frontier;

/// The log, open for writing. There is one per process, behind one lock file.
#[derive(Debug)]
pub struct Log {
    writer: LogWriter,
    shared: Arc<SharedLog>,
}

impl Log {
    /// Makes `folder` with the first segment, zeroed and synced. Spares follow later.
    ///
    /// # Errors
    /// When the settings are out of bounds, a log is there already, or the system refuses.
    pub fn create(
        disk: Disk,
        folder: &Path,
        log_id: [u8; 16],
        settings: LogSettings,
    ) -> Result<Self, LogCreateError> {
        let segment_bytes = settings.segment_bytes;
        if !segment::is_segment_size(segment_bytes) {
            return Err(LogCreateError::InvalidSegmentBytes(segment_bytes));
        }
        disk.create_folder_durably(folder).at("create", folder)?;
        let names = disk.list_names(folder).at("list", folder)?;
        if names
            .iter()
            .any(|n| matches!(LogFileName::parse(n), LogFileName::Segment(_)))
        {
            return Err(LogCreateError::LogExists(folder.to_owned()));
        }
        let frontier = Frontier::new();
        let header = SegmentHeader {
            log_id,
            first_position: 0,
            segment_bytes,
            previous_chain: 0,
            root: frontier.root(),
        };
        let segment = create_empty_segment(&disk, folder, &header, None)?;
        let shared = Arc::new(SharedLog::new(disk, folder.to_owned(), log_id));
        let view = Arc::new(SegmentView::new(&segment, Some(Vec::new())));
        shared.add_segment(Arc::clone(&view));
        let from = AppendPoint {
            view,
            end: segment::SEGMENT_HEADER_BYTES as u64,
            chain: segment.chain,
            frontier,
        };
        let spares = SpareSegments::new(&shared, settings, Vec::new()).at("spawn", folder)?;
        let writer = LogWriter::new(Arc::clone(&shared), spares, settings, from);
        Ok(Self { writer, shared })
    }

    /// Checks, mends and opens the log in `folder`.
    ///
    /// Every header and seal is checked, all frames from the snapshot on, and those of at least
    /// the last two segments. `replay` is called for each event from the snapshot on, in order,
    /// only for whole batches; when opening fails later, what was replayed must be thrown away.
    ///
    /// # Errors
    /// [`LogOpenError::Damaged`] when stored bytes are not what was written: nothing was changed.
    pub fn recover_and_open<E, R>(
        disk: Disk,
        folder: &Path,
        settings: LogSettings,
        start: ReplayStart,
        replay: R,
    ) -> Result<(Self, RecoveryReport), LogOpenError<E>>
    where
        E: std::error::Error + 'static,
        R: FnMut(u64, &[u8]) -> Result<(), E>,
    {
        if !segment::is_segment_size(settings.segment_bytes) {
            return Err(LogOpenError::InvalidSegmentBytes(settings.segment_bytes));
        }
        let found = recovery::check_and_replay(&disk, folder, start, replay)?;
        let mended = repair_log(&disk, folder, settings.segment_bytes, found)?;
        let Some((last, _)) = mended.segments.last() else {
            return Err(LogOpenError::NoLog(folder.to_owned()));
        };
        let shared = SharedLog::new(disk, folder.to_owned(), last.header.log_id);
        let shared = Arc::new(shared);
        let mut view = Arc::new(SegmentView::new(last, None));
        for (segment, offsets) in mended.segments {
            view = Arc::new(SegmentView::new(&segment, offsets));
            shared.add_segment(Arc::clone(&view));
        }
        shared.publish_committed(mended.frontier.size());
        let from = AppendPoint {
            view,
            end: mended.end,
            chain: mended.chain,
            frontier: mended.frontier,
        };
        let spares = SpareSegments::new(&shared, settings, mended.spares).at("spawn", folder)?;
        let writer = LogWriter::new(Arc::clone(&shared), spares, settings, from);
        Ok((Self { writer, shared }, mended.recovered))
    }

    /// Appends one batch: one write, one sync. When it returns, the batch is committed.
    ///
    /// # Errors
    /// A refusal leaves the log as it was. After [`AppendError::Poisoned`] every later append is
    /// poisoned too, and the process must end.
    pub fn append<P: AsRef<[u8]>>(
        &mut self,
        payloads: &[P],
        lane: AppendSpace,
    ) -> Result<AppendedBatch, AppendError> {
        self.writer.append(payloads, lane)
    }

    /// Whether a batch of these payload lengths can be appended at all.
    ///
    /// # Errors
    /// The limit that it breaks.
    pub fn check_batch_lengths(
        &self,
        lengths: impl IntoIterator<Item = usize>,
    ) -> Result<(), AppendError> {
        append::check_batch_limits(self.batch_bytes_max(), lengths).map(drop)
    }

    /// Bytes of a batch at most, frames and commit included.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u64 {
        self.writer.batch_bytes_max()
    }

    /// Makes the spares that are missing; for a caller that chose [`SpareMaker::ByCaller`], or
    /// that wants to know at once whether there is room again.
    ///
    /// # Errors
    /// What the system says, a full disk above all. It is a refusal, never poison.
    pub fn make_missing_spares(&self) -> Result<(), FileError> {
        self.writer.make_missing_spares()
    }

    /// A reader of what is committed.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// The frontier of the tree over all committed events.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        self.writer.frontier()
    }

    /// The position of the next event.
    #[must_use]
    pub const fn next_position(&self) -> u64 {
        self.writer.frontier().size()
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> [u8; 16] {
        self.shared.log_id
    }

    /// Whether a write or sync of the log has failed.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.writer.is_poisoned()
    }

    /// Ends the use of the log and leaves the mark that spares the next start the copying of the
    /// last segment. Without it, all that is lost is that time. A poisoned log leaves none.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn close(self) -> Result<(), FileError> {
        if self.is_poisoned() {
            return Ok(());
        }
        let mark = CleanStopMark {
            log_id: self.log_id(),
            next: self.next_position(),
            root: self.frontier().root(),
        };
        mark.write(&self.shared.disk, &self.shared.folder)
    }
}
