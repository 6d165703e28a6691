//! What the keys folder and its values promise, through the module's own doors.

mod backup;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::{Signer, Verifier};
use proptest::prelude::*;
use tempfile::TempDir;
use ulid::Ulid;
use zeroize::Zeroizing;

use super::key_export::SCRYPT_WORK_FACTOR_MAX;
use super::sealed_value::SEALED_VALUE_BYTES_MAX;
use super::*;
use crate::clock::Entropy;

const LOG_ID: [u8; 16] = [0xab; 16];
const PLACE: SealContext<'_> = SealContext {
    log_id: LOG_ID,
    event_id: "evt_01H2XA9C000000000000000000",
    field: "data.email",
};
const NONCE: [u8; 24] = [7; 24];

fn id(number: u128) -> DataKeyId {
    DataKeyId::new(Ulid::from_parts(1_700_000_000_000, number))
}

fn fixed_key() -> SecretKey {
    SecretKey::new(Zeroizing::new([0x42; 32]))
}

/// A data folder with a keys folder in it that has the data keys 1 and 2.
fn store() -> (TempDir, KeyStore, Entropy) {
    let data = tempfile::tempdir().unwrap();
    let mut entropy = Entropy::seeded(1);
    let dir = data.path().join("keys");
    let store = KeyStore::create(&dir, None, LOG_ID, &mut entropy).unwrap();
    for number in [1, 2] {
        store.create_data_key(id(number), &mut entropy).unwrap();
    }
    (data, store, entropy)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A way to damage the file of a key.
type Damage = (&'static str, fn(&Path));

/// Damages the file of a key in every way.
pub(crate) const DAMAGE: [Damage; 8] = [
    ("missing", |file| fs::remove_file(file).unwrap()),
    ("empty", |file| fs::write(file, b"").unwrap()),
    ("truncated", |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("one bit", |file| {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    }),
    ("too long", |file| {
        fs::write(file, vec![b'a'; 5_000]).unwrap();
    }),
    ("not text", |file| fs::write(file, [0xff; 250]).unwrap()),
    ("of another key", |file| {
        let others = ["digest", "signing"].map(|name| file.with_file_name(name));
        let other = others.iter().find(|other| *other != file).unwrap();
        fs::copy(other, file).unwrap();
    }),
    ("a folder", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }),
];

fn text(opened: OpenedValue) -> Vec<u8> {
    match opened {
        OpenedValue::Plain(text) => text.expose().to_vec(),
        OpenedValue::Erased | OpenedValue::KeyMissing => panic!("{opened:?}"),
    }
}

#[test]
fn the_form_in_a_payload_is_pinned() {
    let key = fixed_key();
    let sealed = SealedValue::seal(id(1), &key, b"ann@example.org", NONCE, PLACE).unwrap();
    let json = concat!(
        r#"{"sealed":1,"key":"dk_01HF7YAT000000000000000001","#,
        r#""nonce":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH","#,
        r#""text":"lmLrKAY5/845yJhlKr9nZfgvEHDCCBtqLnn17geQIg=="}"#
    );
    assert_eq!(serde_json::to_string(&sealed).unwrap(), json);
    assert_eq!(serde_json::from_str::<SealedValue>(json).unwrap(), sealed);
    let opened = sealed.open(&key, PLACE).unwrap();
    assert_eq!(text(opened), b"ann@example.org");

    for (from, to) in [
        (r#""sealed":1"#, r#""sealed":2"#),
        (r#""sealed":1"#, r#""sealed":"1""#),
        (r#""sealed":1,"#, ""),
        (r#""sealed":1"#, r#""sealed":1,"more":null"#),
        ("dk_01HF", "dk_01hf"),
        ("dk_01HF", "../01HF"),
        ("BwcHBwcH", ""),
        ("BwcHBwcH", "Bwc!BwcH"),
        (r#""text":"l"#, r#""text":"=l"#),
    ] {
        let other = json.replacen(from, to, 1);
        assert_ne!(other, json);
        assert!(
            serde_json::from_str::<SealedValue>(&other).is_err(),
            "{other}"
        );
    }
    let short = r#"{"sealed":1,"key":"dk_01HF7YAT000000000000000001","nonce":
        "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH","text":"AAAA"}"#;
    assert!(serde_json::from_str::<SealedValue>(short).is_err());
}

#[test]
fn the_associated_data_is_pinned() {
    let place = SealContext {
        log_id: LOG_ID,
        event_id: "evt_1",
        field: "actor.network",
    };
    let expected = [&[0xab; 16][..], b"\x05\0evt_1actor.network"].concat();
    assert_eq!(place.associated_data(), expected);
}

#[test]
fn a_value_opens_in_its_own_place_alone() {
    let (_data, store, _) = store();
    let sealed = store.seal(id(1), b"ann", NONCE, PLACE).unwrap();
    assert_eq!(text(store.open_sealed(&sealed, PLACE).unwrap()), b"ann");

    let elsewhere = [
        SealContext {
            log_id: [0; 16],
            ..PLACE
        },
        SealContext {
            event_id: "evt_01H2XA9C000000000000000001",
            ..PLACE
        },
        SealContext {
            field: "data.name",
            ..PLACE
        },
        // The same characters, divided otherwise.
        SealContext {
            event_id: "evt_01H2XA9C00000000000000000",
            field: "0data.email",
            ..PLACE
        },
    ];
    for place in elsewhere {
        let opened = store.open_sealed(&sealed, place);
        assert!(
            matches!(opened, Err(SealError::NotAuthentic(key)) if key == id(1)),
            "{place:?}"
        );
    }
    let mut changed = sealed.clone();
    changed.nonce[0] ^= 1;
    assert!(store.open_sealed(&changed, PLACE).is_err());
    let mut changed = sealed.clone();
    changed.ciphertext[0] ^= 1;
    assert!(store.open_sealed(&changed, PLACE).is_err());
    let mut changed = sealed;
    changed.key_id = id(2);
    assert!(store.open_sealed(&changed, PLACE).is_err());
}

#[test]
fn a_value_has_a_longest_length() {
    let (_data, store, _) = store();
    let longest = vec![1; SEALED_VALUE_BYTES_MAX];
    let sealed = store.seal(id(1), &longest, NONCE, PLACE).unwrap();
    let json = serde_json::to_string(&sealed).unwrap();
    assert_eq!(serde_json::from_str::<SealedValue>(&json).unwrap(), sealed);
    let beyond = vec![1; SEALED_VALUE_BYTES_MAX + 1];
    let refused = store.seal(id(1), &beyond, NONCE, PLACE);
    assert!(matches!(refused, Err(SealError::ValueTooLong { .. })));
}

#[test]
fn a_destroyed_key_erases_and_stays_destroyed() {
    let (data, store, mut entropy) = store();
    let sealed = store.seal(id(1), b"ann", NONCE, PLACE).unwrap();
    store.destroy_data_key(id(1)).unwrap();
    store.destroy_data_key(id(1)).unwrap();
    assert_eq!(
        store.open_sealed(&sealed, PLACE).unwrap(),
        OpenedValue::Erased
    );
    let refused = store.seal(id(1), b"ann", NONCE, PLACE);
    assert!(matches!(refused, Err(SealError::KeyUnavailable(key)) if key == id(1)));
    assert_eq!(store.list_data_key_ids().unwrap(), [id(2)]);

    let dir = data.path().join("keys");
    let reopened = KeyStore::open(&dir, None).unwrap();
    let opened = |store: &KeyStore| store.open_sealed(&sealed, PLACE).unwrap();
    // Only the log knows whether a key that is not there was destroyed.
    assert_eq!(opened(&reopened), OpenedValue::KeyMissing);
    reopened.mark_data_keys_destroyed([id(1)]);
    assert_eq!(opened(&reopened), OpenedValue::Erased);
    assert!(reopened.data_key(id(2)).unwrap().is_some());
    let refused = reopened.create_data_key(id(2), &mut entropy);
    assert!(matches!(refused, Err(SealError::DataKeyExists(_))));
}

#[test]
fn a_lost_folder_is_no_erasure() {
    let (data, store, _) = store();
    fs::rename(data.path().join("keys"), data.path().join("away")).unwrap();
    let lost = store.data_key(id(3));
    assert!(matches!(lost, Err(SealError::FolderMissing { .. })));
    let lost = KeyStore::open(&data.path().join("keys"), None);
    assert!(matches!(lost, Err(SealError::FolderMissing { .. })));
}

#[test]
fn everything_survives_a_restart() {
    let (data, store, _) = store();
    let sealed = store.seal(id(1), b"ann", NONCE, PLACE).unwrap();
    let signature = store.first_signing_key().sign(b"note");
    let reopened = KeyStore::open(&data.path().join("keys"), None).unwrap();
    assert_eq!(reopened.log_id(), LOG_ID);
    assert_eq!(text(reopened.open_sealed(&sealed, PLACE).unwrap()), b"ann");
    let verifying = reopened.first_signing_key().verifying_key();
    verifying.verify(b"note", &signature).unwrap();
    assert_eq!(
        reopened.command_digest(b"body"),
        store.command_digest(b"body")
    );
    assert_ne!(
        reopened.command_digest(b"body"),
        store.command_digest(b"other")
    );
}

#[test]
fn only_the_owner_may_read() {
    let (data, _store, _) = store();
    let dir = data.path().join("keys");
    assert_eq!(mode(&dir), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        files += 1;
    }
    assert_eq!(files, 6, "master, log, signing, digest and two data keys");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
    KeyStore::open(&dir, None).unwrap();
    assert_eq!(mode(&dir), 0o700, "set back");
}

#[test]
fn a_folder_in_use_is_not_created_again() {
    let (data, _store, mut entropy) = store();
    let refused = KeyStore::create(&data.path().join("keys"), None, LOG_ID, &mut entropy);
    assert!(matches!(refused, Err(SealError::FolderNotEmpty { .. })));
}

#[test]
fn the_master_key_may_lie_outside() {
    let data = tempfile::tempdir().unwrap();
    let (dir, master) = (data.path().join("keys"), data.path().join("elsewhere"));
    let mut entropy = Entropy::seeded(3);
    KeyStore::create(&dir, Some(&master), LOG_ID, &mut entropy).unwrap();
    assert_eq!(mode(&master), 0o600);
    assert!(!dir.join("master").exists());
    KeyStore::open(&dir, Some(&master)).unwrap();
    let refused = KeyStore::open(&dir, None);
    assert!(matches!(refused, Err(SealError::FileMissing { .. })));

    fs::set_permissions(&master, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = KeyStore::open(&dir, Some(&master));
    assert!(matches!(
        refused,
        Err(SealError::ModeTooOpen { mode: 0o644, .. })
    ));
}

#[test]
fn each_trouble_has_its_own_error() {
    let (data, _store, _) = store();
    let dir = data.path().join("keys");
    let master = fs::read(dir.join("master")).unwrap();
    fs::write(dir.join("master"), format!("{}\n", "5".repeat(64))).unwrap();
    let refused = KeyStore::open(&dir, None);
    assert!(matches!(refused, Err(SealError::WrongMasterKey { .. })));
    fs::write(dir.join("master"), "short\n").unwrap();
    assert!(matches!(
        KeyStore::open(&dir, None),
        Err(SealError::Damaged { .. })
    ));
    fs::write(dir.join("master"), master).unwrap();

    // One bit of any byte of any file is noticed, and the file is named.
    let whole = fs::read(dir.join("signing")).unwrap();
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        fs::write(dir.join("signing"), bytes).unwrap();
        match KeyStore::open(&dir, None) {
            Err(SealError::Damaged { path, .. }) => assert!(path.ends_with("signing")),
            other => panic!("byte {index}: {other:?}"),
        }
    }
    fs::write(dir.join("signing"), b"").unwrap();
    assert!(matches!(
        KeyStore::open(&dir, None),
        Err(SealError::Damaged { .. })
    ));
    fs::remove_file(dir.join("signing")).unwrap();
    let missing = KeyStore::open(&dir, None);
    assert!(matches!(missing, Err(SealError::FileMissing { path }) if path.ends_with("signing")));
    fs::write(dir.join("signing"), whole).unwrap();

    // A key file under another name is not that key.
    fs::copy(dir.join(id(1).to_string()), dir.join(id(9).to_string())).unwrap();
    let store = KeyStore::open(&dir, None).unwrap();
    assert!(matches!(
        store.data_key(id(9)),
        Err(SealError::Damaged { .. })
    ));
}

#[test]
fn opening_reads_no_data_key() {
    let (data, _store, _) = store();
    let dir = data.path().join("keys");
    fs::write(dir.join(id(1).to_string()), b"rubbish").unwrap();
    let store = KeyStore::open(&dir, None).unwrap();
    assert!(store.data_key(id(2)).unwrap().is_some());
    assert!(matches!(
        store.data_key(id(1)),
        Err(SealError::Damaged { .. })
    ));
}

#[test]
fn leftovers_go_and_keys_stay() {
    let (data, store, _) = store();
    let dir = data.path().join("keys");
    fs::write(dir.join(".tmp-dk_x"), b"half").unwrap();
    fs::create_dir(data.path().join(".keys.new")).unwrap();
    store.remove_leftovers().unwrap();
    assert!(!dir.join(".tmp-dk_x").exists());
    assert!(!data.path().join(".keys.new").exists());
    assert_eq!(store.list_data_key_ids().unwrap(), [id(1), id(2)]);
}

#[test]
fn debug_shows_no_secret() {
    let (data, store, _) = store();
    let key = store.data_key(id(1)).unwrap().unwrap();
    let opened = OpenedValue::Plain(SecretBytes::new(b"hunter2".to_vec()));
    let passphrase = ExportEncryption::Passphrase {
        passphrase: "hunter2".into(),
        work_factor: SCRYPT_WORK_FACTOR_MAX,
    };
    let shown = format!(
        "{store:?} {key:?} {opened:?} {passphrase:?} {:?} {:?}",
        ExportDecryption::Passphrase("hunter2".into()),
        Entropy::seeded(4_242),
    );
    let master = fs::read_to_string(data.path().join("keys/master")).unwrap();
    for secret in [
        "hunter2",
        master.trim(),
        &hex::encode(key.expose()),
        &format!("{:?}", key.expose()),
        &hex::encode(store.first_signing_key().to_bytes()),
        &format!("{:?}", store.first_signing_key().to_bytes()),
        "4242",
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn threads_share_a_store() {
    let (_data, store, _) = store();
    let store = Arc::new(store);
    let sealed = store.seal(id(1), b"ann", NONCE, PLACE).unwrap();
    std::thread::scope(|scope| {
        for number in 10..14 {
            let (store, sealed) = (Arc::clone(&store), &sealed);
            scope.spawn(move || {
                let mut entropy = Entropy::seeded(99);
                store.create_data_key(id(number), &mut entropy).unwrap();
                assert_eq!(text(store.open_sealed(sealed, PLACE).unwrap()), b"ann");
                store.destroy_data_key(id(number)).unwrap();
                assert!(store.data_key(id(number)).unwrap().is_none());
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens(plain: Vec<u8>, nonce: [u8; 24], field in "[a-z.]{0,40}") {
        let key = fixed_key();
        let place = SealContext { field: &field, ..PLACE };
        let sealed = SealedValue::seal(id(1), &key, &plain, nonce, place).unwrap();
        let json = serde_json::to_string(&sealed).unwrap();
        let back: SealedValue = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(text(back.open(&key, place).unwrap()), plain);
    }

    #[test]
    fn data_key_ids_have_one_spelling(text in "dk_[0-9A-Za-z]{26}|.{0,40}") {
        if let Ok(id) = text.parse::<DataKeyId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
