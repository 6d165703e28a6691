//! The house rules that no lint knows, checked on every source file.
//!
//! A rule names the file and the line that break it; no file is exempt.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest line, in columns.
const COLUMNS_MAX: usize = 100;
/// Longest file, in lines.
const LINES_MAX: usize = 600;

/// Words that the rules of the ledger must not name: they are pure.
const IMPURE: &[&str] = &[
    "crate::api",
    "crate::web::",
    "axum",
    "tokio",
    "std::fs",
    "now()",
];

/// The rooms, each above those that it may use.
const ROOMS: [&str; 26] = [
    "error_chain",
    "clock",
    "panics",
    "priority",
    "private",
    "token_bucket",
    "merkle",
    "seal",
    "domain",
    "config",
    "degraded",
    "log",
    "tiles",
    "views",
    "ledger",
    "usage",
    "workers",
    "records",
    "webhooks",
    "audit",
    "backup",
    "web",
    "api",
    "client",
    "cli",
    "tidy",
];
/// The arrow that still runs up: the fold of the past judges as verification does.
const UPWARD: [(&str, &str); 1] = [("ledger", "audit")];

/// Every Rust file below `src`, with its path from the root.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                sources.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort();
    assert!(sources.len() > 50, "the sources are where they should be");
    sources
}

/// What breaks a rule, one line each.
fn broken(name: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if !text.starts_with("//!") {
        broken.push(format!(
            "{name}: a module begins with what it is for, after //!"
        ));
    }
    if text.lines().count() > LINES_MAX {
        broken.push(format!("{name}: more than {LINES_MAX} lines"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let mut report = |what: &str| broken.push(format!("{name}:{number}: {what}"));
        if line.chars().count() > COLUMNS_MAX {
            report("more than 100 columns");
        }
        if !line.is_ascii() {
            report("not ASCII; in a string, write \\u{..}");
        }
        // Written in two parts, so that this file keeps the rule.
        if line.contains(concat!("FIX", "ME")) || line.contains(concat!("dbg", "!(")) {
            report("left over from work");
        }
        // Words of prose are free: they tell what must not be named.
        let code = line.split("//").next().unwrap_or_default();
        let named = IMPURE.iter().find(|word| code.contains(**word));
        if let (true, Some(word)) = (name.starts_with("src/domain/"), named) {
            report(&format!("the rules name {word}"));
        }
    }
    broken
}

#[test]
fn every_source_file_is_tidy() {
    let broken: Vec<String> = sources()
        .iter()
        .flat_map(|(name, text)| broken(name, text))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The room of a file, such as `src/log/append.rs`.
fn room_of(name: &str) -> Option<&str> {
    let below = name.strip_prefix("src/")?;
    let room = below.split('/').next()?;
    Some(room.strip_suffix(".rs").unwrap_or(room))
}

/// The rooms that the code of a file uses; what only its tests use does not count.
fn rooms_used(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    let lines = code.unwrap_or_default().lines();
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    let used = lines.flat_map(|line| line.split("crate::").skip(1));
    used.map(|path| {
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
        &path[..end.unwrap_or(path.len())]
    })
    .collect()
}

/// The arrows from a file to rooms above its own.
fn upward<'a>(name: &'a str, text: &'a str) -> Vec<(&'a str, &'a str)> {
    let Some(room) = room_of(name).filter(|_| !name.contains("tests")) else {
        return Vec::new();
    };
    let height = |room: &str| ROOMS.iter().position(|known| *known == room);
    let used = rooms_used(text).into_iter();
    used.filter(|used| height(used) > height(room))
        .map(|used| (room, used))
        .collect()
}

#[test]
fn rooms_use_those_below_them() {
    let sources = sources();
    let mut found: Vec<_> = sources
        .iter()
        .flat_map(|(name, text)| upward(name, text))
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, UPWARD, "an arrow that runs up, or is gone");
    for (text, expected) in [
        ("use crate::ledger::Ledger;", vec![("log", "ledger")]),
        ("use crate::merkle::Hash;", vec![]),
        (
            "// crate::cli\nfn f() { crate::cli::run() }",
            vec![("log", "cli")],
        ),
        (
            "#[cfg(test)]\nmod tests {\n    use crate::cli::run;",
            vec![],
        ),
    ] {
        assert_eq!(upward("src/log/a.rs", text), expected, "{text}");
    }
}

#[test]
fn each_rule_finds_what_breaks_it() {
    let long_line = format!("//! Text.\n{}", "x".repeat(COLUMNS_MAX + 1));
    let long_file = format!("//! Text.\n{}", "\n".repeat(LINES_MAX));
    let left_over = concat!("//! Text.\n// FIX", "ME later");
    let cases = [
        ("src/a.rs", "fn main() {}", 1),
        ("src/a.rs", long_line.as_str(), 1),
        ("src/a.rs", long_file.as_str(), 1),
        ("src/a.rs", left_over, 1),
        ("src/a.rs", concat!("//! Text.\ndbg", "!(1);"), 1),
        ("src/a.rs", "//! Text.\n// Stra\u{df}e", 1),
        (
            "src/domain/a.rs",
            "//! Text.\nuse std::fs;\nlet at = Utc::now();",
            2,
        ),
        ("src/domain/a.rs", "//! No tokio here.\n// Nor axum.", 0),
        ("src/api/a.rs", "//! Text.\nuse axum::Router;", 0),
    ];
    for (name, text, expected) in cases {
        assert_eq!(broken(name, text).len(), expected, "{name} {text:?}");
    }
}
