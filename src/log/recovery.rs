//! Start: finds out what the log holds, refuses damage, replays, and mends a torn tail.
//!
//! Owns the judgment over a fault: only a torn tail of the last segment may go, after it was
//! copied aside; all else is refused. Must never change a file before everything has been
//! checked. Bytes flow from the segments through [`Walk`] into the frontier and the replay.

use std::error::Error;
use std::path::Path;

use super::disk::Disk;
use super::error::{Damage, OpenError, Trouble};
use super::index::note_offset;
use super::record::Commit;
use super::segment::Opened;
use super::survey::Survey;
use super::walk::{Event, Fault, Step, Walk, is_torn, later_commit};
use super::{Floor, StartFrom};
use crate::merkle::Frontier;

/// How many segments at the end are always walked.
const WALKED_AT_LEAST: usize = 2;

/// What a start has found, all of it checked.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) survey: Survey,
    /// For each segment its index, as far as it was walked.
    pub(crate) offsets: Vec<Option<Vec<u32>>>,
    pub(crate) tail: Tail,
    pub(crate) frontier: Frontier,
    /// The first position whose frame was walked.
    pub(crate) checked_from: u64,
}

/// The end of the last segment.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) bytes: Vec<u8>,
    /// The offset behind the last whole batch, and behind the seal if there is one.
    pub(crate) end: usize,
    /// The stored CRC of the last head before `end`.
    pub(crate) chain: u32,
    /// The position of the next event.
    pub(crate) next: u64,
    pub(crate) sealed: bool,
    pub(crate) torn: Option<Fault>,
}

/// Checks the log and replays it. Changes nothing.
pub(crate) fn check<E, R>(
    disk: &Disk,
    folder: &Path,
    start: StartFrom,
    replay: R,
) -> Result<Found, OpenError<E>>
where
    E: Error + 'static,
    R: FnMut(u64, &[u8]) -> Result<(), E>,
{
    let survey = Survey::take(disk, folder)?;
    let count = survey.segments.len();
    let position = start.frontier.size();
    let floor = start.floor;
    let covers = |position| move |segment: &Opened| segment.header.first <= position;
    let holding = |position| {
        survey
            .segments
            .partition_point(covers(position))
            .saturating_sub(1)
    };
    let walk_from = holding(position).min(count.saturating_sub(WALKED_AT_LEAST));
    let mut floor_seen = false;
    if let Some(floor) = floor.filter(|floor| holding(floor.size) < walk_from)
        && let Some(segment) = survey.segments.get(holding(floor.size))
    {
        check_floor_alone(segment, floor)?;
        floor_seen = true;
    }
    let mut checker = Checker {
        floor,
        floor_seen,
        start: position,
        frontier: start.frontier,
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
        return Err(OpenError::NoLog(folder.to_owned()));
    };
    checker.finish(last, &tail)?;
    let checked_from = survey.segments.get(walk_from).map_or(0, |s| s.header.first);
    Ok(Found {
        frontier: checker.frontier,
        offsets,
        tail,
        checked_from,
        survey,
    })
}

/// Carries the tree and the replay along the walk.
struct Checker<R> {
    floor: Option<Floor>,
    /// Whether the floor's size and root were met, in this walk or before.
    floor_seen: bool,
    /// The position from which to replay.
    start: u64,
    frontier: Frontier,
    replay: R,
}

impl<R> Checker<R> {
    fn segment<E>(
        &mut self,
        segment: &Opened,
        is_last: bool,
    ) -> Result<(Vec<u32>, Tail), OpenError<E>>
    where
        E: Error + 'static,
        R: FnMut(u64, &[u8]) -> Result<(), E>,
    {
        let first = segment.header.first;
        self.root(segment, 64, first, &segment.header.root)?;
        let bytes = segment.load()?;
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
        let mut walk = Walk::new(segment, &bytes);
        let mut offsets = Vec::new();
        let mut torn = None;
        let mut seal = None;
        loop {
            let at = walk.at;
            let refuse = |offset: usize, position, what| {
                Trouble::from(Damage::new(&segment.path, offset as u64, position, what))
            };
            match walk.step() {
                Step::Batch(commit) => {
                    for event in &walk.events {
                        note_offset(&mut offsets, first, event.position, event.offset as u64);
                    }
                    self.batch(segment, &walk, at, &commit)?;
                }
                Step::Sealed(commit, chain) => {
                    self.root(segment, at, commit.tree_size, &commit.root)?;
                    seal = Some(chain);
                    break;
                }
                Step::End if is_last => break,
                Step::End => {
                    return Err(refuse(at, walk.position, "the segment has no seal").into());
                }
                Step::Fault(fault) => {
                    let Fault {
                        offset,
                        position,
                        what,
                        ..
                    } = fault;
                    if !is_last || !is_torn(&bytes, length, at, &fault) {
                        return Err(refuse(offset, position, what).into());
                    }
                    if let Some(later) = later_commit(&walk) {
                        let what = "the batch before this later one is not whole";
                        return Err(refuse(later, walk.position, what).into());
                    }
                    torn = Some(fault);
                    break;
                }
            }
        }
        let seal_bytes = if seal.is_some() {
            super::record::COMMIT_FRAME_BYTES
        } else {
            0
        };
        let tail = Tail {
            end: walk.at + seal_bytes,
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
        segment: &Opened,
        walk: &Walk<'_>,
        at: usize,
        commit: &Commit,
    ) -> Result<(), OpenError<E>>
    where
        E: Error + 'static,
        R: FnMut(u64, &[u8]) -> Result<(), E>,
    {
        if commit.first < self.start && self.start < commit.tree_size {
            return Err(OpenError::Snapshot {
                position: self.start,
                what: "it stands inside a batch",
            });
        }
        let fresh: &[Event] = if commit.first < self.start {
            &[]
        } else {
            &walk.events
        };
        for event in fresh {
            self.frontier.append(&event.commitment);
        }
        self.root(segment, at, commit.tree_size, &commit.root)?;
        for event in fresh {
            let replayed = (self.replay)(event.position, walk.payload(event));
            replayed.map_err(|source| OpenError::Replay {
                position: event.position,
                source,
            })?;
        }
        Ok(())
    }

    /// Compares a root that the log states with the frontier and with the floor.
    fn root<E: Error + 'static>(
        &mut self,
        segment: &Opened,
        offset: usize,
        size: u64,
        stated: &[u8; 32],
    ) -> Result<(), OpenError<E>> {
        let damage = |what| {
            let damage = Damage::new(&segment.path, offset as u64, size, what);
            Err(OpenError::Damaged(damage))
        };
        if let Some(floor) = self.floor.filter(|floor| floor.size == size) {
            if floor.root != *stated {
                return damage("the root is not that of the newest checkpoint");
            }
            self.floor_seen = true;
        }
        if self.frontier.size() != size || self.frontier.root() == *stated {
            return Ok(());
        }
        if size == self.start {
            return Err(OpenError::Snapshot {
                position: size,
                what: "its root is not the log's",
            });
        }
        damage("the root is not that of the events")
    }

    /// Compares the log's end with the floor and the snapshot.
    fn finish<E: Error + 'static>(&self, last: &Opened, tail: &Tail) -> Result<(), OpenError<E>> {
        let next = tail.next;
        if self.floor.is_some() && !self.floor_seen {
            let what = match (
                self.floor.is_some_and(|floor| floor.size > next),
                &tail.torn,
            ) {
                (true, Some(_)) => "a batch that is not whole, below the newest checkpoint",
                (true, None) => "the log ends below the newest checkpoint",
                (false, _) => "the newest checkpoint does not stand at a batch's end",
            };
            let damage = Damage::new(&last.path, tail.end as u64, next, what);
            return Err(OpenError::Damaged(damage));
        }
        if self.frontier.size() != next {
            return Err(OpenError::Snapshot {
                position: self.start,
                what: "it is ahead of the log",
            });
        }
        Ok(())
    }
}

/// Looks for the newest checkpoint in a segment that the walk leaves out.
fn check_floor_alone(segment: &Opened, floor: Floor) -> Result<(), Trouble> {
    let damage = |offset: usize, what| {
        let damage = Damage::new(&segment.path, offset as u64, floor.size, what);
        Err(Trouble::from(damage))
    };
    let bytes = segment.load()?;
    let mut walk = Walk::new(segment, &bytes);
    let (mut size, mut root) = (segment.header.first, segment.header.root);
    while size < floor.size {
        match walk.step() {
            Step::Batch(commit) => (size, root) = (commit.tree_size, commit.root),
            Step::Sealed(..) | Step::End => break,
            Step::Fault(fault) => return damage(fault.offset, fault.what),
        }
    }
    if size != floor.size {
        return damage(
            walk.at,
            "the newest checkpoint does not stand at a batch's end",
        );
    }
    if root != floor.root {
        return damage(walk.at, "the root is not that of the newest checkpoint");
    }
    Ok(())
}
