//! Looks through a log's folder without the lock and without changing a byte, also while a server
//! writes to it.
//!
//! Owns the judgement over a log that is only read: how far it is whole, and what its end is. Must
//! never write, mend or wait: what a start would cut stays where it is. Payloads go to a visitor
//! once, in order, one segment in RAM at a time; afterwards a [`LogReader`] reads them by position.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clean_stop::CleanStopMark;
use super::disk::Disk;
use super::error::{FileError, FileErrorContext, FileOrDamage, LogDamage};
use super::reader::LogReader;
use super::segment::{LogFileName, OpenedSegment, segment_path};
use super::shared_log::{SegmentView, SharedLog, push_if_indexed};
use super::verifier::{FailedCheck, InspectedEvent, LogVerifier, SegmentEnd};
use super::walk::{BatchBoundary, FrameFault, SegmentWalk, is_torn_write, later_commit_offset};
use crate::merkle::Frontier;

/// How often a batch that is not whole is read again while its bytes change: a server writes one
/// batch with one call, which takes milliseconds.
const READ_AGAIN_MAX: usize = 100;

/// What an inspection has found.
#[derive(Debug)]
pub struct LogInspection {
    /// The log's id.
    pub log_id: [u8; 16],
    /// The tree over all that is whole.
    pub frontier: Frontier,
    /// What follows the last whole batch.
    pub tail: LogTail,
    /// The segments that were looked into, each with where what is whole of it ends.
    pub segments: Vec<(PathBuf, u64)>,
    /// Reads what is whole.
    pub reader: LogReader,
}

/// What follows the last whole batch of a log that was inspected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogTail {
    /// Nothing.
    Clean {
        /// The last segment.
        file: PathBuf,
        /// Where its content ends.
        offset: u64,
    },
    /// One batch that was never acknowledged; a start would copy it aside and cut it.
    Torn {
        /// The segment.
        file: PathBuf,
        /// The offset at which the batch begins.
        offset: u64,
        /// The position of its first event.
        position: u64,
        /// What is not whole.
        what: &'static str,
    },
    /// Stored bytes are not what was written: nothing behind them has been looked at.
    Damaged(FailedCheck, LogDamage),
}

/// Why a folder could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no segment at all.
    #[error("there is no log in {}", .0.display())]
    NoLog(PathBuf),
    /// The system refused something.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The id of the log in `folder`, from its first segment; `None` where that has no whole header.
///
/// # Errors
/// When there is no log, or the system refuses something.
pub fn first_segment_log_id(disk: &Disk, folder: &Path) -> Result<Option<[u8; 16]>, InspectError> {
    let first = list_segments_and_mark(disk, folder)?.0.first().copied();
    let first = first.ok_or_else(|| InspectError::NoLog(folder.to_owned()))?;
    match OpenedSegment::open_to_read(disk, folder, first) {
        Ok(segment) => Ok(Some(segment.header.log_id)),
        Err(FileOrDamage::File(error)) => Err(error.into()),
        Err(FileOrDamage::Damaged(_)) => Ok(None),
    }
}

/// Walks over the log in `folder` from its first event and shows every event of it to `visit`.
///
/// Where the tail is damage, the last events shown may be part of a batch that is not whole.
///
/// # Errors
/// When there is no log, or the system refuses something. Damage is no error here but a finding.
pub fn inspect_log(
    disk: &Disk,
    folder: &Path,
    mut visit: impl FnMut(&InspectedEvent<'_>),
) -> Result<LogInspection, InspectError> {
    let (mut firsts, mark) = list_segments_and_mark(disk, folder)?;
    if firsts.is_empty() {
        return Err(InspectError::NoLog(folder.to_owned()));
    }
    let mut follow = LogVerifier::new();
    let mut shared: Option<SharedLog> = None;
    let mut segments: Vec<(PathBuf, u64)> = Vec::new();
    let tail = loop {
        let first = follow.frontier.size();
        let seen = segments.len();
        if seen == firsts.len() {
            // Another one may have been begun since the folder was read.
            firsts = list_segments_and_mark(disk, folder)?.0;
        }
        let Some(&next) = firsts.get(seen) else {
            let first = || (segment_path(folder, 0), 0);
            let (file, offset) = segments.last().cloned().unwrap_or_else(first);
            break LogTail::Clean { file, offset };
        };
        if next != first {
            break misplaced(folder, first, next, seen);
        }
        let segment = match OpenedSegment::open_to_read(disk, folder, first) {
            Ok(segment) => segment,
            Err(FileOrDamage::File(error)) => return Err(error.into()),
            Err(FileOrDamage::Damaged(damage)) => {
                break LogTail::Damaged(FailedCheck::Header, damage);
            }
        };
        let log_id = segment.header.log_id;
        let shared =
            shared.get_or_insert_with(|| SharedLog::new(disk.clone(), folder.to_owned(), log_id));
        let is_last = seen + 1 == firsts.len();
        let mut offsets = Vec::new();
        let end = inspect_segment(&mut follow, shared, &segment, is_last, &mut |event| {
            push_if_indexed(&mut offsets, first, event.position, event.offset);
            visit(event);
        })?;
        shared.add_segment(Arc::new(SegmentView::new(&segment, Some(offsets))));
        shared.publish_committed(follow.frontier.size());
        let whole = match &end {
            None => segment.header.segment_bytes,
            Some(LogTail::Clean { offset, .. } | LogTail::Torn { offset, .. }) => *offset,
            Some(LogTail::Damaged(_, damage)) => damage.offset,
        };
        segments.push((segment.path, whole));
        if let Some(tail) = end {
            break tail;
        }
    };
    let shared = shared.unwrap_or_else(|| SharedLog::new(disk.clone(), folder.to_owned(), [0; 16]));
    let tail = check_tail_against_mark(mark, &shared, follow.frontier.size(), tail);
    Ok(LogInspection {
        log_id: shared.log_id,
        frontier: follow.frontier,
        tail,
        segments,
        reader: LogReader::new(Arc::new(shared)),
    })
}

/// The first positions of the segments in a folder, in order, and the mark of a clean stop.
fn list_segments_and_mark(
    disk: &Disk,
    folder: &Path,
) -> Result<(Vec<u64>, Option<CleanStopMark>), InspectError> {
    let names = match disk.list_names(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return Err(InspectError::NoLog(folder.to_owned()));
        }
        names => names.at("list", folder)?,
    };
    let mut firsts = Vec::new();
    let mut mark = None;
    for name in &names {
        match LogFileName::parse(name) {
            LogFileName::Segment(first) => firsts.push(first),
            LogFileName::CleanMark => match CleanStopMark::read(disk, folder) {
                // A server that starts removes it.
                Err(why) if why.source.kind() == io::ErrorKind::NotFound => {}
                read => mark = read?,
            },
            LogFileName::Spare(_) | LogFileName::Unfinished | LogFileName::Foreign => {}
        }
    }
    firsts.sort_unstable();
    Ok((firsts, mark))
}

/// A log that ends before the point at which it was last stopped has lost something.
fn check_tail_against_mark(
    mark: Option<CleanStopMark>,
    log: &SharedLog,
    size: u64,
    tail: LogTail,
) -> LogTail {
    let (file, offset) = match &tail {
        LogTail::Clean { file, offset } | LogTail::Torn { file, offset, .. } => (file, *offset),
        LogTail::Damaged(..) => return tail,
    };
    match mark {
        Some(mark) if mark.log_id == log.log_id && mark.next > size => {
            let what = "the log ends before the point at which it was last stopped";
            LogTail::Damaged(
                FailedCheck::LogEnd,
                LogDamage::new(file, offset, size, what),
            )
        }
        Some(_) | None => tail,
    }
}

/// A segment whose first position is not the expected one.
fn misplaced(folder: &Path, expected: u64, found: u64, seen: usize) -> LogTail {
    let damage = if found > expected {
        let what = match seen {
            0 => "the first segment is missing",
            _ => "a segment is missing",
        };
        LogDamage::new(&segment_path(folder, expected), 0, expected, what)
    } else {
        let what = "a segment begins within the one before it";
        LogDamage::new(&segment_path(folder, found), 32, found, what)
    };
    LogTail::Damaged(FailedCheck::SegmentOrder, damage)
}

/// One segment; `None` when another one follows or will.
fn inspect_segment(
    follow: &mut LogVerifier,
    shared: &SharedLog,
    segment: &OpenedSegment,
    is_last: bool,
    visit: &mut impl FnMut(&InspectedEvent<'_>),
) -> Result<Option<LogTail>, FileError> {
    let first = segment.header.first_position;
    let damaged = |failed, offset: u64, position, what| {
        let damage = LogDamage::new(&segment.path, offset, position, what);
        Ok(Some(LogTail::Damaged(failed, damage)))
    };
    if segment.header.log_id != shared.log_id {
        let what = "the segment belongs to another log";
        return damaged(FailedCheck::SegmentOrder, 16, first, what);
    }
    if let Err((failed, damage)) = follow.check_segment_header(segment) {
        return Ok(Some(LogTail::Damaged(failed, damage)));
    }
    if !is_last && segment.length != segment.header.segment_bytes {
        let what = "the file is shorter than its header says, and another segment follows";
        return damaged(FailedCheck::LogEnd, segment.length, first, what);
    }
    let mut bytes = segment.load_zero_padded()?;
    let mut from = LogVerifier::segment_start(segment);
    let mut read_again = 0;
    loop {
        let end = match follow.verify_batches(segment, &bytes, from, visit) {
            Ok(end) => end,
            Err((failed, damage)) => return Ok(Some(LogTail::Damaged(failed, damage))),
        };
        let (behind, fault) = match end {
            SegmentEnd::Sealed => return Ok(None),
            SegmentEnd::Unsealed { behind, fault } => (behind, fault),
        };
        let Some(fault) = fault else {
            let offset = behind.offset as u64;
            if !is_last {
                let what = "the segment has no seal";
                return damaged(FailedCheck::LogEnd, offset, behind.position, what);
            }
            let file = segment.path.clone();
            return Ok(Some(LogTail::Clean { file, offset }));
        };
        // A server may be writing this very batch: then there is more of it now.
        let newer = segment.load_zero_padded()?;
        if !is_last || read_again == READ_AGAIN_MAX || newer == bytes {
            return Ok(Some(torn_or_damaged(
                segment, &bytes, behind, &fault, is_last,
            )));
        }
        read_again += 1;
        (bytes, from) = (newer, behind);
    }
}

/// What a fault is: a torn end, or damage.
fn torn_or_damaged(
    segment: &OpenedSegment,
    bytes: &[u8],
    behind: BatchBoundary,
    fault: &FrameFault,
    is_last: bool,
) -> LogTail {
    let damaged = |failed, offset: usize, position, what| {
        let damage = LogDamage::new(&segment.path, offset as u64, position, what);
        LogTail::Damaged(failed, damage)
    };
    let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
    if !is_last || !is_torn_write(bytes, length, behind.offset, fault) {
        return damaged(FailedCheck::Batch, fault.offset, fault.position, fault.what);
    }
    let walk = SegmentWalk::resume(segment.header.log_id, bytes, behind);
    if let Some(later) = later_commit_offset(&walk) {
        let what = "the batch before this later one is not whole";
        return damaged(FailedCheck::LogEnd, later, behind.position, what);
    }
    LogTail::Torn {
        file: segment.path.clone(),
        offset: behind.offset as u64,
        position: behind.position,
        what: fault.what,
    }
}
