//! Signatures against values made by other programs: Python's `hmac` and `cryptography`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};

use crate::domain::webhook_signature::*;

const EVENT: &str = "evt_01H2XA9CKEB7WZG8RMN2KPQV7D";
/// The secret of the standard's own tests.
const OFFICIAL: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// The bytes 0 to 31, as a secret, as a key pair and its public key.
const COUNTED: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PAIR: &str = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\
    DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
const PUBLIC: &str = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

const BY_OFFICIAL: &str = "v1,qKMU6wA+0dbSPIu4YfcloPRB2UY2s6twQGrhcaZWYpM=";
const BY_COUNTED: &str = "v1,tWU0EOo7YSOcFXlqdoDYoQetVNbsjsb1skzB6T8Nz98=";
const BY_PAIR: &str = "v1a,Qqmhykc0ll9+Nuw9jnKYwv04sKKoA0v6gHBQRbNbDvO5tEZcae9YNiPTA+/PoRXxISPm\
    oMio6DcWRqOPnNfWCg==";

/// The header that these keys make.
fn header(keys: &[&str], id: &str, timestamp_s: i64, body: &str) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| SigningKey::parse(key).unwrap())
        .collect();
    signature(&keys, id, timestamp_s, body.as_bytes())
}

#[test]
fn signatures_are_those_of_other_programs() {
    let standard = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let shared = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (key, id, timestamp_s, body, expected) in [
        // The example of the standard.
        (
            shared,
            standard,
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            OFFICIAL,
            standard,
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,78nXHjpFP0tVJQW5D0SBwmVyyW87BV/rL6MgfM/Bw44=",
        ),
        (OFFICIAL, EVENT, 1_700_000_000, r#"{"id":"x"}"#, BY_OFFICIAL),
        (
            OFFICIAL,
            EVENT,
            1_700_000_000,
            "",
            "v1,AbOVoOWzld4osoq6zTotpjwZi2ZXKDchWV72ITIYLF0=",
        ),
        (COUNTED, EVENT, 1_700_000_000, r#"{"id":"x"}"#, BY_COUNTED),
        (PAIR, EVENT, 1_700_000_000, r#"{"id":"x"}"#, BY_PAIR),
    ] {
        let made = header(&[key], id, timestamp_s, body);
        assert_eq!(made, expected, "{id} {timestamp_s} {body}");
    }
}

#[test]
fn during_a_rotation_every_key_signs() {
    let made = header(
        &[COUNTED, OFFICIAL, PAIR],
        EVENT,
        1_700_000_000,
        r#"{"id":"x"}"#,
    );
    assert_eq!(made, format!("{BY_COUNTED} {BY_OFFICIAL} {BY_PAIR}"));
    assert_eq!(header(&[], EVENT, 0, ""), "");
}

#[test]
fn a_receiver_verifies_v1a_by_the_public_key_alone() {
    let public = STANDARD
        .decode(PUBLIC.strip_prefix("whpk_").unwrap())
        .unwrap();
    let public = VerifyingKey::from_bytes(&public.try_into().unwrap()).unwrap();
    let made = header(&[PAIR], EVENT, 1_700_000_000, r#"{"id":"x"}"#);
    let made = STANDARD.decode(made.strip_prefix("v1a,").unwrap()).unwrap();
    let made = Signature::from_slice(&made).unwrap();
    for (signed, expected) in [
        (r#"1700000000.{"id":"x"}"#, true),
        (r#"1700000001.{"id":"x"}"#, false),
        (r#"1700000000.{"id": "x"}"#, false),
    ] {
        let message = format!("{EVENT}.{signed}");
        assert_eq!(
            public.verify(message.as_bytes(), &made).is_ok(),
            expected,
            "{signed}"
        );
    }
}

#[test]
fn keys_have_one_text_and_hide_themselves() {
    let counted: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    for (key, text, public, debug) in [
        (SigningKey::v1(&counted), COUNTED, None, "V1(..)"),
        (SigningKey::v1a(&counted), PAIR, Some(PUBLIC), "V1a(..)"),
    ] {
        assert_eq!(*key.secret_text(), text);
        assert_eq!(*SigningKey::parse(text).unwrap().secret_text(), text);
        assert_eq!(key.public_text().as_deref(), public);
        assert_eq!(format!("{key:?}"), debug);
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let secret = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
    let private = |bytes: usize| format!("whsk_{}", STANDARD.encode(vec![7; bytes]));
    for bytes in [24, 32, 64] {
        assert!(SigningKey::parse(&secret(bytes)).is_ok(), "{bytes}");
    }
    for (text, expected) in [
        (String::new(), InvalidKey::Prefix),
        (
            "C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned(),
            InvalidKey::Prefix,
        ),
        (OFFICIAL.to_uppercase(), InvalidKey::Prefix),
        (PUBLIC.to_owned(), InvalidKey::Prefix),
        (secret(0), InvalidKey::SecretLength(0)),
        (secret(23), InvalidKey::SecretLength(23)),
        (secret(65), InvalidKey::SecretLength(65)),
        (private(32), InvalidKey::PrivateLength(32)),
        (private(63), InvalidKey::PrivateLength(63)),
        (private(65), InvalidKey::PrivateLength(65)),
        (private(64), InvalidKey::PublicHalf),
        (format!("{OFFICIAL} "), InvalidKey::Base64),
        (COUNTED.trim_end_matches('=').to_owned(), InvalidKey::Base64),
        (
            "whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD".to_owned(),
            InvalidKey::Base64,
        ),
        ("whsec_\u{e9}".to_owned(), InvalidKey::Base64),
    ] {
        assert_eq!(SigningKey::parse(&text).unwrap_err(), expected, "{text}");
    }
}
