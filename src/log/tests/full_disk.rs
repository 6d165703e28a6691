//! Full disks: who is refused, who goes on, and what comes back.

use super::*;

const SEGMENT: u64 = SEGMENT_BYTES_MIN;

fn big() -> Vec<Vec<u8>> {
    vec![vec![b'x'; 9000]]
}

#[test]
fn a_full_disk_refuses_all_but_ends() {
    let disk = MemoryDisk::new(1);
    let mut log = create(&disk);
    log.make_missing_spares().unwrap();
    assert_eq!(disk.used_bytes(), 5 * SEGMENT);
    disk.set_capacity(Some(disk.used_bytes() + SEGMENT / 2));
    // The segment in use, and the spare before the reserve.
    append(&mut log, &big());
    append(&mut log, &big());
    let refused = log.append(&big(), AppendSpace::Ordinary).unwrap_err();
    let AppendError::DiskFull(error) = &refused else {
        panic!("{refused}")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    // What fits beside what is there needs no room.
    append(&mut log, &[b"small".to_vec()]);
    // The reserve is for ends, and stays so for what is left of its segments.
    for _ in 0..2 {
        log.append(&big(), AppendSpace::WithReserve).unwrap();
        assert!(matches!(
            log.append(&[b"small"], AppendSpace::Ordinary),
            Err(AppendError::DiskFull(_))
        ));
    }
    assert!(matches!(
        log.append(&big(), AppendSpace::WithReserve),
        Err(AppendError::DiskFull(_))
    ));
    log.append(&[b"a small end"], AppendSpace::WithReserve)
        .unwrap();
    assert!(log.make_missing_spares().is_err());
    assert!(!log.is_poisoned());
    let next = log.next_position();
    drop(log);
    // Start after start needs no more room than there is.
    for _ in 0..3 {
        let (_, _, events) = open(&Disk::Memory(disk.clone()), &folder(), None).unwrap();
        assert_eq!(events.len() as u64, next);
    }
    let (mut log, _, _) = open(&Disk::Memory(disk.clone()), &folder(), None).unwrap();
    assert!(matches!(
        log.append(&[b"small"], AppendSpace::Ordinary),
        Err(AppendError::DiskFull(_))
    ));
    disk.set_capacity(None);
    assert!(matches!(
        log.append(&[b"small"], AppendSpace::Ordinary),
        Err(AppendError::DiskFull(_))
    ));
    log.make_missing_spares().unwrap();
    append(&mut log, &big());
    append(&mut log, &big());
}

#[test]
fn spares_left_by_an_earlier_process_are_checked_and_used() {
    let disk = MemoryDisk::new(1);
    let log = create(&disk);
    log.make_missing_spares().unwrap();
    drop(log);
    let spare = |number| segment::spare_path(&folder(), number);
    let mut dirty = vec![0; usize::try_from(SEGMENT).unwrap()];
    dirty[12_345] = 1;
    disk.put_synced_file(&spare(2), dirty);
    let (mut log, _, _) = open(&Disk::Memory(disk.clone()), &folder(), None).unwrap();
    log.make_missing_spares().unwrap();
    assert!(disk.file_content(&spare(2)).is_none());
    let spares = disk
        .file_paths()
        .iter()
        .filter(|path| path.extension() == Some("spare".as_ref()))
        .count();
    assert_eq!(spares, 4);
    for _ in 0..5 {
        append(&mut log, &big());
    }
    drop(log);
    let (_, _, events) = open(&Disk::Memory(disk), &folder(), None).unwrap();
    assert_eq!(events.len(), 5);
}

#[test]
fn a_thread_keeps_spares_ready() {
    let disk = MemoryDisk::new(1);
    let settings = LogSettings {
        spares: SpareMaker::Background,
        ..SETTINGS
    };
    let mut log = Log::create(Disk::Memory(disk.clone()), &folder(), LOG_ID, settings).unwrap();
    let reader = log.reader();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = 0;
            while seen < 50 {
                let next = reader.next_position();
                reader
                    .scan(seen, next, |_, payload| assert_eq!(payload, big()[0]))
                    .unwrap();
                seen = next;
                std::thread::yield_now();
            }
        });
        for _ in 0..50 {
            append(&mut log, &big());
        }
    });
    drop(log);
    let (_, _, events) = open(&Disk::Memory(disk), &folder(), None).unwrap();
    assert_eq!(events.len(), 50);
}
