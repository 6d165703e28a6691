//! The catalogue: the scopes, roles and presets that credentials can carry.
//!
//! A ledger adopts one as an event, so that a replay never depends on a file. The embedded default
//! covers every scope and role of the surfaces. Matching happens here and nowhere else: `admin:*`
//! stands for every scope of the catalogue; `platform:*` is in no catalogue and within nothing.
//!
//! What an entry with `keep = true` names lives on where it is, and nothing new is given it: old
//! tokens are worth it; new ones, edits and replacements find it unknown.

mod invalid;
mod set;
mod text;

use std::collections::{BTreeMap, BTreeSet};

pub use invalid::{Fault, InvalidCatalogue, InvalidText, Part};
pub use set::ScopeSet;
pub use text::{CatalogueText, Preset, Role, Scope};

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

/// The embedded default as it is written.
pub const DEFAULT: &str = include_str!("default.toml");

/// A checked catalogue, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    text: CatalogueText,
    bits: BTreeMap<String, u8>,
    roles: BTreeMap<String, usize>,
    management: ScopeSet,
    kept: ScopeSet,
    all: ScopeSet,
}

impl Catalogue {
    /// The embedded default.
    pub fn embedded() -> Result<Self, InvalidText> {
        Self::from_toml(DEFAULT)
    }

    /// Reads and checks a TOML text.
    pub fn from_toml(text: &str) -> Result<Self, InvalidText> {
        let (text, lines) = CatalogueText::from_toml(text)?;
        Self::check(text).map_err(|why| lines.find(why))
    }

    /// Checks a catalogue and makes it ready.
    pub fn check(text: CatalogueText) -> Result<Self, InvalidCatalogue> {
        if text.scopes.len() > SCOPES_MAX {
            return Err(InvalidCatalogue::TooManyScopes(text.scopes.len()));
        }
        let stored = text.to_json().len();
        if stored > CATALOGUE_BYTES_MAX {
            return Err(InvalidCatalogue::TooLong(stored));
        }
        let mut catalogue = Self::default();
        catalogue.take_scopes(&text.scopes)?;
        catalogue.take_roles(&text.roles)?;
        catalogue.check_presets(&text.presets)?;
        catalogue.text = text;
        Ok(catalogue)
    }

    fn take_scopes(&mut self, scopes: &[Scope]) -> Result<(), InvalidCatalogue> {
        for (index, (bit, scope)) in (0_u8..=u8::MAX).zip(scopes).enumerate() {
            let wrong = |fault| wrong((Part::Scope, index), &scope.name, fault);
            check_name(&scope.name).map_err(wrong)?;
            if self.bits.insert(scope.name.clone(), bit).is_some() {
                return Err(wrong(Fault::Twice));
            }
            self.all.insert(bit);
            if scope.management {
                self.management.insert(bit);
            }
            if scope.keep {
                self.kept.insert(bit);
            }
        }
        if self.offers_scope(ADMIN) {
            Ok(())
        } else {
            Err(InvalidCatalogue::Missing("the scope admin:*"))
        }
    }

    fn take_roles(&mut self, roles: &[Role]) -> Result<(), InvalidCatalogue> {
        for (index, role) in roles.iter().enumerate() {
            for name in role.aliases.iter().chain([&role.name]) {
                let wrong = |fault| wrong((Part::Role, index), name, fault);
                check_name(name).map_err(wrong)?;
                if self.roles.insert(name.clone(), index).is_some() {
                    return Err(wrong(Fault::Twice));
                }
            }
            if let Some(scope) = role.scopes.iter().find(|scope| !self.has_scope(scope)) {
                let fault = Fault::UnknownScope(scope.clone());
                return Err(wrong((Part::Role, index), &role.name, fault));
            }
        }
        // New organizations get an owner.
        if roles.iter().any(|role| role.owner && !role.keep) {
            Ok(())
        } else {
            Err(InvalidCatalogue::Missing("a role with owner = true"))
        }
    }

    fn check_presets(&self, presets: &[Preset]) -> Result<(), InvalidCatalogue> {
        let mut seen = BTreeSet::new();
        for (index, preset) in presets.iter().enumerate() {
            let wrong = |fault| Err(wrong((Part::Preset, index), &preset.name, fault));
            if let Err(fault) = check_name(&preset.name) {
                return wrong(fault);
            }
            if !seen.insert(&preset.name) {
                return wrong(Fault::Twice);
            }
            for scope in &preset.scopes {
                if !self.has_scope(scope) {
                    return wrong(Fault::UnknownScope(scope.clone()));
                }
                if !preset.keep && !self.offers_scope(scope) {
                    return wrong(Fault::KeptScope(scope.clone()));
                }
            }
        }
        Ok(())
    }

    /// The catalogue as it is stored.
    #[must_use]
    pub fn text(&self) -> &CatalogueText {
        &self.text
    }

    /// The role of a name or an alias, a kept one too.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles
            .get(name)
            .and_then(|index| self.text.roles.get(*index))
    }

    /// The role of a name or an alias, if it can still be given.
    #[must_use]
    pub fn offered_role(&self, name: &str) -> Option<&Role> {
        self.role(name).filter(|role| !role.keep)
    }

    /// The role that an organization's first owner gets.
    #[must_use]
    pub fn owner_role(&self) -> Option<&Role> {
        let mut roles = self.text.roles.iter();
        roles.find(|role| role.owner && !role.keep)
    }

    /// Whether holders of the role are owners.
    #[must_use]
    pub fn is_owner(&self, role: &str) -> bool {
        self.role(role).is_some_and(|role| role.owner)
    }

    /// The scopes that a role gives to what is made with it: a kept one only if it is kept too.
    pub fn given_by<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a str> {
        let scopes = role.scopes.iter().map(String::as_str);
        scopes.filter(|scope| role.keep || self.offers_scope(scope))
    }

    /// The preset of a name, a kept one too.
    #[must_use]
    pub fn preset(&self, name: &str) -> Option<&Preset> {
        self.text.presets.iter().find(|preset| preset.name == name)
    }

    /// Whether a new token can have the preset.
    #[must_use]
    pub fn offers_preset(&self, name: &str) -> bool {
        self.preset(name).is_some_and(|preset| !preset.keep)
    }

    /// Whether the catalogue holds the scope, kept ones too.
    #[must_use]
    pub fn has_scope(&self, name: &str) -> bool {
        self.bits.contains_key(name)
    }

    /// Whether the scope can be given to what is new.
    #[must_use]
    pub fn offers_scope(&self, name: &str) -> bool {
        let bit = self.bits.get(name);
        bit.is_some_and(|bit| !self.kept.contains(*bit))
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

    /// The names of the scopes that `set` holds.
    pub fn names(&self, set: ScopeSet) -> impl Iterator<Item = &str> {
        let held = self.bits.iter().filter(move |(_, bit)| set.contains(**bit));
        held.map(|(name, _)| &**name)
    }

    /// Whether `set` holds the scope `name`.
    #[must_use]
    pub fn holds(&self, set: ScopeSet, name: &str) -> bool {
        self.bits.get(name).is_some_and(|bit| set.contains(*bit))
    }
}

fn wrong((part, index): (Part, usize), name: &str, fault: Fault) -> InvalidCatalogue {
    let name = name.to_owned();
    InvalidCatalogue::Entry {
        part,
        index,
        name,
        fault,
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'_' | b'-' | b':'));
    if good || name == ADMIN {
        Ok(())
    } else {
        Err(Fault::Name)
    }
}
