//! Another key signs the checkpoints, and an export of the keys carries it elsewhere.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::harness::{Server, code, init, json, run, stderr, text};

const REFUSED: i32 = 2;

fn rotate(data: &Path, more: &[&str]) -> std::process::Output {
    let command = [
        "keys",
        "rotate-signing",
        "--data-dir",
        data.to_str().unwrap(),
    ];
    run(command.into_iter().chain(more.iter().copied()))
}

/// What a server publishes: its verifier keys and how many signatures its checkpoint has.
async fn published(server: &Server) -> (Vec<String>, usize) {
    let api = server.api("nobody's");
    let keys = api.get("/ledger/vkey").await.unwrap().text;
    let keys: Vec<String> = keys.lines().map(str::to_owned).collect();
    loop {
        let checkpoint = api.get("/ledger/checkpoint").await.unwrap();
        if checkpoint.status == 200 {
            return (keys, checkpoint.text.matches('\u{2014}').count());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn two_keys_sign_during_an_overlap_and_one_without() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &[]);
    let first = text(&made, "vkey").to_owned();
    let wrong = rotate(&data, &["--overlap-days", "366"]);
    assert_eq!(code(&wrong), REFUSED, "{}", stderr(&wrong));

    let rotated = json(&rotate(&data, &["--json"]));
    assert_eq!(rotated["previous_vkey"], first.as_str());
    let second = text(&rotated, "vkey").to_owned();
    assert!(text(&rotated, "overlap_until").ends_with('Z'), "{rotated}");
    let server = Server::start(&data, &[]);
    let (keys, signatures) = published(&server).await;
    assert_eq!((keys, signatures), (vec![second.clone(), first], 2));
    let busy = rotate(&data, &[]);
    assert_eq!(code(&busy), REFUSED, "{}", stderr(&busy));
    assert_eq!(server.stop().status.code(), Some(0));

    let shown = rotate(&data, &["--overlap-days", "0"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let third = shown.lines().next().unwrap().to_owned();
    assert!(shown.contains(&second), "{shown}");
    let secret = root.path().join("passphrase");
    fs::write(&secret, "correct horse battery staple\n").unwrap();
    let backup = root.path().join("keys.age");
    let (backup, secret) = (backup.to_str().unwrap(), secret.to_str().unwrap());
    let keys = |verb: &str, file: &str| {
        let data = data.to_str().unwrap();
        let command = ["keys", verb, "--data-dir", data, file, backup];
        let done = run(command.into_iter().chain(["--passphrase-file", secret]));
        assert_eq!(code(&done), 0, "{}", stderr(&done));
    };
    keys("export", "--out");
    fs::remove_file(data.join("keys/signing-3")).unwrap();
    let ended = Server::try_start(&data, &[]).unwrap_err();
    assert_eq!(ended.status.code(), Some(REFUSED), "{}", ended.log);
    assert!(ended.log.contains(&third), "{}", ended.log);
    keys("import", "--in");
    let server = Server::start(&data, &[]);
    assert_eq!(published(&server).await, (vec![third], 1));
}
