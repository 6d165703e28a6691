//! The older text form of Prometheus, made of that of `OpenMetrics`.

use std::collections::BTreeSet;

/// `OpenMetrics` in the older form that every reader takes: a counter is described under the name
/// of its samples, and units are part of names alone.
pub(crate) fn plain(text: &str) -> String {
    let mut counters = BTreeSet::new();
    for line in text.lines() {
        let of = line.strip_prefix("# TYPE ");
        counters.extend(of.and_then(|of| of.strip_suffix(" counter")));
    }
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let described = match (words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), _) => continue,
            (Some("#"), Some(what), Some(name)) if counters.contains(name) => Some((what, name)),
            (_, _, _) => None,
        };
        match described {
            Some((what, name)) => {
                let rest = words.next().unwrap_or_default();
                plain.push_str(&format!("# {what} {name}_total {rest}"));
            }
            None => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}
