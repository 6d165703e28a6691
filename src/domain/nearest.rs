//! The known word that a mistyped one may have meant. Pure.

/// Longest word that is compared: the time of a comparison grows with the product of both lengths,
/// and no name of ours is longer.
const WORD_BYTES_MAX: usize = 64;
/// One mistake is allowed in so many letters: `porject:read` is meant as `project:read`, and `ab`
/// as nothing.
const LETTERS_PER_MISTAKE: usize = 4;

/// The nearest of the known words, if one is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let folded = word.to_lowercase();
    let mistakes_max = word.chars().count().div_ceil(LETTERS_PER_MISTAKE);
    known
        .into_iter()
        .filter(|known| known.len() <= WORD_BYTES_MAX)
        // Every letter too many is a mistake, and costs no comparison.
        .filter(|known| known.len().abs_diff(folded.len()) <= mistakes_max)
        .map(|known| (strsim::osa_distance(&folded, &known.to_lowercase()), known))
        .filter(|(mistakes, _)| *mistakes <= mistakes_max)
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_has_one_that_was_meant() {
        let known = ["projects:read", "projects:write", "cases:read", "admin:*"];
        let check = |word: &str, expected: Option<&str>| {
            assert_eq!(nearest(word, known), expected, "{word}");
        };
        check("project:read", Some("projects:read"));
        check("Projects:Read", Some("projects:read"));
        check("proejcts:wirte", Some("projects:write"));
        check("admin", Some("admin:*"));
        check("cases", None);
        check("", None);
        check("nonsense", None);
        check(&"x".repeat(WORD_BYTES_MAX + 1), None);
    }
}
