//! Bundles: as they are made, and after every kind of edit with all digests made anew.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::{Value, json};

use super::forger::{Original, code, data, signed};
use crate::audit::archive::{Archive, SUMS, Writing};
use crate::audit::bundle::check::{Report, verify};
use crate::audit::bundle::export::export;
use crate::audit::bundle::{Chosen, table};
use crate::audit::reading::Reading;
use crate::domain::heading::Whereabouts;
use crate::domain::ids::OrganizationId;
use crate::merkle::{NoteSigner, NoteVerifier};

/// What a bundle holds, apart from the digests.
type Members = Vec<(String, Vec<u8>)>;

fn made(original: &Original, chosen: &Chosen, with_personal: bool) -> Vec<u8> {
    let folder = data(&original.dir);
    let reading = Reading::open(&folder, None).unwrap();
    let mut bundle = Vec::new();
    export((&folder, &reading), chosen, with_personal, &mut bundle).unwrap();
    bundle
}

fn verdict(bundle: &[u8], vkey: Option<&NoteVerifier>, since: Option<&str>) -> Report {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bundle).unwrap();
    verify(file.path(), vkey, since, &mut |_, _| {}).unwrap()
}

fn unpacked(bundle: &[u8]) -> Members {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bundle).unwrap();
    let archive = Archive::open(file.path()).unwrap();
    let members = archive.members.iter().filter(|member| member.name != SUMS);
    let content = |member| {
        let mut content = Vec::new();
        archive.read(member).read_to_end(&mut content).unwrap();
        content
    };
    members
        .map(|member| (member.name.clone(), content(member)))
        .collect()
}

fn packed(members: &Members) -> Vec<u8> {
    let mut archive = Writing::new(Vec::new());
    for (name, content) in members {
        archive.whole(name, content).unwrap();
    }
    archive.finish().unwrap()
}

fn content<'a>(members: &'a mut Members, name: &str) -> &'a mut Vec<u8> {
    let found = members.iter_mut().find(|(member, _)| member == name);
    &mut found.unwrap().1
}

/// Changes the lines of a member.
fn edit_lines(members: &mut Members, name: &str, edit: impl FnOnce(&mut Vec<String>)) {
    let content = content(members, name);
    let text = String::from_utf8(content.clone()).unwrap();
    let mut lines = text.lines().map(str::to_owned).collect();
    edit(&mut lines);
    *content = lines
        .iter()
        .flat_map(|line| [line.as_bytes(), b"\n"].concat())
        .collect();
}

fn edit_manifest(members: &mut Members, field: &str, value: Value) {
    let content = content(members, "MANIFEST.json");
    let text = String::from_utf8(content.clone()).unwrap();
    let old = serde_json::from_str::<Value>(&text).unwrap()[field].to_string();
    *content = text
        .replacen(
            &format!("\"{field}\":{old}"),
            &format!("\"{field}\":{value}"),
            1,
        )
        .into_bytes();
}

fn organization_of(payloads: &[Vec<u8>]) -> OrganizationId {
    let last = payloads.iter().rev();
    let mut of = last.filter_map(|payload| Whereabouts::of(payload).unwrap().chain);
    of.next().unwrap().0
}

#[test]
fn a_bundle_is_whole_whatever_was_chosen() {
    let original = Original::new(81);
    let organization = organization_of(&original.payloads);
    let size = original.payloads.len() as u64;
    let check = |chosen: Chosen, with_personal: bool| {
        let bundle = made(&original, &chosen, with_personal);
        assert_eq!(bundle, made(&original, &chosen, with_personal));
        assert_eq!(packed(&unpacked(&bundle)), bundle);
        for vkey in [None, Some(&original.vkey)] {
            let report = verdict(&bundle, vkey, Some(&original.newest));
            assert_eq!(code(&report.verdict), "whole", "{chosen:?} {report:#?}");
            assert_eq!(report.by_its_own_key, vkey.is_none());
        }
        let mut members = unpacked(&bundle);
        let events = content(&mut members, "events.ndjson").clone();
        let events: Vec<_> = events.split(|byte| *byte == b'\n').collect();
        let expected = original
            .payloads
            .iter()
            .filter(|payload| chosen.holds(&Whereabouts::of(payload).unwrap()));
        let expected: Vec<&[u8]> = expected.map(Vec::as_slice).chain([&b""[..]]).collect();
        assert_eq!(events, expected);
    };
    let all = Chosen::default();
    check(all, false);
    check(all, true);
    let theirs = Chosen {
        organization: Some(organization),
        ..all
    };
    check(theirs, false);
    for (from, to) in [
        (0, Some(5)),
        (7, None),
        (size / 2, Some(size - 3)),
        (3, Some(3)),
    ] {
        check(Chosen { from, to, ..all }, false);
        check(Chosen { from, to, ..theirs }, false);
    }
}

#[test]
fn a_bundle_of_one_tenant_holds_nothing_of_its_neighbours() {
    let original = Original::new(82);
    let organization = organization_of(&original.payloads);
    let chosen = Chosen {
        organization: Some(organization),
        ..Chosen::default()
    };
    let bundle = made(&original, &chosen, false);
    let text = String::from_utf8_lossy(&bundle);
    assert!(text.contains(&organization.to_string()));
    for payload in &original.payloads {
        let found = Whereabouts::of(payload).unwrap();
        if let Some((other, ..)) = found.chain.filter(|(other, ..)| *other != organization) {
            assert!(!text.contains(&other.to_string()), "{other}");
        }
    }
}

#[test]
fn keys_of_people_are_in_a_bundle_only_if_asked_for() {
    let original = Original::new(83);
    let with = unpacked(&made(&original, &Chosen::default(), true));
    let keys = with.iter().find(|(name, _)| name == "personal-keys.ndjson");
    let keys = String::from_utf8(keys.unwrap().1.clone()).unwrap();
    assert!(keys.lines().count() > 2);
    for line in keys.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["key"].is_string() && line["secret"].is_string());
    }
    let without = made(&original, &Chosen::default(), false);
    let without = String::from_utf8_lossy(&without);
    let secret = |line: &str| serde_json::from_str::<Value>(line).unwrap()["secret"].clone();
    for line in keys.lines() {
        assert!(!without.contains(secret(line).as_str().unwrap()));
    }
}

/// A ledger, and the bundle of one of its organizations.
fn of_one_tenant(seed: u64) -> (Original, OrganizationId, Vec<u8>) {
    let original = Original::new(seed);
    let organization = organization_of(&original.payloads);
    let chosen = Chosen {
        organization: Some(organization),
        ..Chosen::default()
    };
    let bundle = made(&original, &chosen, false);
    (original, organization, bundle)
}

#[test]
fn every_edit_of_events_in_a_bundle_is_told() {
    let (original, organization, bundle) = of_one_tenant(84);
    let check = |expected: &str, edit: &dyn Fn(&mut Vec<String>)| {
        let mut members = unpacked(&bundle);
        let mut count = 0;
        edit_lines(&mut members, "events.ndjson", |lines| {
            edit(lines);
            count = lines.len();
        });
        edit_manifest(&mut members, "events", json!(count));
        let report = verdict(&packed(&members), Some(&original.vkey), None);
        assert_eq!(code(&report.verdict), expected, "{:#?}", report.verdict);
    };
    let changed = |line: &str| line.replacen("\"nonce\":\"", "\"nonce\":\"00", 1);
    let foreign = original.payloads.iter().find(|payload| {
        let of = Whereabouts::of(payload).unwrap().chain;
        of.is_some_and(|(other, sequence, _)| other != organization && sequence == 0)
    });
    let foreign = String::from_utf8(foreign.unwrap().clone()).unwrap();
    // The first two events are everybody's; the others are the organization's own.
    check("organization_previous", &|all| all[9] = changed(&all[9]));
    check("bundle_proof", &|all| {
        let last = all.pop().unwrap();
        all.push(changed(&last));
    });
    check("bundle_proof", &|all| all[1] = changed(&all[1]));
    check("bundle_incomplete", &|all| drop(all.remove(9)));
    check("bundle_proof", &|all| drop(all.pop()));
    check("bundle_order", &|all| all.insert(9, all[9].clone()));
    check("bundle_order", &|all| all.swap(9, 10));
    check("event_form", &|all| all[9] = "{}".to_owned());
    check("bundle_foreign", &|all| all.insert(2, foreign.clone()));
}

#[test]
fn every_edit_of_the_rest_of_a_bundle_is_told() {
    let (original, _, bundle) = of_one_tenant(90);
    let check = |expected: &str, edit: &dyn Fn(&mut Members)| {
        let mut members = unpacked(&bundle);
        edit(&mut members);
        let report = verdict(&packed(&members), Some(&original.vkey), None);
        assert_eq!(code(&report.verdict), expected, "{:#?}", report.verdict);
    };
    check("whole", &|_| {});
    check("bundle_proof", &|members| {
        content(members, "hashes.bin")[5] ^= 1;
    });
    check("bundle_proof", &|members| {
        content(members, "hashes.bin").extend([0; 32]);
    });
    check("bundle_proof", &|members| {
        let hashes = content(members, "hashes.bin");
        hashes.truncate(hashes.len() - 32);
    });
    check("bundle_manifest", &|members| {
        edit_manifest(members, "events", json!(1));
    });
    check("bundle_manifest", &|members| {
        edit_manifest(members, "size", json!(1));
    });
    check("bundle_manifest", &|members| {
        content(members, "MANIFEST.json").push(b'\n');
    });
    check("bundle_form", &|members| members.swap(1, 2));
    check("bundle_form", &|members| drop(members.remove(0)));
    check("bundle_form", &|members| {
        members.insert(6, ("schemas".to_owned(), Vec::new()));
    });
    check("checkpoint_form", &|members| {
        content(members, "checkpoint").clear();
    });
}

#[test]
fn forged_checkpoints_in_a_bundle_are_told() {
    let original = Original::new(85);
    let bundle = made(&original, &Chosen::default(), false);
    let size = original.payloads.len() as u64;
    let check = |expected: &str, edit: &dyn Fn(&mut Members)| {
        let mut members = unpacked(&bundle);
        edit(&mut members);
        let report = verdict(&packed(&members), Some(&original.vkey), None);
        assert_eq!(code(&report.verdict), expected, "{:#?}", report.verdict);
    };
    let other = NoteSigner::new(&original.origin, &[9; 32]).unwrap();
    let root = |members: &Members| {
        let note = String::from_utf8(members[2].1.clone()).unwrap();
        crate::audit::keys::claimed(&note).unwrap().root
    };
    let line = |note: &str, size: u64, consistency: Vec<String>| {
        json!({"size": size, "checkpoint": note, "consistency": consistency}).to_string()
    };
    let line = |note: &str, size: u64, consistency| {
        // Keys in the order in which they are written.
        let value: Value = serde_json::from_str(&line(note, size, consistency)).unwrap();
        let (note, proof) = (&value["checkpoint"], &value["consistency"]);
        format!("{{\"size\":{size},\"checkpoint\":{note},\"consistency\":{proof}}}")
    };
    check("wrong_key", &|members| {
        let forged = signed(&original.origin, (size, root(members)), &other).note;
        *content(members, "checkpoint") = forged.clone().into_bytes();
        edit_lines(members, "checkpoints.ndjson", |lines| {
            lines.clear();
            lines.push(line(&forged, size, Vec::new()));
        });
        edit_manifest(members, "checkpoints", json!(1));
    });
    check("checkpoint_signature", &|members| {
        let forged = signed(&original.origin, (0, [0; 32]), &other).note;
        let empty = crate::merkle::Frontier::new().root();
        let forged = forged.replace(&forged.lines().nth(2).unwrap().to_owned(), &{
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(empty)
        });
        let mut count = 0;
        edit_lines(members, "checkpoints.ndjson", |lines| {
            lines.insert(0, line(&forged, 0, Vec::new()));
            count = lines.len();
        });
        edit_manifest(members, "checkpoints", json!(count));
    });
    check("checkpoints_contradict", &|members| {
        let note = signed(&original.origin, (size, [7; 32]), &original.signer()).note;
        edit_lines(members, "checkpoints.ndjson", |lines| {
            lines.push(line(&note, size, Vec::new()));
        });
    });
    check("bundle_consistency", &|members| {
        let note = signed(&original.origin, (3, [7; 32]), &original.signer()).note;
        edit_lines(members, "checkpoints.ndjson", |lines| {
            lines.insert(0, line(&note, 3, Vec::new()));
        });
    });
    check("bundle_manifest", &|members| {
        edit_lines(members, "checkpoints.ndjson", |lines| {
            lines.insert(0, lines[0].clone());
        });
    });
    check("bundle_form", &|members| {
        edit_lines(members, "checkpoints.ndjson", |lines| lines[0].push(' '));
    });
    let report = verdict(&bundle, Some(other.verifier()), None);
    assert_eq!(code(&report.verdict), "wrong_key");
}

#[test]
fn a_bundle_is_a_continuation_of_what_was_kept_or_not() {
    let original = Original::new(86);
    let mut shorter = original.payloads.clone();
    shorter.truncate(shorter.len() - 4);
    let older = original.rewritten(&shorter, Some(&original.signer()));
    let folder = data(&older);
    let reading = Reading::open(&folder, None).unwrap();
    let mut bundle = Vec::new();
    export((&folder, &reading), &Chosen::default(), false, &mut bundle).unwrap();
    let check = |note: &str, expected: &str| {
        let report = verdict(&bundle, Some(&original.vkey), Some(note));
        assert_eq!(code(&report.verdict), expected, "{note}");
    };
    check(&original.newest, "rolled_back");
    let note = |size, root| signed(&original.origin, (size, root), &original.signer()).note;
    check(&note(5, [1; 32]), "since_root");
    check(
        &note(shorter.len() as u64, [1; 32]),
        "checkpoints_contradict",
    );
    let mut tree = crate::merkle::Frontier::new();
    for payload in &shorter[..5] {
        tree.append_commitment(&crate::domain::envelope::commitment(payload).0);
    }
    check(&note(5, tree.root()), "whole");
    let other = NoteSigner::new(&original.origin, &[9; 32]).unwrap();
    check(
        &signed(&original.origin, (5, tree.root()), &other).note,
        "since_signature",
    );
    check("nothing", "since_signature");
}

#[test]
fn a_bundle_that_is_cut_or_longer_is_told_at_every_length() {
    let original = Original::new(87);
    let chosen = Chosen {
        from: 3,
        to: Some(4),
        ..Chosen::default()
    };
    let bundle = made(&original, &chosen, false);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &bundle).unwrap();
    for length in (0..bundle.len()).rev().step_by(97) {
        file.as_file().set_len(length as u64).unwrap();
        let report = verify(file.path(), None, None, &mut |_, _| {}).unwrap();
        assert_eq!(code(&report.verdict), "bundle_truncated", "{length}");
    }
    for more in [1, 512, 10_240] {
        let longer = [bundle.clone(), vec![0; more]].concat();
        assert_eq!(
            code(&verdict(&longer, None, None).verdict),
            "bundle_trailing"
        );
    }
}

#[test]
fn no_changed_byte_of_a_bundle_goes_unseen() {
    let original = Original::new(88);
    let chosen = Chosen {
        from: 3,
        to: Some(4),
        ..Chosen::default()
    };
    let bundle = made(&original, &chosen, true);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &bundle).unwrap();
    let verdict = |path: &Path| {
        let report = verify(path, None, None, &mut |_, _| {}).unwrap();
        code(&report.verdict)
    };
    assert_eq!(verdict(file.path()), "whole");
    let bits = [1, 2, 4, 8, 16, 32, 64, 128_u8];
    // Every byte takes a minute; each of these stands for its neighbours.
    for at in (0..bundle.len()).step_by(41) {
        let changed = bundle[at] ^ bits[at % 8];
        file.as_file().write_all_at(&[changed], at as u64).unwrap();
        assert_ne!(verdict(file.path()), "whole", "byte {at}");
        file.as_file()
            .write_all_at(&bundle[at..=at], at as u64)
            .unwrap();
    }
    assert_eq!(verdict(file.path()), "whole");
}

#[test]
fn a_table_has_a_row_for_every_event() {
    let original = Original::new(89);
    let reading = Reading::open(&data(&original.dir), None).unwrap();
    let mut out = Vec::new();
    let tabled = table::write(&reading, &Chosen::default(), &mut out).unwrap();
    let rows = tabled.rows;
    assert!(tabled.names_people);
    assert_eq!(rows, original.payloads.len() as u64);
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.lines();
    let columns = "position,occurred_at,type,id,organization_id,organization_sequence,subject,\
        subject_version,actor_type,actor_id,actor_via,request_id,commitment,\
        subject_name,actor_name,reason";
    assert_eq!(lines.next(), Some(columns));
    let first = lines.next().unwrap();
    assert!(
        first.starts_with("0,2026-04-24T15:30:00.000Z,ledger.opened,evt_"),
        "{first}"
    );
    assert_eq!(lines.count() as u64, rows - 1);
}
