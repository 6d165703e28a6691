//! Scopes and roles of one's own, from a file into the ledger.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{Server, code, init, run, stderr, text};

const FAILED: i32 = 1;
const REFUSED: i32 = 2;

/// A shop's own catalogue.
const SHOP: &str = "\
[[scopes]]
name = 'orders:read'
description = 'Read orders'

[[scopes]]
name = 'orders:write'
description = 'Write orders'

[[scopes]]
name = 'admin:*'
description = 'Everything'
management = true

[[roles]]
name = 'clerk'
title = 'Clerk'
description = 'Works at the counter'
scopes = ['orders:read', 'orders:write']

[[roles]]
name = 'keeper'
title = 'Shopkeeper'
description = 'Owns the shop'
scopes = ['admin:*']
owner = true
";

fn catalogue(verb: &str, more: &[&Path]) -> Output {
    let more = more.iter().map(|path| path.to_str().unwrap());
    run(["catalogue", verb].into_iter().chain(more))
}

fn adopt(file: &Path, data: &Path) -> Output {
    catalogue("adopt", &[file, Path::new("--data-dir"), data])
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[track_caller]
fn refused(output: &Output, said: &str) {
    let (code, stderr) = (code(output), stderr(output));
    assert!(code == REFUSED && stderr.contains(said), "{code}: {stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_file_is_checked_without_a_ledger() {
    let root = tempdir().unwrap();
    let file = root.path().join("shop.toml");
    fs::write(&file, SHOP).unwrap();
    let good = catalogue("check", &[&file]);
    assert_eq!(code(&good), 0, "{}", stderr(&good));
    let summary = format!("{}: 3 scopes, 2 roles, 0 presets\n", file.display());
    assert_eq!(stdout(&good), summary);

    let data = root.path().join("data");
    for (from, to, said) in [
        ("'Read orders'", "'Read orders", ":3: not a catalogue"),
        ("owner = true", "king = true", ":25: not a catalogue"),
        ("'orders:write'", "'orders:read'", ":5: the scope"),
        ("['admin:*']", "['orders:*']", ":20: the role"),
        ("owner = true", "", ": the catalogue needs a role"),
    ] {
        fs::write(&file, SHOP.replacen(from, to, 1)).unwrap();
        let said = format!("{}{said}", file.display());
        refused(&catalogue("check", &[&file]), &said);
        let more = ["--data-dir", data.to_str().unwrap(), "--catalogue"];
        let init = run(["init"]
            .into_iter()
            .chain(more)
            .chain([file.to_str().unwrap()]));
        refused(&init, &said);
        assert!(!data.exists());
    }
    fs::write(&file, b"\xff").unwrap();
    refused(&catalogue("check", &[&file]), "is not UTF-8");
    let nowhere = catalogue("check", &[&root.path().join("nowhere")]);
    assert_eq!(code(&nowhere), FAILED, "{}", stderr(&nowhere));
}

#[test]
fn the_default_is_a_start_for_ones_own() {
    let root = tempdir().unwrap();
    let (data, file) = (root.path().join("data"), root.path().join("own.toml"));
    let shown = catalogue("show", &[Path::new("--default")]);
    fs::write(&file, &shown.stdout).unwrap();
    init(&data, &[]);
    let same = adopt(&file, &data);
    assert!(
        stdout(&same).starts_with("in force already"),
        "{}",
        stdout(&same)
    );
    // What is in force, written out again, is the same again.
    let shown = catalogue("show", &[Path::new("--data-dir"), &data]);
    fs::write(&file, &shown.stdout).unwrap();
    let same = adopt(&file, &data);
    assert!(
        stdout(&same).starts_with("in force already"),
        "{}",
        stdout(&same)
    );
    let json = catalogue(
        "show",
        &[Path::new("--json"), Path::new("--data-dir"), &data],
    );
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["roles"][0]["name"], "viewer");
}

#[tokio::test]
async fn a_shop_opens_changes_its_mind_and_keeps_its_old_tokens() {
    let root = tempdir().unwrap();
    let (data, file) = (root.path().join("data"), root.path().join("shop.toml"));
    fs::write(&file, SHOP).unwrap();
    let made = init(&data, &["--catalogue", file.to_str().unwrap()]);
    // From here on the file counts for nothing.
    fs::remove_file(&file).unwrap();
    let (key, of) = (text(&made, "raw_key"), text(&made, "organization_id"));
    let path = format!("/platform/organizations/{of}/api-keys");
    let body = json!({"name": "Till", "scopes": ["orders:write"]});

    let server = Server::start(&data, &[]);
    let api = server.api(key);
    let till = api.post(&path, &body).await.unwrap().expect(201);
    let writes = json!({"key": till["raw_key"], "required_scopes": ["orders:write"]});
    let verdict = api.post("/v1/verify", &writes).await.unwrap().expect(200);
    assert_eq!(verdict["code"], "valid");
    fs::write(&file, SHOP).unwrap();
    refused(&adopt(&file, &data), "another process");
    refused(
        &catalogue("show", &[Path::new("--data-dir"), &data]),
        "another process",
    );
    assert_eq!(server.stop().status.code(), Some(0));

    // The scope is gone from the file and a live key has it: nothing changes.
    let start = SHOP.find("[[scopes]]\nname = 'orders:write'").unwrap();
    let end = SHOP.find("[[scopes]]\nname = 'admin").unwrap();
    let without = format!("{}{}", &SHOP[..start], &SHOP[end..]);
    fs::write(&file, without.replace(", 'orders:write'", "")).unwrap();
    let id = text(&till["key"], "id");
    let line = format!("\n  {id} organization \"Till\" of {of}: scope orders:write\n");
    refused(&adopt(&file, &data), &line);

    let kept = SHOP.replace("'Write orders'", "'Write orders'\nkeep = true");
    fs::write(&file, kept).unwrap();
    let adopted = adopt(&file, &data);
    assert_eq!(code(&adopted), 0, "{}", stderr(&adopted));
    let summary =
        "adopted by event 7: 3 scopes (1 kept for those who have them), 2 roles, 0 presets\n";
    assert_eq!(stdout(&adopted), summary);

    let server = Server::start(&data, &[]);
    let api = server.api(key);
    let verdict = api.post("/v1/verify", &writes).await.unwrap().expect(200);
    assert_eq!(verdict["code"], "valid");
    let again = api.post(&path, &body).await.unwrap().expect(422);
    assert_eq!(again["code"], "unknown_scope");
    let scopes = api.get("/v1/api-tokens/scopes").await.unwrap().expect(200);
    let names: Vec<&Value> = scopes
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, ["orders:read", "admin:*"]);
}
