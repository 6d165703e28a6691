//! Signatures of Standard Webhooks 1.0.0: what a receiver checks that a delivery is ours by.
//!
//! Owns the signing keys' forms and the `webhook-signature` header. What is signed is
//! `<webhook-id>.<webhook-timestamp>.<body>`, the body being the very bytes that are sent. Must
//! never show a secret in `Debug`, nor draw randomness: new keys are made of bytes handed in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{SECRET_KEY_LENGTH, Signer};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

/// The shortest shared secret, as the standard has it.
pub const SECRET_BYTES_MIN: usize = 24;
/// The longest shared secret, as the standard has it.
pub const SECRET_BYTES_MAX: usize = 64;

/// What stands before a shared secret.
const SECRET_PREFIX: &str = "whsec_";
/// What stands before a private key.
const PRIVATE_PREFIX: &str = "whsk_";
/// What stands before a public key.
const PUBLIC_PREFIX: &str = "whpk_";

/// What deliveries to an endpoint are signed with.
#[derive(Clone)]
pub enum SigningKey {
    /// `v1`: HMAC-SHA256 by a secret that the receiver has too.
    V1(Zeroizing<Vec<u8>>),
    /// `v1a`: Ed25519; the receiver has the public key.
    V1a(Box<ed25519_dalek::SigningKey>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1(_) => "V1(..)",
            Self::V1a(_) => "V1a(..)",
        })
    }
}

/// Why a text is no signing key; it never quotes the text.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum InvalidKey {
    /// It begins with neither prefix.
    #[error("a signing secret begins with whsec_, a private key with whsk_")]
    Prefix,
    /// What follows is not base64.
    #[error("what follows the prefix is not standard base64 with its padding")]
    Base64,
    /// A shared secret is too short or too long.
    #[error("a signing secret has 24 to 64 bytes, this one {0}")]
    SecretLength(usize),
    /// A private key has another length.
    #[error("a private key has 64 bytes, the seed and then the public key, this one {0}")]
    PrivateLength(usize),
    /// The two halves of a private key do not go together.
    #[error("the public half of the private key is not that of its seed")]
    PublicHalf,
}

impl SigningKey {
    /// A shared secret of 32 random bytes.
    #[must_use]
    pub fn v1(random: &[u8; 32]) -> Self {
        Self::V1(Zeroizing::new(random.to_vec()))
    }

    /// A key pair of 32 random bytes, its seed.
    #[must_use]
    pub fn v1a(random: &[u8; SECRET_KEY_LENGTH]) -> Self {
        Self::V1a(Box::new(ed25519_dalek::SigningKey::from_bytes(random)))
    }

    /// Reads `whsec_` with the base64 of 24 to 64 bytes, or `whsk_` with that of a seed and its
    /// public key.
    ///
    /// # Errors
    /// [`InvalidKey`], which says what is wrong without quoting it.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if let Some(text) = text.strip_prefix(SECRET_PREFIX) {
            let secret = decode(text)?;
            if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
                return Err(InvalidKey::SecretLength(secret.len()));
            }
            return Ok(Self::V1(secret));
        }
        let text = text.strip_prefix(PRIVATE_PREFIX);
        let pair = decode(text.ok_or(InvalidKey::Prefix)?)?;
        let halves = pair.split_first_chunk::<SECRET_KEY_LENGTH>();
        match halves {
            Some((seed, public)) if public.len() == SECRET_KEY_LENGTH => {
                let key = ed25519_dalek::SigningKey::from_bytes(seed);
                if key.verifying_key().as_bytes() != public {
                    return Err(InvalidKey::PublicHalf);
                }
                Ok(Self::V1a(Box::new(key)))
            }
            Some(_) | None => Err(InvalidKey::PrivateLength(pair.len())),
        }
    }

    /// `whsec_...` or `whsk_...`, for the one answer that may carry it and for sealing.
    #[must_use]
    pub fn secret_text(&self) -> Zeroizing<String> {
        match self {
            Self::V1(secret) => encode(SECRET_PREFIX, secret),
            Self::V1a(key) => encode(PRIVATE_PREFIX, &*Zeroizing::new(key.to_keypair_bytes())),
        }
    }

    /// `whpk_...`, which anyone may see; a shared secret has none.
    #[must_use]
    pub fn public_text(&self) -> Option<String> {
        match self {
            Self::V1(_) => None,
            Self::V1a(key) => {
                let public = STANDARD.encode(key.verifying_key().as_bytes());
                Some(format!("{PUBLIC_PREFIX}{public}"))
            }
        }
    }

    /// `v1` or `v1a`, as the API and the header call it.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        match self {
            Self::V1(_) => "v1",
            Self::V1a(_) => "v1a",
        }
    }

    /// The signature over `prefix` and then `body`.
    fn sign(&self, prefix: &str, body: &[u8]) -> String {
        match self {
            Self::V1(secret) => {
                let mac = Hmac::<Sha256>::new_from_slice(secret);
                let mut mac = mac.expect("HMAC takes a key of any length");
                mac.update(prefix.as_bytes());
                mac.update(body);
                STANDARD.encode(mac.finalize().into_bytes())
            }
            Self::V1a(key) => {
                let message = [prefix.as_bytes(), body].concat();
                STANDARD.encode(key.sign(&message).to_bytes())
            }
        }
    }
}

/// The value of `webhook-signature`: one signature by each key, in their order, so that a receiver
/// with either the new or the old secret of a rotation finds its own.
///
/// `id` is the delivery's `webhook-id` and has no full stop; `timestamp_s` is the attempt's time.
#[must_use]
pub fn signature(keys: &[SigningKey], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    debug_assert!(
        !id.contains('.'),
        "a full stop ends the id in what is signed"
    );
    let prefix = format!("{id}.{timestamp_s}.");
    let mut header = String::new();
    for key in keys {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str(key.scheme());
        header.push(',');
        header.push_str(&key.sign(&prefix, body));
    }
    header
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
    let bytes = STANDARD.decode(text).map(Zeroizing::new);
    bytes.map_err(|_form| InvalidKey::Base64)
}

fn encode(prefix: &str, bytes: &[u8]) -> Zeroizing<String> {
    // With room for all of it, so that no copy is left behind by growing.
    let mut text = String::with_capacity(prefix.len() + bytes.len().div_ceil(3) * 4);
    text.push_str(prefix);
    STANDARD.encode_string(bytes, &mut text);
    Zeroizing::new(text)
}
