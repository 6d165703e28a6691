//! A value that is readable here, sealed in the log, and blank once its data key is gone.
//!
//! What belongs to a person is one, and so are secrets that the ledger must read back: the hash of
//! a password, what deliveries are signed with.
//!
//! `decide` makes and sees opened values; `ledger` seals them before the append and opens them
//! after a read. Only the sealed form is ever serialized, so neither a payload nor a snapshot can
//! hold the plain one.

use std::fmt;

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::seal::SealedValue;

/// A value that is sealed, such as a person's e-mail address; wiped when dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct Personal {
    opened: Option<Zeroizing<String>>,
    sealed: Option<SealedValue>,
    /// Blank because its key is missing or damaged. For display alone: nothing is decided by it.
    unavailable: bool,
}

impl Personal {
    /// A new value, not sealed yet.
    #[must_use]
    pub fn new(text: impl Into<Zeroizing<String>>) -> Self {
        Self {
            opened: Some(text.into()),
            sealed: None,
            unavailable: false,
        }
    }

    /// The plain text; `None` where it has been erased or is unavailable.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.opened.as_ref().map(|text| text.as_str())
    }

    /// The sealed form, once there is one.
    #[must_use]
    pub fn sealed(&self) -> Option<&SealedValue> {
        self.sealed.as_ref()
    }

    /// Adds the sealed form to a new value.
    pub fn seal(&mut self, sealed: SealedValue) {
        self.sealed = Some(sealed);
    }

    /// Adds what a read value says, or that its key is gone.
    pub fn open(&mut self, text: Option<String>) {
        self.opened = text.map(Zeroizing::new);
        self.unavailable = false;
    }

    /// Notes that the value cannot be opened, since its key is missing or damaged.
    pub fn mark_unavailable(&mut self) {
        self.opened = None;
        self.unavailable = true;
    }

    /// Whether the value is blank without having been erased.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(hidden)")
    }
}

impl Serialize for Personal {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.sealed {
            Some(sealed) if to.is_human_readable() => sealed.serialize(to),
            // Compact formats cannot read the sealed object's own form; its JSON text they can.
            Some(sealed) => serde_json::to_string(sealed)
                .map_err(S::Error::custom)?
                .serialize(to),
            None => Err(S::Error::custom(
                "a personal value must be sealed before it is written",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Personal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let sealed = if from.is_human_readable() {
            SealedValue::deserialize(from)?
        } else {
            serde_json::from_str(&String::deserialize(from)?).map_err(D::Error::custom)?
        };
        Ok(Self {
            opened: None,
            sealed: Some(sealed),
            unavailable: false,
        })
    }
}
