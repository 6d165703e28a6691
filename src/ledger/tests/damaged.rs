//! Damage to what the log can rebuild never stops the ledger, and none passes in silence.

use crate::clock::Clock;
use std::fs;
use std::path::{Path, PathBuf};

use super::company::found;
use super::image::image;
use super::{Setup, World};
use crate::degraded::{Damage, Part};

type Damaging = fn(&Path);

/// Ways to damage a file.
const KINDS: [(&str, Damaging); 6] = [
    ("missing", |path| fs::remove_file(path).unwrap()),
    ("empty", |path| fs::write(path, b"").unwrap()),
    ("cut in half", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("flipped bits", |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 4);
        fs::write(path, bytes).unwrap();
    }),
    ("another file", |path| {
        fs::write(path, b"something else").unwrap();
    }),
    ("a folder", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
        fs::write(path.join("something"), b"else").unwrap();
    }),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Waits until the history index has been rebuilt.
fn whole(world: &World) {
    let history = &world.ledger.views().history;
    while world.ledger.degraded().is_degraded(Part::Views) || history.is_broken() {
        std::thread::yield_now();
    }
}

/// A ledger with a full tile, several snapshots and a view, and what it shows.
fn whole_world() -> (World, Vec<(String, String)>, String) {
    let mut setup = Setup::new(7);
    setup.events_between_snapshots = 100;
    let mut world = setup.create();
    let tokens = found(&mut world);
    world.keys_until(270);
    let world = world.restarted();
    let live = image(&world, &tokens);
    (world, tokens, live)
}

/// Damages a path of a stopped ledger and opens it: it must show what it showed. Gives the damage
/// that was reported.
fn reopened(
    setup: Setup,
    damage: impl FnOnce(&Path),
    (tokens, live, name): (&[(String, String)], &str, &str),
) -> (World, Vec<Damage>) {
    damage(setup.folder().path());
    let world = setup.open();
    whole(&world);
    assert_eq!(image(&world, tokens), live, "{name}");
    let reported = world.ledger.degraded().damage_found();
    (world, reported)
}

#[test]
fn damage_to_any_derived_file_changes_nothing_that_is_shown() {
    let (mut world, tokens, live) = whole_world();
    let setup = world.stopped();
    let mut derived = Vec::new();
    for part in ["views", "snapshots", "tiles"] {
        files(&setup.folder().path().join(part), &mut derived);
    }
    world = setup.open();
    let data = world.folder().path().to_owned();
    assert!(derived.len() >= 6, "only {derived:?}");
    for file in derived {
        let file = file.strip_prefix(&data).unwrap();
        for (kind, damage) in KINDS {
            let name = format!("{}: {kind}", file.display());
            let setup = world.stopped();
            let path = setup.folder().path().join(file);
            // One that is remade under another name, such as those of sled.
            if !path.exists() {
                world = setup.open();
                continue;
            }
            let (opened, reported) = reopened(setup, |_| damage(&path), (&tokens, &live, &name));
            world = opened;
            let part = match file.iter().next().and_then(|first| first.to_str()) {
                // Cut in half is what a crash leaves, which sled mends.
                Some("views") => continue,
                Some("snapshots") => Part::Snapshots,
                _tiles => Part::Publishing,
            };
            if kind != "missing" {
                let named = reported
                    .iter()
                    .any(|one| one.part == part && one.file == path);
                let waited = wait_for(|| {
                    let found = world.ledger.degraded().damage_found();
                    found.iter().any(|one| one.part == part && one.file == path)
                });
                assert!(named || waited, "{name}: {reported:?}");
            }
        }
    }
}

#[test]
fn a_file_in_the_place_of_a_derived_folder_is_set_aside() {
    let (mut world, tokens, live) = whole_world();
    for (part, is_named) in [("views", true), ("snapshots", true), ("tiles", true)] {
        for emptied in [false, true] {
            let setup = world.stopped();
            let damage = |data: &Path| {
                // One that is empty may not have been made again.
                drop(fs::remove_dir_all(data.join(part)));
                if !emptied {
                    fs::write(data.join(part), "a file").unwrap();
                }
            };
            let (opened, _) = reopened(setup, damage, (&tokens, &live, part));
            world = opened;
            let named = wait_for(|| {
                let found = world.ledger.degraded().damage_found();
                found.iter().any(|one| one.file.ends_with(part)) || emptied
            });
            assert_eq!(named, is_named, "{part}");
        }
    }
}

/// Waits for what a thread does; `false` after ten seconds.
fn wait_for(done: impl Fn() -> bool) -> bool {
    let clock = Clock::system();
    let end_ms = clock.monotonic_ms() + 10_000;
    while clock.monotonic_ms() < end_ms {
        if done() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_view_that_breaks_in_use_is_rebuilt_and_lists_come_from_ram_meanwhile() {
    let mut world = World::new(8);
    let tokens = found(&mut world);
    let live = image(&world, &tokens);
    let views = world.ledger.views();
    for _ in 0..3 {
        // Nothing is rebuilt until the thread is told: a reader meets the broken store.
        views.history.break_store();
        whole(&world);
        assert!(!views.history.is_broken());
        assert_eq!(image(&world, &tokens), live);
    }
    assert!(world.ledger.degraded().damaged_count(Part::Views) > 0);
    let world = world.restarted();
    assert_eq!(image(&world, &tokens), live, "after a restart");
}
