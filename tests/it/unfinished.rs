//! Making a ledger that is cut short is begun anew, and nothing else is ever removed.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Server, code, init, keyledger, run, stderr, text};

const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];

fn run_init(data: &Path, more: &[&str]) -> Output {
    let mut args = vec!["init", "--json", "--data-dir", data.to_str().unwrap()];
    args.extend(SEGMENTS);
    args.extend(more);
    run(args)
}

fn names(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn an_init_that_is_killed_is_begun_anew_by_serve() {
    for seen in [".init", "keys", "checkpoints", "log", "views", "usage"] {
        let root = tempdir().unwrap();
        let data = root.path().join("data");
        let mut args = vec!["init", "--data-dir", data.to_str().unwrap()];
        args.extend(SEGMENTS);
        let mut child = keyledger(args);
        child.stdout(std::process::Stdio::null());
        let mut child = child.spawn().unwrap();
        while !data.join(seen).exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // It may have come to its end before.
        let is_unfinished = data.join(".init").exists();
        if is_unfinished {
            let output = run(["recover", "--data-dir", data.to_str().unwrap()]);
            assert_eq!(code(&output), 2, "{seen}");
            let said = stderr(&output);
            assert!(said.contains("run `keyledger init`"), "{seen}: {said}");
        }
        let key = root.path().join("key");
        let file = ["--bootstrap-key-file", key.to_str().unwrap()];
        let server = Server::start(&data, &[&SEGMENTS[..], &file].concat());
        assert_eq!(key.exists(), is_unfinished, "{seen}");
        assert!(!data.join(".init").exists(), "{seen}");
        assert_eq!(server.stop().status.code(), Some(0), "{seen}");
    }
}

#[test]
fn a_port_in_use_leaves_no_new_ledger_and_a_new_one_is_in_the_log() {
    let root = tempdir().unwrap();
    let (data, key) = (root.path().join("data"), root.path().join("key"));
    let file = ["--bootstrap-key-file", key.to_str().unwrap()];
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let mut args = vec!["serve", "--data-dir", data.to_str().unwrap()];
    args.extend(["--listen", "127.0.0.1:0", "--metrics-listen", &port]);
    args.extend([&SEGMENTS[..], &file].concat());
    let output = run(args);
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(said.contains(&format!("cannot listen on {port}")), "{said}");
    assert!(!data.exists() && !key.exists(), "{said}");

    let server = Server::start(&data, &[&SEGMENTS[..], &file].concat());
    let token = fs::read_to_string(&key).unwrap();
    let log = server.stop().log;
    let made = log
        .lines()
        .find(|line| line.contains("a new ledger was made"));
    let made = made.unwrap_or_else(|| panic!("{log}"));
    assert!(made.contains("organization=org_") && made.contains("verifier_key="));
    assert!(!log.contains(token.trim()));
}

#[test]
fn an_init_that_fails_removes_what_it_made() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let output = run_init(&data, &["--master-key-file", "/nowhere/master"]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert_eq!(names(&data), ["lock"]);
    init(&data, &SEGMENTS);
    // Refused where the disk is small.
    let small = root.path().join("small");
    let output = run([
        "init",
        "--data-dir",
        small.to_str().unwrap(),
        "--segment-mib",
        "1024",
    ]);
    if code(&output) != 0 {
        let said = stderr(&output);
        assert!(said.contains("5128 MiB must be free in"), "{said}");
        assert_eq!(names(&small), ["lock"]);
    }
}

#[test]
fn a_folder_with_more_than_an_init_makes_is_left_as_it_is() {
    for (stranger, is_folder) in [("notes.txt", false), ("log.old", true)] {
        let root = tempdir().unwrap();
        let data = root.path().join("data");
        init(&data, &SEGMENTS);
        fs::write(data.join(".init"), "").unwrap();
        match is_folder {
            true => fs::create_dir(data.join(stranger)).unwrap(),
            false => fs::write(data.join(stranger), "").unwrap(),
        }
        let before = names(&data);
        let output = run_init(&data, &[]);
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        let said = stderr(&output);
        assert!(
            said.contains("empty the folder (hidden files too)"),
            "{said}"
        );
        assert_eq!(names(&data), before);
        assert!(data.join("log/00000000000000000000.seg").exists());
    }
}

#[tokio::test]
async fn a_ledger_that_has_answered_is_never_taken_for_an_unfinished_one() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &SEGMENTS);
    let key = text(&made, "raw_key").to_owned();
    let server = Server::start(&data, &SEGMENTS);
    assert_eq!(server.api(&key).verdict(&key).await, "valid");
    assert_eq!(server.stop().status.code(), Some(0));
    fs::write(data.join(".init"), "").unwrap();
    let output = run_init(&data, &[]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    fs::remove_file(data.join(".init")).unwrap();
    let server = Server::start(&data, &SEGMENTS);
    assert_eq!(server.api(&key).verdict(&key).await, "valid");
}

#[tokio::test]
async fn an_unreadable_ledger_that_was_in_use_is_not_taken_for_an_unfinished_one() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &SEGMENTS);
    let (organization, key) = (text(&made, "organization_id"), text(&made, "raw_key"));
    let server = Server::start(&data, &SEGMENTS);
    let api = server.api(key);
    for number in 0..5 {
        let body = json!({"email": format!("{number}@acme.example"), "role": "viewer"});
        let members = format!("/platform/organizations/{organization}/members");
        api.post(&members, &body).await.unwrap().expect(201);
        assert_eq!(api.verdict(key).await, "valid");
    }
    assert_eq!(server.stop().status.code(), Some(0));
    fs::write(data.join(".init"), "").unwrap();
    let check = |part: &str| {
        let before = names(&data);
        let output = run_init(&data, &[]);
        assert_eq!(code(&output), 2, "{part}: {}", stderr(&output));
        let said = format!("{} shows that one was in use", data.join(part).display());
        assert!(stderr(&output).contains(&said), "{}", stderr(&output));
        assert_eq!(names(&data), before, "{part}");
    };
    check("webhooks");
    fs::remove_dir_all(data.join("webhooks")).unwrap();
    check("log");
    fs::write(data.join("log/00000000000000000000.seg"), [0; 4096]).unwrap();
    check("log");
    fs::remove_dir_all(data.join("log")).unwrap();
    check("checkpoints");
    let recent = data.join("checkpoints/recent.notes");
    fs::write(&recent, "no checkpoint").unwrap();
    check("checkpoints");
    fs::remove_dir_all(data.join("checkpoints")).unwrap();
    check("keys");
    fs::remove_dir_all(data.join("keys")).unwrap();
    check("usage");
    fs::remove_dir_all(data.join("usage")).unwrap();
    fs::create_dir(data.join("tiles")).unwrap();
    fs::write(data.join("tiles/checkpoint"), "").unwrap();
    check("tiles");
    fs::remove_dir_all(data.join("tiles")).unwrap();
    // Nothing but a view: it is made anew from any log.
    init(&data, &SEGMENTS);
}
