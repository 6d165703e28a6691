//! `keyledger audit`, `backup` and `restore`, by the real binary: beside a server and without one.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::harness::{Api, Server, code, init, run, stderr, text};

const WHOLE: i32 = 0;
const DAMAGED: i32 = 1;
const UNTOLD: i32 = 2;

/// A ledger in which something has happened.
struct Company {
    root: TempDir,
    made: Value,
}

impl Company {
    fn new() -> Self {
        let root = tempdir().unwrap();
        let made = init(&root.path().join("data"), &["--segment-mib", "1"]);
        Self { root, made }
    }

    fn data(&self) -> std::path::PathBuf {
        self.root.path().join("data")
    }

    fn file(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    fn vkey(&self) -> &str {
        text(&self.made, "vkey")
    }

    fn organization(&self) -> &str {
        text(&self.made, "organization_id")
    }

    fn keys_path(&self) -> String {
        format!("/platform/organizations/{}/api-keys", self.organization())
    }

    /// Makes a few keys and revokes the first; gives their ids and the position of the last event.
    async fn work(&self, api: &Api) -> (Vec<String>, u64) {
        let path = self.keys_path();
        let mut ids = Vec::new();
        for number in 0..4 {
            let body = json!({"name": format!("key {number}"), "scopes": ["cases:read"]});
            let made = api.post(&path, &body).await.unwrap().expect(201);
            ids.push(text(&made["key"], "id").to_owned());
        }
        let revoke = format!("{path}/{}/revoke", ids[0]);
        let revoked = api.post(&revoke, &json!({"reason": "lost"})).await;
        let revoked = revoked.unwrap();
        revoked.expect(200);
        let last = revoked.headers["ledger-position"].to_str().unwrap();
        (ids, last.parse().unwrap())
    }

    fn audit(&self, verb: &str, more: &[&str]) -> Output {
        let data = self.data();
        let mut args = vec!["audit", verb, "--data-dir", data.to_str().unwrap()];
        args.extend(more);
        run(args)
    }
}

fn lines(output: &Output) -> Vec<Value> {
    assert_eq!(code(output), WHOLE, "{}", stderr(output));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn last_line(output: &Output) -> &str {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().last().unwrap_or_default()
}

fn said(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_folder_is_whole_beside_its_server_and_after_it_until_a_byte_changes() {
    let company = Company::new();
    let server = Server::start(&company.data(), &[]);
    company
        .work(&server.api(text(&company.made, "raw_key")))
        .await;
    let beside = company.audit("verify", &[]);
    assert_eq!(code(&beside), WHOLE, "{}", stderr(&beside));
    assert_eq!(last_line(&beside), "WHOLE, by its own key");
    assert_eq!(server.stop().status.code(), Some(0));

    let by_key = company.audit("verify", &["--vkey", company.vkey()]);
    assert_eq!((code(&by_key), last_line(&by_key)), (WHOLE, "WHOLE"));
    let other = "keyledger/x+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    assert_eq!(code(&company.audit("verify", &["--vkey", other])), UNTOLD);
    let told = said(&company.audit("verify", &["--json"]));
    assert_eq!(told["verdict"], "whole");
    assert_eq!(told["views"]["compared"], true, "{told}");
    assert_eq!(told["newest_checkpoint"], told["size"]);

    let segment = company.data().join("log/00000000000000000000.seg");
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"X", 4_096 + 64 + 20).unwrap();
    let damaged = company.audit("verify", &["--json"]);
    assert_eq!(code(&damaged), DAMAGED);
    let damage = &said(&damaged)["damage"];
    let found = ["code", "file", "offset", "position"].map(|field| damage[field].clone());
    let expected = [json!("batch"), json!(segment), json!(4_096), json!(0)];
    assert_eq!(found, expected);
    let replay = company.audit("replay", &[]);
    assert_eq!(code(&replay), DAMAGED, "{}", stderr(&replay));
    let nowhere = company.file("nowhere");
    let nothing = run(["audit", "verify", "--data-dir", &nowhere]);
    assert_eq!(code(&nothing), UNTOLD);
}

#[tokio::test]
async fn the_past_of_a_folder_is_what_the_server_tells_of_it() {
    let company = Company::new();
    let server = Server::start(&company.data(), &[]);
    let api = server.api(text(&company.made, "raw_key"));
    let (ids, newest) = company.work(&api).await;
    let position = newest.to_string();
    let organization = company.organization();
    for at in [newest, newest - 1, newest - 3, 2] {
        let at = at.to_string();
        let ask = async |path: String| {
            let answer = api.get(&path).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
            let lines = answer.text.lines();
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect::<Vec<Value>>()
        };
        let own = ["--organization", organization, "--json"];
        let as_of = [&["--as-of", &at], &own[..]].concat();
        let state = ask(format!("/v1/ledger/state?as_of={at}")).await;
        assert_eq!(lines(&company.audit("replay", &as_of)), state);
        let could = ask(format!("/v1/ledger/who-could?scope=cases:read&as_of={at}")).await;
        let scoped = [&["--scope", "cases:read"], &as_of[..]].concat();
        assert_eq!(lines(&company.audit("who-could", &scoped)), could);
        let range = [&["--from", &at, "--to", &position], &own[..]].concat();
        let diff = ask(format!("/v1/ledger/diff?from={at}&to={position}")).await;
        assert_eq!(lines(&company.audit("diff", &range)), diff);
    }
    let history = run([
        "audit",
        "history",
        &ids[0],
        "--json",
        "--data-dir",
        company.data().to_str().unwrap(),
    ]);
    let types: Vec<Value> = lines(&history)
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(types, ["api_key.created", "api_key.revoked"]);
    let beyond = company.audit("replay", &["--as-of", "1000000"]);
    assert_eq!(code(&beyond), UNTOLD, "{}", stderr(&beyond));
}

#[tokio::test]
async fn bundles_receipts_and_the_published_tree_verify_elsewhere() {
    let company = Company::new();
    let server = Server::start(&company.data(), &[]);
    company
        .work(&server.api(text(&company.made, "raw_key")))
        .await;
    let url = format!("http://{}/ledger", server.address());
    let vkey = company.vkey();
    let served = run(["audit", "verify", "--url", &url, "--vkey", vkey]);
    assert_eq!(
        (code(&served), last_line(&served)),
        (WHOLE, "WHOLE"),
        "{}",
        stderr(&served)
    );
    let unkeyed = run(["audit", "verify", "--url", &url]);
    assert_eq!(code(&unkeyed), UNTOLD);
    let api = server.api("");
    let note = api.get("/ledger/checkpoint").await.unwrap().text;
    let kept = company.file("checkpoint");
    fs::write(&kept, &note).unwrap();
    assert_eq!(server.stop().status.code(), Some(0));

    let bundle = company.file("bundle.tar");
    let own = ["--organization", company.organization(), "--out", &bundle];
    let exported = company.audit("export", &own);
    assert_eq!(code(&exported), WHOLE, "{}", stderr(&exported));
    let again = company.audit("export", &own);
    assert_eq!(code(&again), UNTOLD);
    let check = |more: &[&str]| {
        let mut args = vec!["audit", "verify", "--bundle", &bundle];
        args.extend(more);
        run(args)
    };
    let whole = check(&["--vkey", vkey]);
    assert_eq!(
        (code(&whole), last_line(&whole)),
        (WHOLE, "WHOLE"),
        "{}",
        stderr(&whole)
    );
    assert_eq!(last_line(&check(&[])), "WHOLE, by its own key");
    let bytes = fs::read(&bundle).unwrap();
    fs::write(&bundle, &bytes[..bytes.len() - 512]).unwrap();
    let cut = check(&["--json"]);
    assert_eq!(
        (code(&cut), &said(&cut)["damage"]["code"]),
        (DAMAGED, &json!("bundle_truncated"))
    );
}

#[tokio::test]
async fn a_receipt_is_checked_with_a_key_and_a_payload_and_tables_are_for_people() {
    let company = Company::new();
    let server = Server::start(&company.data(), &[]);
    company
        .work(&server.api(text(&company.made, "raw_key")))
        .await;
    assert_eq!(server.stop().status.code(), Some(0));
    let vkey = company.vkey();
    let personal = company.file("personal.tar");
    let with = company.audit("export", &["--out", &personal, "--with-personal"]);
    assert_eq!(code(&with), WHOLE, "{}", stderr(&with));
    assert!(stderr(&with).contains("ATTENTION"), "{}", stderr(&with));
    let mode = fs::metadata(&personal).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let table = company.file("events.csv");
    let tabled = company.audit("export", &["--csv", &table]);
    assert_eq!(code(&tabled), WHOLE, "{}", stderr(&tabled));
    let rows = fs::read_to_string(&table).unwrap();
    assert!(rows.starts_with("position,occurred_at,type,"));
    let columns = rows.lines().next().unwrap();
    assert!(
        columns.ends_with(",subject_name,actor_name,reason"),
        "{columns}"
    );
    assert!(rows.contains("Bootstrap key"), "{rows}");

    let data = company.data();
    let proof = run(["audit", "prove", "3", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(code(&proof), WHOLE, "{}", stderr(&proof));
    let (receipt, payload) = (company.file("3.tlog-proof"), company.file("3.json"));
    fs::write(&receipt, &proof.stdout).unwrap();
    let full = company.file("full.tar");
    assert_eq!(code(&company.audit("export", &["--out", &full])), WHOLE);
    let full = fs::read(&full).unwrap();
    let full = String::from_utf8_lossy(&full);
    let event = full
        .lines()
        .find(|line| line.starts_with("{\"position\":3,"))
        .unwrap();
    fs::write(&payload, event).unwrap();
    let prove = || {
        let args = [
            "audit",
            "check-proof",
            &receipt,
            "--vkey",
            vkey,
            "--payload",
            &payload,
        ];
        run(args)
    };
    assert_eq!(code(&prove()), WHOLE, "{}", last_line(&prove()));
    fs::write(&payload, event.replace("\"version\":1", "\"version\":2")).unwrap();
    let refused = prove();
    assert_eq!(code(&refused), DAMAGED);
    let words = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(words.starts_with("DAMAGED: receipt_proof"), "{words}");
}

#[tokio::test]
async fn a_backup_of_a_running_server_is_restored_with_its_keys_and_serves() {
    let company = Company::new();
    let key = text(&company.made, "raw_key");
    let server = Server::start(&company.data(), &[]);
    let api = server.api(key);
    company.work(&api).await;
    let (backup, keys) = (company.file("ledger.backup"), company.file("keys.age"));
    let secret = company.file("passphrase");
    fs::write(&secret, "correct horse battery staple\n").unwrap();
    let data = company.data();
    let on = |folder: &Path, args: &[&str]| {
        let folder = folder.to_str().unwrap().to_owned();
        let args = args.iter().map(|arg| (*arg).to_owned());
        run(args.chain(["--data-dir".to_owned(), folder]))
    };
    let phrase = ["--passphrase-file", secret.as_str()];
    let made = on(&data, &["backup", "--out", &backup]);
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    let exported = on(
        &data,
        &[&["keys", "export", "--out", &keys], &phrase[..]].concat(),
    );
    assert_eq!(code(&exported), 0, "{}", stderr(&exported));
    let (_, last) = company.work(&api).await;
    let newer = loop {
        // Checkpoints are signed at most once a second.
        let note = api.get("/ledger/checkpoint").await.unwrap().text;
        let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
        if size > last {
            break note;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(server.stop().status.code(), Some(0));

    let restored = company.root.path().join("restored");
    let into = |more: &[&str]| on(&restored, &[&["restore", "--in", &backup], more].concat());
    let floor = company.file("checkpoint");
    fs::write(&floor, newer).unwrap();
    let old = into(&["--floor", &floor]);
    assert_eq!(code(&old), 3, "{}", stderr(&old));
    assert!(stderr(&old).contains("rolled_back"), "{}", stderr(&old));
    let full = on(&data, &["restore", "--in", &backup]);
    assert_eq!(code(&full), 2, "{}", stderr(&full));
    let missing = on(&restored, &["restore", "--in", "/nowhere/x.backup"]);
    assert_eq!(code(&missing), 1);
    let named = "cannot read the backup /nowhere/x.backup, the file of --in";
    assert!(stderr(&missing).contains(named), "{}", stderr(&missing));
    let done = into(&[]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let ended = Server::try_start(&restored, &[]).unwrap_err();
    assert_eq!(ended.status.code(), Some(2), "{}", ended.log);
    let imported = on(
        &restored,
        &[&["keys", "import", "--in", &keys], &phrase[..]].concat(),
    );
    assert_eq!(code(&imported), 0, "{}", stderr(&imported));
    let server = Server::start(&restored, &[]);
    let api = server.api(key);
    assert_eq!(api.verdict(key).await, "valid");
    let listed = api.get(&company.keys_path()).await.unwrap().expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn an_export_says_how_many_events_no_checkpoint_covers_yet() {
    let company = Company::new();
    // The checkpoints of before the work.
    let (kept, early) = (company.data().join("checkpoints"), company.file("early"));
    fs::create_dir(&early).unwrap();
    for entry in fs::read_dir(&kept).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), Path::new(&early).join(entry.file_name())).unwrap();
    }
    let server = Server::start(&company.data(), &[]);
    company
        .work(&server.api(text(&company.made, "raw_key")))
        .await;
    assert_eq!(server.stop().status.code(), Some(0));
    let export = |name: &str| {
        let out = company.file(name);
        let exported = company.audit("export", &["--out", &out]);
        assert_eq!(code(&exported), WHOLE, "{}", stderr(&exported));
        stderr(&exported).to_owned()
    };
    let left_out = "newer events are not in the bundle, since the newest checkpoint covers only";
    let whole = export("whole.tar");
    assert!(!whole.contains(left_out), "{whole}");
    fs::remove_dir_all(&kept).unwrap();
    fs::rename(&early, &kept).unwrap();
    let partial = export("partial.tar");
    assert!(partial.contains(left_out), "{partial}");
}
