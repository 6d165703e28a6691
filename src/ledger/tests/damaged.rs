//! Damage to what the log can rebuild never stops the ledger, and none passes in silence.

use std::fs;
use std::path::{Path, PathBuf};

use super::company::found;
use super::image::image;
use super::{Setup, World};
use crate::degraded::Part;

/// Ways to damage a file.
const KINDS: [(&str, fn(&Path)); 6] = [
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
        fs::write(path, b"something else").unwrap()
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

/// Waits until the view has been rebuilt.
fn whole(world: &World) {
    while world.ledger.degraded().is_degraded(Part::Views) {
        std::thread::yield_now();
    }
}

#[test]
fn damaged_views_and_snapshots_change_nothing_that_anybody_sees() {
    let mut setup = Setup::new(7);
    setup.events_between_snapshots = 7;
    let mut world = setup.create();
    let tokens = found(&mut world);
    let live = image(&world, &tokens);
    let mut damaged = 0;
    for part in ["views", "snapshots"] {
        for (kind, damage) in KINDS {
            let setup = world.stopped();
            let mut all = Vec::new();
            files(&setup.folder().path().join(part), &mut all);
            all.retain(|path| !path.to_string_lossy().contains(".damaged-"));
            damaged += all.len();
            all.iter().for_each(|path| damage(path));
            world = setup.open();
            whole(&world);
            assert_eq!(image(&world, &tokens), live, "{part}: {kind}");
        }
        let setup = world.stopped();
        let folder = setup.folder().path().join(part);
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, b"a file").unwrap();
        world = setup.open();
        whole(&world);
        assert_eq!(image(&world, &tokens), live, "{part}: a file");
    }
    assert!(damaged > 12, "only {damaged} files were damaged");
}

#[test]
fn a_view_that_breaks_in_use_is_rebuilt_and_lists_come_from_ram_meanwhile() {
    let mut world = World::new(8);
    let tokens = found(&mut world);
    let live = image(&world, &tokens);
    let views = world.ledger.views();
    for _ in 0..3 {
        // Nothing is rebuilt while nobody has told the thread: a reader meets the broken store.
        views.tokens.break_store();
        whole(&world);
        assert!(!views.tokens.is_broken());
        assert_eq!(image(&world, &tokens), live);
    }
    assert!(world.ledger.degraded().set_aside_count(Part::Views) > 0);
    let world = world.restarted();
    assert_eq!(image(&world, &tokens), live, "after a restart");
}
