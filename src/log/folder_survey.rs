//! The files in the log's folder, and whether the segments follow one another.
//!
//! Owns the first look of a start: names, headers, seals. Must never change anything; what it
//! finds goes to [`super::recovery`].

use std::path::Path;

use super::disk::Disk;
use super::error::{FileErrorContext, FileOrDamage, LogDamage};
use super::frame::{COMMIT_FRAME_BYTES, is_all_zero};
use super::segment::{LogFileName, OpenedSegment, SEGMENT_HEADER_BYTES, segment_path};
use super::walk::seal_at_end;

/// The content of the log's folder.
#[derive(Debug)]
pub(crate) struct LogFolderSurvey {
    /// All segments, in order; their headers are whole and each follows the one before.
    pub(crate) segments: Vec<OpenedSegment>,
    /// The numbers of spares, not yet checked.
    pub(crate) spare_numbers: Vec<u64>,
    /// Whether a clean stop left its mark.
    pub(crate) marked_clean: bool,
    /// Files that were being made.
    pub(crate) unfinished: Vec<String>,
}

impl LogFolderSurvey {
    pub(crate) fn read_and_check(disk: &Disk, folder: &Path) -> Result<Self, FileOrDamage> {
        let mut survey = Self {
            segments: Vec::new(),
            spare_numbers: Vec::new(),
            marked_clean: false,
            unfinished: Vec::new(),
        };
        let mut firsts = Vec::new();
        for name in disk.list_names(folder).at("list", folder)? {
            match LogFileName::parse(&name) {
                LogFileName::Segment(first) => firsts.push(first),
                LogFileName::Spare(number) => survey.spare_numbers.push(number),
                LogFileName::CleanMark => survey.marked_clean = true,
                LogFileName::Unfinished => survey.unfinished.push(name),
                LogFileName::Foreign => {}
            }
        }
        firsts.sort_unstable();
        for first in firsts {
            survey
                .segments
                .push(OpenedSegment::open(disk, folder, first)?);
        }
        survey.check_order(folder)?;
        Ok(survey)
    }

    fn check_order(&self, folder: &Path) -> Result<(), FileOrDamage> {
        let Some(first) = self.segments.first() else {
            return Ok(());
        };
        if first.header.first_position != 0 {
            let what = "the first segment is missing";
            return Err(LogDamage::new(&segment_path(folder, 0), 0, 0, what).into());
        }
        if first.header.previous_chain != 0 {
            let what = "the first segment names one before it";
            return Err(LogDamage::new(&first.path, 48, 0, what).into());
        }
        if first.header.root != crate::merkle::Frontier::new().root() {
            let what = "the first segment's root is not that of the empty tree";
            return Err(LogDamage::new(&first.path, 64, 0, what).into());
        }
        for pair in self.segments.windows(2) {
            if let [before, after] = pair {
                check_pair(folder, before, after)?;
            }
        }
        Ok(())
    }
}

/// Whether a segment is sealed and the seal is the one that the next segment's header names.
fn check_pair(
    folder: &Path,
    before: &OpenedSegment,
    after: &OpenedSegment,
) -> Result<(), FileOrDamage> {
    let (old, new) = (&before.header, &after.header);
    if old.log_id != new.log_id {
        let what = "the segment belongs to another log";
        return Err(LogDamage::new(&after.path, 16, new.first_position, what).into());
    }
    if before.length != old.segment_bytes {
        let what = "the file is shorter than its header says, and another segment follows";
        return Err(LogDamage::new(&before.path, before.length, new.first_position, what).into());
    }
    let (offset, last_bytes) = last_bytes(before)?;
    let Some((seal, chain)) = seal_at_end(&last_bytes) else {
        let what = "the segment has no seal, and another segment follows";
        return Err(LogDamage::new(&before.path, offset, new.first_position, what).into());
    };
    if seal.first < new.first_position {
        let what = "a segment is missing";
        let missing = segment_path(folder, seal.first);
        return Err(LogDamage::new(&missing, 0, seal.first, what).into());
    }
    let agrees = seal.log_id == new.log_id
        && seal.first == new.first_position
        && seal.tree_size == new.first_position
        && seal.root == new.root
        && chain == new.previous_chain;
    if agrees {
        Ok(())
    } else {
        let what = "the header does not agree with the seal of the segment before";
        Err(LogDamage::new(&after.path, 32, new.first_position, what).into())
    }
}

/// The end of a segment's content, with what may belong to its seal, and where that begins.
fn last_bytes(segment: &OpenedSegment) -> Result<(u64, Vec<u8>), FileOrDamage> {
    const WINDOW: u64 = 64 * 1024;
    // A seal whose root ends in zeros begins a little before the last byte that is not zero.
    const BEFORE: u64 = COMMIT_FRAME_BYTES as u64 * 2;
    let header = SEGMENT_HEADER_BYTES as u64;
    let mut end = segment.header.segment_bytes;
    while end > header {
        let start = end.saturating_sub(WINDOW).max(header);
        let mut window = vec![0; usize::try_from(end - start).unwrap_or(0)];
        let read = segment.file.read_full_at(start, &mut window);
        read.at("read", &segment.path)?;
        if !is_all_zero(&window) {
            let from = start.saturating_sub(BEFORE).max(header);
            let to = (end + BEFORE).min(segment.header.segment_bytes);
            let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
            let read = segment.file.read_full_at(from, &mut bytes);
            read.at("read", &segment.path)?;
            return Ok((from, bytes));
        }
        end = start;
    }
    Ok((header, Vec::new()))
}
