//! The check of a whole data folder, also beside a running server.
//!
//! Owns the order of the checks and the report. Must never write to the log, the checkpoints or the
//! tiles: a walk over the log carries the tree, the chains, the checkpoints and the tiles along,
//! and the first damage on the way is the verdict.

use crate::ledger::boot::{Folder, tile_beyond};
use crate::log::{
    CheckpointStoreError, DataFolderLock, DataFolderLockError, Disk, InspectError, LogInspection,
    LogReadError, LogTail, inspect_log, read_checkpoints,
};
use crate::merkle::{Checkpoint, Hash, NoteVerifier};
use crate::seal::{DataKeyFiles, SealError};
use crate::views::snapshot::newest_snapshot;

use super::chains::Chains;
use super::checkpoints::Kept;
use super::data_keys::NeededKeys;
use super::keys::{Named, checkpoint_of, claimed};
use super::tiles::Tiles;
use super::verdict::{Finding, Kind, Verdict};
use super::views::{self, ViewsFound};

/// Events between two words of progress.
const EVENTS_PER_WORD: u64 = 4_096;

/// What is to be checked.
#[derive(Debug)]
pub struct Asked<'a> {
    pub folder: &'a Folder,
    /// The key that must have signed; without one, the log's own.
    pub vkey: Option<NoteVerifier>,
    /// A checkpoint kept from earlier: a signed note.
    pub since: Option<&'a str>,
    /// Whether the history index is compared too.
    pub with_views: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// The log's id.
    pub log_id: [u8; 16],
    /// The name of its checkpoints.
    pub origin: String,
    /// Whether the keys come from the log itself.
    pub by_its_own_key: bool,
    /// The keys whose signatures counted.
    pub keys: Vec<NoteVerifier>,
    /// How many events are whole, from the first.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Files of the log that were looked into.
    pub segments: usize,
    /// What stands behind the last whole event.
    pub tail: LogTail,
    /// Signed checkpoints, and the size of the newest.
    pub checkpoints: (usize, Option<u64>),
    /// Organizations whose chains were followed.
    pub organizations: usize,
    /// Tiles that are there and right, and those that are missing.
    pub tiles: (u64, u64),
    /// The history index.
    pub views: ViewsFound,
    /// Whether all is whole.
    pub verdict: Verdict,
}

/// Why a folder could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no log, or the system refused something.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The checkpoints cannot be read.
    #[error("the checkpoints cannot be read")]
    Floor(#[from] CheckpointStoreError),
    /// The log cannot be read again.
    #[error("the log cannot be read")]
    Read(#[from] LogReadError),
    /// The keys folder cannot be listed.
    #[error(transparent)]
    Keys(#[from] SealError),
}

/// Checks a folder. `progress` is told how many events have been checked, and of how many the
/// newest checkpoint speaks.
///
/// # Errors
/// When there is nothing to check, or the system refuses something. Damage is a verdict.
pub fn verify(asked: &Asked<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, AuditError> {
    let folder = asked.folder;
    let since = asked.since.map(claimed).transpose();
    let (since, since_form) = match since {
        Ok(since) => (since, None),
        Err(why) => (None, Some(Finding::new(Kind::SinceSignature, why))),
    };
    let (mut kept, kept_form) = kept(folder, since)?;
    let expected = kept.newest().map_or(0, |newest| newest.checkpoint.size);
    // Before the log is read, since a running server may erase someone meanwhile.
    let key_files = DataKeyFiles::list_folder(&folder.keys())?;
    let mut walk = Walked::new(folder);
    let inspected = inspect_log(&Disk::Real, &folder.log(), |event| {
        if event.position % EVENTS_PER_WORD == 0 {
            progress(event.position, expected);
        }
        if walk.first.is_none() {
            walk.first = walk.take(&mut kept, event).err().map(|finding| {
                match (&finding.file, finding.kind) {
                    (None, _) => finding.in_file(event.file).at_offset(event.offset),
                    (Some(_), _) => finding,
                }
            });
        }
    })?;
    let size = inspected.frontier.size();
    progress(size, size);
    let damage = match &inspected.tail {
        LogTail::Damaged(failed, damage) => Some(Finding::of_log(*failed, damage)),
        LogTail::Clean { .. } | LogTail::Torn { .. } => None,
    };
    let signed = kept.signatures(&walk.named, asked.vkey.as_ref());
    let (keys, unsigned) = match signed {
        Ok(keys) => (keys, None),
        Err(finding) => (Vec::new(), Some(finding)),
    };
    let missing = kept.newest().is_none().then(|| {
        let what = "the folder holds no signed checkpoint";
        Finding::new(Kind::CheckpointMissing, what)
    });
    // In the order in which they stand in the log; then what is not in it.
    let first = earlier(walk.first, damage)
        .or_else(|| kept.reach(size).err())
        .or(kept_form)
        .or(missing)
        .or(unsigned)
        .or(since_form)
        .or_else(|| since_signed(asked, &walk.named, &keys).err())
        .or_else(|| kept.continues(size).err())
        .or_else(|| rolled_back(folder, inspected.log_id, size))
        .or_else(|| walk.data_keys.check(key_files.as_ref()).err());
    let (views, first) = match first {
        Some(first) => (ViewsFound::Skipped("the log comes first"), Some(first)),
        None => compare_views(asked, &inspected)?,
    };
    Ok(Report {
        log_id: inspected.log_id,
        origin: walk.named.origin.unwrap_or_default(),
        by_its_own_key: asked.vkey.is_none(),
        keys,
        size,
        root: inspected.frontier.root(),
        segments: inspected.segments.len(),
        tail: inspected.tail,
        checkpoints: (
            kept.count(),
            kept.newest().map(|newest| newest.checkpoint.size),
        ),
        organizations: walk.chains.organizations(),
        tiles: (walk.tiles.present, walk.tiles.missing),
        views,
        verdict: first.into(),
    })
}

/// What goes along with the walk over the log.
struct Walked {
    chains: Chains,
    named: Named,
    data_keys: NeededKeys,
    tiles: Tiles,
    first: Option<Finding>,
}

impl Walked {
    fn new(folder: &Folder) -> Self {
        Self {
            chains: Chains::default(),
            named: Named::default(),
            data_keys: NeededKeys::default(),
            tiles: Tiles::new(folder.tiles()),
            first: None,
        }
    }

    fn take(
        &mut self,
        kept: &mut Kept,
        event: &crate::log::InspectedEvent<'_>,
    ) -> Result<(), Finding> {
        let (position, payload) = (event.position, event.payload);
        let found = self.chains.take(position, payload, event.commitment)?;
        self.named.take((position, found.name), payload);
        self.data_keys.take((found.subject, found.name), payload);
        self.tiles.take(event)?;
        kept.meet(event)
    }
}

/// The checkpoints of a folder; what is wrong with their files is a finding.
fn kept(folder: &Folder, since: Option<Checkpoint>) -> Result<(Kept, Option<Finding>), AuditError> {
    let none = |finding: Finding| (Kept::new(Vec::new(), None), Some(finding));
    // The log's id is in every segment; one that is another log's is refused there.
    let Some(log_id) = log_id(folder)? else {
        return Ok((Kept::new(Vec::new(), since), None));
    };
    match read_checkpoints(Disk::Real, &folder.checkpoints(), log_id) {
        Ok(kept) => Ok((Kept::new(kept, since), None)),
        Err(CheckpointStoreError::Damaged(damage)) => {
            Ok(none(Finding::of_damage(Kind::CheckpointFile, &damage)))
        }
        Err(CheckpointStoreError::Missing(folder)) => {
            let what = "the files of checkpoints are missing";
            Ok(none(
                Finding::new(Kind::CheckpointFile, what).in_file(&folder),
            ))
        }
        Err(why) => Err(why.into()),
    }
}

/// The id of the log, from its first segment.
fn log_id(folder: &Folder) -> Result<Option<[u8; 16]>, AuditError> {
    Ok(crate::log::first_segment_log_id(
        &Disk::Real,
        &folder.log(),
    )?)
}

fn since_signed(asked: &Asked<'_>, named: &Named, keys: &[NoteVerifier]) -> Result<(), Finding> {
    let Some(note) = asked.since else {
        return Ok(());
    };
    let origin = named.origin.as_deref().unwrap_or_default();
    match checkpoint_of(note, origin, keys) {
        Ok(_) => Ok(()),
        Err(finding) => Err(Finding {
            kind: Kind::SinceSignature,
            ..finding
        }),
    }
}

/// The one that stands earlier in the log.
fn earlier(walked: Option<Finding>, damage: Option<Finding>) -> Option<Finding> {
    match (walked, damage) {
        (Some(walked), Some(damage)) if walked.position <= damage.position => Some(walked),
        (walked, damage) => damage.or(walked),
    }
}

/// What was derived from events that the log does not hold.
fn rolled_back(folder: &Folder, log_id: [u8; 16], size: u64) -> Option<Finding> {
    let tile = tile_beyond(&folder.tiles(), size).map(|tile| (tile.path, tile.position));
    let snapshot = newest_snapshot(&folder.snapshots(), log_id)
        .and_then(|found| Some((found.path, found.position.checked_sub(1)?)))
        .filter(|(_, position)| *position >= size);
    let (path, position) = tile.or(snapshot)?;
    Some(views::rolled_back(&path, position))
}

fn compare_views(
    asked: &Asked<'_>,
    inspected: &LogInspection,
) -> Result<(ViewsFound, Option<Finding>), AuditError> {
    let folder = asked.folder;
    let skipped = |why| Ok((ViewsFound::Skipped(why), None));
    if !asked.with_views {
        return skipped("not asked for");
    }
    if !folder.views().is_dir() {
        return skipped("there is none");
    }
    // A copy may have no lock file, and then nobody has it in use.
    let lock = folder.lock();
    let _lock = match lock.exists().then(|| DataFolderLock::try_acquire(&lock)) {
        None => None,
        Some(Ok(lock)) => Some(lock),
        Some(Err(DataFolderLockError::HeldByOtherProcess(_))) => {
            return skipped("a server uses the folder");
        }
        Some(Err(DataFolderLockError::File { .. })) => {
            return skipped("the folder cannot be locked");
        }
    };
    match views::compare(&folder.views(), &inspected.reader)? {
        Ok(found) => Ok((found, None)),
        Err(finding) => Ok((ViewsFound::Skipped("it differs"), Some(finding))),
    }
}
