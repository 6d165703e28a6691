//! A backup is taken beside its server, and restored whole or not at all.

use std::fs;

use tempfile::TempDir;

use super::forger::{Original, copy, data, signed};
use crate::backup::{RestoreError, backup, restore};
use crate::ledger::boot::{self, Folder, Settings};
use crate::ledger::tests::{World, found};

fn written(folder: &Folder) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    backup(folder, fs::File::create(&path).unwrap()).unwrap();
    (dir, path)
}

fn refused(why: Result<impl std::fmt::Debug, RestoreError>) -> &'static str {
    let why = why.unwrap_err();
    let RestoreError::Damaged(finding) = &why else {
        panic!("{why}");
    };
    finding.kind.code()
}

#[test]
fn a_backup_beside_a_server_is_restored_and_goes_on_with_its_keys() {
    let mut world = World::new(91);
    found(&mut world);
    let events = world.ledger.reader().next_position();
    let (_dir, path) = written(&world.folder());
    let restored = tempfile::tempdir().unwrap();
    let folder = data(&restored);
    let (manifest, report) = restore(&path, &folder, None, Some(10_000)).unwrap();
    assert_eq!((manifest.size, report.size), (events, events));
    assert!(!folder.keys().exists());
    let before = world.ledger.reader();
    copy(&world.folder().keys(), &folder.keys());
    let ledger = boot::open(Settings::usual(folder)).unwrap();
    // Its first opening skips the positions that events after the backup may have had.
    assert_eq!(ledger.reader().next_position(), events + 10_001);
    for position in 0..events {
        let payload = ledger.reader().read_payload(position).unwrap();
        assert_eq!(payload, before.read_payload(position).unwrap());
    }
    ledger.stop();
}

#[test]
fn a_restore_refuses_a_full_folder_an_old_backup_and_every_damage() {
    let original = Original::new(92);
    let (_dir, path) = written(&data(&original.dir));
    let target = tempfile::tempdir().unwrap();
    let folder = data(&target);
    let full = restore(&path, &data(&original.dir), None, None);
    assert!(matches!(full, Err(RestoreError::NotVacant(_))));
    assert!(restore(&path, &folder, Some(&original.newest), None).is_ok());
    fs::remove_dir_all(folder.path()).unwrap();

    let newer = original.payloads.len() as u64 + 1;
    let note = |size| signed(&original.origin, (size, [1; 32]), &original.signer()).note;
    assert_eq!(
        refused(restore(&path, &folder, Some(&note(newer)), None)),
        "rolled_back"
    );
    assert_eq!(
        refused(restore(&path, &folder, Some(&note(3)), None)),
        "since_root"
    );
    assert!(!folder.path().exists());

    let whole = fs::read(&path).unwrap();
    let check = |expected: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        edit(&mut bytes);
        fs::write(&path, bytes).unwrap();
        assert_eq!(refused(restore(&path, &folder, None, None)), expected);
        assert!(!folder.path().exists());
    };
    check("bundle_digest", &|bytes| bytes[600] ^= 1);
    check("bundle_form", &|bytes| bytes[5] ^= 1);
    check("bundle_truncated", &|bytes| {
        bytes.truncate(bytes.len() - 600);
    });
    check("bundle_trailing", &|bytes| bytes.push(0));
}
