//! Who tampers: with the files as they are, or with the whole history, all checksums made anew.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::audit::folder::{Asked, Report, verify};
use crate::audit::verdict::Verdict;
use crate::ledger::boot::Folder;
use crate::ledger::tests::{World, found};
use crate::log::{
    AppendSpace, CheckpointStore, Disk, Log, LogSettings, SignedCheckpoint, SpareMaker,
    inspect_log, read_checkpoints,
};
use crate::merkle::{Checkpoint, NoteSigner, NoteVerifier};
use crate::seal::KeyStore;

/// A company's ledger that nobody runs any more.
pub(super) struct Original {
    pub(super) dir: TempDir,
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) log_id: [u8; 16],
    pub(super) origin: String,
    pub(super) vkey: NoteVerifier,
    /// The newest signed note.
    pub(super) newest: String,
    last: SignedCheckpoint,
}

pub(super) fn data(dir: &TempDir) -> Folder {
    Folder::new(dir.path().join("data"))
}

impl Original {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        found(&mut world);
        Self::of(world.left())
    }

    fn of(dir: TempDir) -> Self {
        let folder = data(&dir);
        let mut payloads = Vec::new();
        let inspected = inspect_log(&Disk::Real, &folder.log(), |event| {
            payloads.push(event.payload.to_vec());
        });
        let log_id = inspected.unwrap().log_id;
        let kept = read_checkpoints(Disk::Real, &folder.checkpoints(), log_id).unwrap();
        let last = kept.last().unwrap().checkpoint.clone();
        let newest = last.note.clone();
        let origin = newest.lines().next().unwrap().to_owned();
        let signer = signer(&folder, &origin);
        Self {
            payloads,
            log_id,
            vkey: signer.verifier().clone(),
            origin,
            newest,
            last,
            dir,
        }
    }

    /// A copy with other content: `payloads` in batches of one, and checkpoints that `signer` has
    /// signed at the end, at a third and at two thirds. Without a signer, the newest checkpoint of
    /// the original: where the ones before it lie depends on how busy its signer was.
    pub(super) fn rewritten(&self, payloads: &[Vec<u8>], signer: Option<&NoteSigner>) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let folder = data(&dir);
        fs::create_dir_all(folder.path()).unwrap();
        let settings = LogSettings {
            segment_bytes: 64 * 1024,
            headroom_bytes: 0,
            spares: SpareMaker::ByCaller,
        };
        let mut log = Log::create(Disk::Real, &folder.log(), self.log_id, settings).unwrap();
        let third = (payloads.len() / 3).max(1);
        let mut roots = Vec::new();
        for (number, payload) in (1..).zip(payloads) {
            log.make_missing_spares().unwrap();
            let appended = log.append(&[payload], AppendSpace::Ordinary).unwrap();
            if number % third == 0 || number == payloads.len() {
                roots.push((appended.tree_size, appended.root));
            }
        }
        log.close().unwrap();
        let notes = folder.checkpoints();
        let mut file = CheckpointStore::create(Disk::Real, &notes, self.log_id).unwrap();
        let Some(signer) = signer else {
            file.append(self.last.clone()).unwrap();
            return dir;
        };
        for (size, root) in roots {
            file.append(signed(&self.origin, (size, root), signer))
                .unwrap();
        }
        dir
    }

    pub(super) fn signer(&self) -> NoteSigner {
        signer(&data(&self.dir), &self.origin)
    }

    /// A copy of all its files.
    pub(super) fn copied(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        copy(&self.dir.path().join("data"), &dir.path().join("data"));
        dir
    }
}

pub(super) fn signed(
    origin: &str,
    (size, root): (u64, [u8; 32]),
    signer: &NoteSigner,
) -> SignedCheckpoint {
    let checkpoint = Checkpoint {
        origin: origin.to_owned(),
        size,
        root,
    };
    SignedCheckpoint {
        size,
        root,
        seconds: size * 3_600,
        note: checkpoint.sign_note(signer).unwrap(),
    }
}

fn signer(folder: &Folder, origin: &str) -> NoteSigner {
    let keys = KeyStore::open(&folder.keys(), None).unwrap();
    NoteSigner::new(origin, &keys.first_signing_key().to_bytes()).unwrap()
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The files of a folder below it, in order.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What an audit says of a folder.
pub(super) fn audited(dir: &TempDir, vkey: Option<&NoteVerifier>, since: Option<&str>) -> Report {
    let folder = data(dir);
    let asked = Asked {
        folder: &folder,
        vkey: vkey.cloned(),
        since,
        with_views: true,
    };
    verify(&asked, &mut |_, _| {}).unwrap()
}

/// `whole`, or the code of the damage.
pub(super) fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Whole => "whole",
        Verdict::Damaged(finding) => finding.kind.code(),
    }
}
