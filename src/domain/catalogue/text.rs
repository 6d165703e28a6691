//! The catalogue as people write it and as it is stored.
//!
//! The stored form is that of `catalogue.adopted` 1 and frozen. TOML is read with the place of each
//! entry, so that a refusal can name its line.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::invalid::{InvalidCatalogue, InvalidText, Part};

/// A scope and what it allows, in words for people.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// For example `projects:read`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Whether a service account's role is the ceiling on it.
    #[serde(default)]
    pub management: bool,
    /// Whether it lives on in old tokens alone: nothing new is given it. Absent where it is not so:
    /// what was stored before there was such a thing stays as it is, byte for byte.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep: bool,
}

/// A role: a named set of scopes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
    /// What it grants. A kept scope it grants to nobody, unless it is kept itself; members and
    /// service accounts of the role go on holding those that their old tokens list.
    pub scopes: Vec<String>,
    /// Whether its holders are owners, whom only owners may make or change.
    #[serde(default)]
    pub owner: bool,
    /// Whether only those have it who have it already. Absent as in [`Scope`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep: bool,
}

/// A fixed choice of scopes for project tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// For example `read-only`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What it grants.
    pub scopes: Vec<String>,
    /// Whether it lives on in old tokens alone. Absent as in [`Scope`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The catalogue as it is written in TOML and stored in `catalogue.adopted`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CatalogueText {
    /// All scopes.
    pub scopes: Vec<Scope>,
    /// All roles.
    pub roles: Vec<Role>,
    /// All presets.
    pub presets: Vec<Preset>,
}

/// The same as it stands in a file, with the place of every entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Placed {
    scopes: Vec<Spanned<Scope>>,
    roles: Vec<Spanned<Role>>,
    #[serde(default)]
    presets: Vec<Spanned<Preset>>,
}

/// Where the entries of a text stand, for those who find fault with one.
pub(super) struct Lines<'a> {
    text: &'a str,
    scopes: Vec<Range<usize>>,
    roles: Vec<Range<usize>>,
    presets: Vec<Range<usize>>,
}

impl CatalogueText {
    /// Reads TOML; nothing but its shape is checked.
    pub(super) fn from_toml(text: &str) -> Result<(Self, Lines<'_>), InvalidText> {
        let placed: Placed = toml::from_str(text).map_err(|why| InvalidText {
            line: why.span().map(|span| line_of(text, span.start)),
            why: InvalidCatalogue::Form(why.message().to_owned()),
        })?;
        let (scopes, scope_spans) = split(placed.scopes);
        let (roles, role_spans) = split(placed.roles);
        let (presets, preset_spans) = split(placed.presets);
        let lines = Lines {
            text,
            scopes: scope_spans,
            roles: role_spans,
            presets: preset_spans,
        };
        let read = Self {
            scopes,
            roles,
            presets,
        };
        Ok((read, lines))
    }

    /// The stored form.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Of texts, flags and lists alone: there is nothing in it that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the stored form.
    pub fn from_json(json: &str) -> Result<Self, InvalidCatalogue> {
        serde_json::from_str(json).map_err(|why| InvalidCatalogue::Form(why.to_string()))
    }

    /// Writes TOML that reads back as the same.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for scope in &self.scopes {
            begin(&mut out, "scopes", &scope.name, &scope.description);
            flag(&mut out, "management", scope.management);
            flag(&mut out, "keep", scope.keep);
        }
        for role in &self.roles {
            begin(&mut out, "roles", &role.name, &role.description);
            out.push_str(&format!("title = {}\n", quoted(&role.title)));
            if !role.aliases.is_empty() {
                list(&mut out, "aliases", &role.aliases);
            }
            list(&mut out, "scopes", &role.scopes);
            flag(&mut out, "owner", role.owner);
            flag(&mut out, "keep", role.keep);
        }
        for preset in &self.presets {
            begin(&mut out, "presets", &preset.name, &preset.description);
            list(&mut out, "scopes", &preset.scopes);
            flag(&mut out, "keep", preset.keep);
        }
        out
    }
}

impl Lines<'_> {
    /// The refusal with the line of the entry that it is about.
    pub(super) fn find(&self, why: InvalidCatalogue) -> InvalidText {
        let span = match &why {
            InvalidCatalogue::Entry { part, index, .. } => match part {
                Part::Scope => self.scopes.get(*index),
                Part::Role => self.roles.get(*index),
                Part::Preset => self.presets.get(*index),
            },
            InvalidCatalogue::Form(_)
            | InvalidCatalogue::TooManyScopes(_)
            | InvalidCatalogue::TooLong(_)
            | InvalidCatalogue::Missing(_) => None,
        };
        let line = span.map(|span| line_of(self.text, span.start));
        InvalidText { line, why }
    }
}

fn split<T>(placed: Vec<Spanned<T>>) -> (Vec<T>, Vec<Range<usize>>) {
    let placed = placed.into_iter();
    placed
        .map(|entry| {
            let span = entry.span();
            (entry.into_inner(), span)
        })
        .unzip()
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    before.filter(|byte| *byte == b'\n').count() + 1
}

fn begin(out: &mut String, part: &str, name: &str, description: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    let (name, description) = (quoted(name), quoted(description));
    out.push_str(&format!(
        "[[{part}]]\nname = {name}\ndescription = {description}\n"
    ));
}

fn flag(out: &mut String, key: &str, value: bool) {
    if value {
        out.push_str(&format!("{key} = true\n"));
    }
}

fn list(out: &mut String, key: &str, words: &[String]) {
    match words {
        [] | [_] => {
            let words: String = words.iter().map(|word| quoted(word)).collect();
            out.push_str(&format!("{key} = [{words}]\n"));
        }
        _ => {
            let words: String = words
                .iter()
                .map(|word| format!("    {},\n", quoted(word)))
                .collect();
            out.push_str(&format!("{key} = [\n{words}]\n"));
        }
    }
}

/// A basic string: quotes, backslashes and control characters are escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
