//! Start: finds out what the log holds, refuses damage, replays, and mends a torn tail.
//!
//! Owns the judgment over a fault: only a torn tail of the last segment may go, after it was
//! copied aside; all else is refused. Must never change a file before everything has been
//! checked. Bytes flow from the segments through [`SegmentWalk`] into the frontier and the replay.

use std::error::Error;
use std::path::Path;

use super::disk::Disk;
use super::error::{FileOrDamage, LogDamage, LogOpenError};
use super::folder_survey::LogFolderSurvey;
use super::frame::CommitPayload;
use super::recovery_report::ReplayStart;
use super::segment::OpenedSegment;
use super::shared_log::push_if_indexed;
use super::walk::{
    FrameFault, SegmentWalk, WalkStep, WalkedEvent, is_torn_write, later_commit_offset,
};
use crate::merkle::{Frontier, TreeHead};

/// How many segments at the end are always walked.
const WALKED_AT_LEAST: usize = 2;

/// What a start has found, all of it checked.
#[derive(Debug)]
pub(crate) struct CheckedLog {
    pub(crate) survey: LogFolderSurvey,
    /// For each segment its index, as far as it was walked.
    pub(crate) offsets: Vec<Option<Vec<u32>>>,
    pub(crate) tail: CheckedTail,
    pub(crate) frontier: Frontier,
    /// The first position whose frame was walked.
    pub(crate) checked_from: u64,
}

/// The end of the last segment.
#[derive(Debug)]
pub(crate) struct CheckedTail {
    pub(crate) bytes: Vec<u8>,
    /// The offset behind the last whole batch, and behind the seal if there is one.
    pub(crate) end: usize,
    /// The stored CRC of the last head before `end`.
    pub(crate) chain: u32,
    /// The position of the next event.
    pub(crate) next: u64,
    pub(crate) sealed: bool,
    pub(crate) torn: Option<FrameFault>,
}

/// Checks the log and replays it. Changes nothing.
pub(crate) fn check_and_replay<E, R>(
    disk: &Disk,
    folder: &Path,
    start: ReplayStart,
    replay: R,
) -> Result<CheckedLog, LogOpenError<E>>
where
    E: Error + 'static,
    R: FnMut(u64, &[u8]) -> Result<(), E>,
{
    let survey = LogFolderSurvey::read_and_check(disk, folder)?;
    let count = survey.segments.len();
    let position = start.snapshot_frontier.size();
    let checkpoint = start.newest_checkpoint;
    let covers =
        |position| move |segment: &OpenedSegment| segment.header.first_position <= position;
    let holding = |position| {
        survey
            .segments
            .partition_point(covers(position))
            .saturating_sub(1)
    };
    let walk_from = holding(position).min(count.saturating_sub(WALKED_AT_LEAST));
    let mut checkpoint_seen = false;
    if let Some(checkpoint) = checkpoint.filter(|checkpoint| holding(checkpoint.size) < walk_from)
        && let Some(segment) = survey.segments.get(holding(checkpoint.size))
    {
        check_checkpoint_alone(segment, checkpoint)?;
        checkpoint_seen = true;
    }
    let mut checker = Checker {
        checkpoint,
        checkpoint_seen,
        start: position,
        frontier: start.snapshot_frontier,
        replay,
    };
    let mut offsets = Vec::new();
    let mut tail = None;
    for (number, segment) in survey.segments.iter().enumerate() {
        if number < walk_from {
            offsets.push(None);
            continue;
        }
        let (index, end) = checker.segment(segment, number + 1 == count)?;
        offsets.push(Some(index));
        tail = Some((segment, end));
    }
    let Some((last, tail)) = tail else {
        return Err(LogOpenError::NoLog(folder.to_owned()));
    };
    checker.finish(last, &tail)?;
    let checked_from = survey
        .segments
        .get(walk_from)
        .map_or(0, |s| s.header.first_position);
    Ok(CheckedLog {
        frontier: checker.frontier,
        offsets,
        tail,
        checked_from,
        survey,
    })
}

/// Carries the tree and the replay along the walk.
struct Checker<R> {
    checkpoint: Option<TreeHead>,
    /// Whether the checkpoint's size and root were met, in this walk or before.
    checkpoint_seen: bool,
    /// The position from which to replay.
    start: u64,
    frontier: Frontier,
    replay: R,
}

impl<R> Checker<R> {
    fn segment<E>(
        &mut self,
        segment: &OpenedSegment,
        is_last: bool,
    ) -> Result<(Vec<u32>, CheckedTail), LogOpenError<E>>
    where
        E: Error + 'static,
        R: FnMut(u64, &[u8]) -> Result<(), E>,
    {
        let first = segment.header.first_position;
        self.root(segment, 64, first, &segment.header.root)?;
        let bytes = segment.load_zero_padded()?;
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
        let mut walk = SegmentWalk::new(segment, &bytes);
        let mut offsets = Vec::new();
        let mut torn = None;
        let mut seal = None;
        loop {
            let at = walk.offset;
            let refuse = |offset: usize, position, what| {
                FileOrDamage::from(LogDamage::new(&segment.path, offset as u64, position, what))
            };
            match walk.step() {
                WalkStep::Batch(commit) => {
                    for event in &walk.events {
                        push_if_indexed(&mut offsets, first, event.position, event.offset as u64);
                    }
                    self.batch(segment, &walk, at, &commit)?;
                }
                WalkStep::Sealed(commit, chain) => {
                    self.root(segment, at, commit.tree_size, &commit.root)?;
                    seal = Some(chain);
                    break;
                }
                WalkStep::End if is_last => break,
                WalkStep::End => {
                    return Err(refuse(at, walk.position, "the segment has no seal").into());
                }
                WalkStep::Fault(fault) => {
                    let FrameFault {
                        offset,
                        position,
                        what,
                        ..
                    } = fault;
                    if !is_last || !is_torn_write(&bytes, length, at, &fault) {
                        return Err(refuse(offset, position, what).into());
                    }
                    if let Some(later) = later_commit_offset(&walk) {
                        let what = "the batch before this later one is not whole";
                        return Err(refuse(later, walk.position, what).into());
                    }
                    torn = Some(fault);
                    break;
                }
            }
        }
        let seal_bytes = if seal.is_some() {
            super::frame::COMMIT_FRAME_BYTES
        } else {
            0
        };
        let tail = CheckedTail {
            end: walk.offset + seal_bytes,
            chain: seal.unwrap_or(walk.chain),
            next: walk.position,
            sealed: seal.is_some(),
            torn,
            bytes,
        };
        Ok((offsets, tail))
    }

    fn batch<E>(
        &mut self,
        segment: &OpenedSegment,
        walk: &SegmentWalk<'_>,
        at: usize,
        commit: &CommitPayload,
    ) -> Result<(), LogOpenError<E>>
    where
        E: Error + 'static,
        R: FnMut(u64, &[u8]) -> Result<(), E>,
    {
        if commit.first < self.start && self.start < commit.tree_size {
            return Err(LogOpenError::SnapshotMismatch {
                position: self.start,
                what: "it stands inside a batch",
            });
        }
        let fresh: &[WalkedEvent] = if commit.first < self.start {
            &[]
        } else {
            &walk.events
        };
        for event in fresh {
            self.frontier.append_commitment(&event.commitment);
        }
        self.root(segment, at, commit.tree_size, &commit.root)?;
        for event in fresh {
            let replayed = (self.replay)(event.position, walk.payload(event));
            replayed.map_err(|source| LogOpenError::Replay {
                position: event.position,
                source,
            })?;
        }
        Ok(())
    }

    /// Compares a root that the log states with the frontier and with the checkpoint.
    fn root<E: Error + 'static>(
        &mut self,
        segment: &OpenedSegment,
        offset: usize,
        size: u64,
        stated: &[u8; 32],
    ) -> Result<(), LogOpenError<E>> {
        let damage = |what| {
            let damage = LogDamage::new(&segment.path, offset as u64, size, what);
            Err(LogOpenError::Damaged(damage))
        };
        if let Some(checkpoint) = self.checkpoint.filter(|checkpoint| checkpoint.size == size) {
            if checkpoint.root != *stated {
                return damage("the root is not that of the newest checkpoint");
            }
            self.checkpoint_seen = true;
        }
        if self.frontier.size() != size || self.frontier.root() == *stated {
            return Ok(());
        }
        if size == self.start {
            return Err(LogOpenError::SnapshotMismatch {
                position: size,
                what: "its root is not the log's",
            });
        }
        damage("the root is not that of the events")
    }

    /// Compares the log's end with the checkpoint and the snapshot.
    fn finish<E: Error + 'static>(
        &self,
        last: &OpenedSegment,
        tail: &CheckedTail,
    ) -> Result<(), LogOpenError<E>> {
        let next = tail.next;
        if self.checkpoint.is_some() && !self.checkpoint_seen {
            let what = match (
                self.checkpoint
                    .is_some_and(|checkpoint| checkpoint.size > next),
                &tail.torn,
            ) {
                (true, Some(_)) => "a batch that is not whole, below the newest checkpoint",
                (true, None) => "the log ends below the newest checkpoint",
                (false, _) => "the newest checkpoint does not stand at a batch's end",
            };
            let damage = LogDamage::new(&last.path, tail.end as u64, next, what);
            return Err(LogOpenError::Damaged(damage));
        }
        if self.frontier.size() != next {
            return Err(LogOpenError::SnapshotMismatch {
                position: self.start,
                what: "it is ahead of the log",
            });
        }
        Ok(())
    }
}

/// Looks for the newest checkpoint in a segment that the walk leaves out.
fn check_checkpoint_alone(
    segment: &OpenedSegment,
    checkpoint: TreeHead,
) -> Result<(), FileOrDamage> {
    let damage = |offset: usize, what| {
        let damage = LogDamage::new(&segment.path, offset as u64, checkpoint.size, what);
        Err(FileOrDamage::from(damage))
    };
    let bytes = segment.load_zero_padded()?;
    let mut walk = SegmentWalk::new(segment, &bytes);
    let (mut size, mut root) = (segment.header.first_position, segment.header.root);
    while size < checkpoint.size {
        match walk.step() {
            WalkStep::Batch(commit) => (size, root) = (commit.tree_size, commit.root),
            WalkStep::Sealed(..) | WalkStep::End => break,
            WalkStep::Fault(fault) => return damage(fault.offset, fault.what),
        }
    }
    if size != checkpoint.size {
        return damage(
            walk.offset,
            "the newest checkpoint does not stand at a batch's end",
        );
    }
    if root != checkpoint.root {
        return damage(walk.offset, "the root is not that of the newest checkpoint");
    }
    Ok(())
}
