//! Canonical texts: names that must be unique and e-mail addresses, as they are stored and
//! compared.
//!
//! Two texts that look the same must not name two records. So characters that are not seen are left
//! out, white space at the ends too, and what is left is in Normalization Form C; the domain of an
//! address is in the form of the DNS. Older events hold texts as they were given: they stay as they
//! are and are compared by the same keys. Pure.

use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
use unicode_normalization::UnicodeNormalization;

const LABEL_BYTES_MAX: usize = 63;

/// A line of text without what is not seen.
#[must_use]
pub fn canonical_line(text: &str) -> String {
    if text.is_ascii() {
        return text.trim().to_owned();
    }
    let invisible = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let seen: String = text.chars().filter(|c| !invisible.contains(*c)).collect();
    seen.trim().nfc().collect()
}

/// An e-mail address with its domain in IDNA form, such as `ada@xn--bcher-kva.example`; `None` if
/// it is none that mail can be sent to. Whether it is anybody's shows when it is used.
#[must_use]
pub fn canonical_address(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let (local, plain) = (canonical_line(local), canonical_line(domain));
    // Joiners mean something in the domains of some scripts, and are an error in all others.
    let domain = [domain.trim(), plain.as_str()]
        .into_iter()
        .find_map(|domain| {
            let domain = idna::domain_to_ascii(domain).ok();
            domain.filter(|domain| is_part(domain) && is_domain(domain))
        })?;
    is_part(&local).then(|| format!("{local}@{domain}"))
}

fn is_part(text: &str) -> bool {
    let is_in_place = |c: char| c != '@' && !c.is_whitespace() && !c.is_control();
    !text.is_empty() && text.chars().all(is_in_place)
}

/// Whether a domain has the labels of the DNS: none is empty, so that there is no dot at the end.
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.split('.').all(is_label)
}

/// What names are compared by where case does not count.
#[must_use]
pub fn name_key(text: &str) -> String {
    fold_case(&canonical_line(text))
}

/// What addresses are compared by.
#[must_use]
pub fn address_key(text: &str) -> String {
    match canonical_address(text) {
        Some(address) => fold_case(&address),
        None => name_key(text),
    }
}

/// An address as it is compared with others.
pub struct ComparedAddress {
    /// What all spellings of it have in common.
    pub key: String,
    /// The folded text, where it is not in the form that addresses have today: before there was
    /// one, two members of an organization could have addresses that have the same key.
    older: Option<String>,
}

impl ComparedAddress {
    /// Of an address as it was stored or typed.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (key, folded) = (address_key(text), fold_case(text));
        let older = (folded != key).then_some(folded);
        Self { key, older }
    }

    /// Whether both were written in the same way but for case.
    #[must_use]
    pub fn is_spelled_like(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }

    fn folded(&self) -> &str {
        self.older.as_deref().unwrap_or(&self.key)
    }
}

/// Unicode default case folding, for texts that are the same but for case.
#[must_use]
pub fn fold_case(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    caseless::default_case_fold_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_no_part_of_a_name() {
        let check = |text: &str, expected: &str| {
            assert_eq!(canonical_line(text), expected, "{text:?}");
            assert_eq!(canonical_line(expected), expected, "{text:?}");
        };
        check("CI bot", "CI bot");
        check("  CI  bot\t\n", "CI  bot");
        // No-break and ideographic spaces, a zero-width space, joiners, a byte order mark.
        check("\u{a0}CI\u{200b} bot\u{3000}", "CI bot");
        check("\u{feff}C\u{200d}I\u{200c} b\u{2060}ot", "CI bot");
        // Soft hyphen, marks of direction, a variation selector, a tag, fillers of Hangul.
        check("C\u{ad}I\u{200e}\u{202e} bot\u{fe0f}", "CI bot");
        check("CI bot\u{e0041}\u{3164}\u{115f}\u{34f}", "CI bot");
        // One letter, of one or two code points.
        check("Cafe\u{301}", "Caf\u{e9}");
        check("e\u{200b}\u{301}", "\u{e9}");
        check("\u{212b}", "\u{c5}");
        check("\u{1100}\u{1161}", "\u{ac00}");
        check(" \u{200b} ", "");
        assert_eq!(name_key("STRASSE "), name_key("Stra\u{df}e"));
        assert_eq!(name_key("\u{3a3}"), name_key("\u{3c2}"));
        assert_ne!(name_key("CI bot"), name_key("CI  bot"));
    }

    #[test]
    fn addresses_have_one_form() {
        let check = |text: &str, expected: &str| {
            let address = canonical_address(text);
            assert_eq!(address.as_deref(), Some(expected), "{text:?}");
            assert_eq!(canonical_address(expected).as_deref(), Some(expected));
            assert_eq!(address_key(text), address_key(&expected.to_uppercase()));
        };
        check("a@b", "a@b");
        check(
            "first.last+tag@sub.example.org",
            "first.last+tag@sub.example.org",
        );
        check(" Owner@Example.COM\n", "Owner@example.com");
        check("ada@b\u{fc}cher.example", "ada@xn--bcher-kva.example");
        check("ada@bu\u{308}cher.EXAMPLE", "ada@xn--bcher-kva.example");
        check("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example");
        // Full-width letters, the ideographic full stop.
        check("ada@\u{ff41}cme\u{3002}example", "ada@acme.example");
        check("a\u{200b}da@acme.example\u{feff}", "ada@acme.example");
        check("andre\u{301}@acme.example", "andr\u{e9}@acme.example");
        check("ada@[192.0.2.1]", "ada@[192.0.2.1]");
        // A joiner is part of a Persian name, and of no Latin one.
        check(
            "a@\u{646}\u{627}\u{645}\u{647}\u{200c}\u{627}\u{6cc}.com",
            "a@xn--mgba3gch31f060k.com",
        );
        check("a@ac\u{200c}me.example", "a@acme.example");
        for wrong in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a\tb@c",
            "a\0@c",
            "\u{200b}@b",
            "a@\u{200b}",
            "a@xn--\u{fc}",
            "a@xn--zzzzzz",
            "ada@acme.example.",
            "ada@acme.example\u{3002}",
            "ada@.acme.example",
            "ada@acme..example",
            "ada@.",
            "ada@-acme.example",
            "ada@acme-.example",
        ] {
            assert_eq!(canonical_address(wrong), None, "{wrong:?}");
        }
        let long = |len: usize| canonical_address(&format!("a@{}.example", "b".repeat(len)));
        assert!(long(63).is_some() && long(64).is_none());
        // One that was stored before is still compared like any other.
        assert_eq!(address_key("Ada@ACME.example."), "ada@acme.example.");
    }
}
