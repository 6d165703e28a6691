//! The form of values: lengths, characters, addresses, versions. Each limit is named here.

use crate::domain::blot::holds_token;
use crate::domain::canonical::{canonical_address, canonical_line};
use crate::domain::catalogue::{ADMIN, Catalogue, EVERYTHING, PLATFORM};
use crate::domain::kind::{GrantForm, Kind};
use crate::domain::nearest::nearest;
use crate::domain::record::Metadata;
use crate::domain::rejection::Rejection;

/// Longest name of anything, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 200;
/// Longest description, in characters.
pub(crate) const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Longest reason of a revocation, in characters.
pub(crate) const REASON_CHARS_MAX: usize = 500;
/// Longest e-mail address: RFC 5321, 4.5.3.1.3, leaves 254 between its angle brackets.
pub(crate) const EMAIL_BYTES_MAX: usize = 254;
/// Most scopes that one credential lists.
pub(crate) const SCOPES_PER_CREDENTIAL_MAX: usize = 100;
/// Most bytes of metadata, keys and values together.
pub(super) const METADATA_BYTES_MAX: usize = 4_096;

/// A required line of text.
pub(super) fn line(field: &'static str, text: &str, max: usize) -> Result<(), Rejection> {
    if text.trim().is_empty() {
        return Err(Rejection::FieldEmpty { field });
    }
    if text.chars().any(char::is_control) {
        return Err(Rejection::FieldControlCharacters { field });
    }
    short(field, text, max)
}

/// A text of several lines that may be empty.
pub(super) fn lines(field: &'static str, text: &str, max: usize) -> Result<(), Rejection> {
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err(Rejection::FieldControlCharacters { field });
    }
    short(field, text, max)
}

fn short(field: &'static str, text: &str, max: usize) -> Result<(), Rejection> {
    no_token(field, text)?;
    if text.chars().count() > max {
        return Err(Rejection::FieldTooLong {
            field,
            max,
            unit: "characters",
        });
    }
    Ok(())
}

/// A text is kept for good, and so would be a secret in it.
pub(super) fn no_token(field: &'static str, text: &str) -> Result<(), Rejection> {
    match holds_token(text) {
        true => Err(Rejection::FieldHoldsToken { field }),
        false => Ok(()),
    }
}

/// A name that is unique, in the form that it is stored in.
pub(super) fn unique_name(field: &'static str, text: &str) -> Result<String, Rejection> {
    let name = canonical_line(text);
    line(field, &name, NAME_CHARS_MAX)?;
    Ok(name)
}

/// An address that mail can be sent to, in the form that it is stored in.
pub(super) fn email(field: &'static str, text: &str) -> Result<String, Rejection> {
    no_token(field, text)?;
    let address = canonical_address(text).ok_or(Rejection::EmailInvalid { field })?;
    if address.len() > EMAIL_BYTES_MAX {
        return Err(Rejection::FieldTooLong {
            field,
            max: EMAIL_BYTES_MAX,
            unit: "bytes",
        });
    }
    Ok(address)
}

/// A list of scopes that a credential of `kind` may carry.
pub(super) fn scopes(
    scopes: &[String],
    kind: Kind,
    catalogue: &Catalogue,
) -> Result<(), Rejection> {
    if scopes.is_empty() {
        return Err(Rejection::FieldEmpty { field: "scopes" });
    }
    if scopes.len() > SCOPES_PER_CREDENTIAL_MAX {
        let max = SCOPES_PER_CREDENTIAL_MAX;
        return Err(Rejection::FieldTooLong {
            field: "scopes",
            max,
            unit: "scopes",
        });
    }
    for (index, scope) in scopes.iter().enumerate() {
        let fits = match scope.as_str() {
            EVERYTHING => kind.rules().grant == GrantForm::ScopesOrEverything,
            PLATFORM => kind == Kind::Organization,
            ADMIN => true,
            name if catalogue.offers_scope(name) => true,
            name => {
                let all = &catalogue.text().scopes;
                let offered = all.iter().filter(|scope| !scope.keep);
                let near = nearest(name, offered.map(|scope| scope.name.as_str()));
                return Err(Rejection::UnknownScope {
                    scope: scope.clone(),
                    nearest: near.map(str::to_owned),
                });
            }
        };
        if !fits {
            return Err(Rejection::ScopeNotForKind {
                scope: scope.clone(),
            });
        }
        if scopes.iter().take(index).any(|earlier| earlier == scope) {
            return Err(Rejection::ScopeTwice {
                scope: scope.clone(),
            });
        }
    }
    Ok(())
}

/// The canonical name of a role that can be given.
pub(super) fn role(name: &str, catalogue: &Catalogue) -> Result<String, Rejection> {
    match catalogue.offered_role(name) {
        Some(role) => Ok(role.name.clone()),
        None => Err(Rejection::UnknownRole {
            role: name.to_owned(),
            known: {
                let offered = catalogue.text().roles.iter().filter(|role| !role.keep);
                names(offered.map(|role| role.name.as_str()))
            },
        }),
    }
}

/// A preset that can be given.
pub(super) fn preset(name: &str, catalogue: &Catalogue) -> Result<(), Rejection> {
    if catalogue.offers_preset(name) {
        return Ok(());
    }
    let offered = catalogue
        .text()
        .presets
        .iter()
        .filter(|preset| !preset.keep);
    Err(Rejection::UnknownPreset {
        preset: name.to_owned(),
        known: names(offered.map(|preset| preset.name.as_str())),
    })
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Pairs within their size.
pub(super) fn metadata(metadata: &Metadata) -> Result<(), Rejection> {
    let bytes: usize = metadata
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(Rejection::MetadataTooLarge);
    }
    let mut texts = metadata.iter().flat_map(|(key, value)| [key, value]);
    texts.try_for_each(|text| no_token("metadata", text))
}

/// `If-Match` against the record's version.
pub(super) fn version(if_match: Option<u32>, current: u32) -> Result<(), Rejection> {
    match if_match {
        Some(expected) if expected != current => Err(Rejection::VersionMismatch { current }),
        Some(_) | None => Ok(()),
    }
}
