//! The blocks of `docs/gateways.md`, by the heading above them.

/// The only block below a heading.
pub(crate) fn block(heading: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gateways.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut sections = page.split("\n## ");
    let section = sections.find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("no heading {heading}"));
    let parts: Vec<&str> = section.split("```").collect();
    let [_, block, _] = parts[..] else {
        panic!("{} blocks below {heading}", parts.len() / 2);
    };
    let (_language, block) = block.split_once('\n').unwrap();
    block.to_owned()
}

/// A block with other values: each must be there, since a block that lost one tests something else.
pub(crate) fn with(block: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(block.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no {from} in\n{text}");
        text.replace(from, to)
    })
}
