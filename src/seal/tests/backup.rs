//! The backup of the keys folder and its way back.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use age::armor::{ArmoredWriter, Format};
use age::x25519::Identity;
use sha2::{Digest, Sha256};

use super::*;

fn passphrase() -> (ExportEncryption, ExportDecryption) {
    let to = ExportEncryption::Passphrase {
        passphrase: "correct horse".into(),
        work_factor: 2,
    };
    (to, ExportDecryption::Passphrase("correct horse".into()))
}

fn export(store: &KeyStore) -> Vec<u8> {
    let mut file = Vec::new();
    export_keys(store, &passphrase().0, &mut file).unwrap();
    file
}

fn import(dir: &Path, file: &[u8]) -> Result<KeyImportReport, SealError> {
    let target = KeyImportTarget {
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
    let expected = KeyImportReport {
        log_id: LOG_ID,
        data_keys: 2,
        written: 5,
        ..KeyImportReport::default()
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
    assert_eq!(
        restored.command_digest(b"body"),
        store.command_digest(b"body")
    );
    let (ours, theirs) = (restored.first_signing_key(), store.first_signing_key());
    assert_eq!(ours.verifying_key(), theirs.verifying_key());
    let (ours, theirs) = (files(&dir), files(&data.path().join("keys")));
    assert!(ours.iter().all(|(name, bytes)| theirs[name] != *bytes));
}

#[test]
fn an_armored_export_is_the_same_export() {
    let (data, store, _) = store();
    let file = export(&store);
    let mut armored = Vec::new();
    let mut writer = ArmoredWriter::wrap_output(&mut armored, Format::AsciiArmor).unwrap();
    writer.write_all(&file).unwrap();
    writer.finish().unwrap();
    assert!(armored.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n"));
    let dos = String::from_utf8(armored.clone())
        .unwrap()
        .replace('\n', "\r\n");
    for (name, file) in [("armored", armored.clone()), ("dos", dos.into_bytes())] {
        let imported = import(&data.path().join(name), &file).unwrap();
        assert_eq!((imported.data_keys, imported.written), (2, 5), "{name}");
    }
    let cut = armored.len() - 40;
    assert!(import(&data.path().join("cut"), &armored[..cut]).is_err());
}

#[test]
fn later_signing_keys_come_along_and_are_made_once() {
    let (data, store, mut entropy) = store();
    let second = store.signing_key_or_create(2, &mut entropy).unwrap();
    let again = store.signing_key_or_create(2, &mut entropy).unwrap();
    assert_eq!(second.verifying_key(), again.verifying_key());
    let first = store.first_signing_key().verifying_key();
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
    // An export made before lacks the newest one, which is kept.
    let later = restored.signing_key_or_create(3, &mut entropy).unwrap();
    assert_ne!(later.verifying_key(), second.verifying_key());
    let before = files(&dir);
    let imported = import(&dir, &export(&store)).unwrap();
    assert_eq!((imported.written, imported.kept), (0, 1));
    assert_eq!(files(&dir), before);
}

#[test]
fn recipients_open_with_their_identities() {
    let (data, store, _) = store();
    let (mine, other) = (Identity::generate(), Identity::generate());
    let to = ExportEncryption::Recipients(vec![other.to_public(), mine.to_public()]);
    let mut file = Vec::new();
    assert_eq!(export_keys(&store, &to, &mut file).unwrap().data_keys, 2);

    let dir = data.path().join("restored");
    let target = KeyImportTarget {
        dir: &dir,
        master_file: Some(&data.path().join("outside")),
        log_id: Some(LOG_ID),
    };
    let mut entropy = Entropy::seeded(51);
    for wrong in [
        ExportDecryption::Identities(vec![Identity::generate()]),
        passphrase().1,
    ] {
        let refused = import_keys(target, &wrong, &file[..], &mut entropy);
        assert!(matches!(refused, Err(SealError::Decrypt(_))));
    }
    let with = ExportDecryption::Identities(vec![mine]);
    import_keys(target, &with, &file[..], &mut entropy).unwrap();
    KeyStore::open(&dir, target.master_file).unwrap();
    let none = export_keys(
        &store,
        &ExportEncryption::Recipients(vec![]),
        &mut Vec::new(),
    );
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
    assert_eq!(
        reopened.command_digest(b"body"),
        store.command_digest(b"body")
    );
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
        Err(SealError::WrongLog { .. })
    ));
    assert_eq!(files(&other), before);
    let fresh = data.path().join("fresh");
    let target = KeyImportTarget {
        dir: &fresh,
        master_file: None,
        log_id: Some([1; 16]),
    };
    let refused = import_keys(target, &passphrase().1, &file[..], &mut entropy);
    assert!(matches!(refused, Err(SealError::WrongLog { .. })));
    assert!(!fresh.exists());

    // Another digest key under the same master.
    for name in ["digest", "signing"] {
        let other = data.path().join("changed");
        KeyStore::create(&other, Some(&dir.join("master")), LOG_ID, &mut entropy).unwrap();
        let changed = data.path().join(format!("with-other-{name}"));
        import(&changed, &file).unwrap();
        fs::copy(dir.join("master"), changed.join("master")).unwrap();
        for same in files(&dir).keys() {
            fs::copy(dir.join(same), changed.join(same)).unwrap();
        }
        fs::copy(other.join(name), changed.join(name)).unwrap();
        let before = files(&changed);
        let refused = import(&changed, &file);
        assert!(matches!(refused, Err(SealError::KeyDiffers { name: at }) if at == name));
        assert_eq!(files(&changed), before);
        fs::remove_dir_all(other).unwrap();
    }
}

#[test]
fn an_older_export_mends_what_is_missing_or_damaged_and_keeps_what_is_newer() {
    let (data, store, mut entropy) = store();
    let dir = data.path().join("keys");
    let file = export(&store);
    let digest = store.command_digest(b"body");
    // Made after the export: new ones, and one in the place of a key that was lost.
    store.create_data_key(id(3), &mut entropy).unwrap();
    fs::remove_file(dir.join(id(2).to_string())).unwrap();
    store
        .replace_unusable_data_key(id(2), &mut entropy)
        .unwrap();
    let newer = [id(2), id(3)].map(|id| fs::read(dir.join(id.to_string())).unwrap());
    for name in ["log", "digest", "signing", &id(1).to_string()] {
        for (how, damage) in DAMAGE {
            damage(&dir.join(name));
            let imported = import(&dir, &file).unwrap();
            let expected = (1, usize::from(how != "missing"), 2);
            let found = (imported.written, imported.replaced, imported.kept);
            assert_eq!(found, expected, "{name}: {how}");
            assert_eq!((imported.damaged, imported.set_aside), (vec![], None));
            let reopened = KeyStore::open(&dir, None).unwrap();
            assert_eq!(reopened.command_digest(b"body"), digest);
            assert!(reopened.data_key(id(1)).unwrap().is_some());
            let kept = [id(2), id(3)].map(|id| fs::read(dir.join(id.to_string())).unwrap());
            assert_eq!(kept, newer);
        }
    }
    // What the export lacks stays damaged, is said so, and is left out of a new export.
    fs::write(dir.join(id(3).to_string()), "").unwrap();
    let imported = import(&dir, &file).unwrap();
    assert_eq!(imported.damaged, [dir.join(id(3).to_string())]);
    let reopened = KeyStore::open(&dir, None).unwrap();
    let exported = export_keys(&reopened, &passphrase().0, &mut Vec::new()).unwrap();
    assert_eq!((exported.data_keys, exported.left_out.len()), (2, 1));
}

#[test]
fn a_lost_master_key_is_named_and_an_import_makes_the_folder_anew() {
    for (how, damage) in DAMAGE {
        let (data, store, _) = store();
        let dir = data.path().join("keys");
        let file = export(&store);
        let master = dir.join("master");
        if how == "one bit" {
            // Still 64 hex digits: another key.
            let text = fs::read_to_string(&master).unwrap();
            let turned = if text.starts_with('0') { "1" } else { "0" };
            fs::write(&master, format!("{turned}{}", &text[1..])).unwrap();
        } else {
            damage(&master);
        }
        let refused = KeyStore::open(&dir, None).unwrap_err().to_string();
        assert!(refused.contains("keys import"), "{how}: {refused}");
        assert!(refused.contains(dir.to_str().unwrap()), "{how}: {refused}");
        let imported = import(&dir, &file).unwrap();
        assert_eq!(
            imported.set_aside,
            Some(data.path().join("keys.unusable-1")),
            "{how}"
        );
        let reopened = KeyStore::open(&dir, None).unwrap();
        assert!(reopened.data_key(id(1)).unwrap().is_some(), "{how}");
    }
}

#[test]
fn a_key_that_can_be_read_is_not_renewed() {
    let (data, store, mut entropy) = store();
    let renewed = store.replace_unusable_data_key(id(1), &mut entropy);
    assert!(matches!(renewed, Err(SealError::DataKeyExists(_))));
    store.destroy_data_key(id(1)).unwrap();
    let renewed = store.replace_unusable_data_key(id(1), &mut entropy);
    assert!(matches!(renewed, Err(SealError::DataKeyExists(_))));
    assert!(!data.path().join("keys").join(id(1).to_string()).exists());
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
        (body.clone(), 5, "the export is cut short"),
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
            "a key is given more than once",
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
            Err(SealError::MalformedExport {
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
    store.destroy_data_key(id(1)).unwrap();
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
