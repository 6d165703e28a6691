//! Backups: the log, its checkpoints and the usage history in one file, and back into a folder.
//!
//! Owns what a backup holds and when a restored folder is believed. Must never hold a key: the keys
//! have an encrypted export of their own. A backup is taken beside a running server: checkpoints
//! first, then the log up to a batch's end, so that nothing that was signed can be missing from it.
//! A restore checks every digest before it writes, and the whole folder before it says yes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::audit::archive::{Archive, ArchiveError, SUMS, Writing};
use crate::audit::folder::{self as audit, Asked, AuditError, Report};
use crate::audit::verdict::{Finding, Kind, Verdict};
use crate::ledger::boot::{Folder, RestoreMark};
use crate::log::{
    CheckpointStoreError, Disk, InspectError, LogTail, first_segment_log_id, inspect_log,
    read_intact_checkpoint_files,
};
use crate::private;

/// The form of backups that this program writes and reads.
const FORMAT: &str = "keyledger-backup/1";
const MANIFEST: &str = "MANIFEST.json";
/// The folders of which there are files in a backup.
const PARTS: [&str; 3] = ["checkpoints", "log", "usage"];

/// What a backup says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    pub log_id: String,
    /// How many events it holds.
    pub size: u64,
    /// The root over them, base64.
    pub root: String,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no log, or the system refused something.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The log is damaged.
    #[error("the log is damaged, and no backup is made of it: {}", .0.what)]
    Damaged(Box<Finding>),
    /// The checkpoints cannot be read.
    #[error("the checkpoints cannot be read")]
    Floor(#[from] CheckpointStoreError),
    /// The file cannot be written, or one cannot be read.
    #[error("the backup cannot be written")]
    Io(#[from] io::Error),
    /// The manifest cannot be written.
    #[error("the manifest cannot be written")]
    Json(#[from] serde_json::Error),
}

/// Writes a backup of a folder, also beside a server.
///
/// # Errors
/// Any of [`BackupError`].
pub fn backup(folder: &Folder, out: impl Write) -> Result<Manifest, BackupError> {
    // What is read first reaches less far.
    let log_id = first_segment_log_id(&Disk::Real, &folder.log())?.unwrap_or_default();
    let checkpoints = read_intact_checkpoint_files(Disk::Real, &folder.checkpoints(), log_id)?;
    let inspected = inspect_log(&Disk::Real, &folder.log(), |_event| {})?;
    if let LogTail::Damaged(failed, damage) = &inspected.tail {
        let finding = Finding::of_log(*failed, damage);
        return Err(BackupError::Damaged(Box::new(finding)));
    }
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        log_id: hex::encode(inspected.log_id),
        size: inspected.frontier.size(),
        root: STANDARD.encode(inspected.frontier.root()),
    };
    let mut archive = Writing::new(out);
    for (name, file_content) in checkpoints {
        archive.whole(&format!("checkpoints/{name}"), &file_content)?;
    }
    for (path, bytes) in &inspected.segments {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = format!("log/{}", name.unwrap_or_default());
        add(&mut archive, &name, (File::open(path)?, *bytes))?;
    }
    for (name, path) in usage_files(&folder.usage())? {
        match File::open(&path) {
            // The oldest go while the server runs.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            file => {
                let file = file?;
                let bytes = file.metadata()?.len();
                add(&mut archive, &name, (file, bytes))?;
            }
        }
    }
    archive.whole(MANIFEST, &serde_json::to_vec(&manifest)?)?;
    archive.finish()?;
    Ok(manifest)
}

/// The files of the usage history with their names in a backup: what says how far it has come
/// first, since it must not say more than the others hold.
fn usage_files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut folders = vec![("usage".to_owned(), folder.to_owned())];
    let mut files = Vec::new();
    while let Some((name, folder)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let own = entry.file_name().into_string();
            let own = own.map_err(|_bytes| io::Error::other("a file's name is not text"))?;
            let name = format!("{name}/{own}");
            if entry.file_type()?.is_dir() {
                folders.push((name, entry.path()));
            } else {
                files.push((name, entry.path()));
            }
        }
    }
    files.sort();
    files.sort_by_key(|(name, _)| name.matches('/').count());
    Ok(files)
}

/// Adds the first `bytes` of a file.
fn add(
    archive: &mut Writing<impl Write>,
    name: &str,
    (file, bytes): (File, u64),
) -> io::Result<()> {
    archive.member((name, bytes), |out| {
        io::copy(&mut file.take(bytes), out).map(drop)
    })
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The folder holds something.
    #[error("{} is not empty; a backup is restored into an empty folder", .0.display())]
    NotVacant(PathBuf),
    /// The backup, or what it would have become, is not whole.
    #[error("the backup is not restored: {} ({})", .0.what, .0.kind.code())]
    Damaged(Box<Finding>),
    /// The restored folder cannot be checked.
    #[error("the restored folder cannot be checked")]
    Audit(#[from] AuditError),
    /// The backup cannot be opened.
    #[error("cannot read the backup {}, the file of --in", file.display())]
    Unreadable {
        /// Where it should be.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refused something.
    #[error("the backup cannot be restored")]
    Io(#[from] io::Error),
}

impl From<ArchiveError> for RestoreError {
    fn from(why: ArchiveError) -> Self {
        match why {
            ArchiveError::Io(why) => Self::Io(why),
            ArchiveError::Found(finding) => Self::Damaged(finding),
        }
    }
}

/// Restores a backup into an empty folder, and gives what an audit says of it.
///
/// With `floor`, a checkpoint from elsewhere, a backup that does not reach it is refused. The
/// folder is marked as restored: its first opening gives up `positions` positions, or as many as
/// the usual rate of events suggests, since clients know those of events after the backup.
///
/// # Errors
/// Any of [`RestoreError`]; then the folder is as empty as it was.
pub fn restore(
    from: &Path,
    folder: &Folder,
    floor: Option<&str>,
    positions: Option<u64>,
) -> Result<(Manifest, Report), RestoreError> {
    if !folder.is_vacant()? {
        return Err(RestoreError::NotVacant(folder.path().to_owned()));
    }
    if let Err(source) = File::open(from) {
        let file = from.to_owned();
        return Err(RestoreError::Unreadable { file, source });
    }
    let archive = Archive::open(from)?;
    check_names(&archive)?;
    archive.check_digests()?;
    let manifest = manifest(&archive)?;
    let existed = folder.path().exists();
    let restored = unpack(&archive, folder)
        .map_err(RestoreError::from)
        .and_then(|()| believed(folder, &manifest, floor))
        .and_then(|report| {
            let size = report.size;
            RestoreMark { size, positions }.write(folder)?;
            Ok(report)
        });
    if restored.is_err() {
        remove(folder, existed)?;
    }
    Ok((manifest, restored?))
}

fn refuse(kind: Kind, name: &str, what: impl Into<String>) -> ArchiveError {
    Finding::new(kind, what).in_file(Path::new(name)).into()
}

/// Only files of the parts, and the manifest and digests behind them.
fn check_names(archive: &Archive) -> Result<(), ArchiveError> {
    let names: Vec<&str> = archive
        .members
        .iter()
        .map(|member| member.name.as_str())
        .collect();
    let [files @ .., MANIFEST, SUMS] = names.as_slice() else {
        let what = format!("{MANIFEST} and {SUMS} do not stand at the end: it is no backup");
        return Err(refuse(Kind::BundleForm, MANIFEST, what));
    };
    let is_ours = |name: &&&str| {
        let part = name.split_once('/').map(|(part, _)| part);
        part.is_some_and(|part| PARTS.contains(&part))
    };
    if let Some(name) = files.iter().find(|name| !is_ours(name)) {
        let what = format!("{name} is no file of a backup");
        return Err(refuse(Kind::BundleForm, name, what));
    }
    let distinct: BTreeSet<&&str> = files.iter().collect();
    if distinct.len() < files.len() {
        let what = "a file stands in it twice";
        return Err(refuse(Kind::BundleForm, MANIFEST, what));
    }
    Ok(())
}

fn manifest(archive: &Archive) -> Result<Manifest, ArchiveError> {
    let wrong = |what: String| refuse(Kind::BundleManifest, MANIFEST, what);
    let missing = || wrong("it is missing".to_owned());
    let bytes = archive.small(archive.member(MANIFEST).ok_or_else(missing)?)?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|why| wrong(why.to_string()))?;
    if manifest.format != FORMAT {
        let what = format!("its form is {:?}, not {FORMAT:?}", manifest.format);
        return Err(wrong(what));
    }
    Ok(manifest)
}

/// Writes the files, and makes them and their names durable.
fn unpack(archive: &Archive, folder: &Folder) -> io::Result<()> {
    let root = folder.path();
    let mut folders = BTreeSet::new();
    for part in PARTS {
        let part = root.join(part);
        fs::create_dir_all(&part)?;
        folders.insert(part);
    }
    for member in &archive.members {
        if matches!(member.name.as_str(), MANIFEST | SUMS) {
            continue;
        }
        let path = root.join(&member.name);
        let above = path.parent().unwrap_or(root);
        if !folders.contains(above) {
            fs::create_dir_all(above)?;
            folders.insert(above.to_owned());
        }
        let mut file = File::create_new(&path)?;
        io::copy(&mut archive.read(member), &mut file)?;
        file.sync_all()?;
    }
    private::restrict(root)?;
    for folder in folders {
        File::open(folder)?.sync_all()?;
    }
    File::open(root)?.sync_all()
}

/// The whole folder verifies and is what the manifest says.
fn believed(
    folder: &Folder,
    manifest: &Manifest,
    floor: Option<&str>,
) -> Result<Report, RestoreError> {
    let asked = Asked {
        folder,
        vkey: None,
        since: floor,
        with_views: false,
    };
    let report = audit::verify(&asked, &mut |_done, _of| {})?;
    if let Verdict::Damaged(finding) = &report.verdict {
        return Err(RestoreError::Damaged(finding.clone()));
    }
    let is_its = report.size == manifest.size
        && hex::encode(report.log_id) == manifest.log_id
        && STANDARD.encode(report.root) == manifest.root;
    if is_its {
        return Ok(report);
    }
    let what = "the log is another one than the manifest says";
    Err(refuse(Kind::BundleManifest, MANIFEST, what).into())
}

/// Takes away what was unpacked.
fn remove(folder: &Folder, existed: bool) -> io::Result<()> {
    for part in PARTS {
        match fs::remove_dir_all(folder.path().join(part)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            Ok(()) | Err(_) => {}
        }
    }
    if existed {
        return Ok(());
    }
    fs::remove_dir(folder.path())
}
