//! Damaged files beside the log, on the real binary: it starts, answers, and says what was damaged.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{Api, Server, init, text};

/// A file or folder of the data folder, how it is damaged, and what becomes of the start.
struct Case {
    path: &'static str,
    damage: fn(&Path),
    outcome: Outcome,
}

enum Outcome {
    /// The server answers, and names the file as one of this part.
    Named(&'static str),
    /// The start is refused with this exit code, and names the file.
    Refused(i32),
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    for byte in bytes.iter_mut().step_by(41) {
        *byte ^= 2;
    }
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn empty(path: &Path) {
    fs::write(path, "").unwrap();
}

fn into_folder(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn into_file(path: &Path) {
    if path.exists() {
        fs::remove_dir_all(path).unwrap();
    }
    fs::write(path, "a file").unwrap();
}

/// A whole file of a time that another ledger has reached.
fn other_ledger(path: &Path) {
    let text = "07070707070707070707070707070707 1777044600000 358f3462\n";
    fs::write(path, text).unwrap();
}

fn folder(path: &Path) {
    fs::create_dir(path).unwrap();
}

const CASES: [Case; 19] = [
    case("views/db", flip, Outcome::Named("views")),
    case("views", into_file, Outcome::Named("views")),
    case(
        "webhooks/deliveries.redb",
        flip,
        Outcome::Named("deliveries"),
    ),
    case(
        "webhooks/deliveries.redb",
        cut,
        Outcome::Named("deliveries"),
    ),
    case(
        "webhooks/deliveries.redb",
        empty,
        Outcome::Named("deliveries"),
    ),
    case(
        "webhooks/deliveries.redb",
        into_folder,
        Outcome::Named("deliveries"),
    ),
    case("webhooks", into_file, Outcome::Named("deliveries")),
    case("usage/checkpoint", flip, Outcome::Named("usage")),
    case("usage/checkpoint", into_folder, Outcome::Named("usage")),
    case(
        "usage/calls/00000000000000000000.use",
        flip,
        Outcome::Named("usage"),
    ),
    case("usage", into_file, Outcome::Named("usage")),
    case("tiles/0/000", flip, Outcome::Named("publishing")),
    case("tiles/entries/000", cut, Outcome::Named("publishing")),
    case("tiles", into_file, Outcome::Named("publishing")),
    case("snapshots", into_file, Outcome::Named("snapshots")),
    case("time", other_ledger, Outcome::Named("clock")),
    case("time", folder, Outcome::Named("clock")),
    case("checkpoints/recent.notes", flip, Outcome::Refused(3)),
    case("lock", into_folder, Outcome::Refused(1)),
];

const fn case(path: &'static str, damage: fn(&Path), outcome: Outcome) -> Case {
    Case {
        path,
        damage,
        outcome,
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// What `/readyz` names as damaged of a part, for ten seconds at most.
async fn damaged(api: &Api, part: &str, path: &Path) -> Option<String> {
    for _ in 0..100 {
        let ready = api.get("/readyz").await.unwrap().expect(200);
        // A file or the folder that it is in.
        let named = |one: &&Value| one["part"] == part && path.starts_with(text(one, "file"));
        let found = ready["damaged"].as_array().unwrap().iter().find(named);
        if let Some(one) = found {
            return Some(text(one, "file").to_owned());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

#[tokio::test]
async fn damage_beside_the_log_is_named_and_stops_nothing() {
    let root = tempdir().unwrap();
    let whole = root.path().join("whole");
    let made = init(&whole, &["--segment-mib", "1"]);
    let (organization, raw) = (text(&made, "organization_id"), text(&made, "raw_key"));
    let keys = format!("/platform/organizations/{organization}/api-keys");
    let body = json!({"name": "CI", "scopes": ["cases:read"]});
    let server = Server::start(&whole, &[]);
    let api = server.api(raw);
    let mut last = Value::Null;
    // A tile is full at 256 events.
    for _ in 0..260 {
        last = api.post(&keys, &body).await.unwrap().expect(201);
    }
    let token = text(&last, "raw_key").to_owned();
    for _ in 0..20 {
        assert_eq!(api.verdict(&token).await, "valid");
    }
    assert_eq!(server.stop().status.code(), Some(0));
    for Case {
        path,
        damage,
        outcome,
    } in CASES
    {
        let data = root.path().join("damaged");
        copy(&whole, &data);
        damage(&data.join(path));
        match outcome {
            Outcome::Named(part) => {
                let server = Server::start(&data, &[]);
                let api = server.api(raw);
                assert_eq!(api.verdict(&token).await, "valid", "{path}");
                let listed = api.get(&format!("{keys}?limit=5")).await.unwrap();
                assert_eq!(listed.expect(200).as_array().unwrap().len(), 5, "{path}");
                api.post(&keys, &body).await.unwrap().expect(201);
                let found = damaged(&api, part, &data.join(path)).await;
                let file = found.unwrap_or_else(|| panic!("{path} is not named"));
                let ended = server.stop();
                assert_eq!(ended.status.code(), Some(0), "{path}: {}", ended.log);
                assert!(!ended.log.contains("panicked"), "{path}: {}", ended.log);
                assert!(ended.log.contains(&file), "{path}: {}", ended.log);
            }
            Outcome::Refused(code) => {
                let ended = Server::try_start(&data, &[]).err().unwrap();
                assert_eq!(ended.status.code(), Some(code), "{path}: {}", ended.log);
                assert!(ended.log.contains(path), "{path}: {}", ended.log);
            }
        }
        fs::remove_dir_all(&data).unwrap();
    }
}
