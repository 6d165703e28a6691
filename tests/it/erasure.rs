//! A person is erased on the command line, and no copy of the keys brings the person back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{Server, code, init, run, stderr, text};

const REFUSED: i32 = 2;

/// What is done to the folder while no server runs.
struct Hands<'a> {
    data: &'a Path,
    backup: &'a Path,
    secret: &'a Path,
}

impl Hands<'_> {
    fn keys(&self, verb: &str, file: &str) {
        let [data, backup, secret] =
            [self.data, self.backup, self.secret].map(|path| path.to_str().unwrap());
        let command = ["keys", verb, "--data-dir", data, file, backup];
        let done = run(command.into_iter().chain(["--passphrase-file", secret]));
        assert_eq!(code(&done), 0, "{}", stderr(&done));
    }

    fn erase(&self, member: &str) -> Output {
        let data = self.data.to_str().unwrap();
        let command = ["erase", "--data-dir", data, "--member", member];
        run(command
            .into_iter()
            .chain(["--reason", "Request 17 of 2026", "--json"]))
    }

    /// The names of the data keys in the folder.
    fn data_keys(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.data.join("keys")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("dk_")).collect()
    }
}

#[tokio::test]
async fn who_is_erased_stays_erased_whatever_is_brought_back() {
    let root = tempdir().unwrap();
    let (data, backup) = (root.path().join("data"), root.path().join("keys.age"));
    let secret = root.path().join("passphrase");
    fs::write(&secret, "correct horse battery staple\n").unwrap();
    let hands = Hands {
        data: &data,
        backup: &backup,
        secret: &secret,
    };
    let made = init(&data, &[]);
    let key = text(&made, "raw_key");
    let id = text(&made, "organization_id");
    let members = format!("/platform/organizations/{id}/members");
    let joe = json!({"email": "joe@acme.example", "name": "Joe", "role": "viewer"});
    let server = Server::start(&data, &[]);
    let added = server.api(key).post(&members, &joe).await.unwrap();
    let joe_id = text(&added.expect(201), "id").to_owned();
    assert_eq!(server.stop().status.code(), Some(0));
    hands.keys("export", "--out");
    let before = hands.data_keys();

    for (member, said) in [
        ("usr_01H2XA9CKEB7WZG8RMN2KPQV7D", "no organization"),
        (text(&made, "owner_id"), "last owner"),
    ] {
        let refused = hands.erase(member);
        assert_eq!(code(&refused), REFUSED, "{}", stderr(&refused));
        assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
    }
    let erased = crate::harness::json(&hands.erase(&joe_id));
    assert_eq!(erased["member_id"], joe_id.as_str());
    assert!(erased["position"].is_u64(), "{erased}");
    let again = crate::harness::json(&hands.erase(&joe_id));
    assert_eq!(again["position"], Value::Null);
    assert_eq!(again["erased_at"], erased["erased_at"]);
    let after = hands.data_keys();
    assert_eq!(before.difference(&after).count(), 1);

    // An old backup of the keys has the key still; the next start destroys it again.
    hands.keys("import", "--in");
    assert_eq!(hands.data_keys(), before);
    let server = Server::start(&data, &[]);
    assert_eq!(hands.data_keys(), after);
    let api = server.api(key);
    let shown = api.get(&format!("{members}/{joe_id}")).await.unwrap();
    let shown = shown.expect(200);
    let seen = ["email", "name", "status", "erased_at"].map(|field| &shown[field]);
    let removed = json!("removed");
    let expected = [&Value::Null, &Value::Null, &removed, &erased["erased_at"]];
    assert_eq!(seen, expected);
    api.post(&members, &joe).await.unwrap().expect(201);
}
