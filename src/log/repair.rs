//! Changes that a start makes once all is checked.
//!
//! Owns the copying of a torn tail, the copying of the last segment after an unclean stop, and
//! the making of segments. Must never write to a segment that has a name: content comes first,
//! the name last. After a failed sync the page cache may hold what the disk does not, so what was
//! read at start is written again and synced before it is served.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clean_stop::CleanStopMark;
use super::disk::{Disk, DiskFile};
use super::error::{FileError, FileErrorContext, FileOrDamage, LogDamage};
use super::recovery::{CheckedLog, CheckedTail};
use super::recovery_report::{RecoveryReport, TornTail};
use super::segment::{
    CLEAN_MARK_FILE, OpenedSegment, SEGMENT_HEADER_BYTES, SegmentHeader, is_zero_filled,
    segment_path, spare_path,
};
use super::walk::FrameFault;
use crate::merkle::Frontier;

/// A file that is to hold a segment.
#[derive(Debug)]
pub(crate) struct NewSegment<'a> {
    pub(crate) path: &'a Path,
    pub(crate) segment_bytes: u64,
    /// A blank file of that size, if there is one.
    pub(crate) blank: Option<PathBuf>,
}

impl NewSegment<'_> {
    /// Fills the file and gives it its name, over what may bear it now.
    pub(crate) fn write_and_name(self, disk: &Disk, content: &[u8]) -> Result<DiskFile, FileError> {
        let temporary = self.path.with_added_extension("new");
        let file = match self.blank {
            // A spare loses its name for good before it stops being blank.
            Some(blank) => {
                disk.rename_and_sync(&blank, &temporary)
                    .at("rename", &blank)?;
                disk.open_to_write(&temporary).at("open", &temporary)?
            }
            None => {
                let made = disk.create_zeroed(&temporary, self.segment_bytes);
                made.at("create", &temporary)?
            }
        };
        file.write_all_at(0, content).at("write", &temporary)?;
        file.sync_data().at("sync", &temporary)?;
        disk.rename_and_sync(&temporary, self.path)
            .at("rename", &temporary)?;
        Ok(file)
    }
}

/// Takes a spare of the right size out of those found, if one is blank.
pub(crate) fn take_blank_spare(
    disk: &Disk,
    folder: &Path,
    found: &mut Vec<u64>,
    bytes: u64,
) -> Result<Option<PathBuf>, FileError> {
    for slot in 0..found.len() {
        let Some(number) = found.get(slot) else { break };
        let path = spare_path(folder, *number);
        let file = disk.open_to_write(&path).at("open", &path)?;
        if is_zero_filled(&file, bytes).at("read", &path)? {
            found.swap_remove(slot);
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Copies a torn tail to a file beside the segment; zeros at its end are left out.
pub(crate) fn copy_torn_tail(
    disk: &Disk,
    segment: &Path,
    offset: usize,
    tail: &[u8],
) -> Result<PathBuf, FileError> {
    let written = tail
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let tail = tail.get(..written).unwrap_or_default();
    let mut number = 0;
    loop {
        let copy = segment.with_extension(format!("{offset:010}.{number}.torn"));
        match disk.read_file(&copy) {
            // A start that was cut short has made this very copy.
            Ok(content) if content == tail => return Ok(copy),
            Ok(_) => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.write_file_atomically(&copy, tail).at("write", &copy)?;
                return Ok(copy);
            }
            Err(error) => return Err(error).at("read", &copy),
        }
    }
}

/// Makes a segment that holds nothing but its header.
pub(crate) fn create_empty_segment(
    disk: &Disk,
    folder: &Path,
    header: &SegmentHeader,
    blank: Option<PathBuf>,
) -> Result<OpenedSegment, FileError> {
    let path = segment_path(folder, header.first_position);
    let (content, chain) = header.encode();
    let new = NewSegment {
        path: &path,
        segment_bytes: header.segment_bytes,
        blank,
    };
    let file = new.write_and_name(disk, &content)?;
    Ok(OpenedSegment {
        file: Arc::new(file),
        header: *header,
        chain,
        length: header.segment_bytes,
        path,
    })
}

/// What is ready to be written to and read from.
#[derive(Debug)]
pub(crate) struct RepairedLog {
    pub(crate) segments: Vec<(OpenedSegment, Option<Vec<u32>>)>,
    pub(crate) spares: Vec<u64>,
    /// Where to write on in the last segment, and the CRC of the head before.
    pub(crate) end: u64,
    pub(crate) chain: u32,
    pub(crate) frontier: Frontier,
    pub(crate) recovered: RecoveryReport,
}

/// Makes a checked log fit for use: copies aside, copies, goes on to a new segment.
pub(crate) fn repair_log(
    disk: &Disk,
    folder: &Path,
    segment_bytes: u64,
    found: CheckedLog,
) -> Result<RepairedLog, FileOrDamage> {
    let CheckedLog {
        survey,
        offsets,
        tail,
        frontier,
        checked_from,
    } = found;
    let mut spares = survey.spare_numbers;
    let mut segments = survey.segments;
    let last = segments.pop().ok_or_else(|| {
        let what = "there is no segment";
        LogDamage::new(&segment_path(folder, 0), 0, 0, what)
    })?;
    let was_clean = survey.marked_clean && check_clean_stop(disk, folder, &last, &tail, &frontier)?;
    for name in &survey.unfinished {
        let path = folder.join(name);
        disk.remove_file(&path).at("remove", &path)?;
    }
    let torn = match &tail.torn {
        None => None,
        Some(fault) => Some(set_torn_tail_aside(disk, &last, &tail, fault)?),
    };
    let last = if was_clean {
        last
    } else {
        rewrite_last_segment(disk, folder, &mut spares, last, &tail)?
    };
    let header = SegmentHeader {
        log_id: last.header.log_id,
        first_position: tail.next,
        segment_bytes,
        previous_chain: tail.chain,
        root: frontier.root(),
    };
    segments.push(last);
    let (mut end, mut chain) = (tail.end as u64, tail.chain);
    let mut offsets = offsets;
    if tail.sealed {
        // The last stop fell between the seal and the next segment.
        let blank = take_blank_spare(disk, folder, &mut spares, segment_bytes)?;
        let segment = create_empty_segment(disk, folder, &header, blank)?;
        (end, chain) = (SEGMENT_HEADER_BYTES as u64, segment.chain);
        segments.push(segment);
        offsets.push(Some(Vec::new()));
    }
    if survey.marked_clean {
        // Before anything is written, so that the mark never speaks of another state.
        let path = folder.join(CLEAN_MARK_FILE);
        disk.remove_file(&path).at("remove", &path)?;
        disk.sync_folder(folder).at("sync", folder)?;
    }
    Ok(RepairedLog {
        segments: segments.into_iter().zip(offsets).collect(),
        spares,
        end,
        chain,
        recovered: RecoveryReport {
            next_position: tail.next,
            checked_from,
            was_clean,
            torn,
        },
        frontier,
    })
}

/// Copies a torn tail aside, so that its bytes stay available for an investigation.
fn set_torn_tail_aside(
    disk: &Disk,
    last: &OpenedSegment,
    tail: &CheckedTail,
    fault: &FrameFault,
) -> Result<TornTail, FileError> {
    let bytes = tail.bytes.get(tail.end..).unwrap_or_default();
    Ok(TornTail {
        file: last.path.clone(),
        offset: tail.end as u64,
        position: tail.next,
        fault: fault.what,
        copy: copy_torn_tail(disk, &last.path, tail.end, bytes)?,
    })
}

/// Whether the mark of a clean stop speaks of what was found.
fn check_clean_stop(
    disk: &Disk,
    folder: &Path,
    last: &OpenedSegment,
    tail: &CheckedTail,
    frontier: &Frontier,
) -> Result<bool, FileOrDamage> {
    let Some(mark) = CleanStopMark::read(disk, folder)? else {
        return Ok(false);
    };
    if mark.log_id == last.header.log_id && mark.next > tail.next {
        let what = "the log ends before the point at which it was last stopped";
        return Err(LogDamage::new(&last.path, tail.end as u64, tail.next, what).into());
    }
    let found = CleanStopMark {
        log_id: last.header.log_id,
        next: tail.next,
        root: frontier.root(),
    };
    Ok(mark == found && tail.torn.is_none() && last.length == last.header.segment_bytes)
}

/// Replaces a segment by a copy of itself up to its last whole batch, synced.
fn rewrite_last_segment(
    disk: &Disk,
    folder: &Path,
    spares: &mut Vec<u64>,
    segment: OpenedSegment,
    tail: &CheckedTail,
) -> Result<OpenedSegment, FileOrDamage> {
    let segment_bytes = segment.header.segment_bytes;
    let new = NewSegment {
        path: &segment.path,
        segment_bytes,
        blank: take_blank_spare(disk, folder, spares, segment_bytes)?,
    };
    let file = new.write_and_name(disk, tail.bytes.get(..tail.end).unwrap_or_default())?;
    Ok(OpenedSegment {
        file: Arc::new(file),
        length: segment_bytes,
        ..segment
    })
}
