//! Files and folders of keys on disk: modes 0600 and 0700, and each file by temporary name, sync,
//! rename and sync of the folder. Must never look into a file, and replaces none unless
//! [`replace_with_staged_file`] is asked to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::SealError;

const TEMPORARY_PREFIX: &str = ".tmp-";

/// No key file is longer: the wrapped form has 250 bytes, the master key 65.
const FILE_BYTES_MAX: u64 = 4_096;

/// What is at a folder's path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FolderContent {
    Missing,
    /// An empty folder.
    Empty,
    /// A folder with something in it.
    NotEmpty,
}

pub(super) fn folder_content(dir: &Path) -> Result<FolderContent, SealError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(if entries.next().is_some() {
            FolderContent::NotEmpty
        } else {
            FolderContent::Empty
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FolderContent::Missing),
        Err(error) => Err(SealError::io("list", dir)(error)),
    }
}

/// Refuses a path that is missing or that the bits of `forbidden` are set for.
pub(super) fn refuse_mode_bits(path: &Path, forbidden: u32) -> Result<(), SealError> {
    let found = fs::metadata(path).map_err(SealError::io("read the mode of", path))?;
    let mode = found.permissions().mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(SealError::ModeTooOpen {
            path: path.to_path_buf(),
            mode,
        });
    }
    Ok(())
}

/// The folder next to `dir` in which a whole new one is built before it takes the name.
pub(super) fn staging_folder_path(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.new"))
}

/// An empty folder of mode 0700. What a stopped run left there goes first.
pub(super) fn recreate_empty_folder(dir: &Path) -> Result<(), SealError> {
    remove_tree_if_any(dir)?;
    DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(SealError::io("create", dir))
}

pub(super) fn remove_tree_if_any(dir: &Path) -> Result<(), SealError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SealError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Gives the finished folder its name, over nothing or an empty folder.
pub(super) fn rename_folder_and_sync(from: &Path, to: &Path) -> Result<(), SealError> {
    sync_folder(from)?;
    fs::rename(from, to).map_err(SealError::io("rename to", to))?;
    sync_folder(parent(to))
}

/// Writes a file under its temporary name and syncs it. It counts only once [`name_staged_file`]ed.
pub(super) fn stage_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), SealError> {
    let path = temporary_path(dir, name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    written.map_err(|error| {
        // Best effort: the write's own error is the news, and sweeping comes by later.
        drop(fs::remove_file(&path));
        SealError::io("write", &path)(error)
    })
}

/// Gives a staged file its name; the caller syncs the folder when all have theirs. Callers hold
/// the store's lock or the data folder's, so nothing appears between the check and the rename.
pub(super) fn name_staged_file(dir: &Path, name: &str) -> Result<(), SealError> {
    let path = dir.join(name);
    let taken = path
        .try_exists()
        .map_err(SealError::io("look for", &path))?;
    assert!(!taken, "a key file is never replaced");
    fs::rename(temporary_path(dir, name), &path).map_err(SealError::io("rename to", &path))
}

/// Gives a staged file its name, also in the place of a damaged one. What is not a file there is
/// set aside.
pub(super) fn replace_with_staged_file(dir: &Path, name: &str) -> Result<(), SealError> {
    let path = dir.join(name);
    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
        set_aside_as_unusable(&path)?;
    }
    fs::rename(temporary_path(dir, name), &path).map_err(SealError::io("rename to", &path))
}

/// Renames what is at a path to the first free `NAME.unusable-NUMBER` beside it.
pub(super) fn set_aside_as_unusable(path: &Path) -> Result<PathBuf, SealError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 1_u32;
    let aside = loop {
        let aside = path.with_file_name(format!("{name}.unusable-{number}"));
        match fs::symlink_metadata(&aside) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => break aside,
            Err(why) => return Err(SealError::io("look for", &aside)(why)),
            Ok(_) => number += 1,
        }
    };
    fs::rename(path, &aside).map_err(SealError::io("rename to", &aside))?;
    sync_folder(parent(path))?;
    Ok(aside)
}

/// Stages, publishes and syncs one file.
pub(super) fn write_new_file(path: &Path, bytes: &[u8]) -> Result<(), SealError> {
    let dir = parent(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    stage_file(dir, &name, bytes)?;
    name_staged_file(dir, &name)?;
    sync_folder(dir)
}

/// A whole file, or `None` when there is none.
pub(super) fn read_key_file(path: &Path) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, SealError> {
    match fs::metadata(path) {
        // A folder cannot be read as a file, and a pipe would be waited for without end.
        Ok(found) if !found.is_file() => Err(SealError::damaged(path, "not a regular file")),
        Ok(found) if found.len() > FILE_BYTES_MAX => Err(SealError::damaged(path, "too long")),
        Ok(_) => match fs::read(path) {
            Ok(bytes) => Ok(Some(zeroize::Zeroizing::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SealError::io("read", path)(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SealError::io("read", path)(error)),
    }
}

/// The names of a folder's files, temporary ones left out.
pub(super) fn list_finished_names(dir: &Path) -> Result<Vec<String>, SealError> {
    let mut names = all_names(dir)?;
    names.retain(|name| !name.starts_with(TEMPORARY_PREFIX));
    Ok(names)
}

/// Removes what a stopped run left under temporary names.
pub(super) fn remove_temporary_files(dir: &Path) -> Result<(), SealError> {
    for name in all_names(dir)? {
        if name.starts_with(TEMPORARY_PREFIX) {
            remove_file_if_any(&dir.join(name))?;
        }
    }
    sync_folder(dir)
}

/// Unlinks a file; one that is gone already is as good.
pub(super) fn remove_file_if_any(path: &Path) -> Result<(), SealError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SealError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes whatever has a key's name: a key's file, or a folder that someone put in its place.
pub(super) fn remove_file_or_tree(path: &Path) -> Result<(), SealError> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return remove_tree_if_any(path);
    }
    remove_file_if_any(path)
}

pub(super) fn sync_folder(dir: &Path) -> Result<(), SealError> {
    File::open(dir)
        .and_then(|folder| folder.sync_all())
        .map_err(SealError::io("sync", dir))
}

fn all_names(dir: &Path) -> Result<Vec<String>, SealError> {
    let entries = fs::read_dir(dir).map_err(SealError::io("list", dir))?;
    entries
        .map(|entry| {
            let entry = entry.map_err(SealError::io("list", dir))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

fn temporary_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{TEMPORARY_PREFIX}{name}"))
}

/// The folder that holds `path`; a bare name is in the current one.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
