//! The signing secret of a webhook endpoint in plain form, as a user gives it and as one answer
//! shows it: it hides itself in `Debug` and is wiped when dropped.
//!
//! What it must look like is in `webhook_signature.rs`; what the ledger keeps of it is a
//! sealed value.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// What signing secrets and private keys begin with.
const PREFIXES: [&str; 2] = ["whsec_", "whsk_"];
/// Base64 digits of the shortest secret, which has 24 bytes.
const KEY_CHARS_MIN: usize = 32;

/// `whsec_` and the base64 of the secret.
#[derive(Clone)]
pub struct EndpointSecretText(Zeroizing<String>);

impl EndpointSecretText {
    /// Takes over a text.
    #[must_use]
    pub fn new(text: impl Into<Zeroizing<String>>) -> Self {
        Self(text.into())
    }

    /// The plain text, for the one answer that may carry it, and to make a key of it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EndpointSecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointSecretText(hidden)")
    }
}

impl<'de> Deserialize<'de> for EndpointSecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

/// A text with everything blotted out that begins as a signing secret or a private key does.
#[must_use]
pub fn without_endpoint_secrets(text: &str) -> Cow<'_, str> {
    let Some(first) = next_secret(text) else {
        return Cow::Borrowed(text);
    };
    let mut clean = String::with_capacity(text.len());
    let (mut rest, mut found) = (text, Some(first));
    while let Some((before, _, after)) = found {
        clean.push_str(before);
        clean.push_str("[secret]");
        rest = after;
        found = next_secret(rest);
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// Whether a text holds a signing secret or a private key, and not only the beginning of one.
#[must_use]
pub fn holds_endpoint_secret(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, secret, after)) = next_secret(rest) {
        if secret.len() >= KEY_CHARS_MIN {
            return true;
        }
        rest = after;
    }
    false
}

/// What stands before, in and behind the first secret, but for its prefix.
fn next_secret(text: &str) -> Option<(&str, &str, &str)> {
    let of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
    let found = PREFIXES.into_iter().filter_map(|prefix| text.find(prefix));
    let (before, from) = text.split_at_checked(found.min()?)?;
    let after = from.trim_start_matches(of_key);
    let secret = from.get(..from.len() - after.len())?;
    Some((before, secret.split_once('_')?.1, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_in_debug() {
        let secret = EndpointSecretText::new(String::from("whsec_AAAA"));
        assert_eq!(format!("{secret:?}"), "EndpointSecretText(hidden)");
    }

    #[test]
    fn secrets_are_blotted_out_of_any_text() {
        for (text, expected) in [
            ("", ""),
            ("whsec", "whsec"),
            ("whsec_", "[secret]"),
            (
                "of \"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"",
                "of \"[secret]\"",
            ),
            (
                "a=whsk_QQ==&b=whsec_a/b+c, whpk_QQ==",
                "a=[secret]&b=[secret], whpk_QQ==",
            ),
            ("\u{e4}whsec_\u{e4}", "\u{e4}[secret]\u{e4}"),
        ] {
            assert_eq!(without_endpoint_secrets(text), expected);
        }
    }
}
