//! A whole folder, as it is and after every kind of edit.

use std::fs;

use super::forger::{Original, audited, code, data, files};
use crate::audit::ViewsFound;
use crate::audit::verdict::{Kind, Verdict};
use crate::domain::heading::Whereabouts;
use crate::domain::ids::Subject;
use crate::ledger::tests::{World, found};
use crate::log::LogTail;
use crate::merkle::NoteSigner;
use crate::views::history::HistoryIndex;

#[test]
fn a_folder_that_nobody_touched_is_whole() {
    let original = Original::new(71);
    let report = audited(&original.dir, None, None);
    assert_eq!(code(&report.verdict), "whole", "{report:#?}");
    assert_eq!(report.size, original.payloads.len() as u64);
    assert_eq!(
        (report.log_id, &report.origin),
        (original.log_id, &original.origin)
    );
    assert!(report.by_its_own_key && report.keys.contains(&original.vkey));
    assert_eq!(report.organizations, 2);
    assert_eq!(report.checkpoints.1, Some(report.size));
    assert!(matches!(report.tail, LogTail::Clean { .. }));
    let position = report.size - 1;
    let equal = matches!(report.views, ViewsFound::Equal { position: at, .. } if at == position);
    assert!(equal, "{:?}", report.views);
    let note = Some(original.newest.as_str());
    let report = audited(&original.dir, Some(&original.vkey), note);
    assert_eq!(code(&report.verdict), "whole", "{report:#?}");
    assert!(!report.by_its_own_key);
}

#[test]
fn a_folder_is_checked_beside_its_server() {
    let mut world = World::new(72);
    found(&mut world);
    let folder = world.folder();
    let before = files(&folder.log());
    let asked = crate::audit::folder::Asked {
        folder: &folder,
        vkey: None,
        since: None,
        with_views: true,
    };
    let report = crate::audit::folder::verify(&asked, &mut |_, _| {}).unwrap();
    let whole_or_unsigned = ["whole", "checkpoint_missing"];
    assert!(
        whole_or_unsigned.contains(&code(&report.verdict)),
        "{report:#?}"
    );
    assert_eq!(report.size, world.ledger.reader().next_position());
    assert_eq!(files(&folder.log()), before);
    drop(world);
}

/// A history that somebody has rewritten, and what an audit says of it: with the checkpoints as
/// they were, with new ones by the log's own key, and that with a checkpoint kept elsewhere.
#[track_caller]
fn check(original: &Original, payloads: &[Vec<u8>], expected: [&str; 3]) {
    let kept = original.rewritten(payloads, None);
    let signed = original.rewritten(payloads, Some(&original.signer()));
    let since = Some(original.newest.as_str());
    let codes = [
        code(&audited(&kept, None, None).verdict),
        code(&audited(&signed, None, None).verdict),
        code(&audited(&signed, Some(&original.vkey), since).verdict),
    ];
    assert_eq!(codes, expected);
}

/// The number of the first event at or behind `from` that follows another one of its organization.
fn of_a_tenant(payloads: &[Vec<u8>], from: usize) -> usize {
    let finder = memchr::memmem::Finder::new(b"\"organization_previous\":\"");
    let mut behind = payloads[from..].iter();
    from + behind
        .position(|payload| finder.find(payload).is_some())
        .unwrap()
}

/// The payload with another position.
fn at(payload: &[u8], position: usize) -> Vec<u8> {
    let text = String::from_utf8(payload.to_vec()).unwrap();
    let (_, rest) = text.split_once(',').unwrap();
    format!("{{\"position\":{position},{rest}").into_bytes()
}

/// All of them with the positions at which they stand.
fn counted_anew(payloads: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let numbered = payloads.into_iter().enumerate();
    numbered
        .map(|(position, payload)| at(&payload, position))
        .collect()
}

#[test]
fn a_rewritten_history_is_told_by_its_chains_and_by_what_was_signed() {
    let original = Original::new(73);
    let all = &original.payloads;
    let middle = of_a_tenant(all, all.len() / 2);
    check(&original, all, ["whole", "whole", "whole"]);

    let mut changed = all.clone();
    let text = String::from_utf8(changed[middle].clone()).unwrap();
    changed[middle] = text
        .replacen("\"nonce\":\"", "\"nonce\":\"00", 1)
        .into_bytes();
    check(&original, &changed, ["organization_previous"; 3]);

    let mut dropped = all.clone();
    dropped.remove(middle);
    check(&original, &dropped, ["event_position"; 3]);
    let dropped = counted_anew(dropped);
    let of_dropped = "organization_sequence";
    let found = code(&audited(&original.rewritten(&dropped, None), None, None).verdict);
    assert!([of_dropped, "subject_version"].contains(&found), "{found}");

    let mut inserted = all.clone();
    inserted.insert(middle, all[middle].clone());
    let inserted = counted_anew(inserted);
    let found = code(&audited(&original.rewritten(&inserted, None), None, None).verdict);
    assert!([of_dropped, "subject_version"].contains(&found), "{found}");

    let mut swapped = all.clone();
    swapped.swap(middle, middle + 1);
    check(&original, &swapped, ["event_position"; 3]);

    let cut = &all[..all.len() - 1];
    check(&original, cut, ["rolled_back", "whole", "rolled_back"]);

    // What no chain of a tenant tells: the last event is another one.
    let mut other = all.clone();
    let last = String::from_utf8(other.pop().unwrap()).unwrap();
    other.push(
        last.replacen("\"nonce\":\"", "\"nonce\":\"00", 1)
            .into_bytes(),
    );
    let expected = ["checkpoint_root", "whole", "checkpoints_contradict"];
    check(&original, &other, expected);

    let mut none = all.clone();
    none[middle] = b"{}".to_vec();
    check(&original, &none, ["event_form"; 3]);
}

#[test]
fn a_history_signed_by_another_key_is_told() {
    let original = Original::new(74);
    let other = NoteSigner::new(&original.origin, &[9; 32]).unwrap();
    let forged = original.rewritten(&original.payloads, Some(&other));
    let report = audited(&forged, None, None);
    assert_eq!(code(&report.verdict), "checkpoint_signature");
    let report = audited(&forged, Some(&original.vkey), None);
    assert_eq!(code(&report.verdict), "wrong_key");
    let report = audited(&original.dir, Some(other.verifier()), None);
    assert_eq!(code(&report.verdict), "wrong_key");
    let foreign = NoteSigner::new("another.example/log", &[9; 32]).unwrap();
    let note = super::forger::signed("another.example/log", (3, [1; 32]), &foreign).note;
    let report = audited(&original.dir, None, Some(&note));
    assert_eq!(code(&report.verdict), "since_signature");
    let report = audited(&original.dir, None, Some("no note"));
    assert_eq!(code(&report.verdict), "since_signature");
}

#[test]
fn files_of_the_log_and_of_checkpoints_are_whole_or_named() {
    let original = Original::new(75);
    let check = |expected: &str, edit: &dyn Fn(&std::path::Path)| {
        let copy = original.copied();
        edit(data(&copy).path());
        let report = audited(&copy, None, None);
        assert_eq!(code(&report.verdict), expected, "{:#?}", report.verdict);
    };
    let first = "log/00000000000000000000.seg";
    let flip = |name: &'static str, at: usize| {
        move |data: &std::path::Path| {
            let path = data.join(name);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 4;
            fs::write(path, bytes).unwrap();
        }
    };
    check("segment_header", &flip(first, 50));
    check("batch", &flip(first, 4_096 + 30));
    check("batch", &flip(first, 4_096 + 100));
    check("segment_order", &|data| {
        fs::remove_file(data.join(first)).unwrap();
    });
    check("checkpoint_file", &flip("checkpoints/recent.notes", 20));
    check("checkpoint_file", &flip("checkpoints/recent.notes", 200));
    check("checkpoint_file", &|data| {
        fs::remove_file(data.join("checkpoints/recent.notes")).unwrap();
    });
    check("checkpoint_file", &|data| {
        fs::remove_dir_all(data.join("checkpoints")).unwrap();
    });
    check("log_end", &|data| {
        let last = files(&data.join("log"));
        let last = last
            .iter()
            .rfind(|path| path.extension().is_some_and(|e| e == "seg"));
        let file = fs::OpenOptions::new().write(true).open(last.unwrap());
        file.unwrap().set_len(4_096).unwrap();
    });
    check("whole", &|data| {
        fs::remove_dir_all(data.join("views")).unwrap();
    });
    check("whole", &|data| fs::remove_file(data.join("lock")).unwrap());
}

#[test]
fn tiles_are_those_of_the_tree_or_missing_or_named() {
    let mut world = World::new(76);
    found(&mut world);
    world.keys_until(520);
    let dir = world.left();
    let report = audited(&dir, None, None);
    assert_eq!(code(&report.verdict), "whole", "{report:#?}");
    // Two runs of 256 entries, with their bundles.
    assert_eq!(report.tiles, (4, 0));
    let tile = data(&dir).tiles().join("entries/001");
    let bytes = fs::read(&tile).unwrap();
    let mut changed = bytes.clone();
    changed[100] ^= 1;
    fs::write(&tile, &changed).unwrap();
    let report = audited(&dir, None, None);
    assert_eq!(code(&report.verdict), "tile", "{report:#?}");
    let Verdict::Damaged(finding) = &report.verdict else {
        panic!("{report:#?}");
    };
    assert_eq!(finding.file.as_ref(), Some(&tile));
    fs::write(&tile, &bytes[..bytes.len() - 34]).unwrap();
    assert_eq!(code(&audited(&dir, None, None).verdict), "tile");
    fs::remove_file(&tile).unwrap();
    let report = audited(&dir, None, None);
    assert_eq!((code(&report.verdict), report.tiles), ("whole", (3, 1)));
}

#[test]
fn a_history_index_that_is_not_what_the_log_gives_is_reported() {
    let original = Original::new(77);
    let mut events = Vec::new();
    for payload in &original.payloads {
        let found = Whereabouts::of(payload).unwrap();
        events.push((found.subject, found.subject_version, found.position));
    }
    let folder = data(&original.dir).views();
    let check = |events: &[(Subject, u32, u64)], expected: &str| {
        let (history, applied) = HistoryIndex::open_or_reset(&folder).unwrap();
        history.clear().unwrap();
        let events = events.iter().copied();
        history.fill_cleared(events, applied.unwrap()).unwrap();
        history.close().unwrap();
        let report = audited(&original.dir, None, None);
        assert_eq!(code(&report.verdict), expected, "{:#?}", report.verdict);
    };
    check(&events, "whole");
    check(&events[1..], "views");
    let mut moved = events.clone();
    moved[5].2 += 1;
    check(&moved, "views");
    let more = [&events[..], &[(events[0].0, 900, 3)]].concat();
    check(&more, "views");
    check(&events, "whole");
}

#[test]
fn each_kind_has_a_code_of_its_own_and_says_what_it_means() {
    let mut codes: Vec<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        let code = kind.code();
        assert!(
            code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{code}"
        );
        assert!(!kind.means().is_empty() && !kind.way_out().is_empty());
    }
}
