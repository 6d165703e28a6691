//! Whether a ledger was in use in a folder whose making seems unfinished.
//!
//! Owns the judgement of what lies in the folder beside the marker: a part that a making never
//! leaves, or leaves smaller, shows that the marker is wrong, as does damage, since a making
//! installs only whole files. Must never change a byte.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use super::Folder;
use crate::log::{Disk, InspectError, LogTail, inspect_log, newest_checkpoint_size};

/// Events of a ledger that was founded: the ledger, the organization, its owner, the first key and
/// a sign-in link, and as many again.
const FOUNDING_EVENTS_MAX: u64 = 10;
/// Data keys of a ledger that was founded: the organization's and its owner's, and as many again.
const FOUNDING_DATA_KEYS_MAX: usize = 4;
/// A file of the usage history without a record: its header.
const EMPTY_USAGE_BYTES: u64 = 64;

/// What shows that a ledger was in use in the folder: the path of the first such part.
pub(super) fn sign_of_use(folder: &Folder) -> io::Result<Option<PathBuf>> {
    let only_served = [folder.webhooks(), folder.time(), folder.restore_mark()];
    if let Some(part) = only_served.into_iter().find(|part| part.exists()) {
        return Ok(Some(part));
    }
    for derived in [folder.snapshots(), folder.tiles()] {
        if !entries(&derived)?.is_empty() {
            return Ok(Some(derived));
        }
    }
    let parts = [
        (folder.log(), has_more_events(&folder.log())?),
        (folder.checkpoints(), has_later(&folder.checkpoints())?),
        (folder.keys(), has_more_keys(&folder.keys())?),
        (folder.usage(), has_calls(&folder.usage())?),
    ];
    Ok(parts
        .into_iter()
        .find_map(|(part, is_used)| is_used.then_some(part)))
}

fn has_more_events(log: &Path) -> io::Result<bool> {
    let mut events = 0;
    match inspect_log(&Disk::Real, log, |_event| events += 1) {
        Ok(found) => {
            let is_damaged = matches!(found.tail, LogTail::Damaged(_, _));
            Ok(is_damaged || events > FOUNDING_EVENTS_MAX)
        }
        Err(InspectError::NoLog(_)) => Ok(false),
        Err(InspectError::File(why)) => Err(why.source),
    }
}

fn has_later(checkpoints: &Path) -> io::Result<bool> {
    let newest = newest_checkpoint_size(Disk::Real, checkpoints);
    Ok(newest.map_or(true, |size| size > FOUNDING_EVENTS_MAX))
}

fn has_more_keys(keys: &Path) -> io::Result<bool> {
    let entries = entries(keys)?;
    let names = entries.iter().map(DirEntry::file_name);
    let names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    let data_keys = names.iter().filter(|name| name.starts_with("dk_")).count();
    let has_rotated = names.iter().any(|name| name.starts_with("signing-"));
    Ok(has_rotated || data_keys > FOUNDING_DATA_KEYS_MAX)
}

fn has_calls(usage: &Path) -> io::Result<bool> {
    for stream in entries(usage)? {
        if !stream.file_type()?.is_dir() {
            continue;
        }
        let segments = entries(&stream.path())?;
        for segment in &segments {
            if segments.len() > 1 || segment.metadata()?.len() > EMPTY_USAGE_BYTES {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What a folder holds; of none, and of what is no folder, nothing.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(why)
            if matches!(
                why.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        Err(why) => Err(why),
    }
}
