//! What a stored payload begins with, read without parsing the rest: most readers of the log are
//! after a few of its events.

use super::ids::OrganizationId;

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
        for other in [
            &b"{}"[..],
            b"",
            b"{\"position\":1",
            b"{\"position\":1,\"id\":\"\xff",
        ] {
            assert_eq!(Heading::of(other), None);
        }
    }
}
