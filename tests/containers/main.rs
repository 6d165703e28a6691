//! A server as a container runs it: another user without an entry in any file, a root that cannot
//! be written to, no /tmp, no home, and a volume whose modes something else sets. Needs root, so
//! this target is run by name alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what it prints is shown with that"
)]

#[path = "../it/harness/mod.rs"]
mod harness;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::{Ended, Server};
use serde_json::{Value, json};
use tempfile::tempdir;

/// The group that the volume is given to.
const GROUP: u32 = 2_000;

/// A container: who it runs as, and in which groups.
struct Pod<'a> {
    volume: &'a Path,
    user: u32,
    groups: &'a str,
}

impl Pod<'_> {
    /// Starts a server in it. The volume is at /mnt, with the binary and the data folder.
    fn start(&self, data: &str) -> Result<Server, Ended> {
        let (volume, user) = (self.volume.display(), self.user);
        let key = data.rsplit('/').next().unwrap();
        let groups = match self.groups {
            "" => "--clear-groups".to_owned(),
            groups => format!("--groups {groups}"),
        };
        let script = format!(
            "mount --bind {volume} /mnt && mount -t tmpfs -o mode=0700,size=1m none /tmp && \
             mount -o remount,bind,ro / && cd / && \
             exec setpriv --reuid {user} --regid {user} {groups} --no-new-privs --bounding-set=-all \
             env -i KEYLEDGER_DATA_DIR={data} KEYLEDGER_LISTEN=127.0.0.1:0 KEYLEDGER_SEGMENT_MIB=1 \
             KEYLEDGER_BOOTSTRAP_KEY_FILE=/mnt/keys/{key} KEYLEDGER_PUBLIC_URL= HOME= \
             /mnt/keyledger serve"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        Server::start_command(unshare)
    }
}

/// What the kubelet does to a volume of a pod with an `fsGroup`, at each mount.
fn give_to_group(path: &Path) {
    chown(path, None, Some(GROUP)).unwrap();
    let seen = fs::symlink_metadata(path).unwrap();
    let more = if seen.is_dir() { 0o2770 } else { 0o660 };
    fs::set_permissions(path, Permissions::from_mode(seen.mode() & 0o7777 | more)).unwrap();
    if seen.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_to_group(&entry.unwrap().path());
        }
    }
}

/// A volume of root's, as it is provisioned: with what a file system has at its root, and the
/// program and a place for the key beside it.
fn volume(root: &Path) {
    fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
    for (folder, mode) in [
        ("data", 0o755),
        ("data/lost+found", 0o700),
        ("keys", 0o1777),
    ] {
        fs::create_dir(root.join(folder)).unwrap();
        fs::set_permissions(root.join(folder), Permissions::from_mode(mode)).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_keyledger"), root.join("keyledger")).unwrap();
    fs::set_permissions(root.join("keyledger"), Permissions::from_mode(0o755)).unwrap();
}

/// The parts that a server says are degraded.
async fn degraded(server: &Server) -> Value {
    let ready = server.api("").get("/readyz").await.unwrap();
    ready.json()["degraded"].clone()
}

/// What was set aside anywhere in a folder.
fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains(".damaged-") {
            found.push(path);
        } else if path.is_dir() {
            found.extend(set_aside(&path));
        }
    }
    found
}

#[tokio::test]
async fn it_runs_as_any_user_that_may_write_to_its_volume() {
    let root = tempdir().unwrap();
    volume(root.path());
    let data = root.path().join("data");
    let pod = |user, groups| Pod {
        volume: root.path(),
        user,
        groups,
    };
    // The volume has no owner but root yet.
    let refused = pod(4_242, "2000").start("/mnt/data").unwrap_err();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
    for said in [
        "/mnt/data belongs to user 0",
        "this process is user 4242",
        "KEYLEDGER_DATA_DIR",
    ] {
        assert!(refused.log.contains(said), "{said}: {}", refused.log);
    }
    // As one user, again, and as another one of the same group.
    let mut key = String::new();
    for user in [4_242, 4_242, 4_343, 4_242] {
        give_to_group(&data);
        let server = pod(user, "2000").start("/mnt/data");
        let server = server.unwrap_or_else(|ended| panic!("user {user}: {}", ended.log));
        if key.is_empty() {
            key = fs::read_to_string(root.path().join("keys/data")).unwrap();
        }
        let key = key.trim();
        assert_eq!(server.api(key).verdict(key).await, "valid", "user {user}");
        assert_eq!(degraded(&server).await, json!([]), "user {user}");
        let ended = server.stop();
        assert_eq!(ended.status.code(), Some(0), "user {user}: {}", ended.log);
        // What it owns is its own again; what another user owns stays and is named.
        let log = fs::metadata(data.join("log")).unwrap();
        let is_own = log.uid() == user;
        assert_eq!(log.mode() & 0o777, if is_own { 0o700 } else { 0o770 });
        let said = "its mode cannot be set back";
        assert!(is_own || ended.log.contains(said), "{}", ended.log);
        assert!(!ended.log.contains("degraded"), "{}", ended.log);
        assert_eq!(set_aside(&data), Vec::<PathBuf>::new(), "{}", ended.log);
    }
    // One of no group.
    let refused = pod(4_444, "").start("/mnt/data").unwrap_err();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
    assert!(
        refused.log.contains("this process is user 4444"),
        "{}",
        refused.log
    );
    // A folder on the root, which cannot be written to.
    let refused = pod(4_242, "2000").start("/var/keyledger").unwrap_err();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
    assert!(refused.log.contains("/var/keyledger"), "{}", refused.log);
}

#[tokio::test]
async fn what_belongs_to_another_user_is_degraded_and_never_set_aside() {
    let root = tempdir().unwrap();
    volume(root.path());
    let data = root.path().join("data");
    chown(&data, Some(4_242), Some(4_242)).unwrap();
    let pod = Pod {
        volume: root.path(),
        user: 4_242,
        groups: "",
    };
    let start = || {
        let server = pod.start("/mnt/data");
        server.unwrap_or_else(|ended| panic!("{}", ended.log))
    };
    assert_eq!(start().stop().status.code(), Some(0));
    let give = |owner| {
        for path in ["webhooks/deliveries.redb", "usage/checkpoint", "views/db"] {
            chown(data.join(path), Some(owner), Some(owner)).unwrap();
        }
    };
    // As a command run as root would leave them.
    give(0);
    let server = start();
    let found = degraded(&server).await;
    let names: Vec<_> = found.as_array().unwrap().iter().collect();
    assert!(found.to_string().contains("deliveries"), "{names:?}");
    assert!(found.to_string().contains("usage"), "{names:?}");
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    for file in ["webhooks/deliveries.redb", "usage/checkpoint"] {
        let said = format!("/mnt/data/{file} belongs to user 0 and group 0 with mode 600");
        assert!(ended.log.contains(&said), "{said}: {}", ended.log);
    }
    assert!(ended.log.contains("chown -R 4242:4242"), "{}", ended.log);
    assert_eq!(set_aside(&data), Vec::<PathBuf>::new(), "{}", ended.log);
    give(4_242);
    let server = start();
    assert_eq!(degraded(&server).await, json!([]));
    let ended = server.stop();
    assert!(!ended.log.contains("damaged"), "{}", ended.log);
}

/// Runs a command as root on a data folder.
fn as_root(data: &Path, args: &[&str]) -> Output {
    let args = [args, &["--data-dir", data.to_str().unwrap()]].concat();
    harness::run(args)
}

#[tokio::test]
async fn root_writes_nothing_into_the_ledger_of_another_user() {
    let root = tempdir().unwrap();
    volume(root.path());
    let data = root.path().join("data");
    chown(&data, Some(4_242), Some(4_242)).unwrap();
    let pod = Pod {
        volume: root.path(),
        user: 4_242,
        groups: "",
    };
    let first = pod
        .start("/mnt/data")
        .unwrap_or_else(|ended| panic!("{}", ended.log));
    assert_eq!(first.stop().status.code(), Some(0));
    let export = root.path().join("export");
    fs::write(&export, "a passphrase").unwrap();
    let export = export.to_str().unwrap();
    for args in [
        &["recover"][..],
        &["keys", "rotate-signing"],
        &[
            "keys",
            "import",
            "--in",
            export,
            "--passphrase-file",
            export,
        ],
        &["mark-restored"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        let refused = as_root(&data, args);
        let said = harness::stderr(&refused);
        let expected = "belongs to user 4242, who could not read what root writes";
        assert!(said.contains(expected), "{args:?}: {said}");
        assert!(said.contains("setpriv --reuid 4242"), "{args:?}: {said}");
        assert_eq!(harness::code(&refused), 2, "{args:?}: {said}");
    }
    // What only reads goes on, and what is there is still one user's.
    let verified = as_root(&data, &["audit", "verify"]);
    assert_eq!(
        harness::code(&verified),
        0,
        "{}",
        harness::stderr(&verified)
    );
    let again = pod
        .start("/mnt/data")
        .unwrap_or_else(|ended| panic!("{}", ended.log));
    assert_eq!(degraded(&again).await, json!([]));
    assert_eq!(again.stop().status.code(), Some(0));
    // A file that root left before is explained, and is not taken for damage.
    for file in [
        "checkpoints/recent.notes",
        "keys/signing",
        "log/clean",
        "lock",
    ] {
        chown(data.join(file), Some(0), Some(0)).unwrap();
        let refused = pod.start("/mnt/data").unwrap_err();
        let said = format!("/mnt/data/{file} belongs to user 0 and group 0 with mode 600");
        assert!(refused.log.contains(&said), "{said}: {}", refused.log);
        assert!(
            refused.log.contains("chown -R 4242:4242"),
            "{}",
            refused.log
        );
        assert!(!refused.log.contains("from a copy"), "{}", refused.log);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
        chown(data.join(file), Some(4_242), Some(4_242)).unwrap();
    }
}
