//! The checkpoint files: the floor holds through faults, cuts and changed bits.

use super::super::checkpoint_store::*;
use super::super::note_file::CheckpointFolder;
use super::*;

const FILE_BYTES: u64 = 4096;

fn place(disk: &MemoryDisk) -> CheckpointFolder {
    let folder = Path::new("/data/checkpoints");
    CheckpointFolder::new(Disk::Memory(disk.clone()), folder, LOG_ID, FILE_BYTES)
}

fn checkpoint(size: u64) -> SignedCheckpoint {
    SignedCheckpoint {
        size,
        root: [u8::try_from(size % 251).unwrap(); 32],
        seconds: size * 600,
        note: format!("log\n{size}\nroot\n\n- key signature {}\n", "s".repeat(300)),
    }
}

fn fill(disk: &MemoryDisk, until: u64) -> CheckpointStore {
    let mut file = CheckpointStore::create_with_folder(place(disk)).unwrap();
    for size in 1..=until {
        file.append(checkpoint(size)).unwrap();
        assert_eq!(file.newest(), Some(&checkpoint(size)));
    }
    file
}

#[test]
fn the_newest_and_one_per_hour_are_kept() {
    let disk = MemoryDisk::new(1);
    fill(&disk, 200);
    let opened = CheckpointStore::open_with_folder(place(&disk)).unwrap();
    assert_eq!(opened.newest(), Some(&checkpoint(200)));
    let sizes: Vec<u64> = opened
        .hourly_checkpoints()
        .unwrap()
        .iter()
        .map(|c| c.size)
        .collect();
    let expected: Vec<u64> = std::iter::once(1).chain((6..=200).step_by(6)).collect();
    assert_eq!(sizes, expected);
    assert!(matches!(
        CheckpointStore::create_with_folder(place(&disk)),
        Err(CheckpointStoreError::AlreadyExists(_))
    ));
    assert!(matches!(
        CheckpointStore::open_and_resync(Disk::Memory(disk), Path::new("/none"), LOG_ID),
        Err(CheckpointStoreError::Missing(_))
    ));
}

#[test]
fn a_lost_file_is_damage_and_no_new_beginning() {
    let disk = MemoryDisk::new(1);
    drop(fill(&disk, 3));
    disk.remove(Path::new("/data/checkpoints/recent.notes"))
        .unwrap();
    let opened = CheckpointStore::open_with_folder(place(&disk));
    assert!(matches!(opened, Err(CheckpointStoreError::Damaged(_))));
    let created = CheckpointStore::create_with_folder(place(&disk));
    assert!(matches!(
        created,
        Err(CheckpointStoreError::AlreadyExists(_))
    ));
    // A creation that was cut short may be repeated.
    let disk = MemoryDisk::new(1);
    drop(fill(&disk, 0));
    disk.remove(Path::new("/data/checkpoints/recent.notes"))
        .unwrap();
    let opened = CheckpointStore::open_with_folder(place(&disk));
    assert!(matches!(opened, Err(CheckpointStoreError::Missing(_))));
    CheckpointStore::create_with_folder(place(&disk)).unwrap();
}

#[test]
fn what_contradicts_the_last_is_refused() {
    let disk = MemoryDisk::new(1);
    let mut file = fill(&disk, 9);
    file.append(checkpoint(9)).unwrap();
    let other = SignedCheckpoint {
        root: [255; 32],
        ..checkpoint(9)
    };
    assert!(matches!(
        file.append(other),
        Err(CheckpointStoreError::ConflictingRoots { size: 9 })
    ));
    assert!(matches!(
        file.append(checkpoint(8)),
        Err(CheckpointStoreError::SizeShrinks { size: 8, newest: 9 })
    ));
    let empty = SignedCheckpoint {
        note: String::new(),
        ..checkpoint(10)
    };
    assert!(matches!(
        file.append(empty),
        Err(CheckpointStoreError::InvalidNoteLength { bytes: 0 })
    ));
    file.append(checkpoint(10)).unwrap();
}

#[test]
fn without_room_signing_stops_and_goes_on_later() {
    let disk = MemoryDisk::new(1);
    let mut file = fill(&disk, 1);
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    let stopped = (2..100).find_map(|size| Some((size, file.append(checkpoint(size)).err()?)));
    let (size, error) = stopped.unwrap();
    assert!(size > 5 && matches!(error, CheckpointStoreError::DiskFull(_)));
    disk.set_capacity(None);
    file.append(checkpoint(size)).unwrap();
}

#[test]
fn after_a_failed_write_the_next_checkpoint_is_stored_in_a_new_file() {
    let mut failed = 0;
    for seed in 0..40 {
        let disk = MemoryDisk::new(seed);
        let mut file = fill(&disk, 3);
        disk.inject_fault_after(seed % 8, DiskFault::Error);
        let mut stored = 3;
        for size in 4..12 {
            match file.append(checkpoint(size)) {
                Ok(()) => stored = size,
                Err(CheckpointStoreError::DiskFull(_) | CheckpointStoreError::Poisoned(_)) => {
                    failed += 1;
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert_eq!(stored, 11, "seed {seed}");
        file.hourly_checkpoints().unwrap();
        let opened = CheckpointStore::open_with_folder(place(&disk.after_crash(seed))).unwrap();
        assert_eq!(opened.newest(), Some(&checkpoint(11)), "seed {seed}");
        opened.hourly_checkpoints().unwrap();
    }
    assert!(failed > 20, "only {failed} writes failed");
}

#[test]
fn without_room_the_folder_is_opened_and_nothing_is_appended_until_there_is_some() {
    let disk = MemoryDisk::new(1);
    drop(fill(&disk, 8));
    let disk = disk.after_restart();
    disk.set_capacity(Some(disk.used_bytes()));
    let mut file = CheckpointStore::open_with_folder(place(&disk)).unwrap();
    assert_eq!(file.newest(), Some(&checkpoint(8)));
    for _ in 0..2 {
        let refused = file.append(checkpoint(9)).unwrap_err();
        assert!(
            matches!(refused, CheckpointStoreError::DiskFull(_)),
            "{refused}"
        );
    }
    assert_eq!(file.newest(), Some(&checkpoint(8)));
    disk.set_capacity(None);
    file.append(checkpoint(9)).unwrap();
    let opened = CheckpointStore::open_with_folder(place(&disk.after_crash(3))).unwrap();
    assert_eq!(opened.newest(), Some(&checkpoint(9)));
}

#[test]
fn every_changed_bit_is_refused_or_a_hole() {
    let disk = MemoryDisk::new(1);
    fill(&disk, 8);
    for name in ["recent.notes", "hourly-000000.notes"] {
        let path = Path::new("/data/checkpoints").join(name);
        let bytes = disk.file_content(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let disk = disk.after_restart();
                disk.put_synced_file(&path, changed);
                match CheckpointStore::open_with_folder(place(&disk)) {
                    Ok(opened) => {
                        assert!(at >= used, "bit {bit} of byte {at} of {name}");
                        assert_eq!(opened.newest(), Some(&checkpoint(8)));
                    }
                    Err(CheckpointStoreError::Damaged(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[test]
fn what_was_stored_survives_every_fault() {
    for seed in 0..400_u64 {
        let disk = MemoryDisk::new(seed);
        drop(fill(&disk, 3));
        let mut disk = disk;
        let (mut stored, mut tried) = (3, 3);
        for round in 0..5 {
            let fault = if seed % 2 == 0 {
                DiskFault::Crash
            } else {
                DiskFault::Error
            };
            disk.inject_fault_after((seed * 7 + round * 13) % 60, fault);
            match CheckpointStore::open_with_folder(place(&disk)) {
                Ok(mut file) => {
                    let newest = file.newest().unwrap().clone();
                    assert!(newest.size >= stored && newest.size <= tried, "seed {seed}");
                    assert_eq!(newest, checkpoint(newest.size));
                    stored = newest.size;
                    for size in stored + 1..stored + 20 {
                        tried = size;
                        match file.append(checkpoint(size)) {
                            Ok(()) => stored = size,
                            // The next one begins a new file, unless the machine is gone.
                            Err(
                                CheckpointStoreError::DiskFull(_)
                                | CheckpointStoreError::Poisoned(_),
                            ) => {}
                            Err(error) => panic!("seed {seed}: {error}"),
                        }
                    }
                }
                Err(CheckpointStoreError::File(_)) => {}
                Err(error) => panic!("seed {seed}, round {round}: {error}"),
            }
            disk = if (seed + round) % 3 == 0 {
                disk.after_restart()
            } else {
                disk.after_crash(seed)
            };
        }
        let file = CheckpointStore::open_with_folder(place(&disk)).unwrap();
        assert!(file.newest().unwrap().size >= stored, "seed {seed}");
    }
}
