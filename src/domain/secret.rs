//! The token: what a client presents, and the hash that is all the ledger keeps of it.
//!
//! Form, frozen for ever:
//!
//! ```text
//! <prefix>_<ULID of the secret, 26>_<64 lower-case hex of 32 random bytes><8 hex CRC-32>
//! ```
//!
//! The checksum is CRC-32/IEEE (as in zlib) of all that precedes it. Only `[A-Za-z0-9_]` occurs, so
//! that a double click selects a token whole and Basic authentication needs no escaping. The plain
//! form exists once, in the answer that made it: [`Token`] hides itself in `Debug`, has no
//! `Display`, and is wiped when dropped.

use std::array::TryFromSliceError;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::hex_text;
use super::ids::{SecretId, from_text};

/// The prefix of tokens unless the organization sets another one.
pub const DEFAULT_PREFIX: &str = "rfk";

/// `key_prefix` on a record: so many first characters of the token.
pub const SHOWN_PREFIX_CHARS: usize = 12;

const ULID_CHARS: usize = 26;
const RANDOM_CHARS: usize = 64;
const CHECKSUM_CHARS: usize = 8;

/// The longest text that can be a token of ours or an imported one; longer ones are malformed.
pub const TOKEN_BYTES_MAX: usize = 1_024;

/// Whether `prefix` may begin tokens: 2 to 8 lower-case letters and digits.
#[must_use]
pub fn prefix_is_valid(prefix: &str) -> bool {
    (2..=8).contains(&prefix.len())
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// A credential's secret in plain form.
pub struct Token(Zeroizing<String>);

impl Token {
    /// Writes the token of secret `id` from 32 random bytes.
    #[must_use]
    pub fn compose(prefix: &str, id: SecretId, random: &[u8; 32]) -> Self {
        let random = Zeroizing::new(hex::encode(random));
        let mut text = Zeroizing::new(String::with_capacity(
            prefix.len() + ULID_CHARS + RANDOM_CHARS + CHECKSUM_CHARS + 2,
        ));
        text.push_str(prefix);
        text.push('_');
        text.push_str(&id.ulid().to_string());
        text.push('_');
        text.push_str(&random);
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&hex::encode(checksum.to_be_bytes()));
        Self(text)
    }

    /// The plain text, for the one answer that may carry it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the ledger keeps.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// The last four characters, shown on records to tell secrets apart.
    #[must_use]
    pub fn hint(&self) -> KeyHint {
        let bytes = self.0.as_bytes();
        KeyHint(*bytes.last_chunk().unwrap_or(&[b'0'; 4]))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The first twelve characters of the token of secret `id`: no secret bytes among them.
#[must_use]
pub fn shown_prefix(prefix: &str, id: SecretId) -> String {
    format!("{prefix}_{}", id.ulid())
        .chars()
        .take(SHOWN_PREFIX_CHARS)
        .collect()
}

/// What a presented text can be, told without a look-up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Our format and our checksum, or a foreign format that an import may have brought.
    Plausible,
    /// Our whole format with a wrong checksum, or longer than any token: a typing error.
    Malformed,
    /// Not our format: known if it was imported, malformed otherwise.
    Foreign,
}

/// Tells what `text` can be.
#[must_use]
pub fn form(text: &str) -> Form {
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX {
        return Form::Malformed;
    }
    let Some((body, checksum)) = split_checksum(text) else {
        return Form::Foreign;
    };
    let mut expected = [0; CHECKSUM_CHARS];
    match hex::encode_to_slice(
        crc32fast::hash(body.as_bytes()).to_be_bytes(),
        &mut expected,
    ) {
        Ok(()) if expected == checksum.as_bytes() => Form::Plausible,
        Ok(()) | Err(_) => Form::Malformed,
    }
}

/// Splits a text of our whole format before its checksum.
fn split_checksum(text: &str) -> Option<(&str, &str)> {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    // Without a way out early: many bytes at a time.
    let all_lower_hex = |text: &str| text.bytes().fold(true, |all, byte| all & lower_hex(byte));
    let (prefix, rest) = text.split_once('_')?;
    let (ulid, tail) = rest.split_once('_')?;
    let ours = prefix_is_valid(prefix)
        && ulid.len() == ULID_CHARS
        && ulid
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && tail.len() == RANDOM_CHARS + CHECKSUM_CHARS
        && all_lower_hex(tail);
    if ours {
        text.split_at_checked(text.len() - CHECKSUM_CHARS)
    } else {
        None
    }
}

/// SHA-256 of a whole token: 64 lower-case hex digits in stored payloads, hidden in `Debug`.
///
/// A plain hash suffices, since a secret is 256 random bits; nothing slower would add anything.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    /// The hash of a presented or a new token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(hidden)")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            hex_text::serialize(&self.0, to)
        } else {
            self.0.serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            hex_text::deserialize(from).map(Self)
        } else {
            <[u8; 32]>::deserialize(from).map(Self)
        }
    }
}

/// The last four characters of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyHint(pub [u8; 4]);

impl fmt::Display for KeyHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or("????"))
    }
}

impl FromStr for KeyHint {
    type Err = TryFromSliceError;

    fn from_str(text: &str) -> Result<Self, TryFromSliceError> {
        text.as_bytes().try_into().map(Self)
    }
}

impl Serialize for KeyHint {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            self.0.serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for KeyHint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            from_text(from)
        } else {
            <[u8; 4]>::deserialize(from).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    fn token() -> Token {
        let id = SecretId(Ulid::from_string("01H2XA9CKEB7WZG8RMN2KPQV7D").unwrap());
        Token::compose("rfk", id, &[0xab; 32])
    }

    #[test]
    fn the_token_is_frozen() {
        let text = format!("rfk_01H2XA9CKEB7WZG8RMN2KPQV7D_{}", "ab".repeat(32));
        let checksum = crc32fast::hash(text.as_bytes());
        assert_eq!(token().reveal(), format!("{text}{checksum:08x}"));
        // Pinned with Python's zlib.crc32, so that a change of library cannot change the form.
        assert_eq!(format!("{checksum:08x}"), "6aa4fa5d");
        assert_eq!(token().hint().to_string(), "fa5d");
        assert_eq!(
            shown_prefix("rfk", "sec_01H2XA9CKEB7WZG8RMN2KPQV7D".parse().unwrap()),
            "rfk_01H2XA9C"
        );
    }

    #[test]
    fn a_wrong_checksum_is_malformed_and_other_forms_are_foreign() {
        let good = token().reveal().to_owned();
        let typed = good.replacen("ab", "ac", 1);
        for (text, expected) in [
            (good.as_str(), Form::Plausible),
            (typed.as_str(), Form::Malformed),
            ("", Form::Malformed),
            ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", Form::Foreign),
            (&good[..good.len() - 1], Form::Foreign),
            (&"x".repeat(TOKEN_BYTES_MAX + 1), Form::Malformed),
        ] {
            assert_eq!(form(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_secret_in_debug() {
        assert_eq!(
            format!("{:?} {:?}", token(), token().hash()),
            "Token(hidden) SecretHash(hidden)"
        );
    }

    #[test]
    fn prefixes_are_two_to_eight_lower_case_letters_and_digits() {
        for good in ["rf", "rfk", "a2345678"] {
            assert!(prefix_is_valid(good), "{good}");
        }
        for wrong in ["", "r", "RFK", "rf_k", "a23456789", "caf\u{e9}"] {
            assert!(!prefix_is_valid(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_documented_pattern_finds_tokens_whole() {
        let page = include_str!("../../docs/credentials.md");
        let pattern = page.lines().find(|line| line.starts_with("rfk_[0-7]"));
        let pattern = regex::Regex::new(pattern.unwrap()).unwrap();
        let documented = pattern.find(page).unwrap().as_str();
        assert_eq!(form(documented), Form::Plausible);
        for random in [[0; 32], [0xff; 32]] {
            for bits in [0, u128::MAX, 1 << 90] {
                let token = Token::compose("rfk", SecretId(Ulid(bits)), &random);
                let text = format!("KEY=\"{}\"", token.reveal());
                let found = pattern.find(&text).unwrap().as_str();
                assert_eq!(found, token.reveal());
                let cut = &token.reveal()[..token.reveal().len() - 1];
                assert!(!pattern.is_match(cut), "{cut}");
                assert!(!pattern.is_match(&format!("{}0", token.reveal())));
            }
        }
    }
}
