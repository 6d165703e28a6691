//! What a stored payload begins with, read without parsing the rest: most readers of the log are
//! after a few of its events, and who checks the chains of all needs a few fields of each.

use super::digest::Digest32;
use super::ids::{OrganizationId, Subject};

/// The type of an event and whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heading<'a> {
    /// The type's wire name.
    pub name: &'a str,
    /// The organization, if it belongs to one.
    pub organization: Option<OrganizationId>,
}

impl<'a> Heading<'a> {
    /// The heading of a payload as this program writes them; `None` where it does not stand there:
    /// whoever asks has to parse that one.
    #[must_use]
    pub fn of(payload: &'a [u8]) -> Option<Self> {
        let rest = number(payload.strip_prefix(b"{\"position\":")?)?;
        let (_id, rest) = text(rest.strip_prefix(b",\"id\":\"")?)?;
        let (name, rest) = text(rest.strip_prefix(b",\"type\":\"")?)?;
        let rest = number(rest.strip_prefix(b",\"version\":")?)?;
        let (_at, rest) = text(rest.strip_prefix(b",\"occurred_at\":\"")?)?;
        let rest = rest.strip_prefix(b",\"organization_id\":")?;
        if rest.starts_with(b"null") {
            let organization = None;
            return Some(Self { name, organization });
        }
        let (organization, _) = text(rest.strip_prefix(b"\"")?)?;
        let organization = Some(organization.parse().ok()?);
        Some(Self { name, organization })
    }
}

/// Where an event stands: in the log, in its organization's chain, among its subject's events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Whereabouts<'a> {
    pub position: u64,
    /// The type's wire name.
    pub name: &'a str,
    /// When it happened, as it is written.
    pub occurred_at: &'a str,
    /// The organization that it belongs to, its number there, the commitment of the one before.
    pub chain: Option<(OrganizationId, u64, Option<Digest32>)>,
    /// The record that it changes.
    pub subject: Subject,
    /// Counts the subject's events from 1.
    pub subject_version: u32,
}

impl<'a> Whereabouts<'a> {
    /// The whereabouts in a payload as this program writes them; `None` where they do not stand
    /// there.
    #[must_use]
    pub fn of(payload: &'a [u8]) -> Option<Self> {
        let (position, rest) = value(payload.strip_prefix(b"{\"position\":")?)?;
        let (_id, rest) = text(rest.strip_prefix(b",\"id\":\"")?)?;
        let (name, rest) = text(rest.strip_prefix(b",\"type\":\"")?)?;
        let (_version, rest) = value(rest.strip_prefix(b",\"version\":")?)?;
        let (occurred_at, rest) = text(rest.strip_prefix(b",\"occurred_at\":\"")?)?;
        let rest = rest.strip_prefix(b",\"organization_id\":")?;
        let (chain, rest) = match rest.strip_prefix(b"null") {
            Some(rest) => {
                let rest = rest.strip_prefix(b",\"organization_sequence\":null")?;
                (None, rest.strip_prefix(b",\"organization_previous\":null")?)
            }
            None => {
                let (id, rest) = text(rest.strip_prefix(b"\"")?)?;
                let rest = rest.strip_prefix(b",\"organization_sequence\":")?;
                let (sequence, rest) = value(rest)?;
                let rest = rest.strip_prefix(b",\"organization_previous\":")?;
                let (previous, rest) = match rest.strip_prefix(b"null") {
                    Some(rest) => (None, rest),
                    None => {
                        let (digest, rest) = text(rest.strip_prefix(b"\"")?)?;
                        (Some(lower_hex(digest)?), rest)
                    }
                };
                (Some((id.parse().ok()?, sequence, previous)), rest)
            }
        };
        let (subject, rest) = text(rest.strip_prefix(b",\"subject\":\"")?)?;
        let rest = rest.strip_prefix(b",\"subject_version\":")?;
        let (subject_version, _) = value(rest)?;
        Some(Self {
            position,
            name,
            occurred_at,
            chain,
            subject: subject.parse().ok()?,
            subject_version: u32::try_from(subject_version).ok()?,
        })
    }
}

/// A digest as this program writes it.
fn lower_hex(digits: &str) -> Option<Digest32> {
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest).ok()?;
    let is_lower = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
    is_lower.then_some(Digest32(digest))
}

/// A number, and what follows it.
fn value(from: &[u8]) -> Option<(u64, &[u8])> {
    let rest = number(from)?;
    let digits = from.get(..from.len() - rest.len())?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((digits.parse().ok()?, rest))
}

/// What follows a number.
fn number(from: &[u8]) -> Option<&[u8]> {
    let end = from.iter().position(|byte| !byte.is_ascii_digit())?;
    from.get(end..)
}

/// A text without escapes, and what follows its closing quote.
fn text(from: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr(b'"', from)?;
    let text = std::str::from_utf8(from.get(..end)?).ok()?;
    Some((text, from.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_is_read_without_parsing_the_payload() {
        let begin = r#"{"position":7,"id":"evt_1","type":"api_key.revoked","version":1,"#;
        let check = |rest: &str, expected: Option<Option<&str>>| {
            let payload = format!("{begin}{rest}");
            let found = Heading::of(payload.as_bytes());
            let expected = expected.map(|organization| Heading {
                name: "api_key.revoked",
                organization: organization.map(|id| id.parse().unwrap()),
            });
            assert_eq!(found, expected, "{payload}");
        };
        let id = "org_01H2XA9CKEB7WZG8RMN2KPQV7D";
        let of = |id: &str| format!(r#""occurred_at":"2026","organization_id":"{id}","x":1}}"#);
        check(&of(id), Some(Some(id)));
        check(
            r#""occurred_at":"2026","organization_id":null,"#,
            Some(None),
        );
        check(&of("org_1"), None);
        check(r#""organization_id":null,"#, None);
        check("", None);
        let ending = r#""subject":"key_01H2XA9CKEB7WZG8RMN2KPQV7D","subject_version":3,"actor":1}"#;
        let wherever = |chain: &str| {
            let payload = format!("{begin}\"occurred_at\":\"2026\",{chain},{ending}");
            Whereabouts::of(payload.as_bytes()).map(|found| {
                assert_eq!((found.position, found.name), (7, "api_key.revoked"));
                assert_eq!((found.occurred_at, found.subject_version), ("2026", 3));
                found.chain
            })
        };
        let nobodys = "\"organization_id\":null,\"organization_sequence\":null,\
            \"organization_previous\":null";
        assert_eq!(wherever(nobodys), Some(None));
        let theirs = |number: &str, previous: &str| {
            format!(
                "\"organization_id\":\"{id}\",\"organization_sequence\":{number},\
                 \"organization_previous\":{previous}"
            )
        };
        let organization: OrganizationId = id.parse().unwrap();
        let first = Some(Some((organization, 0, None)));
        assert_eq!(wherever(&theirs("0", "null")), first);
        let digest = format!("\"{}\"", "0a".repeat(32));
        let second = Some(Some((organization, 1, Some(Digest32([10; 32])))));
        assert_eq!(wherever(&theirs("1", &digest)), second);
        for broken in [
            theirs("1", "\"0a\""),
            theirs("-1", "null"),
            theirs("1", "7"),
        ] {
            assert_eq!(wherever(&broken), None, "{broken}");
        }
        for other in [
            &b"{}"[..],
            b"",
            b"{\"position\":1",
            b"{\"position\":1,\"id\":\"\xff",
        ] {
            assert_eq!(Heading::of(other), None);
            assert_eq!(Whereabouts::of(other), None);
        }
    }
}
