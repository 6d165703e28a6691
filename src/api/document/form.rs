//! What a value of the API is: an id, an instant, a name of a fixed set, a bounded text or number.

/// Any length.
pub(super) const ANY: usize = usize::MAX;

/// What a value is.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// An id with one of these prefixes.
    Id(&'static [&'static str]),
    /// RFC 3339.
    Instant,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A text of so many characters.
    Chars(usize, usize),
    /// A text that matches a regular expression, one that all dialects read alike.
    Like(&'static str),
    /// A text of a format that has a name, and its most characters.
    Format(&'static str, usize),
    /// A number, from and to.
    Number(usize, usize),
    /// Any text.
    Free,
}

#[derive(Clone, Copy)]
pub(super) struct ListForm {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) unique: bool,
}

impl ListForm {
    pub(super) const fn unique(min: usize, max: usize) -> Self {
        let unique = true;
        Self { min, max, unique }
    }

    pub(super) const fn any(min: usize, max: usize) -> Self {
        let unique = false;
        Self { min, max, unique }
    }
}
