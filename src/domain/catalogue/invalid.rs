//! Why a catalogue is refused, and where in its file.

use super::{CATALOGUE_BYTES_MAX, SCOPES_MAX};

/// Why a catalogue is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCatalogue {
    /// Not TOML, or not of this shape.
    #[error("not a catalogue: {0}")]
    Form(String),
    /// More scopes than a set has bits.
    #[error("{0} scopes, at most {SCOPES_MAX} are possible")]
    TooManyScopes(usize),
    /// Longer than an event can hold.
    #[error("{0} bytes as JSON, at most {CATALOGUE_BYTES_MAX} are possible")]
    TooLong(usize),
    /// No role is an owner's, or `admin:*` is missing.
    #[error("the catalogue needs {0}")]
    Missing(&'static str),
    /// One entry is wrong.
    #[error("the {} {name:?} {fault}", part.name())]
    Entry {
        /// Where it stands.
        part: Part,
        /// Which one of its part, from 0.
        index: usize,
        name: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// The parts of a catalogue.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    /// Scopes.
    Scope,
    /// Roles.
    Role,
    Preset,
}

impl Part {
    /// The word for one of its entries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Role => "role",
            Self::Preset => "preset",
        }
    }
}

/// What is wrong with one entry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Its name, or an alias, has a character that names do not have.
    #[error("is not a name: 1 to 64 lower-case letters, digits and _-:, `admin:*` excepted")]
    Name,
    /// The name stands before it already.
    #[error("is given more than once")]
    Twice,
    /// It names a scope that is not in the catalogue.
    #[error("names the unknown scope {0:?}")]
    UnknownScope(String),
    /// A preset for new tokens would give what is kept for old ones.
    #[error("names the scope {0:?}, which is kept for old tokens only")]
    KeptScope(String),
}

/// Why the text of a catalogue is refused, with the line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct InvalidText {
    /// The line at fault, from 1, where one is.
    pub line: Option<usize>,
    #[source]
    pub why: InvalidCatalogue,
}
