//! Whether what a command printed has the shape of what the page shows.
//!
//! Ids, tokens, keys and hashes are bound to those of the run: one that is shown twice must be
//! the same twice, and one that a later command uses is replaced in it. Times and numbers may be
//! any. `...` is any text, or any lines where it is alone on its line.

use std::collections::BTreeMap;

use regex::Regex;

/// What may differ from run to run: whether it is bound to a value of the run, how the page may
/// write it, and what it has to be then. The first that fits counts.
const VARIABLES: [(bool, &str, &str); 9] = [
    (
        true,
        r"[a-z][a-z0-9]{1,7}_[0-7][0-9A-HJKMNP-TV-Z]{25}_(?:[0-9a-f]{72}|\.\.\.)",
        r"[a-z][a-z0-9]{1,7}_[0-7][0-9A-HJKMNP-TV-Z]{25}_[0-9a-f]{72}",
    ),
    (
        true,
        r"[a-z]{2,8}_[0-7][0-9A-HJKMNP-TV-Z]{25}",
        r"[a-z]{2,8}_[0-7][0-9A-HJKMNP-TV-Z]{25}",
    ),
    (
        true,
        r"keyledger/[0-9a-f]{32}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}",
        r"keyledger/[0-9a-f]{32}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}",
    ),
    (
        true,
        r"sign-in/(?:[A-Za-z0-9_-]{20,}|\.\.\.)",
        r"sign-in/[A-Za-z0-9_-]{20,}",
    ),
    (true, r"[A-Za-z0-9+/]{43}=", r"[A-Za-z0-9+/]{43}="),
    (true, r"[0-9a-f]{32,64}", r"[0-9a-f]{32,64}"),
    (false, r"\.\.\.", r".*"),
    (
        false,
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    ),
    (false, r"\d+(?:\.\d+)?", r"\d+(?:\.\d+)?"),
];

/// What the page's ids, tokens and keys are in this run.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings(BTreeMap<String, String>);

impl Bindings {
    /// A command with the values of this run.
    pub(super) fn replace_in(&self, command: &str) -> String {
        // From the last on: a token begins with what may be bound as an id.
        let longest_first = self.0.iter().rev();
        longest_first.fold(command.to_owned(), |text, (shown, value)| {
            text.replace(shown, value)
        })
    }

    /// Whether a name stands for this value from now on.
    fn bind(&mut self, shown: &str, value: &str) -> bool {
        let bound = self
            .0
            .entry(shown.to_owned())
            .or_insert_with(|| value.to_owned());
        bound == value
    }
}

/// Compares lines; the bindings that make them alike, if any do.
pub(super) fn compare(
    expected: &[String],
    actual: &[String],
    bindings: &Bindings,
) -> Option<Bindings> {
    let Some((first, rest)) = expected.split_first() else {
        return actual.is_empty().then(|| bindings.clone());
    };
    if first == "..." {
        return (0..=actual.len()).find_map(|skip| compare(rest, &actual[skip..], bindings));
    }
    let (line, others) = actual.split_first()?;
    let mut bindings = bindings.clone();
    compare_line(first, line, &mut bindings).then(|| compare(rest, others, &bindings))?
}

/// Compares one line and binds its names.
fn compare_line(expected: &str, actual: &str, bindings: &mut Bindings) -> bool {
    let (pattern, names) = pattern(expected);
    let Some(found) = pattern.captures(actual) else {
        return false;
    };
    let values = found.iter().skip(1).map(|value| value.unwrap().as_str());
    names
        .iter()
        .zip(values)
        .all(|(shown, value)| bindings.bind(shown, value))
}

/// The pattern of a line, and what its groups stand for.
fn pattern(expected: &str) -> (Regex, Vec<&str>) {
    let alternatives = VARIABLES
        .map(|(_, shown, _)| format!("({shown})"))
        .join("|");
    let variable = Regex::new(&alternatives).unwrap();
    let mut pattern = String::from("^");
    let mut names = Vec::new();
    let mut end = 0;
    for found in variable.captures_iter(expected) {
        let whole = found.get(0).unwrap();
        pattern.push_str(&regex::escape(&expected[end..whole.start()]));
        let which = found
            .iter()
            .skip(1)
            .position(|group| group.is_some())
            .unwrap();
        let (named, _, value) = VARIABLES[which];
        if named {
            pattern.push_str(&format!("({value})"));
            names.push(whole.as_str());
        } else {
            pattern.push_str(&format!("(?:{value})"));
        }
        end = whole.end();
    }
    pattern.push_str(&regex::escape(&expected[end..]));
    pattern.push('$');
    (Regex::new(&pattern).unwrap(), names)
}

#[test]
fn lines_are_alike_where_only_values_of_the_run_differ() {
    let a = "key_01M81A833KA3Q399QFNZGYTXN0";
    let b = "key_01M81A833KA3Q399QFNZGYTXN1";
    let token = format!("rfk_01M81A833KA3Q399QFNZGYTXN1_{}", "0a".repeat(36));
    let hidden = "rfk_01M81A82ZGK95KK4RGJCH32S9M_...";
    let check = |expected: &str, actual: &str| {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        compare(&lines(expected), &lines(actual), &Bindings::default())
    };
    for (expected, actual) in [
        ("plain", "plain"),
        (a, b),
        (&format!("{a} {a}"), &format!("{b} {b}")),
        (hidden, &token),
        (
            r#"{"at":"2026-01-01T00:00:00.1Z","n":5}"#,
            r#"{"at":"2027-02-02T01:01:01Z","n":12.5}"#,
        ),
        (r#"{"a":1,...,"z":2}"#, r#"{"a":3,"b":[],"z":4}"#),
        ("a...", "abc"),
        ("...\nb\n...", "x\nb\ny\nz"),
    ] {
        assert!(check(expected, actual).is_some(), "{expected}\n{actual}");
    }
    for (expected, actual) in [
        ("plain", "other"),
        ("a\nb", "a"),
        ("a", "a\nb"),
        (&format!("{a} {a}"), &format!("{a} {b}")),
        (r#"{"a":1}"#, r#"{"b":1}"#),
        (r#"{"a":null}"#, r#"{"a":1}"#),
        ("a...", "bc"),
    ] {
        assert!(check(expected, actual).is_none(), "{expected}\n{actual}");
    }
    let bindings = check(&format!("{a} {hidden}"), &format!("{b} {token}")).unwrap();
    let command = bindings.replace_in(&format!("show {a} {hidden}"));
    assert_eq!(command, format!("show {b} {token}"));
}
