//! Files that hold secrets: made once, for their owner alone, and read whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use zeroize::Zeroizing;

use super::exit::Stop;

/// Bytes of a passphrase or identity file at most: a few hundred identities.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A new file that only its owner can read. It is written beside its place and gets its name when
/// it is finished: a file of that name is always whole.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    finished: bool,
}

impl NewFile {
    /// Makes it; there must be none yet. What an interrupted run left beside it is replaced.
    pub(super) fn create(path: &Path) -> Result<Self, Stop> {
        let cannot = || format!("cannot make {}", path.display());
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.partial"));
        match fs::remove_file(&partial) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                return Err(anyhow::Error::from(why).context(cannot()).into());
            }
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&partial).with_context(cannot)?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            file,
            finished: false,
        })
    }

    /// Makes what was written durable, then gives it its name, unless that is taken by now.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        self.file.sync_all().with_context(cannot)?;
        // A link, since a rename would replace a file that was made meanwhile.
        fs::hard_link(&self.partial, &self.path).with_context(cannot)?;
        fs::remove_file(&self.partial).with_context(cannot)?;
        File::open(parent(&self.path))
            .and_then(|folder| folder.sync_all())
            .with_context(cannot)?;
        self.finished = true;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished
            && let Err(why) = fs::remove_file(&self.partial)
            && why.kind() != io::ErrorKind::NotFound
        {
            super::output::say(&format!("cannot remove {}: {why}", self.partial.display()));
        }
    }
}

fn exists(path: &Path) -> Stop {
    Stop::refused(format!(
        "{} exists; it is never written over",
        path.display()
    ))
}

/// The text of a file that holds a secret, without the line end that editors add.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<String>, Stop> {
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let mut text = Zeroizing::new(String::new());
    file.take(SECRET_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(cannot)?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        let path = path.display();
        return Err(Stop::refused(format!(
            "{path} holds more than {SECRET_FILE_BYTES_MAX} bytes"
        )));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(Stop::refused(format!("{} is empty", path.display())));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Whether `path` lies in `folder` or is it, links followed; neither needs to exist yet.
pub(super) fn is_inside(path: &Path, folder: &Path) -> anyhow::Result<bool> {
    Ok(resolve(path)?.starts_with(resolve(folder)?))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The real path of what exists of `path`, and the rest as it is.
fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    let cannot = || format!("cannot follow {}", path.display());
    let absolute = std::path::absolute(path).with_context(cannot)?;
    for ancestor in absolute.ancestors() {
        match fs::canonicalize(ancestor) {
            Ok(real) => {
                let rest = absolute.strip_prefix(ancestor).with_context(cannot)?;
                return Ok(real.join(rest));
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why).with_context(cannot),
        }
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_is_told_by_real_paths() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, root.path().join("link")).unwrap();
        for (path, inside) in [
            ("data", true),
            ("data/key", true),
            ("data/not/yet/there", true),
            ("link/key", true),
            ("data2/key", false),
            ("key", false),
            ("data/../key", false),
        ] {
            let path = root.path().join(path);
            assert_eq!(is_inside(&path, &data).unwrap(), inside, "{path:?}");
        }
        let later = root.path().join("later");
        assert!(is_inside(&later.join("key"), &later).unwrap());
    }

    #[test]
    fn a_new_file_is_its_owners_and_goes_unless_finished() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("key");
        drop(NewFile::create(&path).unwrap());
        assert!(!path.exists());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        // What an interrupted run left is no obstacle, and nothing has the name before it is whole.
        fs::write(root.path().join(".key.partial"), "half").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"secret\n").unwrap();
        assert!(!path.exists());
        file.finish().unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(NewFile::create(&path).is_err());
        assert_eq!(read_secret(&path).unwrap().as_str(), "secret");
    }
}
