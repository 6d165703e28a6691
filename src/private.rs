//! What others on the machine may do with the data folder: nothing.
//!
//! Owns the modes of all that a command creates, folders 0700 and files 0600 whatever the umask it
//! was started with, and sets modes back that something else has given since: wider ones, such as
//! by the `fsGroup` of a container's volume, and those that keep the owner itself out. Must
//! never look into a file, follow a link out of the folder, or refuse to go on: what belongs to
//! another user is only reported.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, access};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What the owner must be able to do with a file at least.
const OWNER_READS: u32 = 0o400;
/// What the group and everybody else may do.
const OTHERS: u32 = 0o077;
/// Folders within folders of a data folder: `tiles/data/x000/x000` has five.
const DEPTH_MAX: usize = 16;

/// The folder that file systems keep at the root of a volume; it is not ours.
pub const LOST_AND_FOUND: &str = "lost+found";

/// Has the process create every file and folder for its owner alone, those that libraries create
/// too. To be called before there is a second thread.
pub fn restrict_umask() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Refuses a data folder that this process cannot use, before anything in it is touched.
///
/// # Errors
/// When it may not read and write there. A folder that is not there yet is no error.
pub fn check_access(root: &Path) -> io::Result<()> {
    match access(root, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(why) if why == rustix::io::Errno::NOENT => Ok(()),
        Err(why) => Err(why.into()),
    }
}

/// Whether a failure says that this process may not do what it tried: no sign of damage.
#[must_use]
pub const fn is_denied(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// A ledger of another user, in which root would leave files that the owner cannot read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} belongs to user {user}, who could not read what root writes: run this as its owner \
     (`setpriv --reuid {user} --regid {group} --clear-groups keyledger ...`, or `docker exec \
     --user {user}:{group}`), or give the whole data folder to root (`chown -R 0:0`)",
    path.display()
)]
pub struct OwnedByAnother {
    path: PathBuf,
    user: u32,
    group: u32,
}

/// Refuses root to write into a folder of another user. A missing one is no error.
///
/// # Errors
/// When this process is root and the folder is another user's.
pub fn check_folder_owner(folder: &Path) -> Result<(), OwnedByAnother> {
    match fs::metadata(folder) {
        Ok(seen) => check_owner_as_root(folder, &seen),
        Err(_) => Ok(()),
    }
}

/// The same of everything in a folder. What cannot be read is no error.
///
/// # Errors
/// When this process is root and something in the folder is another user's.
pub fn check_owner_of_parts(folder: &Path) -> Result<(), OwnedByAnother> {
    check_parts(folder, DEPTH_MAX)
}

fn check_parts(folder: &Path, depth: usize) -> Result<(), OwnedByAnother> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Does not follow links.
        let Ok(seen) = entry.metadata() else {
            continue;
        };
        if entry.file_name() == LOST_AND_FOUND {
            continue;
        }
        let path = entry.path();
        check_owner_as_root(&path, &seen)?;
        if seen.is_dir() && depth > 0 {
            check_parts(&path, depth - 1)?;
        }
    }
    Ok(())
}

fn check_owner_as_root(path: &Path, seen: &Metadata) -> Result<(), OwnedByAnother> {
    if !rustix::process::geteuid().is_root() || seen.uid() == 0 {
        return Ok(());
    }
    Err(OwnedByAnother {
        path: path.to_owned(),
        user: seen.uid(),
        group: seen.gid(),
    })
}

/// The same failure with what an operator needs to mend it: whose the folder is and who we are.
#[must_use]
pub fn explained(path: &Path, why: io::Error) -> io::Error {
    let kind = why.kind();
    match remedy(path, kind) {
        Some(remedy) => io::Error::new(kind, format!("{why}; {remedy}")),
        None => why,
    }
}

/// What an operator does about a path that this process may not use; `None` of other failures.
#[must_use]
pub fn remedy(path: &Path, kind: io::ErrorKind) -> Option<String> {
    if kind == io::ErrorKind::ReadOnlyFilesystem {
        let remedy = "the data folder must be on a file system that can be written to; name \
            another folder with --data-dir";
        return Some(remedy.to_owned());
    }
    if kind != io::ErrorKind::PermissionDenied {
        return None;
    }
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    // What is not there cannot be made in the folder that is.
    let existing = path.ancestors().find(|path| path.exists());
    let existing = existing.unwrap_or_else(|| Path::new("."));
    let seen = fs::metadata(existing).ok()?;
    let (user, group) = (user.as_raw(), group.as_raw());
    Some(format!(
        "{} belongs to user {owner} and group {} with mode {:o}, and this process is user {user} \
         and group {group}: give it to that user (`chown -R {user}:{group}` on the whole data \
         folder), or run as user {owner}",
        existing.display(),
        seen.gid(),
        seen.mode() & 0o7777,
        owner = seen.uid(),
    ))
}

/// The first path from a folder downwards that this process may not read and
/// write; `None` if there is none, or a folder cannot be listed for another reason.
#[must_use]
pub fn first_denied(root: &Path) -> Option<PathBuf> {
    let seen = fs::symlink_metadata(root).ok()?;
    let wanted = if seen.is_dir() {
        Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK
    } else if seen.is_file() {
        Access::READ_OK | Access::WRITE_OK
    } else {
        return None;
    };
    if access(root, wanted).is_err() {
        return Some(root.to_owned());
    }
    let entries = seen.is_dir().then(|| fs::read_dir(root).ok()).flatten()?;
    let mut entries = entries.filter_map(Result::ok);
    entries.find_map(|entry| first_denied(&entry.path()))
}

/// What was found wider than it may be.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Restricted {
    /// Paths whose mode was set back, and the first of them with the mode that it had.
    pub set_back: usize,
    /// See above.
    pub first: Option<(PathBuf, u32)>,
    /// Paths that others can reach and whose mode stays: they belong to another user, or the file
    /// system does not change it. And the first of them.
    pub foreign: usize,
    /// See above.
    pub first_foreign: Option<(PathBuf, u32)>,
    /// The first path that the owner itself could not read, whose mode was set back.
    pub first_closed: Option<(PathBuf, u32)>,
}

/// Sets the modes of a folder and of all in it back to the owner's alone, and logs what was wider.
///
/// # Errors
/// When the folder cannot be read. What cannot be changed is no error.
pub fn restrict(root: &Path) -> io::Result<()> {
    let found = restricted(root)?;
    if let Some((path, mode)) = &found.first {
        tracing::warn!(
            paths = found.set_back,
            first = %path.display(),
            mode = format!("{mode:o}"),
            "other users had access to the data folder; it is the owner's alone again"
        );
    }
    if let Some((path, mode)) = &found.first_closed {
        tracing::warn!(
            first = %path.display(),
            mode = format!("{mode:o}"),
            "the owner itself had no access to parts of the data folder; it has again"
        );
    }
    if let Some((path, mode)) = &found.first_foreign {
        tracing::warn!(
            paths = found.foreign,
            first = %path.display(),
            mode = format!("{mode:o}"),
            "other users have access to the data folder, and its mode cannot be set back, since it \
             belongs to another user: set folders to 0700 and files to 0600"
        );
    }
    Ok(())
}

/// The same without a word.
///
/// # Errors
/// As of [`restrict`].
pub fn restricted(root: &Path) -> io::Result<Restricted> {
    let mut found = Restricted::default();
    // The root may be a link to where the folder lies.
    found.look_at(root, &fs::metadata(root)?);
    found.walk(root, DEPTH_MAX)?;
    Ok(found)
}

impl Restricted {
    fn walk(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // Does not follow links. A temporary file may go meanwhile.
            let seen = match entry.metadata() {
                Ok(seen) => seen,
                Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                Err(why) => return Err(why),
            };
            if entry.file_name() == LOST_AND_FOUND {
                continue;
            }
            let path = entry.path();
            self.look_at(&path, &seen);
            if seen.is_dir() && depth > 0 {
                match self.walk(&path, depth - 1) {
                    // Another user's, which the process may not read.
                    Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {}
                    done => done?,
                }
            }
        }
        Ok(())
    }

    fn look_at(&mut self, path: &Path, seen: &Metadata) {
        let mode = seen.mode() & 0o7777;
        let wanted = if seen.is_dir() {
            FOLDER_MODE
        } else if seen.is_file() {
            FILE_MODE
        } else {
            return;
        };
        let needed = if seen.is_dir() {
            FOLDER_MODE
        } else {
            OWNER_READS
        };
        let is_closed = mode & needed != needed;
        if mode & OTHERS == 0 && !is_closed {
            return;
        }
        let ours = seen.uid() == rustix::process::geteuid().as_raw();
        if ours && fs::set_permissions(path, Permissions::from_mode(wanted)).is_ok() {
            let first = if is_closed {
                &mut self.first_closed
            } else {
                &mut self.first
            };
            first.get_or_insert_with(|| (path.to_owned(), mode));
            self.set_back += 1;
        } else if mode & OTHERS != 0 {
            self.foreign += 1;
            self.first_foreign
                .get_or_insert_with(|| (path.to_owned(), mode));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn root_is_refused_where_any_part_is_another_users() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let deep = data.join("keys").join("deep");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(data.join(LOST_AND_FOUND)).unwrap();
        for file in [
            data.join("lock"),
            deep.join("file"),
            folder.path().join("outside"),
        ] {
            fs::write(file, "").unwrap();
        }
        symlink(folder.path().join("outside"), data.join("link")).unwrap();
        if !rustix::process::geteuid().is_root() {
            assert!(check_owner_of_parts(&data).is_ok());
            return;
        }
        let check = |path: &Path, of_folder: bool, of_parts: bool| {
            chown(path, Some(4_242), Some(4_242)).unwrap();
            let found = check_folder_owner(&data).err().map(|why| why.path);
            let expected = of_folder.then(|| path.to_owned());
            assert_eq!(found, expected, "{}", path.display());
            let found = check_owner_of_parts(&data).err().map(|why| why.path);
            let expected = of_parts.then(|| path.to_owned());
            assert_eq!(found, expected, "{}", path.display());
            chown(path, Some(0), Some(0)).unwrap();
        };
        check(&data, true, false);
        check(&data.join("lock"), false, true);
        check(&data.join("keys"), false, true);
        check(&deep.join("file"), false, true);
        check(&data.join(LOST_AND_FOUND), false, false);
        check(&folder.path().join("outside"), false, false);
        let missing = data.join("missing");
        assert!(check_folder_owner(&missing).is_ok() && check_owner_of_parts(&missing).is_ok());
    }

    #[test]
    fn wider_modes_are_set_back_at_every_depth_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (data, outside) = (folder.path().join("data"), folder.path().join("outside"));
        let deep = data.join("a").join("b");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(data.join(LOST_AND_FOUND)).unwrap();
        fs::write(&outside, "").unwrap();
        symlink(&outside, deep.join("link")).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        fs::write(data.join("narrow"), "").unwrap();
        fs::create_dir_all(data.join("closed")).unwrap();
        fs::write(data.join("closed").join("file"), "").unwrap();
        for (path, mode) in [
            (&data, 0o2770),
            (&data.join("a"), 0o755),
            (&deep, 0o711),
            (&deep.join("file"), 0o666),
            (&data.join("narrow"), 0o400),
            (&data.join("closed").join("file"), 0),
            (&data.join("closed"), 0o200),
            (&data.join(LOST_AND_FOUND), 0o755),
            (&outside, 0o644),
        ] {
            set(path, mode);
        }
        let found = restricted(&data).unwrap();
        assert_eq!((found.set_back, found.foreign), (6, 0));
        assert_eq!(found.first, Some((data.clone(), 0o2770)));
        let closed = data.join("closed");
        assert_eq!(found.first_closed, Some((closed.clone(), 0o200)));
        for (path, expected) in [
            (&data, 0o700),
            (&data.join("a"), 0o700),
            (&deep, 0o700),
            (&deep.join("file"), 0o600),
            (&data.join("narrow"), 0o400),
            (&closed, 0o700),
            (&closed.join("file"), 0o600),
            (&data.join(LOST_AND_FOUND), 0o755),
            (&outside, 0o644),
        ] {
            assert_eq!(mode(path), expected, "{}", path.display());
        }
        assert_eq!(restricted(&data).unwrap(), Restricted::default());
        assert!(restricted(&data.join("missing")).is_err());
    }
}
