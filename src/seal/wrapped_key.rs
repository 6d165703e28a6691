//! The form of one key file, and the master key that wraps it. Must never touch the disk itself.
//!
//! A wrapped key is five lines of text, each ended by a line feed:
//!
//! ```text
//! keyledger-key 1
//! master <16 hex: which master key wrapped it>
//! nonce <48 hex>
//! text <hex: XChaCha20-Poly1305 of the secret, its tag last; associated data = the file's name>
//! check <8 hex: CRC-32 of all bytes above>
//! ```
//!
//! The checksum distinguishes a damaged file from one of another master key. The master key's own
//! file is 64 hex and a line feed.

use std::fmt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::SealError;
use super::sealed_value::{SEAL_NONCE_BYTES, decrypt, encrypt};
use super::secret::{DataKeyId, SecretKey};

const MARK_LABEL: &[u8] = b"keyledger master key mark 1";

/// A key with a file of its own; `Display` is the file's name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum KeyFileName {
    /// The key of the idempotency digests.
    Digest,
    /// The Ed25519 seed of the checkpoints' signatures, counted from 1.
    Signing(u32),
    Data(DataKeyId),
}

/// The signing key that a ledger begins with.
pub(super) const FIRST_SIGNING_KEY: KeyFileName = KeyFileName::Signing(1);

impl KeyFileName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "digest" => Some(Self::Digest),
            "signing" => Some(FIRST_SIGNING_KEY),
            other => match other.strip_prefix("signing-") {
                Some(number) => {
                    // One key has one name: no zero ahead, and no number for the first.
                    let number = number.parse().ok().filter(|number| *number > 1)?;
                    let name = Self::Signing(number);
                    (name.to_string() == other).then_some(name)
                }
                None => other.parse().ok().map(Self::Data),
            },
        }
    }
}

impl fmt::Display for KeyFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest => f.write_str("digest"),
            Self::Signing(1) => f.write_str("signing"),
            Self::Signing(number) => write!(f, "signing-{number}"),
            Self::Data(id) => id.fmt(f),
        }
    }
}

/// The key that wraps all others.
#[derive(Debug)]
pub(super) struct MasterKey {
    key: SecretKey,
    /// Identifies the key without revealing anything about it.
    mark: String,
}

impl MasterKey {
    pub(super) fn new(key: SecretKey) -> Self {
        let mark = hmac_sha256(&key, MARK_LABEL);
        let mark = mark.iter().take(8).map(|byte| format!("{byte:02x}"));
        Self {
            mark: mark.collect(),
            key,
        }
    }

    /// Reads the text of a master key file.
    pub(super) fn parse_file_text(path: &Path, text: &[u8]) -> Result<Self, SealError> {
        let digits = text.strip_suffix(b"\n").unwrap_or(text);
        let mut key = Zeroizing::new([0; 32]);
        match hex::decode_to_slice(digits, key.as_mut_slice()) {
            Ok(()) => Ok(Self::new(SecretKey::new(key))),
            Err(_) => Err(SealError::damaged(path, "a master key is 64 hex digits")),
        }
    }

    /// The text of a master key file.
    pub(super) fn to_file_text(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(hex::encode(self.key.expose()));
        // A string that grows leaves its old copy in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(digits.len() + 1));
        text.push_str(&digits);
        text.push('\n');
        text
    }

    /// The text of the file `name` that holds `secret`.
    pub(super) fn wrap_secret(
        &self,
        name: &str,
        secret: &[u8],
        nonce: [u8; SEAL_NONCE_BYTES],
    ) -> String {
        let text = encrypt(&self.key, nonce, secret, name.as_bytes());
        let body = format!(
            "keyledger-key 1\nmaster {}\nnonce {}\ntext {}\n",
            self.mark,
            hex::encode(nonce),
            hex::encode(text)
        );
        let check = crc32fast::hash(body.as_bytes());
        format!("{body}check {check:08x}\n")
    }

    /// The `N` bytes of secret in the file `name` at `path`.
    pub(super) fn unwrap_secret<const N: usize>(
        &self,
        path: &Path,
        name: &str,
        text: &[u8],
    ) -> Result<Zeroizing<[u8; N]>, SealError> {
        let damaged = |what| SealError::damaged(path, what);
        let body = checked_file_body(path, text)?;
        let mut lines = body.lines();
        if lines.next() != Some("keyledger-key 1") {
            return Err(damaged("another version of key file"));
        }
        let mut field = |label: &str| lines.next().and_then(|line| line.strip_prefix(label));
        if field("master ").ok_or_else(|| damaged("no master line"))? != self.mark {
            return Err(SealError::WrongMasterKey {
                path: path.to_path_buf(),
            });
        }
        let mut nonce = [0; SEAL_NONCE_BYTES];
        let digits = field("nonce ").ok_or_else(|| damaged("no nonce line"))?;
        if hex::decode_to_slice(digits, &mut nonce).is_err() {
            return Err(damaged("the nonce is not hex"));
        }
        let digits = field("text ").ok_or_else(|| damaged("no text line"))?;
        let sealed = hex::decode(digits).ok();
        let sealed = sealed.ok_or_else(|| damaged("the text is not hex"))?;
        let plain = decrypt(&self.key, nonce, &sealed, name.as_bytes()).map(Zeroizing::new);
        let plain = plain.ok_or_else(|| damaged("the text does not authenticate"))?;
        let mut secret = Zeroizing::new([0; N]);
        if plain.len() != N {
            return Err(damaged("the secret has another length"));
        }
        secret.copy_from_slice(&plain);
        Ok(secret)
    }
}

/// The lines of a key file above its checksum, which fits them.
pub(super) fn checked_file_body<'a>(path: &Path, text: &'a [u8]) -> Result<&'a str, SealError> {
    let damaged = |what| SealError::damaged(path, what);
    let text = std::str::from_utf8(text).ok();
    let text = text.ok_or_else(|| damaged("not text"))?;
    let (body, check) = text
        .strip_suffix('\n')
        .and_then(|text| text.rsplit_once("check "))
        .ok_or_else(|| damaged("no checksum"))?;
    if format!("{:08x}", crc32fast::hash(body.as_bytes())) != check {
        return Err(damaged("the checksum does not fit"));
    }
    Ok(body)
}

/// HMAC-SHA-256.
pub(super) fn hmac_sha256(key: &SecretKey, bytes: &[u8]) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of every length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_name() {
        for name in ["digest", "signing", "signing-2", "signing-10"] {
            assert_eq!(KeyFileName::parse(name).unwrap().to_string(), name);
        }
        for wrong in [
            "",
            "signing-",
            "signing-0",
            "signing-1",
            "signing-02",
            "signing-+2",
            "log",
        ] {
            assert_eq!(KeyFileName::parse(wrong), None, "{wrong}");
        }
    }
}
