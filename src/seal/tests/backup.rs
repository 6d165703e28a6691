//! The backup of the keys folder and its way back.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use age::x25519::Identity;
use sha2::{Digest, Sha256};

use super::*;

fn passphrase() -> (EncryptFor, DecryptWith) {
    let to = EncryptFor::Passphrase {
        passphrase: "correct horse".into(),
        work_factor: 2,
    };
    (to, DecryptWith::Passphrase("correct horse".into()))
}

fn export(store: &KeyStore) -> Vec<u8> {
    let mut file = Vec::new();
    export_keys(store, &passphrase().0, &mut file).unwrap();
    file
}

fn import(dir: &Path, file: &[u8]) -> Result<Imported, SealError> {
    let target = ImportTarget {
        dir,
        master_file: None,
        log_id: None,
    };
    import_keys(target, &passphrase().1, file, &mut Entropy::seeded(50))
}

/// The folder's files and their bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// An export of any text, as only a holder of the passphrase could forge it.
fn forged(text: &str) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new("correct horse".into());
    recipient.set_work_factor(2);
    let to = std::iter::once(&recipient as &dyn age::Recipient);
    let mut file = Vec::new();
    let mut out = age::Encryptor::with_recipients(to)
        .unwrap()
        .wrap_output(&mut file)
        .unwrap();
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap();
    file
}

#[test]
fn an_import_restores_every_key_under_a_master_of_its_own() {
    let (data, store, _) = store();
    let sealed = store.seal(id(1), b"ann", NONCE, PLACE).unwrap();
    let file = export(&store);
    let dir = data.path().join("restored");
    let expected = Imported {
        log_id: LOG_ID,
        data_keys: 2,
        written: 5,
    };
    assert_eq!(import(&dir, &file).unwrap(), expected);
    assert_eq!(mode(&dir), 0o700);
    assert!(
        files(&dir)
            .keys()
            .all(|name| mode(&dir.join(name)) == 0o600)
    );

    let restored = KeyStore::open(&dir, None).unwrap();
    assert_eq!(restored.log_id(), LOG_ID);
    assert_eq!(text(restored.open_sealed(&sealed, PLACE).unwrap()), b"ann");
    assert_eq!(restored.digest(b"body"), store.digest(b"body"));
    let (ours, theirs) = (restored.signing_key(), store.signing_key());
    assert_eq!(ours.verifying_key(), theirs.verifying_key());
    let (ours, theirs) = (files(&dir), files(&data.path().join("keys")));
    assert!(ours.iter().all(|(name, bytes)| theirs[name] != *bytes));
}

#[test]
fn later_signing_keys_come_along_and_are_made_once() {
    let (data, store, mut entropy) = store();
    let second = store.signing_key_or_new(2, &mut entropy).unwrap();
    let again = store.signing_key_or_new(2, &mut entropy).unwrap();
    assert_eq!(second.verifying_key(), again.verifying_key());
    let first = store.signing_key().verifying_key();
    let store = KeyStore::open(&data.path().join("keys"), None).unwrap();
    let dir = data.path().join("restored");
    let imported = import(&dir, &export(&store)).unwrap();
    assert_eq!((imported.data_keys, imported.written), (2, 6));
    let restored = KeyStore::open(&dir, None).unwrap();
    let found: Vec<_> = restored
        .signing_keys()
        .map(|key| key.verifying_key())
        .collect();
    assert_eq!(found, [first, second.verifying_key()]);
    // An export made before lacks the newest one: nothing is imported beside it.
    let later = restored.signing_key_or_new(3, &mut entropy).unwrap();
    assert_ne!(later.verifying_key(), second.verifying_key());
    let refused = import(&dir, &export(&store));
    assert!(matches!(refused, Err(SealError::KeyDiffers { name }) if name == "signing-3"));
}

#[test]
fn recipients_open_with_their_identities() {
    let (data, store, _) = store();
    let (mine, other) = (Identity::generate(), Identity::generate());
    let to = EncryptFor::Recipients(vec![other.to_public(), mine.to_public()]);
    let mut file = Vec::new();
    assert_eq!(export_keys(&store, &to, &mut file).unwrap(), 2);

    let dir = data.path().join("restored");
    let target = ImportTarget {
        dir: &dir,
        master_file: Some(&data.path().join("outside")),
        log_id: Some(LOG_ID),
    };
    let mut entropy = Entropy::seeded(51);
    for wrong in [
        DecryptWith::Identities(vec![Identity::generate()]),
        passphrase().1,
    ] {
        let refused = import_keys(target, &wrong, &file[..], &mut entropy);
        assert!(matches!(refused, Err(SealError::Decrypt(_))));
    }
    let with = DecryptWith::Identities(vec![mine]);
    import_keys(target, &with, &file[..], &mut entropy).unwrap();
    KeyStore::open(&dir, target.master_file).unwrap();
    let none = export_keys(&store, &EncryptFor::Recipients(vec![]), &mut Vec::new());
    assert!(matches!(none, Err(SealError::Encrypt(_))));
}

#[test]
fn an_import_completes_a_folder_and_replaces_nothing() {
    let (data, store, _) = store();
    let dir = data.path().join("keys");
    let file = export(&store);
    let before = files(&dir);
    assert_eq!(import(&dir, &file).unwrap().written, 0);
    assert_eq!(files(&dir), before);

    for lost in ["log", "digest", &id(2).to_string()] {
        fs::remove_file(dir.join(lost)).unwrap();
    }
    let left = files(&dir);
    assert_eq!(import(&dir, &file).unwrap().written, 3);
    let after = files(&dir);
    assert!(left.iter().all(|(name, bytes)| after[name] == *bytes));
    assert!(after.keys().eq(before.keys()));
    let reopened = KeyStore::open(&dir, None).unwrap();
    assert_eq!(reopened.digest(b"body"), store.digest(b"body"));
    assert!(reopened.data_key(id(2)).unwrap().is_some());
}

#[test]
fn a_refused_import_changes_nothing() {
    let (data, store, mut entropy) = store();
    let dir = data.path().join("keys");
    let file = export(&store);

    let other = data.path().join("other");
    KeyStore::create(&other, None, [1; 16], &mut entropy).unwrap();
    let before = files(&other);
    assert!(matches!(
        import(&other, &file),
        Err(SealError::OtherLog { .. })
    ));
    assert_eq!(files(&other), before);
    let fresh = data.path().join("fresh");
    let target = ImportTarget {
        dir: &fresh,
        master_file: None,
        log_id: Some([1; 16]),
    };
    let refused = import_keys(target, &passphrase().1, &file[..], &mut entropy);
    assert!(matches!(refused, Err(SealError::OtherLog { .. })));
    assert!(!fresh.exists());

    // The folder has a key that the export lacks, or another key under the same name.
    let newer = id(3);
    store.new_data_key(newer, &mut entropy).unwrap();
    store.destroy(id(1)).unwrap();
    let before = files(&dir);
    let refused = import(&dir, &file);
    assert!(matches!(refused, Err(SealError::KeyDiffers { name }) if name == newer.to_string()));
    assert_eq!(files(&dir), before);
    store.destroy(newer).unwrap();
    store.destroy(id(2)).unwrap();
    store.new_data_key(id(2), &mut entropy).unwrap();
    let before = files(&dir);
    let refused = import(&dir, &file);
    assert!(matches!(refused, Err(SealError::KeyDiffers { name }) if name == id(2).to_string()));
    assert_eq!(files(&dir), before);
}

#[test]
fn a_damaged_export_is_refused_whole() {
    let (data, store, _) = store();
    let dir = data.path().join("fresh");
    let file = export(&store);
    for length in [0, 10, 150, file.len() - 1] {
        assert!(import(&dir, &file[..length]).is_err(), "{length}");
    }
    for index in (0..file.len()).step_by(7) {
        let mut bytes = file.clone();
        bytes[index] ^= 1;
        assert!(import(&dir, &bytes).is_err(), "{index}");
    }
    assert!(!dir.exists());
    assert!(!data.path().join(".fresh.new").exists());
    import(&dir, &file).unwrap();
}

#[test]
fn the_text_of_an_export_is_read_strictly() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("fresh");
    let (log, key) = ("ab".repeat(16), "11".repeat(32));
    let body = format!("keyledger-keys 1\nlog {log}\nkey digest {key}\nkey signing {key}\n");
    let ended = |body: &str| {
        let digest: [u8; 32] = Sha256::digest(body.as_bytes()).into();
        format!("{body}end {}\n", hex::encode(digest))
    };
    let cases = [
        (body.clone(), 5, "it ends early"),
        (ended(&body) + "more\n", 6, "text after the end"),
        (
            ended(&body.replace(" 1\n", " 2\n")),
            1,
            "not a keys export of version 1",
        ),
        (ended(&body.replace("log ab", "log ")), 2, "no log id"),
        (ended(&body.replace("signing", "../../x")), 4, "not a key"),
        (
            ended(&body.replace("signing", "digest")),
            4,
            "a key stands twice",
        ),
        (
            ended(&body.replace("signing 11", "signing ")),
            4,
            "not a key",
        ),
        (
            ended(&body).replace("signing 11", "signing 22"),
            5,
            "the digest does not fit",
        ),
        (
            ended(&body.replace("signing", &id(1).to_string())),
            6,
            "the signing or the digest key is missing",
        ),
    ];
    for (text, line, what) in cases {
        match import(&dir, &forged(&text)) {
            Err(SealError::BadExport {
                line: at,
                what: why,
            }) => {
                assert_eq!((at, why), (line, what), "{text}");
            }
            other => panic!("{other:?} for {text}"),
        }
    }
    assert_eq!(import(&dir, &forged(&ended(&body))).unwrap().data_keys, 0);
}

#[test]
fn an_export_leaves_out_what_is_erased_and_the_master_key() {
    let (data, store, _) = store();
    store.destroy(id(1)).unwrap();
    let file = export(&store);
    let master = fs::read_to_string(data.path().join("keys/master")).unwrap();
    let with = age::scrypt::Identity::new("correct horse".into());
    let with = std::iter::once(&with as &dyn age::Identity);
    let mut reader = age::Decryptor::new(&file[..])
        .unwrap()
        .decrypt(with)
        .unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(!text.contains(master.trim()));
    assert!(!text.contains(&id(1).to_string()));
    let starts: Vec<_> = text
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    let second = format!("key {}", id(2));
    let expected = [
        "keyledger-keys",
        "log",
        "key digest",
        "key signing",
        &second,
        "end",
    ];
    assert_eq!(starts, expected);
}
