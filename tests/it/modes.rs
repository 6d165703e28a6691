//! Nobody but the owner can read or write what the binary makes, whatever the umask.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Server, code, init, run_under_umask, stderr, text};

/// Every path that others can reach, with its mode.
fn reachable(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
    let seen = fs::symlink_metadata(path).unwrap();
    let mode = seen.mode() & 0o7777;
    let wanted = if seen.is_dir() { 0o700 } else { 0o600 };
    if mode != wanted {
        found.push((path.to_owned(), mode));
    }
    if seen.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            reachable(&entry.unwrap().path(), found);
        }
    }
}

#[track_caller]
fn check_owner_alone(path: &Path, after: &str) {
    let mut found = Vec::new();
    reachable(path, &mut found);
    assert!(found.is_empty(), "{after}: {found:?}");
}

/// Runs commands in one folder under one umask.
struct Hands<'a> {
    umask: &'a str,
    root: &'a Path,
}

impl Hands<'_> {
    fn path(&self, name: &str) -> String {
        self.root.join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) {
        let args: Vec<String> = args
            .iter()
            .map(|arg| match arg.strip_prefix('@') {
                Some(name) => self.path(name),
                None => (*arg).to_owned(),
            })
            .collect();
        let done = run_under_umask(self.umask, &args);
        assert_eq!(code(&done), 0, "{args:?}: {}", stderr(&done));
    }

    /// Runs every command that changes a folder while no server runs on it.
    fn maintain(&self, data: &Path, organization: &str, member: &str) {
        let folder = ["--data-dir", data.to_str().unwrap()];
        let network_key = data.join("keys").join(organization.replace("org_", "dk_"));
        assert!(network_key.exists(), "{network_key:?}");
        for command in [
            &["recover"] as &[&str],
            &["erase", "--member", member, "--reason", "asked for"],
            &["mark-restored"],
            &["keys", "rotate-signing"],
            &["keys", "renew", "--organization", organization],
        ] {
            if command.contains(&"renew") {
                fs::remove_file(&network_key).unwrap();
            }
            self.run(&[command, &folder].concat());
            check_owner_alone(data, &command.join(" "));
        }
    }
}

#[tokio::test]
async fn all_files_are_the_owners_alone_under_every_umask() {
    for umask in ["000", "022", "077", "277"] {
        let root = tempdir().unwrap();
        let hands = Hands {
            umask,
            root: root.path(),
        };
        let data = root.path().join("data");
        // One that is there already, as a mounted volume is.
        fs::create_dir(&data).unwrap();
        fs::create_dir(data.join("lost+found")).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o2775)).unwrap();
        hands.run(&["init", "--data-dir", "@data", "--segment-mib", "1"]);
        fs::remove_dir(data.join("lost+found")).unwrap();
        check_owner_alone(&data, "init");

        let key = root.path().join("key");
        let more = ["--bootstrap-key-file", key.to_str().unwrap()];
        let fresh = root.path().join("fresh");
        let server = Server::start_under_umask(umask, &fresh, &more);
        let raw = fs::read_to_string(&key).unwrap();
        let api = server.api(raw.trim());
        let me = api
            .get("/platform/organizations")
            .await
            .unwrap()
            .expect(200);
        let id = text(&me[0], "id").to_owned();
        let keys = format!("/platform/organizations/{id}/api-keys");
        // A tile is full at 256 events; once is enough.
        let tiles = umask == "000";
        for number in 0..if tiles { 300 } else { 5 } {
            let body = json!({"name": format!("key {number}"), "scopes": ["cases:read"]});
            api.post(&keys, &body).await.unwrap().expect(201);
        }
        assert_eq!(server.stop().status.code(), Some(0));
        assert_eq!(fresh.join("tiles").exists(), tiles);
        check_owner_alone(&fresh, "serve");
        check_owner_alone(&key, "serve");

        fs::write(root.path().join("passphrase"), "correct horse battery\n").unwrap();
        hands.run(&["backup", "--data-dir", "@fresh", "--out", "@backup"]);
        hands.run(&["restore", "--in", "@backup", "--data-dir", "@restored"]);
        let secret = ["--passphrase-file", "@passphrase"];
        let export = ["keys", "export", "--data-dir", "@fresh", "--out", "@age"];
        hands.run(&[export.as_slice(), &secret].concat());
        let import = ["keys", "import", "--data-dir", "@restored", "--in", "@age"];
        hands.run(&[import.as_slice(), &secret].concat());
        let bundle = [
            "audit",
            "export",
            "--data-dir",
            "@fresh",
            "--out",
            "@bundle",
        ];
        hands.run(&[bundle.as_slice(), &["--organization", &id]].concat());
        for made in ["backup", "restored", "age", "bundle"] {
            check_owner_alone(&root.path().join(made), made);
        }
        let restored = root.path().join("restored");
        let server = Server::start_under_umask(umask, &restored, &[]);
        let body = json!({"email": "bob@acme.example", "role": "viewer"});
        let members = format!("/platform/organizations/{id}/members");
        let made = server.api(raw.trim()).post(&members, &body).await;
        let member = text(&made.unwrap().expect(201), "id").to_owned();
        assert_eq!(server.stop().status.code(), Some(0));
        check_owner_alone(&restored, "a start after a restore");

        hands.maintain(&restored, &id, &member);
    }
}

#[tokio::test]
async fn a_start_sets_wider_modes_back_and_says_so() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    init(&data, &[]);
    widen(&data);
    let server = Server::start(&data, &[]);
    check_owner_alone(&data, "a start");
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0));
    let said = "other users had access to the data folder";
    assert!(ended.log.contains(said), "{}", ended.log);
}

/// What a container's runtime does to a volume with a group of its own.
fn widen(path: &Path) {
    let seen = fs::symlink_metadata(path).unwrap();
    let more = if seen.is_dir() { 0o2070 } else { 0o060 };
    fs::set_permissions(path, fs::Permissions::from_mode(seen.mode() | more)).unwrap();
    if seen.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            widen(&entry.unwrap().path());
        }
    }
}
