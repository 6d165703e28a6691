//! What people and their browsers present: the token of a link or a session, a password.
//!
//! Owns the plain forms, which hide themselves in `Debug` and are wiped when dropped. A token is in
//! the one answer that made it and in the requests that bring it back; what the ledger keeps is its
//! hash. A password exists in the request that brings it; what the ledger keeps is an argon2id
//! hash, sealed under the member's own data key.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::secret::SecretHash;

/// Characters of a token: 32 random bytes in lower-case hex.
const TOKEN_CHARS: usize = 64;

/// Shortest password, in characters: NIST SP 800-63B, 5.1.1.2. Guesses are slowed down.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password, in bytes: a page of text; hashing starts with one pass over it.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// The token of a sign-in link or a session: 256 random bits that say nothing by themselves.
pub struct OpaqueToken(Zeroizing<String>);

impl OpaqueToken {
    /// Writes a token from 32 random bytes.
    #[must_use]
    pub fn compose(random: &[u8; 32]) -> Self {
        Self(Zeroizing::new(hex::encode(random)))
    }

    /// The plain text, for the one answer that may carry it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the ledger keeps. A plain hash suffices: 256 random bits cannot be guessed.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueToken(hidden)")
    }
}

/// The hash of a presented text that can be a token; `None` for any other text.
#[must_use]
pub fn presented(text: &str) -> Option<SecretHash> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == TOKEN_CHARS && text.bytes().all(hex)).then(|| SecretHash::of(text))
}

/// A token as somebody presented it.
pub struct PresentedToken(Zeroizing<String>);

impl PresentedToken {
    /// Its hash, if it can be a token.
    #[must_use]
    pub fn hash(&self) -> Option<SecretHash> {
        presented(&self.0)
    }
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedToken(hidden)")
    }
}

impl<'de> Deserialize<'de> for PresentedToken {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A password as somebody typed it.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes over a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The plain text, for the hash function.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it may be presented at all: what is longer was never set.
    #[must_use]
    pub fn is_presentable(&self) -> bool {
        self.0.len() <= PASSWORD_BYTES_MAX
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_64_hex_digits_and_no_other_text_is_looked_up() {
        let token = OpaqueToken::compose(&[0xab; 32]);
        assert_eq!(token.reveal(), "ab".repeat(32));
        assert_eq!(presented(token.reveal()), Some(token.hash()));
        for other in [
            "",
            "ab",
            &"AB".repeat(32),
            &"a".repeat(65),
            &"\u{e4}".repeat(32),
        ] {
            assert_eq!(presented(other), None, "{other}");
        }
    }

    #[test]
    fn nothing_secret_in_debug() {
        let text = format!(
            "{:?} {:?}",
            OpaqueToken::compose(&[1; 32]),
            Password::new("hunter22".to_owned())
        );
        assert_eq!(text, "OpaqueToken(hidden) Password(hidden)");
    }

    #[test]
    fn a_password_has_8_characters_and_at_most_1024_bytes() {
        for (text, fine) in [
            ("", false),
            ("1234567", false),
            ("12345678", true),
            ("\u{e4}\u{f6}\u{fc}\u{df}\u{e4}\u{f6}\u{fc}", false),
            (&"x".repeat(1_024), true),
            (&"x".repeat(1_025), false),
        ] {
            let password = Password::new(text.to_owned());
            assert_eq!(password.check().is_ok(), fine, "{text}");
        }
    }
}
