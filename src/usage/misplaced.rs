//! Sets aside what is in the place of a file or folder of the usage history and is not one.

use std::fs;
use std::io;
use std::path::Path;

use crate::degraded::{DegradedParts, Part};

/// Sets aside folders in the place of files and files in the place of folders.
///
/// # Errors
/// When a folder cannot be read, or what is misplaced not be renamed.
pub(crate) fn set_aside_misplaced(folder: &Path, degraded: &DegradedParts) -> io::Result<()> {
    let streams =
        ["calls", "overflow", "rollups", "rollups-overflow"].map(|name| folder.join(name));
    for path in [folder.to_owned()].iter().chain(&streams) {
        if path.symlink_metadata().is_ok() && !path.is_dir() {
            degraded.set_aside(Part::Usage, path, "it should be a folder")?;
        }
    }
    let mut files = ["checkpoint", "running"]
        .map(|name| folder.join(name))
        .to_vec();
    for stream in &streams {
        let entries = match fs::read_dir(stream) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            files.extend(
                path.extension()
                    .is_some_and(|end| end == "use")
                    .then_some(path),
            );
        }
    }
    for path in files {
        if path.is_dir() {
            degraded.set_aside(Part::Usage, &path, "it should be a file")?;
        }
    }
    Ok(())
}
