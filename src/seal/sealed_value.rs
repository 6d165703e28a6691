//! The sealed value: its form in a payload and the cipher behind it, XChaCha20-Poly1305.
//!
//! Must
//! never draw a nonce and never look for a key: both are handed in. Text in, sealed value out,
//! and back, bound to one field of one event of one log.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secret::{DataKeyId, SecretBytes, SecretKey};
use super::{OpenedValue, SealError};

/// The longest value that can be sealed: 16 KiB are 21,868 characters with their tag in base64,
/// a third of the longest payload.
pub const SEALED_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Length of a nonce.
pub const SEAL_NONCE_BYTES: usize = 24;

const TAG_BYTES: usize = 16;
const VERSION: u8 = 1;

/// A value that only the holder of its data key can read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedValue {
    /// The data key that opens it.
    pub key_id: DataKeyId,
    /// The nonce it was sealed with.
    pub nonce: [u8; SEAL_NONCE_BYTES],
    /// The ciphertext and its tag.
    pub ciphertext: Vec<u8>,
}

/// The field that a sealed value is bound to; in another one it does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SealContext<'a> {
    /// The log's id.
    pub log_id: [u8; 16],
    /// The event's id as text, `evt_...`.
    pub event_id: &'a str,
    /// The path of the field within the event, such as `data.email` or `actor.network`.
    pub field: &'a str,
}

impl SealContext<'_> {
    /// The associated data: the log id (16 bytes), the length of the event id (u16,
    /// little-endian), the event id, the field path. Each part has a fixed length, a stated one
    /// or the rest, so no two places share their bytes.
    ///
    /// # Panics
    /// When the event id is 64 KiB or longer: an id has 30 characters.
    pub fn associated_data(&self) -> Vec<u8> {
        let event_length = u16::try_from(self.event_id.len()).expect("an event id is short");
        [
            self.log_id.as_slice(),
            event_length.to_le_bytes().as_slice(),
            self.event_id.as_bytes(),
            self.field.as_bytes(),
        ]
        .concat()
    }
}

impl SealedValue {
    /// Seals `plain` under `key`. The nonce must be new for this key.
    ///
    /// # Errors
    /// [`SealError::ValueTooLong`] beyond [`SEALED_VALUE_BYTES_MAX`].
    pub fn seal(
        key_id: DataKeyId,
        key: &SecretKey,
        plain: &[u8],
        nonce: [u8; SEAL_NONCE_BYTES],
        context: SealContext<'_>,
    ) -> Result<Self, SealError> {
        if plain.len() > SEALED_VALUE_BYTES_MAX {
            return Err(SealError::ValueTooLong { bytes: plain.len() });
        }
        let text = encrypt(key, nonce, plain, &context.associated_data());
        Ok(Self {
            key_id,
            nonce,
            ciphertext: text,
        })
    }

    /// Opens the value with its key.
    ///
    /// # Errors
    /// [`SealError::NotAuthentic`] when the text is not what the key sealed in this place.
    pub fn open(
        &self,
        key: &SecretKey,
        context: SealContext<'_>,
    ) -> Result<OpenedValue, SealError> {
        decrypt(
            key,
            self.nonce,
            &self.ciphertext,
            &context.associated_data(),
        )
        .map(|plain| OpenedValue::Plain(SecretBytes::new(plain)))
        .ok_or(SealError::NotAuthentic(self.key_id))
    }
}

/// XChaCha20-Poly1305, tag last.
pub(crate) fn encrypt(
    key: &SecretKey,
    nonce: [u8; SEAL_NONCE_BYTES],
    plain: &[u8],
    aad: &[u8],
) -> Vec<u8> {
    XChaCha20Poly1305::new(key.expose().into())
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad })
        .expect("a value below 2^38 bytes can be encrypted")
}

/// The inverse of [`encrypt`]; `None` when the text does not authenticate.
pub(crate) fn decrypt(
    key: &SecretKey,
    nonce: [u8; SEAL_NONCE_BYTES],
    text: &[u8],
    aad: &[u8],
) -> Option<Vec<u8>> {
    XChaCha20Poly1305::new(key.expose().into())
        .decrypt(&XNonce::from(nonce), Payload { msg: text, aad })
        .ok()
}

/// The form in a payload; the order of the fields is the order of the keys.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Form<'a> {
    sealed: u8,
    key: DataKeyId,
    #[serde(borrow)]
    nonce: Cow<'a, str>,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl Serialize for SealedValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = Form {
            sealed: VERSION,
            key: self.key_id,
            nonce: STANDARD.encode(self.nonce).into(),
            text: STANDARD.encode(&self.ciphertext).into(),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SealedValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Form::deserialize(deserializer)?;
        Self::from_form(&form).map_err(serde::de::Error::custom)
    }
}

impl SealedValue {
    fn from_form(form: &Form<'_>) -> Result<Self, &'static str> {
        if form.sealed != VERSION {
            return Err("a sealed value of another version");
        }
        let nonce = STANDARD.decode(&*form.nonce).ok();
        let nonce = nonce.and_then(|nonce| <[u8; SEAL_NONCE_BYTES]>::try_from(nonce).ok());
        let text = STANDARD.decode(&*form.text).ok();
        let text = text
            .filter(|text| (TAG_BYTES..=SEALED_VALUE_BYTES_MAX + TAG_BYTES).contains(&text.len()));
        Ok(Self {
            key_id: form.key,
            nonce: nonce.ok_or("the nonce is not base64 of 24 bytes")?,
            ciphertext: text.ok_or("the text is not base64 of a sealed text")?,
        })
    }
}
