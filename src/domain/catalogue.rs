//! The catalogue: the scopes, roles and presets that credentials can carry.
//!
//! A ledger adopts one as an event, so that a replay never depends on a file. The embedded default
//! covers every scope and role of the surfaces. Matching happens here and nowhere else: `admin:*`
//! stands for every scope of the catalogue; `platform:*` is in no catalogue and within nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Every scope of the catalogue.
pub const ADMIN: &str = "admin:*";
/// All organizations: only a holder or the command line on the folder grants it.
pub const PLATFORM: &str = "platform:*";
/// The owner's own rights; personal tokens only.
pub const EVERYTHING: &str = "*";

/// Most scopes that a catalogue may hold: a [`ScopeSet`] has a bit for each.
pub const SCOPES_MAX: usize = 256;

/// Longest stored form: `catalogue.adopted` and its envelope (at most 1,100 bytes) fit a payload.
pub const CATALOGUE_BYTES_MAX: usize = 64_000;

/// A scope and what it allows, in words for people.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// For example `projects:read`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Whether a service account's role is the ceiling on it.
    #[serde(default)]
    pub management: bool,
}

/// A role: a named set of scopes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// For example `team_member`.
    pub name: String,
    /// Other names that requests may use for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The name for people.
    pub title: String,
    /// One line for people.
    pub description: String,
    /// What it grants.
    pub scopes: Vec<String>,
    /// Whether its holders are owners, whom only owners may make or change.
    #[serde(default)]
    pub owner: bool,
}

/// A fixed choice of scopes for project tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// For example `read-only`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What it grants.
    pub scopes: Vec<String>,
}

/// The catalogue as it is written in TOML and stored in `catalogue.adopted`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueText {
    /// All scopes.
    pub scopes: Vec<Scope>,
    /// All roles.
    pub roles: Vec<Role>,
    /// All presets.
    pub presets: Vec<Preset>,
}

/// Why a catalogue is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCatalogue {
    /// Not TOML, or not of this shape; the message names line and key.
    #[error("not a catalogue: {0}")]
    Form(String),
    /// More scopes than a set has bits.
    #[error("{0} scopes, at most {SCOPES_MAX} are possible")]
    TooManyScopes(usize),
    /// Longer than an event can hold.
    #[error("{0} bytes as JSON, at most {CATALOGUE_BYTES_MAX} are possible")]
    TooLong(usize),
    /// A name twice.
    #[error("{what} {name:?} stands twice")]
    Duplicate {
        /// `scope`, `role` or `preset`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A role or preset names a scope that is not in the catalogue.
    #[error("{of:?} names the unknown scope {scope:?}")]
    UnknownScope {
        /// The role or preset.
        of: String,
        /// The scope.
        scope: String,
    },
    /// A name with a character that scopes, roles and presets do not have.
    #[error("{0:?} is not a name: lower-case letters, digits and _-: only, `admin:*` excepted")]
    Name(String),
    /// No role is an owner's, or `admin:*` is missing.
    #[error("the catalogue needs {0}")]
    Missing(&'static str),
}

/// A checked catalogue, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    text: CatalogueText,
    bits: BTreeMap<String, u8>,
    roles: BTreeMap<String, usize>,
    management: ScopeSet,
    all: ScopeSet,
}

impl Catalogue {
    /// The embedded default.
    pub fn embedded() -> Result<Self, InvalidCatalogue> {
        Self::from_toml(include_str!("catalogue.toml"))
    }

    /// Reads and checks a TOML text.
    pub fn from_toml(text: &str) -> Result<Self, InvalidCatalogue> {
        let text = toml::from_str(text).map_err(|why| InvalidCatalogue::Form(why.to_string()))?;
        Self::check(text)
    }

    /// Checks a catalogue and makes it ready.
    pub fn check(text: CatalogueText) -> Result<Self, InvalidCatalogue> {
        if text.scopes.len() > SCOPES_MAX {
            return Err(InvalidCatalogue::TooManyScopes(text.scopes.len()));
        }
        let stored = serde_json::to_vec(&text).map_err(|why| {
            let why = why.to_string();
            InvalidCatalogue::Form(why)
        })?;
        if stored.len() > CATALOGUE_BYTES_MAX {
            return Err(InvalidCatalogue::TooLong(stored.len()));
        }
        let mut catalogue = Self {
            text,
            ..Self::default()
        };
        for (bit, scope) in (0_u8..=u8::MAX).zip(&catalogue.text.scopes) {
            check_name(&scope.name)?;
            if catalogue.bits.insert(scope.name.clone(), bit).is_some() {
                return Err(duplicate("scope", &scope.name));
            }
            catalogue.all.insert(bit);
            if scope.management {
                catalogue.management.insert(bit);
            }
        }
        if !catalogue.bits.contains_key(ADMIN) {
            return Err(InvalidCatalogue::Missing("the scope admin:*"));
        }
        for (index, role) in catalogue.text.roles.iter().enumerate() {
            for name in role.aliases.iter().chain([&role.name]) {
                check_name(name)?;
                if catalogue.roles.insert(name.clone(), index).is_some() {
                    return Err(duplicate("role", name));
                }
            }
            catalogue.check_scopes(&role.name, &role.scopes)?;
        }
        if !catalogue.text.roles.iter().any(|role| role.owner) {
            return Err(InvalidCatalogue::Missing("a role with owner = true"));
        }
        let mut presets = BTreeSet::new();
        for preset in &catalogue.text.presets {
            check_name(&preset.name)?;
            if !presets.insert(&preset.name) {
                return Err(duplicate("preset", &preset.name));
            }
            catalogue.check_scopes(&preset.name, &preset.scopes)?;
        }
        Ok(catalogue)
    }

    fn check_scopes(&self, of: &str, scopes: &[String]) -> Result<(), InvalidCatalogue> {
        match scopes.iter().find(|scope| !self.bits.contains_key(*scope)) {
            Some(scope) => {
                let (of, scope) = (of.to_owned(), scope.clone());
                Err(InvalidCatalogue::UnknownScope { of, scope })
            }
            None => Ok(()),
        }
    }

    /// The catalogue as it is stored.
    #[must_use]
    pub fn text(&self) -> &CatalogueText {
        &self.text
    }

    /// The role of a name or an alias.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles
            .get(name)
            .and_then(|index| self.text.roles.get(*index))
    }

    /// The role whose holders are owners.
    #[must_use]
    pub fn owner_role(&self) -> Option<&Role> {
        self.text.roles.iter().find(|role| role.owner)
    }

    /// The preset of a name.
    #[must_use]
    pub fn preset(&self, name: &str) -> Option<&Preset> {
        self.text.presets.iter().find(|preset| preset.name == name)
    }

    /// Whether the catalogue holds the scope.
    #[must_use]
    pub fn has_scope(&self, name: &str) -> bool {
        self.bits.contains_key(name)
    }

    /// The set that a list of scopes stands for: `admin:*` is every scope of the catalogue. Names
    /// that the catalogue does not hold, `platform:*` and `*` among them, stand for nothing.
    pub fn expand<'a>(&self, scopes: impl IntoIterator<Item = &'a str>) -> ScopeSet {
        let mut set = ScopeSet::default();
        for scope in scopes {
            if scope == ADMIN {
                return self.all;
            }
            if let Some(bit) = self.bits.get(scope) {
                set.insert(*bit);
            }
        }
        set
    }

    /// Every scope.
    #[must_use]
    pub fn all(&self) -> ScopeSet {
        self.all
    }

    /// The scopes on which a service account's role is the ceiling.
    #[must_use]
    pub fn management(&self) -> ScopeSet {
        self.management
    }

    /// Whether `set` holds the scope `name`.
    #[must_use]
    pub fn holds(&self, set: ScopeSet, name: &str) -> bool {
        self.bits.get(name).is_some_and(|bit| set.contains(*bit))
    }
}

fn duplicate(what: &'static str, name: &str) -> InvalidCatalogue {
    InvalidCatalogue::Duplicate {
        what,
        name: name.to_owned(),
    }
}

fn check_name(name: &str) -> Result<(), InvalidCatalogue> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'_' | b'-' | b':'));
    if good || name == ADMIN {
        Ok(())
    } else {
        Err(InvalidCatalogue::Name(name.to_owned()))
    }
}

/// A set of scopes of one catalogue, a bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ScopeSet {
    low: u128,
    high: u128,
}

impl ScopeSet {
    fn insert(&mut self, bit: u8) {
        match bit {
            0..=127 => self.low |= 1 << bit,
            128..=255 => self.high |= 1 << (bit - 128),
        }
    }

    fn contains(self, bit: u8) -> bool {
        match bit {
            0..=127 => self.low & (1 << bit) != 0,
            128..=255 => self.high & (1 << (bit - 128)) != 0,
        }
    }

    /// What both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            low: self.low & other.low,
            high: self.high & other.high,
        }
    }

    /// What either holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            low: self.low | other.low,
            high: self.high | other.high,
        }
    }

    /// What this holds and `other` does not.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            low: self.low & !other.low,
            high: self.high & !other.high,
        }
    }

    /// Whether this holds all of `other`.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.without(self) == Self::default()
    }
}
