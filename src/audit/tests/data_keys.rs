//! What an audit says of data keys that are missing or damaged.

use std::fs;

use super::super::folder::{Asked, verify};
use super::super::verdict::Verdict;
use crate::ledger::boot::Folder;
use crate::ledger::tests::{World, found};
use crate::seal::tests::DAMAGE;

/// The code of the verdict, and its words.
fn verdict(folder: &Folder) -> (&'static str, String) {
    let asked = Asked {
        folder,
        vkey: None,
        since: None,
        with_views: false,
    };
    match verify(&asked, &mut |_, _| {}).unwrap().verdict {
        Verdict::Whole => ("whole", String::new()),
        Verdict::Damaged(finding) => (finding.kind.code(), format!("{finding:?}")),
    }
}

#[test]
fn a_data_key_that_is_missing_or_damaged_is_a_verdict() {
    let mut world = World::new(73);
    found(&mut world);
    let left = world.left();
    let folder = Folder::new(left.path().join("data"));
    // Members who were erased have no key any more, and that is no damage.
    assert_eq!(verdict(&folder).0, "whole");
    let files = fs::read_dir(folder.keys()).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().contains("/dk_"));
    let master = folder.keys().join("master");
    let kept_master = fs::read(&master).unwrap();
    let mut reported = 0;
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        for (how, damage) in DAMAGE {
            let kept = fs::read(file).unwrap();
            damage(file);
            let (code, words) = verdict(&folder);
            // Without the master key only what the file itself shows can be found.
            fs::remove_file(&master).unwrap();
            let (without_master, _) = verdict(&folder);
            fs::write(&master, &kept_master).unwrap();
            if file.is_dir() {
                fs::remove_dir(file).unwrap();
            }
            fs::write(file, kept).unwrap();
            if code == "whole" {
                continue;
            }
            reported += 1;
            let missing = how == "missing";
            let expected = if missing {
                "data_key_missing"
            } else {
                "data_key_damaged"
            };
            assert_eq!(code, expected, "{name}: {how}");
            assert!(words.contains(name), "{words}");
            if how != "of another key" {
                assert_eq!(without_master, expected, "{name}: {how}");
            }
        }
    }
    assert!(
        reported >= 5 * DAMAGE.len(),
        "{reported} of {}",
        files.len()
    );
    // A copy without keys, and a folder whose keys are whole again.
    assert_eq!(verdict(&folder).0, "whole");
    fs::remove_dir_all(folder.keys()).unwrap();
    assert_eq!(verdict(&folder).0, "whole");
}
