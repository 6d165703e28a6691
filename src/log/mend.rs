//! Changes that a start makes once all is checked.
//!
//! Owns the copying of a torn tail, the copying of the last segment after an unclean stop, and
//! the making of segments. Must never write to a segment that has a name: content comes first,
//! the name last. After a failed sync the page cache may hold what the disk does not, so what was
//! read at start is written again and synced before it is served.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clean::CleanMark;
use super::disk::{Disk, File};
use super::error::{Damage, FileError, FileIo, Trouble};
use super::recovery::{Found, Tail};
use super::segment::{
    CLEAN_MARK, HEADER_BYTES, Header, Opened, is_blank, segment_path, spare_path,
};
use super::walk::Fault;
use super::{Recovered, TornTail};
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
    pub(crate) fn make(self, disk: &Disk, content: &[u8]) -> Result<File, FileError> {
        let temporary = self.path.with_added_extension("new");
        let file = match self.blank {
            // A spare loses its name for good before it stops being blank.
            Some(blank) => {
                disk.install(&blank, &temporary).at("rename", &blank)?;
                disk.open(&temporary).at("open", &temporary)?
            }
            None => {
                let made = disk.create_zeroed(&temporary, self.segment_bytes);
                made.at("create", &temporary)?
            }
        };
        file.write_all_at(0, content).at("write", &temporary)?;
        file.sync().at("sync", &temporary)?;
        disk.install(&temporary, self.path)
            .at("rename", &temporary)?;
        Ok(file)
    }
}

/// Takes a spare of the right size out of those found, if one is blank.
pub(crate) fn take_blank(
    disk: &Disk,
    folder: &Path,
    found: &mut Vec<u64>,
    bytes: u64,
) -> Result<Option<PathBuf>, FileError> {
    for slot in 0..found.len() {
        let Some(number) = found.get(slot) else { break };
        let path = spare_path(folder, *number);
        let file = disk.open(&path).at("open", &path)?;
        if is_blank(&file, bytes).at("read", &path)? {
            found.swap_remove(slot);
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Copies a torn tail to a file beside the segment; zeros at its end are left out.
pub(crate) fn copy_aside(
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
        match disk.read_whole(&copy) {
            // A start that was cut short has made this very copy.
            Ok(content) if content == tail => return Ok(copy),
            Ok(_) => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.write_whole(&copy, tail).at("write", &copy)?;
                return Ok(copy);
            }
            Err(error) => return Err(error).at("read", &copy),
        }
    }
}

/// Makes a segment that holds nothing but its header.
pub(crate) fn make_segment(
    disk: &Disk,
    folder: &Path,
    header: &Header,
    blank: Option<PathBuf>,
) -> Result<Opened, FileError> {
    let path = segment_path(folder, header.first);
    let (content, chain) = header.encode();
    let new = NewSegment {
        path: &path,
        segment_bytes: header.segment_bytes,
        blank,
    };
    let file = new.make(disk, &content)?;
    Ok(Opened {
        file: Arc::new(file),
        header: *header,
        chain,
        length: header.segment_bytes,
        path,
    })
}

/// What is ready to be written to and read from.
#[derive(Debug)]
pub(crate) struct Mended {
    pub(crate) segments: Vec<(Opened, Option<Vec<u32>>)>,
    pub(crate) spares: Vec<u64>,
    /// Where to write on in the last segment, and the CRC of the head before.
    pub(crate) end: u64,
    pub(crate) chain: u32,
    pub(crate) frontier: Frontier,
    pub(crate) recovered: Recovered,
}

/// Makes a checked log fit for use: copies aside, copies, goes on to a new segment.
pub(crate) fn mend(
    disk: &Disk,
    folder: &Path,
    segment_bytes: u64,
    found: Found,
) -> Result<Mended, Trouble> {
    let Found {
        survey,
        offsets,
        tail,
        frontier,
        checked_from,
    } = found;
    let mut spares = survey.spares;
    let mut segments = survey.segments;
    let last = segments.pop().ok_or_else(|| {
        let what = "there is no segment";
        Damage::new(&segment_path(folder, 0), 0, 0, what)
    })?;
    let was_clean = survey.marked_clean && is_clean(disk, folder, &last, &tail, &frontier)?;
    for name in &survey.unfinished {
        let path = folder.join(name);
        disk.remove(&path).at("remove", &path)?;
    }
    let torn = match &tail.torn {
        None => None,
        Some(fault) => Some(set_aside(disk, &last, &tail, fault)?),
    };
    let last = if was_clean {
        last
    } else {
        copy_segment(disk, folder, &mut spares, last, &tail)?
    };
    let header = Header {
        log_id: last.header.log_id,
        first: tail.next,
        segment_bytes,
        previous_chain: tail.chain,
        root: frontier.root(),
    };
    segments.push(last);
    let (mut end, mut chain) = (tail.end as u64, tail.chain);
    let mut offsets = offsets;
    if tail.sealed {
        // The last stop fell between the seal and the next segment.
        let blank = take_blank(disk, folder, &mut spares, segment_bytes)?;
        let segment = make_segment(disk, folder, &header, blank)?;
        (end, chain) = (HEADER_BYTES as u64, segment.chain);
        segments.push(segment);
        offsets.push(Some(Vec::new()));
    }
    if survey.marked_clean {
        // Before anything is written, so that the mark never speaks of another state.
        let path = folder.join(CLEAN_MARK);
        disk.remove(&path).at("remove", &path)?;
        disk.sync_folder(folder).at("sync", folder)?;
    }
    Ok(Mended {
        segments: segments.into_iter().zip(offsets).collect(),
        spares,
        end,
        chain,
        recovered: Recovered {
            next_position: tail.next,
            checked_from,
            was_clean,
            torn,
        },
        frontier,
    })
}

/// Copies a torn tail aside, so that nothing is lost that anyone may want to look at.
fn set_aside(
    disk: &Disk,
    last: &Opened,
    tail: &Tail,
    fault: &Fault,
) -> Result<TornTail, FileError> {
    let bytes = tail.bytes.get(tail.end..).unwrap_or_default();
    Ok(TornTail {
        file: last.path.clone(),
        offset: tail.end as u64,
        position: tail.next,
        what: fault.what,
        copy: copy_aside(disk, &last.path, tail.end, bytes)?,
    })
}

/// Whether the mark of a clean stop speaks of what was found.
fn is_clean(
    disk: &Disk,
    folder: &Path,
    last: &Opened,
    tail: &Tail,
    frontier: &Frontier,
) -> Result<bool, Trouble> {
    let Some(mark) = CleanMark::read(disk, folder)? else {
        return Ok(false);
    };
    if mark.log_id == last.header.log_id && mark.next > tail.next {
        let what = "the log ends before the point at which it was last stopped";
        return Err(Damage::new(&last.path, tail.end as u64, tail.next, what).into());
    }
    let found = CleanMark {
        log_id: last.header.log_id,
        next: tail.next,
        root: frontier.root(),
    };
    Ok(mark == found && tail.torn.is_none() && last.length == last.header.segment_bytes)
}

/// Replaces a segment by a copy of itself up to its last whole batch, synced.
fn copy_segment(
    disk: &Disk,
    folder: &Path,
    spares: &mut Vec<u64>,
    segment: Opened,
    tail: &Tail,
) -> Result<Opened, Trouble> {
    let segment_bytes = segment.header.segment_bytes;
    let new = NewSegment {
        path: &segment.path,
        segment_bytes,
        blank: take_blank(disk, folder, spares, segment_bytes)?,
    };
    let file = new.make(disk, tail.bytes.get(..tail.end).unwrap_or_default())?;
    Ok(Opened {
        file: Arc::new(file),
        length: segment_bytes,
        ..segment
    })
}
