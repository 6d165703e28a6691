//! Cursors and ids that do not reveal where a record is.
//!
//! Owns their form. Numbers of a stream that all tenants share would show each of them how much
//! the others do: they leave under a key that is random and stays with the stream. The same
//! numbers have the same text, a text of another key or another record's is refused. Pure.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const NUMBERS_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// The key of a stream's cursors.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) struct CursorKey(pub(crate) [u8; KEY_BYTES]);

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey(..)")
    }
}

impl CursorKey {
    /// Whether a text has the form of a cursor, of whatever key.
    pub(crate) fn has_cursor_form(text: &str) -> bool {
        let decoded = URL_SAFE_NO_PAD.decode(text);
        decoded.is_ok_and(|bytes| bytes.len() == NONCE_BYTES + NUMBERS_BYTES + TAG_BYTES)
    }

    /// 32 bytes that only a holder of the key can tell from random ones.
    pub(crate) fn keyed_digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        // A key of any length is one of HMAC's.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0) else {
            return [0; 32];
        };
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        let key = self.keyed_digest(&[b"cursor key"]);
        ChaCha20Poly1305::new(&Key::from(key))
    }

    /// The text of two numbers, for one record's list alone.
    pub(crate) fn seal_numbers(&self, list: &[u8], numbers: [u64; 2]) -> String {
        let [first, second] = numbers.map(u64::to_le_bytes);
        let plain = [first, second].concat();
        let digest = self.keyed_digest(&[b"cursor", list, &plain]);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(digest.split_at(NONCE_BYTES).0);
        let payload = Payload {
            msg: &plain,
            aad: list,
        };
        // 16 bytes are never too many.
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload);
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed.unwrap_or_default());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The numbers of a text that was made for this list.
    pub(crate) fn open_numbers(&self, list: &[u8], text: &str) -> Option<[u64; 2]> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: sealed,
            aad: list,
        };
        let plain = self.cipher().decrypt(&Nonce::from(*nonce), payload).ok()?;
        let plain: [u8; NUMBERS_BYTES] = plain.try_into().ok()?;
        let (first, second) = plain.split_first_chunk::<8>()?;
        Some([
            u64::from_le_bytes(*first),
            u64::from_le_bytes(second.try_into().ok()?),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_under_its_key_for_its_list_alone_and_whole() {
        let (key, other) = (CursorKey([1; 32]), CursorKey([2; 32]));
        for numbers in [[0, 0], [1, 2], [u64::MAX, 7]] {
            let text = key.seal_numbers(b"a", numbers);
            assert_eq!(text, key.seal_numbers(b"a", numbers));
            assert!(CursorKey::has_cursor_form(&text) && !CursorKey::has_cursor_form(&text[1..]));
            assert_eq!(key.open_numbers(b"a", &text), Some(numbers));
            assert_eq!(key.open_numbers(b"b", &text), None);
            assert_eq!(other.open_numbers(b"a", &text), None);
            for at in 0..text.len() {
                assert_eq!(key.open_numbers(b"a", &text[..at]), None);
                let mut forged = text.clone().into_bytes();
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                let forged = String::from_utf8(forged).unwrap();
                assert_eq!(key.open_numbers(b"a", &forged), None, "{at}");
            }
        }
        for text in [
            "",
            "3",
            "ffffffffffffffff",
            "\u{e9}",
            "AAAA",
            &"A".repeat(9_999),
        ] {
            assert_eq!(key.open_numbers(b"a", text), None, "{text}");
        }
        assert_ne!(
            key.seal_numbers(b"a", [1, 2]),
            key.seal_numbers(b"a", [1, 3])
        );
        assert_eq!(format!("{key:?}"), "CursorKey(..)");
    }
}
