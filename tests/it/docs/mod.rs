//! README.md and the pages in docs/: their console blocks do what they show, their links lead
//! somewhere, and the table of contents is complete.
//!
//! Each page is one session of a shell in an empty folder, with the real binary and curl. What a
//! command prints is compared with the page by `shape`: ids, times and numbers may differ, all else
//! may not. Comments in a page steer its session:
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- server: FLAGS -->` | a server with these flags runs; `KEY`, `ORG` and `api` are set |
//! | `<!-- server stopped -->` | the server is stopped before the next block |
//! | `<!-- polled: REASON -->` | the next block shows what comes a little later: it is repeated |
//! | `<!-- not executed: REASON -->` | the next block is not run |

mod page;
mod session;
mod shape;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use page::{Page, Step};
use session::Session;

/// Longest README, in lines.
const README_LINES_MAX: usize = 200;

/// Blocks that are not run, by page: few, and each says what it needs.
const NOT_EXECUTED: &[(&str, &str)] = &[
    (
        "docs/events.md",
        "needs a receiver; tests/it/listen.rs runs it with one",
    ),
    (
        "docs/operating.md",
        "listens on port 8080 of all addresses and writes to /var/lib",
    ),
    (
        "docs/webhooks.md",
        "needs a package of Python; tests/webhooks runs both receivers",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// README.md and every page, with their texts.
fn pages() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name)
            .extension()
            .is_some_and(|extension| extension == "md")
        {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    let read = |name: String| {
        let text = fs::read_to_string(root().join(&name)).unwrap();
        (name, text)
    };
    names.into_iter().map(read).collect()
}

/// Runs a page's blocks; says where it first differs from what happens.
fn run_page(page: &Page) -> Result<(), String> {
    let mut session = Session::start(page.server.as_deref());
    for step in &page.steps {
        match step {
            Step::Run(command) => session.expect(command)?,
            Step::StopServer => session.stop_server(),
        }
    }
    Ok(())
}

#[test]
fn console_blocks_do_what_they_show() {
    let only = std::env::args().find_map(|argument| {
        let name = argument.strip_prefix("page=")?;
        Some(name.to_owned())
    });
    let mut failures = Vec::new();
    for (name, text) in pages() {
        if only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            continue;
        }
        let page = Page::parse(&text);
        if page.steps.is_empty() {
            continue;
        }
        if let Err(failure) = run_page(&page) {
            failures.push(format!("{name}:{failure}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn few_blocks_are_not_executed() {
    let mut skipped = Vec::new();
    for (name, text) in pages() {
        let page = Page::parse(&text);
        skipped.extend(
            page.not_executed
                .into_iter()
                .map(|reason| (name.clone(), reason)),
        );
    }
    let skipped: Vec<_> = skipped
        .iter()
        .map(|(name, reason)| (name.as_str(), reason.as_str()))
        .collect();
    assert_eq!(skipped, NOT_EXECUTED);
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines <= README_LINES_MAX, "{lines} lines");
}

#[test]
fn every_page_has_a_title_a_purpose_and_a_line_in_the_index() {
    let index = fs::read_to_string(root().join("docs/index.md")).unwrap();
    for (name, text) in pages() {
        let mut lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("<!--"));
        let title = lines.next().and_then(|line| line.strip_prefix("# "));
        let title = title.unwrap_or_else(|| panic!("{name}: no title"));
        let purpose = lines.next().unwrap_or_default();
        assert!(
            purpose.starts_with(char::is_alphabetic),
            "{name}: {purpose}"
        );
        let Some(file) = name
            .strip_prefix("docs/")
            .filter(|file| *file != "index.md")
        else {
            continue;
        };
        let entry = format!("- [{title}]({file}): ");
        assert_eq!(index.matches(&entry).count(), 1, "{entry}");
    }
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The anchors of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut in_block = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        if let (false, Some(heading)) = (in_block, line.trim_start_matches('#').strip_prefix(' ')) {
            found.insert(anchor(heading));
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut dead = Vec::new();
    for (name, text) in pages() {
        let page = root().join(&name);
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let alive = path.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&path).unwrap()).contains(anchor));
            if !alive {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}
