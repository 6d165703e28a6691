//! Which events an endpoint wants: names of types, whole families, or everything.
//!
//! A filter that stands in the log stays as it is, whatever types this program knows; what may be
//! asked for is checked when it is asked for.

use serde::{Deserialize, Serialize};

/// Every event.
pub(in crate::domain) const EVERYTHING: &str = "*";
/// What a family ends with.
pub(in crate::domain) const FAMILY_END: &str = ".*";
/// Families that can be asked for before any of their events exists, and without the leave to read
/// the whole ledger.
pub(in crate::domain) const OPEN_FAMILIES: [&str; 3] = ["api_key", "service_account", "job"];
/// The list of what an endpoint wants.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct EventFilter(pub(in crate::domain) Vec<String>);

impl EventFilter {
    /// One that wants every event.
    #[must_use]
    pub fn everything() -> Self {
        Self(vec![EVERYTHING.to_owned()])
    }

    /// One that wants all that needs no leave to read the ledger.
    #[must_use]
    pub fn open_families() -> Self {
        let families = OPEN_FAMILIES.iter();
        Self(families.map(|name| format!("{name}{FAMILY_END}")).collect())
    }

    /// Its entries, as they were asked for.
    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.0
    }

    /// Whether an event of this type is wanted. Only the name is looked at: what belongs to no
    /// organization is nobody's, whatever a filter says.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let of_name = family_of(name);
        self.0.iter().any(|entry| match family(entry) {
            _ if entry == EVERYTHING => true,
            Some(family) => of_name == Some(family),
            None => entry == name,
        })
    }

    /// Whether everything that another filter wants is wanted here: names, families, everything.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|entry| self.matches(entry))
    }

    /// Whether it asks for more than credentials, service accounts and jobs: for what only those
    /// see who may read the ledger.
    #[must_use]
    pub fn needs_ledger_read(&self) -> bool {
        !self.0.iter().all(|entry| Self::is_open(entry))
    }

    /// Whether a type, or an entry of a filter, needs no leave to read the ledger.
    #[must_use]
    pub fn is_open(name: &str) -> bool {
        family_of(name).is_some_and(|family| OPEN_FAMILIES.contains(&family))
    }
}

/// Why an entry cannot be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WrongEventType {
    /// No such type or family.
    #[error("is unknown")]
    Unknown,
    /// It stands there already.
    #[error("is given more than once")]
    Twice,
    /// Its events are no organization's.
    #[error("belongs to no organization and is never delivered")]
    OfNoOrganization,
}

/// The family that an entry names as a whole.
pub(in crate::domain) fn family(entry: &str) -> Option<&str> {
    entry.strip_suffix(FAMILY_END)
}

/// The family of a type or of an entry.
pub(in crate::domain) fn family_of(name: &str) -> Option<&str> {
    name.split_once('.').map(|(family, _)| family)
}
