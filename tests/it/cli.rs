//! The command line: what it makes, what it refuses, and how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{Server, code, init, run, stderr, text};

const REFUSED: i32 = 2;
const DAMAGED: i32 = 3;

#[test]
fn init_prints_one_object() {
    let root = tempdir().unwrap();
    let made = init(
        &root.path().join("data"),
        &["--origin", "keys.example/ledger"],
    );
    let fields: Vec<&String> = made.as_object().unwrap().keys().collect();
    let expected = [
        "key_id",
        "organization_id",
        "owner_id",
        "raw_key",
        "sign_in_url",
        "vkey",
    ];
    assert_eq!(fields, expected);
    for (field, prefix) in [
        ("key_id", "key_"),
        ("organization_id", "org_"),
        ("owner_id", "usr_"),
        ("raw_key", "rfk_"),
        ("vkey", "keys.example/ledger+"),
    ] {
        assert!(text(&made, field).starts_with(prefix), "{field}: {made}");
    }
    let (server, token) = text(&made, "sign_in_url").rsplit_once('/').unwrap();
    assert_eq!((server, token.len()), ("http://127.0.0.1:8080/sign-in", 64));
}

#[test]
fn init_shows_people_the_key_once() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let output = run(["init", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown.matches("rfk_").count(), 1, "{shown}");
    assert_eq!(shown.matches("/sign-in/").count(), 1, "{shown}");
}

#[test]
fn init_refuses_what_it_cannot_make_and_leaves_nothing_behind() {
    let root = tempdir().unwrap();
    let full = root.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("something"), "").unwrap();
    let inside = root.path().join("new/master");
    for (folder, more, said) in [
        ("full", vec![], "is not empty"),
        (
            "new",
            vec!["--owner-email", "nobody"],
            "--owner-email must be an e-mail address",
        ),
        (
            "new",
            vec!["--organization", " "],
            "--organization must not be empty",
        ),
        ("new", vec!["--origin", "a b"], "an origin has"),
        (
            "new",
            vec!["--master-key-file", inside.to_str().unwrap()],
            "lies in the data folder",
        ),
    ] {
        let data = root.path().join(folder);
        let mut args = vec!["init", "--data-dir", data.to_str().unwrap()];
        args.extend(more);
        let output = run(args);
        assert_eq!(code(&output), REFUSED, "{said}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(said),
            "{said}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
    assert!(!root.path().join("new").exists());
    let made = init(&root.path().join("data"), &[]);
    assert!(made["raw_key"].is_string());
    let again = run([
        "init",
        "--data-dir",
        root.path().join("data").to_str().unwrap(),
    ]);
    assert_eq!(code(&again), REFUSED);
}

#[tokio::test]
async fn a_server_serves_one_folder_until_it_is_told_to_stop() {
    let root = tempdir().unwrap();
    let made = init(root.path(), &[]);
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(root.path(), &[]);
        assert!(!server.address().ends_with(":0"));
        let api = server.api(text(&made, "raw_key"));
        assert_eq!(api.verdict(text(&made, "raw_key")).await, "valid");

        let data = root.path().to_str().unwrap();
        for second in [
            vec!["serve", "--data-dir", data, "--listen", "127.0.0.1:0"],
            vec!["recover", "--data-dir", data],
        ] {
            let output = run(&second);
            assert_eq!(code(&output), REFUSED, "{}", stderr(&output));
            assert!(
                stderr(&output).contains("another process"),
                "{}",
                stderr(&output)
            );
        }

        server.signal(signal);
        let ended = server.end();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    }
}

#[tokio::test]
async fn json_logs_are_one_object_a_line() {
    let root = tempdir().unwrap();
    init(root.path(), &[]);
    let server = Server::start(
        root.path(),
        &["--log-format", "json", "--log-level", "debug"],
    );
    server.api("none").get("/v1/verify").await.unwrap();
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    for line in ended.log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn a_server_does_not_carry_secrets_over_a_network_in_the_clear() {
    let root = tempdir().unwrap();
    init(root.path(), &[]);
    let data = root.path().to_str().unwrap();
    let args = ["serve", "--data-dir", data, "--listen", "0.0.0.0:0"];
    let output = run(args);
    assert_eq!(code(&output), REFUSED);
    assert!(
        stderr(&output).contains("--behind-proxy"),
        "{}",
        stderr(&output)
    );

    let more = [
        "--listen",
        "0.0.0.0:0",
        "--behind-proxy",
        "--public-url",
        "https://keys.example",
    ];
    let output = run([&["serve", "--data-dir", data][..], &more].concat());
    assert_eq!(code(&output), REFUSED);
    assert!(
        stderr(&output).contains("--trusted-proxies"),
        "{}",
        stderr(&output)
    );
    let output = run(["serve", "--data-dir", data, "--public-url", "nonsense"]);
    assert_eq!(code(&output), REFUSED);
    let mut command = crate::harness::keyledger(["serve", "--data-dir", data]);
    command
        .args(more)
        .env("KEYLEDGER_TRUSTED_PROXIES", "not a network");
    assert_eq!(code(&command.output().unwrap()), REFUSED);
}

#[tokio::test]
async fn the_first_start_writes_its_key_to_a_file_or_refuses() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let key_file = root.path().join("key");
    let refused = |more: &[&str], said: &str| {
        let ended = Server::try_start(&data, more).unwrap_err();
        assert_eq!(ended.status.code(), Some(REFUSED), "{}", ended.log);
        assert!(ended.log.contains(said), "{said}: {}", ended.log);
        assert!(!data.exists());
    };
    refused(&[], "keyledger init");
    let inside = data.join("key");
    refused(
        &["--bootstrap-key-file", inside.to_str().unwrap()],
        "lies in the data folder",
    );
    fs::write(&key_file, "precious").unwrap();
    refused(
        &["--bootstrap-key-file", key_file.to_str().unwrap()],
        "never written over",
    );
    assert_eq!(fs::read_to_string(&key_file).unwrap(), "precious");
    fs::remove_file(&key_file).unwrap();

    let named = ["--bootstrap-key-file", key_file.to_str().unwrap()];
    let server = Server::start(&data, &named);
    let mode = fs::metadata(&key_file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = fs::read_to_string(&key_file).unwrap();
    let key = key.trim_end();
    assert_eq!(server.api(key).verdict(key).await, "valid");
    assert_eq!(server.stop().status.code(), Some(0));
    // The variable may stay set: a ledger that is there gets no second key.
    let server = Server::start(&data, &named);
    assert_eq!(server.api(key).verdict(key).await, "valid");
}

#[tokio::test]
async fn recover_issues_a_new_key_as_an_event() {
    let root = tempdir().unwrap();
    let made = init(root.path(), &[]);
    let data = root.path().to_str().unwrap();
    let recovered = crate::harness::json(&run(["recover", "--data-dir", data, "--json"]));
    for same in ["organization_id", "owner_id", "vkey"] {
        assert_eq!(made[same], recovered[same], "{same}");
    }
    for new in ["key_id", "raw_key", "sign_in_url"] {
        assert_ne!(made[new], recovered[new], "{new}");
    }
    let id = text(&made, "organization_id");
    let named = run([
        "recover",
        "--data-dir",
        data,
        "--json",
        "--organization",
        id,
    ]);
    let named = crate::harness::json(&named);
    let nobody = "org_01H2XA9CKEB7WZG8RMN2KPQV7D";
    let output = run(["recover", "--data-dir", data, "--organization", nobody]);
    assert_eq!(code(&output), REFUSED, "{}", stderr(&output));

    let server = Server::start(root.path(), &[]);
    for key in [&made, &recovered, &named] {
        let api = server.api(text(key, "raw_key"));
        let body = json!({"name": "Other", "owner_email": "other@example.com"});
        api.post("/platform/organizations", &body)
            .await
            .unwrap()
            .expect(201);
        let path = format!(
            "/platform/organizations/{id}/api-keys/{}/events",
            text(key, "key_id")
        );
        let events = api.get(&path).await.unwrap().expect(200);
        assert_eq!(events[0]["type"], "api_key.created");
        assert_eq!(events[0]["actor"]["type"], "operator");
    }
}

#[tokio::test]
async fn exported_keys_open_a_copy_elsewhere() {
    let root = tempdir().unwrap();
    let (data, copy) = (root.path().join("data"), root.path().join("copy"));
    let made = init(&data, &[]);
    let key = text(&made, "raw_key");
    let secret = root.path().join("passphrase");
    fs::write(&secret, "correct horse battery staple\n").unwrap();
    let out = root.path().join("keys.age");
    let passphrase = ["--passphrase-file", secret.to_str().unwrap()];
    let keys = |data: &Path, verb: &str, file: &str, more: [&str; 2]| {
        let data = data.to_str().unwrap();
        run([
            "keys",
            verb,
            "--data-dir",
            data,
            file,
            out.to_str().unwrap(),
            more[0],
            more[1],
        ])
    };
    let short = root.path().join("short");
    fs::write(&short, "7 chars\n").unwrap();
    let short = ["--passphrase-file", short.to_str().unwrap()];
    let refused = keys(&data, "export", "--out", short);
    assert_eq!(code(&refused), 2, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("it must have at least 8 characters"));
    assert!(!out.exists());
    // The server may run while its keys are exported.
    let server = Server::start(&data, &[]);
    let exported = keys(&data, "export", "--out", passphrase);
    assert_eq!(code(&exported), 0, "{}", stderr(&exported));
    let again = keys(&data, "export", "--out", passphrase);
    assert_eq!(code(&again), REFUSED, "{}", stderr(&again));
    // It may not run while they are imported.
    let busy = keys(&data, "import", "--in", passphrase);
    assert_eq!(code(&busy), REFUSED, "{}", stderr(&busy));
    assert_eq!(server.stop().status.code(), Some(0));

    fs::create_dir(&copy).unwrap();
    for part in ["log", "checkpoints"] {
        copy_folder(&data.join(part), &copy.join(part));
    }
    let ended = Server::try_start(&copy, &[]).unwrap_err();
    assert_eq!(ended.status.code(), Some(REFUSED), "{}", ended.log);
    fs::write(&secret, "wrong").unwrap();
    let wrong = keys(&copy, "import", "--in", passphrase);
    assert_eq!(code(&wrong), REFUSED, "{}", stderr(&wrong));
    fs::write(&secret, "correct horse battery staple").unwrap();
    let imported = keys(&copy, "import", "--in", passphrase);
    assert_eq!(code(&imported), 0, "{}", stderr(&imported));

    let server = Server::start(&copy, &[]);
    let api = server.api(key);
    assert_eq!(api.verdict(key).await, "valid");
    // What was sealed opens again.
    let id = text(&made, "organization_id");
    let members = api
        .get(&format!("/platform/organizations/{id}/members"))
        .await
        .unwrap();
    assert_eq!(members.expect(200)[0]["email"], "owner@localhost");
}

#[test]
fn a_damaged_log_is_named_and_not_served() {
    let root = tempdir().unwrap();
    init(root.path(), &["--segment-mib", "1"]);
    let segment = root.path().join("log/00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    // In the first event's payload: the header has 4,096 bytes and a frame's head 64.
    bytes[4096 + 64 + 10] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let ended = Server::try_start(root.path(), &["--segment-mib", "1"]).unwrap_err();
    assert_eq!(ended.status.code(), Some(DAMAGED), "{}", ended.log);
    for said in [
        segment.to_str().unwrap(),
        "offset",
        "position",
        "Nothing has been changed",
    ] {
        assert!(ended.log.contains(said), "{said}: {}", ended.log);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}
