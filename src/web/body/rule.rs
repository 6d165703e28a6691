//! What a value of a body must be, in words that name the rule and not the reader's own types.

use crate::domain::nearest::nearest;

/// Whole numbers with limits of their own, by the last name of their field. The rules of the ledger
/// refuse what is out of range; this is for values that are no such number at all.
const NUMBERS: &[(&str, u64, u64)] = &[
    ("expires_in_days", 1, 3_650),
    ("grace_period_seconds", 0, 2_592_000),
    ("overlap_seconds", 0, 2_592_000),
];
/// Lists of texts.
const TEXTS: &[&str] = &["scopes", "required_scopes", "event_types"];
/// Objects whose values are texts.
const PAIRS: &[&str] = &["metadata"];

/// What serde expected, as a rule.
pub(crate) fn must_be(expected: &str) -> String {
    match expected {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => whole(0, u64::MAX),
        "i8" | "i16" | "i32" | "i64" | "isize" => "must be a whole number".to_owned(),
        "f32" | "f64" => "must be a number".to_owned(),
        "a boolean" => "must be true or false".to_owned(),
        "a sequence" => "must be an array".to_owned(),
        "a map" => "must be an object".to_owned(),
        "a text" | "a string" | "a borrowed string" => "must be a string".to_owned(),
        other => format!("must be {other}"),
    }
}

/// The rule with what is known of a field by its name.
pub(crate) fn of_field(field: &str, rule: String) -> String {
    let number = NUMBERS.iter().find(|(name, ..)| *name == field);
    match (number, rule.as_str()) {
        (Some((_, min, max)), rule) if rule.starts_with("must be a whole number") => {
            whole(*min, *max)
        }
        (_, "must be an array") if TEXTS.contains(&field) => {
            "must be an array of strings".to_owned()
        }
        (_, "must be an object") if PAIRS.contains(&field) => {
            "must be an object whose values are strings".to_owned()
        }
        (_, _) => rule,
    }
}

fn whole(min: u64, max: u64) -> String {
    format!("must be a whole number from {min} to {max}")
}

/// That a field is not known, which ones are, and the one that may be meant.
pub(crate) fn unknown_field(field: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "is unknown; the body has no fields here".to_owned();
    }
    let all = known.join(", ");
    match nearest(field, known.iter().copied()) {
        Some(meant) => format!("is unknown; did you mean {meant}? Known are {all}"),
        None => format!("is unknown; known are {all}"),
    }
}

/// That a value is none of those that there are.
pub(crate) fn one_of<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let values: Vec<&str> = values.into_iter().collect();
    format!("must be one of: {}", values.join(", "))
}
