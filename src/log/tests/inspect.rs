//! A log that is only read: beside its writer, and without a byte of it changed.

use super::*;

fn paths(disk: &MemoryDisk) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let paths = disk.file_paths().into_iter();
    paths
        .map(|path| (path.clone(), disk.file_content(&path)))
        .collect()
}

#[test]
fn a_log_in_use_is_read_beside_its_writer_and_left_as_it_is() {
    let disk = MemoryDisk::new(3);
    let mut log = create(&disk);
    let payloads: Events = (0..40_u8).map(|n| vec![n; 900]).collect();
    for batch in payloads.chunks(3) {
        log.make_missing_spares().unwrap();
        append(&mut log, batch);
        let before = paths(&disk);
        let (inspected, shown) = look(&Disk::Memory(disk.clone()), &folder()).unwrap();
        assert_eq!(&inspected.frontier, log.frontier());
        assert_eq!(shown[..], payloads[..shown.len()]);
        assert!(matches!(inspected.tail, LogTail::Clean { .. }));
        assert_eq!(paths(&disk), before);
        for position in 0..inspected.frontier.size() {
            let payload = inspected.reader.read_payload(position).unwrap();
            assert_eq!(payload, log.reader().read_payload(position).unwrap());
        }
        assert!(
            inspected
                .reader
                .read_payload(inspected.frontier.size())
                .is_err()
        );
    }
    log.close().unwrap();
    let disk = Disk::Memory(disk);
    let (inspected, _) = look(&disk, &folder()).unwrap();
    assert!(inspected.segments.len() > 2, "{:?}", inspected.segments);
}

#[test]
fn a_segment_that_is_missing_foreign_or_cut_is_named() {
    let disk = MemoryDisk::new(3);
    let mut log = create(&disk);
    for n in 0..40_u8 {
        log.make_missing_spares().unwrap();
        append(&mut log, &[vec![n; 900]]);
    }
    log.close().unwrap();
    let segments = || {
        let all = disk.file_paths().into_iter();
        let mut all: Vec<_> = all
            .filter(|p| p.extension().is_some_and(|e| e == "seg"))
            .collect();
        all.sort();
        all
    };
    let [first, second, third, ..] = &segments()[..] else {
        panic!("{:?}", segments());
    };
    let check = |change: &dyn Fn(&MemoryDisk), expected: (FailedCheck, &Path, &str)| {
        let changed = disk.after_restart();
        change(&changed);
        let (inspected, _) = look(&Disk::Memory(changed), &folder()).unwrap();
        let LogTail::Damaged(failed, damage) = inspected.tail else {
            panic!("{:?} is not {expected:?}", inspected.tail);
        };
        assert_eq!((failed, &*damage.file, damage.what), expected);
    };
    check(
        &|disk| disk.remove(second).unwrap(),
        (FailedCheck::SegmentOrder, second, "a segment is missing"),
    );
    check(
        &|disk| disk.remove(first).unwrap(),
        (
            FailedCheck::SegmentOrder,
            first,
            "the first segment is missing",
        ),
    );
    let swapped = "the header's first position is not that of the file's name";
    check(
        &|disk| disk.put_synced_file(second, disk.file_content(third).unwrap()),
        (FailedCheck::Header, second, swapped),
    );
    let shorter = "the file is shorter than its header says, and another segment follows";
    check(
        &|disk| disk.put_synced_file(second, disk.file_content(second).unwrap()[..8_192].to_vec()),
        (FailedCheck::LogEnd, second, shorter),
    );
    let last = segments().pop().unwrap();
    let stopped = "the log ends before the point at which it was last stopped";
    check(
        &|disk| disk.put_synced_file(&last, disk.file_content(&last).unwrap()[..4_096].to_vec()),
        (FailedCheck::LogEnd, &last, stopped),
    );
}
