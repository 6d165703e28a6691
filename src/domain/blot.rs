//! Secrets of ours in places where none belongs: they must not come back in an error, nor be
//! logged or kept.
//!
//! Owns how they are found, anywhere in a text, between any other characters, in either case, and
//! percent-encoded: tokens of credentials whatever their prefix, tokens of links and sessions, and
//! signing secrets. What is only reported, such as a path, is blotted out; what a client wants kept
//! for good, such as a name, is refused by the rules instead ([`holds_token`]). Pure.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::percent_decode_str;

use super::endpoint_secret::{holds_endpoint_secret, without_endpoint_secrets};

/// What stands for a secret.
const BLOT: &str = "[secret]";
/// The shortest text that is looked through: what a private key begins with.
const SECRET_CHARS_MIN: usize = 5;
/// Hex digits of a token's random part, and of the whole token of a link or a session.
const RANDOM_CHARS: usize = 64;
/// Characters of the ULID in a token.
const ULID_CHARS: usize = 26;
/// Characters of a token's prefix at most.
const PREFIX_CHARS_MAX: usize = 8;
/// How often a text is decoded: a proxy that encodes what a client has encoded makes it two.
const ENCODED_TIMES_MAX: usize = 3;
/// What stands before the token in a sign-in link, and before that of a session in its cookie.
const BEFORE_OPAQUE_TOKENS: [&str; 2] = ["/sign-in/", "keyledger="];

/// A text without tokens of credentials, links and sessions, and without signing secrets. One in
/// which a secret is percent-encoded is blotted out whole, unless the secret itself is not.
#[must_use]
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    if text.len() < SECRET_CHARS_MIN {
        return Cow::Borrowed(text);
    }
    let clean = without_plain_secrets(text);
    let is_secret = |decoded: &str| matches!(without_plain_secrets(decoded), Cow::Owned(_));
    if decodings(&clean).any(|decoded| is_secret(&decoded)) {
        return Cow::Borrowed(BLOT);
    }
    clean
}

/// Whether a text holds what can be nothing but a secret of ours: the token of a credential, a
/// sign-in link, the cookie of a session, a signing secret. 64 hex digits alone may be the digest
/// of something.
#[must_use]
pub fn holds_token(text: &str) -> bool {
    let holds = |text: &str| {
        let is_secret = |run: Range<usize>| {
            let before = text.get(..run.start).unwrap_or_default();
            let opaque = BEFORE_OPAQUE_TOKENS;
            begin_of_token(before).is_some() || opaque.iter().any(|known| before.ends_with(known))
        };
        hex_runs(text).any(is_secret) || holds_endpoint_secret(text)
    };
    text.len() >= SECRET_CHARS_MIN && (holds(text) || decodings(text).any(|text| holds(&text)))
}

/// A text that was percent-encoded, decoded once, twice and so on.
fn decodings(text: &str) -> impl Iterator<Item = String> {
    let decode = |text: &str| {
        let encoded = text.contains('%');
        encoded.then(|| percent_decode_str(text).decode_utf8_lossy().into_owned())
    };
    std::iter::successors(decode(text), move |text| decode(text)).take(ENCODED_TIMES_MAX)
}

fn without_plain_secrets(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut kept = 0;
    for run in hex_runs(text) {
        let before = text.get(kept..run.start).unwrap_or_default();
        let begin = begin_of_token(before).unwrap_or(before.len());
        clean.push_str(before.get(..begin).unwrap_or_default());
        clean.push_str(BLOT);
        kept = run.end;
    }
    if kept == 0 {
        return without_endpoint_secrets(text);
    }
    clean.push_str(text.get(kept..).unwrap_or_default());
    Cow::Owned(without_endpoint_secrets(&clean).into_owned())
}

/// Where hex digits stand that are enough for a secret: all those of a run, since what stands
/// directly before or behind the secret may look like a part of it.
fn hex_runs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = text.as_bytes().get(at..).filter(|rest| !rest.is_empty())?;
            let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit());
            let run = at..at + digits.count();
            at = run.end + 1;
            if run.len() >= RANDOM_CHARS {
                return Some(run);
            }
        }
    })
}

/// Where the token begins whose random part follows `before`: `<prefix>_<ULID>_`.
fn begin_of_token(before: &str) -> Option<usize> {
    let (ulid, rest) = (before.strip_suffix('_')?, ULID_CHARS + 1);
    let begin = ulid.len().checked_sub(rest)?;
    let (prefix, ulid) = (ulid.get(..begin)?, ulid.get(begin..)?);
    let ulid = ulid.strip_prefix('_')?;
    if !ulid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let of_prefix = prefix.bytes().rev().take(PREFIX_CHARS_MAX);
    let of_prefix = of_prefix.take_while(u8::is_ascii_alphanumeric);
    Some(begin - of_prefix.count())
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::domain::ids::SecretId;
    use crate::domain::secret::Token;

    const LONG: &str = "/a-path/of-more-than/sixty-four/characters/that-holds/no-secret/at-all";

    fn token(prefix: &str) -> String {
        let id = SecretId(Ulid::from_string("01H2XA9CKEB7WZG8RMN2KPQV7D").unwrap());
        Token::compose(prefix, id, &[0xab; 32]).reveal().to_owned()
    }

    #[test]
    fn secrets_are_found_anywhere_in_a_text() {
        let opaque = "9c".repeat(32);
        for prefix in ["rfk", "ab", "a2345678", "00", "live"] {
            let token = token(prefix);
            let encoded = token.replace('_', "%5F");
            let twice = encoded.replace('%', "%25");
            let thrice = twice.replace('%', "%25");
            let letters: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
            for (text, stored) in [
                (token.clone(), "[secret]"),
                (token.to_uppercase(), "[secret]"),
                (
                    format!("unknown {token:?}, again"),
                    "unknown \"[secret]\", again",
                ),
                (format!("/badges/{token}/x"), "/badges/[secret]/x"),
                (format!("req-{token}-1"), "req-[secret]-1"),
                (format!("{token}0f.{token}"), "[secret].[secret]"),
                (format!("\u{e4}{token}\u{e4}"), "\u{e4}[secret]\u{e4}"),
                // The checksum can be computed.
                (token[..token.len() - 8].to_owned(), "[secret]"),
                (letters.clone(), "[secret]"),
                (format!("{opaque}-{letters}"), "[secret]"),
            ] {
                assert_eq!(without_secrets(&text), stored, "{text}");
                assert!(holds_token(&text), "{text}");
            }
            // A digit of what is encoded may be taken for one of the secret's.
            for text in [format!("/badges/{encoded}"), twice, thrice] {
                let clean = without_secrets(&text).into_owned();
                assert!(!clean.contains("abab") && clean.contains(BLOT), "{clean}");
                assert!(holds_token(&text), "{text}");
            }
            // Right behind other letters too, of which a prefix's length goes with it.
            let joined = without_secrets(&format!("some-{token}tail, {token}")).into_owned();
            assert_eq!(joined, "some-[secret]tail, [secret]");
            let squeezed = format!("xxxxxxxx{token}xx_{token}");
            let clean = without_secrets(&squeezed).into_owned();
            assert!(
                !clean.contains("abab") && clean.contains("[secret]xx_[secret]"),
                "{clean}"
            );
        }
    }

    #[test]
    fn what_may_be_a_digest_is_blotted_out_and_not_refused() {
        let opaque = "9c".repeat(32);
        for (text, stored, refused) in [
            (format!("/sign-in/{opaque}"), "/sign-in/[secret]", true),
            (
                format!("-b keyledger={opaque}"),
                "-b keyledger=[secret]",
                true,
            ),
            (
                format!("%2Fsign-in%2F{opaque}"),
                "%2Fsign-in%[secret]",
                true,
            ),
            (format!("sha256:{opaque}"), "sha256:[secret]", false),
            (format!("no role {opaque:?}"), "no role \"[secret]\"", false),
            (opaque.to_uppercase(), "[secret]", false),
            (
                "/hooks/whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned(),
                "/hooks/[secret]",
                true,
            ),
        ] {
            assert_eq!(without_secrets(&text), stored, "{text}");
            assert_eq!(holds_token(&text), refused, "{text}");
        }
        for plain in [
            "",
            "name: must not be empty",
            "rfk_01H2XA9C",
            "req_01H2XA9CKEB7WZG8RMN2KPQV7D",
            "/v1/cases",
            LONG,
            &format!("{LONG}/%25%zz"),
            &format!("{}_{}", "ab".repeat(31), "cd".repeat(31)),
        ] {
            assert_eq!(without_secrets(plain), plain);
            assert!(!holds_token(plain), "{plain}");
        }
    }
}
