//! Faults at the n-th operation, crashes, restarts; compared with what was acknowledged.

use super::*;

/// What must be in the log, and what may be.
#[derive(Default)]
struct Model {
    acknowledged: Events,
    /// The batch whose outcome is unknown.
    unknown: Events,
    floor: Option<TreeHead>,
}

/// A small generator, so that a seed determines everything.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn batch(&mut self, number: u64) -> Events {
        let count = 1 + self.below(4);
        let mut event = |at| {
            let length = [1, 8, 300, 511, 512, 1500, 4000][usize::try_from(self.below(7)).unwrap()];
            let text = format!("{number}/{at}-");
            text.bytes().cycle().take(length).collect()
        };
        (0..count.min(2)).map(&mut event).collect()
    }
}

impl Model {
    /// Compares what was replayed with what must be there, and takes it over.
    fn check(&mut self, events: Events, what: &str) {
        let mut with_unknown = self.acknowledged.clone();
        with_unknown.append(&mut self.unknown);
        assert!(
            events == self.acknowledged || events == with_unknown,
            "{what}: {} events, {} acknowledged",
            events.len(),
            self.acknowledged.len()
        );
        self.acknowledged = events;
    }

    /// Appends until something fails or the round is over.
    fn run(&mut self, log: &mut Log, dice: &mut Dice) {
        for number in 0..25 {
            let batch = dice.batch(number);
            match log.append(&batch, AppendSpace::Ordinary) {
                Ok(appended) => {
                    self.acknowledged.extend(batch);
                    assert_eq!(appended.tree_size, self.acknowledged.len() as u64);
                    if dice.below(4) == 0 {
                        let (size, root) = (appended.tree_size, appended.root);
                        self.floor = Some(TreeHead { size, root });
                    }
                }
                Err(error) if error.is_poisoned() => {
                    self.unknown = batch.clone();
                    let again = log.append(&batch, AppendSpace::WithReserve);
                    assert!(matches!(again, Err(AppendError::Poisoned(None))));
                    return;
                }
                // A spare could not be made: nothing was written.
                Err(AppendError::DiskFull(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn one_history(seed: u64) {
    let mut dice = Dice(seed);
    let mut disk = MemoryDisk::new(seed);
    let mut model = Model::default();
    drop(create(&disk));
    for round in 0..6 {
        let what = format!("seed {seed}, round {round}");
        let fault = if dice.below(2) == 0 {
            DiskFault::Crash
        } else {
            DiskFault::Error
        };
        disk.inject_fault_after(dice.below(90), fault);
        // A fault may also hit the start itself, even again and again.
        match open(&Disk::Memory(disk.clone()), &folder(), model.floor) {
            Ok((mut log, _, events)) => {
                model.check(events, &what);
                model.run(&mut log, &mut dice);
                if dice.below(3) == 0 {
                    drop(log.close());
                }
            }
            Err(LogOpenError::File(_)) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        disk = match dice.below(3) {
            // The process alone restarts: the page cache lives on, right or wrong.
            0 => disk.after_restart(),
            _ => disk.after_crash(seed ^ round),
        };
    }
    let (log, _, events) = open(&Disk::Memory(disk), &folder(), model.floor)
        .unwrap_or_else(|error| panic!("seed {seed}, at the end: {error}"));
    model.check(events, &format!("seed {seed}, at the end"));
    let mut scrub = log.reader().start_scrub();
    while scrub.check_next_segment().unwrap() {}
}

#[test]
fn what_was_acknowledged_survives_every_history() {
    for seed in 0..100 {
        one_history(seed);
    }
}

/// The n-th operation fails, for every n: creation, appends over three segments, close.
#[test]
fn a_fault_at_any_operation_loses_nothing() {
    let history = |disk: &MemoryDisk, model: &mut Model| -> Option<()> {
        let disk = Disk::Memory(disk.clone());
        let mut log = Log::create(disk, &folder(), LOG_ID, SETTINGS).ok()?;
        model.floor = Some(TreeHead {
            size: 0,
            root: log.frontier().root(),
        });
        for number in 0..8_u8 {
            let batch = vec![vec![number; 2500], vec![number; 700]];
            match log.append(&batch, AppendSpace::Ordinary) {
                Ok(_) => model.acknowledged.extend(batch),
                Err(error) => {
                    model.unknown = if error.is_poisoned() {
                        batch
                    } else {
                        Events::new()
                    };
                    return None;
                }
            }
        }
        log.close().ok()
    };
    let whole = MemoryDisk::new(0);
    history(&whole, &mut Model::default()).unwrap();
    for at in 0..whole.operation_count() {
        for fault in [DiskFault::Crash, DiskFault::Error] {
            for seed in 0..4 {
                let what = format!("{fault:?} at {at}, seed {seed}");
                let disk = MemoryDisk::new(seed);
                let mut model = Model::default();
                disk.inject_fault_after(at, fault);
                let _finished = history(&disk, &mut model);
                let left = match seed {
                    0 => disk.after_restart(),
                    _ => disk.after_crash(seed),
                };
                match open(&Disk::Memory(left.clone()), &folder(), model.floor) {
                    Ok((_, _, events)) => {
                        model.check(events, &what);
                        // What a start has served is there after the next crash.
                        let crashed = Disk::Memory(left.after_crash(seed));
                        let (_, _, events) = open(&crashed, &folder(), model.floor).unwrap();
                        assert_eq!(events, model.acknowledged, "{what}");
                    }
                    Err(LogOpenError::NoLog(_)) => {
                        assert!(model.floor.is_none(), "{what}");
                        drop(create(&left));
                    }
                    Err(error) => panic!("{what}: {error}"),
                }
            }
        }
    }
}

/// After a failed sync the cache shows what the disk does not have; a start makes it so.
#[test]
fn a_start_after_a_failed_sync_does_not_believe_the_cache() {
    for seed in 0..50 {
        let disk = MemoryDisk::new(seed);
        let mut log = create(&disk);
        append(&mut log, &[b"first".to_vec()]);
        disk.inject_fault_after(1, DiskFault::Error);
        let batch = [vec![7; 3000]];
        let Err(AppendError::Poisoned(Some(error))) = log.append(&batch, AppendSpace::Ordinary)
        else {
            panic!("the sync did not fail");
        };
        assert_eq!(error.action, "sync");
        let operations = disk.operation_count();
        assert!(
            log.append(&batch, AppendSpace::WithReserve)
                .unwrap_err()
                .is_poisoned()
        );
        assert_eq!(
            disk.operation_count(),
            operations,
            "a failed sync is never repeated"
        );
        drop(log);
        let restarted = disk.after_restart();
        let (log, _, served) = open(&Disk::Memory(restarted.clone()), &folder(), None).unwrap();
        let floor = TreeHead {
            size: log.next_position(),
            root: log.frontier().root(),
        };
        let crashed = Disk::Memory(restarted.after_crash(seed));
        let (_, _, events) = open(&crashed, &folder(), Some(floor)).unwrap();
        assert_eq!(events, served, "seed {seed}");
    }
}
